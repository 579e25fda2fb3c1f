package pool

import (
	"net/netip"
	"testing"
	"time"

	"sereno/health"
)

func TestA05TheBestTierThatIsLeft(t *testing.T) {
	for _, balance := range allPolicies {
		t.Run(balance, func(t *testing.T) {
			spread := func(names ...string) []string {
				if balance == "ordered" {
					return names[:1]
				}
				return names
			}
			g := newGroup(t, balance, spec{name: "a"}, spec{name: "b"}, spec{name: "spare", backup: true}, spec{name: "d"})
			g.only("all are up", spread("a", "b", "d")...)
			g.down("d")
			g.suspect("a")
			g.only("a suspect backend gets no new requests while another is up", "b")
			g.down("b")
			g.only("hot spares only while no other backend is up", "spare")
			g.down("spare")
			g.only("suspect ones when none is up", "a")
			if g.AnyUp() {
				t.Error("AnyUp")
			}
			g.bad("a")
			g.bad("a")
			g.only("down ones when there is nothing else", spread("a", "b", "spare", "d")...)
			g.back("spare")
			g.only("one is back", "spare")
			if healthy, least := g.Healthy(); healthy != 1 || least != 1 || !g.AnyUp() {
				t.Errorf("healthy are %d of %d", healthy, least)
			}
		})
	}
}

func TestA01AStartingBackendIsTriedLikeASuspectOne(t *testing.T) {
	g := newGroup(t, "random", spec{name: "a"}, spec{name: "b"})
	members := append(g.members[:2:2], Member{Config: g.members[0].Config, Addr: netip.MustParseAddrPort("192.0.2.9:53"), Health: g.verdict("new")})
	members[2].Config.Name = "new"
	if err := g.Update(g.config, members); err != nil {
		t.Fatal(err)
	}
	g.only("others are up", "a", "b")
	g.down("a")
	g.suspect("b")
	g.only("no other is up", "b", "new")
}

func TestA05ADrainedBackendIsNeverPicked(t *testing.T) {
	m := health.NewMonitor(health.Options{})
	defer m.Close()
	var targets []health.Target
	for _, name := range []string{"a", "b"} {
		target := health.Target{Key: health.Key{Pool: "radius", Backend: name, Role: "acct"}, Protocol: "radius"}
		target.Config.SetDefaults("radius")
		target.Config.RADIUS.AcctProbe = "none"
		targets = append(targets, target)
	}
	verdicts := m.Apply(targets)
	for _, balance := range allPolicies {
		g := &group{t: t, config: testConfig(balance)}
		for _, target := range targets {
			m.Drain(target.Key, false)
			var c BackendConfig
			c.SetDefaults()
			c.Name = target.Backend
			g.members = append(g.members, Member{Config: c, Health: verdicts[target.Key]})
		}
		p, err := New(g.config, "acct", g.members)
		if err != nil {
			t.Fatal(err)
		}
		g.Pool = p
		m.Drain(targets[0].Key, true)
		g.only(balance+": a is drained", "b")
		m.Drain(targets[1].Key, true)
		g.only(balance+": all are drained", "")
		var tried Tried
		if p.Pick(1, &tried) != nil || p.AnyUp() {
			t.Errorf("%s: a drained backend was picked", balance)
		}
	}
}

func TestD23ARetryGoesToAnotherBackendAndAtLastToWorseOnes(t *testing.T) {
	for _, balance := range allPolicies {
		g := newGroup(t, balance, spec{name: "a"}, spec{name: "b"}, spec{name: "spare", backup: true}, spec{name: "sick"}, spec{name: "dead"})
		g.suspect("sick")
		g.down("dead")
		var order []string
		for key := range uint64(100) {
			var tried Tried
			order = order[:0]
			for b := g.Pick(key<<50, &tried); b != nil; b = g.Pick(key<<50, &tried) {
				order = append(order, b.Name())
				b.Done()
			}
			if len(order) != 5 || order[0] > "b" || order[1] > "b" || order[0] == order[1] || order[2] != "spare" || order[3] != "sick" || order[4] != "dead" {
				t.Fatalf("%s: tried were %v", balance, order)
			}
			if tried.Len() != 5 || !tried.Has(g.Backend("sick")) {
				t.Fatalf("%s: noted are %d", balance, tried.Len())
			}
		}
	}
}

func TestD26MaxInFlightLeavesABackendOut(t *testing.T) {
	for _, balance := range allPolicies {
		g := newGroup(t, balance, spec{name: "a", max: 3}, spec{name: "b", max: 5}, spec{name: "spare", backup: true, max: 2}, spec{name: "sick", max: 7})
		g.suspect("sick")
		got := map[string]int{}
		for b := g.Pick(uint64(len(got)), nil); b != nil; b = g.Pick(0, nil) {
			if got[b.Name()]++; got["spare"] > 0 && got["a"]+got["b"] < 8 {
				t.Fatalf("%s: the spare is used while others have room: %v", balance, got)
			}
			if b.InFlight() > b.MaxInFlight() {
				t.Fatalf("%s: %s has %d", balance, b.Name(), b.InFlight())
			}
		}
		if got["a"] != 3 || got["b"] != 5 || got["spare"] != 2 || got["sick"] != 0 {
			t.Errorf("%s: picked were %v", balance, got)
		}
		g.Backend("b").Done()
		if b := g.Pick(0, nil); b == nil || b.Name() != "b" {
			t.Errorf("%s: a slot that was given back is not used", balance)
		}
	}
}

func TestD23GenerationMovesWithStatesAndMembers(t *testing.T) {
	g := newGroup(t, "random", spec{name: "a"}, spec{name: "b"})
	last := g.Generation()
	moved := func(what string, want bool, do func()) {
		t.Helper()
		do()
		if now := g.Generation(); (now != last) != want {
			t.Errorf("%s: the generation went from %d to %d", what, last, now)
		}
		last = g.Generation()
	}
	moved("a good probe", false, func() { g.good("a") })
	moved("a bad probe", false, func() { g.bad("a") })
	moved("down", true, func() { g.bad("a") })
	moved("suspect", true, func() { g.suspect("b") })
	moved("up", true, func() { g.good("b") })
	moved("a reload", true, func() {
		if err := g.Update(g.config, g.members[:1]); err != nil {
			t.Fatal(err)
		}
	})
	moved("a backend that left", false, func() { g.suspect("b") })
	moved("one that stayed", true, func() { g.back("a") })
}

func TestA05AnEmptyPoolHasNobody(t *testing.T) {
	p, err := New(testConfig("hash"), "acct", nil)
	if err != nil {
		t.Fatal(err)
	}
	if p.Pick(1, nil) != nil || p.AnyUp() || len(p.Backends()) != 0 || p.Role() != "acct" || p.Backend("x") != nil {
		t.Error("an empty pool has somebody")
	}
}

// A member without a verdict is judged by the fronts' reports alone.
func TestA05AMemberThatNobodyProbes(t *testing.T) {
	var c BackendConfig
	c.SetDefaults()
	c.Name = "a"
	p, err := New(testConfig("random"), "dns", []Member{{Config: c, Addr: netip.MustParseAddrPort("192.0.2.1:53")}})
	if err != nil {
		t.Fatal(err)
	}
	b := p.Pick(0, nil)
	if b == nil || b.Health().State() != health.Up {
		t.Fatal("it is not up")
	}
	h := b.Health()
	if err := p.Update(testConfig("hash"), []Member{{Config: c, Addr: netip.MustParseAddrPort("192.0.2.1:53")}}); err != nil {
		t.Fatal(err)
	}
	if b.Health() != h {
		t.Error("a reload lost its verdict")
	}
	b.Done()
	b.Observe(time.Millisecond)
}

// While probes call every backend down, the one that answers real requests gets nearly all
// of them, and the other is tried now and then, until it answers again.
func TestD23WhoAnswersComesFirstWhileNoneIsUp(t *testing.T) {
	for _, balance := range allPolicies {
		t.Run(balance, func(t *testing.T) {
			g := newGroup(t, balance, spec{name: "dead"}, spec{name: "alive"}, spec{name: "dead too"})
			ask := func(answers func(name string) bool) map[string]int {
				got := map[string]int{}
				for key := range uint64(3000) {
					b := g.Pick(mix(key), nil)
					got[b.Name()]++
					if b.Done(); answers(b.Name()) {
						b.Observe(time.Millisecond)
					} else {
						b.Fail(Unreachable)
					}
				}
				return got
			}
			for _, name := range []string{"dead", "alive", "dead too"} {
				g.down(name)
			}
			got := ask(func(name string) bool { return name == "alive" })
			if dead := got["dead"] + got["dead too"]; dead > 400 || dead == 0 {
				t.Errorf("of 3000 requests those that are dead got %d", dead)
			}
			want := 3
			if balance == "ordered" {
				want = 1
			}
			ask(func(string) bool { return true }) // until each has answered once
			if got = ask(func(string) bool { return true }); len(got) != want {
				t.Errorf("when all answer: %v", got)
			}
			b := g.Backend("alive")
			before := b.Counters().InFlight
			for range 10 {
				b.Fail(Timeout)
			}
			for range 2 { // all are silent: each may be asked
				for _, name := range []string{"dead", "dead too"} {
					for range silentAfter {
						g.Backend(name).Fail(Timeout)
					}
				}
				if p := g.Pick(1, nil); p == nil {
					t.Fatal("nobody is asked where all are silent")
				} else {
					p.Done()
				}
			}
			if b.Counters().InFlight != before {
				t.Errorf("%d slots are taken", b.Counters().InFlight)
			}
		})
	}
}
