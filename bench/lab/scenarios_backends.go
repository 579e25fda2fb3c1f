package lab

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"sereno/bench/stub"
)

// found waits until node 1 knows that the first backends of its pools are down, and until it knows that they are up.
func (p *play) found(since time.Time) error {
	return errors.Join(
		p.noted("the resolver is down or suspect", since, p.timing.foundDNS()+200*time.Millisecond, p.backendIs(1, "unbound-1", "dns", "down", "suspect")),
		p.noted("the RADIUS server is down or suspect", since, p.timing.foundRADIUS()+200*time.Millisecond, p.backendIs(1, "freeradius-1", "auth", "down", "suspect")))
}

// risen waits until the first backends of node 1's pools are up; a server may take 3 s to start.
func (p *play) risen(since time.Time) error {
	const rise = 2
	return errors.Join(
		p.noted("the resolver is up again", since, rise*p.timing.dnsInterval*11/10+p.timing.dnsTimeout+3*time.Second, p.backendIs(1, "unbound-1", "dns", "up")),
		p.noted("the RADIUS server is up again", since, rise*p.timing.radiusInterval*11/10+p.timing.radiusTmo+3*time.Second, p.backendIs(1, "freeradius-1", "auth", "up")))
}

// oneFails breaks the first resolver and the first RADIUS server of site 1, and mends them: nothing may be lost, and
// no route may change.
func (p *play) oneFails(fail, mend func() error) error {
	since := time.Now()
	if err := fail(); err != nil {
		return err
	}
	if err := p.found(since); err != nil {
		return err
	}
	if err := p.pause(2 * time.Second); err != nil {
		return err
	}
	back := time.Now()
	if err := mend(); err != nil {
		return err
	}
	if err := p.risen(back); err != nil {
		return err
	}
	p.stood(1, since)
	return nil
}

func backendKilled(p *play) error {
	return p.oneFails(
		func() error { return errors.Join(p.unbound[1][1].kill(), p.radius[1][1].kill()) },
		func() error { return errors.Join(p.unbound[1][1].start(), p.radius[1][1].start()) })
}

func backendFrozen(p *play) error {
	both := func(s syscall.Signal) func() error {
		return func() error { return errors.Join(p.unbound[1][1].signal(s), p.radius[1][1].signal(s)) }
	}
	return p.oneFails(both(syscall.SIGSTOP), both(syscall.SIGCONT))
}

func backendBlackholed(p *play) error {
	rules := func(action string) func() error {
		return func() error {
			return ip(fmt.Sprintf("rule %s from %s to %s blackhole\nrule %[1]s from %[4]s to %[3]s blackhole\n",
				action, server(1, 11), server(1, 1), server(1, 21)), "-n", serverSpace(1), "-batch", "-")
		}
	}
	return p.oneFails(rules("add"), rules("del"))
}

// replaced puts a resolver in the place of site 1's first Unbound that is as good, and then fails.
func (p *play) replaced(m stub.Mode, bound time.Duration) error {
	begin := time.Now()
	if err := p.unbound[1][1].kill(); err != nil {
		return err
	}
	r, err := resolverStub(1, 1)
	if err != nil {
		return err
	}
	if err := errors.Join(p.pause(time.Second), p.eventually("the other resolver is up", 20*time.Second, p.backendIs(1, "unbound-1", "dns", "up")), r.Set(m)); err != nil {
		return err
	}
	since := time.Now()
	if err := p.noted("the resolver is down", since, bound, p.backendIs(1, "unbound-1", "dns", "down")); err != nil {
		return err
	}
	if err := p.pause(2 * time.Second); err != nil {
		return err
	}
	p.stood(1, begin)
	return r.Close()
}

func backendServfail(p *play) error {
	return p.replaced(stub.Mode{Fault: stub.Servfail}, p.timing.foundDNS()+200*time.Millisecond)
}

// backendHalfServfail: half of the last 20 bad is down, and so are two in a row (A06). Which of its queries are probes is
// chance: of 20 in a row, one time in 60 there are no two bad ones in a row and less than half in all; of 40 less than one
// in 4,000.
func backendHalfServfail(p *play) error {
	return p.replaced(stub.Mode{Fault: stub.Servfail, Every: 2}, 40*p.timing.dnsInterval*11/10)
}

// back is the bound on a route's return after its backends' start: 3 s for that, two good probes, and the delay.
func (p *play) back(delay, interval, timeout time.Duration) time.Duration {
	return 3*time.Second + 2*interval*11/10 + timeout + delay + 500*time.Millisecond
}

func (p *play) eachBackend(do func(*process) error) error {
	var errs []error
	for number := 1; number <= 2; number++ {
		errs = append(errs, do(p.unbound[1][number]), do(p.radius[1][number]))
	}
	return errors.Join(errs...)
}

func siteBackendsKilled(p *play) error {
	begin := time.Now()
	if err := p.eachBackend((*process).kill); err != nil {
		return err
	}
	since := time.Now() // from here on there is none (A11)
	if err := p.step("DNS route of node 1 gone", dnsPrefix, since, is(1, absent), p.timing.foundDNS()+200*time.Millisecond); err != nil {
		return err
	}
	if err := p.step("RADIUS route of node 1 gone", radiusPrefix, since, is(1, absent), p.timing.foundRADIUS()+200*time.Millisecond); err != nil {
		return err
	}
	for _, s := range services {
		if err := p.lossUntilMoved(s, begin, 1, "what site 1 was asked while it had no backend"); err != nil {
			return err
		}
	}
	restarted := time.Now()
	if err := p.eachBackend((*process).start); err != nil {
		return err
	}
	if err := p.step("DNS route of node 1 back", dnsPrefix, restarted, is(1, announced),
		p.back(p.timing.announceAfter, p.timing.dnsInterval, p.timing.dnsTimeout)); err != nil {
		return err
	}
	return p.step("RADIUS route of node 1 back", radiusPrefix, restarted, is(1, announced),
		p.back(p.timing.announceAfter, p.timing.radiusInterval, p.timing.radiusTmo))
}

func flapping(p *play) error {
	delay := p.timing.announceAfter
	for round := 1; round <= 3; round++ {
		begin := time.Now()
		since, err := p.killResolvers(1)
		if err != nil {
			return err
		}
		if err := p.step(fmt.Sprintf("%d: DNS route of node 1 gone", round), dnsPrefix, since, is(1, absent), p.timing.foundDNS()+200*time.Millisecond); err != nil {
			return err
		}
		if err := p.lossUntilMoved(dnsService, begin, 1, "what site 1 was asked while it had no resolver"); err != nil {
			return err
		}
		restarted := time.Now()
		if err := errors.Join(p.unbound[1][1].start(), p.unbound[1][2].start()); err != nil {
			return err
		}
		what := fmt.Sprintf("%d: DNS route of node 1 back", round)
		if err := p.step(what, dnsPrefix, restarted, is(1, announced), p.back(delay, p.timing.dnsInterval, p.timing.dnsTimeout)); err != nil {
			return err
		}
		if at, ok := p.watchers[0].some(dnsPrefix, restarted, is(1, announced)); ok && at.Sub(restarted) < delay {
			return fmt.Errorf("%s after %s, before its hold-down of %s", what, at.Sub(restarted), delay)
		}
		delay *= 2
	}
	p.never("RADIUS route of node 1 gone", radiusPrefix, p.begin, not(1, announced))
	return nil
}
