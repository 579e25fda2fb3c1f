package pool

import (
	"cmp"
	"slices"
)

// sequenceLength bounds a sequence. Weights that need more are scaled down, each
// to at least one place.
const sequenceLength = 4096

// newSequence is the order in which round-robin goes around: each backend as
// often as its weight, as evenly spread as can be (5:1:1 gives a a b a c a a, not
// a a a a a b c).
func newSequence(entries []entry) []uint16 {
	if len(entries) == 0 {
		return nil
	}
	divisor, total := int64(0), int64(0)
	for i := range entries {
		divisor = gcd(entries[i].weight, divisor)
	}
	weights := make([]int64, len(entries))
	for i := range entries {
		weights[i] = entries[i].weight / divisor
		total += weights[i]
	}
	if total > sequenceLength {
		for i := range weights {
			weights[i] = max(1, weights[i]*sequenceLength/total)
		}
	}
	type place struct {
		at    float64 // of the whole round
		index uint16
	}
	var places []place
	for i, w := range weights {
		for k := range w {
			places = append(places, place{(float64(k) + 0.5) / float64(w), uint16(i)}) //nolint:gosec // few backends
		}
	}
	slices.SortStableFunc(places, func(a, b place) int { return cmp.Compare(a.at, b.at) })
	out := make([]uint16, len(places))
	for i, p := range places {
		out[i] = p.index
	}
	return out
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
