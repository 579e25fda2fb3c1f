package pool

import "math/rand/v2"

// Requests that are read together and go to as many backends leave one by one, each with a system call of its own, and
// their replies come back so. In a large pool they go in runs: one choice by the policy stands for some requests of the
// batch. That is for least-outstanding alone, where it changes little: what a run gives a backend too much counts
// against it in the next choices.
const (
	// runLength is how many requests the longest run has: seven of eight system calls are saved.
	runLength = 8
	// runsOfBatch is how many runs a batch makes at least: few requests that come together go to as many backends.
	runsOfBatch = 4
)

// Run is what the requests of one batch share of their choice. The zero value shares nothing. It is not safe for
// concurrent use.
type Run struct {
	snapshot *snapshot // that the choice was made by
	backend  *Backend
	left     int // requests that it stands for yet
	length   int // of the run of a backend with the largest weight
}

// NewRun is for n requests that came together.
func NewRun(n int) Run { return Run{length: min(runLength, n/runsOfBatch)} }

// PickIn is Pick for the first attempt of a request of the run's batch. It may give the backend of the batch's last
// request again, if nothing has changed in the pool since and the backend has a slot left.
func (p *Pool) PickIn(run *Run, hash uint64, tried *Tried) *Backend {
	s := p.snapshot.Load()
	if run.left > 0 && run.snapshot == s {
		run.left--
		if b := run.backend; b.inFlight.Load() < b.max.Load() && b.Take() {
			tried.Add(b)
			return b
		}
	}
	run.left = 0
	if t := s.first(); run.length > 1 && t != nil && t.inRuns {
		if e, n := t.run(run.length, tried); e != nil && e.claim(tried) {
			run.snapshot, run.backend, run.left = s, e.Backend, n-1
			tried.Add(e.Backend)
			return e.Backend
		}
	}
	return p.pickFrom(s, hash, tried)
}

// first is the tier of those that are up, or of the hot spares; nil: none is up.
func (s *snapshot) first() *tier {
	for i := range tierBackup + 1 {
		if t := &s.tiers[i]; len(t.entries) > 0 {
			return t
		}
	}
	return nil
}

// run chooses as least does, and says for how many requests. Backends are drawn evenly, and their runs are as long as
// they have weight: rounded at random, so that a weight is kept that is far below the largest. nil: nobody that was
// drawn has a run.
func (t *tier) run(length int, tried *Tried) (*entry, int) {
	var best leader
	n := 0
	for range samples {
		e := &t.entries[rand.IntN(len(t.entries))]       //nolint:gosec // balancing is no secret
		l := int(e.run*float64(length) + rand.Float64()) //nolint:gosec // the same
		if l == 0 {
			continue
		}
		if best.meet(e, tried); best.entry == e {
			n = l
		}
	}
	if best.entry != nil && best.room > 0 {
		n = 1 // on trial: few at a time
	}
	return best.entry, n
}
