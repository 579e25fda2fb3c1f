package health

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// prober probes one backend, on a goroutine of its own.
type prober struct {
	target  *Target
	backend *Backend
	probe   func(ctx context.Context, t *Target) Result
	ended   func() // after each probe that was noted
	started bool
	cancel  context.CancelFunc
	ctx     context.Context
	running sync.WaitGroup
}

func newProber(t *Target, b *Backend, probe func(context.Context, *Target) Result, ended func()) *prober {
	p := &prober{target: t, backend: b, probe: probe, ended: ended}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// begin starts it, once. A nil prober does nothing.
func (p *prober) begin() {
	if p == nil || p.started {
		return
	}
	p.started = true
	p.running.Add(1)
	go p.run()
}

// end stops it and waits for its goroutines.
func (p *prober) end() {
	if p == nil {
		return
	}
	p.cancel()
	p.running.Wait()
}

// run starts probes: one every interval, counted from start to start so that
// the time of a death being noticed has a bound (A11); and while the backend is
// suspect `fall` of them within one timeout, so that it is up or down within two.
func (p *prober) run() {
	defer p.running.Done()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last time.Time
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-p.backend.kick:
			if since := time.Since(last); since < leastGap {
				timer.Reset(leastGap - since)
				continue
			}
		case <-timer.C:
		}
		last = time.Now()
		p.running.Add(1)
		go p.once()
		timer.Reset(p.pace())
	}
}

// leastGap is the shortest time between the starts of two probes, however often
// something asks for one: a closed port answers at once, again and again.
const leastGap = 20 * time.Millisecond

// once makes one probe. It ends within the timeout, so that at most a few run at
// a time: they overlap only while the backend is suspect.
func (p *prober) once() {
	defer p.running.Done()
	ctx, cancel := context.WithTimeout(p.ctx, p.target.Config.Timeout)
	defer cancel()
	r := p.probe(ctx, p.target)
	if p.ctx.Err() != nil {
		return // given up: the result says nothing
	}
	if !p.backend.Probed(r) {
		p.backend.probeNow()
	}
	p.ended()
}

// pace is how long after the start of a probe the next one starts.
func (p *prober) pace() time.Duration {
	c := &p.target.Config
	if p.backend.suspected() {
		return max(time.Millisecond, c.Timeout/time.Duration(max(1, c.Fall)))
	}
	return jitter(c.Interval)
}

// jitter spreads starts by 10 % to either side, so that probes of many backends
// and nodes don't march in step.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.9 + 0.2*rand.Float64())) //nolint:gosec // nobody gains by guessing it
}
