package ledger

import (
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Course is what an object was in, and when, over a window.
type Course struct {
	Object Object
	First  time.Time // where the books on it begin; what was before is unknown
	// Spans fill the window, in order; equal states are never side by side.
	Spans []Span
	// Coarse: there were more spans than asked for. The window was then cut into as many
	// equal parts, each of which shows the worst that was in it.
	Coarse  bool
	Outages []Outage // those of which some part lies in the window, oldest first
}

// Span is a stretch of time in one state. From is inclusive, To exclusive.
type Span struct {
	From, To time.Time
	State    State
	Cause    string // of its begin
}

// Courses reads the books on every object that want accepts (nil: on all) over the window
// of that length until at, in at most so many spans for each. They come in the order of
// Reports.
func (l *Ledger) Courses(at Moment, length time.Duration, most int, want func(Object) bool) ([]Course, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.db == nil {
		return nil, errClosed
	}
	now, known := l.horizon(at)
	w := Window{From: now.Add(-max(length, 0)), To: now}
	var out []Course
	err := l.touch(func() error {
		return l.db.View(func(tx *bolt.Tx) error {
			for o, b := range l.books {
				if want != nil && !want(o) {
					continue
				}
				entries, err := l.entries(tx, b)
				if err != nil {
					return err
				}
				spans := spansOf(entries, known)
				c := Course{Object: o, First: b.first, Spans: fill(spans, w), Outages: outagesOf(spans, w)}
				if len(c.Spans) > most {
					c.Spans, c.Coarse = coarsen(c.Spans, w, most), true
				}
				out = append(out, c)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("reading the ledger %s: %w", l.path, err)
	}
	slices.SortFunc(out, func(a, b Course) int { return inOrder(a.Object, b.Object) })
	return out, nil
}

// fill cuts a history to the window; what it does not cover is unknown.
func fill(spans []span, w Window) []Span {
	var out []Span
	last := w.From
	add := func(to time.Time, s State, cause string) {
		if !to.After(last) {
			return
		}
		if n := len(out); n > 0 && out[n-1].State == s {
			out[n-1].To = to
		} else {
			out = append(out, Span{From: last, To: to, State: s, Cause: cause})
		}
		last = to
	}
	for i := range spans {
		s := &spans[i]
		if s.within(w) == 0 {
			continue
		}
		add(s.from, Unknown, "")
		to := s.to
		if to.After(w.To) {
			to = w.To
		}
		add(to, s.state, s.cause)
	}
	add(w.To, Unknown, "")
	return out
}

// gravity orders states by how much whoever looks wants to see them.
var gravity = [numStates]int{Up: 0, Unknown: 1, Drained: 2, Degraded: 3, Down: 4}

// coarsen shows the worst of each of most equal parts of the window.
func coarsen(spans []Span, w Window, most int) []Span {
	var out []Span
	edge := func(i int) time.Time {
		return w.From.Add(time.Duration(float64(w.Length()) * float64(i) / float64(most)))
	}
	next := 0
	for part := range most {
		from, to := edge(part), edge(part+1)
		if part == most-1 {
			to = w.To
		}
		for next < len(spans)-1 && !spans[next].To.After(from) {
			next++
		}
		worst := &spans[next]
		for i := next; i < len(spans) && spans[i].From.Before(to); i++ {
			if gravity[spans[i].State] > gravity[worst.State] {
				worst = &spans[i]
			}
		}
		if n := len(out); n > 0 && out[n-1].State == worst.State {
			out[n-1].To = to
			continue
		}
		out = append(out, Span{From: from, To: to, State: worst.State, Cause: worst.Cause})
	}
	return out
}
