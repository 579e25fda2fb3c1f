package health

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// world is the backends as the prober finds them. It fails the test when a probe
// outlives its timeout.
type world struct {
	t      *testing.T
	mu     sync.Mutex
	mood   map[string]string // by backend: "" answers, "silent", "refused", "slow"
	starts map[string][]time.Time
	inside map[string]int // probes under way
	most   map[string]int
}

func newWorld(t *testing.T) *world {
	return &world{t: t, mood: map[string]string{}, starts: map[string][]time.Time{}, inside: map[string]int{}, most: map[string]int{}}
}

func (w *world) set(backend, mood string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mood[backend] = mood
}

func (w *world) begun(backend string) []time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.starts[backend])
}

// crowd is how many probes of a backend were under way at once.
func (w *world) crowd(backend string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.most[backend]
}

func (w *world) probe(ctx context.Context, t *Target) Result {
	start := time.Now()
	w.mu.Lock()
	w.starts[t.Backend] = append(w.starts[t.Backend], start)
	w.inside[t.Backend]++
	w.most[t.Backend] = max(w.most[t.Backend], w.inside[t.Backend])
	mood := w.mood[t.Backend]
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.inside[t.Backend]--
		w.mu.Unlock()
		if took := time.Since(start); took > t.Config.Timeout {
			w.t.Errorf("a probe of %s took %v", t.Backend, took)
		}
	}()
	r := Result{Start: start, Reason: ReasonProbeFailed}
	switch mood {
	case "silent":
		<-ctx.Done()
		r.Detail = errNoAnswer.Error()
	case "refused":
		r.Reason, r.Detail = ReasonRefused, "the port is closed"
	default:
		wait := time.Millisecond
		if mood == "slow" {
			wait = t.Config.Timeout - time.Millisecond
		}
		select {
		case <-time.After(wait):
			r.OK = true
		case <-ctx.Done():
			r.Detail = errNoAnswer.Error()
		}
	}
	r.End = time.Now()
	r.Latency = r.End.Sub(start)
	return r
}

// diary notes every event.
type diary struct {
	mu     sync.Mutex
	events []Event
}

func (d *diary) note(e Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, e)
}

func (d *diary) read() []Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.events)
}

func dnsTarget(backend string) Target {
	t := Target{
		Key: Key{"resolvers", backend, "dns"}, Protocol: "dns", AttemptTimeout: 400 * time.Millisecond,
		Addr: netip.MustParseAddrPort("192.0.2.1:53"),
	}
	t.Config.SetDefaults("dns")
	return t
}

func watch(t *testing.T, w *world, o Options, targets ...Target) (*Monitor, map[Key]*Backend) {
	t.Helper()
	o.Probe = w.probe
	m := NewMonitor(o)
	return m, m.Apply(targets)
}

func TestA02ProbesNeverWaitForOneAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var targets []Target
		for i := range 20 {
			targets = append(targets, dnsTarget(fmt.Sprint("b", i)))
			if i > 0 {
				w.set(fmt.Sprint("b", i), "silent")
			}
		}
		m, _ := watch(t, w, Options{}, targets...)
		defer m.Close()
		time.Sleep(60 * time.Second)
		for _, target := range targets {
			starts := w.begun(target.Backend)
			if len(starts) < 54 || len(starts) > 67 {
				t.Errorf("%s was probed %d times in 60 s", target.Backend, len(starts))
			}
		}
	})
}

func TestA02StartsAreJittered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		m, _ := watch(t, w, Options{}, dnsTarget("a"), dnsTarget("b"))
		defer m.Close()
		begin := time.Now()
		time.Sleep(200 * time.Second)
		shortest, longest := time.Hour, time.Duration(0)
		for _, backend := range []string{"a", "b"} {
			starts := w.begun(backend)
			if !starts[0].Equal(begin) {
				t.Errorf("the first probe of %s came after %v, not at once", backend, starts[0].Sub(begin))
			}
			for i := range len(starts) - 1 {
				gap := starts[i+1].Sub(starts[i])
				shortest, longest = min(shortest, gap), max(longest, gap)
			}
		}
		if shortest < 900*time.Millisecond || longest > 1100*time.Millisecond {
			t.Errorf("the gaps are from %v to %v, not within 10 %% of 1s", shortest, longest)
		}
		if shortest > 930*time.Millisecond || longest < 1070*time.Millisecond {
			t.Errorf("the gaps are from %v to %v: no jitter of 10 %%", shortest, longest)
		}
		if a, b := w.begun("a"), w.begun("b"); a[50].Equal(b[50]) {
			t.Error("two backends are probed in step")
		}
	})
}

// Death at any moment is known within fall × interval × 1.1 + timeout, without
// any traffic.
func TestA11DeathIsFoundWithinItsBound(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 3))
			w := newWorld(t)
			var d diary
			target := dnsTarget("a")
			target.Config.Fall = 1 + rng.IntN(4)
			m, backends := watch(t, w, Options{OnEvent: d.note}, target)
			defer m.Close()
			time.Sleep(10*time.Second + time.Duration(rng.Int64N(int64(time.Second))))
			if backends[target.Key].State() != Up {
				t.Fatal("it did not come up")
			}
			w.set("a", []string{"silent", "refused"}[seed%2])
			death := time.Now()
			time.Sleep(time.Minute)
			events := d.read()
			last := events[len(events)-1]
			bound := time.Duration(target.Config.Fall)*target.Config.Interval*11/10 + target.Config.Timeout
			if last.To != Down || last.At.Sub(death) > bound {
				t.Errorf("seed %d: %v after %v; the bound is %v", seed, last.To, last.At.Sub(death), bound)
			}
		})
	}
}

func TestA04ASuspectIsUpOrDownWithinTwoProbeTimeouts(t *testing.T) {
	for fall := 1; fall <= 6; fall++ {
		for _, mood := range []string{"silent", "refused", "slow", ""} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				var d diary
				target := dnsTarget("a")
				target.Config.Fall = fall
				m, backends := watch(t, w, Options{OnEvent: d.note}, target)
				defer m.Close()
				time.Sleep(5300 * time.Millisecond)
				w.set("a", mood)
				b := backends[target.Key]
				b.Silent()
				b.Silent()
				if b.State() != Suspect {
					t.Fatalf("the state is %v", b.State())
				}
				since := time.Now()
				time.Sleep(2*target.Config.Timeout + time.Millisecond)
				want := Down
				if mood == "" || mood == "slow" {
					want = Up
				}
				e := d.read()
				if last := e[len(e)-1]; b.State() != want || last.To != want || last.At.Sub(since) > 2*target.Config.Timeout {
					t.Errorf("fall %d, %q: %v after %v", fall, mood, last.To, last.At.Sub(since))
				}
				if most := w.crowd("a"); most > fall+1 {
					t.Errorf("fall %d, %q: %d probes ran at once", fall, mood, most)
				}
			})
		}
	}
}

func TestA04AReplyCostsNothingAndResetsTheCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		m, backends := watch(t, w, Options{}, dnsTarget("a"))
		defer m.Close()
		b := backends[dnsTarget("a").Key]
		time.Sleep(time.Second)
		b.Silent()
		b.Replied()
		time.Sleep(399 * time.Millisecond)
		b.Silent()
		b.Silent()
		b.Silent()
		if b.State() != Up {
			t.Errorf("%v, though a reply came less than attempt_timeout ago", b.State())
		}
		// While replies go on, they are noted again and again: the time of the last
		// one is known to 50 ms.
		for range 100 {
			b.Replied()
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(300 * time.Millisecond)
		b.Silent()
		b.Silent()
		if b.State() != Up {
			t.Errorf("%v 310 ms after the last reply", b.State())
		}
		time.Sleep(100 * time.Millisecond)
		b.Silent()
		b.Silent()
		if b.State() != Suspect {
			t.Errorf("%v 410 ms after the last reply", b.State())
		}
	})
}

// A slow backend: each reply comes after attempt_timeout. Beside one that is up it has
// not passed its trial; alone it is what there is.
func TestA04ALateReplyIsNoProofWhileAnotherIsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := dnsTarget("a"), dnsTarget("b")
		m, backends := watch(t, w, Options{}, a, b)
		defer m.Close()
		time.Sleep(time.Second)
		slow := backends[a.Key]
		var watched atomic.Int64
		slow.Watch(func(bool) { watched.Add(1) })
		slow.Silent()
		slow.Silent()
		time.Sleep(10 * time.Millisecond)
		if slow.State() != Up || slow.Trial() != 2 || time.Since(slow.TrialSince()) > 10*time.Millisecond || watched.Load() != 2 {
			t.Fatalf("%v, %d at a time since %v; watchers were told %d times", slow.State(), slow.Trial(), time.Since(slow.TrialSince()), watched.Load())
		}
		slow.RepliedAfter(a.AttemptTimeout)
		if slow.Trial() == 0 {
			t.Error("a late reply ended the trial")
		}
		slow.RepliedAfter(a.AttemptTimeout - 1)
		if slow.Trial() != 0 || watched.Load() != 3 {
			t.Errorf("a reply in time did not end the trial, or watchers were told %d times", watched.Load())
		}
		time.Sleep(time.Second)
		w.set("b", "refused")
		slow.Silent()
		slow.Silent()
		time.Sleep(3 * time.Second)
		if slow.Trial() == 0 || backends[b.Key].State() != Down {
			t.Fatalf("on trial: %d; the other is %v", slow.Trial(), backends[b.Key].State())
		}
		slow.RepliedAfter(time.Second)
		if slow.Trial() != 0 {
			t.Error("the only backend that answers is still on trial")
		}
	})
}

func TestA04TheKernelsWordIsProbedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var d diary
		m, backends := watch(t, w, Options{OnEvent: d.note}, dnsTarget("a"))
		defer m.Close()
		time.Sleep(1500 * time.Millisecond)
		before := len(w.begun("a"))
		backends[dnsTarget("a").Key].Unreachable(errors.New("no route"))
		synctest.Wait()
		if got := len(w.begun("a")); got != before+1 {
			t.Errorf("%d probes began", got-before)
		}
		time.Sleep(10 * time.Millisecond)
		e := d.read()
		if len(e) != 3 || e[1].To != Suspect || e[1].Reason != ReasonUnreachable || e[2].To != Up {
			t.Errorf("the events are %+v", e)
		}
	})
}

// A whole life of a pool, with its events: in order, once each, each beginning
// where the last one ended.
func TestA01EventsAreToldOnceAndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var d diary
		var targets []Target
		for i := range 10 {
			targets = append(targets, dnsTarget(fmt.Sprint("b", i)))
		}
		m, backends := watch(t, w, Options{OnEvent: func(e Event) {
			time.Sleep(3 * time.Millisecond) // a slow listener
			d.note(e)
		}}, targets...)
		var calls atomic.Int64
		for _, b := range backends {
			b.Watch(func(changed bool) {
				if changed {
					calls.Add(1)
				}
			})
		}
		synctest.Wait()
		rng := rand.New(rand.NewPCG(1, 4))
		moods := []string{"", "", "silent", "refused", "slow"}
		for range 2000 {
			i := rng.IntN(10)
			b := backends[targets[i].Key]
			switch rng.IntN(6) {
			case 0:
				w.set(targets[i].Backend, moods[rng.IntN(len(moods))])
			case 1:
				m.Drain(targets[i].Key, rng.IntN(2) == 0)
			case 2:
				b.Unreachable(errors.New("no route"))
			case 3:
				b.Silent()
			case 4:
				b.Replied()
			}
			time.Sleep(time.Duration(rng.IntN(100)) * time.Millisecond)
		}
		m.Close()
		events := d.read()
		at := map[Key]State{}
		var last time.Time
		for _, e := range events {
			if e.From != at[e.Key] || e.From == e.To || e.Reason == ReasonNone {
				t.Fatalf("%+v follows %v", e, at[e.Key])
			}
			at[e.Key] = e.To
			if e.At.Before(last) {
				t.Fatalf("%+v is told too late", e)
			}
			last = e.At
		}
		for key, b := range backends {
			if b.State() != at[key] {
				t.Errorf("%v is %v, but %v was told last", key, b.State(), at[key])
			}
		}
		if len(events) < 100 {
			t.Errorf("only %d events", len(events))
		}
		if got := calls.Load(); got < int64(len(events))-10 || got > int64(len(events)) {
			t.Errorf("%d events, and watchers were told %d times", len(events), got)
		}
	})
}

func TestA05ADrainSurvivesAReloadAndIsProbedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		m := NewMonitor(Options{Probe: w.probe})
		defer m.Close()
		a, b := dnsTarget("a"), dnsTarget("b")
		m.Drain(a.Key, true) // before it is there
		got := m.Apply([]Target{a, b})
		time.Sleep(3 * time.Second)
		if got[a.Key].State() != Drained || got[b.Key].State() != Up {
			t.Fatalf("a is %v, b is %v", got[a.Key].State(), got[b.Key].State())
		}
		if len(w.begun("a")) < 3 {
			t.Error("a drained backend is not probed")
		}
		a.Addr = netip.MustParseAddrPort("192.0.2.9:53")
		got = m.Apply([]Target{a, b})
		if got[a.Key].State() != Drained {
			t.Errorf("after a reload with another address it is %v", got[a.Key].State())
		}
		time.Sleep(time.Second)
		m.Drain(a.Key, false)
		if got[a.Key].State() != Up || got[a.Key].Share(time.Now()) > 0.011 {
			t.Errorf("after the drain it is %v with a share of %v", got[a.Key].State(), got[a.Key].Share(time.Now()))
		}
		if s := got[a.Key].Status(); s.Reason != ReasonNone || !s.LastProbe.OK {
			t.Errorf("its status is %+v", s)
		}
	})
}

func TestA01AReloadKeepsWhatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var d diary
		w.set("b", "refused")
		m := NewMonitor(Options{OnEvent: d.note, Probe: w.probe})
		defer m.Close()
		a, b, c := dnsTarget("a"), dnsTarget("b"), dnsTarget("c")
		before := m.Apply([]Target{a, b, c})
		time.Sleep(5 * time.Second)
		told := len(d.read())
		changed := a
		changed.Config.Interval, changed.Config.Timeout, changed.Config.Fall = 5*time.Second, time.Second, 4
		moved := c
		moved.Addr = netip.MustParseAddrPort("192.0.2.9:53")
		synctest.Wait()
		mark := len(w.begun("a"))
		after := m.Apply([]Target{changed, b, moved}) // and asked at once, then every 5 s
		if after[a.Key] != before[a.Key] || after[b.Key] != before[b.Key] || after[a.Key].State() != Up || after[b.Key].State() != Down {
			t.Error("a backend that stayed lost its state")
		}
		if after[c.Key] == before[c.Key] || after[c.Key].State() != Starting {
			t.Errorf("a backend that moved is %v", after[c.Key].State())
		}
		if len(d.read()) != told {
			t.Error("a reload told events")
		}
		time.Sleep(20500 * time.Millisecond)
		if n := len(w.begun("a")) - mark; n < 4 || n > 6 {
			t.Errorf("%d probes in 20 s with the new interval of 5 s", n)
		}
		m.Apply([]Target{b})
		mark = len(w.begun("a"))
		time.Sleep(20 * time.Second)
		if len(w.begun("a")) != mark {
			t.Error("a backend that was removed is still probed")
		}
		if m.Backend(a.Key) != nil || m.Backend(b.Key) == nil || len(m.Backends()) != 1 {
			t.Error("lookups don't show the new set")
		}
		before[a.Key].Silent() // a front may still hold it
		before[a.Key].Replied()
	})
}

func TestR34EachRoleHasItsOwnVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked sync.Map
		m := NewMonitor(Options{Probe: func(ctx context.Context, t *Target) Result {
			asked.Store(t.Role, true)
			now := time.Now()
			return Result{Start: now, End: now, OK: t.Role == "auth", Reason: ReasonProbeFailed, Detail: "no"}
		}})
		defer m.Close()
		auth := Target{Key: Key{"radius", "fulmine", "auth"}, Protocol: "radius", AttemptTimeout: time.Second}
		auth.Config.SetDefaults("radius")
		acct := auth
		acct.Role = "acct"
		got := m.Apply([]Target{auth, acct})
		time.Sleep(10 * time.Second)
		if got[auth.Key].State() != Up || got[acct.Key].State() != Down {
			t.Errorf("auth is %v, acct is %v", got[auth.Key].State(), got[acct.Key].State())
		}
		acct.Config.RADIUS.AcctProbe = "none"
		m.Apply([]Target{auth, acct})
		asked.Delete("acct")
		time.Sleep(30 * time.Second)
		if _, was := asked.Load("acct"); was {
			t.Error("acct_probe: none is probed")
		}
		if got[acct.Key].State() != Up {
			t.Errorf("unprobed from now on, it is %v: no trial brought it back", got[acct.Key].State())
		}
	})
}

func TestA07RoleCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.set("b", "silent")
		m, backends := watch(t, w, Options{}, dnsTarget("a"), dnsTarget("b"), dnsTarget("c"))
		defer m.Close()
		synctest.Wait()
		if r := m.Role("resolvers", "dns", time.Time{}); r != (Role{Total: 3, Starting: 3}) {
			t.Errorf("at the start: %+v", r)
		}
		time.Sleep(5 * time.Second)
		backends[dnsTarget("c").Key].Silent()
		backends[dnsTarget("c").Key].Silent()
		if r := m.Role("resolvers", "dns", time.Time{}); r != (Role{Total: 3, Healthy: 2, Proven: 2}) {
			t.Errorf("one up, one suspect, one down: %+v", r)
		}
		if r := m.Role("resolvers", "dns", time.Now()); r.Proven != 0 {
			t.Errorf("proven by the future: %+v", r)
		}
		if r := m.Role("resolvers", "auth", time.Time{}); r != (Role{}) {
			t.Errorf("a role that nobody has: %+v", r)
		}
	})
}
