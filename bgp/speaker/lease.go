package speaker

import (
	"sync"
	"time"

	"sereno/bgp"
)

// thawGrace is how long an expired lease waits for orders that may lie in the
// socket because this process itself stood still.
const thawGrace = 50 * time.Millisecond

// lease is how long routes may live without a sign of the node. It runs from
// the stamps in the orders, in the host's own clock, so that neither a stopped
// node nor a stopped speaker nor a suspended host can prolong it.
type lease struct {
	mu     sync.Mutex
	length time.Duration
	until  time.Duration // uptime
	margin time.Duration // least time left since takeMargin
}

func newLease(length, stamp time.Duration) *lease {
	l := &lease{}
	l.renew(length, stamp)
	l.margin = length
	return l
}

// renew takes an order's stamp. One beat is given on top, because that much of
// a pause may have passed before it began.
func (l *lease) renew(length, stamp time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.length > 0 {
		l.margin = max(0, min(l.margin, l.until-bgp.Beat(l.length)-bgp.Uptime()))
	}
	if until := stamp + length + bgp.Beat(length); until > l.until || length != l.length {
		l.until = until // another length is a reload's, and may be shorter
	}
	l.length = length
}

// takeMargin is the least time that was left at any renewal since the last call.
func (l *lease) takeMargin() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.margin
	l.margin = l.length
	return m
}

func (l *lease) left() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until - bgp.Uptime()
}

// over waits until the lease has run out; false if stop came first.
func (l *lease) over(stop <-chan struct{}) bool {
	for {
		wait := l.left()
		expired := wait <= 0
		if expired {
			wait = thawGrace
		}
		t := time.NewTimer(wait)
		select {
		case <-stop:
			t.Stop()
			return false
		case <-t.C:
		}
		if expired && l.left() <= 0 {
			return true
		}
	}
}
