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
	total atomic.Int64           // 0 is all that most picks look at
	until atomic.Pointer[moment] // when the newest slice ends: until then total is right

	mu    sync.Mutex
	slots [penaltySlots]int64
	now   int // the newest slice
}

type moment struct{ time.Time }

func (p *penalty) add(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forget(now)
	p.slots[p.now]++
	p.total.Add(1)
}

// count is what counts at the moment.
func (p *penalty) count() int64 {
	if p.total.Load() == 0 {
		return 0
	}
	return p.countAt(time.Now())
}

func (p *penalty) countAt(now time.Time) int64 {
	if until := p.until.Load(); until == nil || !now.Before(until.Time) {
		p.mu.Lock()
		p.forget(now)
		p.mu.Unlock()
	}
	return p.total.Load()
}

// forget moves on to the slice of now.
func (p *penalty) forget(now time.Time) {
	until := p.until.Load()
	if until == nil {
		p.until.Store(&moment{now.Add(penaltySlice)})
		return
	}
	late := now.Sub(until.Time)
	if late < 0 {
		return
	}
	steps := late/penaltySlice + 1
	for range min(int(steps), penaltySlots) {
		p.now = (p.now + 1) % penaltySlots
		p.total.Add(-p.slots[p.now])
		p.slots[p.now] = 0
	}
	p.until.Store(&moment{until.Add(steps * penaltySlice)})
}
