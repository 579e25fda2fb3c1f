package app

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sereno/bench/stub"
	"sereno/cmd/sereno/internal/admin"
)

// serving runs serve; the channel it returns is closed when serve has ended.
func (s *site) serving() (chan<- os.Signal, <-chan struct{}) {
	signals, ended := make(chan os.Signal, 4), make(chan struct{})
	stops, reloads := make(chan os.Signal), make(chan os.Signal)
	n := s.node
	go func() {
		defer close(ended)
		n.serve(stops, reloads)
	}()
	go func() {
		for {
			select {
			case <-ended:
				return
			case given := <-signals:
				to := stops
				if given == syscall.SIGHUP {
					to = reloads
				}
				select {
				case <-ended:
				case to <- given:
				}
			}
		}
	}()
	return signals, ended
}

// TestA14NoStopIsLostBehindReloads: a node that is busy with a reload hears of a stop,
// however often it is told to reload meanwhile.
func TestA14NoStopIsLostBehindReloads(t *testing.T) {
	stops, reloads, end := hear()
	defer end()
	for range 10 {
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Millisecond) // or the kernel would make one of them
	}
	for range 2 {
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		select {
		case <-stops:
		case <-time.After(10 * time.Second):
			t.Fatal("the stop was lost")
		}
	}
	if len(reloads) != 1 {
		t.Errorf("%d reloads wait", len(reloads))
	}
}

func ends(t *testing.T, ended <-chan struct{}, limit time.Duration) time.Duration {
	t.Helper()
	begin := time.Now()
	select {
	case <-ended:
	case <-time.After(limit):
		t.Fatalf("it has not stopped within %v", limit)
	}
	return time.Since(begin)
}

// TestA20SIGHUPNeverEmptiesTheRoutes: a signal cannot say --allow-empty.
func TestA20SIGHUPNeverEmptiesTheRoutes(t *testing.T) {
	s := newSite(t)
	s.text["anycast"] = "anycast:\n" + anycast("dns-vip", "192.0.2.53/32", "resolver", "")
	n := s.start()
	signals, ended := s.serving()
	delete(s.text, "anycast")
	s.write()
	signals <- syscall.SIGHUP
	until(t, 10*time.Second, "the refusal", func() bool { return strings.Contains(n.Status().Config.LastError, "no anycast prefix") })
	if len(n.Status().Anycast) != 1 {
		t.Error("it is gone all the same")
	}
	s.node = nil // it stops itself
	signals <- syscall.SIGTERM
	ends(t, ended, 10*time.Second)
}

func TestO04SIGHUPReloads(t *testing.T) {
	s := newSite(t)
	n := s.start()
	signals, ended := s.serving()
	s.change("pools", "name: fulmine, ", "name: fulmine, weight: 5, ")
	s.write()
	signals <- syscall.SIGHUP
	until(t, 5*time.Second, "the reload", func() bool { return s.backend("fulmine", "dns").Weight == 5 })
	until(t, 10*time.Second, "its lines in the log", func() bool {
		return s.logged("reload applied", "changes", "1") == 1 && s.logged("changed", "key", "pools[resolvers].backends[fulmine].weight") == 1
	})
	s.text["dns"] = "dns: 5\n"
	s.write()
	signals <- syscall.SIGHUP
	until(t, 5*time.Second, "the refusal", func() bool { return n.Status().Config.LastError != "" })
	if s.backend("fulmine", "dns").Weight != 5 || succeeds(n) {
		t.Error("a refused reload changed something, or is no failure")
	}
	s.node = nil // it stops itself
	signals <- syscall.SIGTERM
	ends(t, ended, 5*time.Second)
	if err := asks(s.dns, "www.example.com"); err == nil {
		t.Error("it still answers")
	}
}

func TestA14StopTakesTheRoutesAwayFirstAndAnswersUntilThen(t *testing.T) {
	r := startRouter(t)
	s := newSite(t)
	s.text["bgp"] = r.section()
	s.text["anycast"] = "anycast:\n" + anycast("dns-vip", "192.0.2.53/32", "resolver, pppoe", "")
	s.change("anycast", "drain_time: 400ms", "drain_time: 2s, demote: {med: 500}")
	n := s.start()
	until(t, 15*time.Second, "the route", func() bool { return r.has("192.0.2.53/32") })
	x := s.traffic(400)
	signals, ended := s.serving()
	s.node = nil
	begin := time.Now()
	signals <- syscall.SIGTERM
	until(t, 10*time.Second, "stopping", func() bool { return n.Status().State == admin.StateStopping })
	until(t, 5*time.Second, "the withdrawal", func() bool { return !r.has("192.0.2.53/32") })
	gone := time.Since(begin)
	if err := asks(s.dns, "www.example.com"); err != nil {
		t.Errorf("it does not answer until routers have followed: %v", err)
	}
	signals <- syscall.SIGHUP // too late, and no harm
	if _, err := n.Reload(context.Background(), false); err == nil {
		t.Error("a node that stops was reloaded")
	}
	if _, err := n.Drain(context.Background(), admin.Target{Kind: admin.TargetNode}, 0, true); err == nil {
		t.Error("a node that stops was drained")
	}
	x.end() // the clients went to another site with the route; what they had asked was answered
	ends(t, ended, 5*time.Second)
	took := time.Since(begin)
	if gone < 900*time.Millisecond || took-gone < 900*time.Millisecond || took > 5*time.Second {
		t.Errorf("withdrawn after %v, stopped after %v, with a drain_time of 2s", gone, took)
	}
	if got := r.story("192.0.2.53/32"); !slices.Equal(got, []string{"announced 0", "announced 500", "withdrawn"}) {
		t.Errorf("the router saw %q", got)
	}
	for _, message := range []string{"service down", "service degraded"} {
		if n := s.logged(message, "", ""); n > 0 {
			t.Errorf("a stop is logged as %q %d times", message, n)
		}
	}
	if s.logged("not reloading: the node is stopping", "", "") != 1 {
		t.Error("the SIGHUP left no word")
	}
}

func TestA14SecondSignalStopsAtOnce(t *testing.T) {
	r := startRouter(t)
	s := newSite(t)
	s.text["bgp"] = r.section()
	s.text["anycast"] = "anycast:\n" + anycast("dns-vip", "192.0.2.53/32", "resolver", "")
	s.change("anycast", "drain_time: 400ms", "drain_time: 60s")
	s.change("pools", "attempt_timeout: 100ms", "attempt_timeout: 8s\n    timeout: 10s")
	second := freeAddr(t)
	s.text["dns"] += s.dnsService("second", second)
	s.text["anycast"] += anycast("second-vip", "192.0.2.54/32", "second", "")
	s.change("anycast", "[second], announce_after: 100ms, drain_time: 400ms", "[second], announce_after: 100ms, drain_time: 60s")
	n := s.start()
	until(t, 15*time.Second, "the routes", func() bool { return r.has("192.0.2.53/32") && r.has("192.0.2.54/32") })
	// Another service is on its way out.
	s.text["dns"] = "dns:\n" + s.dnsService("resolver", s.dns)
	s.text["anycast"] = "anycast:\n" + anycast("dns-vip", "192.0.2.53/32", "resolver", "")
	s.change("anycast", "drain_time: 400ms", "drain_time: 60s")
	s.mustReload()
	if len(n.partings()) != 1 {
		t.Errorf("on its way out: %v", n.partings())
	}
	for i := range s.resolvers { // a question to it is in flight for long
		if err := s.resolvers[i].Set(stub.Mode{Fault: stub.ProbesOnly}); err != nil {
			t.Fatal(err)
		}
	}
	asked := make(chan error, 1)
	go func() { asked <- asks(second, "slow.example.com") }()
	until(t, 10*time.Second, "a query in flight", func() bool {
		return s.backend("fulmine", "dns").InFlight+s.backend("tempesta", "dns").InFlight == 1
	})
	signals, ended := s.serving()
	s.node = nil
	signals <- syscall.SIGTERM
	until(t, 10*time.Second, "stopping", func() bool { return n.Status().State == admin.StateStopping })
	begin := time.Now()
	signals <- syscall.SIGINT
	ends(t, ended, 3*time.Second)
	until(t, 2*time.Second, "the withdrawal", func() bool { return !r.has("192.0.2.53/32") })
	t.Logf("figure: stopped %v after the second signal", time.Since(begin))
	if err := <-asked; err == nil {
		t.Error("a question that no backend answers was answered")
	}
}

func TestA11RouteGoesWithTheLastBackendAndComesBack(t *testing.T) {
	r := startRouter(t)
	s := newSite(t)
	s.text["bgp"] = r.section()
	s.text["anycast"] = "anycast:\n" + anycast("dns-vip", "192.0.2.53/32", "resolver", "")
	s.start()
	until(t, 15*time.Second, "the route", func() bool { return r.has("192.0.2.53/32") })
	for i := range s.resolvers {
		if err := s.resolvers[i].Set(stub.Mode{Fault: stub.Silent}); err != nil {
			t.Fatal(err)
		}
	}
	// fall 2, interval 200 ms, timeout 150 ms; the rest is this machine's.
	bound := 2*220*time.Millisecond + 150*time.Millisecond + 200*time.Millisecond
	took := until(t, bound+300*time.Millisecond, "the withdrawal", func() bool { return !r.has("192.0.2.53/32") })
	t.Logf("figure: gone %v after the last backend fell silent (bound %v)", took, bound)
	down := s.logs.FilterMessage("service down").All()
	withdrawn := s.logs.FilterMessage("route withdrawn").All()
	if len(down) != 1 || len(withdrawn) < 1 {
		t.Fatalf("in the log: %v, %v", down, withdrawn)
	}
	if err := s.resolvers[0].Set(stub.Mode{}); err != nil {
		t.Fatal(err)
	}
	until(t, 5*time.Second, "the route's return", func() bool { return r.has("192.0.2.53/32") })
}

// The bound on what a stop waits for, and what is in flight is answered.
func TestStopAnswersWhatIsInFlight(t *testing.T) {
	s := newSite(t)
	n := s.start()
	for i := range s.resolvers {
		if err := s.resolvers[i].Set(stub.Mode{Delay: 80 * time.Millisecond}); err != nil {
			t.Fatal(err)
		}
	}
	answered := make(chan error, 1)
	go func() { answered <- asks(s.dns, "slow.example.com") }()
	until(t, 10*time.Second, "a query in flight", func() bool { return n.snapshot().DNS[0].InFlight == 1 })
	s.node = nil
	n.stop(context.Background())
	if err := <-answered; err != nil {
		t.Errorf("in flight at the stop: %v", err)
	}
	if m := n.snapshot().DNS[0]; m.Missing() != 0 || m.InFlight != 0 {
		t.Errorf("after the stop: %d missing, %d in flight", m.Missing(), m.InFlight)
	}
	if _, err := n.Reload(context.Background(), false); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("a reload after the stop: %v", err)
	}
}
