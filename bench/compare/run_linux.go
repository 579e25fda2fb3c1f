package compare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Options say what is compared.
type Options struct {
	Sereno, Echo   string   // binaries
	CoreDNS        string   // the same
	WithoutCoreDNS string   // why there is none
	Only           []string // cases, by name or its beginning; none: all
	Without        []string // programs that are left out
	Rounds         int
	For            time.Duration // each round of each program
	FailFor        time.Duration // each failover of each program; the backend breaks after a third of it
	FailRounds     int           // of the failovers that a bar speaks of; the others have one
	ServerCore     int
	LoadCore       int
	Commit         string // of what is measured
	Progress       io.Writer
}

// ErrNothing says that no case has such a name.
var ErrNothing = errors.New("no case is called that")

// Run compares and gives the sections of the report in order. An error ends it; what was measured before is given with it.
func Run(ctx context.Context, o Options) (Report, error) {
	r := runner{o: o, programs: programs(&o)}
	report := Report{Origin: r.origin(ctx), Whole: len(o.Only) == 0}
	add := func(name string, s Section, err error) error {
		if err != nil {
			return fmt.Errorf("case %s: %w", name, err)
		}
		s.Text += "\n" + report.Origin.short() + "\n"
		fmt.Fprint(o.Progress, s.Text)
		report.Sections = append(report.Sections, s)
		return nil
	}
	for _, c := range comparisons() {
		if r.wanted(c.name) {
			s, err := r.compare(ctx, &c)
			if err := add(c.name, s, err); err != nil {
				return report, err
			}
		}
	}
	for _, f := range failovers() {
		if r.wanted(f.name) {
			s, err := r.failover(ctx, &f)
			if err := add(f.name, s, err); err != nil {
				return report, err
			}
		}
	}
	if len(report.Sections) == 0 {
		return report, ErrNothing
	}
	fmt.Fprint(o.Progress, report.Table())
	return report, nil
}

type runner struct {
	o        Options
	programs map[string]*program
}

func (r *runner) wanted(name string) bool {
	return len(r.o.Only) == 0 || slices.ContainsFunc(r.o.Only, func(o string) bool { return strings.HasPrefix(name, o) })
}

// cores are those of a server that gets n: the server's own, then others, the load's last.
func (r *runner) cores(n int) []int {
	list := []int{r.o.ServerCore}
	for core := range runtime.NumCPU() {
		if core != r.o.ServerCore && core != r.o.LoadCore && len(list) < n {
			list = append(list, core)
		}
	}
	if len(list) < n {
		list = append(list, r.o.LoadCore)
	}
	return list
}

// start starts all entrants that are here and lets them settle. What has started is to be stopped also after an error.
func (r *runner) start(ctx context.Context, list []entrant, probing bool) ([]*instance, error) {
	var running []*instance
	for n, e := range list {
		p := r.programs[e.program]
		if p.absent != "" {
			continue
		}
		i := &instance{program: p, entrant: e, net: firstNet + n}
		running = append(running, i)
		if err := i.start(r.cores(max(1, e.cores)), probing); err != nil {
			return running, err
		}
	}
	select {
	case <-ctx.Done():
		return running, ctx.Err()
	case <-time.After(settling):
	}
	for _, i := range running {
		if err := i.settled(); err != nil {
			return running, err
		}
	}
	return running, nil
}

// firstNet is the third octet of the first entrant's addresses.
const firstNet = 81

func stopAll(running []*instance) {
	for _, i := range running {
		i.stop()
	}
}

// compare plays one case.
func (r *runner) compare(ctx context.Context, c *comparison) (Section, error) {
	fmt.Fprintf(r.o.Progress, "\n%s: %d rounds of %s\n", c.name, r.o.Rounds, r.o.For)
	running, err := r.start(ctx, c.entrants, false)
	defer func() { stopAll(running) }()
	if err != nil {
		return Section{}, err
	}
	for _, i := range running {
		if err := r.fill(ctx, i, i.entrant.fill); err != nil {
			return Section{}, err
		}
	}
	all := map[string]rounds{}
	for range r.o.Rounds {
		for _, i := range running {
			l := c.load
			if i.entrant.load != nil {
				l = *i.entrant.load
			}
			l.length, l.warmup = r.o.For, 300*time.Millisecond
			s, err := i.measure(ctx, r.o.LoadCore, l)
			if err != nil {
				return Section{}, err
			}
			s.resident -= i.base
			all[i.String()] = append(all[i.String()], s)
		}
	}
	return c.report(r.programs, all), nil
}

// fill asks for so many names once, gently; if anything was lost, for all of them again.
func (r *runner) fill(ctx context.Context, i *instance, n int) error {
	if n == 0 || i.conf == "" {
		return nil
	}
	for range 3 {
		s, err := i.measure(ctx, r.o.LoadCore, load{
			protocol: names(n, true), port: 5353, sockets: 8, window: 128, warmup: time.Millisecond, length: time.Minute, limit: uint64(n), //nolint:gosec // not negative
		})
		if err != nil || s.lost == 0 {
			return err
		}
	}
	return fmt.Errorf("%s does not answer everything that fills its cache", i)
}

// failover plays one case; every round starts all programs anew, since what was broken stays so.
func (r *runner) failover(ctx context.Context, f *failover) (Section, error) {
	fmt.Fprintf(r.o.Progress, "\n%s\n", f.name)
	all := map[string]rounds{}
	times := 1
	if f.barred {
		times = r.o.FailRounds
	}
	for range times {
		if err := r.fail(ctx, f, all); err != nil {
			return Section{}, err
		}
	}
	return f.report(r.programs, all, r.o.FailFor), nil
}

func (r *runner) fail(ctx context.Context, f *failover, all map[string]rounds) error {
	running, err := r.start(ctx, entrants(0, f.programs...), true)
	defer func() { stopAll(running) }()
	if err != nil {
		return err
	}
	for _, i := range running {
		l := f.load
		l.length, l.warmup = r.o.FailFor, 500*time.Millisecond
		s, err := i.measure(ctx, r.o.LoadCore, l)
		if err != nil {
			return err
		}
		all[i.String()] = append(all[i.String()], s)
	}
	return nil
}
