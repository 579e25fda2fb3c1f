package radiusfront

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// BenchmarkR40R41StoreThenDeliver is accounting records acknowledged a second
// while every backend is down, by 128 NASes that wait for each answer, and
// delivered a second when one is back.
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
	began := time.Now()
	deadline := began.Add(time.Minute)
	for st := f.s.Stats().Spool; st.Records > 0; st = f.s.Stats().Spool {
		if time.Now().After(deadline) {
			b.Fatalf("%+v", st)
		}
		time.Sleep(time.Millisecond) // polls; no timing is proven by it
	}
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "delivered/s")
	b.ReportMetric(float64(f.s.Stats().Spool.ResentInAll()), "resent")
}
