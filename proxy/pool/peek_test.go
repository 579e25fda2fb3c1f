package pool

import (
	"slices"
	"testing"
)

func TestO13PeekSaysWhatPickDoesAndCountsNothing(t *testing.T) {
	for _, policy := range []string{"hash", "ordered"} {
		for _, n := range []int{1, 3, 9} {
			specs := equals(n)
			specs[n-1].max = 1
			g := newGroup(t, policy, specs...)
			if n > 2 {
				g.down(specs[1].name)
			}
			full := g.Backend(specs[n-1].name)
			if !full.Take() {
				t.Fatal("no slot")
			}
			before := requests(g.Pool)
			for key := range uint64(500) {
				want := g.Peek(key, 4)
				if requests(g.Pool) != before {
					t.Fatal("it counts")
				}
				var tried Tried
				var got []*Backend
				for len(got) < 4 {
					b := g.Pick(key, &tried)
					if b == nil {
						break
					}
					got = append(got, b)
					before++
				}
				for _, b := range got {
					b.Done()
				}
				if !slices.Equal(got, want) {
					t.Fatalf("%s of %d, key %d: picks %v, peeks %v", policy, n, key, names(got), names(want))
				}
			}
			full.Done()
		}
	}
	for _, policy := range []string{"least-outstanding", "round-robin", "random"} {
		if got := newGroup(t, policy, equals(2)...).Peek(1, 3); got != nil {
			t.Errorf("%s: foretells %v", policy, names(got))
		}
	}
}

func requests(p *Pool) (n uint64) {
	for _, b := range p.Backends() {
		n += b.Counters().Requests
	}
	return n
}

func names(list []*Backend) (out []string) {
	for _, b := range list {
		out = append(out, b.Name())
	}
	return out
}
