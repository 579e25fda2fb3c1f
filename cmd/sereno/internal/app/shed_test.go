package app

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sereno/bench/load"
	"sereno/bench/stub"
	"sereno/cmd/sereno/internal/admin"
)

// The front gets far more than its limits let through, for longer
// than a sick service needs to be found down: what it sheds is counted, and neither
// a service nor a route takes notice.
func TestA22AFrontThatShedsLoadKeepsItsRoutes(t *testing.T) {
	r := startRouter(t)
	s := newSite(t)
	s.text["bgp"] = r.section()
	s.text["anycast"] = "anycast:\n" + anycast("dns-vip", "192.0.2.53/32", "resolver", "") + anycast("radius-vip", "192.0.2.18/32", "pppoe", "")
	s.change("dns", "cache:", "rate_limit: {queries_per_second: 50, burst: 50}, cache:")
	s.change("radius", "secret: "+nasSecret, "secret: "+nasSecret+", max_in_flight: 3")
	s.text["pools"] = strings.ReplaceAll(s.text["pools"], "interval: 200ms, timeout: 150ms", "interval: 500ms, timeout: 400ms")
	n := s.start()
	until(t, 15*time.Second, "the routes", func() bool { return r.has("192.0.2.53/32") && r.has("192.0.2.18/32") })
	logged := func() (out []int) {
		for _, message := range []string{"service down", "service degraded", "route withdrawn", "route demoted", "route announced"} {
			out = append(out, s.logged(message, "", ""))
		}
		return out
	}
	before := logged()
	for i := range s.servers { // each request is in flight for a while, well within probes' and attempts' timeouts
		if err := s.servers[i].Set(stub.Mode{Delay: 50 * time.Millisecond}); err != nil {
			t.Fatal(err)
		}
	}
	s.flood(2 * time.Second)
	snap := n.snapshot()
	limited := snap.DNS[0].Drops["rate-limit"]
	auth, acct := snap.RADIUS[0].Drops[admin.RADIUSDrop{Kind: "auth", Reason: "client-limit"}], snap.RADIUS[0].Drops[admin.RADIUSDrop{Kind: "acct", Reason: "client-limit"}]
	t.Logf("shed: %d queries, %d authentications, %d accounting records", limited, auth, acct)
	if limited < 200 || auth+acct < 100 {
		t.Error("too little was shed to prove anything")
	}
	for _, prefix := range []string{"192.0.2.53/32", "192.0.2.18/32"} {
		if got := r.story(prefix); !slices.Equal(got, []string{"announced 0"}) {
			t.Errorf("the router saw of %s %q", prefix, got)
		}
	}
	for _, name := range []string{"resolver", "pppoe"} {
		if v := s.service(name); v.State != admin.StateUp {
			t.Errorf("%s is %s (%s)", name, v.State, v.Reason)
		}
	}
	if after := logged(); !slices.Equal(before, after) {
		t.Errorf("changes of services and routes in the log: %v before, %v after", before, after)
	}
}

// flood asks both services far more than they let through, for so long; what is lost was to be.
func (s *site) flood(d time.Duration) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	q, err := load.NewDNS(load.DNSConfig{
		Common:  load.Common{Rate: 500, Timeout: time.Second},
		Targets: []netip.AddrPort{netip.MustParseAddrPort(s.dns)}, Names: 200, Zipf: 1, New: 0.3,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	a, err := load.NewRADIUS(load.RADIUSConfig{
		Common:  load.Common{Rate: 300, Timeout: time.Second},
		Targets: []load.RADIUSTarget{{Auth: netip.MustParseAddrPort(s.auth), Acct: netip.MustParseAddrPort(s.acct)}},
		Secret:  []byte(nasSecret), PAP: 2, CHAP: 1, Acct: 1, Reject: 10,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	queries := make(chan error, 1)
	go func() {
		_, err := q.Run(ctx)
		queries <- err
	}()
	if _, err := a.Run(ctx); err != nil {
		s.t.Error(err)
	}
	if err := <-queries; err != nil {
		s.t.Error(err)
	}
}
