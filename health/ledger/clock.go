package ledger

import "time"

// Moment is a time by both clocks: that on the wall, which may be set, and one
// that only ever goes forward at an even pace.
type Moment struct {
	Wall    time.Time
	Elapsed time.Duration // since any fixed moment in the life of this process
}

// Clock makes moments of one clock whose times have Go's monotonic reading. Safe
// for concurrent use.
type Clock struct {
	now  func() time.Time
	base time.Time
}

// NewClock is a clock that reads now, which is time.Now outside tests.
func NewClock(now func() time.Time) Clock { return Clock{now: now, base: now()} }

// Now is this moment.
func (c Clock) Now() Moment {
	t := c.now()
	return Moment{Wall: t.Round(0).UTC(), Elapsed: t.Sub(c.base)}
}

const (
	// stepAhead is how far the wall clock may be ahead of the books' own time before
	// that counts as a step, and not as the clock's being trimmed.
	stepAhead = 2 * time.Second
	// futureBy is how far the books' end may lie in the future when they are opened:
	// about as much as a clock is corrected by. Beyond it they are set aside.
	futureBy = time.Hour
)

// advance brings the books' time to at. It never goes back, so that no time is
// counted twice: when the wall clock is set back, the books go on at the pace of
// the other clock, ahead of the wall. When it steps ahead, or nothing was heard
// for longer than silence, what lies between is unknown.
func (l *Ledger) advance(at Moment) time.Time {
	next, passed, step := l.reach(at)
	if passed < 0 {
		return l.now
	}
	l.elapsed = at.Elapsed
	switch {
	case passed > l.silence:
		l.gap(next, "this process stood still")
	case step:
		own := l.now.Add(passed)
		l.now = own
		l.gap(next, "the clock was set ahead")
	}
	l.now = next
	return next
}

// reach is the books' time at a moment, how long it is since the last one, and
// whether the wall clock stepped ahead meanwhile.
func (l *Ledger) reach(at Moment) (next time.Time, passed time.Duration, step bool) {
	passed = at.Elapsed - l.elapsed
	if passed < 0 {
		return l.now, passed, false // told in another order than it happened
	}
	next = l.now.Add(passed)
	wall := at.Wall.Round(0).UTC()
	step = wall.Sub(next) > stepAhead
	if wall.After(next) {
		next = wall
	}
	return next, passed, step
}

// gap notes that nobody knows what was from the books' time until then. What came
// before and after it is the same.
func (l *Ledger) gap(until time.Time, why string) {
	for _, b := range l.books {
		if b.last.state != Unknown {
			was := b.last
			l.note(b, entry{at: l.now, state: Unknown, cause: why})
			l.note(b, entry{at: until, state: was.state, cause: was.cause})
		}
	}
}
