package dnsfront

import "time"

// The janitor comes every step of the wheel while something is in flight, and every
// restStep when nothing was for restAfter: coming costs a busy processor two switches of
// threads, and whoever flies first rouses it.
const (
	restAfter = time.Second
	restStep  = time.Second
)

// janitor wakes the workers that have something in flight, so that their timers run to
// 10 ms, and the others once a second.
func (s *Service) janitor() {
	tick := time.NewTicker(time.Duration(wheelStep))
	defer tick.Stop()
	var now, turned, flew time.Time
	for {
		select {
		case <-s.stop:
			return
		case <-s.rouse:
			tick.Reset(time.Duration(wheelStep))
			now = time.Now()
			flew = now
		case now = <-tick.C:
		}
		all := now.Sub(turned) >= restStep-restStep/20
		if all {
			turned = now
		}
		if c := s.settings.Load().cache; c != nil {
			c.mem.prepare()
		}
		for _, w := range s.workers {
			flying := w.flying.Load() > 0
			if flying {
				flew = now
			}
			if flying || all {
				w.group.Wake()
			}
		}
		if now.Sub(flew) >= restAfter && s.rest() {
			tick.Reset(restStep)
		}
	}
}

// rest tells the workers that the janitor sleeps, unless one of them has just begun
// something: it saw the janitor awake.
func (s *Service) rest() bool {
	s.resting.Store(true)
	for _, w := range s.workers {
		if w.flying.Load() > 0 {
			return !s.resting.CompareAndSwap(true, false)
		}
	}
	return true
}

// fly counts something for which the janitor must come.
func (w *worker) fly() {
	w.flying.Add(1)
	if s := w.s; s.resting.Load() && s.resting.CompareAndSwap(true, false) {
		select {
		case s.rouse <- struct{}{}:
		default: // it is being roused
		}
	}
}
