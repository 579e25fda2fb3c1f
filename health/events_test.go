package health

import "testing"

// TestO30EventsThatNobodyHearsAreBounded: while the hearer hangs, the newest are lost and counted; what was kept is heard in
// order, once each.
func TestO30EventsThatNobodyHearsAreBounded(t *testing.T) {
	hangs, heard := make(chan struct{}), make(chan int, maxQueued+1)
	q := newQueue(func(v int) {
		<-hangs
		heard <- v
	})
	q.put(0)
	for empty := false; !empty; { // the first is at the hearer
		q.mu.Lock()
		empty = len(q.values) == 0
		q.mu.Unlock()
	}
	for v := range maxQueued + 100 {
		q.put(v + 1)
	}
	if lost := q.lostSoFar(); lost != 100 {
		t.Errorf("%d were lost", lost)
	}
	close(hangs)
	q.close()
	close(heard)
	next := 0
	for v := range heard {
		if v != next {
			t.Fatalf("%d after %d", v, next-1)
		}
		next++
	}
	if next != maxQueued+1 {
		t.Errorf("%d were heard", next)
	}
	q.put(0) // after the end nobody waits
}
