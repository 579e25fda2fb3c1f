package pool

import (
	"math"
	"sync/atomic"
)

// Keys are folded into slots, and a slot's backend is found by weighted
// rendezvous hashing: every backend scores -ln(u)/weight with u drawn from slot and
// name, and the least score wins. So the backend depends on the key, the names and
// the weights alone, equal on every node; a backend that leaves moves only its own
// slots, spread over the others by weight; one that comes takes only what is to be
// its own. 65,536 slots make a backend's share exact to about 3 % in a pool of 64.
const (
	slotBits = 16
	slots    = 1 << slotBits
	// scanBelow is how many backends are scored for each pick. With more, a slot's
	// winner is remembered, so that a pick costs the same.
	scanBelow = 4
)

// winnerTable remembers winners: 0 is not known yet, else the index + 1. It
// belongs to one snapshot, in which a slot has one winner for ever.
type winnerTable [slots]atomic.Uint32

// hash is the policy hash.
func (t *tier) hash(key uint64, tried *Tried) *Backend {
	slot := mix(key) >> (64 - slotBits)
	if e := &t.entries[t.winner(slot)]; e.claim(tried) {
		return e.Backend
	}
	return t.nextWinner(slot, tried)
}

// winner is the index of the slot's backend.
func (t *tier) winner(slot uint64) int {
	if t.rendezvous != nil {
		if known := t.rendezvous[slot].Load(); known != 0 {
			return int(known - 1)
		}
	}
	best, least := 0, math.Inf(1)
	for i := range t.entries {
		if s, ok := t.entries[i].beats(slot, least); ok {
			best, least = i, s
		}
	}
	if t.rendezvous != nil {
		t.rendezvous[slot].Store(uint32(best) + 1) //nolint:gosec // few backends
	}
	return best
}

// nextWinner is for when the slot's own backend is left out: the one that would
// win without it, so that a retry too goes to the same backend on every node.
func (t *tier) nextWinner(slot uint64, tried *Tried) *Backend {
	for range len(t.entries) { // others may take the last slot while we look
		best := t.bestFree(slot, tried)
		if best == nil {
			return nil
		}
		if best.claim(tried) {
			return best.Backend
		}
	}
	return nil
}

// bestFree is the one that wins among those that are free; nil: none is.
func (t *tier) bestFree(slot uint64, tried *Tried) *entry {
	var best *entry
	least := math.Inf(1)
	for i := range t.entries {
		e := &t.entries[i]
		if !e.free(tried) {
			continue
		}
		if s, ok := e.beats(slot, least); ok {
			best, least = e, s
		}
	}
	return best
}

// beats gives the entry's score if it is below least. The score is the time of the
// first event of a Poisson process whose rate is the weight: the one whose event
// comes first wins in proportion to its rate.
func (e *entry) beats(slot uint64, least float64) (float64, bool) {
	u := (float64(mix(slot^e.seed)>>11) + 0.5) / (1 << 53) // above 0, below 1
	if 1-u >= least*e.scaled {
		return 0, false // -ln(u) is no less than 1-u: most of many need no logarithm
	}
	s := -math.Log(u) / e.scaled
	return s, s < least
}

// seedOf tells backends apart. The pool's name is in it, so that two pools with
// equal names of backends, one behind the other, don't split keys alike.
func seedOf(pool, backend string) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211 // FNV-1a
	h := uint64(offset)
	for _, s := range [...]string{pool, "\x00", backend} {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * prime
		}
	}
	return mix(h)
}

// mix is the finalizer of splitmix64: every bit of x decides about every bit.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
