package lab

import (
	"errors"
	"fmt"
	"time"
)

// killResolvers kills both resolvers of a site, and gives the moment from which there was none (A11).
func (p *play) killResolvers(site int) (time.Time, error) {
	err := errors.Join(p.unbound[site][1].kill(), p.unbound[site][2].kill())
	return time.Now(), err
}

// allSick kills every resolver, and gives the moments from which a site had none.
func (p *play) allSick() (since [maxSites + 1]time.Time, err error) {
	for site := p.sites; site >= 1; site-- {
		if since[site], err = p.killResolvers(site); err != nil {
			return since, err
		}
	}
	return since, nil
}

func allSickWithdraw(p *play) error {
	since, err := p.allSick()
	if err != nil {
		return err
	}
	for site := 1; site <= p.sites; site++ {
		if err := p.step(fmt.Sprintf("DNS route of node %d gone", site), dnsPrefix, since[site], is(site, absent), p.timing.foundDNS()+200*time.Millisecond); err != nil {
			return err
		}
	}
	if err := p.pause(2 * time.Second); err != nil {
		return err
	}
	again := time.Now()
	for site := 1; site <= p.sites; site++ {
		if err := errors.Join(p.unbound[site][1].start(), p.unbound[site][2].start()); err != nil {
			return err
		}
	}
	bound := p.back(p.timing.announceAfter, p.timing.dnsInterval, p.timing.dnsTimeout)
	for site := 1; site <= p.sites; site++ {
		if err := p.step(fmt.Sprintf("DNS route of node %d back", site), dnsPrefix, again, is(site, announced), bound); err != nil {
			return err
		}
	}
	p.never("RADIUS route of node 1 gone", radiusPrefix, p.begin, not(1, announced))
	for _, t := range p.traffic {
		if t.service == dnsService {
			t.may = uint64(t.rate * time.Since(p.begin).Seconds())
		}
	}
	p.why = append(p.why, "DNS: every query while nobody had a route: when_down: withdraw is for prefixes that somebody else announces too")
	return nil
}

func allSickDemote(p *play) error {
	since, err := p.allSick()
	if err != nil {
		return err
	}
	for site := 1; site <= p.sites; site++ {
		if err := p.step(fmt.Sprintf("DNS route of node %d demoted", site), dnsPrefix, since[site], is(site, demoted), p.timing.foundDNS()+200*time.Millisecond); err != nil {
			return err
		}
	}
	if err := p.pause(4 * time.Second); err != nil {
		return err
	}
	for site := 1; site <= p.sites; site++ {
		p.never(fmt.Sprintf("DNS route of node %d gone", site), dnsPrefix, p.begin, is(site, absent))
	}
	return nil
}

func allSickHandOver(p *play) error {
	bound := p.timing.foundDNS() + 200*time.Millisecond
	since, err := p.killResolvers(1)
	if err != nil {
		return err
	}
	if err := errors.Join(
		p.step("DNS goes to another site", dnsPrefix, since, movedFrom(1), bound),
		p.step("DNS route of node 1 gone: handed over", dnsPrefix, since, is(1, absent), bound+2*time.Second)); err != nil {
		return err
	}
	if err := p.pause(lease + time.Second); err != nil {
		return err
	}
	p.never("DNS route of node 2 not announced", dnsPrefix, since, not(2, announced))
	last, err := p.killResolvers(2)
	if err != nil {
		return err
	}
	if err := errors.Join(
		p.step("DNS route of node 2 demoted: the last one", dnsPrefix, last, is(2, demoted), bound),
		p.step("DNS route of node 1 back, demoted", dnsPrefix, last, is(1, demoted), bound+lease+2*time.Second)); err != nil {
		return err
	}
	if err := p.pause(lease + time.Second); err != nil {
		return err
	}
	p.never("DNS route of node 2 gone", dnsPrefix, since, is(2, absent))
	again := time.Now()
	if err := errors.Join(p.unbound[1][1].start(), p.unbound[1][2].start()); err != nil {
		return err
	}
	return errors.Join(
		p.step("DNS route of node 1 announced", dnsPrefix, again, is(1, announced), p.back(2*p.timing.announceAfter, p.timing.dnsInterval, p.timing.dnsTimeout)),
		p.step("DNS route of node 2 gone: handed over", dnsPrefix, again, is(2, absent), p.back(2*p.timing.announceAfter, p.timing.dnsInterval, p.timing.dnsTimeout)+3*time.Second))
}

// threeSitesHandOver: each sick site hands over to the ones that are well, the last one stays, and whoever is well again
// takes all.
func threeSitesHandOver(p *play) error {
	bound := p.timing.foundDNS() + 200*time.Millisecond
	for site := 1; site <= 2; site++ {
		since, err := p.killResolvers(site)
		if err != nil {
			return err
		}
		if err := errors.Join(
			p.step(fmt.Sprintf("DNS goes on from site %d", site), dnsPrefix, since, movedFrom(site), bound),
			p.step(fmt.Sprintf("DNS route of node %d gone: handed over", site), dnsPrefix, since, is(site, absent), bound+2*time.Second)); err != nil {
			return err
		}
	}
	if err := p.pause(lease + time.Second); err != nil {
		return err
	}
	p.never("DNS route of node 3 not announced", dnsPrefix, p.begin, not(3, announced))
	last, err := p.killResolvers(3)
	if err != nil {
		return err
	}
	if err := p.step("DNS route of node 3 demoted: the last one", dnsPrefix, last, is(3, demoted), bound); err != nil {
		return err
	}
	for site := 1; site <= 2; site++ {
		what := fmt.Sprintf("DNS route of node %d back, demoted", site)
		if err := p.step(what, dnsPrefix, last, is(site, demoted), bound+lease+2*time.Second); err != nil {
			return err
		}
	}
	again := time.Now()
	if err := errors.Join(p.unbound[2][1].start(), p.unbound[2][2].start()); err != nil {
		return err
	}
	back := p.back(2*p.timing.announceAfter, p.timing.dnsInterval, p.timing.dnsTimeout)
	if err := p.step("DNS route of node 2 announced", dnsPrefix, again, is(2, announced), back); err != nil {
		return err
	}
	for _, site := range []int{1, 3} {
		if err := p.step(fmt.Sprintf("DNS route of node %d gone: handed over", site), dnsPrefix, again, is(site, absent), back+3*time.Second); err != nil {
			return err
		}
	}
	p.never("DNS has no route at all", dnsPrefix, p.begin, func(v view) bool { return !v.down && v.best == "" })
	return nil
}
