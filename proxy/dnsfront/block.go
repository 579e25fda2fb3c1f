package dnsfront

import (
	"bytes"
	"hash/maphash"
	"net/netip"

	"sereno/proxy/dnswire"
)

// blockAction is what happens to a question that a list names.
type blockAction uint8

const (
	blockNXDomain blockAction = iota
	blockNoData
	blockRefuse
	blockDrop
	blockPass    // rpz-passthru: no later list is asked either
	blockTCPOnly // rpz-tcp-only
	blockData    // records of the list
)

// blockRule is an action with its records, shared by all names that have it.
type blockRule struct {
	action blockAction
	data   []blockRecord
}

// blockRecord is one record of local data; RDATA without compression.
type blockRecord struct {
	typ   uint16
	ttl   uint32
	rdata []byte
}

// blockList is one file (D64). Immutable.
type blockList struct {
	seed  maphash.Seed
	exact nameTable // the name itself
	below nameTable // every name below it
	rules []blockRule
	ede   int
	max   int // names that it may have
}

// nameTable maps names on the wire to rules: open addressing over an arena of names,
// about thirty octets for each, whatever their number. Whole names are compared.
type nameTable struct {
	slots []nameSlot // a power of two, at most three quarters full
	names []byte
	count int
}

// nameSlot is free while at is 0.
type nameSlot struct {
	hash uint32
	at   uint32 // where the name begins in names, plus 1
	rule uint32
}

// add notes a name; the first rule of a name stays. It reports whether it was new.
func (t *nameTable) add(hash uint64, name []byte, rule int) bool {
	if 4*(t.count+1) > 3*len(t.slots) {
		old := t.slots
		t.slots = make([]nameSlot, max(16, 2*len(old)))
		for _, s := range old {
			if s.at != 0 {
				i := s.hash & uint32(len(t.slots)-1) //nolint:gosec // far below 2^32
				for t.slots[i].at != 0 {
					i = (i + 1) & uint32(len(t.slots)-1) //nolint:gosec // far below 2^32
				}
				t.slots[i] = s
			}
		}
	}
	if t.find(hash, name) >= 0 {
		return false
	}
	i := uint32(hash) & uint32(len(t.slots)-1) //nolint:gosec // the lower half is meant
	for t.slots[i].at != 0 {
		i = (i + 1) & uint32(len(t.slots)-1) //nolint:gosec // far below 2^32
	}
	t.slots[i] = nameSlot{uint32(hash), uint32(len(t.names)) + 1, uint32(rule)} //nolint:gosec // far below 2^32
	t.names = append(t.names, name...)
	t.count++
	return true
}

// find returns the rule of a name in lower case, or -1.
func (t *nameTable) find(hash uint64, name []byte) int {
	if t.count == 0 {
		return -1
	}
	mask := uint32(len(t.slots) - 1)                                       //nolint:gosec // far below 2^32
	for i := uint32(hash) & mask; t.slots[i].at != 0; i = (i + 1) & mask { //nolint:gosec // the lower half is meant
		if s := t.slots[i]; s.hash == uint32(hash) && bytes.HasPrefix(t.names[s.at-1:], name) { //nolint:gosec // as above
			return int(s.rule) // names end with the root, so a prefix is the whole name
		}
	}
	return -1
}

// find returns the rule for a question's name: its own, else that of the nearest name
// above it; nil if there is none.
func (b *blockList) find(name []byte) *blockRule {
	if r := b.exact.find(maphash.Bytes(b.seed, name), name); r >= 0 {
		return &b.rules[r]
	}
	if b.below.count == 0 {
		return nil
	}
	for len(name) > 1 {
		name = name[int(name[0])+1:]
		if r := b.below.find(maphash.Bytes(b.seed, name), name); r >= 0 {
			return &b.rules[r]
		}
	}
	return nil
}

// blocked looks a question up in the lists, in their order.
func (set *settings) blocked(name []byte) (*blockList, *blockRule) {
	for _, b := range set.block {
		if r := b.find(name); r != nil {
			if r.action == blockPass {
				return nil, nil
			}
			return b, r
		}
	}
	return nil, nil
}

// obey does what a list says about the turn's question. done is false where a backend
// must be asked after all: for the target of a CNAME, which is then in t.target.
func (s *Service) obey(t *turn, b *blockList, r *blockRule, m, out []byte) (n int, res result, done bool) {
	rcode := dnswire.NoError
	switch r.action {
	case blockDrop:
		t.book.dropped(t.a.transport, DropBlocked)
		return 0, dropped, true
	case blockTCPOnly:
		if t.a.transport != UDP {
			return 0, 0, false
		}
		return s.truncate(t, m, out), answered, true
	case blockRefuse:
		n, res = s.self(t, m, out, dnswire.Refused, b.ede)
		return n, res, true
	case blockNXDomain:
		rcode = dnswire.NXDomain
	case blockData:
		if target := r.cname(t.q.Type); target != nil {
			t.target = expand(t.tbuf[:0], target, t.key[:t.q.NameLen])
			return 0, 0, false
		}
	case blockNoData, blockPass:
	}
	msg := dnswire.AppendReply(out[:0], m, &t.q, dnswire.FlagRA, rcode)
	for _, x := range r.data {
		if x.typ == t.q.Type || t.q.Type == dnswire.TypeANY {
			if len(msg)+12+len(x.rdata) > min(len(out), t.a.room()) {
				return s.truncate(t, m, out), answered, true
			}
			msg = dnswire.AppendRR(msg, x.typ, dnswire.ClassIN, x.ttl, x.rdata)
		}
	}
	if dnswire.ANCount(msg) == 0 { // clients may remember it for as long (RFC 2308)
		soa := msg
		if soa = dnswire.AppendRR(soa, dnswire.TypeSOA, dnswire.ClassIN, localTTL, nobodySOA); len(soa) <= t.a.room() {
			msg = soa
			dnswire.SetCounts(msg, 1, 0, 1, 0)
		}
	}
	t.own++
	t.book.answered(t.a.transport, FromSelf, rcode)
	var room [maxEDE]byte
	return s.addOPT(t.set, out, len(msg), &t.a, rcode, dnswire.AppendEDE(room[:0], uint16(b.ede), "")), answered, true //nolint:gosec // a code of RFC 8914
}

// cname is the target that a question is sent to; nil if the list has records of its own.
func (r *blockRule) cname(typ uint16) []byte {
	if len(r.data) == 1 && r.data[0].typ == dnswire.TypeCNAME && typ != dnswire.TypeCNAME {
		return r.data[0].rdata
	}
	return nil
}

// expand puts a question's name in front of a target that begins with a wildcard; one
// that would be too long loses it.
func expand(dst, target, name []byte) []byte {
	if len(target) < 2 || target[0] != 1 || target[1] != '*' {
		return append(dst, target...)
	}
	rest := target[2:]
	if len(name)-1+len(rest) > dnswire.MaxName {
		return append(dst, rest...)
	}
	return append(append(dst, name[:len(name)-1]...), rest...)
}

// addressRule is a rule that answers with one address.
func addressRule(a netip.Addr) blockRule {
	typ := uint16(dnswire.TypeA)
	if a.Is6() {
		typ = dnswire.TypeAAAA
	}
	return blockRule{action: blockData, data: []blockRecord{{typ: typ, ttl: localTTL, rdata: a.AsSlice()}}}
}
