package radiusfront

import (
	"fmt"
	"hash/maphash"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkR60SurvivorsLock is the longest time that a login waits for the lock while everything is written anew, and
// while everything is looked at for its age, with as many users as are known at most.
func BenchmarkR60SurvivorsLock(b *testing.B) {
	seed := maphash.MakeSeed()
	base := time.Now()
	s := newSurvivors(func(v []byte) uint64 { return maphash.Bytes(seed, v) }, base)
	s.secret = make([]byte, survivalKeyLen)
	for i := range maxSurvivors {
		user := []byte(fmt.Sprintf("user-%d@example.net", i))
		s.learn(&login{key: s.key("main", user), user: user}, make([]byte, 120), base)
	}
	for name, run := range map[string]func(){
		"rewrite": func() { s.changes(true, base) },
		"prune":   func() { s.prune(base, int64(time.Hour)) },
	} {
		b.Run(name, func(b *testing.B) {
			var over atomic.Bool
			longest := make(chan time.Duration)
			go func() {
				var most time.Duration
				for !over.Load() {
					began := time.Now()
					s.mu.Lock()
					most = max(most, time.Since(began))
					s.mu.Unlock()
					time.Sleep(100 * time.Microsecond) // the time between two logins; nothing is proven by it
				}
				longest <- most
			}()
			for b.Loop() {
				run()
			}
			over.Store(true)
			b.ReportMetric(float64((<-longest).Microseconds()), "µs-longest")
		})
	}
}
