package speaker

import (
	"context"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	api "github.com/osrg/gobgp/v3/api"

	"sereno/bgp"
)

// With SERENO_E2E=1 real routers take part in some of these tests.

func TestA15MalformedMessageCostsOneSessionOnly(t *testing.T) {
	t.Parallel()
	r := startGoRouter(t, localRouter)
	s := settings(r.address(), vip)
	bad := neighbor("core-2", rawNeighbor(t, afterwards(rawMessage(200)))) // of a type that does not exist: GoBGP v3 panics
	bad.Source = "127.0.0.3"
	s.BGP.Neighbors = append(s.BGP.Neighbors, bad)
	c := startNode(t, s)
	c.SetServices(up)
	eventually(t, 10*time.Second, "route", func() bool { return r.has(t, vip) != "" })
	eventually(t, 20*time.Second, "the death of a speaker", func() bool { return state(c, "core-2").SpeakerDeaths > 0 })
	n := state(c, "core-2")
	if !strings.Contains(n.LastError, "panic: ") && !strings.Contains(n.LastError, "died") {
		t.Errorf("status %+v", n)
	}
	t.Log(n.LastError)
	// The route may be at the router before its speaker has reported the session.
	eventually(t, 10*time.Second, "the other session's report", func() bool { return state(c, "core-1").State == bgp.Established })
	if n := state(c, "core-1"); n.SpeakerDeaths != 0 || r.count("session-down", "") != 0 || r.count("withdrawn", vip) != 0 {
		t.Errorf("the other neighbor suffers: %+v", n)
	}
}

func TestA20ReloadLeavesOtherSessionsAlone(t *testing.T) {
	t.Parallel()
	one, two := startGoRouter(t, localRouter), startGoRouter(t, localRouter)
	s := settings(one.address(), vip)
	c := startNode(t, s)
	c.SetServices(up)
	eventually(t, 10*time.Second, "route", func() bool { return one.has(t, vip) != "" })
	pid := state(c, "core-1").SpeakerPID

	more := settings(one.address(), vip, "198.51.100.0/24")
	n := neighbor("core-2", two.address())
	n.Source = "127.0.0.3"
	more.BGP.Neighbors = append(more.BGP.Neighbors, n)
	more.BGP.Neighbors[0].MaxReceived = 7
	if err := c.SetConfig(more, false); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "both routes at both", func() bool {
		return one.has(t, "198.51.100.0/24") != "" && two.has(t, vip) != "" && two.has(t, "198.51.100.0/24") != ""
	})
	if err := c.SetConfig(s, false); err != nil {
		t.Fatal(err)
	}
	// A20 has no bound, and both take some milliseconds. A speaker that is to end has closeTime, 1 s, to do it by itself
	// before it is killed: that is the product's own bound, and the machine's share comes on top.
	withdrawn := eventually(t, 10*time.Second, "the prefix gone", func() bool { return one.has(t, "198.51.100.0/24") == "" })
	ended := eventually(t, 10*time.Second, "the neighbor's session ended", func() bool { return two.has(t, vip) == "" })
	t.Logf("figure: reload: prefix withdrawn after %v, the other session ended %v later", withdrawn, ended)
	if n := state(c, "core-1"); n.SpeakerPID != pid || one.count("session-down", "") != 0 || one.count("withdrawn", vip) != 0 {
		t.Errorf("core-1's session was touched: %+v", n)
	}
}

// inProcess runs a keeper in this process, for what cannot be done from outside.
func inProcess(t *testing.T, r *goRouter) *keeper {
	s := bgp.Session{Name: "core-1", LocalASN: 64512, RouterID: "10.0.0.2", Site: 1, Lease: time.Second, Address: r.address().Addr(),
		ASN: 64500, Port: int(r.address().Port()), HoldTime: 9 * time.Second, ConnectRetry: time.Second, Family: bgp.IPv4, MaxReceived: 1000}
	g, err := startBGP(s, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.stop(time.Second) })
	return newKeeper(g, &s)
}

func TestA10DriftIsMendedAndTold(t *testing.T) {
	t.Parallel()
	r := startGoRouter(t, localRouter)
	k := inProcess(t, r)
	route := bgp.Route{Prefix: netip.MustParsePrefix(vip), MED: 7, Communities: []uint32{bgp.CommunityNoExport}, LargeCommunities: [][3]uint32{{64512, 1, 1}}}
	check := func() {
		t.Helper()
		if err := k.check(); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.set([]bgp.Route{route}, 1); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "route", func() bool { check(); return r.has(t, vip) != "" && k.report.State == bgp.Established })
	check()
	if k.report.Drifts != 0 || len(k.report.Advertised) != 1 {
		t.Fatalf("report %+v", k.report)
	}
	good := r.has(t, vip)

	harm := func(what string, f func(ctx context.Context) error) {
		t.Helper()
		if err := f(t.Context()); err != nil {
			t.Fatal(err)
		}
		drifts := k.report.Drifts
		check()
		if k.report.Drifts == drifts {
			t.Errorf("%s: not noticed", what)
		}
		drifts = k.report.Drifts
		check()
		if k.report.Drifts != drifts {
			t.Errorf("%s: mended again and again: %s", what, k.report.DriftText)
		}
		eventually(t, 10*time.Second, what+": mended at the router", func() bool { return r.has(t, vip) == good && r.has(t, "198.51.100.0/24") == "" })
	}
	path := func(r bgp.Route) *api.Path {
		p, err := newPath(k.session, r)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	harm("a route that vanished", func(ctx context.Context) error {
		return k.g.server.DeletePath(ctx, &api.DeletePathRequest{Family: family(bgp.IPv4), Path: path(route)})
	})
	harm("other attributes", func(ctx context.Context) error {
		other := route
		other.MED = 99
		_, err := k.g.server.AddPath(ctx, &api.AddPathRequest{Path: path(other)})
		return err
	})
	harm("a prefix that is not ours", func(ctx context.Context) error {
		_, err := k.g.server.AddPath(ctx, &api.AddPathRequest{Path: path(bgp.Route{Prefix: netip.MustParsePrefix("198.51.100.0/24")})})
		return err
	})
	if n := r.count("announced", "198.51.100.0/24"); n != 0 {
		t.Errorf("a prefix that is not ours was sent %d times", n)
	}
	harm("an export policy that lost the prefix", func(ctx context.Context) error {
		return k.g.server.DeleteDefinedSet(ctx, &api.DeleteDefinedSetRequest{DefinedSet: ownSet(route.Prefix)})
	})
	if err := k.set([]bgp.Route{}, 2); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "withdrawal", func() bool { return r.has(t, vip) == "" })
	check()
	if len(k.report.Advertised) != 0 || len(k.g.allowed) != 0 {
		t.Errorf("left over: %+v, %v", k.report, k.g.allowed)
	}
}

func TestA19NothingFromANeighborIsUsedOrPassedOn(t *testing.T) {
	t.Parallel()
	needE2E(t, "BIRD 2 as a neighbor that sends routes")
	l := plainLink()
	l.export = true
	var routes strings.Builder
	for i := range 50 {
		routes.WriteString("  route 198.18." + string(rune('0'+i/10)) + string(rune('0'+i%10)) + ".0/24 blackhole;\n")
	}
	l.static = "protocol static { ipv4;\n" + strings.NewReplacer(".00.", ".100.", ".01.", ".101.", ".02.", ".102.", ".03.", ".103.", ".04.", ".104.",
		".05.", ".105.", ".06.", ".106.", ".07.", ".107.", ".08.", ".108.", ".09.", ".109.").Replace(routes.String()) + "}\n"
	sender := startBIRD(t, l)
	receiver := startGoRouter(t, localRouter)
	s := linkSettings(l, sender, vip)
	s.BGP.Neighbors[0].MaxReceived = 49
	n := neighbor("core-2", receiver.address())
	n.Source = "127.0.0.3"
	s.BGP.Neighbors = append(s.BGP.Neighbors, n)
	c := startNode(t, s)
	c.SetServices(up)
	eventually(t, 10*time.Second, "50 routes received", func() bool { return state(c, "core-1").Received == 50 })
	eventually(t, 10*time.Second, "route", func() bool { return receiver.has(t, vip) != "" && sender.has(t, vip) != "" })
	alarmed := false
	for _, a := range c.Status().Alarms {
		alarmed = alarmed || a.Name == bgp.AlarmTooManyRoutes
	}
	if !alarmed {
		t.Errorf("no alarm: %+v", c.Status().Alarms)
	}
	if n := state(c, "core-1"); n.Drifts != 0 {
		t.Errorf("received routes came into the table: %+v", n)
	}
	receiver.mu.Lock()
	defer receiver.mu.Unlock()
	if len(receiver.routes) != 1 {
		t.Errorf("the other neighbor has %v", receiver.routes)
	}
}

func TestA18ListenAcceptsSessionsWithMD5AndGTSM(t *testing.T) {
	t.Parallel()
	needE2E(t, "BIRD 2 that dials")
	for name, change := range map[string]func(*link){
		"md5":  func(l *link) { l.password = "fulmine" },
		"gtsm": func(l *link) { l.gtsm = true },
	} {
		t.Run(name, func(t *testing.T) {
			l := plainLink()
			port, err := freePort(l.node)
			if err != nil {
				t.Fatal(err)
			}
			l.nodePort = port
			change(&l)
			r := startBIRD(t, l)
			s := linkSettings(l, r, vip)
			s.BGP.Listen = netip.AddrPortFrom(l.node, port).String()
			s.BGP.Neighbors[0].Port = 1 // so that only the router's own connection can be it
			c := startNode(t, s)
			c.SetServices(up)
			eventually(t, 20*time.Second, "route", func() bool { return r.has(t, vip) != "" })
		})
	}
}
