package health

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Everybody at once, for the race detector and the invariants of a verdict.
func TestA04ReportsFromManyGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var d diary
		m, backends := watch(t, w, Options{OnEvent: d.note}, dnsTarget("a"), dnsTarget("b"))
		var reporting sync.WaitGroup
		for i := range 8 {
			reporting.Go(func() {
				for range 500 {
					for _, b := range backends {
						switch i % 4 {
						case 0:
							b.Replied()
						case 1:
							b.Silent()
						case 2:
							_ = b.Share(time.Now())
							_ = b.Status()
							_ = m.Role("resolvers", "dns", time.Time{})
						case 3:
							stop := b.Watch(func(bool) { _ = b.State() })
							b.Unreachable(errors.New("no route"))
							stop()
						}
					}
					time.Sleep(7 * time.Millisecond)
				}
			})
		}
		reporting.Wait()
		m.Close()
		at := map[Key]State{}
		for _, e := range d.read() {
			if e.From != at[e.Key] {
				t.Fatalf("%+v follows %v", e, at[e.Key])
			}
			at[e.Key] = e.To
		}
	})
}

func TestA03WatchersHearOfTheGrowingShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		m, backends := watch(t, w, Options{}, dnsTarget("a"))
		defer m.Close()
		b := backends[dnsTarget("a").Key]
		w.set("a", "refused")
		time.Sleep(5 * time.Second)
		w.set("a", "")
		var shares []float64
		stop := b.Watch(func(changed bool) {
			if !changed {
				shares = append(shares, b.Share(time.Now()))
			}
		})
		time.Sleep(20 * time.Second)
		synctest.Wait()
		stop()
		if n := len(shares); n < 30 || n > 51 {
			t.Fatalf("told %d times in a slow start of 10 s", n)
		}
		for i := range len(shares) - 1 {
			if shares[i+1] < shares[i] || shares[i+1]-shares[i] > 0.03 {
				t.Fatalf("the share goes from %v to %v", shares[i], shares[i+1])
			}
		}
		if shares[len(shares)-1] != 1 {
			t.Errorf("told last was a share of %v", shares[len(shares)-1])
		}
	})
}

func BenchmarkReplied(b *testing.B) {
	backend := NewBackend(dnsTarget("a"), time.Now)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			backend.Replied()
		}
	})
}
