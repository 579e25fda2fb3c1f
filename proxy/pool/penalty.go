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

	mu    sync.Mutex
	slots [penaltySlots]int64
	at    time.Time // when the newest slice began
	now   int       // its slot
}

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
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forget(now)
	return p.total.Load()
}

// forget moves on to the slice of now.
func (p *penalty) forget(now time.Time) {
	steps := int(min(now.Sub(p.at)/penaltySlice, time.Duration(penaltySlots)))
	for range steps {
		p.now = (p.now + 1) % penaltySlots
		p.total.Add(-p.slots[p.now])
		p.slots[p.now] = 0
	}
	if steps >= penaltySlots || p.at.IsZero() {
		p.at = now
	} else {
		p.at = p.at.Add(time.Duration(steps) * penaltySlice)
	}
}
