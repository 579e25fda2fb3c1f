package app

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"sereno/bench/stub"
	"sereno/cmd/sereno/internal/admin"
)

// events reads the event stream from its beginning until all of want were seen,
// each written as kind name from to; from may be *.
func (s *site) events(want ...string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.listen+"/api/v1/events?last=256", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	reply, err := client.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer reply.Body.Close()
	left := map[string]bool{}
	for _, w := range want {
		left[w] = true
	}
	var seen []string
	for lines := bufio.NewScanner(reply.Body); len(left) > 0 && lines.Scan(); {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var e admin.Event
		if err := json.Unmarshal([]byte(data), &e); err != nil || e.At.IsZero() {
			s.t.Fatalf("an event is %s (%v)", data, err)
		}
		line := strings.Join([]string{e.Kind, e.Name, e.From, e.To}, " ")
		seen = append(seen, line)
		delete(left, line)
		delete(left, strings.Join([]string{e.Kind, e.Name, "*", e.To}, " "))
	}
	if len(left) > 0 {
		s.t.Errorf("never seen: %v; seen were %q", left, seen)
	}
}

func TestO22EveryChangeIsInTheEventStream(t *testing.T) {
	s := newSite(t)
	s.text["bgp"] = "bgp:\n  asn: 64512\n  router_id: 10.0.0.2\n  neighbors:\n    - {name: core-1, address: 127.0.0.1, port: 1, asn: 64500}\n"
	s.text["anycast"] = "anycast:\n" + anycast("dns-vip", "192.0.2.53/32", "resolver", "")
	s.start()
	until(t, 10*time.Second, "the route", func() bool { return s.route("dns-vip").State == admin.StateAnnounced })
	s.mustReload()
	s.mustDrain("anycast/dns-vip", 0, true)
	if err := s.undrain("anycast/dns-vip"); err != nil {
		t.Fatal(err)
	}
	s.routeIs("dns-vip", admin.StateAnnounced)
	for i, state := range []string{admin.StateDegraded, admin.StateDown} {
		if err := s.resolvers[i].Set(stub.Mode{Fault: stub.Closed}); err != nil {
			t.Fatal(err)
		}
		until(t, 5*time.Second, state, func() bool { return s.service("resolver").State == state })
	}
	s.events(
		"service resolver starting up", "anycast dns-vip withdrawn announced",
		"reload "+s.path()+"  applied", "drain anycast/dns-vip  drained", "drain anycast/dns-vip drained ",
		"backend resolvers/fulmine (dns) up down", "service resolver degraded down", "anycast dns-vip announced withdrawn",
		"node test-1 * degraded", // one of two services is down
	)
}

// What changes without a word is told, once, in order; what a reload took away
// is not.
func TestWatchTellsChangesOnce(t *testing.T) {
	s := newSite(t)
	n := s.start()
	now := n.conditions()
	if c := now[subject{admin.EventNode, "test-1"}]; c.state != admin.StateUp {
		t.Errorf("the node is %+v", c)
	}
	was := map[subject]condition{
		{admin.EventNode, "test-1"}:          {state: admin.StateDown},
		{admin.EventNeighbor, "gone"}:        {state: admin.StateEstablished},
		{admin.EventRole, "servers (acct)"}:  {state: admin.StateDown},
		{admin.EventRole, "resolvers (dns)"}: {state: admin.StateUp},
		{admin.EventRole, "servers (auth)"}:  {state: admin.StateUp},
	}
	if got := n.watch(was); len(got) != len(now) {
		t.Errorf("it is %v", got)
	}
	s.events("node test-1 down up", "role servers (acct) down up")
}
