package pool

import (
	"sync"
	"sync/atomic"
	"time"
)

// The retry budget: over any 10 s, retries stay below
// max(freeRetries, share × requests).
const (
	budgetSeconds = 10
	freeRetries   = 100
	budgetSlots   = 16   // seconds that are kept: more than are summed up
	answersShare  = 0.75 // of the budget, for retries because of an answer
	countBits     = 40
	countMask     = 1<<countBits - 1
)

// budget counts requests and retries by the second. Requests are counted by all
// workers at once and take no lock.
type budget struct {
	base     time.Time
	share    atomic.Uint64 // in 1/shareUnit
	requests [budgetSlots]second

	mu      sync.Mutex // one retry decides at a time
	retries [budgetSlots]second
}

// second is a count and the second that it belongs to, in one word, so that a
// slot that begins anew cannot lose an increment.
type second struct {
	word atomic.Uint64 // second << countBits | count
	_    [56]byte
}

func (s *second) add(at uint64) {
	for {
		w := s.word.Load()
		if w>>countBits != at&(1<<(64-countBits)-1) {
			if s.word.CompareAndSwap(w, at<<countBits|1) {
				return
			}
			continue
		}
		if s.word.CompareAndSwap(w, w+1) {
			return
		}
	}
}

// count is what was counted in the given second.
func (s *second) count(at uint64) uint64 {
	w := s.word.Load()
	if w>>countBits != at&(1<<(64-countBits)-1) {
		return 0
	}
	return w & countMask
}

// shareUnit is how exactly a share is kept.
const shareUnit = 1_000_000

func (b *budget) setShare(share float64) { b.share.Store(uint64(max(0, share) * shareUnit)) }

// second is the number of the current second, counted from 1: an empty slot belongs to none.
func (b *budget) second() uint64 { return uint64(time.Since(b.base)/time.Second) + 1 }

func (b *budget) request() {
	now := b.second()
	b.requests[now%budgetSlots].add(now)
}

// try takes one retry out of the budget, if less than part of it is used.
func (b *budget) try(part float64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.second()
	var requests, retries uint64
	for i := range uint64(budgetSeconds + 1) {
		if i >= now {
			break
		}
		at := now - i
		// The window must hold for every 10 s, so retries are summed over a second
		// more than requests: the first of them has only partly passed.
		retries += b.retries[at%budgetSlots].count(at)
		if i < budgetSeconds {
			requests += b.requests[at%budgetSlots].count(at)
		}
	}
	limit := uint64(part * float64(max(freeRetries, requests*b.share.Load()/shareUnit)))
	if retries+1 >= limit {
		return false
	}
	b.retries[now%budgetSlots].add(now)
	return true
}
