package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"sereno/bench/internal/scrape"
)

// Prefixes that the lab's node announces.
const (
	DNSPrefix    = "192.0.2.53/32"
	RADIUSPrefix = "192.0.2.18/32"
)

// Config says what the lab's node has behind it. Health is probed twice as often as by default, so that tests are
// short; MaxWithdraw gives the bound that follows.
type Config struct {
	Unbounds []*Unbound
	Servers  []*FreeRADIUS
	Router   *BIRD         // nil: no BGP
	Drain    time.Duration // drain_time; 2 s
	NoCache  bool
	Ack      string // accounting.ack of the RADIUS service; "": its default
}

// Intervals and timeouts of the lab's probes.
const (
	dnsInterval    = 500 * time.Millisecond
	dnsTimeout     = 250 * time.Millisecond
	radiusInterval = time.Second
	radiusTimeout  = 700 * time.Millisecond
	fall           = 2
	// AnnounceAfter is the lab's announce_after.
	AnnounceAfter = time.Second
)

// MaxWithdrawDNS and MaxWithdrawRADIUS are A11's bounds from the death of the last backend to the route vanishing
// from BIRD: fall × interval × 1.1 + timeout + 200 ms.
const (
	MaxWithdrawDNS    = fall*dnsInterval*11/10 + dnsTimeout + 200*time.Millisecond
	MaxWithdrawRADIUS = fall*radiusInterval*11/10 + radiusTimeout + 200*time.Millisecond
)

// Sereno is a node under test: `sereno run` as a program.
type Sereno struct {
	*Process
	DNS        netip.AddrPort
	Auth, Acct netip.AddrPort
	HTTP       netip.AddrPort
	ConfigFile string
}

var build struct {
	once sync.Once
	path string
	err  error
}

// Binary builds the program under test, once for each test process, and gives its path. Remove deletes it.
func Binary() (string, error) {
	build.once.Do(func() {
		var dir string
		if dir, build.err = os.MkdirTemp("", "sereno-e2e-"); build.err != nil {
			return
		}
		build.path = filepath.Join(dir, "sereno")
		out, err := exec.Command("go", "build", "-o", build.path, "sereno/cmd/sereno").CombinedOutput()
		if err != nil {
			build.err = fmt.Errorf("building sereno: %w\n%s", err, out)
		}
	})
	return build.path, build.err
}

// Remove deletes what Binary built.
func Remove() {
	if build.path != "" {
		_ = os.RemoveAll(filepath.Dir(build.path))
	}
}

// Prepare writes the configuration of the lab's node without starting it. If it runs when the test ends, its counters
// must balance (O20).
func (l *Lab) Prepare(c Config) *Sereno {
	l.t.Helper()
	binary, err := Binary()
	if err != nil {
		l.t.Fatal(err)
	}
	s := &Sereno{
		DNS:  netip.AddrPortFrom(l.Addr(hostDNS), DNSPort),
		Auth: netip.AddrPortFrom(l.Addr(hostRADIUS), AuthPort),
		Acct: netip.AddrPortFrom(l.Addr(hostRADIUS), AcctPort),
		HTTP: netip.AddrPortFrom(l.Addr(hostNode), HTTPPort),
	}
	s.ConfigFile = l.write("sereno.yaml", l.yaml(c, s))
	s.Process = l.prepare("sereno", binary, "run", "-c", s.ConfigFile)
	l.t.Cleanup(s.lastBalance)
	return s
}

// Sereno starts the lab's node and waits until it is ready.
func (l *Lab) Sereno(c Config) *Sereno {
	l.t.Helper()
	s := l.Prepare(c)
	s.Start()
	s.WaitReady()
	return s
}

// Start starts it (again), and does not wait.
func (s *Sereno) Start() {
	s.lab.t.Helper()
	s.start()
}

// WaitReady waits until every service is up or degraded.
func (s *Sereno) WaitReady() {
	s.lab.t.Helper()
	s.lab.Eventually(20*time.Second, "sereno is ready", func() bool {
		if !s.Running() {
			s.lab.t.Fatal("sereno has ended instead of becoming ready")
		}
		code, _, err := s.get("/readyz")
		return err == nil && code == http.StatusOK
	})
}

// WaitLives waits until it answers, ready or not.
func (s *Sereno) WaitLives() {
	s.lab.t.Helper()
	s.lab.Eventually(20*time.Second, "sereno answers", func() bool {
		code, _, err := s.get("/healthz")
		return err == nil && code == http.StatusOK
	})
}

func (l *Lab) yaml(c Config, s *Sereno) string {
	var y strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&y, format+"\n", args...) }
	line("node: {name: lab, state_dir: %s}", filepath.Join(l.dir, "state"))
	line("admin: {socket: %s, listen: %q}", filepath.Join(l.dir, "admin.sock"), s.HTTP)
	line("pools:")
	var services []string
	if len(c.Unbounds) > 0 {
		line("  - name: resolvers")
		line("    protocol: dns")
		line("    health: {interval: %s, timeout: %s, fall: %d, slow_start: 1s}", dnsInterval, dnsTimeout, fall)
		line("    backends:")
		for _, u := range c.Unbounds {
			line("      - {name: %s, address: %q}", u.name, u.Addr)
		}
	}
	if len(c.Servers) > 0 {
		line("  - name: servers")
		line("    protocol: radius")
		line("    health: {interval: %s, timeout: %s, fall: %d, slow_start: 1s}", radiusInterval, radiusTimeout, fall)
		line("    backends:")
		for _, f := range c.Servers {
			line("      - {name: %s, address: %s, secret: %s}", f.name, f.Addr, BackendSecret)
		}
	}
	if len(c.Unbounds) > 0 {
		line("dns:\n  - {name: resolver, listen: [%q], pool: resolvers, cache: {enabled: %v}}", s.DNS, !c.NoCache)
		services = append(services, "resolver")
	}
	if len(c.Servers) > 0 {
		line("radius:\n  - name: pppoe\n    auth: [%q]\n    acct: [%q]\n    pool: servers", s.Auth, s.Acct)
		line("    clients: [{name: nas, address: 127.0.0.1, secret: %s}]", NASSecret)
		if c.Ack != "" {
			line("    accounting: {ack: %s}", c.Ack)
		}
		services = append(services, "pppoe")
	}
	if c.Router != nil {
		l.yamlRoutes(line, c, services)
	}
	return y.String()
}

func (l *Lab) yamlRoutes(line func(string, ...any), c Config, services []string) {
	drain := c.Drain
	if drain == 0 {
		drain = 2 * time.Second
	}
	line("bgp:\n  asn: %d\n  router_id: 10.255.0.1\n  neighbors:", NodeASN)
	line("    - {name: bird, address: %s, asn: %d, port: %d, source: %s, connect_retry: 1s}", c.Router.Addr, RouterASN, BGPPort, l.Addr(hostNode))
	line("anycast:")
	for _, service := range services {
		prefix := map[string]string{"resolver": DNSPrefix, "pppoe": RADIUSPrefix}[service]
		line("  - {name: %s-vip, prefixes: [%s], requires: [%s], announce_after: %s, drain_time: %s}", service, prefix, service, AnnounceAfter, drain)
	}
}

// DNSAnswers asks for an address over UDP and says whether an answer came within 300 ms.
func (s *Sereno) DNSAnswers(name string) bool {
	m := []byte{0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for label := range strings.SplitSeq(name, ".") {
		m = append(append(m, byte(len(label))), label...)
	}
	return answers(s.DNS, append(m, 0, 0, 1, 0, 1))
}

// get asks the node's HTTP server.
func (s *Sereno) get(path string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.HTTP.String()+path, nil)
	if err != nil {
		return 0, nil, err
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil, err
	}
	body, err := io.ReadAll(reply.Body)
	return reply.StatusCode, body, errors.Join(err, reply.Body.Close())
}

// Status gives the node's status.
func (s *Sereno) Status() scrape.Status {
	s.lab.t.Helper()
	code, body, err := s.get("/api/v1/status")
	if err != nil || code != http.StatusOK {
		s.lab.t.Fatalf("asking for the status: %d, %v", code, err)
	}
	st, err := scrape.ParseStatus(body)
	if err != nil {
		s.lab.t.Fatal(err)
	}
	return st
}

// WaitBackend waits until a backend is in the state.
func (s *Sereno) WaitBackend(name, role, state string) {
	s.lab.t.Helper()
	s.lab.Eventually(20*time.Second, name+" is "+state, func() bool { return s.Status().Backend(name, role) == state })
}
