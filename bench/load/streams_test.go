package load

import "testing"

// TestSourcePortsAreNotUsedAgainForLong: each port of the range once, before one comes again.
func TestSourcePortsAreNotUsedAgainForLong(t *testing.T) {
	s := &streams{from: ports - 3}
	seen := map[int]bool{}
	for range ports {
		p := s.nextPort()
		if p < firstPort || p >= firstPort+ports || seen[p] {
			t.Fatalf("port %d, after %d others", p, len(seen))
		}
		seen[p] = true
	}
	if !seen[s.nextPort()] {
		t.Error("none comes again")
	}
}
