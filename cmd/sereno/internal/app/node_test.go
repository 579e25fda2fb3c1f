package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"

	"sereno/bench/stub"
	"sereno/cmd/sereno/internal/admin"
)

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestStartAndStopLeaveNothing(t *testing.T) {
	s := newSite(t)
	s.text["anycast"] = "anycast:\n" + anycast("dns-vip", "192.0.2.53/32", "resolver", "")
	s.start()
	s.stop() // the first one opens what the runtime keeps (epoll)
	before := openFiles(t)
	for range 3 {
		s.start()
		if err := asks(s.dns, "www.example.com"); err != nil {
			t.Error(err)
		}
		s.stop()
	}
	// The last connections of clients need not be closed by the kernel at once.
	until(t, 10*time.Second, fmt.Sprintf("as few files open as before (%d)", before), func() bool { return openFiles(t) <= before })
	if _, err := os.Stat(filepath.Join(s.dir, "admin.sock")); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

func TestAStartThatFailsLeavesNothingAndSaysWhy(t *testing.T) {
	hold := func(t *testing.T, network, addr string) func() {
		t.Helper()
		if network == "udp" {
			c, err := net.ListenPacket(network, addr)
			if err != nil {
				t.Fatal(err)
			}
			return func() { c.Close() }
		}
		l, err := net.Listen(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		return func() { l.Close() }
	}
	cases := []struct {
		name  string
		spoil func(t *testing.T, s *site) (mend func())
		want  []string
	}{
		{"dns udp in use", func(t *testing.T, s *site) func() { return hold(t, "udp", s.dns) }, []string{"UDP", "in use by another instance"}},
		{"dns tcp in use", func(t *testing.T, s *site) func() { return hold(t, "tcp", s.dns) }, []string{"TCP", "in use by another instance"}},
		{"radius in use", func(t *testing.T, s *site) func() { return hold(t, "udp", s.acct) }, []string{"UDP", "in use by another instance", "pppoe"}},
		{"admin in use", func(t *testing.T, s *site) func() { return hold(t, "tcp", s.listen) }, []string{"admin.listen", "in use"}},
		{"state_dir that is no directory", func(t *testing.T, s *site) func() {
			file := filepath.Join(s.dir, "file")
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			was := s.text["node"]
			s.change("node", "state_dir: state", "state_dir: file/state")
			return func() { s.text["node"] = was }
		}, []string{"node.state_dir", "make it writable"}},
		{"drains that are none", func(t *testing.T, s *site) func() {
			if err := os.MkdirAll(filepath.Join(s.dir, "state"), 0o700); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(s.dir, "state", "drains.json")
			if err := os.WriteFile(file, []byte("{torn"), 0o600); err != nil {
				t.Fatal(err)
			}
			return func() { os.Remove(file) }
		}, []string{"drains.json", "remove the file"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			s.text["anycast"] = "anycast:\n" + anycast("dns-vip", "192.0.2.53/32", "resolver", "")
			mend := c.spoil(t, s)
			n, err := s.tryStart()
			if err == nil {
				s.node = n
				s.stop()
				t.Fatal("it started")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if s.logged("route announced", "", "") > 0 {
				t.Error("a node that could not start announced a route")
			}
			mend()
			s.start() // nothing of the first try is in the way
		})
	}
}

func TestD53SecondInstanceSaysSo(t *testing.T) {
	s := newSite(t)
	s.start()
	if _, err := s.tryStart(); err == nil || !strings.Contains(err.Error(), "another sereno is running with node.state_dir") {
		t.Errorf("the same configuration again: %v", err)
	}
	other := *s
	other.text = maps.Clone(s.text)
	other.change("node", "state_dir: state", "state_dir: other")
	if _, err := other.tryStart(); err == nil || !strings.Contains(err.Error(), s.dns) || !strings.Contains(err.Error(), "in use by another instance") {
		t.Errorf("another directory, the same addresses: %v", err)
	}
	if err := asks(s.dns, "www.example.com"); err != nil {
		t.Errorf("the first one was harmed: %v", err)
	}
}

func TestO20CountersBalanceInEveryScrapeUnderTraffic(t *testing.T) {
	s := newSite(t)
	n := s.start()
	x := s.traffic(1000)
	stop := make(chan struct{})
	faults := make(chan struct{})
	go func() { // one backend after the other falls silent
		defer close(faults)
		for i := 0; ; i++ {
			mode := stub.Mode{Fault: []stub.Fault{stub.Silent, stub.Healthy}[i%2]}
			if err := s.resolvers[0].Set(mode); err != nil {
				t.Error(err)
			}
			if err := s.servers[0].Set(mode); err != nil {
				t.Error(err)
			}
			select {
			case <-stop:
				return
			case <-time.After(400 * time.Millisecond):
			}
		}
	}()
	scrapes, busy := 0, 0
	for end := time.Now().Add(2500 * time.Millisecond); time.Now().Before(end); scrapes++ {
		snap := n.snapshot()
		for _, m := range snap.DNS {
			if m.Missing() != 0 {
				t.Fatalf("scrape %d: %d queries of %s are missing", scrapes, m.Missing(), m.Service)
			}
			if m.InFlight > 0 {
				busy++
			}
		}
		for _, m := range snap.RADIUS {
			if m.Missing() != 0 {
				t.Fatalf("scrape %d: %d requests of %s are missing", scrapes, m.Missing(), m.Service)
			}
		}
		for _, v := range n.Status().Services {
			if int64(v.Requests) != int64(v.Answers+v.Drops)+v.InFlight {
				t.Fatalf("the status of %s does not balance: %+v", v.Name, v)
			}
		}
	}
	close(stop)
	<-faults
	x.end()
	if scrapes < 50 || busy == 0 {
		t.Errorf("%d scrapes, %d with queries in flight: too few to prove anything", scrapes, busy)
	}
	until(t, 8*time.Second, "nothing in flight", func() bool {
		snap := n.snapshot()
		return snap.DNS[0].InFlight == 0 && snap.RADIUS[0].InFlight == 0
	})
	var queries uint64
	for _, v := range n.snapshot().DNS[0].Queries {
		queries += v
	}
	if queries != x.dns.Sent+x.dns.Resent {
		t.Errorf("%d queries were sent and %d counted", x.dns.Sent+x.dns.Resent, queries)
	}
}

// Closed lists have their series before the first event.
func TestO20SeriesStartAtZero(t *testing.T) {
	s := newSite(t)
	s.start()
	_, body, err := get("http://" + s.listen + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`sereno_dns_queries_total{service="resolver",transport="udp"} 0`,
		`sereno_dns_answers_total{rcode="SERVFAIL",service="resolver",source="self",transport="udp"} 0`,
		`sereno_dns_answers_total{rcode="NOERROR",service="resolver",source="stale",transport="tcp"} 0`,
		`sereno_dns_drops_total{reason="rate-limit",service="resolver"} 0`,
		`sereno_radius_answers_total{code="Access-Reject",kind="auth",service="pppoe",source="backend"} 0`,
		`sereno_radius_answers_total{code="Accounting-Response",kind="acct",service="pppoe",source="duplicate"} 0`,
		`sereno_radius_drops_total{kind="auth",reason="unknown-client",service="pppoe"} 0`,
		`sereno_backend_failures_total{backend="fulmine",pool="resolvers",reason="timeout",role="dns"} 0`,
		`sereno_config_last_reload_success 1`,
		`sereno_backend_state{backend="uno",pool="servers",role="acct",state="up"} 1`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("/metrics has no line %s", want)
		}
	}
}

func TestA24NoBGPAtAll(t *testing.T) {
	s := newSite(t)
	s.start()
	st := s.node.Status()
	if st.State != admin.StateUp || len(st.Anycast) != 0 || len(st.BGP.Neighbors) != 0 || len(st.Alarms) != 0 {
		t.Errorf("without anycast: %+v", st)
	}
	s.stop()

	s.text["anycast"] = "anycast:\n" + anycast("dns-vip", "192.0.2.53/32", "resolver", "")
	s.start()
	until(t, 5*time.Second, "the decision", func() bool { return s.route("dns-vip").State == admin.StateAnnounced })
	if r := s.route("dns-vip"); r.Reason != "no-neighbor" || r.WaitsFor == "" {
		t.Errorf("what would be announced: %+v", r)
	}
	for _, r := range s.resolvers {
		if err := r.Set(stub.Mode{Fault: stub.Closed}); err != nil {
			t.Fatal(err)
		}
	}
	until(t, 5*time.Second, "no route without a backend", func() bool { return s.route("dns-vip").State == admin.StateWithdrawn })
	for _, change := range []struct{ message, to string }{{"route announced", "dns-vip"}, {"route withdrawn", "dns-vip"}} {
		if s.logged(change.message, "anycast", change.to) == 0 {
			t.Errorf("the log has no line %q", change.message)
		}
	}
	if n := s.logged("anycast", "", ""); n != 0 {
		t.Errorf("changes of routes are in the log twice: %d", n)
	}
}

func TestA25TheNodeSaysWhatOneMoreLostBackendChanges(t *testing.T) {
	s := newSite(t)
	s.text["anycast"] = "anycast:\n" + anycast("dns-vip", "192.0.2.53/32", "resolver", ", when_down: demote")
	s.start()
	says := func(what, words string) {
		t.Helper()
		var all string
		until(t, 5*time.Second, what, func() bool {
			e, err := s.node.ExplainAnycast("dns-vip")
			if err != nil {
				t.Fatal(err)
			}
			all = strings.Join(e.Words, "\n")
			return strings.Contains(all, " is announced since") && strings.Contains(all, words)
		})
	}
	says("a spare", "Pool resolvers (dns): 2 of 2 backends healthy, 1 needed; one more lost backend changes nothing.")
	if err := s.resolvers[0].Set(stub.Mode{Fault: stub.Closed}); err != nil {
		t.Fatal(err)
	}
	says("none", "Pool resolvers (dns): 1 of 2 backends healthy, 1 needed; one more lost backend takes resolver down, and the route would be demoted at once.")
	if err := s.resolvers[1].Set(stub.Mode{Fault: stub.Closed}); err != nil {
		t.Fatal(err)
	}
	until(t, 5*time.Second, "what was said", func() bool { return s.route("dns-vip").State == admin.StateDemoted })
}

func TestA16RequalifyWaitsForProof(t *testing.T) {
	s := newSite(t)
	n := s.start()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, service := range []string{"resolver", "pppoe"} {
		since := n.now()
		if err := n.requalify(ctx, service); err != nil {
			t.Errorf("%s: %v", service, err)
		}
		if v, _ := n.services.Status(service); !v.SelfProbe.After(since) {
			t.Errorf("%s was proven without a self-probe", service)
		}
	}
	if err := n.requalify(ctx, "nobody"); err != nil {
		t.Errorf("something waits for a service that is not there: %v", err)
	}
	// Self-probes pass, but no backend answers any more: no proof.
	for _, r := range s.resolvers {
		if err := r.Set(stub.Mode{Fault: stub.Silent}); err != nil {
			t.Fatal(err)
		}
	}
	short, done := context.WithTimeout(context.Background(), 1500*time.Millisecond)
	defer done()
	if err := n.requalify(short, "resolver"); err == nil {
		t.Error("proven without a backend")
	}
	// One of one needed is enough.
	if err := s.resolvers[1].Set(stub.Mode{}); err != nil {
		t.Fatal(err)
	}
	if err := n.requalify(ctx, "resolver"); err != nil {
		t.Error(err)
	}
}

func TestO22ReadyNamesWhatIsNot(t *testing.T) {
	s := newSite(t)
	n := s.start()
	for _, r := range s.servers {
		if err := r.SetRole(stub.Auth, stub.Mode{Fault: stub.Closed}); err != nil {
			t.Fatal(err)
		}
	}
	until(t, 5*time.Second, "not ready", func() bool { ready, _ := n.Ready(); return !ready })
	if _, reasons := n.Ready(); !slices.Equal(reasons, []string{"service pppoe: no-healthy-backend"}) {
		t.Errorf("reasons %q", reasons)
	}
	if st := n.Status().State; st != admin.StateDegraded {
		t.Errorf("one of two services is down, and the node is %s", st)
	}
}

// A service behind several anycast entries is degraded while any of them is
// demoted, not according to the one that changed last.
func TestADemotedRouteDegradesItsServicesUntilItIsBack(t *testing.T) {
	s := newSite(t)
	s.text["anycast"] = "anycast:\n" + anycast("both", "192.0.2.1/32", "resolver, pppoe", ", when_down: demote") + anycast("dns-vip", "192.0.2.53/32", "resolver", "")
	n := s.start()
	until(t, 5*time.Second, "both routes", func() bool {
		return s.route("both").State == admin.StateAnnounced && s.route("dns-vip").State == admin.StateAnnounced
	})
	set := func(f stub.Fault) {
		for _, r := range s.servers {
			if err := r.Set(stub.Mode{Fault: f}); err != nil {
				t.Fatal(err)
			}
		}
	}
	set(stub.Closed)
	until(t, 5*time.Second, "demoted", func() bool { return s.route("both").State == admin.StateDemoted })
	until(t, 10*time.Second, "degraded", func() bool { return s.service("resolver").Reason == "demoted" })
	if _, err := n.Drain(context.Background(), admin.Target{Kind: admin.TargetAnycast, Name: "dns-vip"}, 0, true); err != nil {
		t.Fatal(err)
	}
	until(t, 5*time.Second, "withdrawn", func() bool { return s.route("dns-vip").State == admin.StateWithdrawn })
	if v := s.service("resolver"); v.State != admin.StateDegraded || v.Reason != "demoted" {
		t.Errorf("another entry's change hides that one is demoted: %+v", v)
	}
	s.text["anycast"] = "anycast:\n" + anycast("dns-vip", "192.0.2.53/32", "resolver", "")
	s.mustReload()
	until(t, 10*time.Second, "up without the demoted entry", func() bool { return s.service("resolver").State == admin.StateUp })
}

// Each change of a backend or a service stands in the log once.
func TestO23OneLineForEachChange(t *testing.T) {
	s := newSite(t)
	s.start()
	if err := s.resolvers[0].Set(stub.Mode{Fault: stub.Closed}); err != nil {
		t.Fatal(err)
	}
	until(t, 5*time.Second, "down", func() bool { return s.backend("fulmine", "dns").State == admin.StateDown })
	until(t, 10*time.Second, "its line", func() bool { return s.logged("backend down", "backend", "fulmine") == 1 })
	for _, l := range s.logs.FilterMessage("backend down").All() {
		if l.Level != zapcore.WarnLevel || l.ContextMap()["reason"] == "" {
			t.Errorf("%v", l)
		}
	}
	until(t, 10*time.Second, "the service's line", func() bool { return s.logged("service degraded", "service", "resolver") == 1 })
	if n := s.logged("backend up", "backend", "fulmine"); n != 1 {
		t.Errorf("its coming up is in the log %d times", n)
	}
}

// What a new user meets first is answered with what helps; nothing else is.
func TestListeningHint(t *testing.T) {
	denied := os.NewSyscallError("bind", syscall.EACCES)
	for _, c := range []struct {
		err  error
		want string
	}{
		{&net.OpError{Op: "listen", Net: "udp4", Err: denied}, "CAP_NET_BIND_SERVICE"},
		{&net.OpError{Op: "listen", Net: "unix", Err: denied}, "admin.socket"},
		{&net.OpError{Op: "listen", Net: "tcp", Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}, ""},
		{&fs.PathError{Op: "open", Path: "key.pem", Err: syscall.EACCES}, ""},
		{nil, ""},
	} {
		var err error
		if c.err != nil {
			err = errors.Join(errors.New("starting"), fmt.Errorf("listening: %w", c.err))
		}
		got := listeningHint(err)
		if c.want == "" && got != err { //nolint:errorlint // the very same
			t.Errorf("%v became %v", err, got)
		}
		if c.want != "" && (!strings.Contains(got.Error(), c.want) || !errors.Is(got, syscall.EACCES)) {
			t.Errorf("%v became %v", err, got)
		}
	}
}
