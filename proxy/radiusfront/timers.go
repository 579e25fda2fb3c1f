package radiusfront

import (
	"math"
	"time"

	"sereno/health"
	"sereno/proxy/pool"
)

const (
	// janitorTick is how often the janitor lets time pass in a worker that has
	// something to wait for, and idleTick in one that has not. Where nobody has had
	// anything for idleAfter it comes no more often itself: each time costs a busy
	// processor two switches of threads.
	janitorTick = 10 * time.Millisecond
	idleTick    = 100 * time.Millisecond
	idleAfter   = time.Second
	// sweepInterval is how often a worker looks for backends that left the
	// configuration.
	sweepInterval = int64(time.Second)
	// moveBurst is how many requests a service moves away from a fallen backend in
	// one tick, each worker its share. All at once they would overrun the socket
	// buffer of the one that is left: a FreeRADIUS at the system's default holds
	// some 250 packets.
	moveBurst = 50
)

// janitor wakes the workers for what only time brings about. It knows nothing
// of requests: there is no timer for each of them.
func (s *Service) janitor() {
	defer s.running.Done()
	t := time.NewTicker(janitorTick)
	defer t.Stop()
	every := janitorTick
	var now, swept, busy time.Time
	for {
		select {
		case <-s.stop:
			return
		case now = <-t.C:
		}
		idle := now.Sub(swept) >= idleTick-janitorTick/2
		if idle {
			swept = now
			s.tidy()
		}
		for _, w := range s.workers {
			active := w.active.Load()
			if active {
				busy = now
			}
			if idle || active {
				w.group.Wake()
			}
		}
		want := janitorTick
		if now.Sub(busy) >= idleAfter {
			want = idleTick
		}
		if want != every {
			every = want
			t.Reset(every)
		}
	}
}

// tick does what is due: called with mu held, on the group's goroutine.
func (w *worker) tick() {
	w.leaveFallen()
	w.readLetters()
	w.wheel.expire(w.now, w.dueFn)
	w.silences()
	if w.now-w.lastSweep >= sweepInterval {
		w.lastSweep = w.now
		w.sweep()
	}
}

// schedule sets an entry's timer to what comes next for its request: the end
// of the current attempt's patience, its next repetition, or the request's end.
func (w *worker) schedule(f *flight) {
	a := &f.attempts[f.n-1]
	due := min(a.last+f.target.limits[f.entry.kind].attemptTimeout, f.deadline)
	if f.entry.kind == KindAcct && w.view.spool && w.now < f.received+acctPatience {
		due = min(due, f.received+acctPatience)
	}
	w.wheel.move(f.entry, due)
}

// fire is called for an entry whose time has come.
func (w *worker) fire(e *entry) {
	w.entry = e
	w.due(e)
	w.entry = nil
}

// due does what an entry's timer was set for.
func (w *worker) due(e *entry) {
	f := e.flight
	if f == nil {
		w.forget(e) // the duplicate window is over
		return
	}
	if e.kind == KindCoA {
		w.dueCoA(e)
		return
	}
	if f.keeping != nil {
		w.drop(e, ReasonSpoolFailed) // the disk hangs; the NAS will ask again
		return
	}
	a := &f.attempts[f.n-1]
	patience := f.target.limits[e.kind].attemptTimeout
	if !a.silent && w.now-a.sent >= patience {
		a.silent, a.up.silence = true, true
		a.up.fail(pool.Timeout)
		w.reports = append(w.reports, report{backend: a.up.backend.Health()})
		if f.trace != nil {
			f.trace.Say("silent", "%s has not answered for %v", a.up.name, time.Duration(w.now-a.sent))
		}
	}
	switch {
	case e.kind == KindAcct && w.saved(f, a.silent):
		return
	case e.kind == KindAuth && a.silent && w.view.survival != nil && w.outlive(e):
		return
	case w.now >= f.deadline:
		w.fail(e, ReasonTimeout)
		return
	case a.silent && w.moveOn(f, anyBackend, charged):
		return
	case a.silent && w.now-a.last >= patience:
		a.last = w.now
		w.repeat(f, f.best())
	}
	if a.silent && f.n < f.target.limits[e.kind].attempts && !f.pinned {
		// The budget or max_in_flight stood in the way: both recover.
		w.wheel.move(e, min(w.now+budgetDelay, f.deadline))
		return
	}
	w.schedule(f)
}

// repeat sends the same bytes to the same backend again when there is no other
// to go to: the packet may have been lost on the way or in a full socket buffer,
// and a backend that has it already knows it for a duplicate (RFC 5080 section
// 2.2.2, R21).
func (w *worker) repeat(f *flight, a *attempt) {
	a.resent, a.last = true, w.now
	if f.trace != nil {
		f.trace.Say("repeat", "the same bytes again to %s", a.up.name)
	}
	w.book.repeated++
	w.transmit(f, a)
}

// best is the attempt that is worth another copy: the current one, unless its backend
// is not trusted any more and that of one before is.
func (f *flight) best() *attempt {
	current := &f.attempts[f.n-1]
	if current.up.trusted() {
		return current
	}
	for i := f.n - 2; i >= 0; i-- {
		if a := &f.attempts[i]; a.up.trusted() {
			return a
		}
	}
	return current
}

// trusted tells whether the backend is up, and not on trial.
func (up *upstream) trusted() bool {
	h := up.backend.Health()
	return h.State() == health.Up && h.Trial() == 0
}

// leaveFallen moves requests away whose backend became suspect or down or came on
// trial while they waited, if another is up: at most its share of moveBurst in a tick.
func (w *worker) leaveFallen() {
	w.saveFallen()
	g := w.view.generation()
	if g == w.generation && !w.leaving {
		return
	}
	w.generation, w.leaving = g, false
	left := w.moveShare()
	for _, up := range w.upstreams {
		if up.inUse == 0 {
			continue
		}
		switch h := up.backend.Health(); {
		case h.Trial() > 0:
			left = w.leave(up, upBackend, int64(h.TrialSince().Sub(w.started)), left)
		case h.State() == health.Suspect || h.State() == health.Down:
			left = w.leave(up, upBackend, math.MaxInt64, left)
		}
	}
}

// moveShare is the worker's part of moveBurst.
func (w *worker) moveShare() int { return max(1, moveBurst/len(w.service.workers)) }

// leave moves requests on whose current backend is up and which were sent to it
// before the given time, at most as many as are left in this tick; it returns what is
// left then. What remains is moved in the next ticks.
func (w *worker) leave(up *upstream, to whom, before int64, left int) int {
	for _, p := range up.all() {
		for id := range p.slots {
			s := p.slots[id]
			if s.f == nil || s.i != s.f.n-1 || s.f.attempts[s.i].sent >= before {
				continue
			}
			if left == 0 {
				w.leaving = true
				return 0
			}
			w.entry = s.f.entry
			if w.moveOn(s.f, to, free) {
				left--
			} else if a := s.f.best(); to == upBackend && a != &s.f.attempts[s.i] && !a.resent {
				w.repeat(s.f, a) // everybody was asked: who is up may not have got it
				left--
			}
			w.entry = nil
		}
	}
	return left
}

// sweep closes the sockets of backends that left the configuration, once
// nothing waits on them, and of NASes that have not got CoA for a while.
func (w *worker) sweep() {
	for b, up := range w.upstreams {
		up.tidy(w.now)
		if up.gone && up.inUse == 0 {
			up.closePorts()
			delete(w.upstreams, b)
		}
	}
	w.sweepNASes()
	kept := w.retired[:0]
	for _, up := range w.retired {
		if up.inUse == 0 {
			up.closePorts()
		} else {
			kept = append(kept, up)
		}
	}
	clear(w.retired[len(kept):])
	w.retired = kept
}

// silences reports attempts that were left before attempt_timeout had passed
// and that were not answered after it either.
func (w *worker) silences() {
	for _, up := range w.upstreams {
		for range up.silent(w.now) {
			up.silence = true
			up.fail(pool.Timeout)
			w.reports = append(w.reports, report{backend: up.backend.Health()})
		}
	}
}
