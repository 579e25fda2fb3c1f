package load

import "math"

// zipf picks ranks whose popularity falls with an exponent of them, in constant time: Vose's alias method. Rank i is
// asked with a probability that is proportional to (i+1)^-exponent.
type zipf struct {
	keep  []uint32 // of 2^32: how often column i is itself
	alias []uint32 // and what it is otherwise
}

func newZipf(n int, exponent float64) *zipf {
	z := &zipf{keep: make([]uint32, n), alias: make([]uint32, n)}
	weight, sum := make([]float64, n), 0.0
	for i := range weight {
		weight[i] = math.Pow(float64(i+1), -exponent)
		sum += weight[i]
	}
	var small, large []uint32
	for i := range weight {
		weight[i] *= float64(n) / sum
		if weight[i] < 1 {
			small = append(small, uint32(i))
		} else {
			large = append(large, uint32(i))
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		z.keep[s], z.alias[s] = uint32(weight[s]*(1<<32-1)), l
		if weight[l] += weight[s] - 1; weight[l] < 1 {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	for _, left := range [2][]uint32{small, large} {
		for _, i := range left {
			z.keep[i], z.alias[i] = math.MaxUint32, i
		}
	}
	return z
}

// pick gives a rank for a random number.
func (z *zipf) pick(r uint64) uint32 {
	i := uint32((r >> 32) * uint64(len(z.keep)) >> 32)
	if uint32(r) <= z.keep[i] {
		return i
	}
	return z.alias[i]
}
