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
	busy                      float64 // cores that it kept busy
	lost, wrong, sent, resent uint64
	asked                     uint64 // what came to the backends
	unfit                     uint64 // answers that the latencies lack, since the load stood still meanwhile
	slowest                   time.Duration
	recovered                 time.Duration
	trouble                   []uint32 // per drive.TroubleStep since the backend broke
	resident                  int
	faulty                    string
}

// figure is one number of a sample.
type figure func(sample) float64

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
	resend   time.Duration
	slow     time.Duration
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
		Warmup: l.warmup, For: l.length, Patience: l.patience, Resend: l.resend, Slow: l.slow, Backends: i.backends,
		Begin: func() { before = i.usage() }, End: func() { after = i.usage() },
	}
	if l.midway != nil {
		cfg.Midway = func() { l.midway(i) }
	}
	r, err := drive.Run(ctx, cfg)
	if err != nil {
		return sample{}, fmt.Errorf("measuring %s: %w", i, err)
	}
	select {
	case err := <-i.ended:
		i.ended <- err
		return sample{}, fmt.Errorf("%s ended while it was measured: %w", i, err)
	default:
	}
	n, used := float64(max(r.Answered, 1)), after.cpu-before.cpu
	cpu := used.Seconds() * 1e6 / n
	ticks := after.user - before.user + after.system - before.system
	return sample{
		rate: float64(r.Answered) / r.Elapsed.Seconds(), cpu: cpu, user: cpu * (after.user - before.user) / max(1, ticks),
		busy: used.Seconds() / r.Elapsed.Seconds(), p50: us(r.Latency.Quantile(0.5)), p99: us(r.Latency.Quantile(0.99)),
		lost: r.Lost, wrong: r.Wrong, sent: r.Sent, resent: r.Resent, asked: r.Asked, unfit: r.Unfit, slowest: r.Slowest, recovered: r.Recovered,
		trouble: r.Trouble, resident: after.resident, faulty: r.Faulty,
	}, nil
}

func us(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

func rate(s sample) float64   { return s.rate }
func cpu(s sample) float64    { return s.cpu }
func user(s sample) float64   { return s.user }
func p50(s sample) float64    { return s.p50 }
func p99(s sample) float64    { return s.p99 }
func busy(s sample) float64   { return s.busy }
func memory(s sample) float64 { return float64(s.resident) / 1e6 }

func lost(s sample) uint64  { return s.lost }
func wrong(s sample) uint64 { return s.wrong }
func sent(s sample) uint64  { return s.sent }
func asked(s sample) uint64 { return s.asked }
func unfit(s sample) uint64 { return s.unfit }

// rounds are the samples of one entrant.
type rounds []sample

// spread is a median between the least and the greatest of the rounds.
type spread struct{ low, median, high float64 }

func (r rounds) spread(of figure) spread {
	v := make([]float64, len(r))
	for i, s := range r {
		v[i] = of(s)
	}
	return spreadOf(v)
}

// over are the rounds' ratios to another's.
func (r rounds) over(o rounds, of figure) spread {
	v := make([]float64, min(len(r), len(o)))
	for i := range v {
		v[i] = of(r[i]) / max(of(o[i]), 1e-9)
	}
	return spreadOf(v)
}

func (r rounds) sum(of func(sample) uint64) (n uint64) {
	for _, s := range r {
		n += of(s)
	}
	return n
}

func spreadOf(v []float64) spread {
	if len(v) == 0 {
		return spread{}
	}
	slices.Sort(v)
	return spread{v[0], (v[(len(v)-1)/2] + v[len(v)/2]) / 2, v[len(v)-1]}
}

// text writes it with that many digits behind the point.
func (s spread) text(digits int) string {
	if s.low == s.high {
		return fmt.Sprintf("%.*f", digits, s.median)
	}
	return fmt.Sprintf("%.*f (%.*f–%.*f)", digits, s.median, digits, s.low, digits, s.high)
}

// worst puts the rounds of a failover together: all that was lost, and whoever waited longest.
func (r rounds) worst() sample {
	var all sample
	for _, s := range r {
		all.sent, all.lost, all.wrong, all.resent = all.sent+s.sent, all.lost+s.lost, all.wrong+s.wrong, all.resent+s.resent
		all.slowest, all.recovered = max(all.slowest, s.slowest), max(all.recovered, s.recovered)
		for len(all.trouble) < len(s.trouble) {
			all.trouble = append(all.trouble, 0)
		}
		for i, n := range s.trouble {
			all.trouble[i] += n
		}
		if all.faulty == "" {
			all.faulty = s.faulty
		}
	}
	return all
}
