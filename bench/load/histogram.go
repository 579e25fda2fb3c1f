package load

import (
	"math/bits"
	"time"
)

// subBits sets the histogram's precision: buckets are at most 1/32 of their value wide.
const subBits = 5

// Histogram counts durations from 1 µs to about 70 minutes in buckets that are
// at most 3 % wide; shorter and longer ones go to the first and last. The zero
// value is empty. It is a value: a copy is a snapshot.
type Histogram struct {
	counts [28 << subBits]uint64
	total  uint64
	max    time.Duration
}

// Add counts one duration.
func (h *Histogram) Add(d time.Duration) {
	h.counts[bucket(d)]++
	h.total++
	h.max = max(h.max, d)
}

// Merge counts all that o has counted.
func (h *Histogram) Merge(o *Histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.total += o.total
	h.max = max(h.max, o.max)
}

// Count is how many durations were added.
func (h *Histogram) Count() uint64 { return h.total }

// Max is the longest one, exactly.
func (h *Histogram) Max() time.Duration { return h.max }

// Quantile gives the duration below which the share q (0..1) of them lies, rounded up to the bucket's end; 0 when
// nothing was counted.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	want := max(uint64(q*float64(h.total)+0.5), 1)
	seen := uint64(0)
	for i, n := range h.counts {
		seen += n
		if seen >= want {
			if i == len(h.counts)-1 {
				return h.max
			}
			return min(upper(i), h.max)
		}
	}
	return h.max
}

// bucket is the index for d: values below 32 µs have one each, then every power of two has 32.
func bucket(d time.Duration) int {
	us := uint64(max(d.Microseconds(), 0))
	if us < 1<<subBits {
		return int(us)
	}
	shift := bits.Len64(us) - subBits - 1
	i := (shift+1)<<subBits + int(us>>shift) - 1<<subBits
	return min(i, 28<<subBits-1)
}

// upper is the first duration above bucket i.
func upper(i int) time.Duration {
	if i < 1<<subBits {
		return time.Duration(i+1) * time.Microsecond
	}
	shift := i>>subBits - 1
	return time.Duration(uint64(i&(1<<subBits-1)+1<<subBits+1)<<shift) * time.Microsecond
}

// Since gives what was added after before was taken, a copy of the same histogram. Its Max is the end of the highest
// bucket, so it is up to 3 % too high.
func (h *Histogram) Since(before *Histogram) Histogram {
	var d Histogram
	for i := range h.counts {
		if d.counts[i] = h.counts[i] - before.counts[i]; d.counts[i] > 0 {
			d.max = min(upper(i), h.max)
		}
	}
	d.total = h.total - before.total
	return d
}
