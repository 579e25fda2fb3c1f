package capacity

import (
	"context"
	"errors"
	"time"

	"sereno/bench/load"
)

// Load is a generator. *load.DNS and *load.RADIUS are.
type Load interface {
	Run(context.Context) (load.Books, error) // sends until the context ends, then waits for what is in flight
	Books() load.Books
	SetRate(float64)
}

// Progress is told after each sample and after each window.
type Progress struct {
	Sample Sample
	Window *Window // just ended; nil after a sample
	Left   time.Duration
}

// Run measures by the plan and gives the report so far also when ctx ends, then with Interrupted set. A generator that
// fails is an error. tell is called on Run's goroutine; nil: nobody listens. The caller fills in what Run cannot know
// (Title, Command, Target, Settings).
func Run(ctx context.Context, p Plan, l Load, servers []int, tell func(Progress)) (*Report, error) {
	p = p.withDefaults()
	if err := p.validate(); err != nil {
		return nil, err
	}
	if tell == nil {
		tell = func(Progress) {}
	}
	r := &runner{plan: p, load: l, tell: tell, begin: time.Now(), usage: newUsage(servers)}
	r.report = newReport(p, r.begin)
	if p.Shape == Fixed {
		l.SetRate(p.Rate)
	} else {
		l.SetRate(0)
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { _, err := l.Run(running); ended <- err }()
	measured := r.measure(ctx)
	stop()
	failed := <-ended
	r.finish(errors.Is(measured, errInterrupted))
	if measured != nil && !errors.Is(measured, errInterrupted) {
		failed = errors.Join(failed, measured)
	}
	return r.report, failed
}

var errInterrupted = errors.New("interrupted")

type runner struct {
	plan   Plan
	load   Load
	tell   func(Progress)
	begin  time.Time
	usage  *usage
	report *Report
	rate   float64    // asked for
	last   load.Books // at the last sample
	lastAt time.Time
	fixed  time.Duration // how long Fixed has sent
}

func (r *runner) measure(ctx context.Context) error {
	r.lastAt = time.Now()
	switch r.plan.Shape {
	case Ramp:
		for _, rate := range r.plan.rates() {
			if _, err := r.try(ctx, rate, r.plan.For/time.Duration(r.plan.Windows), ""); err != nil {
				return err
			}
		}
		return nil
	case Search:
		s := search{plan: r.plan, measure: func(rate float64, length time.Duration, phase Phase) (Window, error) {
			return r.try(ctx, rate, length, phase)
		}}
		err := s.find()
		r.report.Knee = &s.knee
		return err
	}
	r.rate = r.plan.Rate
	start := time.Now()
	err := r.sleep(ctx, r.plan.For)
	r.fixed = time.Since(start)
	r.lastSample()
	return err
}

// try sends at one rate for a settling time and one window, then lets every request come to its end.
func (r *runner) try(ctx context.Context, rate float64, length time.Duration, phase Phase) (Window, error) {
	w := Window{Target: rate, Phase: phase, At: time.Since(r.begin).Seconds()}
	r.rate = rate
	r.load.SetRate(rate)
	if err := r.sleep(ctx, r.plan.Settle); err != nil {
		return w, err
	}
	before, cpu, start := r.load.Books(), r.usage.now(), time.Now()
	err := r.sleep(ctx, length)
	r.load.SetRate(0)
	sent, took, used := r.load.Books(), time.Since(start), r.usage.now()
	r.rate = 0
	if err == nil {
		err = r.drain(ctx)
	}
	after := r.load.Books()
	after.Sent = sent.Sent
	w.fill(&before, &after, took)
	w.CPU, w.Idle = used.since(cpu, sent.Sent-before.Sent), used.idleSince(cpu)
	w.judge(r.plan.Bounds)
	if err != nil {
		return w, err
	}
	r.report.Windows = append(r.report.Windows, w)
	r.tell(Progress{Window: &w})
	return w, nil
}

// drain waits until nothing waits for an answer.
func (r *runner) drain(ctx context.Context) error {
	for end := time.Now().Add(r.plan.Drain + time.Second); time.Now().Before(end); {
		if b := r.load.Books(); b.Waiting == 0 {
			return nil
		}
		if err := r.sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// sleep lets time pass and takes samples when they are due.
func (r *runner) sleep(ctx context.Context, d time.Duration) error {
	for end := time.Now().Add(d); ; {
		now := time.Now()
		if !now.Before(end) {
			return nil
		}
		due := r.lastAt.Add(r.plan.Sample)
		if !now.Before(due) {
			r.sample(now, end.Sub(now))
			continue
		}
		timer := time.NewTimer(min(due.Sub(now), end.Sub(now)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return errInterrupted
		case <-timer.C:
		}
	}
}

func (r *runner) sample(now time.Time, left time.Duration) {
	books := r.load.Books()
	s := newSample(r.rate, &r.last, &books, r.begin, r.lastAt, now)
	r.report.Samples = append(r.report.Samples, s)
	r.last, r.lastAt = books, now
	r.tell(Progress{Sample: s, Left: left})
}

// lastSample takes one, unless the last was just now.
func (r *runner) lastSample() {
	if now := time.Now(); now.Sub(r.lastAt) > r.plan.Sample/4 {
		r.sample(now, 0)
	}
}

// finish writes the totals, when everything has come to its end.
func (r *runner) finish(interrupted bool) {
	now := time.Now()
	r.rate = 0
	r.lastSample()
	r.report.Interrupted = interrupted
	books := r.load.Books()
	used := r.usage.now()
	if r.fixed > 0 {
		w := Window{Target: r.plan.Rate}
		w.fill(&load.Books{}, &books, r.fixed)
		w.CPU, w.Idle = used.since(r.usage.first, books.Sent), used.idleSince(r.usage.first)
		w.judge(r.plan.Bounds)
		r.report.Windows = append(r.report.Windows, w)
	}
	r.report.total(&books, now.Sub(r.begin), used.since(r.usage.first, books.Sent))
}
