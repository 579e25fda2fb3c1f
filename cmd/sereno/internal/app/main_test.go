package app

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"sereno/bench/load"
	"sereno/bench/stub"
	"sereno/bgp"
	"sereno/bgp/speaker"
	"sereno/cmd/sereno/internal/admin"
	"sereno/config"
)

// The test binary stands in for sereno's hidden commands when it is started
// with this variable.
const roleVariable = "SERENO_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "speaker":
		os.Exit(speaker.Main(os.Stdin, os.Stderr))
	case "router":
		os.Exit(routerMain())
	case "node":
		os.Exit(nodeMain())
	}
	goleak.VerifyTestMain(m)
}

func routerMain() int {
	err := speaker.RunRouter(context.Background(), speaker.RouterConfig{
		ASN: 64500, RouterID: "10.0.0.1", Listen: netip.MustParseAddrPort("127.0.0.1:0"), PeerASN: 64512,
	}, os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// speakerCommand starts this binary as a speaker.
func speakerCommand() bgp.Command {
	return bgp.Command{Path: "/proc/self/exe", Env: []string{roleVariable + "=speaker", "GOTRACEBACK=single"}}
}

// until polls real sockets and processes until f holds; it returns how long that took.
func until(t testing.TB, limit time.Duration, what string, f func() bool) time.Duration {
	t.Helper()
	begin := time.Now()
	for !f() {
		if time.Since(begin) > limit {
			t.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(2 * time.Millisecond)
	}
	return time.Since(begin)
}

// nextPort counts up through ports that the kernel gives to nobody who asks for
// any port: one that looks free stays free until its test listens on it.
var nextPort atomic.Uint32

// freeAddr is an address of this host that UDP and TCP have free, another one at
// each call.
func freeAddr(t testing.TB) string {
	t.Helper()
	const first, span = 20000, 12000 // below net.ipv4.ip_local_port_range
	nextPort.CompareAndSwap(0, 1+uint32(os.Getpid())*97%span)
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", first+nextPort.Add(1)%span)
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		c, err := net.ListenPacket("udp", addr)
		l.Close()
		if err == nil {
			c.Close()
			return addr
		}
	}
	t.Fatal("no port is free for UDP and TCP")
	return ""
}

const (
	nasSecret     = "nas-secret"
	backendSecret = "backend-secret"
)

// site is everything around a node: backends, a directory, and the text of the
// configuration, which tests change.
type site struct {
	t         testing.TB
	dir       string
	resolvers [2]*stub.Resolver
	servers   [2]*stub.RADIUS

	dns, auth, acct, listen string            // listening addresses
	text                    map[string]string // sections of the configuration by name
	logs                    *observer.ObservedLogs
	wrap                    func(zapcore.Core) zapcore.Core // of the node's log
	node                    *Node
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), dns: freeAddr(t), auth: freeAddr(t), acct: freeAddr(t), listen: freeAddr(t), text: map[string]string{}}
	free := netip.MustParseAddrPort("127.0.0.1:0")
	books := stub.NewBooks()
	for i := range 2 {
		r, err := stub.NewResolver(stub.ResolverConfig{Addr: free})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.Close() })
		v, err := stub.NewRADIUS(stub.RADIUSConfig{Name: fmt.Sprint("server-", i), Auth: free, Acct: free, Secret: []byte(backendSecret), Demand: true, Books: books})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = v.Close() })
		s.resolvers[i], s.servers[i] = r, v
	}
	s.text["node"] = "node: {name: test-1, state_dir: state}\n"
	s.text["log"] = "log: {level: debug}\n"
	s.text["admin"] = fmt.Sprintf("admin: {socket: admin.sock, listen: %q}\n", s.listen)
	s.text["pools"] = "pools:\n" + s.dnsPool("resolvers", "fulmine", "tempesta") + s.radiusPool()
	s.text["dns"] = "dns:\n" + s.dnsService("resolver", s.dns)
	s.text["radius"] = s.radiusSection(nasSecret)
	return s
}

const quick = "{interval: 200ms, timeout: 150ms, slow_start: 0s}"

// dnsPool is a pool of the first resolvers under the given names.
func (s *site) dnsPool(name string, backends ...string) string {
	out := fmt.Sprintf("  - name: %s\n    protocol: dns\n    attempt_timeout: 100ms\n    health: %s\n    backends:\n", name, quick)
	for i, b := range backends {
		out += fmt.Sprintf("      - {name: %s, address: %q}\n", b, s.resolvers[i].Addr())
	}
	return out
}

func (s *site) radiusPool() string {
	out := fmt.Sprintf("  - name: servers\n    protocol: radius\n    attempt_timeout: 200ms\n    health: %s\n    backends:\n", quick)
	for i, b := range []string{"uno", "due"} {
		out += fmt.Sprintf("      - {name: %s, address: 127.0.0.1, auth_port: %d, acct_port: %d, secret: %s}\n",
			b, s.servers[i].Addr(stub.Auth).Port(), s.servers[i].Addr(stub.Acct).Port(), backendSecret)
	}
	return out
}

func (s *site) dnsService(name, listen string) string {
	return fmt.Sprintf("  - {name: %s, listen: [%q], pool: resolvers, cache: {entries: 10000}}\n", name, listen)
}

func (s *site) radiusSection(secret string) string {
	return fmt.Sprintf("radius:\n  - name: pppoe\n    auth: [%q]\n    acct: [%q]\n    pool: servers\n    clients:\n"+
		"      - {name: bras-1, address: 127.0.0.1, secret: %s}\n", s.auth, s.acct, secret)
}

// anycast is an entry; drain_time is short.
func anycast(name, prefix, requires, more string) string {
	return fmt.Sprintf("  - {name: %s, prefixes: [%q], requires: [%s], announce_after: 100ms, drain_time: 400ms%s}\n", name, prefix, requires, more)
}

func (s *site) path() string { return filepath.Join(s.dir, "sereno.yaml") }

func (s *site) write() {
	s.t.Helper()
	var out strings.Builder
	for _, section := range []string{"node", "log", "admin", "pools", "dns", "radius", "bgp", "anycast"} {
		out.WriteString(s.text[section])
	}
	if err := os.WriteFile(s.path(), []byte(out.String()), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// load writes the configuration and reads it.
func (s *site) load() *config.Config {
	s.t.Helper()
	s.write()
	c, report := config.Load(s.path(), config.Options{})
	if err := report.Err(); err != nil {
		s.t.Fatal(err)
	}
	return c
}

// tryStart starts a node with the configuration as it is.
func (s *site) tryStart() (*Node, error) {
	s.t.Helper()
	c := s.load()
	level := zap.NewAtomicLevelAt(zapcore.DebugLevel)
	if err := level.UnmarshalText([]byte(c.Log.Level)); err != nil {
		s.t.Fatal(err)
	}
	core, logs := observer.New(level)
	s.logs = logs
	return start(c, Options{
		Path: s.path(), Build: admin.Build{Version: "0.0.1", Commit: "none", GoVersion: "go"},
		Speaker: speakerCommand(),
	}, zap.New(s.wrapped(core)), level)
}

func (s *site) wrapped(core zapcore.Core) zapcore.Core {
	if s.wrap == nil {
		return core
	}
	return s.wrap(core)
}

// start starts a node that ends with the test, and waits until it is ready.
func (s *site) start() *Node {
	s.t.Helper()
	n, err := s.tryStart()
	if err != nil {
		s.t.Fatal(err)
	}
	s.node = n
	s.t.Cleanup(func() {
		if s.node == n {
			s.stop()
		}
		if s.t.Failed() {
			for _, l := range s.logs.All() {
				s.t.Logf("%s %s %s %v", l.Time.Format("05.000"), l.Level, l.Message, l.ContextMap())
			}
		}
	})
	s.ready()
	return n
}

// stop stops the node at once.
func (s *site) stop() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.node.stop(ctx)
	s.node = nil
}

func (s *site) ready() {
	s.t.Helper()
	until(s.t, 10*time.Second, "readiness", func() bool {
		ready, _ := s.node.Ready()
		return ready && s.backendsUp()
	})
}

func (s *site) backendsUp() bool {
	for _, p := range s.node.Status().Pools {
		for _, b := range p.Backends {
			if b.State != admin.StateUp {
				return false
			}
		}
	}
	return true
}

// reload writes the configuration and reloads.
func (s *site) reload() (admin.Changes, error) {
	s.t.Helper()
	s.write()
	return s.node.Reload(context.Background(), false)
}

// mustReload fails the test if the reload is refused.
func (s *site) mustReload() admin.Changes {
	s.t.Helper()
	c, err := s.reload()
	if err != nil {
		s.t.Fatalf("reload: %v", err)
	}
	return c
}

// change replaces text in a section.
func (s *site) change(section, was, is string) {
	s.t.Helper()
	if !strings.Contains(s.text[section], was) {
		s.t.Fatalf("section %s has no %q", section, was)
	}
	s.text[section] = strings.Replace(s.text[section], was, is, 1)
}

func (s *site) service(name string) admin.Service {
	for _, v := range s.node.Status().Services {
		if v.Name == name {
			return v
		}
	}
	return admin.Service{}
}

func (s *site) backend(name, role string) admin.Backend {
	for _, p := range s.node.Status().Pools {
		for _, b := range p.Backends {
			if b.Name == name && b.Role == role {
				return b
			}
		}
	}
	return admin.Backend{}
}

func (s *site) route(name string) admin.Anycast {
	for _, a := range s.node.Status().Anycast {
		if a.Name == name {
			return a
		}
	}
	return admin.Anycast{}
}

// logged counts log lines with a message and, if it is not "", a value of a field.
func (s *site) logged(message, key, value string) int {
	return s.logs.Filter(func(e observer.LoggedEntry) bool {
		return e.Message == message && (key == "" || fmt.Sprint(e.ContextMap()[key]) == value)
	}).Len()
}

// get asks the HTTP door, on a connection of its own.
func get(url string) (code int, body string, err error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	reply, err := client.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer reply.Body.Close()
	b, err := io.ReadAll(reply.Body)
	return reply.StatusCode, string(b), err
}

// healthy demands that the HTTP door at addr answers.
func healthy(t testing.TB, addr string) {
	t.Helper()
	if code, _, err := get("http://" + addr + "/healthz"); err != nil || code != http.StatusOK {
		t.Errorf("/healthz at %s: %d, %v", addr, code, err)
	}
}

// asks tells whether a DNS service answers a name rightly.
func asks(addr, name string) error {
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), dns.TypeA)
	c := dns.Client{Timeout: 2 * time.Second}
	a, _, err := c.Exchange(q, addr)
	if err != nil {
		return err
	}
	if a.Rcode != dns.RcodeSuccess || len(a.Answer) != 1 {
		return fmt.Errorf("%s: %v", name, a)
	}
	return nil
}

// traffic is clients that ask until end.
type traffic struct {
	t      testing.TB
	cancel context.CancelFunc
	done   sync.WaitGroup
	dns    load.Books
	radius load.Books
}

// traffic asks the services in their first place; a query that is lost stays lost.
func (s *site) traffic(rate float64) *traffic {
	s.t.Helper()
	d, err := load.NewDNS(load.DNSConfig{
		Common:  load.Common{Rate: rate, Timeout: 3 * time.Second},
		Targets: []netip.AddrPort{netip.MustParseAddrPort(s.dns)}, Names: 200, Zipf: 1, New: 0.3,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	r, err := load.NewRADIUS(load.RADIUSConfig{
		Common:  load.Common{Rate: rate / 4, Timeout: 5 * time.Second},
		Targets: []load.RADIUSTarget{{Auth: netip.MustParseAddrPort(s.auth), Acct: netip.MustParseAddrPort(s.acct)}},
		Secret:  []byte(nasSecret), PAP: 2, CHAP: 1, Acct: 1, Reject: 10,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	x := &traffic{t: s.t, cancel: cancel}
	run := func(f func(context.Context) (load.Books, error), to *load.Books) {
		x.done.Go(func() {
			books, err := f(ctx)
			if err != nil {
				s.t.Error(err)
			}
			*to = books
		})
	}
	run(d.Run, &x.dns)
	run(r.Run, &x.radius)
	until(s.t, 5*time.Second, "traffic", func() bool {
		d, r := d.Books(), r.Books()
		return d.Answered > 50 && r.Answered > 10
	})
	return x
}

// end ends the traffic and demands that everything was answered rightly.
func (x *traffic) end() {
	x.t.Helper()
	x.cancel()
	x.done.Wait()
	if !x.dns.Clean() || x.dns.Sent == 0 {
		x.t.Errorf("DNS: %s", x.dns.String())
	}
	if !x.radius.Clean() || x.radius.Sent == 0 {
		x.t.Errorf("RADIUS: %s", x.radius.String())
	}
}

// router is a BGP router in a process of its own.
type router struct {
	addr netip.AddrPort

	mu     sync.Mutex
	routes map[string]uint32 // MED by prefix
	events []speaker.RouterEvent
}

func startRouter(t testing.TB) *router {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{roleVariable + "=router"}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := &router{routes: map[string]uint32{}}
	lines := bufio.NewScanner(out)
	followed := make(chan struct{})
	t.Cleanup(func() {
		in.Close()
		<-followed
		if err := cmd.Wait(); err != nil {
			t.Errorf("router: %v", err)
		}
	})
	var first speaker.RouterEvent
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &first) != nil || first.Event != "listening" {
		close(followed)
		t.Fatalf("the router's first line is %q", lines.Text())
	}
	r.addr = netip.MustParseAddrPort(first.Address)
	go func() {
		defer close(followed)
		for lines.Scan() {
			var e speaker.RouterEvent
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				r.take(e)
			}
		}
	}()
	return r
}

func (r *router) take(e speaker.RouterEvent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	switch e.Event {
	case "announced":
		r.routes[e.Prefix] = e.MED
	case "withdrawn":
		delete(r.routes, e.Prefix)
	case "session-down":
		clear(r.routes)
	}
}

func (r *router) has(prefix string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.routes[prefix]
	return ok
}

// story is what the router saw of a prefix, in order.
func (r *router) story(prefix string) (out []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		switch {
		case e.Prefix != prefix:
		case e.Event == "announced":
			out = append(out, fmt.Sprint("announced ", e.MED))
		default:
			out = append(out, e.Event)
		}
	}
	return out
}

// neighbor is a bgp section with the router as the only neighbor.
func (r *router) section() string {
	return fmt.Sprintf("bgp:\n  asn: 64512\n  router_id: 10.0.0.2\n  lease: 1s\n  neighbors:\n    - {name: core-1, address: %s, port: %d, asn: 64500, connect_retry: 1s}\n",
		r.addr.Addr(), r.addr.Port())
}
