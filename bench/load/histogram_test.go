package load

import (
	"strings"
	"testing"
	"time"
)

// TestHistogramIsWithinThreePerCent adds known durations and asks for their quantiles.
func TestHistogramIsWithinThreePerCent(t *testing.T) {
	var h Histogram
	for i := 1; i <= 1000; i++ {
		h.Add(time.Duration(i) * time.Millisecond)
	}
	for q, want := range map[float64]time.Duration{0.5: 500 * time.Millisecond, 0.99: 990 * time.Millisecond, 1: time.Second, 0: time.Millisecond} {
		if got := h.Quantile(q); got < want || got > want+want/30 {
			t.Errorf("quantile %g: %s instead of %s", q, got, want)
		}
	}
	if h.Max() != time.Second || h.Count() != 1000 {
		t.Errorf("max %s, count %d", h.Max(), h.Count())
	}
}

func TestHistogramBucketsMeet(t *testing.T) {
	var before int
	for us := range 10_000_000 / 97 {
		d := time.Duration(us*97) * time.Microsecond
		i := bucket(d)
		if i < before || upper(i) <= d || i > 0 && upper(i-1) > d {
			t.Fatalf("%s is in bucket %d, which ends at %s", d, i, upper(i))
		}
		before = i
	}
	var h Histogram
	h.Add(-time.Second)
	h.Add(1000 * time.Hour)
	if h.Quantile(1) != 1000*time.Hour || h.Quantile(0.5) > 2*time.Microsecond {
		t.Errorf("extremes: %s, %s", h.Quantile(0.5), h.Quantile(1))
	}
}

func TestBooksSinceIsOnePhase(t *testing.T) {
	var b Books
	b.Sent, b.Answered, b.Elapsed = 10, 10, time.Second
	b.Latency.Add(time.Second)
	before := b
	b.Sent, b.Answered, b.Resent, b.Elapsed = 15, 13, 1, 3*time.Second
	b.Latency.Add(20 * time.Millisecond)
	d := b.Since(&before)
	if d.Sent != 5 || d.Answered != 3 || d.Resent != 1 || d.Elapsed != 2*time.Second || d.Latency.Count() != 1 {
		t.Errorf("%s in %s", &d, d.Elapsed)
	}
	if m := d.Latency.Max(); m < 20*time.Millisecond || m > 21*time.Millisecond {
		t.Errorf("the phase's slowest took %s", m)
	}
}

func TestBooksTableFitsTheTerminal(t *testing.T) {
	b := Books{Sent: 1_000_000, Answered: 999_990, Wrong: 4, Lost: 6, Elapsed: 10 * time.Second}
	b.Fates[WrongSignature] = 4
	b.Latency.Add(1234567 * time.Nanosecond)
	var out strings.Builder
	if err := b.Table(&out); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if len(line) > 81 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
	for _, want := range []string{"sent         1000000  in 10s (100000/s)", "         4  wrong authenticator", "max 1.23ms"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, &out)
		}
	}
}
