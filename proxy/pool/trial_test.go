package pool

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sereno/health"
)

// onTrial makes a backend silent to real requests and good to probes.
func (g *group) onTrial(name string) {
	g.suspect(name)
	g.good(name)
	g.is(name, health.Up)
	if g.health(name).Trial() != 2 {
		g.t.Fatalf("%s may have %d at a time, not suspect_after", name, g.health(name).Trial())
	}
}

func TestA04ABackendOnTrialGetsFewAtATime(t *testing.T) {
	for _, balance := range allPolicies {
		t.Run(balance, func(t *testing.T) {
			g := newGroup(t, balance, spec{name: "a"}, spec{name: "b"}, spec{name: "spare", backup: true})
			g.onTrial("a")
			held := map[string]int{}
			for i := range 1000 {
				var tried Tried
				b := g.Pick(mix(uint64(i)), &tried)
				if b == nil {
					t.Fatal("nobody, though b is up")
				}
				held[b.Name()]++
				if second := g.Pick(mix(uint64(i)), &tried); second == nil || b.Name() != "a" && second.Name() == "a" {
					t.Fatalf("tried at %s, and then at %v: a retry must not find out what a does", b.Name(), second)
				} else {
					second.Done()
				}
			}
			if held["a"] != 2 || held["a"]+held["b"] != 1000 {
				t.Errorf("requests in flight are %v: on trial it may have 2", held)
			}
			g.only("for requests that are never tried again", "b")
			for range 2 {
				g.Backend("a").Done()
			}
			g.health("a").Replied()
			if counts := g.countsTried(1000); counts["a"] == 0 || counts["spare"] > 0 {
				t.Errorf("after its reply: %v", counts)
			}
		})
	}
}

// countsTried is counts for requests that may be tried again.
func (g *group) countsTried(n int) map[string]int {
	out := map[string]int{}
	for i := range n {
		var tried Tried
		b := g.Pick(mix(uint64(i)*0x9e3779b97f4a7c15+1), &tried)
		out[b.Name()]++
		b.Done()
	}
	return out
}

func TestA05TheLastBackendsAreUsedOnTrialToo(t *testing.T) {
	for _, balance := range allPolicies {
		t.Run(balance, func(t *testing.T) {
			g := newGroup(t, balance, spec{name: "a"}, spec{name: "b", max: 50}, spec{name: "spare", backup: true})
			g.onTrial("a")
			g.down("b")
			for i := range 100 {
				var tried Tried
				if b := g.Pick(mix(uint64(i)), &tried); b.Name() == "b" || b.Name() == "a" && b.InFlight() > 2 {
					t.Fatalf("%s was picked with %d in flight", b.Name(), b.InFlight())
				}
			}
			g.down("spare")
			for i := range 100 {
				var tried Tried
				if b := g.Pick(mix(uint64(i)), &tried); b == nil || b.Name() != "a" {
					t.Fatalf("picked %v, though only a may answer", b)
				}
			}
			// Rather one on trial than nobody.
			g = newGroup(t, balance, spec{name: "a"}, spec{name: "b", max: 50})
			g.onTrial("a")
			for i := range 100 {
				var tried Tried
				if b := g.Pick(mix(uint64(i)), &tried); b == nil {
					t.Fatalf("pick %d found nobody", i)
				}
			}
		})
	}
}

// life is two backends that are probed and asked, in virtual time.
type life struct {
	*Pool
	attempt  time.Duration
	deaf     atomic.Bool // "a" answers probes only
	dead     atomic.Bool // "a" answers nothing
	requests sync.WaitGroup
	slow     atomic.Int64 // requests that waited for attempt in vain at least once
	lost     atomic.Int64 // that nobody answered
	at       map[string]*atomic.Int64
}

func (l *life) probe(ctx context.Context, t *health.Target) health.Result {
	r := health.Result{Start: time.Now(), Reason: health.ReasonProbeFailed, OK: t.Backend != "a" || !l.dead.Load()}
	time.Sleep(time.Millisecond)
	if !r.OK {
		<-ctx.Done()
	}
	r.End = time.Now()
	return r
}

// request asks as a front does: in a row, each backend for attempt.
func (l *life) request(key uint64) {
	defer l.requests.Done()
	l.Request()
	var tried Tried
	waited := false
	for range 3 {
		b := l.Pick(key, &tried)
		if b == nil {
			break
		}
		l.at[b.Name()].Add(1)
		if b.Name() != "a" || !l.deaf.Load() && !l.dead.Load() {
			time.Sleep(2 * time.Millisecond)
			b.Done()
			b.Health().RepliedAfter(2 * time.Millisecond)
			if waited {
				l.slow.Add(1)
			}
			return
		}
		time.Sleep(l.attempt)
		b.Fail(Timeout)
		b.Health().Silent()
		waited = true
		defer b.Done() // its late answer would be welcome
	}
	l.lost.Add(1)
}

// ask sends 200 requests a second for so long.
func (l *life) ask(d time.Duration, key *uint64) {
	for range int(d / (5 * time.Millisecond)) {
		*key++
		l.requests.Add(1)
		go l.request(mix(*key))
		time.Sleep(5 * time.Millisecond)
	}
}

// What a deaf RADIUS server (it answers Status-Server; its database hangs) and a deaf
// resolver (the probe's name is in its cache) cost: who is asked meanwhile waits once.
func TestA03ADeafBackendCostsFewRequestsATurn(t *testing.T) {
	for _, protocol := range []string{"radius", "dns"} {
		synctest.Test(t, func(t *testing.T) {
			cfg := testConfig("hash")
			cfg.SetDefaults(protocol)
			cfg.Balance = "hash"
			l := &life{attempt: cfg.AttemptTimeout, at: map[string]*atomic.Int64{}}
			var changes []string
			m := health.NewMonitor(health.Options{Probe: l.probe, OnEvent: func(e health.Event) { changes = append(changes, fmt.Sprintf("%s %v", e.Backend, e.To)) }})
			defer m.Close()
			var targets []health.Target
			for _, name := range []string{"a", "b"} {
				target := health.Target{Key: health.Key{Pool: "p", Backend: name, Role: "dns"}, Protocol: protocol, AttemptTimeout: cfg.AttemptTimeout}
				target.Config.SetDefaults(protocol)
				targets = append(targets, target)
				l.at[name] = new(atomic.Int64)
			}
			verdicts := m.Apply(targets)
			var members []Member
			for i, target := range targets {
				var c BackendConfig
				c.SetDefaults()
				c.Name = target.Backend
				members = append(members, Member{Config: c, Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 53), Health: verdicts[target.Key]})
			}
			p, err := New(cfg, "dns", members)
			if err != nil {
				t.Fatal(err)
			}
			l.Pool = p
			hc, a := targets[0].Config, verdicts[targets[0].Key]
			var key uint64
			l.ask(10*time.Second, &key)

			l.deaf.Store(true)
			l.ask(7*l.attempt, &key)
			found := l.slow.Load()
			// Half of 200 a second until it is suspected, then two trials with two each. Nobody moves
			// away before his time here, so that a trial waits for those who asked before it.
			if most := int64(100*1.2*l.attempt.Seconds()) + 2*2 + 4; found > most || a.State() != health.Down {
				t.Errorf("%s: %d requests waited until it was %v; at most %d should, and it be down", protocol, found, a.State(), most)
			}
			const deaf = 10 * time.Minute
			l.ask(deaf, &key)
			later := l.slow.Load() - found
			// A trial each 6, 8 … 20 good probes, with two requests each, or three: the first
			// makes room a moment before the second is silent too.
			if most := 3 * int64(deaf/(14*hc.Interval)); later > most || later < most/4 {
				t.Errorf("%s: %d requests waited in %v of deafness, not at most %d and some", protocol, later, deaf, most)
			}
			healed := time.Now()
			l.deaf.Store(false)
			for a.State() != health.Up {
				l.ask(100*time.Millisecond, &key)
			}
			if took, most := time.Since(healed), 20*hc.Interval*11/10+time.Second; took > most {
				t.Errorf("%s: it was up again after %v; the bound is %v", protocol, took, most)
			}
			l.ask(hc.SlowStart+time.Second, &key)
			before := l.at["a"].Load()
			l.ask(10*time.Second, &key)
			if got := l.at["a"].Load() - before; got < 800 {
				t.Errorf("%s: it got %d of 2000 requests after its slow start", protocol, got)
			}

			// One that is dead, and comes back, is judged by its probes as ever.
			l.dead.Store(true)
			a.Unreachable(errors.New("no route"))
			l.ask(20*time.Second, &key)
			before, waited := l.at["a"].Load(), l.slow.Load()
			back := time.Now()
			l.dead.Store(false)
			for a.State() != health.Up {
				l.ask(100*time.Millisecond, &key)
			}
			if took := time.Since(back); took > 2*hc.Interval*11/10+hc.Timeout+200*time.Millisecond || a.Trial() > 0 || l.slow.Load() != waited {
				t.Errorf("%s: back after %v, on trial: %d; %d waited meanwhile", protocol, took, a.Trial(), l.slow.Load()-waited)
			}
			if l.at["a"].Load()-before > 20 {
				t.Errorf("%s: a dead backend was asked %d times while another was up", protocol, l.at["a"].Load()-before)
			}
			l.requests.Wait()
			if l.lost.Load() > 0 {
				t.Errorf("%s: %d requests were lost", protocol, l.lost.Load())
			}
			synctest.Wait()
			// Down once for each of the two, whatever number of trials there was.
			downs := 0
			for _, c := range changes {
				if c == "a down" {
					downs++
				}
			}
			if downs != 2 {
				t.Errorf("%s: it was told down %d times, not 2: %v", protocol, downs, changes)
			}
			t.Logf("%s: %d waited until it was found, %d in %v", protocol, found, later, deaf)
		})
	}
}
