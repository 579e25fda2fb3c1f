package radiusfront

import (
	"time"

	"sereno/health"
	"sereno/proxy/pool"
)

const (
	// janitorTick is how often the janitor lets time pass in a worker that has
	// something to wait for, and idleTick in one that has not.
	janitorTick = 10 * time.Millisecond
	idleTick    = 100 * time.Millisecond
	// sweepInterval is how often a worker looks for backends that left the
	// configuration.
	sweepInterval = int64(time.Second)
)

// janitor wakes the workers for what only time brings about. It knows nothing
// of requests: there is no timer for each of them.
func (s *Service) janitor() {
	defer s.running.Done()
	t := time.NewTicker(janitorTick)
	defer t.Stop()
	turn := 0
	for {
		select {
		case <-s.stop:
			return
		case <-t.C:
		}
		turn++
		idle := turn%int(idleTick/janitorTick) == 0
		if idle {
			s.closeRetired()
		}
		for _, w := range s.workers {
			if idle || w.active.Load() {
				w.group.Wake()
			}
		}
	}
}

// tick does what is due: called with mu held, on the group's goroutine.
func (w *worker) tick() {
	if g := w.view.generation(); g != w.generation {
		w.generation = g
		w.leaveFallen()
	}
	w.wheel.expire(w.now, w.dueFn)
	if w.now-w.lastSweep >= sweepInterval {
		w.lastSweep = w.now
		w.sweep()
	}
}

// schedule sets an entry's timer to what comes next for its request: the end
// of the current attempt's patience, or of the request's.
func (w *worker) schedule(f *flight) {
	a := &f.attempts[f.n-1]
	due := a.sent + f.target.limits[f.entry.kind].attemptTimeout
	if a.silent || due > f.deadline {
		due = f.deadline
	}
	w.wheel.move(f.entry, due)
}

// due is called for an entry whose time has come.
func (w *worker) due(e *entry) {
	f := e.flight
	if f == nil {
		w.forget(e) // the duplicate window is over
		return
	}
	a := &f.attempts[f.n-1]
	waited := w.now - a.sent
	if !a.silent && waited >= f.target.limits[e.kind].attemptTimeout {
		a.silent = true
		a.up.backend.Fail(pool.Timeout)
		w.reports = append(w.reports, report{backend: a.up.backend.Health()})
	}
	switch {
	case w.now >= f.deadline:
		w.fail(e, ReasonTimeout)
	case a.silent && w.moveOn(f, anyBackend, charged):
	case a.silent && f.n < f.target.limits[e.kind].attempts && !f.pinned:
		// The budget or max_in_flight stood in the way: both recover.
		w.wheel.move(e, min(w.now+budgetDelay, f.deadline))
	default:
		w.schedule(f)
	}
}

// leaveFallen moves every request away whose backend became suspect or down
// while it waited, if another is up.
func (w *worker) leaveFallen() {
	for _, up := range w.upstreams {
		if s := up.backend.Health().State(); up.inUse > 0 && (s == health.Suspect || s == health.Down) {
			w.leave(up, upBackend)
		}
	}
}

// leave moves every request on whose current backend is up.
func (w *worker) leave(up *upstream, to whom) {
	for _, p := range up.ports {
		for id := range p.slots {
			s := p.slots[id]
			if s.f != nil && s.i == s.f.n-1 {
				w.moveOn(s.f, to, free)
			}
		}
	}
}

// sweep closes the sockets of backends that left the configuration once
// nothing waits on them, and listeners that did.
func (w *worker) sweep() {
	for b, up := range w.upstreams {
		up.wakeResting(w.now)
		if up.gone && up.inUse == 0 {
			up.closePorts()
			delete(w.upstreams, b)
		}
	}
}
