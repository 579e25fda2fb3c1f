package pool

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var weighted = []spec{{name: "a", weight: 1}, {name: "b", weight: 2}, {name: "c", weight: 5}, {name: "d", weight: 12}}

func sharesOf(specs []spec) map[string]float64 {
	out := map[string]float64{}
	for _, s := range specs {
		out[s.name] = float64(max(1, s.weight))
	}
	return out
}

func manyWeighted(n int) []spec {
	out := equals(n)
	for i := range out {
		out[i].weight = 1 + i%7
	}
	return out
}

func TestR33EachPolicyFollowsTheWeights(t *testing.T) {
	for _, balance := range []string{"least-outstanding", "round-robin", "random"} {
		for name, specs := range map[string][]spec{"equal": equals(3), "weighted": weighted, "many": manyWeighted(30)} {
			g := newGroup(t, balance, specs...)
			near(t, balance+" "+name, g.counts(100_000), sharesOf(specs))
			if len(specs) == 3 {
				g.suspect("b1")
				near(t, balance+" "+name+", one is suspect", g.counts(50_000), map[string]float64{"b0": 1, "b2": 1})
			}
		}
	}
}

// Hashing folds keys into slots; the shares of slots are as even as rendezvous
// hashing makes them, and keys spread evenly over slots.
func TestR33HashFollowsTheWeights(t *testing.T) {
	for name, specs := range map[string][]spec{"equal": equals(3), "weighted": weighted, "many": manyWeighted(30), "most": equals(64)} {
		g := newGroup(t, "hash", specs...)
		slotsOf := map[string]int{}
		tier := &g.snapshot.Load().tiers[tierUp]
		for slot := range uint64(slots) {
			slotsOf[tier.entries[tier.winner(slot)].name]++
		}
		near(t, "slots, "+name, slotsOf, sharesOf(specs))
		want := map[string]float64{}
		for n, c := range slotsOf {
			want[n] = float64(c)
		}
		near(t, "keys, "+name, g.counts(100_000), want)
	}
	// Keys that differ in few bits spread too.
	g := newGroup(t, "hash", equals(4)...)
	got := map[string]int{}
	for i := range uint64(100_000) {
		b := g.Pick(i, nil)
		got[b.Name()]++
		b.Done()
	}
	for name, n := range got {
		if n < 24_000 || n > 26_000 {
			t.Errorf("of keys in a row %s got %d of 100000", name, n)
		}
	}
}

func TestR33RoundRobinGoesAroundEvenly(t *testing.T) {
	sequence := func(specs ...spec) string {
		g := newGroup(t, "round-robin", specs...)
		var names []string
		for range 14 {
			b := g.Pick(0, nil)
			names = append(names, b.Name())
			b.Done()
		}
		return strings.Join(names, "")
	}
	if got := sequence(spec{name: "a"}, spec{name: "b"}, spec{name: "c"}); got != "abcabcabcabcab" {
		t.Errorf("equal weights go %s", got)
	}
	if got := sequence(spec{name: "a", weight: 500}, spec{name: "b", weight: 100}, spec{name: "c", weight: 100}); got != "aabcaaaaabcaaa" && got != "aaabcaaaaabcaa" {
		t.Errorf("5:1:1 goes %s", got)
	}
	// No stretch of a round has more than its share, by more than one.
	for _, specs := range [][]spec{weighted, manyWeighted(20), {{name: "a", weight: 1000}, {name: "b", weight: 999}, {name: "c", weight: 1}}} {
		g := newGroup(t, "round-robin", specs...)
		seq := g.snapshot.Load().tiers[tierUp].sequence
		counts := map[uint16]int{}
		for i, index := range seq {
			counts[index]++
			share := sharesOf(specs)[specs[index].name] / total(specs)
			if ahead := float64(counts[index]) - share*float64(i+1); ahead > 1.01 {
				t.Fatalf("after %d of the round %s is %.2f ahead", i+1, specs[index].name, ahead)
			}
		}
		for i, s := range specs {
			if want := float64(s.weight) / total(specs) * float64(len(seq)); float64(counts[uint16(i)]) < want-1 { //nolint:gosec // few
				t.Errorf("%s has %d places of %d, not %.1f", s.name, counts[uint16(i)], len(seq), want) //nolint:gosec // few
			}
		}
	}
}

func total(specs []spec) float64 {
	sum := 0.0
	for _, s := range specs {
		sum += float64(max(1, s.weight))
	}
	return sum
}

func TestR33HugeWeightsKeepTheSequenceShort(t *testing.T) {
	specs := equals(64)
	for i := range specs {
		specs[i].weight = 1000 - i
	}
	specs[63].weight = 1
	g := newGroup(t, "round-robin", specs...)
	seq := g.snapshot.Load().tiers[tierUp].sequence
	if len(seq) > sequenceLength+64 || !slices.Contains(seq, 63) {
		t.Errorf("the sequence has %d places; the light one is in it: %v", len(seq), slices.Contains(seq, 63))
	}
}

// The one with the fewest outstanding for its weight is picked, exactly in small
// pools; in large ones it comes close.
func TestD25LeastOutstandingFillsByWeight(t *testing.T) {
	for _, n := range []int{4, 40} {
		specs := weighted
		if n > 4 {
			specs = manyWeighted(n)
		}
		g := newGroup(t, "least-outstanding", specs...)
		each := 20
		held := make([]*Backend, 0, each*int(total(specs)))
		for range each * int(total(specs)) {
			held = append(held, g.Pick(0, nil))
		}
		for i, b := range g.Backends() {
			want := int64(each * max(1, specs[i].weight))
			slack := int64(1)
			if n > 4 {
				slack = want/3 + 3
			}
			if off := b.InFlight() - want; off > slack || off < -slack {
				t.Errorf("%d backends: %s of weight %d has %d outstanding, not about %d", n, b.Name(), b.Weight(), b.InFlight(), want)
			}
		}
		for _, b := range held {
			b.Done()
		}
	}
	g := newGroup(t, "least-outstanding", equals(3)...)
	busy := g.Pick(0, nil)
	for range 1000 {
		b := g.Pick(0, nil)
		if b == busy {
			t.Fatal("picked was the one that is busy while others are idle")
		}
		b.Done()
	}
}

// A backend that fails at once is the idlest of all; that must not draw traffic.
func TestD25FailingFastDrawsNoTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, "least-outstanding", equals(2)...)
		load := func(penalize bool) float64 {
			failing := g.Backend("b0")
			picked, all := 0, 0
			var held []*Backend
			for range 3000 {
				b := g.Pick(0, nil)
				all++
				if b == failing { // it answers SERVFAIL at once
					picked++
					b.Done()
					if penalize {
						b.Penalize(time.Now())
					}
				} else { // and the other takes 20 ms
					held = append(held, b)
				}
				if len(held) > 20 {
					held[0].Done()
					held = held[1:]
				}
				time.Sleep(time.Millisecond)
			}
			for _, b := range held {
				b.Done()
			}
			return float64(picked) / float64(all)
		}
		if share := load(false); share < 0.9 {
			t.Fatalf("without penalties the failing one gets %.2f: the test shows nothing", share)
		}
		if share := load(true); share > 0.1 {
			t.Errorf("with penalties the failing one still gets %.2f", share)
		}
	})
}

func TestD25APenaltyCountsForOneSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackend("a", netip.AddrPort{})
		for i := range 200 {
			time.Sleep(time.Duration(rand.IntN(40)) * time.Millisecond)
			if i == 100 {
				time.Sleep(time.Hour)
			}
			start := time.Now()
			before := b.penalty.count()
			b.Penalize(start)
			if got := b.penalty.count(); got != before+1 {
				t.Fatalf("a penalty made %d of %d", got, before)
			}
			if i%20 != 0 {
				continue
			}
			time.Sleep(time.Second - time.Nanosecond)
			if b.penalty.count() == 0 {
				t.Fatalf("the penalty is gone after %v", time.Since(start))
			}
			time.Sleep(penaltySlice + time.Nanosecond)
			if got := b.penalty.count(); got != 0 {
				t.Fatalf("after %v there are %d penalties", time.Since(start), got)
			}
		}
		// One with an older clock is late, not lost.
		before := b.penalty.count()
		b.Penalize(time.Now().Add(-10 * time.Millisecond))
		if b.penalty.count() != before+1 {
			t.Error("a penalty of a moment ago is lost")
		}
	})
}

func TestA03SlowStartScalesTheWeightUnderEachPolicy(t *testing.T) {
	for _, balance := range allPolicies {
		synctest.Test(t, func(t *testing.T) {
			specs := []spec{{name: "a", weight: 3}, {name: "b", weight: 1}, {name: "c", weight: 2}}
			g := newGroup(t, balance, specs...)
			g.down("a")
			g.back("a")
			near := func(what string, share float64) {
				t.Helper()
				// Health tells of the growing share; here it is asked for.
				g.healthChanged(false)
				n := 40_000
				got := float64(g.counts(n)["a"]) / float64(n)
				want := 3 * share / (3*share + 3)
				if balance == "ordered" {
					want = share // of all: it stands first
				}
				if got < want*0.8-0.01 || got > want*1.2+0.01 {
					t.Errorf("%s, %s: the share is %.3f, not about %.3f", balance, what, got, want)
				}
			}
			near("at first", 0.01)
			time.Sleep(3 * time.Second)
			near("after 3 s", 0.3)
			time.Sleep(4 * time.Second)
			near("after 7 s", 0.7)
			time.Sleep(3 * time.Second)
			near("after 10 s", 1)
		})
	}
	// When all come back at once they serve everything.
	synctest.Test(t, func(t *testing.T) {
		for _, balance := range allPolicies {
			g := newGroup(t, balance, equals(2)...)
			g.down("b0")
			g.down("b1")
			g.back("b0")
			g.back("b1")
			if got := g.counts(1000); got[""] > 0 || balance != "ordered" && (got["b0"] < 300 || got["b1"] < 300) {
				t.Errorf("%s: %v", balance, got)
			}
		}
	})
}

func TestA03ARecoveringBackendGetsItsShareUnderLoadToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, "least-outstanding", equals(2)...)
		g.down("b0")
		g.back("b0")
		time.Sleep(time.Second) // a tenth
		g.healthChanged(false)
		picked := 0
		var held []*Backend
		for range 20_000 { // the other always has some outstanding, b0 answers at once
			b := g.Pick(0, nil)
			if b.Name() == "b0" {
				picked++
				b.Done()
				continue
			}
			if held = append(held, b); len(held) > 30 {
				held[0].Done()
				held = held[1:]
			}
		}
		if picked < 1000 || picked > 4000 {
			t.Errorf("the idle backend in slow start got %d of 20000", picked)
		}
	})
}

func TestR33OrderedTakesTheFirst(t *testing.T) {
	g := newGroup(t, "ordered", spec{name: "c"}, spec{name: "a"}, spec{name: "b", weight: 1000})
	g.only("all are up", "c")
	g.suspect("c")
	g.only("the first is suspect", "a")
}

func TestA05UnknownPolicyIsAnError(t *testing.T) {
	for _, balance := range []string{"", "fastest"} {
		if _, err := New(testConfig(balance), "dns", nil); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", balance)) {
			t.Errorf("%q: %v", balance, err)
		}
	}
}
