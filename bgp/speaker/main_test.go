package speaker

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"sereno/bgp"
)

// The test binary stands in for sereno: started with this variable it is one
// of the hidden commands, or a whole node.
const roleVariable = "SERENO_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "speaker":
		os.Exit(Main(os.Stdin, os.Stderr))
	case "router":
		os.Exit(routerMain())
	case "node":
		os.Exit(nodeMain())
	}
	if os.Getenv("SERENO_E2E") != "" { // they mostly wait, for timers and sessions
		if err := flag.Set("test.parallel", "6"); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/osrg/gobgp/v3/pkg/server.(*BgpServer).Serve"), // it never returns
		goleak.IgnoreAnyFunction("github.com/osrg/gobgp/v3/pkg/server.(*watcher).loop"),
		goleak.IgnoreAnyFunction("github.com/osrg/gobgp/v3/pkg/server.(*BgpServer).WatchEvent.func2"),
		goleak.IgnoreTopFunction("github.com/eapache/channels.(*InfiniteChannel).infiniteBuffer"),
	)
}

func routerMain() int {
	var c RouterConfig
	err := json.Unmarshal([]byte(os.Getenv("SERENO_TEST_ROUTER")), &c)
	if err == nil {
		err = RunRouter(context.Background(), c, os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// nodeMain is a node that can be frozen and killed: it announces what it is
// told in the environment, always healthy.
func nodeMain() int {
	var s bgp.Settings
	if err := json.Unmarshal([]byte(os.Getenv("SERENO_TEST_NODE")), &s); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	log, _ := zap.NewDevelopment()
	c, err := bgp.New(bgp.Options{Settings: s, Command: speakerCommand(), Log: log,
		Requalify: func(context.Context, string) error { return nil }})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	c.Start()
	c.SetServices(up)
	bufio.NewScanner(os.Stdin).Scan() // until the test closes it
	if err := c.Close(); err != nil {
		return 1
	}
	return 0
}

var up = []bgp.Service{{Name: "resolver", State: "up"}}
var down = []bgp.Service{{Name: "resolver", State: "down", Reason: "no-healthy-backend"}}

func speakerCommand() bgp.Command {
	return bgp.Command{Path: "/proc/self/exe", Env: []string{roleVariable + "=speaker", "GOTRACEBACK=single"}}
}

// neighborRouter is what a test sees a router know.
type neighborRouter interface {
	// has tells a prefix's attributes in words, "" if the route is not there.
	has(t testing.TB, prefix string) string
	address() netip.AddrPort
}

// goRouter is our own demonstration router in a process of its own.
type goRouter struct {
	listen netip.AddrPort

	mu     sync.Mutex
	routes map[string]string
	events []RouterEvent
}

func startGoRouter(t *testing.T, c RouterConfig) *goRouter {
	t.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{roleVariable + "=router", "SERENO_TEST_ROUTER=" + string(b)}
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
	r := &goRouter{routes: map[string]string{}}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("router: %v", err)
		}
	})
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("router says nothing")
	}
	var first RouterEvent
	if err := json.Unmarshal(lines.Bytes(), &first); err != nil || first.Event != "listening" {
		t.Fatalf("router's first line is %q (%v)", lines.Text(), err)
	}
	r.listen = netip.MustParseAddrPort(first.Address)
	go func() {
		for lines.Scan() {
			var e RouterEvent
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				r.take(e)
			}
		}
	}()
	return r
}

func (r *goRouter) take(e RouterEvent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	switch e.Event {
	case "announced":
		r.routes[e.Prefix] = fmt.Sprintf("med=%d path=%v communities=%v large=%v", e.MED, e.ASPath, e.Communities, e.LargeCommunities)
	case "withdrawn":
		delete(r.routes, e.Prefix)
	}
}

func (r *goRouter) has(t testing.TB, prefix string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.routes[prefix]
}

func (r *goRouter) address() netip.AddrPort { return r.listen }

// count tells how often an event was seen, of a prefix or of all ("").
func (r *goRouter) count(event, prefix string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Event == event && (prefix == "" || e.Prefix == prefix) {
			n++
		}
	}
	return n
}

// eventually polls until f holds and returns how long that took.
func eventually(t testing.TB, limit time.Duration, what string, f func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !f() {
		if time.Since(start) > limit {
			t.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(start)
}

const vip = "192.0.2.53/32"

// settings is one neighbor at r and one entry with the given prefixes.
func settings(r netip.AddrPort, prefixes ...string) bgp.Settings {
	var s bgp.Settings
	s.BGP.SetDefaults()
	s.BGP.ASN, s.BGP.RouterID, s.BGP.Lease = 64512, "10.0.0.2", time.Second
	n := neighbor("core-1", r)
	s.BGP.Neighbors = []bgp.NeighborConfig{n}
	var a bgp.AnycastConfig
	a.SetDefaults()
	a.Name, a.Requires, a.AnnounceAfter = "dns-vip", []string{"resolver"}, 0
	for _, p := range prefixes {
		a.Prefixes = append(a.Prefixes, netip.MustParsePrefix(p))
	}
	s.Anycast = []bgp.AnycastConfig{a}
	return s
}

func neighbor(name string, r netip.AddrPort) bgp.NeighborConfig {
	var n bgp.NeighborConfig
	n.SetDefaults()
	n.Name, n.Address, n.Port, n.ASN, n.ConnectRetry = name, r.Addr().String(), int(r.Port()), 64500, time.Second
	return n
}

// startNode runs a controller in this process, with real speakers.
func startNode(t testing.TB, s bgp.Settings) *bgp.Controller {
	t.Helper()
	s.BGP.Validate(func(k, m string) { t.Errorf("bgp.%s: %s", k, m) })
	c, err := bgp.New(bgp.Options{Settings: s, Command: speakerCommand(), Log: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	c.Start()
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func state(c *bgp.Controller, neighbor string) bgp.NeighborStatus {
	for _, n := range c.Status().BGP.Neighbors {
		if n.Name == neighbor {
			return n
		}
	}
	return bgp.NeighborStatus{}
}

func hasAll(s string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return s != ""
}

var localRouter = RouterConfig{ASN: 64500, RouterID: "10.0.0.1", Listen: netip.MustParseAddrPort("127.0.0.1:0"), PeerASN: 64512}
