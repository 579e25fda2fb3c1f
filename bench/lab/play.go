package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Scenario is one story: what breaks, and what must hold.
type Scenario struct {
	Name string
	Says string // in one line
	setup
	play func(*play) error
}

// row is one line of a scenario's table.
type row struct {
	what, at  string
	took      time.Duration
	bound     time.Duration
	text      string // instead of durations: of what was lost, of what never may be
	violation bool
}

// ofTime says whether the row holds a duration to a bound: all that a busy machine excuses.
func (r row) ofTime() bool { return r.text == "" }

// play is a scenario that is being played.
type play struct {
	*laboratory
	machine *machine
	begin   time.Time
	rows    []row
	notes   []string // the routers' histories, where a bound was broken

	why []string // why something may be lost
}

// ErrBusy says that something took longer than its bound, and that the machine let a node stand still meanwhile: it
// measures the machine, and is worth another try. What was lost, and what never may be, is no matter of time: where such
// a row is broken too, it is not ErrBusy.
var ErrBusy = errors.New("not every bound of time held, on a machine that was too busy to tell")

// Play builds the laboratory, plays a scenario under load, writes its table, and says whether every bound held. It is
// for a process that Enter has started. ErrBusy: see there.
func Play(ctx context.Context, s Scenario, o Options) (held bool, err error) {
	l, err := build(ctx, o, s.setup)
	defer l.stop()
	p := &play{laboratory: l, machine: measure(l.ctx), begin: time.Now()}
	if err == nil {
		err = l.pause(time.Second) // of load before anything breaks
	}
	if err == nil {
		p.begin = time.Now()
		err = s.play(p)
	}
	if err != nil {
		p.explain(o.Out)
		return false, err
	}
	if err := p.settle(); err != nil {
		p.explain(o.Out)
		return false, err
	}
	held = p.table(o.Out, s)
	if held {
		return true, nil
	}
	p.explain(o.Out)
	if onlyLate(p.rows) && p.starved(o.Out) {
		return false, ErrBusy
	}
	return false, nil
}

// onlyLate says whether every broken row is one of time.
func onlyLate(rows []row) bool {
	return !slices.ContainsFunc(rows, func(r row) bool { return r.violation && !r.ofTime() })
}

// stoodStill is what a node logs about a pause of its own process.
var stoodStill = regexp.MustCompile(`stood still.*"for": "([0-9.a-zµ]+)"`)

// starvation is how long a machine must have let this process wait, in all, for a node's standing still to be its doing,
// and starvationAlone how long where no node has noticed any: many processes wait, each for less than it would tell.
const (
	starvation      = 100 * time.Millisecond
	starvationAlone = time.Second
)

// starved says whether the machine did not let the laboratory run, and writes how long: a node stood still for less time
// than any scenario lets it, or this process has waited for long.
func (p *play) starved(out io.Writer) bool {
	waited := p.machine.wait()
	found := false
	for _, n := range p.nodes {
		if n == nil {
			continue
		}
		for _, m := range stoodStill.FindAllStringSubmatch(n.tail(10000), -1) {
			if d, err := time.ParseDuration(m[1]); err == nil && d < 1500*time.Millisecond {
				found = true
				fmt.Fprintf(out, "%s stood still for %s; the machine let the laboratory itself wait for %s in all\n", n.name, d, short(waited))
			}
		}
	}
	if waited >= starvationAlone && !found {
		fmt.Fprintf(out, "the machine let the laboratory itself wait for %s in all\n", short(waited))
	}
	return found && waited >= starvation || waited >= starvationAlone
}

// step waits until a prefix is as wanted at both routers, DNS in both families, and holds the time since then to the bound; FRR's work queue
// is allowed 60 ms more (A11).
func (p *play) step(what, prefix string, since time.Time, want func(view) bool, bound time.Duration) error {
	for _, w := range p.watchers {
		limit := bound
		if w.router == router(p.frr) {
			limit += 60 * time.Millisecond
		}
		if err := p.stepAt(w, what, prefix, since, want, limit); err != nil {
			return err
		}
	}
	return nil
}

// stepAt is step for one router.
func (p *play) stepAt(w *watcher, what, prefix string, since time.Time, want func(view) bool, bound time.Duration) error {
	at, err := p.until(w, prefix, since, want, bound+20*time.Second)
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", what, err, w.tell(prefix, p.begin))
	}
	r := row{what: what, at: w.label(), took: at.Sub(since), bound: bound}
	if r.violation = r.took > bound; r.violation {
		p.notes = append(p.notes, w.tell(prefix, p.begin))
	}
	p.rows = append(p.rows, r)
	return nil
}

// never holds both routers to not having had such a view of a prefix since then.
func (p *play) never(what, prefix string, since time.Time, bad func(view) bool) {
	for _, w := range p.watchers {
		r := row{what: what, at: w.label(), text: "never"}
		if at, ok := w.some(prefix, since, bad); ok {
			r.text, r.violation = fmt.Sprintf("after %s", at.Sub(since).Round(time.Millisecond)), true
			p.notes = append(p.notes, w.tell(prefix, p.begin))
		}
		p.rows = append(p.rows, r)
	}
}

// stood is never, for both prefixes of a site's announced paths.
func (p *play) stood(site int, since time.Time) {
	for _, s := range services {
		p.never(fmt.Sprintf("%s route of node %d gone", s.name, site), s.prefix, since, not(site, announced))
	}
}

// noted waits until something can be seen at a node, and holds the time since then to the bound.
func (p *play) noted(what string, since time.Time, bound time.Duration, ok func() bool) error {
	if err := p.eventually(what, bound+20*time.Second, ok); err != nil {
		return err
	}
	r := row{what: what, at: "node", took: time.Since(since), bound: bound}
	r.violation = r.took > bound
	p.rows = append(p.rows, r)
	return nil
}

// backendIs says whether a site's backend is in a state.
func (p *play) backendIs(site int, name, role string, states ...string) func() bool {
	return func() bool {
		s, err := p.nodes[site].status()
		if err != nil {
			return false
		}
		for _, state := range states {
			if s.Backend(name, role) == state {
				return true
			}
		}
		return false
	}
}

// lossFor allows the loss of what a service is sent in a time, and of what was on its way: 50 ms of it.
func (p *play) lossFor(s service, d time.Duration, why string) {
	for _, t := range p.traffic {
		if t.service.name == s.name {
			t.may += uint64(t.rate*(d+50*time.Millisecond).Seconds()) + 1
		}
	}
	p.why = append(p.why, s.name+": "+why)
}

// lossUntilMoved allows the loss of what a service is sent from since on until no router of the core sends to a site any
// more.
func (p *play) lossUntilMoved(s service, since time.Time, site int, why string) error {
	var moved time.Duration
	for _, w := range p.kernels {
		at, err := p.until(w, s.prefix, since, around(site), 20*time.Second)
		if err != nil {
			return fmt.Errorf("%w\n%s", err, w.tell(s.prefix, p.begin))
		}
		moved = max(moved, at.Sub(since))
	}
	p.lossFor(s, moved, fmt.Sprintf("%s, until no router sent to node %d any more, %s", why, site, short(moved)))
	return nil
}

// settle ends the load, and holds it to what may be lost.
func (p *play) settle() error {
	err := p.pause(500 * time.Millisecond)
	p.stop()
	for _, t := range p.traffic {
		o := <-t.result
		err = errors.Join(err, o.err)
		b := &o.books
		lost := b.Lost + b.Wrong + b.Waiting
		r := row{what: t.name + " load", at: "all", violation: lost > t.may || b.Answered == 0}
		r.text = fmt.Sprintf("%d sent, %d lost, %d wrong (of both at most %d); p50 %s, p99 %s, max %s", b.Sent, b.Lost, b.Wrong, t.may,
			short(b.Latency.Quantile(0.5)), short(b.Latency.Quantile(0.99)), short(b.Latency.Max()))
		p.rows = append(p.rows, r)
		if r.violation {
			p.notes = append(p.notes, "  "+strings.Join(b.Faulty, "\n  ")+"\n")
		}
	}
	for _, c := range p.processes() {
		if c.crashed() {
			err = errors.Join(err, fmt.Errorf("%s has ended by itself: %s", c.name, c.cmd.ProcessState))
		}
	}
	for _, n := range p.nodes {
		if n != nil && n.running() {
			err = errors.Join(err, p.balance(n))
		}
	}
	return err
}

// balance holds a node to having answered, dropped or in flight what it has received (O20).
func (p *play) balance(n *node) error {
	s, err := n.status()
	if err != nil {
		return fmt.Errorf("the balance of %s: %w", n.name, err)
	}
	r := row{what: "counters of " + n.name, at: "node", text: "balance"}
	for _, v := range s.Services {
		if missing := v.Requests - v.Answers - v.Drops - v.InFlight; missing != 0 {
			r.text, r.violation = fmt.Sprintf("%s: %d of %d received are unaccounted for", v.Name, missing, v.Requests), true
		}
	}
	p.rows = append(p.rows, r)
	return nil
}

// table writes the rows, and says whether every bound held.
func (p *play) table(out io.Writer, s Scenario) bool {
	held := true
	fmt.Fprintf(out, "%s: %s\n", s.Name, s.Says)
	for _, r := range p.rows {
		mark := ""
		if r.violation {
			held, mark = false, "  BROKEN"
		}
		if !r.ofTime() {
			fmt.Fprintf(out, "  %-44s %-5s %s%s\n", r.what, r.at, r.text, mark)
			continue
		}
		fmt.Fprintf(out, "  %-44s %-5s %9s  (at most %s)%s\n", r.what, r.at, short(r.took), r.bound, mark)
	}
	for _, why := range p.why {
		fmt.Fprintf(out, "  what may be lost: %s\n", why)
	}
	return held
}

// explain writes what the routers saw, and the nodes' last lines.
func (p *play) explain(out io.Writer) {
	for _, note := range p.notes {
		fmt.Fprint(out, note)
	}
	for _, n := range p.nodes {
		if n != nil {
			fmt.Fprintf(out, "last lines of %s:\n%s", n.name, n.tail(25))
		}
	}
}

// short rounds a duration to three digits.
func short(d time.Duration) string {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit).String()
}
