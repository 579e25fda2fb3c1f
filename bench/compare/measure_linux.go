package compare

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sereno/bench/drive"
)

// sample is one round of one program.
type sample struct {
	rate, cpu, user, p50, p99 float64 // a second; the rest in µs
	lost, wrong, sent         uint64
	slowest                   time.Duration
	resident                  int
	faulty                    string
}

// load is how a program is asked.
type load struct {
	protocol func() drive.Protocol
	port     uint16
	sockets  int
	window   int
	rate     float64
	warmup   time.Duration
	length   time.Duration
	patience time.Duration
	limit    uint64
	midway   func(*instance)
}

func addr(ip string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(ip), port)
}

// measure drives one round.
func (i *instance) measure(ctx context.Context, core int, l load) (sample, error) {
	p := l.protocol()
	if d, ok := p.(*drive.DNS); ok && i.conf == "" {
		d.Echo = true
	}
	var before, after usage
	cfg := drive.Config{
		Protocol: p, Target: addr(i.listen(), l.port), Core: core, Sockets: l.sockets, Window: l.window, Rate: l.rate, Limit: l.limit,
		Warmup: l.warmup, For: l.length, Patience: l.patience, Backends: i.backends,
		Begin: func() { before = i.usage() }, End: func() { after = i.usage() },
	}
	if l.midway != nil {
		cfg.Midway = func() { l.midway(i) }
	}
	r, err := drive.Run(ctx, cfg)
	if err != nil {
		return sample{}, fmt.Errorf("measuring %s: %w", i.name, err)
	}
	select {
	case err := <-i.ended:
		i.ended <- err
		return sample{}, fmt.Errorf("%s ended while it was measured: %w", i.name, err)
	default:
	}
	n := float64(max(r.Answered, 1))
	cpu := float64((after.cpu - before.cpu).Nanoseconds()) / 1e3 / n
	ticks := after.user - before.user + after.system - before.system
	return sample{
		rate: float64(r.Answered) / r.Elapsed.Seconds(), cpu: cpu, user: cpu * (after.user - before.user) / max(1, ticks),
		p50: us(r.Latency.Quantile(0.5)), p99: us(r.Latency.Quantile(0.99)),
		lost: r.Lost, wrong: r.Wrong, sent: r.Sent, slowest: r.Slowest, resident: after.resident, faulty: r.Faulty,
	}, nil
}

func us(d time.Duration) float64 { return float64(d.Microseconds()) }

// rounds are the samples of one program.
type rounds []sample

func (r rounds) median(of func(sample) float64) float64 {
	v := make([]float64, len(r))
	for i, s := range r {
		v[i] = of(s)
	}
	return median(v)
}

// over is the median of the rounds' ratios to another's.
func (r rounds) over(o rounds, of func(sample) float64) float64 {
	v := make([]float64, min(len(r), len(o)))
	for i := range v {
		v[i] = of(r[i]) / max(of(o[i]), 1e-9)
	}
	return median(v)
}

func (r rounds) sum(of func(sample) uint64) (n uint64) {
	for _, s := range r {
		n += of(s)
	}
	return n
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

func rate(s sample) float64    { return s.rate }
func cpu(s sample) float64     { return s.cpu }
func user(s sample) float64    { return s.user }
func p50(s sample) float64     { return s.p50 }
func p99(s sample) float64     { return s.p99 }
func lost(s sample) uint64     { return s.lost }
func wrong(s sample) uint64    { return s.wrong }
func sent(s sample) uint64     { return s.sent }
func slowest(s sample) float64 { return s.slowest.Seconds() }
