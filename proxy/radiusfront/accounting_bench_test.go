package radiusfront

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkR40R41StoreThenDeliver is accounting records acknowledged a second
// while every backend is down, by 128 NASes that wait for each answer, and
// delivered a second when one is back, while 16 NASes go on with records of
// other sessions, which the backend answers live.
func BenchmarkR40R41StoreThenDeliver(b *testing.B) {
	backend := newServer(b, silent)
	f := newFront(b, withSpool(b.TempDir(), setup{backends: []*server{backend}, workers: 2, options: func(o *Options) { o.Now = time.Now }}))
	f.setDown("b0", "acct")
	var wg sync.WaitGroup
	const nases = 128
	b.ResetTimer()
	for n := range nases {
		nas := newNAS(b, f.acctAddr())
		wg.Go(func() {
			for i := n; i < b.N; i += nases {
				nas.send(acctOf(byte(i/nases), fmt.Sprint(i%5000), acctInterim))
				nas.receive()
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "stored/s")
	if st := f.balanced(); st.Spool.Stored != uint64(b.N) {
		b.Fatalf("%d of %d stored", st.Spool.Stored, b.N)
	}
	backend.setAnswer(accept)
	f.setUp("b0", "acct")
	var stop atomic.Bool
	var live atomic.Int64
	for n := range 16 {
		nas := newNAS(b, f.acctAddr())
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				nas.exchange(acctOf(byte(i), fmt.Sprintf("live-%d-%d", n, i), acctStart))
				live.Add(1)
			}
		})
	}
	began := time.Now()
	deadline := began.Add(time.Minute)
	for st := f.s.Stats().Spool; st.Records > 0; st = f.s.Stats().Spool {
		if time.Now().After(deadline) {
			b.Fatalf("%+v", st)
		}
		time.Sleep(time.Millisecond) // polls; no timing is proven by it
	}
	took := time.Since(began).Seconds()
	b.ReportMetric(float64(b.N)/took, "delivered/s")
	b.ReportMetric(float64(live.Load())/took, "live/s")
	stop.Store(true)
	wg.Wait()
	b.ReportMetric(float64(f.s.Stats().Spool.ResentInAll()), "resent")
}
