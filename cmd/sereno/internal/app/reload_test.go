package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"

	"sereno/bench/stub"
	"sereno/cmd/sereno/internal/admin"
)

func succeeds(n *Node) bool { return !n.snapshot().LastReloadFailed }

func refused(t *testing.T, err error, parts ...string) {
	t.Helper()
	var r *admin.RefusedError
	if !errors.As(err, &r) {
		t.Fatalf("not refused: %v", err)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("%q does not say %q", err, p)
		}
	}
}

// steady is a node under traffic, and what no reload may change of it.
type steady struct {
	*site
	t       *testing.T
	clients *traffic
	service admin.Service
	backend admin.Backend
	route   admin.Anycast
}

func newSteady(t *testing.T) *steady {
	t.Helper()
	s := &steady{site: newSite(t), t: t}
	s.text["anycast"] = "anycast:\n" + anycast("dns-vip", "192.0.2.53/32", "resolver", "")
	s.start()
	until(t, 5*time.Second, "the route", func() bool { return s.site.route("dns-vip").State == admin.StateAnnounced })
	s.clients = s.traffic(800)
	s.service, s.backend, s.route = s.site.service("resolver"), s.site.backend("fulmine", "dns"), s.site.route("dns-vip")
	return s
}

// reload reloads and holds what changed against what must not.
func (s *steady) reload(what string, changes int) {
	s.t.Helper()
	before := s.site.service("resolver")
	c := s.mustReload()
	if len(c.Changes) != changes || len(c.Restart) > 0 {
		s.t.Errorf("%s: changes %v, needing a restart %v", what, c.Changes, c.Restart)
	}
	after := s.site.service("resolver")
	if after.Requests < before.Requests || after.Cache.Entries < before.Cache.Entries || after.Since != s.service.Since || after.State != admin.StateUp {
		s.t.Errorf("%s: the service was %+v and is %+v", what, before, after)
	}
	if b := s.site.backend("fulmine", "dns"); b.Since != s.backend.Since || b.State != admin.StateUp {
		s.t.Errorf("%s: the backend is %+v", what, b)
	}
	if r := s.site.route("dns-vip"); r.State != s.route.State || r.Since != s.route.Since {
		s.t.Errorf("%s: the route is %+v", what, r)
	}
	if !succeeds(s.node) || s.node.Status().Config.LastError != "" {
		s.t.Errorf("%s: counts as refused", what)
	}
}

// end ends the traffic, of which nothing may be lost.
func (s *steady) end() {
	s.t.Helper()
	s.clients.end()
	if m := s.node.snapshot().DNS[0]; m.Missing() != 0 {
		s.t.Errorf("%d queries are missing", m.Missing())
	}
}

func closed(t testing.TB, addr string) {
	t.Helper()
	if c, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
		c.Close()
		t.Errorf("%s is still open", addr)
	}
}

// One reload after the other, while clients ask: nothing is lost, and what a
// reload does not name keeps its cache, its verdicts and its counters.
func TestO04NothingIsLostWhenServicesComeAndGo(t *testing.T) {
	s := newSteady(t)
	s.reload("nothing", 0)

	second, third := freeAddr(t), freeAddr(t)
	s.text["dns"] += s.dnsService("second", second)
	s.reload("a new service", 1)
	until(t, 5*time.Second, "the new service", func() bool { return s.site.service("second").State == admin.StateUp })
	if err := asks(second, "www.example.com"); err != nil {
		t.Error(err)
	}

	s.change("dns", fmt.Sprintf("listen: [%q]", second), fmt.Sprintf("listen: [%q]", third))
	s.reload("another listening address", 1)
	if err := asks(third, "www.example.com"); err != nil {
		t.Error(err)
	}
	closed(t, second)

	s.change("dns", "{name: second,", "{name: renamed,")
	s.reload("another name", 2)
	until(t, 5*time.Second, "the renamed service", func() bool { return s.site.service("renamed").State == admin.StateUp })
	if s.site.service("renamed").Cache.Entries == 0 || s.site.service("second").Name != "" {
		t.Errorf("renamed: %+v, %+v", s.site.service("renamed"), s.site.service("second"))
	}
	if err := asks(third, "www.example.com"); err != nil {
		t.Error(err)
	}

	s.text["dns"] = s.text["dns"][:strings.Index(s.text["dns"], "  - {name: renamed")]
	s.reload("a service less", 1)
	until(t, 5*time.Second, "the address to be given back", func() bool { return probeTCP(netip.MustParseAddrPort(third)) == nil })
	s.end()
}

func TestO04NothingIsLostWhenKeysChange(t *testing.T) {
	s := newSteady(t)
	s.change("pools", `name: fulmine, `, `name: fulmine, weight: 7, `)
	s.reload("a weight", 1)
	if b := s.site.backend("fulmine", "dns"); b.Weight != 7 {
		t.Errorf("the weight is %d", b.Weight)
	}
	s.change("pools", `name: tempesta, `, `name: tempesta, backup: true, `)
	s.reload("a backend becomes a hot spare", 1)

	s.text["radius"] += "      - {name: bras-2, address: 127.9.9.9, secret: other}\n"
	s.reload("a client", 1)
	s.change("radius", "secret: other", "secret: [another, other]")
	s.reload("a client's secret", 1)
	s.change("radius", "secret: "+nasSecret, "secret: [new-secret, "+nasSecret+"]")
	s.reload("the secret of the client that asks, rotated", 1)

	s.change("log", "debug", "warn")
	s.reload("log.level", 1)
	if s.node.level.Level() != zapcore.WarnLevel {
		t.Errorf("the level is %s", s.node.level)
	}
	s.change("log", "warn", "debug")
	s.reload("log.level back", 1)

	fresh := freeAddr(t)
	s.change("admin", s.listen, fresh)
	s.reload("admin.listen", 1)
	healthy(t, fresh)
	closed(t, s.listen)
	s.change("admin", "admin.sock", "other.sock")
	s.reload("admin.socket", 1)
	if _, err := os.Stat(filepath.Join(s.dir, "other.sock")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "admin.sock")); !os.IsNotExist(err) {
		t.Errorf("the old socket: %v", err)
	}
	s.end()
}

// A service that has a route gets another name: neither the route nor a query
// is lost for it.
func TestO04RenamedServiceKeepsItsRouteAndItsTraffic(t *testing.T) {
	s := newSite(t)
	s.text["anycast"] = "anycast:\n" + anycast("dns-vip", "192.0.2.53/32", "resolver", "") + anycast("radius-vip", "192.0.2.18/32", "pppoe", "")
	s.start()
	up := func() bool {
		return s.route("dns-vip").State == admin.StateAnnounced && s.route("radius-vip").State == admin.StateAnnounced
	}
	until(t, 5*time.Second, "the routes", up)
	dns, radius := s.route("dns-vip").Since, s.route("radius-vip").Since
	x := s.traffic(800)
	for _, name := range []string{"recursor", "resolver"} {
		old := map[string]string{"recursor": "resolver", "resolver": "recursor"}[name]
		s.change("dns", "name: "+old, "name: "+name)
		s.change("radius", "name: pppoe", "name: dialup")
		s.change("anycast", "requires: ["+old, "requires: ["+name)
		s.change("anycast", "requires: [pppoe", "requires: [dialup")
		s.mustReload()
		if v := s.service(name); v.State != admin.StateUp || v.Requests == 0 || v.Cache.Entries == 0 {
			t.Errorf("%s: %+v", name, v)
		}
		if !up() || s.route("dns-vip").Since != dns || s.route("radius-vip").Since != radius {
			t.Errorf("renaming touched the routes: %+v, %+v", s.route("dns-vip"), s.route("radius-vip"))
		}
		s.change("radius", "name: dialup", "name: pppoe")
		s.change("anycast", "requires: [dialup", "requires: [pppoe")
		s.mustReload()
	}
	x.end()
}

// A service is renamed, and a new one gets the name that it had: in one reload that is refused, in two both have their
// spools at once.
func TestO04NewServiceUnderTheNameOfARenamedOne(t *testing.T) {
	s := newSite(t)
	s.start()
	s.change("radius", "name: pppoe", "name: dialup")
	renamed := s.text["radius"]
	more := fmt.Sprintf("  - {name: pppoe, acct: [%q], pool: servers, clients: [{name: x, address: 127.0.0.1, secret: %s}]}\n", freeAddr(t), nasSecret)
	s.text["radius"] += more
	_, err := s.reload()
	refused(t, err, "service dialup", "service pppoe", "in one reload", "in the next")
	s.text["radius"] = renamed
	s.mustReload()
	s.text["radius"] += more
	s.mustReload()
	if alarms := s.node.Status().Alarms; len(alarms) > 0 {
		t.Errorf("%+v", alarms)
	}
	spools, _ := filepath.Glob(filepath.Join(s.dir, "*", "spool", "*"))
	if len(spools) != 2 {
		t.Errorf("the spools are %v", spools)
	}
}

// A route that comes to require a service which the same reload opens stays.
func TestO04NewServiceUnderAStandingRoute(t *testing.T) {
	s := newSite(t)
	s.text["anycast"] = "anycast:\n" + anycast("vip", "192.0.2.53/32", "resolver", "")
	s.start()
	until(t, 5*time.Second, "the route", func() bool { return s.route("vip").State == admin.StateAnnounced })
	since := s.route("vip").Since
	s.text["dns"] += s.dnsService("second", freeAddr(t))
	s.change("anycast", "requires: [resolver]", "requires: [resolver, second]")
	s.mustReload()
	if r := s.route("vip"); r.State != admin.StateAnnounced || r.Since != since {
		t.Errorf("the route: %+v", r)
	}
	if n := s.logged("route withdrawn", "from", "announced"); n != 0 {
		t.Error("it was withdrawn meanwhile")
	}
}

func TestO04BrokenConfigurationIsRefusedWhole(t *testing.T) {
	s := newSite(t)
	n := s.start()
	good := s.text
	hash := n.Status().Config.Hash
	for what, c := range map[string]struct {
		section, text string
		parts         []string
	}{
		"no yaml":      {"dns", "dns: [\n", nil},
		"unknown key":  {"log", "log: {level: debug, colour: red}\n", []string{"2:21", "colour"}},
		"unknown pool": {"dns", "dns:\n  - {name: resolver, listen: [\"127.0.0.1:5353\"], pool: nowhere}\n", []string{"nowhere"}},
		"two errors":   {"pools", strings.ReplaceAll(good["pools"], "interval: 200ms", "interval: 1ns"), []string{"interval", "\n"}},
	} {
		t.Run(what, func(t *testing.T) {
			s.text = map[string]string{}
			for k, v := range good {
				s.text[k] = v
			}
			s.text[c.section] = c.text
			_, err := s.reload()
			refused(t, err, append(c.parts, "the configuration has errors")...)
			st := n.Status()
			if st.Config.Hash != hash || st.Config.LastError != err.Error() || succeeds(n) {
				t.Errorf("the status is %+v", st.Config)
			}
			if err := asks(s.dns, "www.example.com"); err != nil {
				t.Error(err)
			}
		})
	}
	if err := os.Remove(s.path()); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Reload(context.Background(), false); err == nil {
		t.Error("a file that is not there was loaded")
	}
	s.text = good
	s.mustReload()
	if !succeeds(n) || n.Status().Config.LastError != "" {
		t.Error("a good reload does not end the bad one's error")
	}
}

// A reload that fails at a port in use leaves the node as it was, with what the
// reload would have taken away.
func TestO04ReloadThatCannotListenIsUndoneWhole(t *testing.T) {
	s := newSite(t)
	s.text["anycast"] = "anycast:\n" + anycast("dns-vip", "192.0.2.53/32", "resolver", "")
	n := s.start()
	until(t, 5*time.Second, "the route", func() bool { return s.route("dns-vip").State == admin.StateAnnounced })
	x := s.traffic(400)
	udp, err := net.ListenPacket("udp", freeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	tcp, err := net.Listen("tcp", freeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	good := s.text
	before, hash := s.backend("fulmine", "dns"), n.Status().Config.Hash
	for what, change := range map[string]func() string{
		"a new dns service": func() string {
			s.text["dns"] += s.dnsService("second", udp.LocalAddr().String())
			return udp.LocalAddr().String()
		},
		"another address of a service": func() string {
			s.change("dns", s.dns, tcp.Addr().String())
			return tcp.Addr().String()
		},
		"an address of radius": func() string {
			s.change("radius", s.acct, udp.LocalAddr().String())
			return udp.LocalAddr().String()
		},
		"admin.listen": func() string {
			s.change("admin", s.listen, tcp.Addr().String())
			return "admin.listen"
		},
	} {
		t.Run(what, func(t *testing.T) {
			s.text = map[string]string{}
			for k, v := range good {
				s.text[k] = v
			}
			// What would be gone, and what would be new, besides.
			s.text["pools"] = "pools:\n" + s.dnsPool("resolvers", "nuovo", "tempesta") + s.radiusPool()
			s.text["dns"] += s.dnsService("extra", freeAddr(t))
			s.change("log", "debug", "error")
			wants := change()
			_, err := s.reload()
			refused(t, err, wants, "in use")
			st := n.Status()
			if st.Config.Hash != hash || st.Config.LastError == "" || succeeds(n) || len(st.Services) != 2 || n.level.Level() != zapcore.DebugLevel {
				t.Errorf("after the undone reload: %+v", st)
			}
			if b := s.backend("fulmine", "dns"); b.State != admin.StateUp || b.Since != before.Since || b.Address != before.Address {
				t.Errorf("the backend was %+v and is %+v", before, b)
			}
			if b := s.backend("nuovo", "dns"); b.Name != "" {
				t.Errorf("the new backend is there: %+v", b)
			}
			if r := s.route("dns-vip"); r.State != admin.StateAnnounced {
				t.Errorf("the route is %+v", r)
			}
			healthy(t, s.listen)
		})
	}
	x.end()
	if n := s.logged("undoing a reload", "", ""); n > 0 {
		t.Errorf("undoing failed %d times", n)
	}
	s.text = good
	if c := s.mustReload(); len(c.Changes) != 0 {
		t.Errorf("what runs is not what was: %v", c.Changes)
	}
}

// When opening fails although every port was free a moment before, the steps
// that are done are undone.
func TestO04StepsThatAreDoneAreUndone(t *testing.T) {
	s := newSite(t)
	n := s.start()
	s.change("dns", "cache:", "allow: [192.0.2.0/24], cache:") // clients that ask here would be refused
	s.text["dns"] += s.dnsService("second", freeAddr(t))
	s.text["pools"] = "pools:\n" + s.dnsPool("resolvers", "nuovo", "tempesta") + s.radiusPool()
	since := s.backend("fulmine", "dns").Since
	next := s.load()
	running := n.shape.Load()
	moves, err := n.plan(running, next)
	if err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", next.DNS[1].Listen[0]) // between plan and prepare
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	shape := &shape{config: next}
	undo, err := n.prepare(running, shape, moves)
	if err == nil {
		t.Fatal("it opened a taken port")
	}
	undo.all()
	if b := s.backend("fulmine", "dns"); b.State != admin.StateUp || b.Since != since {
		t.Errorf("the backend is %+v", b)
	}
	if s.backend("nuovo", "dns").Name != "" || s.logged("undoing a reload", "", "") > 0 {
		t.Error("it is not as it was")
	}
	if err := asks(s.dns, "www.example.org"); err != nil {
		t.Error(err)
	}
}

func TestO04KeysThatNeedARestartAreNamedAndStay(t *testing.T) {
	s := newSite(t)
	n := s.start()
	s.change("node", "name: test-1, state_dir: state", "name: test-2, state_dir: elsewhere")
	s.change("log", "level: debug", "level: debug, format: json")
	want := []string{"node.name", "node.state_dir", "log.format"}
	if c := s.mustReload(); !slices.Equal(c.Restart, want) {
		t.Errorf("named were %v", c.Restart)
	}
	if n.Status().Node != "test-1" {
		t.Errorf("the node is called %s", n.Status().Node)
	}
	// They differ from what runs until the next start, also in the next reload.
	s.change("log", "level: debug", "level: info")
	if c := s.mustReload(); !slices.Equal(c.Restart, want) || len(c.Changes) != 1 {
		t.Errorf("then named were %v of %v", c.Restart, c.Changes)
	}
}

func TestA20ReloadThatWouldEmptyTheRoutesNeedsAllowEmpty(t *testing.T) {
	s := newSite(t)
	s.text["anycast"] = "anycast:\n" + anycast("dns-vip", "192.0.2.53/32", "resolver", "")
	n := s.start()
	delete(s.text, "anycast")
	_, err := s.reload()
	refused(t, err, "no anycast prefix", "--allow-empty")
	if len(n.Status().Anycast) != 1 {
		t.Error("it is gone all the same")
	}
	c, err := n.Reload(context.Background(), true)
	if err != nil || len(n.Status().Anycast) != 0 {
		t.Errorf("allowed: %v, %+v", err, n.Status().Anycast)
	}
	if len(c.Routes) != 1 || !strings.Contains(c.Routes[0].Text, "192.0.2.53/32") {
		t.Errorf("the difference in routes: %+v", c.Routes)
	}
}

// An address of one DNS service goes to another in one reload, also when the rest
// of it fails and is undone. Two services that would exchange theirs are told to
// do it in two.
func TestO04AddressChangesHands(t *testing.T) {
	s := newSite(t)
	other, third, fourth := freeAddr(t), freeAddr(t), freeAddr(t)
	both := func(first, second string) {
		s.text["dns"] = "dns:\n" + s.dnsService("second", second) + s.dnsService("resolver", first)
	}
	both(s.dns, other)
	s.start()
	answer := func(addrs ...string) {
		t.Helper()
		for _, addr := range addrs {
			if err := asks(addr, "www.example.com"); err != nil {
				t.Errorf("%s: %v", addr, err)
			}
		}
	}
	both(third, s.dns) // the taker stands first in the file
	s.mustReload()
	answer(third, s.dns)
	closed(t, other)
	if got := s.node.Status().Services; got[0].Name != "second" || got[1].Name != "resolver" || got[0].Listen[0] != s.dns {
		t.Errorf("services: %+v", got)
	}

	both(s.dns, third)
	_, err := s.reload()
	refused(t, err, "would exchange addresses", "in the next")
	answer(third, s.dns)

	taken, err := net.Listen("tcp", other)
	if err != nil {
		t.Fatal(err)
	}
	both(fourth, third)
	s.text["dns"] += s.dnsService("late", other) // found out before anything is touched
	_, err = s.reload()
	refused(t, err, "service late", other)
	answer(third, s.dns)
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}

	both(fourth, third)
	s.mustReload()
	answer(fourth, third)

	// RADIUS answers for a while what came by an address: two reloads.
	s.text["radius"] += fmt.Sprintf("  - {name: other, auth: [%q], pool: servers, clients: [{name: x, address: 127.0.0.1, secret: %s}]}\n", s.auth, nasSecret)
	s.change("radius", fmt.Sprintf("auth: [%q]\n", s.auth), fmt.Sprintf("auth: [%q]\n", freeAddr(t)))
	_, err = s.reload()
	refused(t, err, "service other", "service pppoe", s.auth, "in the next")
}

// An address that was taken away is taken back while what came by it is still
// answered; another service gets it when that is over.
func TestO04AddressThatWasTakenAwayComesBack(t *testing.T) {
	s := newSite(t)
	s.start()
	more := freeAddr(t)
	with := fmt.Sprintf("auth: [%q, %q]", s.auth, more)
	without := fmt.Sprintf("auth: [%q]", s.auth)
	for range 3 {
		s.change("radius", without, with)
		s.mustReload()
		s.change("radius", with, without)
		s.mustReload()
	}
	s.text["radius"] += fmt.Sprintf("  - {name: other, auth: [%q], pool: servers, clients: [{name: x, address: 127.0.0.1, secret: %s}]}\n", more, nasSecret)
	_, err := s.reload()
	refused(t, err, "service other", more, "service pppoe", "try again in a moment")
}

// A service that a reload took away answers until its routes are gone; its
// address is not free before.
func TestO04RemovedServiceAnswersUntilItsRoutesAreGone(t *testing.T) {
	s := newSite(t)
	second := freeAddr(t)
	s.text["dns"] += s.dnsService("second", second)
	s.text["anycast"] = "anycast:\n" + anycast("dns-vip", "192.0.2.53/32", "resolver", "") + anycast("second-vip", "192.0.2.54/32", "second", "")
	s.change("anycast", "requires: [second], announce_after: 100ms, drain_time: 400ms", "requires: [second], announce_after: 100ms, drain_time: 2s")
	s.start()
	with := map[string]string{"dns": s.text["dns"], "anycast": s.text["anycast"]}
	s.text["dns"] = "dns:\n" + s.dnsService("resolver", s.dns)
	s.text["anycast"] = "anycast:\n" + anycast("dns-vip", "192.0.2.53/32", "resolver", "")
	s.mustReload()
	if err := asks(second, "www.example.com"); err != nil {
		t.Errorf("it is gone with its routes: %v", err)
	}
	s.text["dns"], s.text["anycast"] = with["dns"], with["anycast"]
	_, err := s.reload()
	refused(t, err, "an earlier reload took away", "try again")
	until(t, 5*time.Second, "the reload to be possible", func() bool { _, err := s.reload(); return err == nil })
	until(t, 5*time.Second, "the service", func() bool { return s.service("second").State == admin.StateUp })
}

// The verdict on a backend that is down outlives a reload.
func TestO04HealthIsKept(t *testing.T) {
	s := newSite(t)
	s.start()
	if err := s.resolvers[1].Set(stub.Mode{Fault: stub.Closed}); err != nil {
		t.Fatal(err)
	}
	until(t, 5*time.Second, "down", func() bool { return s.backend("tempesta", "dns").State == admin.StateDown })
	was := s.backend("tempesta", "dns")
	s.change("pools", "attempt_timeout: 100ms", "attempt_timeout: 150ms")
	s.change("pools", "{interval: 200ms,", "{interval: 300ms,")
	s.mustReload()
	if b := s.backend("tempesta", "dns"); b.State != admin.StateDown || b.Since != was.Since || b.Reason != was.Reason {
		t.Errorf("it was %+v and is %+v", was, b)
	}
}
