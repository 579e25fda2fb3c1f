package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"sereno/bench/capacity"
)

// TestO10BenchProgress writes over one line on a terminal, and a line for each window elsewhere.
func TestO10BenchProgress(t *testing.T) {
	sample := capacity.Progress{Sample: capacity.Sample{At: 1.5, Target: 1000, Answered: 999, Latency: capacity.Latency{P50: 1e-4, P99: 2e-3}}, Left: time.Second}
	window := capacity.Progress{Window: &capacity.Window{Target: 2000, Latency: capacity.Latency{P99: 3e-3}, Judgement: capacity.Broken, Why: "too slow"}}
	for _, live := range []bool{false, true} {
		var b bytes.Buffer
		p := newBenchProgress(&b, capacity.Plan{Shape: capacity.Ramp})
		if p.live {
			t.Error("a buffer is no terminal")
		}
		p.live = live
		p.tell(sample)
		p.tell(sample)
		p.tell(window)
		p.tell(sample)
		p.end()
		if n := strings.Count(b.String(), "\r") > 0; n != live || strings.Count(b.String(), "\n") != 1 {
			t.Errorf("live %v: %q", live, b.String())
		}
		if !strings.Contains(b.String(), "ramp         2000/s  p99 3ms       broken: too slow\n") || live && !strings.Contains(b.String(), "[######----] asked 1000/s  answered 999/s  lost 0/s  p50 100µs  p99 2ms") {
			t.Errorf("%q", b.String())
		}
		if live && !strings.HasSuffix(b.String(), " \r") {
			t.Errorf("the line stays: %q", b.String())
		}
	}
}
