package capacity

import (
	"time"

	"sereno/bench/load"
)

// Report is everything that was measured. Times are seconds, shares go from 0 to 1.
type Report struct {
	Title       string    `json:"title"`    // for example "DNS capacity"
	Command     string    `json:"command"`  // how to do it again, without secrets
	Target      string    `json:"target"`   // who was asked
	Settings    []Setting `json:"settings"` // what was asked, in words
	Started     time.Time `json:"started"`
	Seconds     float64   `json:"seconds"`
	Interrupted bool      `json:"interrupted"`
	Host        Host      `json:"host"`
	Shape       Shape     `json:"shape"`
	MaxLoss     float64   `json:"max_loss"`
	MaxP99      float64   `json:"max_p99"` // 0: no bound
	Held        bool      `json:"held"`    // whether the bounds were kept; of a search, whether there is a knee
	Knee        *Knee     `json:"knee"`    // of a search
	Total       Totals    `json:"total"`
	Windows     []Window  `json:"windows"` // of constant rate, in their order
	Samples     []Sample  `json:"samples"` // over the time
	Percentiles []Point   `json:"percentiles"`
	Warnings    []string  `json:"warnings"`
}

// Setting is one thing that was set.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Host is the machine that asked.
type Host struct {
	Name   string `json:"name"`
	System string `json:"system"`
	CPUs   int    `json:"cpus"`
	Go     string `json:"go"`
}

// Totals are the books of the whole run: sent = answered + lost + wrong.
type Totals struct {
	Sent     uint64   `json:"sent"`
	Answered uint64   `json:"answered"`
	Lost     uint64   `json:"lost"`
	Wrong    uint64   `json:"wrong"`
	Resent   uint64   `json:"resent"`
	Late     uint64   `json:"late"`
	Refused  uint64   `json:"refused"`
	Fates    []Fate   `json:"faults"` // replies that were not right, by what was wrong
	Examples []string `json:"examples"`
	Latency  Latency  `json:"latency"`
	Lag      Latency  `json:"lag"` // how late the generator itself was
	CPU      []CPU    `json:"cpu"`
}

// Fate is how many replies were wrong in one way.
type Fate struct {
	What string `json:"what"`
	N    uint64 `json:"n"`
}

// Latency is what a histogram says, in seconds.
type Latency struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

// Point is one of the percentiles: so large a share of the answers came within so many seconds.
type Point struct {
	Share   float64 `json:"share"`
	Seconds float64 `json:"seconds"`
}

// Window is a stretch of constant rate.
type Window struct {
	At        float64   `json:"at"` // since the start
	Phase     Phase     `json:"phase,omitempty"`
	Target    float64   `json:"target"` // requests a second; 0: as fast as the server answers
	Rate      float64   `json:"rate"`   // that were sent
	Seconds   float64   `json:"seconds"`
	Sent      uint64    `json:"sent"`
	Answered  uint64    `json:"answered"`
	Lost      uint64    `json:"lost"`
	Wrong     uint64    `json:"wrong"`
	Loss      float64   `json:"loss"` // share that was lost or answered wrongly
	Latency   Latency   `json:"latency"`
	LagP99    float64   `json:"lag_p99"`
	CPU       []CPU     `json:"cpu"`
	Idle      float64   `json:"idle"` // share of this machine's processors that had nothing to do
	Judgement Judgement `json:"judgement"`
	Breaks    string    `json:"breaks,omitempty"` // "loss", "p99", "generator"
	Why       string    `json:"why,omitempty"`
}

// Sample is a short while of the run.
type Sample struct {
	At       float64 `json:"at"`       // its end, since the start
	Target   float64 `json:"target"`   // a second
	Sent     float64 `json:"sent"`     // a second
	Answered float64 `json:"answered"` // rightly, a second
	Lost     float64 `json:"lost"`     // a second, also wrong answers; when they are given up
	Waiting  uint64  `json:"waiting"`
	Latency  Latency `json:"latency"`
	LagP99   float64 `json:"lag_p99"`
}

func newReport(p Plan, begin time.Time) *Report {
	return &Report{
		Started: begin.UTC().Truncate(time.Second), Shape: p.Shape, MaxLoss: p.Bounds.Loss, MaxP99: p.Bounds.P99.Seconds(), Host: thisHost(),
		Settings: []Setting{}, Windows: []Window{}, Samples: []Sample{}, Percentiles: []Point{}, Warnings: []string{},
	}
}

// fill books what came between before and after, two states of the same books, into a window of that length.
func (w *Window) fill(before, after *load.Books, length time.Duration) {
	d := after.Since(before)
	w.Seconds = length.Seconds()
	w.Sent, w.Answered, w.Lost, w.Wrong = d.Sent, d.Answered, d.Lost, d.Wrong
	w.Rate = float64(d.Sent) / max(w.Seconds, 1e-9)
	if over := d.Answered + d.Lost + d.Wrong; over > 0 {
		w.Loss = float64(d.Lost+d.Wrong) / float64(over)
	}
	w.Latency, w.LagP99 = latency(&d.Latency), d.Lag.Quantile(0.99).Seconds()
}

func latency(h *load.Histogram) Latency {
	q := func(share float64) float64 { return h.Quantile(share).Seconds() }
	return Latency{P50: q(0.5), P90: q(0.9), P99: q(0.99), P999: q(0.999), Max: h.Max().Seconds()}
}

func newSample(target float64, last, books *load.Books, begin, from, to time.Time) Sample {
	d := books.Since(last)
	took := max(to.Sub(from).Seconds(), 1e-9)
	return Sample{
		At: to.Sub(begin).Seconds(), Target: target, Sent: float64(d.Sent) / took, Answered: float64(d.Answered) / took,
		Lost: float64(d.Lost+d.Wrong) / took, Waiting: books.Waiting, Latency: latency(&d.Latency), LagP99: d.Lag.Quantile(0.99).Seconds(),
	}
}

// total writes the books of the whole run and judges it.
func (r *Report) total(b *load.Books, took time.Duration, cpu []CPU) {
	r.Seconds = took.Seconds()
	r.Total = Totals{
		Sent: b.Sent, Answered: b.Answered, Lost: b.Lost, Wrong: b.Wrong, Resent: b.Resent, Late: b.Late, Refused: b.Refused,
		Fates: []Fate{}, Examples: append([]string{}, b.Faulty...), Latency: latency(&b.Latency), Lag: latency(&b.Lag), CPU: cpu,
	}
	for f, n := range b.Fates {
		if n > 0 && load.Fate(f) != load.Right {
			r.Total.Fates = append(r.Total.Fates, Fate{load.Fate(f).String(), n})
		}
	}
	for _, share := range []float64{0, .1, .2, .3, .4, .5, .6, .7, .8, .9, .95, .98, .99, .995, .998, .999, .9995, .9999, .99999} {
		if b.Latency.Count() > 0 && (share == 0 || float64(b.Latency.Count())*(1-share) >= 1) {
			r.Percentiles = append(r.Percentiles, Point{share, b.Latency.Quantile(share).Seconds()})
		}
	}
	r.judge()
}

// judge says whether the bounds were kept, and warns of what makes the figures doubtful.
func (r *Report) judge() {
	unfit, busy := 0, false
	r.Held = r.Total.Sent > 0
	for _, w := range r.Windows {
		if w.Judgement == Unfit {
			unfit++
			busy = busy || w.Idle < fullyBusy
		}
		if w.Judgement != Held {
			r.Held = false
		}
	}
	if r.Knee != nil {
		r.Held = r.Knee.Rate > 0
	}
	switch {
	case r.Knee != nil && r.Knee.Limit != "generator" || unfit == 0:
	case busy:
		r.warn("all processors of this machine were busy: the generator took from the server what it used, and could not keep its times; ask from another machine")
	default:
		r.warn("the generator itself was the limit, not the server: more --workers, or another machine")
	}
	if r.Total.Sent == 0 {
		r.warn("nothing was sent")
	}
	if r.Total.Refused > 0 && r.Total.Answered == 0 {
		r.warn("the port is closed: what was sent was refused")
	}
}

// fullyBusy is the share of idle processors below which there are none.
const fullyBusy = 0.05

func (r *Report) warn(text string) { r.Warnings = append(r.Warnings, text) }
