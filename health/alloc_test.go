//go:build !race

package health

import (
	"testing"
	"time"
)

// What the fronts call for every request.
func TestA04ReportsAllocateNothing(t *testing.T) {
	b := NewBackend(dnsTarget("a"), time.Now)
	var state State
	var share float64
	if n := testing.AllocsPerRun(1000, func() {
		b.Replied()
		state, share = b.State(), b.Share(time.Time{})
	}); n != 0 {
		t.Errorf("a reply allocates %v times", n)
	}
	if state != Starting || share != 1 {
		t.Errorf("%v with a share of %v", state, share)
	}
}
