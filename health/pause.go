package health

import (
	"sync"
	"sync/atomic"
	"time"
)

// The watcher looks at the clock every tickEvery; when it comes pauseAfter late
// or more, this process stood still (SIGSTOP, a VM that was moved, a host that is
// overloaded). Shorter delays are everyday scheduling, and far below every timeout.
const (
	tickEvery  = 50 * time.Millisecond
	pauseAfter = 200 * time.Millisecond
)

// Pause is a time in which this process stood still.
type Pause struct {
	Start, End time.Time
}

// Length is how long it lasted.
func (p Pause) Length() time.Duration { return p.End.Sub(p.Start) }

// pauses remembers when this process stood still.
type pauses struct {
	now   func() time.Time
	last  atomic.Pointer[time.Time] // when the watcher last looked, by both clocks
	mu    sync.Mutex
	known [8]Pause // a ring: older ones don't matter to any probe in flight
	next  int
}

func newPauses(now func() time.Time) *pauses {
	p := &pauses{now: now}
	at := now()
	p.last.Store(&at)
	return p
}

// look is called every tickEvery. It returns the pause that just ended, if any.
func (p *pauses) look() (Pause, bool) {
	now := p.now()
	late, ok := standstill(*p.last.Swap(&now), now)
	if !ok {
		return Pause{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known[p.next] = late
	p.next = (p.next + 1) % len(p.known)
	return late, true
}

// standstill is the pure part: what two looks at the clock tell. Both clocks are
// asked, because a VM that was suspended may find that only the wall clock moved. A
// clock that is set ahead looks the same, once: each look starts from the last one.
func standstill(last, now time.Time) (Pause, bool) {
	gap := max(now.Sub(last), now.Round(0).Sub(last.Round(0)))
	if gap-tickEvery < pauseAfter {
		return Pause{}, false
	}
	return Pause{Start: now.Add(-gap), End: now}, true
}

// overlap tells whether a pause touches the time between from and to. A pause has
// an aftermath as long as itself, at most a second, in which the world settles.
func (p *pauses) overlap(from, to time.Time) bool {
	// A pause may have ended just now, and its victim be here before the watcher.
	if _, ok := standstill(*p.last.Load(), p.now()); ok {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range p.known {
		if k.End.IsZero() {
			continue
		}
		end := k.End.Add(min(k.Length(), time.Second))
		if from.Before(end) && to.After(k.Start) {
			return true
		}
	}
	return false
}

// latest is the last pause that the watcher noticed; zero: none.
func (p *pauses) latest() Pause {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known[(p.next+len(p.known)-1)%len(p.known)]
}
