package bgp

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// fleet is Speakers with fake speakers in a bubble of fake time.
type fleet struct {
	*Speakers
	fakes *fakeSpeakers
	stop  chan struct{}
}

func startFleet(t *testing.T, s Settings, other func([]netip.Prefix)) *fleet {
	t.Helper()
	start := time.Now()
	f := &fleet{fakes: &fakeSpeakers{t: t}, stop: make(chan struct{})}
	f.Speakers = NewSpeakers(SpeakersOptions{launch: f.fakes.launch, OnOtherSite: other,
		Uptime: func() time.Duration { return time.Since(start) }})
	f.Configure(s)
	return f
}

// confirm announces routes as the controller does, for a while.
func (f *fleet) confirm(routes []Route, length time.Duration) {
	for end := time.Now().Add(length); time.Now().Before(end); {
		f.Announce(routes)
		time.Sleep(200 * time.Millisecond)
	}
	synctest.Wait()
}

func (f *fleet) close(t *testing.T) {
	t.Helper()
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	for i := range f.fakes.count() {
		select {
		case <-f.fakes.get(i).exit:
		default:
			t.Errorf("speaker %d lives on", i)
		}
	}
}

func goodRoutes() []Route {
	a := anycast(nil)
	return routes(&a, 64512, 1, false)
}

func TestA15EachNeighborHasItsSpeakerAndItsFamily(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFleet(t, testSettings(anycast(nil), neighbor("core-1", "10.0.0.1"), neighbor("core-2", "2001:db8::1")), nil)
		f.confirm(goodRoutes(), 10*time.Second) // the fakes check the rhythm
		var got []string
		for i := range f.fakes.count() {
			p, _ := f.fakes.get(i).routes()
			got = append(got, fmt.Sprint(f.fakes.get(i).session.Name, p))
		}
		slices.Sort(got)
		if want := "[core-1[192.0.2.53/32] core-2[2001:db8::53/128]]"; fmt.Sprint(got) != want {
			t.Errorf("got %v", got)
		}
		for _, n := range f.Neighbors() {
			if n.State != Established || n.Speaker != "up" || n.LeaseMarginSeconds <= 2.5 || n.LeaseMarginSeconds > 3 {
				t.Errorf("status %+v", n)
			}
		}
		f.Announce([]Route{})
		synctest.Wait()
		for i := range 2 {
			if p, told := f.fakes.get(i).routes(); !told || len(p) != 0 {
				t.Errorf("after the withdrawal speaker %d has %v", i, p)
			}
		}
		f.close(t)
	})
}

func TestA15NothingIsToldBeforeTheFirstDecision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFleet(t, testSettings(anycast(nil), neighbor("core-1", "10.0.0.1")), nil)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if _, told := f.fakes.get(0).routes(); told {
			t.Error("a set although none was announced")
		}
		f.close(t)
	})
}

func TestA15FrozenSpeakerIsKilledWithinTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFleet(t, testSettings(anycast(nil), neighbor("core-1", "10.0.0.1")), nil)
		f.confirm(goodRoutes(), 5*time.Second)
		f.fakes.get(0).freeze()
		frozen := time.Now()
		f.confirm(goodRoutes(), 4*time.Second)
		if f.fakes.count() != 2 {
			t.Fatalf("%d speakers, want a second one", f.fakes.count())
		}
		// The beat in progress may be told before the pipe is full.
		if d := f.fakes.births[1].Sub(frozen); d < 2*time.Second || d > 3400*time.Millisecond {
			t.Errorf("replaced %v after it froze", d)
		}
		if got, _ := f.fakes.get(1).routes(); len(got) != 1 {
			t.Errorf("the new one has %v", got)
		}
		n := f.Neighbors()[0]
		if n.SpeakerDeaths != 1 || n.LastError == "" {
			t.Errorf("status %+v", n)
		}
		f.close(t)
	})
}

// TestA15StarvedSpeaker: one that answers late lives while it answers within the lease, and not longer.
func TestA15StarvedSpeaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFleet(t, testSettings(anycast(nil), neighbor("core-1", "10.0.0.1")), nil)
		f.confirm(goodRoutes(), 5*time.Second)
		f.fakes.get(0).starve(2800 * time.Millisecond) // the lease is 3 s
		f.confirm(goodRoutes(), 30*time.Second)
		if n := f.Neighbors()[0]; n.SpeakerDeaths != 0 || n.LeaseMarginSeconds > 0.25 {
			t.Fatalf("it answers within the lease: %+v", n)
		}
		f.fakes.get(0).starve(3500 * time.Millisecond)
		starved := time.Now()
		f.confirm(goodRoutes(), 10*time.Second)
		if n := f.Neighbors()[0]; f.fakes.count() != 2 || n.SpeakerDeaths != 1 || n.LastError != "speaker killed: no answer for 3s" {
			t.Fatalf("%d speakers, %+v", f.fakes.count(), n)
		}
		// One answer was on its way yet.
		if d := f.fakes.births[1].Sub(starved); d > 2800*time.Millisecond+3400*time.Millisecond {
			t.Errorf("replaced after %v", d)
		}
		if got, _ := f.fakes.get(1).routes(); len(got) != 1 {
			t.Errorf("the new one has %v", got)
		}
		f.close(t)
	})
}

func TestA15RestartsBackOffAndAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFleet(t, testSettings(anycast(nil)), nil)
		f.fakes.dead = true
		f.Configure(testSettings(anycast(nil), neighbor("core-1", "10.0.0.1")))
		f.confirm(goodRoutes(), 5*time.Minute)
		var gaps []time.Duration
		for i := 1; i < len(f.fakes.births); i++ {
			gaps = append(gaps, f.fakes.births[i].Sub(f.fakes.births[i-1]).Round(time.Second))
		}
		want := []time.Duration{0, 1 * s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 1 * m, 1 * m, 1 * m}
		if !slices.Equal(gaps[:min(len(gaps), len(want))], want[:min(len(gaps), len(want))]) || len(gaps) < 8 {
			t.Errorf("waits %v", gaps)
		}
		var names []string
		for _, a := range f.Alarms() {
			names = append(names, a.Name)
		}
		if fmt.Sprint(names) != "[neighbor-down speaker-failing]" {
			t.Errorf("alarms %v", f.Alarms())
		}
		f.close(t)
	})
}

func TestA15ThreeDeathsWithinAMinuteAreAnAlarmAndTwoAreNone(t *testing.T) {
	for _, c := range []struct {
		deaths []time.Duration // from the first one on
		alarm  bool
	}{
		{[]time.Duration{0, 20 * s}, false},
		{[]time.Duration{0, 20 * s, 70 * s}, false},
		{[]time.Duration{0, 20 * s, 40 * s}, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := startFleet(t, testSettings(anycast(nil), neighbor("core-1", "10.0.0.1")), nil)
			f.confirm(goodRoutes(), 5*time.Second)
			for i, at := range c.deaths {
				if i > 0 {
					f.confirm(goodRoutes(), at-c.deaths[i-1])
				}
				if a := f.Alarms(); len(a) > 0 {
					t.Errorf("%v: before death %d: %+v", c.deaths, i+1, a)
				}
				f.fakes.get(f.fakes.count() - 1).die()
			}
			f.confirm(goodRoutes(), 5*time.Second)
			a := f.Alarms()
			if n := f.Neighbors()[0]; n.SpeakerDeaths != uint64(len(c.deaths)) || n.State != Established {
				t.Errorf("%v: status %+v", c.deaths, n)
			}
			if got := len(a) == 1 && a[0].Name == AlarmSpeakerFailing; got != c.alarm || len(a) > 1 {
				t.Errorf("%v: alarms %+v", c.deaths, a)
			}
			f.close(t)
		})
	}
}

func TestA15DeathsOfASpeakerAreNoFlaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		settings := testSettings(anycast(nil), neighbor("core-1", "10.0.0.1"))
		f := startFleet(t, settings, nil)
		n := startNode(t, settings, func(o *Options) { o.Announcer = f.Speakers })
		n.SetServices(svcUp)
		changes := len(n.events) // at the start
		for range 5 {
			time.Sleep(70 * time.Second)
			f.fakes.get(f.fakes.count() - 1).die()
		}
		time.Sleep(5 * time.Second)
		e, err := n.Explain("dns-vip")
		if err != nil || e.State != Announced || e.FlapsLastHour != 0 || len(n.events) != changes {
			t.Errorf("%s, %d flaps, events %+v (%v)", e.State, e.FlapsLastHour, n.events, err)
		}
		if d := n.Status().BGP.Neighbors[0].SpeakerDeaths; d != 5 {
			t.Errorf("%d deaths", d)
		}
		if routes, _ := f.fakes.get(f.fakes.count() - 1).routes(); len(routes) == 0 {
			t.Error("the last speaker has no route")
		}
		n.SetServices(svcDown) // a real flap: the delay is that of the first
		n.SetServices(svcUp)
		if e, err := n.Explain("dns-vip"); err != nil || e.FlapsLastHour != 1 || e.AnnounceDelaySeconds != 10 {
			t.Errorf("after one real flap %d flaps, a delay of %gs (%v)", e.FlapsLastHour, e.AnnounceDelaySeconds, err)
		}
		n.close(t)
	})
}

func TestA15DeathOfOneHarmsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFleet(t, testSettings(anycast(nil), neighbor("core-1", "10.0.0.1"), neighbor("core-2", "10.0.0.3")), nil)
		f.confirm(goodRoutes(), 2*time.Second)
		f.fakes.get(0).die()
		f.confirm(goodRoutes(), 2*time.Second)
		if f.fakes.count() != 3 {
			t.Errorf("%d speakers were started, want 3", f.fakes.count())
		}
		for _, n := range f.Neighbors() {
			if n.State != Established {
				t.Errorf("status %+v", n)
			}
		}
		f.close(t)
	})
}

func TestA18SilentNeighborIsAnAlarmWithItsReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFleet(t, testSettings(anycast(nil), neighbor("core-1", "10.0.0.1")), nil)
		f.fakes.get0(t).set(func(r *Report) { r.State, r.LastError = Connecting, "connecting: connection refused" })
		f.confirm(goodRoutes(), 29*time.Second)
		if a := f.Alarms(); len(a) != 0 {
			t.Errorf("too early: %+v", a)
		}
		f.confirm(goodRoutes(), 2*time.Second)
		if a := f.Alarms(); len(a) != 1 || a[0].Name != AlarmNeighborDown || a[0].Text != "core-1 (10.0.0.1): connecting: connection refused" {
			t.Errorf("alarms %+v", a)
		}
		f.fakes.get(0).set(func(r *Report) { r.State = Established })
		f.confirm(goodRoutes(), time.Second)
		if a := f.Alarms(); len(a) != 0 {
			t.Errorf("not over: %+v", a)
		}
		f.fakes.get(0).set(func(r *Report) { r.HoldZero, r.State = true, Connecting })
		f.confirm(goodRoutes(), time.Second)
		if a := f.Alarms(); len(a) != 1 || a[0].Name != AlarmHoldTimeZero {
			t.Errorf("alarms %+v", a)
		}
		f.close(t)
	})
}

func TestA19FloodIsAnAlarmAndClosesAllButTheLastSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFleet(t, testSettings(anycast(nil), neighbor("core-1", "10.0.0.1"), neighbor("core-2", "10.0.0.3")), nil)
		f.confirm(goodRoutes(), 2*time.Second)
		flood := func(n int) {
			for i := range f.fakes.count() {
				f.fakes.get(i).set(func(r *Report) { r.Received = n })
			}
		}
		flood(1001)
		f.confirm(goodRoutes(), 2*time.Second)
		if a := f.Alarms(); len(a) != 2 || a[0].Name != AlarmTooManyRoutes {
			t.Errorf("alarms %+v", a)
		}
		if f.fakes.count() != 2 {
			t.Error("a session was closed for a mere alarm")
		}
		flood(100_001)
		f.confirm(goodRoutes(), 5*time.Second)
		states := map[string]int{}
		for _, n := range f.Neighbors() {
			states[n.State]++
		}
		if states[Established] != 1 || states[Down] != 1 {
			t.Errorf("states %v, want the last one up", states)
		}
		f.confirm(goodRoutes(), 4*time.Minute)
		if f.fakes.count() != 2 {
			t.Error("tried again before 5 minutes")
		}
		flood(0)
		f.confirm(goodRoutes(), time.Minute+5*time.Second)
		if f.fakes.count() != 3 || f.Neighbors()[0].State != Established || f.Neighbors()[1].State != Established {
			t.Errorf("not tried again after 5 minutes: %+v", f.Neighbors())
		}
		if d := f.Neighbors()[0].SpeakerDeaths; d != 0 {
			t.Errorf("our own closing counts as %d deaths", d)
		}
		f.close(t)
	})
}

// TestA19TheLastSessionOfAFamilyStaysUp: a session of the other family carries none of its routes.
func TestA19TheLastSessionOfAFamilyStaysUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFleet(t, testSettings(anycast(nil), neighbor("core-1", "10.0.0.1"), neighbor("core-2", "10.0.0.3"), neighbor("core-1-v6", "2001:db8::1")), nil)
		f.confirm(goodRoutes(), 2*time.Second)
		report := func(name string, change func(*Report)) {
			for i := range f.fakes.count() {
				if x := f.fakes.get(i); x.session.Name == name {
					x.set(change)
				}
			}
		}
		states := func() (out []string) {
			for _, n := range f.Neighbors() {
				out = append(out, n.State)
			}
			return out
		}
		report("core-1-v6", func(r *Report) { r.Received = 300_000 })
		report("core-1", func(r *Report) { r.Received = 300_000 })
		f.confirm(goodRoutes(), 5*time.Second)
		if got := fmt.Sprint(states()); got != "[down established established]" {
			t.Errorf("states %s, want the flood closed that is not the last of its family", got)
		}
		began := f.fakes.count()
		report("core-2", func(r *Report) { r.State = Connecting })
		f.confirm(goodRoutes(), 3*time.Second)
		if got := fmt.Sprint(states()); got != "[established connecting established]" || f.fakes.count() != began+1 {
			t.Errorf("states %s: what was closed for its flood is needed now", got)
		}
		report("core-2", func(r *Report) { r.State = Established })
		report("core-1", func(r *Report) { r.Received = 300_000 })
		f.confirm(goodRoutes(), 5*time.Minute-10*time.Second)
		if got := fmt.Sprint(states()); got != "[down established established]" || f.fakes.count() != began+1 {
			t.Errorf("states %s, %d speakers: want it closed again, for 5 minutes", got, f.fakes.count())
		}
		f.close(t)
	})
}

func TestA20ReloadKeepsUnchangedSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := neighbor("core-1", "10.0.0.1"), neighbor("core-2", "10.0.0.3")
		f := startFleet(t, testSettings(anycast(nil), one, two), nil)
		f.confirm(goodRoutes(), 2*time.Second)
		one.MaxReceived = 5 // taken by the running speaker
		two.HoldTime = 30 * time.Second
		f.Configure(testSettings(anycast(nil), one, two, neighbor("core-3", "10.0.0.5")))
		f.confirm(goodRoutes(), 2*time.Second)
		if f.fakes.count() != 4 {
			t.Fatalf("%d speakers were started, want 2 + the changed one + the new one", f.fakes.count())
		}
		var first *fakeSpeaker
		for i := range 2 {
			if x := f.fakes.get(i); x.session.Name == "core-1" {
				first = x
			}
		}
		if first.closed || first.session.MaxReceived != 5 {
			t.Errorf("core-1: closed %v, session %+v", first.closed, first.session)
		}
		f.Configure(testSettings(anycast(nil), one))
		f.confirm(goodRoutes(), 2*time.Second)
		if n := f.Neighbors(); len(n) != 1 || n[0].State != Established || first.closed {
			t.Errorf("after removing the others: %+v", n)
		}
		f.close(t)
	})
}

func TestA20ARenamedNeighborHasOneSessionAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFleet(t, testSettings(anycast(nil), neighbor("core-1", "10.0.0.1")), nil)
		f.confirm(goodRoutes(), 2*time.Second)
		f.fakes.get(0).freeze() // it takes closeTime to be rid of it
		renamed := time.Now()
		f.Configure(testSettings(anycast(nil), neighbor("edge-1", "10.0.0.1")))
		f.confirm(goodRoutes(), 3*time.Second)
		if f.fakes.count() != 2 {
			t.Fatalf("%d speakers were started", f.fakes.count())
		}
		if d := f.fakes.births[1].Sub(renamed); d < closeTime {
			t.Errorf("the new session began %v after the reload, beside the old one", d)
		}
		if n := f.Neighbors(); len(n) != 1 || n[0].Name != "edge-1" || n[0].State != Established {
			t.Errorf("neighbors %+v", n)
		}
		f.close(t)
	})
}

func TestA21SightingsReachTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := make(chan string, 1000)
		f := startFleet(t, testSettings(anycast(nil), neighbor("core-1", "10.0.0.1")), func(p []netip.Prefix) { seen <- p[0].String() })
		f.fakes.get0(t).set(func(r *Report) { r.OtherSites = []netip.Prefix{netip.MustParsePrefix("192.0.2.53/32")} })
		f.confirm(goodRoutes(), time.Second)
		if p := <-seen; p != "192.0.2.53/32" {
			t.Errorf("seen %s", p)
		}
		f.close(t)
	})
}
