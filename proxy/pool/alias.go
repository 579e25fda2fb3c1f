package pool

import "math/rand/v2"

// alias draws an index by weight in constant time (Walker's method, tables by
// Vose): a column is drawn evenly, and within it one of two indices.
type alias struct {
	columns []column
}

type column struct {
	own   uint32 // share of the column, in 1/2^32, that is its own index's
	other uint32 // the index that has the rest
}

func newAlias(entries []entry) alias {
	n := len(entries)
	a := alias{columns: make([]column, n)}
	total := 0.0
	for i := range entries {
		total += entries[i].scaled
	}
	level := make([]float64, n) // 1 is a full column
	var small, large []int
	for i := range entries {
		level[i] = entries[i].scaled / total * float64(n)
		if level[i] < 1 {
			small = append(small, i)
		} else {
			large = append(large, i)
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		a.columns[s] = column{own: uint32(level[s] * (1 << 32)), other: uint32(l)} //nolint:gosec // below 1 × 2^32
		level[l] -= 1 - level[s]
		if level[l] < 1 {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	for _, rest := range [][]int{small, large} {
		for _, i := range rest { // full, but for rounding
			a.columns[i] = column{own: 1<<32 - 1, other: uint32(i)} //nolint:gosec // few backends
		}
	}
	return a
}

// draw returns an index.
func (a *alias) draw() int {
	r := rand.Uint64() //nolint:gosec // balancing is no secret
	i := (r >> 32) * uint64(len(a.columns)) >> 32
	c := a.columns[i]
	if uint32(r) < c.own { //nolint:gosec // the low half
		return int(i) //nolint:gosec // below the number of columns
	}
	return int(c.other)
}
