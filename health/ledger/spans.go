package ledger

import "time"

// span is a stretch of time in one state.
type span struct {
	from, to time.Time
	state    State
	cause    string
}

// spansOf makes the history of an object of its entries, which are in order, until now.
// Equal states side by side are one span.
func spansOf(entries []entry, now time.Time) []span {
	out := make([]span, 0, len(entries))
	for i, e := range entries {
		to := now
		if i+1 < len(entries) {
			to = entries[i+1].at
		}
		if !to.After(e.at) {
			continue
		}
		if n := len(out); n > 0 && out[n-1].state == e.state {
			out[n-1].to = to
			continue
		}
		out = append(out, span{from: e.at, to: to, state: e.state, cause: e.cause})
	}
	return out
}

// within is how much of the span lies in the window.
func (s *span) within(w Window) time.Duration {
	from, to := s.from, s.to
	if from.Before(w.From) {
		from = w.From
	}
	if to.After(w.To) {
		to = w.To
	}
	return max(to.Sub(from), 0)
}

// Outage is a time in which an object was down. It ends when the object serves again;
// what is drained or unknown in between interrupts it, and is not counted.
type Outage struct {
	From  time.Time
	Until time.Time     // of its last moment down; zero while it is not repaired
	Down  time.Duration // in the window
	Cause string
}

// outagesOf are the outages of which some part lies in the window, in order.
func outagesOf(spans []span, w Window) []Outage {
	var out []Outage
	var open *Outage
	var last time.Time
	end := func(repaired bool) {
		if open != nil && open.Down > 0 {
			if repaired {
				open.Until = last
			}
			out = append(out, *open)
		}
		open = nil
	}
	for i := range spans {
		s := &spans[i]
		if !s.from.Before(w.To) {
			break
		}
		switch s.state {
		case Down:
			if open == nil {
				open = &Outage{From: s.from, Cause: s.cause}
			}
			open.Down += s.within(w)
			last = s.to
		case Up, Degraded:
			end(true)
		}
	}
	end(false)
	return out
}
