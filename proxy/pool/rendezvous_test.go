package pool

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// where maps keys to names, giving each slot back.
func (g *group) where(keys int) []string {
	out := make([]string, keys)
	for i := range out {
		if b := g.Pick(uint64(i)<<40|uint64(i), nil); b != nil {
			out[i] = b.Name()
			b.Done()
		}
	}
	return out
}

func TestR33ABackendThatLeavesMovesOnlyItsOwnShare(t *testing.T) {
	for _, n := range []int{2, 3, 5, 30} { // scored each time, and remembered
		g := newGroup(t, "hash", manyWeighted(n)...)
		before := g.where(20_000)
		g.suspect("b1")
		after := g.where(20_000)
		moved := map[string]int{}
		for i := range before {
			switch {
			case before[i] == "b1" && after[i] == "b1":
				t.Fatalf("%d: a suspect backend is still used", n)
			case before[i] != "b1" && before[i] != after[i]:
				t.Fatalf("%d: a key moved from %s to %s, though b1 left", n, before[i], after[i])
			case before[i] == "b1":
				moved[after[i]]++
			}
		}
		// Its share is spread over the others by weight.
		want := sharesOf(manyWeighted(n))
		delete(want, "b1")
		near(t, fmt.Sprint(n, " backends, moved"), moved, want)
		g.good("b1") // no slow start after a suspicion
		g.health("b1").Replied()
		if !slices.Equal(before, g.where(20_000)) {
			t.Errorf("%d: after its return keys are elsewhere", n)
		}
	}
}

func TestR33AReloadMovesOnlyWhatItMust(t *testing.T) {
	g := newGroup(t, "hash", equals(6)...)
	before := g.where(20_000)
	// Another order, and one backend more.
	members := slices.Clone(g.members)
	slices.Reverse(members)
	if err := g.Update(g.config, members); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(before, g.where(20_000)) {
		t.Fatal("the order of the configuration decides")
	}
	extra := members[0]
	extra.Config.Name, extra.Health = "new", nil
	if err := g.Update(g.config, append(members, extra)); err != nil {
		t.Fatal(err)
	}
	for i, now := range g.where(20_000) {
		if now != before[i] && now != "new" {
			t.Fatalf("a key moved from %s to %s, though only a backend was added", before[i], now)
		}
	}
}

// The map from keys to backends is a contract between nodes, and between versions
// of the program while a site is being upgraded: it may not change.
func TestR33TheSameKeyTheSameBackendOnEveryNode(t *testing.T) {
	for _, c := range []struct {
		n    int
		want uint64
	}{{3, 0xa6776d370a612d3d}, {20, 0xd98d6b63c98900f}} {
		g := newGroup(t, "hash", manyWeighted(c.n)...)
		h := fnv.New64a()
		for _, name := range g.where(5000) {
			_, _ = h.Write([]byte(name + " "))
		}
		if got := h.Sum64(); got != c.want {
			t.Errorf("%d backends: the map's digest is %#x, not %#x", c.n, got, c.want)
		}
	}
	a, b := newGroup(t, "hash", equals(9)...), newGroup(t, "hash", equals(9)...)
	if !slices.Equal(a.where(5000), b.where(5000)) {
		t.Error("two nodes differ")
	}
	// Two pools one behind the other must not split keys alike: all of a backend's
	// keys would meet at one backend of the second.
	b.config.Name = "another"
	if err := b.Update(b.config, b.members); err != nil {
		t.Fatal(err)
	}
	same := 0
	first, second := a.where(9000), b.where(9000)
	for i := range first {
		if first[i] == second[i] {
			same++
		}
	}
	if same < 800 || same > 1200 {
		t.Errorf("of 9000 keys %d are at the same name in another pool, not about 1000", same)
	}
}

func TestR33SmallAndLargePoolsAgree(t *testing.T) {
	large := newGroup(t, "hash", equals(30)...)
	for i := 3; i < 30; i++ {
		large.suspect(fmt.Sprint("b", i))
	}
	small := newGroup(t, "hash", equals(3)...)
	if large.snapshot.Load().tiers[tierUp].rendezvous != nil {
		t.Fatal("three backends are not scored each time")
	}
	if !slices.Equal(small.where(5000), large.where(5000)) {
		t.Error("the same three backends share keys in another way")
	}
}

func TestR33ARetryGoesWhereTheKeyWouldGoWithoutTheFirst(t *testing.T) {
	for _, n := range []int{3, 12} {
		g := newGroup(t, "hash", equals(n)...)
		for key := range uint64(200) {
			key <<= 50
			var tried Tried
			first := g.Pick(key, &tried)
			first.Done()
			second := g.Pick(key, &tried)
			second.Done()
			g.suspect(first.Name())
			without := g.Pick(key, nil)
			without.Done()
			if without != second {
				t.Fatalf("%d: the retry went to %s, but without %s the key is at %s", n, second.Name(), first.Name(), without.Name())
			}
			g.good(first.Name())
			first.Health().Replied() // or it would be one that answers probes alone
		}
	}
}

func TestR33SlowStartTakesKeysLittleByLittleAndNeverGivesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, "hash", equals(6)...)
		full := g.where(20_000)
		g.down("b0")
		last := g.where(20_000)
		g.back("b0")
		had := 0
		for range 10 {
			time.Sleep(time.Second)
			g.healthChanged(false)
			now := g.where(20_000)
			has := 0
			for i := range now {
				if now[i] != last[i] && now[i] != "b0" {
					t.Fatalf("a key moved from %s to %s", last[i], now[i])
				}
				if now[i] == "b0" {
					has++
				}
			}
			if has <= had {
				t.Errorf("its keys went from %d to %d", had, has)
			}
			last, had = now, has
		}
		if !slices.Equal(last, full) {
			t.Error("after the slow start keys are not where they were")
		}
	})
}

// The score's draw is even, and never 0; the short cut never cuts off a winner.
func TestR33ScoresAreSound(t *testing.T) {
	e := entry{seed: seedOf("p", "b"), scaled: 3}
	sum := 0.0
	for range 100_000 {
		slot := rand.Uint64()
		s, ok := e.beats(slot, math.Inf(1))
		if !ok || s <= 0 || math.IsInf(s, 0) || math.IsNaN(s) {
			t.Fatalf("a score is %v, %v", s, ok)
		}
		sum += s
		least := rand.ExpFloat64() / 3
		if got, ok := e.beats(slot, least); ok != (s < least) || ok && got != s {
			t.Fatalf("the score %v against %v is %v, %v", s, least, got, ok)
		}
	}
	if mean := 3 * sum / 100_000; mean < 0.97 || mean > 1.03 { // of an exponential distribution
		t.Errorf("the mean score is %v thirds, not 1", mean)
	}
}
