package radiusfront

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
)

// fitting is which of a client's secrets fits, by its number: it is tried first, and used where nothing tells.
// During a rotation one NAS after the other of a prefix changes, and their unsigned requests say nothing: so of a
// prefix it is kept by address.
type fitting struct {
	last atomic.Int32

	mu        sync.Mutex
	byAddress map[netip.Addr]int32 // where it is not last; what verified alone is in it
}

// of is the number for an address, one of a prefix or not.
func (f *fitting) of(a netip.Addr, ofPrefix bool) int32 {
	if ofPrefix {
		f.mu.Lock()
		defer f.mu.Unlock()
		if n, ok := f.byAddress[a]; ok {
			return n
		}
	}
	return f.last.Load()
}

func (f *fitting) set(a netip.Addr, ofPrefix bool, n int32) {
	if !ofPrefix {
		f.last.Store(n)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byAddress == nil {
		f.byAddress = map[netip.Addr]int32{}
	}
	if _, known := f.byAddress[a]; !known && len(f.byAddress) >= maxSources {
		for old := range f.byAddress { // any: its next request that verifies tells again
			delete(f.byAddress, old)
			break
		}
	}
	f.byAddress[a] = n
}

// renumber makes it fit another list of secrets.
func (f *fitting) renumber(was, is []string) {
	if slices.Equal(was, is) {
		return
	}
	place := func(n int32) int32 {
		if int(n) >= len(was) {
			return 0
		}
		return int32(max(0, slices.Index(is, was[n])))
	}
	f.last.Store(place(f.last.Load()))
	f.mu.Lock()
	defer f.mu.Unlock()
	for a, n := range f.byAddress {
		f.byAddress[a] = place(n)
	}
	if len(is) == 1 {
		f.byAddress = nil
	}
}
