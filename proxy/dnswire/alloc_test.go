//go:build !race

package dnswire

import "testing"

func TestNothingOnTheWayAllocates(t *testing.T) {
	for _, s := range stages(t) {
		if n := testing.AllocsPerRun(100, s.run); n != 0 {
			t.Errorf("%s: %v allocations", s.name, n)
		}
	}
}
