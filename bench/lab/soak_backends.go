package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// backend draws one of a site's.
func (s *soak) backend(site int) (p *process, address string) {
	number := 1 + s.rng.IntN(2)
	if s.rng.IntN(2) == 0 {
		return s.unbound[site][number], server(site, 10+number)
	}
	return s.radius[site][number], server(site, 20+number)
}

// down lets something be broken for a while: begin breaks it, end mends it.
func (s *soak) down(sick int, d time.Duration, begin, end func() error) error {
	err := begin()
	if err == nil {
		err = s.hold(sick, d)
	}
	return errors.Join(err, end())
}

func each(list []*process, do func(*process) error) func() error {
	return func() error {
		var errs []error
		for _, p := range list {
			errs = append(errs, do(p))
		}
		return errors.Join(errs...)
	}
}

func signalling(sig syscall.Signal) func(*process) error {
	return func(p *process) error { return p.signal(sig) }
}

func (s *soak) killBackend(site int) (string, error) {
	p, _ := s.backend(site)
	d, one := s.between(500*time.Millisecond, 6*time.Second), []*process{p}
	return fmt.Sprintf("%s, for %s", p.name, d), s.down(site, d, each(one, (*process).kill), each(one, (*process).start))
}

func (s *soak) freezeBackend(site int) (string, error) {
	p, _ := s.backend(site)
	d, one := s.between(300*time.Millisecond, 8*time.Second), []*process{p}
	return fmt.Sprintf("%s, for %s", p.name, d), s.down(site, d, each(one, signalling(syscall.SIGSTOP)), each(one, signalling(syscall.SIGCONT)))
}

// cutBackend lets nothing that a backend sends arrive.
func (s *soak) cutBackend(site int) (string, error) {
	p, address := s.backend(site)
	d := s.between(time.Second, 8*time.Second)
	rule := func(action string) func() error {
		return func() error {
			return ip(fmt.Sprintf("rule %s from %s to %s blackhole\n", action, address, server(site, 1)), "-n", serverSpace(site), "-batch", "-")
		}
	}
	return fmt.Sprintf("nothing arrives of what %s sends, for %s", p.name, d), s.down(site, d, rule("add"), rule("del"))
}

func (s *soak) drainBackend(site int) (string, error) {
	number := 1 + s.rng.IntN(2)
	target := fmt.Sprintf("pool/resolvers/unbound-%d", number)
	if s.rng.IntN(2) == 0 {
		target = fmt.Sprintf("pool/servers/freeradius-%d", number)
	}
	return s.drained(site, target)
}

// dead kills these, and starts them again.
func (s *soak) dead(sick int, list []*process, what string) (string, error) {
	d := s.between(500*time.Millisecond, 7*time.Second)
	return fmt.Sprintf("%s, for %s", what, d), s.down(sick, d, each(list, (*process).kill), each(list, (*process).start))
}

func (s *soak) resolvers(site int) []*process { return s.unbound[site][1:] }
func (s *soak) servers(site int) []*process   { return s.radius[site][1:] }

func (s *soak) everyServer() []*process {
	var list []*process
	for site := 1; site <= s.sites; site++ {
		list = append(list, s.servers(site)...)
	}
	return list
}

func (s *soak) killResolvers(site int) (string, error) {
	return s.dead(site, s.resolvers(site), fmt.Sprintf("both of site %d", site))
}

func (s *soak) killServers(site int) (string, error) {
	return s.dead(site, s.servers(site), fmt.Sprintf("both of site %d", site))
}

func (s *soak) cutBackends(site int) (string, error) {
	d := s.between(time.Second, 8*time.Second)
	link := func(state string) func() error {
		return func() error { return ip("", "-n", serverSpace(site), "link", "set", nodeSpace(site), state) }
	}
	return fmt.Sprintf("the link to those of site %d is down, for %s", site, d), s.down(site, d, link("down"), link("up"))
}

func (s *soak) everyResolverDead(int) (string, error) {
	var list []*process
	for site := 1; site <= s.sites; site++ {
		list = append(list, s.resolvers(site)...)
	}
	return s.dead(0, list, "of both sites")
}

func (s *soak) everyServerDead(int) (string, error) {
	if s.rng.IntN(2) == 0 {
		return s.dead(0, s.everyServer(), "of both sites")
	}
	d, list := s.between(2*time.Second, 9*time.Second), s.everyServer()
	return fmt.Sprintf("of both sites, frozen for %s", d), s.down(0, d, each(list, signalling(syscall.SIGSTOP)), each(list, signalling(syscall.SIGCONT)))
}

// everyServerDeadNodeKilled kills a node while accounting is on its disk.
func (s *soak) everyServerDeadNodeKilled(int) (string, error) {
	if err := s.prefer(2); err != nil {
		return "", err
	}
	before, after := s.between(time.Second, 5*time.Second), s.between(500*time.Millisecond, 4*time.Second)
	list := s.everyServer()
	if err := errors.Join(each(list, (*process).kill)(), s.pause(before)); err != nil {
		return "", err
	}
	stored := 0.0
	if m, err := s.nodes[2].metrics(); err == nil {
		stored = m.Sum("sereno_spool_records")
	}
	what := fmt.Sprintf("of both sites; node 2 killed after %s, with %.0f records on its disk, and started after %s", before, stored, after)
	if err := errors.Join(s.nodes[2].kill(), s.hold(2, after), s.startAgain(2), s.pause(time.Second)); err != nil {
		return what, err
	}
	return what, each(list, (*process).start)()
}

func (s *soak) everyServerDeadDiskFull(int) (string, error) {
	list, site := s.everyServer(), s.best
	d := s.between(2*time.Second, 7*time.Second)
	first := s.rng.IntN(2) == 0 // the disk is mended first
	what := fmt.Sprintf("of both sites, for %s, the disk of the best site's node full", d)
	if first {
		what += ", and emptied before they are back"
	}
	if err := errors.Join(fill(site), each(list, (*process).kill)(), s.hold(site, d)); err != nil {
		return what, errors.Join(err, empty(site))
	}
	if first {
		return what, errors.Join(empty(site), s.pause(2*time.Second), each(list, (*process).start)())
	}
	return what, errors.Join(each(list, (*process).start)(), s.pause(2*time.Second), empty(site))
}

func (s *soak) fillDisk(site int) (string, error) {
	d := s.between(2*time.Second, 8*time.Second)
	what := fmt.Sprintf("of node %d, for %s", site, d)
	err := fill(site)
	if err == nil {
		err = s.hold(3-site, d) // a full disk is no reason not to reload
	}
	return what, errors.Join(err, empty(site))
}

func ballast(site int) string { return filepath.Join(stateDir(site), "ballast") }

// fill leaves no room on the file system of a node's state_dir.
func fill(site int) error {
	file, err := os.OpenFile(ballast(site), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := file.Write(block); err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				return err
			}
			block = block[:len(block)/2]
		}
	}
	return nil
}

func empty(site int) error { return os.Remove(ballast(site)) }
