//go:build !race

package pool

import (
	"testing"
	"time"
)

func TestA05PickAllocatesNothing(t *testing.T) {
	for _, balance := range allPolicies {
		for _, n := range []int{1, 2, 64} {
			g := newGroup(t, balance, equals(n)...)
			g.Backends()[0].Penalize(time.Now())
			key := uint64(0)
			if allocs := testing.AllocsPerRun(5000, func() {
				key++
				g.Request()
				var tried Tried
				run := NewRun(64)
				a := g.PickIn(&run, mix(key), &tried)
				g.PickIn(&run, mix(key), new(Tried)).Done()
				if b := g.Pick(mix(key), &tried); b != nil {
					g.TryRetry()
					b.Observe(time.Millisecond)
					b.Health().Replied()
					b.Done()
				}
				a.Fail(Timeout)
				a.Done()
			}); allocs != 0 {
				t.Errorf("%s with %d backends: %v allocations a request", balance, n, allocs)
			}
		}
	}
}
