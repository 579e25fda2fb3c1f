package pool

import (
	"sync"
	"sync/atomic"
	"time"
)

// A penalty counts for penaltyTime (D25), kept in slices so that any number of
// them costs the same: it ends up to one slice late, never early.
const (
	penaltyTime  = time.Second
	penaltySlice = 50 * time.Millisecond
	penaltySlots = int(penaltyTime/penaltySlice) + 1
)

// penalty is how many requests a backend failed fast within the last second.
type penalty struct {
	total atomic.Int64 // 0 is all that most picks look at
	until atomic.Int64 // when the newest slice ends, ns since base: until then total is right
	base  time.Time

	mu    sync.Mutex
	slots [penaltySlots]int64
	now   int // the newest slice
}

func (p *penalty) add(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forget(now.Sub(p.base))
	p.slots[p.now]++
	p.total.Add(1)
}

// count is what counts at the moment.
func (p *penalty) count() int64 {
	if p.total.Load() == 0 {
		return 0
	}
	return p.countAt(time.Since(p.base))
}

func (p *penalty) countAt(now time.Duration) int64 {
	if int64(now) >= p.until.Load() {
		p.mu.Lock()
		p.forget(now)
		p.mu.Unlock()
	}
	return p.total.Load()
}

// forget moves on to the slice of now.
func (p *penalty) forget(now time.Duration) {
	until := time.Duration(p.until.Load())
	if now < until {
		return
	}
	steps := (now-until)/penaltySlice + 1
	for range min(steps, time.Duration(penaltySlots)) {
		p.now = (p.now + 1) % penaltySlots
		p.total.Add(-p.slots[p.now])
		p.slots[p.now] = 0
	}
	p.until.Store(int64(until + steps*penaltySlice))
}
