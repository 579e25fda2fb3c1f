package compare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Options say what is compared.
type Options struct {
	Sereno, Echo string   // binaries
	Only         []string // cases, by name or its beginning; none: all
	Without      []string // programs that are left out
	Rounds       int
	For          time.Duration // each round of each program
	ServerCore   int
	LoadCore     int
	Progress     io.Writer
}

// ErrNothing says that no case has such a name.
var ErrNothing = errors.New("no case is called that")

// Run compares and gives the sections of the report by the names of their cases, in order.
func Run(ctx context.Context, o Options) ([]Section, error) {
	r := runner{o: o, programs: programs(o.Sereno, o.Echo)}
	var out []Section
	for _, c := range comparisons() {
		if !r.wanted(c.name) {
			continue
		}
		s, err := r.compare(ctx, c)
		if err != nil {
			return out, fmt.Errorf("case %s: %w", c.name, err)
		}
		fmt.Fprint(o.Progress, s.Text)
		out = append(out, s)
	}
	for _, f := range failovers() {
		if !r.wanted("failover-" + f.name) {
			continue
		}
		s, err := r.failover(ctx, f)
		if err != nil {
			return out, fmt.Errorf("case failover-%s: %w", f.name, err)
		}
		fmt.Fprint(o.Progress, s.Text)
		out = append(out, s)
	}
	if len(out) == 0 {
		return nil, ErrNothing
	}
	return out, nil
}

type runner struct {
	o        Options
	programs map[string]*program
}

func (r *runner) wanted(name string) bool {
	return len(r.o.Only) == 0 || slices.ContainsFunc(r.o.Only, func(o string) bool { return strings.HasPrefix(name, o) })
}

// compare plays one case.
func (r *runner) compare(ctx context.Context, c comparison) (Section, error) {
	var running []*instance
	defer func() {
		for _, i := range running {
			i.stop()
		}
	}()
	base := map[string]int{}
	for _, name := range c.programs {
		if slices.Contains(r.o.Without, name) {
			continue
		}
		i, err := start(r.programs[name], r.o.ServerCore, false)
		if err != nil {
			return Section{}, err
		}
		running = append(running, i)
		base[name] = i.usage().resident
		if err := r.fill(ctx, i, c.fill); err != nil {
			return Section{}, err
		}
	}
	all := map[string]rounds{}
	for range r.o.Rounds {
		for _, i := range running {
			l := c.load
			l.length, l.warmup = r.o.For, 300*time.Millisecond
			s, err := i.measure(ctx, r.o.LoadCore, l)
			if err != nil {
				return Section{}, err
			}
			s.resident -= base[i.name]
			all[i.name] = append(all[i.name], s)
		}
	}
	return c.report(running, all), nil
}

// fill asks for so many names once, gently: what is lost is asked for later.
func (r *runner) fill(ctx context.Context, i *instance, n int) error {
	if n == 0 || i.conf == "" {
		return nil
	}
	_, err := i.measure(ctx, r.o.LoadCore, load{
		protocol: names(n, true), port: 5353, sockets: 8, window: 128, warmup: time.Millisecond, length: time.Minute, limit: uint64(n), //nolint:gosec // not negative
	})
	return err
}

// failover plays one case; every program starts anew, since what was broken stays so.
func (r *runner) failover(ctx context.Context, f failover) (Section, error) {
	var order []string
	all := map[string]sample{}
	for _, name := range f.programs {
		if slices.Contains(r.o.Without, name) {
			continue
		}
		i, err := start(r.programs[name], r.o.ServerCore, true)
		if err != nil {
			return Section{}, err
		}
		l := f.load
		l.length, l.warmup = 3*r.o.For, 500*time.Millisecond
		s, err := i.measure(ctx, r.o.LoadCore, l)
		i.stop()
		if err != nil {
			return Section{}, err
		}
		order, all[name] = append(order, name), s
	}
	return f.report(order, all), nil
}
