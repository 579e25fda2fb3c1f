package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"sereno/bench/capacity"
)

// benchProgress shows how a measurement goes: on a terminal one line that is written over, elsewhere a line for each
// window.
type benchProgress struct {
	w     io.Writer
	plan  capacity.Plan
	live  bool
	width int     // of the line that stands there
	at    float64 // seconds, of the last sample
	began float64 // the same, when the last window ended
}

func newBenchProgress(w io.Writer, p capacity.Plan) *benchProgress {
	return &benchProgress{w: w, plan: p, live: terminal(w)}
}

func (b *benchProgress) tell(p capacity.Progress) {
	switch {
	case p.Window != nil:
		w := p.Window
		phase := string(w.Phase)
		if phase == "" {
			phase = string(b.plan.Shape)
		}
		why := w.Why
		if why != "" {
			why = ": " + why
		}
		b.clear()
		b.began = b.at
		_, _ = fmt.Fprintf(b.w, "%-8s %8.0f/s  p99 %-9s %s%s\n", phase, w.Target, benchTime(w.Latency.P99), w.Judgement, why)
	case b.live:
		s := &p.Sample
		b.at = s.At
		line := fmt.Sprintf("%s asked %.0f/s  answered %.0f/s  lost %.0f/s  p50 %s  p99 %s", benchBar(s.At-b.began, p.Left), s.Target, s.Answered, s.Lost,
			benchTime(s.Latency.P50), benchTime(s.Latency.P99))
		_, _ = fmt.Fprintf(b.w, "\r%-*s", b.width, line)
		b.width = len(line)
	}
}

// benchBar shows how much of a window has passed; with it, the line is not longer than 80 columns.
func benchBar(passed float64, left time.Duration) string {
	const cells = 10
	done := 0
	if all := passed + left.Seconds(); all > 0 {
		done = min(max(int(passed/all*cells), 0), cells)
	}
	return "[" + strings.Repeat("#", done) + strings.Repeat("-", cells-done) + "]"
}

// clear takes the live line away.
func (b *benchProgress) clear() {
	if b.width > 0 {
		_, _ = fmt.Fprintf(b.w, "\r%s\r", strings.Repeat(" ", b.width))
		b.width = 0
	}
}

func (b *benchProgress) end() { b.clear() }

// benchTime is a time in seconds, rounded to three digits.
func benchTime(seconds float64) string {
	d, unit := time.Duration(seconds*1e9), time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit).String()
}
