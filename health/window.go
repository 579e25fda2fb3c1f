package health

import "math/bits"

// Bounds of A06: half of the last 20 probes bad is down, and at most 4 of them
// may be bad when it comes up again.
const (
	windowSize = 20
	windowDown = windowSize / 2
	windowUp   = 4
)

// window remembers which of the last windowSize probes were bad, the newest in
// bit 0. Probes that were never made count as good.
type window uint32

func (w *window) add(bad bool) {
	*w <<= 1
	if bad {
		*w |= 1
	}
	*w &= 1<<windowSize - 1
}

func (w window) bad() int { return bits.OnesCount32(uint32(w)) }
