package lab

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// reconnect bounds the time in which a session that fell is there again: GoBGP's fixed idle time of 5 s after a
// reset, its jitter, and the hold time's third that the first keepalive may take.
const reconnect = 10 * time.Second

// bothGone waits until neither route of node 1 is at either router.
func (p *play) bothGone(since time.Time, bound time.Duration) error {
	return errors.Join(
		p.step("DNS route of node 1 gone", dnsPrefix, since, is(1, absent), bound),
		p.step("RADIUS route of node 1 gone", radiusPrefix, since, is(1, absent), bound))
}

func (p *play) bothBack(since time.Time, bound time.Duration) error {
	return errors.Join(
		p.step("DNS route of node 1 back", dnsPrefix, since, is(1, announced), bound),
		p.step("RADIUS route of node 1 back", radiusPrefix, since, is(1, announced), bound))
}

// siteLost allows the loss of what was sent to node 1 until the first router had moved.
func (p *play) siteLost(since time.Time) error {
	moved, err := p.moved(dnsPrefix, since, 1)
	if err != nil {
		return err
	}
	p.lossFor(moved, "what was on its way to node 1 until the router had moved, "+short(moved))
	return nil
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
		for name, prefix := range map[string]string{"DNS": dnsPrefix, "RADIUS": radiusPrefix} {
			gone, err := p.until(w, prefix, since, is(1, absent), bound)
			if err != nil {
				return err
			}
			at, err := p.until(w, prefix, gone, is(1, announced), bound+20*time.Second)
			if err != nil {
				return err
			}
			r := row{what: name + " route of node 1 back", at: w.label(), took: at.Sub(since), bound: bound}
			if r.violation = r.took > bound; r.violation {
				p.notes = append(p.notes, w.tell(prefix, p.begin))
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

// drained waits for what a drain or a stop of node 1 does to a prefix: demoted, the router moves, withdrawn.
func (p *play) drained(prefix, name string, since time.Time) error {
	half := p.timing.drain / 2
	return errors.Join(
		p.step(name+" route of node 1 demoted", prefix, since, is(1, demoted), 250*time.Millisecond),
		p.step(name+" goes to another site", prefix, since, movedFrom(1), 500*time.Millisecond),
		p.step(name+" route of node 1 gone", prefix, since, is(1, absent), half+500*time.Millisecond))
}

func drainAndStop(p *play) error {
	since := time.Now()
	if err := p.nodes[1].tell("drain", "anycast/dns-vip"); err != nil {
		return err
	}
	if err := p.drained(dnsPrefix, "drained: DNS", since); err != nil {
		return err
	}
	p.never("RADIUS route of node 1 gone", radiusPrefix, since, not(1, announced))
	if err := p.pause(time.Second); err != nil {
		return err
	}
	again := time.Now()
	if err := p.nodes[1].tell("undrain", "anycast/dns-vip"); err != nil {
		return err
	}
	if err := p.step("undrained: DNS route of node 1 back", dnsPrefix, again, is(1, announced), p.timing.announceAfter+time.Second); err != nil {
		return err
	}
	if err := p.pause(time.Second); err != nil {
		return err
	}
	return p.stopped(1)
}

// stopped stops a node (SIGTERM) and waits for its end.
func (p *play) stopped(site int) error {
	n, since := p.nodes[site], time.Now()
	if err := n.signal(syscall.SIGTERM); err != nil {
		return err
	}
	name := fmt.Sprintf("stopped: DNS route of node %d", site)
	half := p.timing.drain / 2
	if err := errors.Join(
		p.step(name+" demoted", dnsPrefix, since, is(site, demoted), 250*time.Millisecond),
		p.step(name+" gone", dnsPrefix, since, is(site, absent), half+500*time.Millisecond)); err != nil {
		return err
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
		for name, prefix := range map[string]string{"DNS": dnsPrefix, "RADIUS": radiusPrefix} {
			what := fmt.Sprintf("started: %s route of node %d back", name, site)
			if err := p.step(what, prefix, again, is(site, announced), p.timing.announceAfter+reconnect); err != nil {
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
	if err := p.noted("node 1 is up", on, time.Second, func() bool {
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
