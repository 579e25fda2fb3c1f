package pool

import (
	"math"
	"math/rand/v2"
	"testing"
)

// batches gives a batch of requests at a time to the pool while inFlight of them are under way, which end in any order,
// and counts them by backend.
func (g *group) batches(requests, batch, inFlight int) map[string]int {
	got := map[string]int{}
	var held []*Backend
	for range requests / batch {
		run := NewRun(batch)
		for range batch {
			var tried Tried
			b := g.PickIn(&run, 0, &tried)
			got[b.Name()]++
			held = append(held, b)
		}
		rand.Shuffle(len(held), func(i, j int) { held[i], held[j] = held[j], held[i] })
		for len(held) > inFlight-batch {
			held[len(held)-1].Done()
			held = held[:len(held)-1]
		}
	}
	for _, b := range held {
		b.Done()
	}
	return got
}

func TestR33RunsFollowTheWeights(t *testing.T) {
	light := equals(64)
	for i := range light {
		light[i].weight = []int{1000, 1, 30, 500}[i%4]
	}
	for name, specs := range map[string][]spec{"equal": equals(64), "weighted": manyWeighted(64), "far apart": light} {
		for _, batch := range []int{8, 32, 64} {
			g := newGroup(t, "least-outstanding", specs...)
			const requests = 128_000 // of which 256 are under way: what the load of 64 backends is like
			got := g.batches(requests, batch, 256)
			shares := sharesOf(specs)
			for n, weight := range shares {
				want := requests * weight / total(specs)
				// A run is one draw; and least-outstanding prefers the light ones a little, in runs or not.
				slack := 0.15*want + 4*runLength*math.Sqrt(want/runLength) + runLength
				if weight < 100 && name == "far apart" {
					slack += 3 * want // of four that are drawn the idle one is taken, as without runs
				}
				if off := math.Abs(float64(got[n]) - want); off > slack {
					t.Errorf("%s, batches of %d: %s of weight %.0f got %d requests, not about %.0f", name, batch, n, weight, got[n], want)
				}
			}
		}
	}
}

// A backend in its slow start has shorter runs.
func TestA03RunsFollowASlowStart(t *testing.T) {
	g := newGroup(t, "least-outstanding", equals(32)...)
	g.down("b0")
	g.back("b0")
	share := g.health("b0").Share(g.now())
	if share > 0.2 {
		t.Fatalf("it has a share of %.2f already: the test shows nothing", share)
	}
	const requests = 64_000
	got := g.batches(requests, 64, 128)["b0"]
	if want := requests / 32 * 0.3; float64(got) > want || got == 0 {
		t.Errorf("with a share of %.2f it got %d requests of %d", share, got, requests)
	}
}

func TestD21ABatchGoesToFewBackends(t *testing.T) {
	g := newGroup(t, "least-outstanding", equals(64)...)
	backends := func(batch int) int {
		got := map[*Backend]bool{}
		run := NewRun(batch)
		for range batch {
			var tried Tried
			b := g.PickIn(&run, 0, &tried)
			got[b] = true
			defer b.Done()
		}
		return len(got)
	}
	if n := backends(64); n > 64/runLength {
		t.Errorf("64 requests that came together went to %d backends", n)
	}
	if n := backends(16); n < 2 || n > 4 {
		t.Errorf("16 requests that came together went to %d backends", n)
	}
}

// What is next in a small pool, or under another policy, is not changed by runs.
func TestR33OnlyLargePoolsOfLeastOutstandingGoInRuns(t *testing.T) {
	g := newGroup(t, "least-outstanding", equals(scanAll)...)
	g.batches(6400, 64, 64)
	run := NewRun(64)
	for i := range 8 * scanAll {
		g.PickIn(&run, 0, new(Tried))
		for _, b := range g.Backends() {
			if n := b.InFlight(); n > int64(i/scanAll+1) {
				t.Fatalf("after %d requests %s has %d", i+1, b.Name(), n)
			}
		}
	}
	g = newGroup(t, "round-robin", equals(64)...)
	run = NewRun(64)
	for i := range 64 {
		if b := g.PickIn(&run, 0, new(Tried)); b != g.Backends()[i] {
			t.Fatalf("round-robin gives %s for request %d", b.Name(), i)
		}
	}
	g = newGroup(t, "hash", equals(64)...)
	run = NewRun(64)
	for key := range uint64(64) {
		if got, want := g.PickIn(&run, key, new(Tried)), g.Pick(key, nil); got != want {
			t.Fatalf("hash gives %s for a key that is %s's", got.Name(), want.Name())
		}
	}
}

func TestD26RunsKeepToMaxInFlight(t *testing.T) {
	specs := equals(16)
	for i := range specs {
		specs[i].max = 3
	}
	g := newGroup(t, "least-outstanding", specs...)
	run := NewRun(64)
	for i := range 16 * 3 {
		var tried Tried
		b := g.PickIn(&run, 0, &tried)
		if b == nil {
			t.Fatalf("nobody is free for request %d of %d", i+1, 16*3)
		}
		if b.InFlight() > 3 {
			t.Fatalf("%s has %d in flight", b.Name(), b.InFlight())
		}
		if !tried.Has(b) {
			t.Fatal("what was picked is not in tried")
		}
	}
	if b := g.PickIn(&run, 0, new(Tried)); b != nil {
		t.Errorf("%s was picked, and all are full", b.Name())
	}
}

// Whoever is not up any more gets nothing more, in the middle of a batch too.
func TestD23ARunEndsWithItsBackend(t *testing.T) {
	for name, leave := range map[string]func(g *group, name string){"suspect": (*group).suspect, "down": (*group).down} {
		g := newGroup(t, "least-outstanding", equals(64)...)
		run := NewRun(64)
		b := g.PickIn(&run, 0, new(Tried))
		if run.left == 0 {
			t.Fatal("it began no run")
		}
		leave(g, b.Name())
		for range 63 {
			if g.PickIn(&run, 0, new(Tried)) == b {
				t.Fatalf("a backend was picked that is %s", name)
			}
		}
	}
}

// A backend on trial has its few requests at a time, and does have them.
func TestA04ABackendOnTrialBeginsNoRun(t *testing.T) {
	g := newGroup(t, "least-outstanding", equals(32)...)
	g.onTrial("b0")
	b := g.Backend("b0")
	got := 0
	for range 200 {
		var held []*Backend
		run := NewRun(64)
		for range 64 {
			held = append(held, g.PickIn(&run, 0, new(Tried)))
			if b.InFlight() > 2 {
				t.Fatalf("on trial it has %d in flight", b.InFlight())
			}
		}
		got += int(b.InFlight())
		for _, h := range held {
			h.Done()
		}
	}
	if got == 0 {
		t.Error("it was given nothing that could show what it does")
	}
}
