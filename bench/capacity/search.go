package capacity

import (
	"fmt"
	"math"
	"time"
)

// Phase is what a window of a search is for.
type Phase string

// The phases.
const (
	Bracket Phase = "bracket" // the rate is doubled until the bounds break
	Narrow  Phase = "narrow"  // bisection between what held and what broke
	Confirm Phase = "confirm" // the knee, for longer
)

// Judgement is what a window says.
type Judgement string

// The judgements.
const (
	Held   Judgement = "held"
	Broken Judgement = "broken"
	Unfit  Judgement = "unfit" // the generator was late: nothing can be said about the server
)

const (
	growth       = 2   // of the rate while bracketing
	clearly      = 0.7 // of a bound: below it one window is enough to believe that the bound is held
	votes        = 2   // as many equal judgements decide, where one does not
	maxUnfit     = 3   // unfit windows at one rate, after which the generator is the limit
	confirmation = 2   // the confirming window is so many times longer
	maxConfirms  = 5
)

// Knee is what a search found.
type Knee struct {
	Rate      float64 `json:"rate"`      // the highest that held; 0: none
	Broken    float64 `json:"broken"`    // the lowest that did not; 0: none
	Confirmed bool    `json:"confirmed"` // whether it held for longer, too
	Limit     string  `json:"limit"`     // why it goes no higher: "loss", "p99", "generator", "maximum", "interrupted"
	Windows   int     `json:"windows"`   // how many were measured
}

// search looks for the knee. measure measures one window; its error ends the search. Loss and latency are noisy, so a
// rate is believed to hold only when a window is clearly within the bounds, or two are, and to break only when two
// windows break.
type search struct {
	plan    Plan
	measure func(rate float64, length time.Duration, phase Phase) (Window, error)
	knee    Knee
	alive   bool // it answered something
}

// find runs the search. What was found until an error is in s.knee.
func (s *search) find() error {
	low, high, err := s.bracket()
	if err != nil {
		return err
	}
	for high > 0 && low > 0 && high/low > 1+s.plan.Precision {
		middle := math.Sqrt(low * high)
		held, err := s.try(middle, s.plan.Window, Narrow)
		if err != nil {
			return err
		}
		if held {
			low = middle
		} else {
			high = middle
		}
		s.knee.Rate, s.knee.Broken = low, high
	}
	return s.confirm(low)
}

// bracket finds a rate that holds and one, a factor above, that does not; high is 0 if the highest rate held.
func (s *search) bracket() (low, high float64, err error) {
	for rate := s.plan.From; ; {
		held, err := s.try(rate, s.plan.Window, Bracket)
		if err != nil {
			return low, high, err
		}
		if !held {
			s.knee.Broken = rate
			if low > 0 || rate <= 1 {
				return low, rate, nil
			}
			// Not even the first: look below it, unless there is nobody.
			high = rate
			for low == 0 && s.alive && rate > max(s.plan.From/64, 1) {
				rate /= growth
				if held, err = s.try(rate, s.plan.Window, Bracket); err != nil {
					return low, high, err
				}
				if held {
					low = rate
				} else {
					high = rate
				}
				s.knee.Rate, s.knee.Broken = low, high
			}
			return low, high, nil
		}
		low, s.knee.Rate = rate, rate
		if rate >= s.plan.To {
			s.knee.Limit = "maximum"
			return low, 0, nil
		}
		rate = min(rate*growth, s.plan.To)
	}
}

// confirm measures the knee for longer, and goes down, further each time, as long as it does not hold. Where a late
// generator was the reason to the end, the knee stays as it was found, not confirmed.
func (s *search) confirm(found float64) error {
	rate, step := found, 1+s.plan.Precision
	for range maxConfirms {
		if rate <= 0 {
			break
		}
		held, err := s.try(rate, s.plan.Window*confirmation, Confirm)
		if err != nil {
			return err
		}
		if held {
			s.knee.Rate, s.knee.Confirmed = rate, true
			return nil
		}
		s.knee.Broken = rate
		rate, step = rate/step, step*step
	}
	if s.knee.Rate = 0; s.knee.Limit == "generator" {
		s.knee.Rate = found
	}
	return nil
}

// try measures windows at one rate until it is known whether it holds.
func (s *search) try(rate float64, length time.Duration, phase Phase) (bool, error) {
	held, broken, unfit := 0, 0, 0
	for {
		w, err := s.measure(rate, length, phase)
		if err != nil {
			s.knee.Limit = "interrupted"
			return false, err
		}
		s.knee.Windows++
		s.alive = s.alive || w.Loss < 1
		switch w.Judgement {
		case Held:
			held++
			if w.clearlyHeld(s.plan.Bounds) || held >= votes {
				return true, nil
			}
		case Broken:
			if broken++; broken >= votes {
				s.knee.Limit = w.Breaks
				return false, nil
			}
		case Unfit:
			if unfit++; unfit >= maxUnfit {
				s.knee.Limit = "generator"
				return false, nil
			}
		}
	}
}

// judge says whether w keeps b, and what breaks it.
func (w *Window) judge(b Bounds) {
	w.Judgement, w.Breaks = Held, ""
	switch {
	case w.Loss > b.Loss:
		w.Judgement, w.Breaks = Broken, "loss"
		w.Why = fmt.Sprintf("%.3g %% lost or wrong, above %.3g %%", 100*w.Loss, 100*b.Loss)
	case b.P99 > 0 && w.Latency.P99 > b.P99.Seconds():
		w.Judgement, w.Breaks = Broken, "p99"
		w.Why = fmt.Sprintf("p99 %s, above %s", short(seconds(w.Latency.P99)), short(b.P99))
	}
	lateness := lagBound
	if b.P99 > 0 {
		lateness = max(lateness, b.P99/4)
	}
	switch late := seconds(w.LagP99); {
	case late > lateness && w.Judgement == Broken:
		w.Judgement, w.Breaks = Unfit, "generator"
		w.Why = fmt.Sprintf("the generator itself was late: p99 %s", short(late))
	case w.Target > 0 && w.Target*w.Seconds-float64(w.Sent) > w.Target*max(0.03*w.Seconds, stall.Seconds()):
		w.Judgement, w.Breaks = Unfit, "generator"
		w.Why = fmt.Sprintf("the generator sent %s/s only", count(w.Rate))
	}
}

// lagBound is how late the generator's 99th percentile may be where no bound of the latency allows more.
const lagBound = 2 * time.Millisecond

// stall is what a generator may be held up at a window's end: what was due then is never sent.
const stall = 50 * time.Millisecond

// clearlyHeld says whether the window is so far within the bounds that one is enough.
func (w *Window) clearlyHeld(b Bounds) bool {
	return w.Loss <= b.Loss*clearly && (b.P99 == 0 || w.Latency.P99 <= b.P99.Seconds()*clearly)
}
