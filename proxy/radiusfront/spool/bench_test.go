package spool

import (
	"sync"
	"sync/atomic"
	"testing"
)

// BenchmarkR40Append is records stored and synced a second, with as many at
// once as the records of a busy second.
func BenchmarkR40Append(b *testing.B) {
	s := open(b, b.TempDir(), func(o *Options) { o.MaxBytes = 4 << 30 })
	room := make(chan struct{}, 512)
	var wg sync.WaitGroup
	var failed atomic.Int64
	b.ReportAllocs()
	for i := range b.N {
		room <- struct{}{}
		wg.Add(1)
		if err := s.Submit(record(uint64(i%1000), i), func(_ Ref, err error) {
			if err != nil {
				failed.Add(1)
			}
			<-room
			wg.Done()
		}); err != nil {
			b.Fatal(err)
		}
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
	if failed.Load() > 0 {
		b.Fatal(failed.Load())
	}
}

// BenchmarkR41Deliver is records read, delivered and noted a second.
func BenchmarkR41Deliver(b *testing.B) {
	s := open(b, b.TempDir(), func(o *Options) { o.MaxBytes = 4 << 30 })
	for at := 0; at < b.N; at += 10_000 {
		var batch []Record
		for i := at; i < min(b.N, at+10_000); i++ {
			batch = append(batch, record(uint64(i%1000), i))
		}
		mustAppend(b, s, batch...)
	}
	b.ReportAllocs()
	b.ResetTimer()
	n := 0
	for _, list := range drain(b, s) {
		n += len(list)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
	if n != b.N {
		b.Fatalf("%d of %d", n, b.N)
	}
}
