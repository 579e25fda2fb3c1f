package bgp

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestA25ExplainsEveryState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := startNode(t, testSettings(anycast(nil), neighbor("core-1", "10.0.0.1")), nil)
		explain := func(want ...string) Explanation {
			t.Helper()
			e, err := n.Explain("dns-vip")
			if err != nil {
				t.Fatal(err)
			}
			words := strings.Join(e.Words, "\n")
			for _, w := range want {
				if !strings.Contains(words, w) {
					t.Errorf("%q is not in\n%s", w, words)
				}
			}
			return e
		}
		explain("is withdrawn since", ": starting.", "Service resolver is unknown.", "It waits for resolver: unknown.")
		n.SetServices(svcUp)
		e := explain("192.0.2.53/32, 2001:db8::53/128 is announced since", "if it went down, the route would be withdrawn at once")
		if len(e.Routes) != 2 || e.Routes[0] != "192.0.2.53/32 med 0 local-pref 100 65535:65281 64512:1:1" || e.Services[0].IfDownReason != ReasonServiceDown || e.HealthySince == nil {
			t.Errorf("explanation %+v", e)
		}
		n.SetServices(svcDown)
		explain("is withdrawn since", ": service-down.", "Service resolver is down (no-healthy-backend)", "lost 1 times")
		time.Sleep(time.Second)
		n.SetServices(svcUp)
		e = explain("hold-down", "It waits for 10s of unbroken health")
		if e.Changes == nil || time.Until(*e.Changes) != 10*time.Second || e.AnnounceDelaySeconds != 10 || e.FlapsLastHour != 1 {
			t.Errorf("explanation %+v", e)
		}
		if _, err := n.Explain("nothing"); !errors.Is(err, ErrUnknown) {
			t.Errorf("explaining nothing: %v", err)
		}
		n.close(t)
	})
}

func TestA25SaysWhatOneMoreLostBackendChanges(t *testing.T) {
	for _, c := range []struct {
		whenDown string
		counts   PoolCount
		state    string
		lost     State // what is done then
		words    string
	}{
		{"withdraw", PoolCount{Total: 2, Healthy: 2, Needed: 1}, "up", Announced, "2 of 2 backends healthy, 1 needed; one more lost backend changes nothing."},
		{"withdraw", PoolCount{Total: 2, Healthy: 1, Needed: 1}, "degraded", Withdrawn, "1 of 2 backends healthy, 1 needed; one more lost backend takes resolver down, and the route would be withdrawn at once."},
		{"demote", PoolCount{Total: 2, Healthy: 1, Needed: 1}, "degraded", Demoted, "1 of 2 backends healthy, 1 needed; one more lost backend takes resolver down, and the route would be demoted at once."},
		{"demote", PoolCount{Total: 3, Healthy: 3, Needed: 2}, "up", Announced, "3 of 3 backends healthy, 2 needed; one more lost backend changes nothing."},
		{"withdraw", PoolCount{Total: 3, Healthy: 2, Needed: 2}, "degraded", Withdrawn, "2 of 3 backends healthy, 2 needed; one more lost backend takes resolver down, and the route would be withdrawn at once."},
		{"withdraw", PoolCount{Total: 2, Healthy: 1, Starting: 1, Needed: 1}, "up", Announced, "1 of 2 backends healthy, 1 needed; one more lost backend changes nothing."},
		{"hand-over", PoolCount{Total: 1, Healthy: 1, Needed: 1}, "up", Demoted, "1 of 1 backends healthy, 1 needed; one more lost backend takes resolver down, and the route would be demoted at once."},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := startNode(t, testSettings(anycast(func(a *AnycastConfig) { a.WhenDown = c.whenDown }), neighbor("core-1", "10.0.0.1")), nil)
			defer n.close(t)
			c.counts.Pool, c.counts.Role = "resolvers", "dns"
			n.SetServices([]Service{{Name: "resolver", State: c.state, Pools: []PoolCount{c.counts}}})
			e, err := n.Explain("dns-vip")
			if err != nil {
				t.Fatal(err)
			}
			p := e.Services[0].Pools[0]
			if e.State != Announced || p.PoolCount != c.counts || p.IfLost != c.lost || p.LossTakesDown != (c.lost != Announced) {
				t.Errorf("%s: %+v", e.State, p)
			}
			if words := strings.Join(e.Words, "\n"); !strings.Contains(words, "\nPool resolvers (dns): "+c.words) {
				t.Errorf("%q is not in\n%s", c.words, words)
			}
			// The words are true: that many backends fewer, and it is what is done.
			if p.LossTakesDown {
				n.SetServices(svcDown)
				if after, err := n.Explain("dns-vip"); err != nil || after.State != c.lost {
					t.Errorf("it was to be %s, and is %s (%v)", c.lost, after.State, err)
				}
			}
		})
	}
}
