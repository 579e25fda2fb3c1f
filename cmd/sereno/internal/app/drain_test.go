package app

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sereno/bench/stub"
	"sereno/cmd/sereno/internal/admin"
)

func (s *site) drain(target string, d time.Duration, force bool) error {
	s.t.Helper()
	t, err := admin.ParseTarget(target)
	if err != nil {
		s.t.Fatal(err)
	}
	_, err = s.node.Drain(context.Background(), t, d, force)
	return err
}

func (s *site) undrain(target string) error {
	s.t.Helper()
	t, err := admin.ParseTarget(target)
	if err != nil {
		s.t.Fatal(err)
	}
	_, err = s.node.Undrain(context.Background(), t)
	return err
}

func (s *site) mustDrain(target string, d time.Duration, force bool) {
	s.t.Helper()
	if err := s.drain(target, d, force); err != nil {
		s.t.Fatalf("drain %s: %v", target, err)
	}
}

func (s *site) drained(target string) *admin.Drain {
	for _, d := range s.node.Status().Drains {
		if d.Target == target {
			return &d
		}
	}
	return nil
}

// drainSite has two routes on one service each.
func drainSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t)
	s.text["anycast"] = "anycast:\n" + anycast("dns-vip", "192.0.2.53/32", "resolver", "") + anycast("radius-vip", "192.0.2.18/32", "pppoe", "")
	s.start()
	until(t, 5*time.Second, "the routes", func() bool {
		return s.route("dns-vip").State == admin.StateAnnounced && s.route("radius-vip").State == admin.StateAnnounced
	})
	return s
}

func (s *site) routeIs(name, state string) {
	s.t.Helper()
	until(s.t, 5*time.Second, name+" to be "+state, func() bool { return s.route(name).State == state })
}

func TestO12DrainOfEveryKindOfTarget(t *testing.T) {
	s := drainSite(t)
	x := s.traffic(400) // a drain loses nothing

	s.mustDrain("anycast/dns-vip", 0, false)
	s.routeIs("dns-vip", admin.StateWithdrawn)
	if r := s.route("dns-vip"); r.Reason != "drained" || s.service("resolver").State != admin.StateUp {
		t.Errorf("a drained route: %+v, %+v", r, s.service("resolver"))
	}
	if err := s.undrain("anycast/dns-vip"); err != nil {
		t.Fatal(err)
	}
	s.routeIs("dns-vip", admin.StateAnnounced)

	s.mustDrain("service/resolver", 0, false)
	s.routeIs("dns-vip", admin.StateWithdrawn)
	if v := s.service("resolver"); v.State != admin.StateDrained || v.Reason != "drained" || s.route("dns-vip").Reason != "service-drained" {
		t.Errorf("a drained service: %+v, %+v", v, s.route("dns-vip"))
	}
	if s.route("radius-vip").State != admin.StateAnnounced || s.node.Status().State != admin.StateUp {
		t.Errorf("the other service is touched: %+v, the node is %s", s.route("radius-vip"), s.node.Status().State)
	}
	if err := s.undrain("service/resolver"); err != nil {
		t.Fatal(err)
	}
	s.routeIs("dns-vip", admin.StateAnnounced)

	s.mustDrain("pool/resolvers/fulmine", 0, false)
	if b := s.backend("fulmine", "dns"); b.State != admin.StateDrained {
		t.Errorf("a drained backend: %+v", b)
	}
	until(t, 5*time.Second, "no query in flight at it", func() bool { return s.backend("fulmine", "dns").InFlight == 0 })
	asked := s.resolvers[0].Stats()
	for range 50 {
		if err := asks(s.dns, "drained.example."+time.Now().Format("150405.000000000")); err != nil {
			t.Error(err)
		}
	}
	if now := s.resolvers[0].Stats(); now.UDP-now.Probes != asked.UDP-asked.Probes {
		t.Errorf("a drained backend was asked: %+v, then %+v", asked, now)
	}
	s.mustDrain("pool/servers/uno", 0, false)
	for _, role := range []string{"auth", "acct"} {
		if b := s.backend("uno", role); b.State != admin.StateDrained {
			t.Errorf("role %s of a drained backend: %+v", role, b)
		}
	}
	for _, target := range []string{"pool/resolvers/fulmine", "pool/servers/uno"} {
		if err := s.undrain(target); err != nil {
			t.Fatal(err)
		}
	}
	until(t, 5*time.Second, "all backends up", s.backendsUp)

	s.mustDrain("node", 0, true)
	s.routeIs("dns-vip", admin.StateWithdrawn)
	s.routeIs("radius-vip", admin.StateWithdrawn)
	if st := s.node.Status(); st.State != admin.StateDrained || len(st.Drains) != 1 || st.Drains[0].Target != "node" || st.Drains[0].Since.IsZero() || !st.Drains[0].Until.IsZero() {
		t.Errorf("a drained node: %+v", st)
	}
	if ready, reasons := s.node.Ready(); !ready {
		t.Errorf("nothing closes, and its services still serve: %v", reasons)
	}
	if err := s.undrain("node"); err != nil {
		t.Fatal(err)
	}
	s.routeIs("dns-vip", admin.StateAnnounced)
	s.routeIs("radius-vip", admin.StateAnnounced)
	x.end()
}

func TestO12DrainThatHurtsIsRefusedUnlessForced(t *testing.T) {
	s := drainSite(t)
	for _, target := range []string{"service/nobody", "anycast/nobody", "pool/resolvers/nobody", "pool/nobody/fulmine"} {
		if err := s.drain(target, 0, true); !errors.Is(err, admin.ErrNotFound) {
			t.Errorf("drain %s: %v", target, err)
		}
		if err := s.undrain(target); !errors.Is(err, admin.ErrNotFound) {
			t.Errorf("undrain %s: %v", target, err)
		}
	}
	if err := s.undrain("node"); !errors.Is(err, admin.ErrNotFound) {
		t.Errorf("undrain of what is not drained: %v", err)
	}

	// The last backend of a pool.
	s.mustDrain("pool/resolvers/fulmine", 0, false)
	refused(t, s.drain("pool/resolvers/tempesta", 0, false), "0 healthy backends", "min_healthy is 1", "--force")
	if s.drained("pool/resolvers/tempesta") != nil || s.backend("tempesta", "dns").State != admin.StateUp {
		t.Error("drained all the same")
	}
	s.mustDrain("pool/resolvers/tempesta", 0, true)
	s.routeIs("dns-vip", admin.StateWithdrawn)
	for _, target := range []string{"pool/resolvers/fulmine", "pool/resolvers/tempesta"} {
		if err := s.undrain(target); err != nil {
			t.Fatal(err)
		}
	}
	s.routeIs("dns-vip", admin.StateAnnounced)

	// One role alone would be left without.
	if err := s.servers[1].SetRole(stub.Acct, stub.Mode{Fault: stub.Closed}); err != nil {
		t.Fatal(err)
	}
	until(t, 5*time.Second, "its accounting to be down", func() bool { return s.backend("due", "acct").State == admin.StateDown })
	refused(t, s.drain("pool/servers/uno", 0, false), "role acct", "pool servers")

	// The last announced route, by each way that leads there.
	refused(t, s.drain("node", 0, false), "last announced anycast", "dns-vip, radius-vip", "--force")
	s.mustDrain("anycast/dns-vip", 0, false)
	for _, target := range []string{"node", "anycast/radius-vip", "service/pppoe"} {
		refused(t, s.drain(target, 0, false), target, "last announced anycast", "radius-vip")
	}
	s.mustDrain("anycast/dns-vip", time.Hour, false) // again: another end, no harm
	if d := s.drained("anycast/dns-vip"); d == nil || d.Until.IsZero() {
		t.Errorf("the new end: %+v", d)
	}
	s.mustDrain("service/pppoe", 0, true)
	s.routeIs("radius-vip", admin.StateWithdrawn)
	s.mustDrain("node", 0, false) // nothing is announced any more: no harm
}

func TestO12DrainEndsByItself(t *testing.T) {
	s := drainSite(t)
	s.mustDrain("service/pppoe", 0, false)
	if s.logged("drained", "until", "it is undrained") != 1 {
		t.Error("the log does not say that it lasts")
	}
	if err := s.undrain("service/pppoe"); err != nil {
		t.Fatal(err)
	}
	s.routeIs("radius-vip", admin.StateAnnounced)
	s.mustDrain("anycast/dns-vip", 1500*time.Millisecond, false)
	s.mustDrain("pool/resolvers/fulmine", 1500*time.Millisecond, false)
	if d := s.drained("anycast/dns-vip"); d == nil || d.Until.Sub(d.Since.Time) != 1500*time.Millisecond {
		t.Errorf("it is %+v", d)
	}
	s.routeIs("dns-vip", admin.StateWithdrawn)
	until(t, 5*time.Second, "their end", func() bool { return len(s.node.Status().Drains) == 0 })
	s.routeIs("dns-vip", admin.StateAnnounced)
	until(t, 5*time.Second, "the backend", func() bool { return s.backend("fulmine", "dns").State == admin.StateUp })
	// The word comes after the deed.
	until(t, 5*time.Second, "both ends to be in the log", func() bool { return s.logged("drain ended", "why", "its time is over") == 2 })
}

func TestO12DrainSurvivesAReloadAndARestart(t *testing.T) {
	s := drainSite(t)
	targets := []string{"anycast/dns-vip", "pool/resolvers/fulmine", "service/resolver"}
	for _, target := range targets {
		s.mustDrain(target, time.Hour, true)
	}
	held := func(when string) {
		t.Helper()
		for _, target := range targets {
			if s.drained(target) == nil {
				t.Errorf("%s: %s is not drained", when, target)
			}
		}
		if s.backend("fulmine", "dns").State != admin.StateDrained || s.service("resolver").State != admin.StateDrained || s.route("dns-vip").State != admin.StateWithdrawn {
			t.Errorf("%s: %+v, %+v, %+v", when, s.backend("fulmine", "dns"), s.service("resolver"), s.route("dns-vip"))
		}
	}
	s.routeIs("dns-vip", admin.StateWithdrawn)
	held("drained")
	s.change("pools", "name: tempesta, ", "name: tempesta, weight: 3, ")
	s.mustReload()
	held("after a reload")

	// What goes and comes back is drained from its first moment, and never asked.
	with := map[string]string{"pools": s.text["pools"], "anycast": s.text["anycast"]}
	s.text["pools"] = "pools:\n" + strings.Replace(s.dnsPool("resolvers", "fulmine", "tempesta"), "{name: fulmine,", "{name: nuovo,", 1) + s.radiusPool()
	s.text["anycast"] = "anycast:\n" + anycast("radius-vip", "192.0.2.18/32", "pppoe", "")
	s.mustReload()
	if len(s.node.Status().Drains) != len(targets) {
		t.Error("a drain ended because its target is gone for now")
	}
	s.text["pools"], s.text["anycast"] = with["pools"], with["anycast"]
	s.mustReload()
	held("after its return")
	if s.logged("route announced", "anycast", "dns-vip") != 1 || s.logged("backend up", "backend", "fulmine") != 1 {
		t.Error("it was in use for a moment")
	}

	logs := s.logs
	s.stop()
	n, err := s.tryStart()
	if err != nil {
		t.Fatal(err)
	}
	s.node = n
	defer s.stop()
	held("at once after a restart")
	until(t, 5*time.Second, "readiness of the other", func() bool { return s.service("pppoe").State == admin.StateUp })
	held("after a restart")
	if logs == s.logs || s.logged("route announced", "anycast", "dns-vip") != 0 || s.logged("backend up", "backend", "fulmine") != 0 {
		t.Error("a restart put it in use for a moment")
	}
	for _, target := range targets {
		if err := s.undrain(target); err != nil {
			t.Errorf("undrain %s: %v", target, err)
		}
	}
	s.routeIs("dns-vip", admin.StateAnnounced)
}

// TestO12DrainOnAFullDiskTakesEffect: the one night when it matters. Answer, log and status say that a restart would not
// know of it; once there is room it does.
func TestO12DrainOnAFullDiskTakesEffect(t *testing.T) {
	s := drainSite(t)
	inTheWay := filepath.Join(s.dir, "state", "drains.json", "x")
	if err := os.MkdirAll(inTheWay, 0o700); err != nil { // no file can be put there
		t.Fatal(err)
	}
	target := admin.Target{Kind: admin.TargetAnycast, Name: "dns-vip"}
	d, err := s.node.Drain(context.Background(), target, 0, false)
	if err != nil || !strings.Contains(d.Warning, "a restart would end this drain") || !strings.Contains(d.Warning, "drains.json") {
		t.Fatalf("%+v, %v", d, err)
	}
	s.routeIs("dns-vip", admin.StateWithdrawn)
	until(t, 5*time.Second, "the alarm", func() bool { return strings.Contains(s.standing(), alarmDrainsUnwritten) })
	if s.drained("anycast/dns-vip") == nil || s.logged("in force, but not written down: a restart would end this drain", "", "") != 1 {
		t.Error("it is not shown, or not said")
	}
	u, err := s.node.Undrain(context.Background(), target)
	if err != nil || !strings.Contains(u.Warning, "a restart may drain it again") {
		t.Fatalf("%+v, %v", u, err)
	}
	s.routeIs("dns-vip", admin.StateAnnounced)
	s.mustDrain("anycast/dns-vip", 0, false)
	if err := os.RemoveAll(filepath.Dir(inTheWay)); err != nil {
		t.Fatal(err)
	}
	s.stop()
	s.start()
	if s.drained("anycast/dns-vip") == nil {
		t.Error("there was room at the end, and the restart does not know")
	}
}

// A drain whose target came back after a restart without it.
func TestO12DrainOfABackendThatIsYetToCome(t *testing.T) {
	s := drainSite(t)
	s.mustDrain("pool/resolvers/fulmine", 0, false)
	with := s.text["pools"]
	s.stop()
	s.change("pools", "{name: fulmine,", "{name: nuovo,")
	s.start()
	s.text["pools"] = with
	s.mustReload()
	if b := s.backend("fulmine", "dns"); b.State != admin.StateDrained || s.logged("backend up", "backend", "fulmine") != 0 {
		t.Errorf("it is %+v, or was in use for a moment", b)
	}
}

// A reload of a drained node announces nothing that is new.
func TestO12DrainedNodeAnnouncesNoNewRoute(t *testing.T) {
	s := drainSite(t)
	s.mustDrain("node", 0, true)
	s.routeIs("dns-vip", admin.StateWithdrawn)
	s.routeIs("radius-vip", admin.StateWithdrawn)
	s.text["anycast"] += anycast("new-vip", "192.0.2.99/32", "resolver", "")
	s.mustReload()
	s.routeIs("new-vip", admin.StateWithdrawn)
	if r := s.route("new-vip"); r.Reason != "drained" || s.logged("route announced", "anycast", "new-vip")+s.logged("route demoted", "anycast", "new-vip") != 0 {
		t.Errorf("it is %+v, and was more", r)
	}
	if err := s.undrain("node"); err != nil {
		t.Fatal(err)
	}
	s.routeIs("new-vip", admin.StateAnnounced)
}

// Over the socket, with the codes and bodies of the contract.
func TestO22DrainOverTheAPI(t *testing.T) {
	s := drainSite(t)
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", s.dir+"/admin.sock")
	}}}
	defer client.CloseIdleConnections()
	post := func(path string, arguments url.Values) (int, map[string]any) {
		t.Helper()
		reply, err := client.Post("http://node"+path+"?"+arguments.Encode(), "", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer reply.Body.Close()
		body, err := io.ReadAll(reply.Body)
		if err != nil {
			t.Fatal(err)
		}
		var out map[string]any
		if err := json.Unmarshal(body, &out); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		return reply.StatusCode, out
	}
	for _, c := range []struct {
		path string
		args url.Values
		code int
	}{
		{"/api/v1/drain", url.Values{"target": {"anycast/dns-vip"}, "for": {"30m"}}, 200},
		{"/api/v1/drain", url.Values{"target": {"node"}}, 409},
		{"/api/v1/drain", url.Values{"target": {"service/nobody"}}, 404},
		{"/api/v1/drain", url.Values{"target": {"service"}}, 400},
		{"/api/v1/undrain", url.Values{"target": {"anycast/dns-vip"}}, 200},
		{"/api/v1/undrain", url.Values{"target": {"anycast/dns-vip"}}, 404},
		{"/api/v1/reload", nil, 200},
	} {
		code, body := post(c.path, c.args)
		if code != c.code || (code != 200) != (body["error"] != nil) {
			t.Errorf("%s %v: %d %v", c.path, c.args, code, body)
		}
	}
	s.text["dns"] = "dns:\n  - {name: resolver, listen: [x], pool: nowhere}\n"
	s.write()
	if code, body := post("/api/v1/reload", nil); code != 409 || !strings.Contains(body["error"].(string), "nowhere") {
		t.Errorf("a broken configuration: %d %v", code, body)
	}
}
