package pool

import (
	"fmt"
	"math/rand/v2"
)

// policy is a way to choose within a tier.
type policy uint8

const (
	leastOutstanding policy = iota
	roundRobin
	random
	hashed
	ordered
)

// policies are the names of the configuration, in the order of the constants.
var policies = [...]string{"least-outstanding", "round-robin", "random", "hash", "ordered"}

func (p policy) String() string { return policies[p] }

func parsePolicy(name string) (policy, error) {
	for i, known := range policies {
		if name == known {
			return policy(i), nil //nolint:gosec // five of them
		}
	}
	return 0, fmt.Errorf("unknown balance %q", name)
}

// pick chooses within a tier and takes a slot. Each policy's first choice is
// quick and nearly always free; only when it is not, all are looked at.
func (p *Pool) pick(policy policy, t *tier, hash uint64, tried *Tried) *Backend {
	switch policy {
	case leastOutstanding:
		return t.least(tried)
	case roundRobin:
		return t.next(p.turn.Add(1)-1, tried)
	case random:
		return t.random(tried)
	case hashed:
		return t.hash(hash, tried)
	case ordered:
		return t.first(tried)
	}
	return nil
}

// claim takes a slot of an entry unless it was tried, or is on trial and this
// request is not for it.
func (e *entry) claim(tried *Tried) bool {
	if e.room > 0 {
		return e.mayTry(tried) && e.takeBelow(e.room)
	}
	return (tried == nil || !tried.Has(e.Backend)) && e.Take()
}

// free tells whether a claim would have a chance.
func (e *entry) free(tried *Tried) bool {
	if e.room > 0 {
		return e.mayTry(tried) && e.inFlight.Load() < min(e.room, e.max.Load())
	}
	return (tried == nil || !tried.Has(e.Backend)) && e.inFlight.Load() < e.max.Load()
}

// mayTry tells whether a request may show what a backend on trial does: one that has
// not waited for another yet, and that can go on to one.
func (*entry) mayTry(tried *Tried) bool { return tried != nil && tried.n == 0 }

// admitted draws whether a backend in its slow start is considered this time.
func (e *entry) admitted() bool {
	return e.admit >= full || uint64(rand.Uint32()) < e.admit //nolint:gosec // balancing is no secret
}

// first is the policy ordered: the first in the order of the configuration.
func (t *tier) first(tried *Tried) *Backend {
	for i := range t.entries {
		if e := &t.entries[i]; (!t.slow || e.admitted()) && e.claim(tried) {
			return e.Backend
		}
	}
	if !t.slow {
		return nil
	}
	for i := range t.entries {
		if e := &t.entries[i]; e.claim(tried) {
			return e.Backend
		}
	}
	return nil
}

// next is the policy round-robin: the turn's place in the sequence, or the next
// that is free.
func (t *tier) next(turn uint64, tried *Tried) *Backend {
	n := uint64(len(t.sequence))
	for i := range min(n, 8) {
		e := &t.entries[t.sequence[(turn+i)%n]]
		if (!t.slow || e.admitted()) && e.claim(tried) {
			return e.Backend
		}
	}
	return t.anyFree(tried)
}

// random is the policy random: by weight.
func (t *tier) random(tried *Tried) *Backend {
	for range 4 {
		if e := &t.entries[t.alias.draw()]; e.claim(tried) {
			return e.Backend
		}
	}
	return t.anyFree(tried)
}

// anyFree draws by weight among those that are free.
func (t *tier) anyFree(tried *Tried) *Backend {
	for range 3 { // others may take a slot while we look
		total := 0.0
		for i := range t.entries {
			if e := &t.entries[i]; e.free(tried) {
				total += e.scaled
			}
		}
		at := rand.Float64() * total //nolint:gosec // balancing is no secret
		for i := range t.entries {
			e := &t.entries[i]
			if !e.free(tried) {
				continue
			}
			if at -= e.scaled; at < 0 && e.claim(tried) {
				return e.Backend
			}
		}
	}
	for i := range t.entries {
		if e := &t.entries[i]; e.claim(tried) {
			return e.Backend
		}
	}
	return nil
}
