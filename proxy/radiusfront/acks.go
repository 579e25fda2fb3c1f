package radiusfront

import (
	"sync"
	"sync/atomic"
)

// acks is when each pool last acknowledged a live accounting record, in ns since Service.base: a sign that a spooled
// one which it does not acknowledge has the fault itself (R41). The zero value is empty.
type acks struct {
	mu     sync.Mutex
	byPool map[string]*atomic.Int64 // no more than were ever configured
}

// of is the time of one pool; 0: never.
func (a *acks) of(pool string) *atomic.Int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byPool == nil {
		a.byPool = map[string]*atomic.Int64{}
	}
	if a.byPool[pool] == nil {
		a.byPool[pool] = &atomic.Int64{}
	}
	return a.byPool[pool]
}
