package lab

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"
)

// reconnect bounds the time in which a session that fell is there again: GoBGP's fixed idle time of 5 s after a
// reset, its jitter, and the hold time's third that the first keepalive may take.
const reconnect = 10 * time.Second

// bothGone waits until neither route of node 1 is at either router.
func (p *play) bothGone(since time.Time, bound time.Duration) error {
	var errs []error
	for _, s := range services {
		errs = append(errs, p.step(s.name+" route of node 1 gone", s.prefix, since, is(1, absent), bound))
	}
	return errors.Join(errs...)
}

func (p *play) bothBack(since time.Time, bound time.Duration) error {
	var errs []error
	for _, s := range services {
		errs = append(errs, p.step(s.name+" route of node 1 back", s.prefix, since, is(1, announced), bound))
	}
	return errors.Join(errs...)
}

// siteLost allows the loss of what was sent to node 1 until the routers had moved.
func (p *play) siteLost(since time.Time) error {
	const why = "what was on its way to node 1"
	return errors.Join(p.lossUntilMoved(dnsService, since, 1, why), p.lossUntilMoved(radiusService, since, 1, why))
}

func nodeKilled(p *play) error {
	since := time.Now()
	if err := p.nodes[1].kill(); err != nil {
		return err
	}
	if err := errors.Join(p.bothGone(since, lease+500*time.Millisecond), p.siteLost(since)); err != nil {
		return err
	}
	again := time.Now()
	if err := p.nodes[1].start(); err != nil {
		return err
	}
	return p.bothBack(again, p.timing.announceAfter+reconnect)
}

func nodeFrozen(p *play) error {
	since := time.Now()
	if err := p.nodes[1].signal(syscall.SIGSTOP); err != nil {
		return err
	}
	if err := errors.Join(p.bothGone(since, lease+500*time.Millisecond), p.siteLost(since), p.pause(time.Second)); err != nil {
		return err
	}
	on := time.Now()
	if err := p.nodes[1].signal(syscall.SIGCONT); err != nil {
		return err
	}
	return p.bothBack(on, reconnect)
}

// nodeStarved: no pause is long, but there is one again and again. Answers come late, and nothing else happens.
func nodeStarved(p *play) error {
	since := time.Now()
	for time.Since(since) < 6*time.Second {
		if err := errors.Join(p.nodes[1].signal(syscall.SIGSTOP), p.pause(160*time.Millisecond),
			p.nodes[1].signal(syscall.SIGCONT), p.pause(40*time.Millisecond)); err != nil {
			return err
		}
	}
	if err := p.pause(2 * time.Second); err != nil {
		return err
	}
	p.stood(1, since)
	return nil
}

// signalSpeakers sends a signal to every process that node 1 has started: its speakers.
func (p *play) signalSpeakers(s syscall.Signal) error {
	pids, err := p.nodes[1].children()
	if err != nil {
		return err
	}
	if len(pids) < 2*len(families) {
		return fmt.Errorf("node 1 has speakers %v, want one for each router and family", pids)
	}
	for _, pid := range pids {
		err = errors.Join(err, syscall.Kill(pid, s))
	}
	return err
}

func speakerKilled(p *play) error {
	since := time.Now()
	if err := p.signalSpeakers(syscall.SIGKILL); err != nil {
		return err
	}
	if err := p.bothGone(since, 500*time.Millisecond); err != nil {
		return err
	}
	return p.backAfterLoss(since, 3*time.Second)
}

// backAfterLoss waits for the routes of node 1, of which it is known that they were gone after since.
func (p *play) backAfterLoss(since time.Time, bound time.Duration) error {
	for _, w := range p.watchers {
		for _, s := range services {
			gone, err := p.until(w, s.prefix, since, is(1, absent), bound)
			if err != nil {
				return err
			}
			at, err := p.until(w, s.prefix, gone, is(1, announced), bound+20*time.Second)
			if err != nil {
				return err
			}
			r := row{what: s.name + " route of node 1 back", at: w.label(), took: at.Sub(since), bound: bound}
			if r.violation = r.took > bound; r.violation {
				p.notes = append(p.notes, w.tell(s.prefix, p.begin))
			}
			p.rows = append(p.rows, r)
		}
	}
	return nil
}

func speakerFrozen(p *play) error {
	since := time.Now()
	if err := p.signalSpeakers(syscall.SIGSTOP); err != nil {
		return err
	}
	return p.backAfterLoss(since, lease+3*time.Second)
}

// drained waits for what a drain of node 1 does to a prefix: demoted, the router moves, withdrawn.
func (p *play) drained(s service, since time.Time) error {
	return errors.Join(
		p.step("drained: "+s.name+" route of node 1 demoted", s.prefix, since, is(1, demoted), 250*time.Millisecond),
		p.step("drained: "+s.name+" goes to another site", s.prefix, since, movedFrom(1), 500*time.Millisecond),
		p.step("drained: "+s.name+" route of node 1 gone", s.prefix, since, is(1, absent), p.timing.drain/2+500*time.Millisecond))
}

// drainAndStop: first one service is drained beside the other, which stays, then that one too.
func drainAndStop(p *play) error {
	entries := map[service]string{dnsService: "anycast/dns-vip", radiusService: "anycast/radius-vip"}
	begin := time.Now()
	for _, s := range services {
		since := time.Now()
		if err := p.nodes[1].change("drain?force=true&target=" + entries[s]); err != nil { // force: the second is the last one
			return err
		}
		if err := p.drained(s, since); err != nil {
			return err
		}
		if s == dnsService {
			p.never("RADIUS route of node 1 gone", radiusPrefix, begin, not(1, announced))
		}
		if err := p.pause(time.Second); err != nil {
			return err
		}
	}
	again := time.Now()
	for _, s := range services {
		if err := p.nodes[1].change("undrain?target=" + entries[s]); err != nil {
			return err
		}
	}
	for _, s := range services {
		if err := p.step("undrained: "+s.name+" route of node 1 back", s.prefix, again, is(1, announced), p.timing.announceAfter+time.Second); err != nil {
			return err
		}
	}
	if err := p.pause(time.Second); err != nil {
		return err
	}
	return p.stopped(1)
}

// stopped stops a node (SIGTERM) and waits for its end: its routes go in two steps, and its addresses leave last (A14).
func (p *play) stopped(site int) error {
	n, since := p.nodes[site], time.Now()
	leave := p.leaving(site)
	if err := n.signal(syscall.SIGTERM); err != nil {
		return err
	}
	half := p.timing.drain / 2
	for _, s := range services {
		name := fmt.Sprintf("stopped: %s route of node %d", s.name, site)
		if err := errors.Join(
			p.step(name+" demoted", s.prefix, since, is(site, demoted), 250*time.Millisecond),
			p.step(name+" gone", s.prefix, since, is(site, absent), half+500*time.Millisecond)); err != nil {
			return err
		}
	}
	bound := p.timing.drain + 6*time.Second // what is in flight may take a RADIUS request's 5 s
	code, err := n.exitCode(bound + 20*time.Second)
	if err != nil {
		return err
	}
	r := row{what: fmt.Sprintf("stopped: node %d has ended, exit code %d", site, code), at: "node", took: time.Since(since), bound: bound}
	r.violation = code != 0 || r.took > bound
	p.rows = append(p.rows, r)
	left, err := assigned(site)
	if err != nil {
		return err
	}
	p.rows = append(p.rows, row{what: fmt.Sprintf("stopped: addresses that node %d has left behind", site), at: "node",
		text: fmt.Sprintf("%d", len(left)), violation: len(left) > 0})
	return p.leftLast(site, since, <-leave)
}

// leaving tells when the first of a node's anycast addresses is gone; it looks until then.
func (p *play) leaving(site int) <-chan time.Time {
	first := make(chan time.Time, 1)
	go func() {
		defer close(first)
		for p.ctx.Err() == nil {
			if there, err := assigned(site); err == nil && len(there) < 3 {
				first <- time.Now()
				return
			}
			time.Sleep(glance)
		}
	}()
	return first
}

// leftLast holds a node's addresses to having been there for as long as any router could send to them: the second half of
// the drain lies in between.
func (p *play) leftLast(site int, since, left time.Time) error {
	r := row{what: fmt.Sprintf("stopped: addresses of node %d leave last", site), at: "node"}
	for _, w := range slices.Concat(p.watchers, p.kernels) {
		for _, s := range services {
			want := is(site, absent)
			if _, ok := w.router.(*kernel); ok {
				want = around(site)
			}
			at, err := p.until(w, s.prefix, since, want, 0)
			if err != nil {
				return err
			}
			if after := left.Sub(at); r.text == "" || after < r.took {
				r.took, r.text = after, fmt.Sprintf("%s after the last router had turned away", short(after))
			}
		}
	}
	r.violation = r.took < 0
	p.rows = append(p.rows, r)
	return nil
}

func rollingUpgrade(p *play) error {
	for site := 1; site <= p.sites; site++ {
		if err := p.stopped(site); err != nil {
			return err
		}
		again := time.Now()
		if err := p.nodes[site].start(); err != nil {
			return err
		}
		for _, s := range services {
			what := fmt.Sprintf("started: %s route of node %d back", s.name, site)
			if err := p.step(what, s.prefix, again, is(site, announced), p.timing.announceAfter+reconnect); err != nil {
				return err
			}
		}
		if err := p.pause(500 * time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// movedLive: the backends answer late what they were asked last, so that their answers come while the node stands still.
// It must take those when it goes on, and not find that its time for them is over.
func movedLive(p *play) error {
	since := time.Now()
	backends := func(s syscall.Signal) error {
		return p.eachBackend(func(b *process) error { return b.signal(s) })
	}
	err := errors.Join(backends(syscall.SIGSTOP), p.pause(20*time.Millisecond),
		p.nodes[1].signal(syscall.SIGSTOP), p.signalSpeakers(syscall.SIGSTOP), backends(syscall.SIGCONT))
	if err != nil {
		return err
	}
	if err := p.pause(2 * time.Second); err != nil {
		return err
	}
	on := time.Now()
	if err := errors.Join(p.signalSpeakers(syscall.SIGCONT), p.nodes[1].signal(syscall.SIGCONT)); err != nil {
		return err
	}
	// No requirement says how soon; a lease is when a node that is not would lose its routes.
	if err := p.noted("node 1 is up", on, lease, func() bool {
		s, err := p.nodes[1].status()
		return err == nil && (s.State == "up" || s.State == "degraded")
	}); err != nil {
		return err
	}
	if err := p.pause(5 * time.Second); err != nil { // longer than a lease: nothing comes late
		return err
	}
	p.stood(1, since)
	return nil
}
