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
	var best leader
	best.meet(&t.entries[t.alias.draw()], tried)
	n := len(t.entries)
	if n > scanAll {
		for range samples - 1 {
			best.meet(&t.entries[t.alias.draw()], tried)
		}
	} else if n > 1 {
		at := int(rand.Uint32N(uint32(n))) //nolint:gosec // balancing is no secret
		for range n {
			if e := &t.entries[at]; !t.slow || e.admitted() {
				best.meet(e, tried)
			}
			if at++; at == n {
				at = 0
			}
		}
	}
	if best.entry != nil && best.claim(tried) {
		return best.Backend
	}
	return t.leastOfAll(tried)
}

// leastOfAll is for when the quick way found nobody who is free.
func (t *tier) leastOfAll(tried *Tried) *Backend {
	for range len(t.entries) { // others may take the last slot while we look
		var best leader
		for i := range t.entries {
			best.meet(&t.entries[i], tried)
		}
		if best.entry == nil {
			return nil
		}
		if best.claim(tried) {
			return best.Backend
		}
	}
	return nil
}

// leader is the entry with the least outstanding for its weight so far.
type leader struct {
	*entry
	outstanding int64
}

// meet takes e for the leader if it is free and has less.
func (l *leader) meet(e *entry, tried *Tried) {
	if e == l.entry || !e.free(tried) {
		return
	}
	outstanding := e.inFlight.Load() + e.penalty.count()
	if l.entry == nil || outstanding*l.weight < l.outstanding*e.weight {
		l.entry, l.outstanding = e, outstanding
	}
}
