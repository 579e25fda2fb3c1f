package pool

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"sereno/health"
)

func failed(now time.Time) health.Result {
	return health.Result{Start: now, End: now, Reason: health.ReasonProbeFailed, Detail: "no answer"}
}

func TestO04AReloadKeepsWhatABackendCounts(t *testing.T) {
	g := newGroup(t, "random", spec{name: "a"}, spec{name: "b"}, spec{name: "c"})
	a, b, c := g.Backend("a"), g.Backend("b"), g.Backend("c")
	for range 10 {
		if !a.Take() {
			t.Fatal("no slot")
		}
	}
	a.SetTag("mine")
	a.Observe(time.Millisecond)
	members := slices.Clone(g.members)
	members[0].Config.Weight, members[0].Config.MaxInFlight, members[0].Config.Source = 7, 11, "192.0.2.200"
	members[1].Addr = netip.MustParseAddrPort("192.0.2.99:53")
	members[2].Health = g.verdict("c") // judged anew
	if err := g.Update(g.config, members); err != nil {
		t.Fatal(err)
	}
	if got := g.Backend("a"); got != a || got.InFlight() != 10 || got.Tag() != "mine" || got.Counters().Requests != 10 || got.Counters().Latency == 0 {
		t.Errorf("a is another one now: %+v", got.Counters())
	}
	if a.Weight() != 7 || a.MaxInFlight() != 11 || a.Source() != netip.MustParseAddr("192.0.2.200") {
		t.Errorf("a has not taken what changed: %d, %d, %v", a.Weight(), a.MaxInFlight(), a.Source())
	}
	for i, want := range []bool{true, false} {
		if a.Take() != want {
			t.Errorf("with the new max_in_flight take %d is not %v", i, want)
		}
	}
	if got := g.Backend("b"); got == b || got.Addr() != members[1].Addr || got.Tag() != nil {
		t.Error("b moved, and is still the same")
	}
	if got := g.Backend("c"); got != c || got.Health() != members[2].Health {
		t.Error("c has not got its new verdict")
	}
	// The old verdict on c says nothing any more.
	before := g.Generation()
	g.down("c")
	if g.Generation() != before {
		t.Error("the pool still listens to a verdict that was replaced")
	}
	for range 11 {
		a.Done()
	}
}

func TestO04AReloadThatFailsChangesNothing(t *testing.T) {
	g := newGroup(t, "random", spec{name: "a"}, spec{name: "b"})
	twice := slices.Clone(g.members)
	twice[1].Config.Name = "a"
	source := slices.Clone(g.members)
	source[1].Config.Source = "eth0"
	policy := g.config
	policy.Balance = "fastest"
	for want, try := range map[string]func() error{
		"two backends are named": func() error { return g.Update(g.config, twice) },
		`"eth0" is not an IP`:    func() error { return g.Update(g.config, source) },
		"unknown balance":        func() error { return g.Update(policy, nil) },
	} {
		before := g.Generation()
		if err := try(); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `"resolvers"`) {
			t.Errorf("%s: %v", want, err)
		}
		if g.Generation() != before || len(g.Backends()) != 2 || g.Config().Balance != "random" {
			t.Errorf("%s: something changed", want)
		}
	}
}

func TestD26DoneWithoutPickPanics(t *testing.T) {
	g := newGroup(t, "random", spec{name: "a"})
	b := g.Pick(0, nil)
	b.Done()
	defer func() {
		if recover() == nil {
			t.Error("a slot was given back twice and nobody cried")
		}
	}()
	b.Done()
}

func TestR32TakeIsForOneVeryBackend(t *testing.T) {
	g := newGroup(t, "hash", spec{name: "a", max: 2}, spec{name: "b"})
	a := g.Backend("a")
	for i, want := range []bool{true, true, false} {
		if a.Take() != want {
			t.Errorf("take %d is not %v", i, want)
		}
	}
	if c := a.Counters(); c.Requests != 2 || c.Failures[Full] != 1 || c.InFlight != 2 {
		t.Errorf("the counters are %+v", c)
	}
	a.Done()
	a.Done()
}

func TestO20CountersAndLatency(t *testing.T) {
	b := newBackend("a", netip.AddrPort{})
	for _, d := range []time.Duration{0, 100 * time.Microsecond, 101 * time.Microsecond, 3 * time.Millisecond, time.Hour} {
		b.Observe(d)
	}
	b.Fail(Servfail)
	b.Fail(Servfail)
	b.Fail(failureCount) // not one of the list
	c := b.Counters()
	want := make([]uint64, len(LatencyBounds())+1)
	want[0], want[1], want[5], want[len(want)-1] = 2, 1, 1, 1
	if !slices.Equal(c.Buckets, want) || c.Sum != time.Hour+3*time.Millisecond+201*time.Microsecond || c.Failures[Servfail] != 2 {
		t.Errorf("the counters are %+v", c)
	}
	if !slices.IsSorted(LatencyBounds()) {
		t.Error("the bounds are not in order")
	}
	fresh := newBackend("b", netip.AddrPort{})
	for range 200 {
		fresh.Observe(8 * time.Millisecond)
	}
	if got := fresh.Counters().Latency; got < 7900*time.Microsecond || got > 8*time.Millisecond {
		t.Errorf("the average of 8 ms is %v", got)
	}
	names := map[string]bool{}
	for _, f := range Failures() {
		names[f.String()] = true
	}
	if len(names) != int(failureCount) || names["unknown"] || Failure(99).String() != "unknown" {
		t.Errorf("the failures are %v", names)
	}
}

// A request at one backend must not slow picks that look at another: what is
// written for each request shares no cache line with what is read.
func TestO20CountersHaveCacheLinesOfTheirOwn(t *testing.T) {
	var b Backend
	const line = 64
	inFlight, requests := unsafe.Offsetof(b.inFlight), unsafe.Offsetof(b.requests)
	read := unsafe.Offsetof(b.weight) + unsafe.Sizeof(b.weight)
	if inFlight-read < line-8 || requests-inFlight < line || unsafe.Sizeof(b)-unsafe.Offsetof(b.latency)-unsafe.Sizeof(b.latency) < line {
		t.Errorf("read until %d, in flight at %d, counters from %d to %d of %d", read, inFlight, requests,
			unsafe.Offsetof(b.latency)+unsafe.Sizeof(b.latency), unsafe.Sizeof(b))
	}
}

func TestD23TriedForgetsNothingUpToItsSize(t *testing.T) {
	var tried Tried
	var all []*Backend
	for range MaxAttempts + 2 {
		b := newBackend("x", netip.AddrPort{})
		all = append(all, b)
		tried.Add(b)
		tried.Add(b)
	}
	for i, b := range all {
		if tried.Has(b) != (i < MaxAttempts) {
			t.Errorf("backend %d: %v", i, tried.Has(b))
		}
	}
	if tried.Len() != MaxAttempts {
		t.Errorf("noted are %d", tried.Len())
	}
	if tried.Reset(); tried.Len() != 0 || tried.Has(all[0]) {
		t.Error("Reset leaves something")
	}
}
