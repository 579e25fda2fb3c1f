package pool

import (
	"slices"
	"time"

	"sereno/health"
)

// The tiers of Pick, best first. Drained backends are in none (A05).
const (
	tierUp     = iota
	tierBackup // hot spares that are up
	tierTrial  // up, but on trial
	tierSuspect
	tierDown
	tierCount
	firstNotUp = tierSuspect
)

// snapshot is what Pick needs to know, at one moment. It is never changed.
type snapshot struct {
	policy policy
	all    []*Backend
	tiers  [tierCount]tier
	anyUp  bool
}

// entry is one backend in a tier.
type entry struct {
	*Backend
	// room is how many requests in flight a backend on trial may have to be given one
	// more that was not tried anywhere yet; 0: it is not on trial.
	room   int64
	weight int64  // as configured
	seed   uint64 // of rendezvous hashing
	// admit is the share of a slow start in 1/2^32 of the tier's largest; full is
	// no slow start.
	admit uint64
	// scaled is weight × share: what random and hash go by.
	scaled float64
	run    float64 // scaled, of the tier's largest
}

const full = 1 << 32

// tier is the backends of one rank, with what its pool's policy needs.
type tier struct {
	entries    []entry
	slow       bool         // one of them is in a slow start
	inRuns     bool         // requests of one batch may go to one of them together
	alias      alias        // random, least-outstanding
	sequence   []uint16     // round-robin
	rendezvous *winnerTable // hash, with many backends
}

func newSnapshot(cfg *Config, members []*member, now time.Time) *snapshot {
	s := &snapshot{all: make([]*Backend, len(members))}
	s.policy, _ = parsePolicy(cfg.Balance) // Update has looked at it
	trusted := slices.ContainsFunc(members, func(m *member) bool { return m.health.State() == health.Up && m.health.Trial() == 0 })
	for i, m := range members {
		b := m.backend
		s.all[i] = b
		state, trial := m.health.State(), m.health.Trial()
		rank, ok := rankOf(state, m.backup)
		if !ok {
			continue
		}
		w := b.weight.Load()
		e := entry{Backend: b, weight: w, scaled: float64(w), seed: seedOf(cfg.Name, b.name)}
		if trial > 0 && trusted {
			// It is given its share like those that are up, but few at a time, and only
			// what can go on to another. All others come last to it.
			e.room = int64(trial)
			s.add(tierOfUp(m.backup), e)
			e.room = 0
			if state == health.Up {
				rank = tierTrial
			}
		} else if rank <= tierBackup {
			e.scaled *= m.health.Share(now)
		}
		s.add(rank, e)
	}
	s.anyUp = len(s.tiers[tierUp].entries)+len(s.tiers[tierBackup].entries) > 0
	for i := range s.tiers {
		s.tiers[i].prepare(s.policy)
	}
	return s
}

func (s *snapshot) add(rank int, e entry) {
	s.tiers[rank].entries = append(s.tiers[rank].entries, e)
}

// tierOfUp is the tier of a backend that is up.
func tierOfUp(backup bool) int {
	if backup {
		return tierBackup
	}
	return tierUp
}

// rankOf is the tier of a backend; false: none.
func rankOf(s health.State, backup bool) (int, bool) {
	switch s {
	case health.Up:
		return tierOfUp(backup), true
	case health.Suspect, health.Starting:
		return tierSuspect, true
	case health.Down:
		return tierDown, true
	}
	return 0, false
}

// prepare works out what picks would otherwise work out each time.
func (t *tier) prepare(p policy) {
	most, heaviest := 0.0, 0.0
	for i := range t.entries {
		e := &t.entries[i]
		most = max(most, e.scaled/float64(e.weight))
		heaviest = max(heaviest, e.scaled)
	}
	for i := range t.entries {
		e := &t.entries[i]
		// Relative to the largest share, so that a tier in which all come back at
		// once still serves everything.
		e.admit = uint64(e.scaled / float64(e.weight) / most * full)
		t.slow = t.slow || e.admit < full
		e.run = e.scaled / heaviest
	}
	switch p {
	case random, leastOutstanding:
		t.alias = newAlias(t.entries)
		t.inRuns = p == leastOutstanding && len(t.entries) > scanAll
	case roundRobin:
		t.sequence = newSequence(t.entries)
	case hashed:
		if len(t.entries) > scanBelow {
			t.rendezvous = new(winnerTable)
		}
	}
}
