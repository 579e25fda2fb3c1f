package insight

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

func TestO24WhatIsAskedOftenIsNotMissedInAFloodOfOneTimeKeys(t *testing.T) {
	top := NewTop(1)
	rng := rand.New(rand.NewPCG(1, 2))
	exact := map[string]uint64{}
	for i := range 200_000 {
		key := fmt.Sprintf("flood-%d", i)
		if rng.IntN(10) == 0 { // a tenth is twenty names, one of them more than the next
			key = fmt.Sprintf("often-%d", int(20*rng.Float64()*rng.Float64()))
		}
		exact[key]++
		y := top.Of(i % 4) // four workers
		y.Requests++
		y.Count(0, []byte(key), 1)
	}
	requests, lists := top.Read(5)
	if requests != 200_000 || len(lists[0]) != 5 {
		t.Fatalf("%d requests, %v", requests, lists)
	}
	for i, r := range lists[0] {
		if want := fmt.Sprintf("often-%d", i); r.Key != want {
			t.Errorf("number %d is %s, not %s", i, r.Key, want)
		}
		if n := exact[r.Key]; n > r.Count || n < r.Count-r.Over {
			t.Errorf("%s came %d times, not %d to %d", r.Key, n, r.Count-r.Over, r.Count)
		}
	}
}

func TestO24CountingAllocatesNothingAndStaysWithinItsSize(t *testing.T) {
	y := NewTop(2).Of("worker")
	key := []byte("www.example.com.")
	i := 0
	if n := testing.AllocsPerRun(10_000, func() {
		key[0] = byte(i)
		key[1] = byte(i >> 8)
		i++
		y.Count(0, key, 1)
		y.Count(1, make([]byte, 300), 1) // longer than any key
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestO24AStrideCountsEveryRequestOnce(t *testing.T) {
	for batch := 1; batch <= 1024; batch++ {
		step, counted := Stride(batch), 0
		for at := 0; at < batch; at += step {
			counted++
		}
		if counted > topSample || step*counted < batch || step*(counted-1) >= batch {
			t.Errorf("a batch of %d: %d counted, each for %d", batch, counted, step)
		}
	}
}

func TestO24ASlowReaderLosesLinesThatAreCounted(t *testing.T) {
	var l Lenses[string]
	if l.Load() != nil {
		t.Fatal("somebody looks")
	}
	a, b := NewTrace(), NewTrace()
	stopA, stopB := l.Follow("a", a), l.Follow("b", b)
	r := l.Request(l.Load(), "svc", func(f *string) bool { return *f == "a" })
	if l.Request(l.Load(), "svc", func(*string) bool { return false }) != nil {
		t.Error("a request that nobody follows")
	}
	const n = 3 * traceQueue
	for i := range n {
		r.Say("step", "%d", i)
	}
	got := uint64(len(a.Steps()))
	if got == 0 || got > traceQueue || len(b.Steps()) != 0 || got+a.TakeLost() != n || a.TakeLost() != 0 {
		t.Errorf("%d lines, %d of the other", got, len(b.Steps()))
	}
	if first := <-a.Steps(); first.Service != "svc" || first.Request != 1 || first.Name != "step" || first.Text != "0" || first.After < 0 || time.Since(first.At) > time.Minute {
		t.Errorf("%+v", first)
	}
	stopA()
	if l.Load() == nil || len(l.Load().Traces) != 1 {
		t.Error("the other is gone too")
	}
	stopB()
	stopB()
	if l.Load() != nil {
		t.Error("somebody looks still")
	}
	var none *Request
	none.Say("x", "nobody")
}

func TestO24ATraceIsBoundedInRate(t *testing.T) {
	tr := NewTrace()
	for second := range int64(3) {
		for range 2 * traceRate {
			tr.put(Step{At: time.Unix(1000+second, 0)})
		}
		if n := len(tr.steps); n != traceRate {
			t.Errorf("%d lines in a second", n)
		}
		for len(tr.steps) > 0 {
			<-tr.steps
		}
	}
	if n := tr.TakeLost(); n != 3*traceRate {
		t.Errorf("%d lost", n)
	}
}

func BenchmarkTopCount(b *testing.B) {
	y := NewTop(1).Of("worker")
	keys := make([][]byte, 4096)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "host-%d.example.com.", i)
	}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		y.Count(0, keys[i%len(keys)], 1)
	}
}
