package bgp

import (
	"errors"
	"fmt"
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

func TestLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testSettings(anycast(nil), neighbor("core-1", "10.0.0.1"))
		s.Anycast = append(s.Anycast, anycast(func(a *AnycastConfig) { a.Name, a.Prefixes = "radius-vip", nil }))
		n := startNode(t, s, nil)
		check := func(want bool, names ...string) {
			t.Helper()
			if got := n.LeavesNothing(names...); got != want {
				t.Errorf("draining %v leaves nothing: %v, want %v", fmt.Sprint(names), got, want)
			}
		}
		check(false, "dns-vip")
		n.SetServices(svcUp)
		check(false, "dns-vip")
		check(true, "dns-vip", "radius-vip")
		check(false)
		if err := n.Drain("radius-vip"); err != nil {
			t.Fatal(err)
		}
		check(false, "dns-vip") // the other one is demoted still
		time.Sleep(3 * time.Second)
		check(true, "dns-vip")
		n.close(t)
	})
}
