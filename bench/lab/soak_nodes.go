package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// startAgain starts a node that has ended. It has the machine's clock again.
func (s *soak) startAgain(site int) error {
	s.clocks[site] = nil
	return s.nodes[site].start()
}

// prefer makes a site the one that the routers like best, by reloads, and waits until they send to it. Node 2 is the one
// that is killed and stopped, while it has the traffic; node 1 lives from the beginning to the end.
func (s *soak) prefer(site int) error {
	if s.best == site {
		return nil
	}
	for other := 1; other <= s.sites; other++ {
		s.changed[other].med = 60
		if other == site {
			s.changed[other].med = 10
		}
		if err := errors.Join(s.nodes[other].configure(s.changed[other]), s.nodes[other].tell("reload")); err != nil {
			return err
		}
	}
	s.best = site
	return s.eventually(fmt.Sprintf("the routers turn to site %d", site), 10*time.Second, func() bool {
		for _, prefix := range []string{dnsPrefix, radiusPrefix} {
			if _, ok := s.watchers[0].all(prefix, time.Now(), func(v view) bool { return v.best == nodeSpace(site) }); !ok {
				return false
			}
		}
		return true
	})
}

func (s *soak) preferOther(int) (string, error) {
	site := 3 - s.best
	return fmt.Sprintf("site %d", site), errors.Join(s.prefer(site), s.hold(0, time.Second))
}

func (s *soak) killNode(int) (string, error) {
	d := s.between(100*time.Millisecond, 6*time.Second)
	what := fmt.Sprintf("node 2, which has the traffic, for %s", d)
	if err := s.prefer(2); err != nil {
		return what, err
	}
	return what, errors.Join(s.nodes[2].kill(), s.hold(2, d), s.startAgain(2))
}

func (s *soak) stopNode(int) (string, error) {
	if err := s.prefer(2); err != nil {
		return "node 2", err
	}
	since := time.Now()
	if err := s.nodes[2].signal(syscall.SIGTERM); err != nil {
		return "node 2", err
	}
	code, err := s.nodes[2].exitCode(30 * time.Second)
	what := fmt.Sprintf("node 2 (SIGTERM), which had the traffic; it ended after %s with exit code %d", short(time.Since(since)), code)
	if code != 0 {
		s.broke("%s", what)
	}
	return what, errors.Join(err, s.hold(2, s.between(100*time.Millisecond, 3*time.Second)), s.startAgain(2))
}

// freezeNode lets a node stand still: for less than its lease, or for more.
func (s *soak) freezeNode(site int) (string, error) {
	d := s.between(200*time.Millisecond, 6*time.Second)
	n := s.nodes[site]
	return fmt.Sprintf("node %d, for %s", site, d),
		errors.Join(n.signal(syscall.SIGSTOP), s.hold(site, d), n.signal(syscall.SIGCONT))
}

func (s *soak) killSpeakers(site int) (string, error) {
	pids, err := s.nodes[site].children()
	for _, pid := range pids {
		err = errors.Join(err, syscall.Kill(pid, syscall.SIGKILL))
	}
	return fmt.Sprintf("%d of node %d", len(pids), site), errors.Join(err, s.hold(site, time.Second))
}

// ends are both ends of the link between a router of the core and a node: the namespace and the interface's name.
func ends(core, site int) [2][2]string {
	router := []string{core1, core2}[core-1]
	return [2][2]string{{router, nodeSpace(site)}, {nodeSpace(site), router}}
}

func setLink(core, site int, state string) func() error {
	end := ends(core, site)[0]
	return func() error { return ip("", "-n", end[0], "link", "set", end[1], state) }
}

func (s *soak) cutLink(site int) (string, error) {
	core, d := 1+s.rng.IntN(2), s.between(500*time.Millisecond, 6*time.Second)
	return fmt.Sprintf("router %d to node %d, for %s", core, site, d), s.down(site, d, setLink(core, site, "down"), setLink(core, site, "up"))
}

func (s *soak) cutSite(site int) (string, error) {
	d := s.between(500*time.Millisecond, 6*time.Second)
	both := func(state string) func() error {
		return func() error { return errors.Join(setLink(1, site, state)(), setLink(2, site, state)()) }
	}
	return fmt.Sprintf("both routers to node %d, for %s", site, d), s.down(site, d, both("down"), both("up"))
}

// silenceLink drops what is sent on a link, both ways, and nobody is told. A queue that lets one bit a second pass does
// that.
func (s *soak) silenceLink(site int) (string, error) {
	core, d := 1+s.rng.IntN(2), s.between(500*time.Millisecond, 6*time.Second)
	queue := func(args ...string) func() error {
		return func() error {
			for _, end := range ends(core, site) {
				command := append([]string{"-n", end[0], "qdisc", args[0], "dev", end[1], "root"}, args[1:]...)
				if err := run("tc", command...); err != nil {
					return err
				}
			}
			return nil
		}
	}
	return fmt.Sprintf("router %d to node %d, for %s", core, site, d),
		s.down(site, d, queue("add", "tbf", "rate", "8bit", "burst", "16", "latency", "1ms"), queue("del"))
}

func run(name string, args ...string) error {
	path, err := program(name)
	if err != nil {
		return err
	}
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// drained drains something of a node, and puts it back.
func (s *soak) drained(site int, target string, more ...string) (string, error) {
	d := s.between(time.Second, 6*time.Second)
	n := s.nodes[site]
	return fmt.Sprintf("%s of node %d, for %s", target, site, d),
		s.down(site, d, func() error { return n.tell(append([]string{"drain", target}, more...)...) }, func() error { return n.tell("undrain", target) })
}

func (s *soak) drainService(site int) (string, error) {
	return s.drained(site, []string{"anycast/dns-vip", "anycast/radius-vip", "service/resolver", "service/pppoe"}[s.rng.IntN(4)])
}

// drainNode takes --force: the node alone cannot know that the other site has the routes too.
func (s *soak) drainNode(site int) (string, error) { return s.drained(site, "node", "--force") }

func (s *soak) flush(site int) (string, error) {
	return fmt.Sprintf("the cache of node %d", site), s.nodes[site].tell("flush", "resolver")
}

// reload changes something that nobody notices.
func (s *soak) reload(site int) (string, error) {
	x, n := &s.changed[site], s.nodes[site]
	x.pool = fmt.Sprintf("\n    retry_budget: 0.%d", 2+s.rng.IntN(7))
	x.entry = fmt.Sprintf(", max_announce_delay: 4s, communities: [\"64500:%d\"]", 100+s.rng.IntN(100))
	return fmt.Sprintf("node %d: another retry_budget and community", site), errors.Join(n.configure(*x), n.tell("reload"))
}

// mistakes are what makes a good configuration a bad one: what to write instead of what.
var mistakes = [][2]string{
	{"protocol: dns", "protocol: smtp"},
	{"pool: resolvers", "pool: resolver"},
	{"pools:\n", "pools: []\npools:\n"},
	{"listen: \"\"}", "listen: \"\", lisen: x}"},
	{"router_id: 10.255", "router_id: 1000.255"},
	{"/soak.pem", "/soak.key"},
	{"requires: [pppoe]", "requires: [nobody]"},
	{"radius:\n", "radius:\n\t- x\n"},
}

// brokenReload is refused, and changes nothing.
func (s *soak) brokenReload(site int) (string, error) {
	n, wrong := s.nodes[site], mistakes[s.rng.IntN(len(mistakes))]
	what := fmt.Sprintf("node %d: %q instead of %q", site, wrong[1], wrong[0])
	before, err := n.status()
	if err != nil {
		return what, err
	}
	text, err := os.ReadFile(n.file)
	if err != nil {
		return what, err
	}
	bad := strings.Replace(string(text), wrong[0], wrong[1], 1)
	if err := os.WriteFile(n.file, []byte(bad), 0o600); err != nil {
		return what, err
	}
	if n.tell("reload") == nil || bad == string(text) {
		s.broke("broken-reload: %s: was not refused", what)
	}
	after, err := n.status()
	if err == nil && after.Config.Hash != before.Config.Hash {
		s.broke("broken-reload: %s: changed the configuration", what)
	}
	return what, errors.Join(err, n.configure(s.changed[site]), n.tell("reload"))
}

// stepClock sets a node's wall clock, and sets it right again.
func (s *soak) stepClock(site int) (string, error) {
	steps := []time.Duration{-24 * time.Hour, -time.Hour, -90 * time.Second, -time.Second, time.Second, 90 * time.Second, time.Hour, 24 * time.Hour, 40 * 24 * time.Hour}
	step, d := steps[s.rng.IntN(len(steps))], s.between(500*time.Millisecond, 4*time.Second)
	what := fmt.Sprintf("that of node %d by %s, for %s", site, step, d)
	if s.clocks[site] == nil {
		clock, err := newWallClock(s.nodes[site].pid())
		if errors.Is(err, errNoClock) {
			return err.Error(), nil
		}
		if err != nil {
			return what, err
		}
		s.clocks[site] = clock
	}
	clock := s.clocks[site]
	return what, errors.Join(clock.set(step), s.pause(d), clock.set(0))
}

// detailFile is a RADIUS server's.
func detailFile(site, number int) string {
	return filepath.Join(dir, fmt.Sprintf("freeradius-%d-%d", site, number), "detail")
}
