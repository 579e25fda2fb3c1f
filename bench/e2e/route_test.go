package e2e

import (
	"strings"
	"testing"
	"time"

	"sereno/bench/e2e/harness"
)

// TestE2EA11RouteVanishesAndReturns kills both backends and looks at BIRD, once for DNS and once for RADIUS, each
// once killed and once frozen.
func TestE2EA11RouteVanishesAndReturns(t *testing.T) {
	for _, how := range []string{"killed", "frozen"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			lab := harness.New(t)
			router := lab.BIRD(false)
			u1, u2 := lab.Unbound(1), lab.Unbound(2)
			f1, f2 := lab.FreeRADIUS(1), lab.FreeRADIUS(2)
			s := lab.Sereno(harness.Config{Unbounds: []*harness.Unbound{u1, u2}, Servers: []*harness.FreeRADIUS{f1, f2}, Router: router})
			w := router.Watch()
			w.Until(harness.DNSPrefix, true, 20*time.Second)
			w.Until(harness.RADIUSPrefix, true, 20*time.Second)

			lose := func(p *harness.Process) {
				if how == "killed" {
					p.Kill()
				} else {
					p.Freeze()
				}
			}
			lose(u1.Process)
			s.WaitBackend("unbound-1", "dns", "down")
			if w.Route(harness.DNSPrefix) == "" {
				t.Error("the route went with the first of two resolvers")
			}
			lose(u2.Process)
			withdrawn(t, w, harness.DNSPrefix, time.Now(), harness.MaxWithdrawDNS, "second Unbound "+how)
			if w.Route(harness.RADIUSPrefix) == "" {
				t.Error("the RADIUS route went with the resolvers")
			}
			lose(f1.Process)
			s.WaitBackend("freeradius-1", "auth", "down")
			lose(f2.Process)
			withdrawn(t, w, harness.RADIUSPrefix, time.Now(), harness.MaxWithdrawRADIUS, "second FreeRADIUS "+how)

			if how == "killed" {
				u2.Start()
				f1.Start()
			} else {
				u2.Thaw()
				f1.Thaw()
			}
			back := time.Now()
			at := w.Until(harness.DNSPrefix, true, 30*time.Second)
			t.Logf("the DNS route was back %s after its resolver", at.Sub(back).Round(time.Millisecond))
			at = w.Until(harness.RADIUSPrefix, true, 30*time.Second)
			t.Logf("the RADIUS route was back %s after its server", at.Sub(back).Round(time.Millisecond))
			s.WaitIdle()
		})
	}
}

// withdrawn waits until the route has vanished, and compares with A11's bound.
func withdrawn(t *testing.T, w *harness.Watch, prefix string, from time.Time, bound time.Duration, what string) {
	t.Helper()
	took := w.Until(prefix, false, 20*time.Second).Sub(from)
	t.Logf("%s: the route vanished from BIRD after %s (bound %s)", what, took.Round(time.Millisecond), bound)
	if took > bound {
		t.Errorf("%s: the route vanished after %s, above %s", what, took, bound)
	}
}

// TestE2EA14StopWithdrawsBeforeTheLastAnswer sends SIGTERM under load: every query sent while the route stood is
// answered, and so is one sent after it went.
func TestE2EA14StopWithdrawsBeforeTheLastAnswer(t *testing.T) {
	t.Parallel()
	lab := harness.New(t)
	router := lab.BIRD(false)
	s := lab.Sereno(harness.Config{Unbounds: []*harness.Unbound{lab.Unbound(1), lab.Unbound(2)}, Router: router, Drain: 3 * time.Second})
	w := router.Watch()
	w.Until(harness.DNSPrefix, true, 20*time.Second)
	work := dnsLoad(t, s, 1000)
	work.sent(lab, 1000)
	s.CheckBalance()
	term := time.Now()
	s.Signal(15)
	lab.Eventually(10*time.Second, "the route is demoted", func() bool {
		return strings.Contains(w.Route(harness.DNSPrefix), "BGP.med: 1000")
	})
	gone := w.Until(harness.DNSPrefix, false, 20*time.Second)
	work.use(-1)
	if got := ask(t, lab, []string{"dig"}, s.DNS, "www.example.test A"); !strings.Contains(got, "192.0.2.80") {
		t.Errorf("after the route had gone:\n%s", got)
	}
	answered := time.Now()
	if !s.Running() {
		t.Error("the node had ended before its last answer")
	}
	work.nothingLost("SIGTERM")
	if code := s.Wait(20 * time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
	t.Logf("after SIGTERM: route gone %s, last answer asked for and given %s, ended %s",
		gone.Sub(term).Round(time.Millisecond), answered.Sub(term).Round(time.Millisecond), time.Since(term).Round(time.Millisecond))
}

// TestE2EA18RefusingNeighborHarmsNothing has a router that expects another autonomous system.
func TestE2EA18RefusingNeighborHarmsNothing(t *testing.T) {
	lab := harness.New(t)
	router := lab.BIRD(true)
	s := lab.Sereno(harness.Config{Unbounds: []*harness.Unbound{lab.Unbound(1), lab.Unbound(2)}, Router: router})
	work := dnsLoad(t, s, 500)
	lab.Eventually(20*time.Second, "the neighbor's refusal is shown", func() bool {
		for _, n := range s.Status().BGP.Neighbors {
			if n.LastError != "" {
				t.Logf("neighbor %s: %s, %s", n.Name, n.State, n.LastError)
				return n.State != "established"
			}
		}
		return false
	})
	if w := router.Watch(); w.Route(harness.DNSPrefix) != "" {
		t.Error("a router that refuses the session has the route")
	}
	work.sent(lab, 500)
	work.nothingLost("a neighbor that refuses")
	s.WaitIdle()
}
