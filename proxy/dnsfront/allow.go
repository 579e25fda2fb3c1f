package dnsfront

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// prefixSet answers whether an address is inside any of many prefixes, by binary search
// over disjoint ranges. Immutable.
type prefixSet struct {
	v4 []rangeOf[uint32]
	v6 []rangeOf[wide]
}

// rangeOf is a range of addresses, both ends inside it.
type rangeOf[T any] struct{ from, to T }

// wide is an IPv6 address as a number.
type wide struct{ hi, lo uint64 }

func (a wide) less(b wide) bool { return a.hi < b.hi || a.hi == b.hi && a.lo < b.lo }

func toWide(b [16]byte) wide {
	return wide{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])}
}

func newPrefixSet(prefixes []netip.Prefix) prefixSet {
	var s prefixSet
	for _, p := range prefixes {
		p = p.Masked()
		if p.Addr().Is4() {
			b := p.Addr().As4()
			from := binary.BigEndian.Uint32(b[:])
			s.v4 = append(s.v4, rangeOf[uint32]{from, from | uint32(uint64(1)<<(32-p.Bits())-1)})
			continue
		}
		from := toWide(p.Addr().As16())
		to := from
		if n := p.Bits(); n <= 64 {
			to.lo = ^uint64(0)
			to.hi |= ^uint64(0) >> n // a shift by 64 gives 0
		} else {
			to.lo |= ^uint64(0) >> (n - 64)
		}
		s.v6 = append(s.v6, rangeOf[wide]{from, to})
	}
	less4 := func(a, b uint32) bool { return a < b }
	s.v4, s.v6 = merge(s.v4, less4), merge(s.v6, wide.less)
	return s
}

// merge sorts ranges and joins those that overlap, so that a search needs to look at
// one alone.
func merge[T any](in []rangeOf[T], less func(a, b T) bool) []rangeOf[T] {
	slices.SortFunc(in, func(a, b rangeOf[T]) int {
		switch {
		case less(a.from, b.from):
			return -1
		case less(b.from, a.from):
			return 1
		}
		return 0
	})
	out := in[:0]
	for _, r := range in {
		if n := len(out); n > 0 && !less(out[n-1].to, r.from) {
			if less(out[n-1].to, r.to) {
				out[n-1].to = r.to
			}
			continue
		}
		out = append(out, r)
	}
	return out
}

// contains tells whether a is inside. IPv4 addresses must not be mapped into IPv6.
func (s *prefixSet) contains(a netip.Addr) bool {
	if a.Is4() {
		b := a.As4()
		v := binary.BigEndian.Uint32(b[:])
		lo, hi := 0, len(s.v4)
		for lo < hi {
			if mid := (lo + hi) / 2; s.v4[mid].to < v {
				lo = mid + 1
			} else {
				hi = mid
			}
		}
		return lo < len(s.v4) && s.v4[lo].from <= v
	}
	v := toWide(a.As16())
	lo, hi := 0, len(s.v6)
	for lo < hi {
		if mid := (lo + hi) / 2; s.v6[mid].to.less(v) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo < len(s.v6) && !v.less(s.v6[lo].from)
}
