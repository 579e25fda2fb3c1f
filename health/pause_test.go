package health

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

// skewed is a clock that can be made to jump, as it looks from inside when the
// process stood still.
type skewed struct{ by atomic.Int64 }

func (c *skewed) now() time.Time       { return time.Now().Add(time.Duration(c.by.Load())) }
func (c *skewed) jump(d time.Duration) { c.by.Add(int64(d)) }

// probing has the world's results dated by this clock.
func (c *skewed) probing(w *world) func(context.Context, *Target) Result {
	return func(ctx context.Context, t *Target) Result {
		start := c.now()
		r := w.probe(ctx, t)
		r.Start, r.End = start, c.now()
		return r
	}
}

func TestA06AStandstillIsTold(t *testing.T) {
	at := time.Now()
	for _, c := range []struct {
		passed time.Duration
		paused bool
	}{
		{-time.Hour, false}, // somebody set the clock back
		{0, false},
		{50 * time.Millisecond, false},
		{249 * time.Millisecond, false},
		{250 * time.Millisecond, true},
		{time.Hour, true},
	} {
		if p, paused := standstill(at, at.Add(c.passed)); paused != c.paused || paused && p.Length() != c.passed {
			t.Errorf("after %v: %+v, %v", c.passed, p, paused)
		}
	}
	// A VM that was suspended may find that only the wall clock moved.
	later := at.Round(0).Add(time.Minute)
	if p, paused := standstill(at.Round(0), later); !paused || p.Length() != time.Minute {
		t.Errorf("a jump of the wall clock: %+v, %v", p, paused)
	}
}

// twoClocks is a clock whose times have a monotonic reading, which those of a test in
// virtual time lack: the wall clock alone can be set ahead, by whole seconds.
type twoClocks struct {
	anchor, start time.Time // the same moment, with and without the reading
	ahead         atomic.Int64
}

// now adds to the wall's seconds, which stand above 30 bits of nanoseconds in a Time
// that has a monotonic reading.
func (c *twoClocks) now() time.Time {
	at := c.anchor.Add(time.Since(c.start))
	*(*uint64)(unsafe.Pointer(&at)) += uint64(c.ahead.Load()) << 30
	return at
}

// Whoever sets the wall clock ahead, once, makes one pause at most: what is bad after it
// counts.
func TestA06AClockThatWasSetAheadBlindsNobody(t *testing.T) {
	clock := &twoClocks{anchor: time.Now()}
	synctest.Test(t, func(t *testing.T) {
		clock.start = time.Now()
		before := clock.now()
		clock.ahead.Store(3600)
		if after := clock.now(); after.Sub(before) != 0 || after.Round(0).Sub(before.Round(0)) != time.Hour {
			t.Fatalf("the test's clock went from %v to %v", before, after)
		}
		clock.ahead.Store(0)
		var pauses []Pause
		w := newWorld(t)
		m := NewMonitor(Options{Now: clock.now, OnPause: func(p Pause) { pauses = append(pauses, p) },
			Probe: func(ctx context.Context, target *Target) Result {
				start := clock.now()
				r := w.probe(ctx, target)
				r.Start, r.End = start, clock.now()
				return r
			}})
		target := dnsTarget("a")
		b := m.Apply([]Target{target})[target.Key]
		time.Sleep(3 * time.Second)
		clock.ahead.Store(3600)
		time.Sleep(2 * time.Second)
		if b.State() != Up {
			t.Errorf("for the clock's sake it is %v", b.State())
		}
		w.set("a", "silent")
		time.Sleep(4 * time.Second)
		if b.State() != Down {
			t.Errorf("4 s after its death it is %v: %+v", b.State(), b.Status().LastProbe)
		}
		m.Close()
		if len(pauses) != 1 || pauses[0].Length() < time.Hour {
			t.Errorf("%d pauses, the first %+v", len(pauses), pauses[:min(1, len(pauses))])
		}
	})
}

func TestA06WhatAPauseTouches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var clock skewed
		p := newPauses(clock.now)
		time.Sleep(tickEvery)
		if _, paused := p.look(); paused {
			t.Fatal("an ordinary tick is a pause")
		}
		start := clock.now()
		clock.jump(400 * time.Millisecond)
		if !p.overlap(start, clock.now()) {
			t.Error("a pause that just ended is not seen before the watcher has looked")
		}
		pause, paused := p.look()
		if !paused || pause.Start != start || pause.Length() != 400*time.Millisecond {
			t.Fatalf("the pause is %+v, %v", pause, paused)
		}
		end := pause.End
		ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
		for _, c := range []struct {
			from, to time.Duration // from the end of the pause
			want     bool
		}{
			{-ms(900), -ms(401), false}, {-ms(900), -ms(399), true}, {-ms(300), -ms(100), true},
			{-ms(100), ms(100), true}, {ms(100), ms(200), true}, // the aftermath
			{ms(399), ms(1000), true}, {ms(401), ms(1000), false},
		} {
			if got := p.overlap(end.Add(c.from), end.Add(c.to)); got != c.want {
				t.Errorf("%v to %v: %v", c.from, c.to, got)
			}
		}
	})
}

func TestA06APauseOfOursDoesNotCountAgainstTheBackends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var clock skewed
		w := newWorld(t)
		var d diary
		var pauses []Pause
		m := NewMonitor(Options{OnEvent: d.note, OnPause: func(p Pause) { pauses = append(pauses, p) }, Now: clock.now, Probe: clock.probing(w)})
		target := dnsTarget("a")
		target.Config.Fall = 1
		b := m.Apply([]Target{target})[target.Key]
		time.Sleep(3 * time.Second)
		// The process stops while a probe and requests wait for their answers.
		w.set("a", "silent")
		before := len(w.begun("a"))
		for len(w.begun("a")) == before {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(300 * time.Millisecond)
		clock.jump(5 * time.Second)
		b.Silent()
		b.Silent()
		b.Silent()
		w.set("a", "")
		time.Sleep(3 * time.Second)
		if events := d.read(); len(events) != 1 || b.State() != Up {
			t.Errorf("the pause was held against the backend: %v, %+v", b.State(), events)
		}
		// What is bad afterwards counts again.
		w.set("a", "silent")
		time.Sleep(3 * time.Second)
		if b.State() != Down {
			t.Errorf("a death after the pause: %v", b.State())
		}
		m.Close()
		if len(pauses) != 1 || pauses[0].Length() < 5*time.Second {
			t.Errorf("the pauses are %+v", pauses)
		}
	})
}

// After a pause every backend is asked at once, and one that really died is found
// soon although the first bad probe does not count.
func TestA06ADeathDuringAPauseIsFoundSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var clock skewed
		w := newWorld(t)
		m := NewMonitor(Options{Now: clock.now, Probe: clock.probing(w)})
		defer m.Close()
		target := dnsTarget("a")
		b := m.Apply([]Target{target})[target.Key]
		time.Sleep(3300 * time.Millisecond)
		clock.jump(10 * time.Second)
		w.set("a", "refused")
		before := len(w.begun("a"))
		time.Sleep(tickEvery)
		synctest.Wait()
		if len(w.begun("a")) <= before {
			t.Error("it is not asked at once")
		}
		time.Sleep(time.Second + 2*target.Config.Interval*11/10 + target.Config.Timeout)
		if b.State() != Down {
			t.Errorf("it is %v", b.State())
		}
		if n := len(w.begun("a")) - before; n > 60 {
			t.Errorf("%d probes in the aftermath: a closed port is being hammered", n)
		}
	})
}
