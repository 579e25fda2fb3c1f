package health

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// mirror is our own listeners as the self-probe finds them, by their String.
type mirror struct {
	mu    sync.Mutex
	mood  map[string]selfOutcome
	asked map[string]int
}

func newMirror() *mirror { return &mirror{mood: map[string]selfOutcome{}, asked: map[string]int{}} }

func (m *mirror) set(l Listener, o selfOutcome) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mood[l.String()] = o
}

func (m *mirror) count(l Listener) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked[l.String()]
}

func (m *mirror) probe(ctx context.Context, _ string, l Listener) (selfOutcome, error) {
	m.mu.Lock()
	m.asked[l.String()]++
	o := m.mood[l.String()]
	m.mu.Unlock()
	switch o {
	case selfGood:
		time.Sleep(time.Millisecond)
		return o, nil
	case selfSilent:
		<-ctx.Done()
	}
	return o, errors.New("not ours")
}

// book notes what Services tells, in one line each.
type book struct {
	mu    sync.Mutex
	lines []string
	at    []time.Time
}

func (b *book) line(s string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines, b.at = append(b.lines, s), append(b.at, time.Now())
}

func (b *book) event(e ServiceEvent) {
	b.line(fmt.Sprintf("%s %s %s %s", e.Service, e.From, e.To, e.Reason))
}

func (b *book) read() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.lines)
}

func (b *book) last() (string, time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.lines) == 0 {
		return "", time.Time{}
	}
	return b.lines[len(b.lines)-1], b.at[len(b.at)-1]
}

var (
	udpListener = Listener{"udp", netip.MustParseAddrPort("192.0.2.53:53")}
	tcpListener = Listener{"tcp", netip.MustParseAddrPort("192.0.2.53:53")}
)

func dnsService() Service {
	return Service{Name: "resolver", Kind: "dns", Pool: "resolvers", Listeners: []Listener{udpListener, tcpListener}}
}

// site is a monitor and services over a made-up world.
type site struct {
	*world
	*mirror
	book
	clock    skewed
	monitor  *Monitor
	services *Services
}

func newSite(t *testing.T, targets ...Target) *site {
	s := &site{world: newWorld(t), mirror: newMirror()}
	s.monitor = NewMonitor(Options{Now: s.clock.now, Probe: s.clock.probing(s.world)})
	s.services = newServices(ServicesOptions{
		Monitor: s.monitor, OnEvent: s.event,
		OnPause: func(p Pause) { s.line(fmt.Sprintf("pause of %v s", int(p.Length().Seconds()))) },
	}, s.mirror.probe)
	s.monitor.Apply(targets)
	return s
}

func (s *site) close() {
	s.services.Close()
	s.monitor.Close()
}

func (s *site) expect(t *testing.T, want ...string) {
	t.Helper()
	if got := s.read(); !slices.Equal(got, want) {
		t.Errorf("told was\n%q, not\n%q", got, want)
	}
}

func TestA07TheLifeOfAService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, dnsTarget("a"), dnsTarget("b"))
		defer s.close()
		begin := time.Now()
		s.services.Apply(map[string]int{"resolvers": 1}, []Service{dnsService()})
		time.Sleep(time.Second)
		s.expect(t, "resolver starting up healthy")
		if _, at := s.last(); at.Sub(begin) > 50*time.Millisecond {
			t.Errorf("it was up after %v, although everything answers at once", at.Sub(begin))
		}
		s.world.set("a", "refused")
		time.Sleep(5 * time.Second)
		s.world.set("b", "silent")
		time.Sleep(5 * time.Second)
		if v, _ := s.services.Status("resolver"); v.State != ServiceDown || v.Reason != ReasonNoHealthyBackend || v.Detail == "" || v.SelfProbe.IsZero() {
			t.Errorf("its status is %+v", v)
		}
		s.world.set("a", "")
		time.Sleep(5 * time.Second)
		s.world.set("b", "")
		time.Sleep(5 * time.Second)
		s.services.Drain("resolver", true)
		time.Sleep(time.Second)
		s.services.Drain("resolver", false)
		s.services.Demote("resolver", true)
		time.Sleep(time.Second)
		s.services.Demote("resolver", false)
		time.Sleep(time.Second)
		s.expect(t,
			"resolver starting up healthy", "resolver up degraded no-redundancy", "resolver degraded down no-healthy-backend",
			"resolver down degraded no-redundancy", "resolver degraded up healthy",
			"resolver up drained drained", "resolver drained up undrained", "resolver up degraded demoted", "resolver degraded up healthy")
		if all := s.services.All(); len(all) != 1 || all[0].State != ServiceUp || all[0].Reason != ReasonNone {
			t.Errorf("all are %+v", all)
		}
	})
}

func TestA11AServiceGoesDownWithin50msOfItsLastBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fell atomic.Pointer[time.Time]
		s := newSite(t, dnsTarget("a"))
		defer s.close()
		s.services.Apply(map[string]int{"resolvers": 1}, []Service{dnsService()})
		time.Sleep(time.Second)
		s.monitor.Backend(dnsTarget("a").Key).Watch(func(bool) {
			now := time.Now()
			fell.Store(&now)
		})
		s.world.set("a", "silent")
		time.Sleep(10 * time.Second)
		what, at := s.last()
		if what != "resolver up down no-healthy-backend" || fell.Load() == nil || at.Sub(*fell.Load()) > 50*time.Millisecond {
			t.Errorf("%q came after the backend went down at %v", what, fell.Load())
		}
	})
}

func TestA07TheSelfProbeHasFailedAfterThreeInARow(t *testing.T) {
	for _, broken := range []Listener{udpListener, tcpListener} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, dnsTarget("a"))
			defer s.close()
			var read atomic.Uint64
			v := dnsService()
			v.Activity = read.Load // the workers read nothing
			s.services.Apply(nil, []Service{v})
			time.Sleep(2500 * time.Millisecond)
			before := s.count(broken)
			s.mirror.set(broken, selfSilent)
			for {
				time.Sleep(10 * time.Millisecond)
				if what, _ := s.last(); what == "resolver up down self-probe-failed" {
					break
				}
				if s.count(broken) > before+4 {
					t.Fatalf("%v: told was %q", broken, s.read())
				}
			}
			if n := s.count(broken) - before; n != 3 {
				t.Errorf("%v: it failed after %d self-probes", broken, n)
			}
			s.mirror.set(broken, selfGood)
			time.Sleep(2 * time.Second)
			if what, _ := s.last(); what != "resolver down up healthy" {
				t.Errorf("%v: told last was %q", broken, what)
			}
		})
	}
}

func TestA22BusyWorkersPassTheSelfProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, dnsTarget("a"))
		defer s.close()
		var read atomic.Uint64
		v := dnsService()
		v.Activity = func() uint64 { return read.Add(100) } // a flood
		s.services.Apply(nil, []Service{v})
		time.Sleep(2 * time.Second)
		s.mirror.set(udpListener, selfSilent)
		s.mirror.set(tcpListener, selfSilent)
		time.Sleep(time.Minute)
		s.expect(t, "resolver starting up healthy")
		// No load closes a port or lets somebody else answer.
		s.mirror.set(tcpListener, selfRefused)
		time.Sleep(4 * time.Second)
		s.expect(t, "resolver starting up healthy", "resolver up down self-probe-failed")
	})
	synctest.Test(t, func(t *testing.T) { // our own questions don't count as work
		s := newSite(t, dnsTarget("a"))
		defer s.close()
		v := dnsService()
		v.Activity = func() uint64 { return uint64(s.count(udpListener)) }
		s.services.Apply(nil, []Service{v})
		time.Sleep(2 * time.Second)
		s.mirror.set(tcpListener, selfSilent)
		time.Sleep(5 * time.Second)
		s.expect(t, "resolver starting up healthy", "resolver up down self-probe-failed")
	})
}

func TestA07WithoutItsAddressAServiceIsNotHealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, dnsTarget("a"))
		defer s.close()
		s.mirror.set(udpListener, selfAbsent)
		v := dnsService()
		v.Activity = func() uint64 { return uint64(time.Now().UnixNano()) } // busy with other addresses
		s.services.Apply(nil, []Service{v})
		time.Sleep(300 * time.Millisecond)
		s.expect(t, "resolver starting down address-missing")
		s.mirror.set(udpListener, selfGood)
		time.Sleep(2 * time.Second)
		s.mirror.set(tcpListener, selfAbsent)
		time.Sleep(2 * time.Second)
		s.expect(t, "resolver starting down address-missing", "resolver down up healthy", "resolver up down address-missing")
	})
}

func TestA07NeverHealthyBeforeItsListenersAndSelfProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, dnsTarget("a"))
		defer s.close()
		var open atomic.Bool
		v := dnsService()
		v.Open = open.Load
		s.services.Apply(nil, []Service{v})
		time.Sleep(time.Minute)
		if s.count(udpListener) != 0 {
			t.Error("closed listeners were asked")
		}
		s.expect(t)
		open.Store(true)
		time.Sleep(50 * time.Millisecond)
		s.expect(t, "resolver starting up healthy")
		open.Store(false)
		time.Sleep(50 * time.Millisecond)
		s.expect(t, "resolver starting up healthy", "resolver up down listener-closed")
	})
	synctest.Test(t, func(t *testing.T) { // busy from the first moment, and never proven
		s := newSite(t, dnsTarget("a"))
		defer s.close()
		s.mirror.set(udpListener, selfSilent)
		v := dnsService()
		v.Activity = func() uint64 { return uint64(time.Now().UnixNano()) }
		s.services.Apply(nil, []Service{v})
		time.Sleep(time.Minute)
		for _, line := range s.read() {
			if line == "resolver starting up healthy" {
				t.Error("it was healthy without one self-probe")
			}
		}
		if v, _ := s.services.Status("resolver"); !v.SelfProbe.IsZero() {
			t.Errorf("it passed at %v", v.SelfProbe)
		}
	})
}

func TestA07AFullSpoolMakesAccountingCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		auth := Target{Key: Key{"radius", "auth-only", "auth"}, Protocol: "radius"}
		acct := Target{Key: Key{"radius", "acct-only", "acct"}, Protocol: "radius"}
		auth.Config.SetDefaults("radius")
		acct.Config.SetDefaults("radius")
		s := newSite(t, auth, acct)
		defer s.close()
		s.world.set("acct-only", "silent")
		var accepts atomic.Bool
		accepts.Store(true)
		s.services.Apply(nil, []Service{{Name: "pppoe", Kind: "radius", Auth: true, Acct: true, Pool: "radius", SpoolAccepts: accepts.Load, Listeners: []Listener{udpListener}}})
		time.Sleep(20 * time.Second)
		s.expect(t, "pppoe starting up healthy")
		accepts.Store(false)
		full := time.Now()
		time.Sleep(time.Second)
		s.expect(t, "pppoe starting up healthy", "pppoe up down no-healthy-backend")
		if _, at := s.last(); at.Sub(full) > 50*time.Millisecond {
			t.Errorf("the spool was full %v earlier", at.Sub(full))
		}
		accepts.Store(true)
		time.Sleep(time.Second)
		s.expect(t, "pppoe starting up healthy", "pppoe up down no-healthy-backend", "pppoe down up healthy")
	})
}

func TestA07ARoutedPoolDegradesAndNeverTakesDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := dnsTarget("c")
		other.Pool = "internal"
		s := newSite(t, dnsTarget("a"), other)
		defer s.close()
		v := dnsService()
		v.Routes = []string{"internal", "resolvers"}
		s.services.Apply(nil, []Service{v})
		time.Sleep(time.Second)
		s.world.set("c", "refused")
		time.Sleep(10 * time.Second)
		s.expect(t, "resolver starting up healthy", "resolver up degraded routed-pool-down")
	})
}

// A reload keeps verdicts, asks new listeners at once, and forgets services that
// are gone; a drain is remembered.
func TestA07AReloadOfServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, dnsTarget("a"))
		defer s.close()
		s.services.Drain("later", true)
		s.services.Apply(nil, []Service{dnsService()})
		time.Sleep(time.Second)
		v := dnsService()
		fresh := Listener{"udp", netip.MustParseAddrPort("[2001:db8::53]:53")}
		v.Listeners = append(v.Listeners, fresh)
		later := dnsService()
		later.Name = "later"
		s.services.Apply(nil, []Service{v, later})
		time.Sleep(100 * time.Millisecond)
		if s.count(fresh) == 0 {
			t.Error("the new listener was not asked at once")
		}
		s.expect(t, "resolver starting up healthy", "later starting drained drained")
		s.services.Apply(nil, []Service{later})
		asked := s.count(fresh)
		time.Sleep(5 * time.Second)
		if s.count(fresh) != asked {
			t.Error("a listener of a service that is gone is still asked")
		}
		if _, ok := s.services.Status("resolver"); ok || len(s.services.All()) != 1 {
			t.Error("a service that is gone is still there")
		}
	})
}

func TestA16AfterALongPauseAServiceProvesItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, dnsTarget("a"), dnsTarget("b"))
		defer s.close()
		s.services.Apply(map[string]int{"resolvers": 2}, []Service{dnsService()})
		time.Sleep(2100 * time.Millisecond)
		s.clock.jump(2 * time.Second) // shorter than the lease
		asked := s.count(udpListener)
		time.Sleep(60 * time.Millisecond)
		if s.count(udpListener) == asked {
			t.Error("after a short pause no self-probe runs at once")
		}
		time.Sleep(2 * time.Second)
		s.world.set("b", "silent")
		s.clock.jump(4 * time.Second)
		after := s.clock.now()
		if s.services.Proven("resolver", after) {
			t.Error("it is proven before anybody was asked")
		}
		time.Sleep(700 * time.Millisecond)
		if s.services.Proven("resolver", after) {
			t.Error("it is proven, and only one of two backends has answered")
		}
		s.world.set("b", "")
		time.Sleep(2 * time.Second)
		if !s.services.Proven("resolver", after) {
			t.Error("it is not proven, and all have answered")
		}
		// When all answer, the proof is there at once.
		s.clock.jump(time.Minute)
		after = s.clock.now()
		time.Sleep(100 * time.Millisecond)
		if !s.services.Proven("resolver", after) {
			t.Error("it is not proven within 100 ms")
		}
		if s.services.Proven("nobody", after) {
			t.Error("a service that is not there is proven")
		}
		s.expect(t, "resolver starting up healthy", "pause of 2 s", "pause of 4 s", "pause of 60 s")
	})
}

func TestA06APauseDoesNotCountAgainstTheSelfProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, dnsTarget("a"))
		defer s.close()
		s.services.Apply(nil, []Service{dnsService()})
		time.Sleep(2 * time.Second)
		s.mirror.set(udpListener, selfSilent)
		for range 10 { // one standstill after the other, one in each self-probe
			time.Sleep(500 * time.Millisecond)
			s.clock.jump(time.Second)
		}
		s.mirror.set(udpListener, selfGood)
		time.Sleep(5 * time.Second)
		for _, line := range s.read() {
			if line == "resolver up down self-probe-failed" {
				t.Error("the pauses were held against the service")
			}
		}
	})
}
