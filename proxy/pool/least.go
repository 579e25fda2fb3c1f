package pool

import "math/rand/v2"

// Up to scanAll backends the one with the least is found by looking at all. With
// more, the best of `samples` drawn by weight is taken: looking at each counter of
// a large pool would cost more than it gains, as every counter is a cache line that
// another core has just written; and the best of two random choices is already
// within a constant of the best of all (Mitzenmacher 2001), four come closer. It
// also keeps many workers from all running at the same idle backend.
const (
	scanAll = 8
	samples = 4
)

// least is the policy least-outstanding: the fewest requests in flight (and
// penalties, D25) for its weight. Equals are drawn by weight, so that an idle
// pool is balanced too.
func (t *tier) least(tried *Tried) *Backend {
	best := &t.entries[t.alias.draw()]
	if !best.free(tried) {
		best = nil
	}
	n := len(t.entries)
	if n > scanAll {
		for range samples - 1 {
			best = better(best, &t.entries[t.alias.draw()], tried)
		}
	} else if n > 1 {
		at := int(rand.Uint32N(uint32(n))) //nolint:gosec // balancing is no secret
		for range n {
			if e := &t.entries[at]; !t.slow || e.admitted() {
				best = better(best, e, tried)
			}
			if at++; at == n {
				at = 0
			}
		}
	}
	if best != nil && best.claim(tried) {
		return best.Backend
	}
	return t.leastOfAll(tried)
}

// leastOfAll is for when the quick way found nobody who is free.
func (t *tier) leastOfAll(tried *Tried) *Backend {
	for range len(t.entries) { // others may take the last slot while we look
		var best *entry
		for i := range t.entries {
			best = better(best, &t.entries[i], tried)
		}
		if best == nil {
			return nil
		}
		if best.claim(tried) {
			return best.Backend
		}
	}
	return nil
}

// better is b if it is free and has less for its weight than a, else a. a may be nil.
func better(a, b *entry, tried *Tried) *entry {
	if a == b || !b.free(tried) {
		return a
	}
	if a == nil || b.outstanding()*a.weight < a.outstanding()*b.weight {
		return b
	}
	return a
}

// outstanding is what counts as in flight.
func (e *entry) outstanding() int64 { return e.inFlight.Load() + e.penalty.count() }
