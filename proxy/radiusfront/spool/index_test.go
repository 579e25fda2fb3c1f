package spool

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// whole demands that the index agrees with itself: each row from its head to its tail, what stands in it, and the sums.
func (s *Spool) whole(t *testing.T, retried map[*entry]bool) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	live, records := int64(0), map[*queue]int64{}
	for key, v := range s.index.sessions {
		var last *entry
		came := time.Duration(-1 << 62)
		for e := v.head; e != nil; e = e.follower {
			busy := e.state == stateBusy && e == v.head
			if e.session != v || e.state != stateQueued && !busy {
				t.Fatalf("session %d: record %d in state %d", key, e.id, e.state)
			}
			if !busy && !retried[e] {
				if e.born < came {
					t.Fatalf("session %d: record %d stands behind one that came later", key, e.id)
				}
				came = e.born
			}
			last = e
			live++
			records[v.queue]++
		}
		if v.tail != last || v.key != key {
			t.Fatalf("session %d: its tail is not its last", key)
		}
		if waits := v.inReady != (v.heapAt >= 0); v.head != nil && waits == (v.head.state == stateBusy) {
			t.Fatalf("session %d: ready %v, place among those that wait %d, its head in state %d", key, v.inReady, v.heapAt, v.head.state)
		}
	}
	for _, q := range s.index.queues {
		if q.records != records[q] {
			t.Fatalf("queue %d has %d records, not %d", q.id, records[q], q.records)
		}
	}
	if list := &s.index.list; list.live.n != live || s.count.Load() != live+list.aside.n {
		t.Fatalf("%d in rows, %d live, %d set aside, %d in all", live, list.live.n, list.aside.n, s.count.Load())
	}
}

// turmoil does to a spool, at random, whatever may be done to records.
type turmoil struct {
	t       *testing.T
	s       *Spool
	rng     *rand.Rand
	mu      sync.Mutex // of refs
	refs    []Ref
	aside   []Ref
	under   []*Delivery
	retried map[*entry]bool
}

func (r *turmoil) store() {
	var wg sync.WaitGroup
	for range r.rng.IntN(5) {
		session := uint64(r.rng.IntN(4))
		one := record(session, 0)
		one.Queue, one.Class = uint32(1+session%2), Class(r.rng.IntN(int(numClasses)))
		one.Came = r.s.base.Add(time.Duration(r.rng.IntN(20)-20) * time.Minute)
		wg.Add(1)
		if err := r.s.Submit(one, func(ref Ref, _ error) {
			r.mu.Lock()
			r.refs = append(r.refs, ref)
			r.mu.Unlock()
			wg.Done()
		}); err != nil {
			r.t.Fatal(err)
		}
	}
	wg.Wait()
}

func (r *turmoil) end(i, how int) {
	d := r.under[i]
	r.under = slices.Delete(r.under, i, i+1)
	switch how {
	case 0:
		r.s.Done(d)
	case 1:
		r.s.SetAside(d)
		r.aside = append(r.aside, d.Ref())
	default:
		r.s.Again(d, 0, how == 2)
	}
}

func (r *turmoil) step() {
	switch op := r.rng.IntN(8); {
	case op < 2:
		r.store()
	case op < 4:
		if d, ok := r.s.Next(uint32(1 + r.rng.IntN(2))); ok {
			r.under = append(r.under, d)
		}
	case op < 5 && len(r.under) > 0:
		r.end(r.rng.IntN(len(r.under)), r.rng.IntN(5))
	case len(r.refs) > 0:
		switch ref := r.refs[r.rng.IntN(len(r.refs))]; op {
		case 5:
			r.s.Cancel(ref)
		case 6:
			if n := len(r.aside); n > 0 && r.s.Retry(r.aside[n-1]) == nil {
				r.retried[r.aside[n-1].e] = true
			}
		case 7:
			_ = r.s.Drop(ref) // of one that is over or on its way: not
		}
	}
}

// TestR41RowsStayWhole: whatever happens to records in whatever order, none is lost from its row and none stands in another's
// place.
func TestR41RowsStayWhole(t *testing.T) {
	s := open(t, t.TempDir(), func(o *Options) { o.Coalesce = true })
	r := &turmoil{t: t, s: s, rng: rand.New(rand.NewPCG(1, 2)), retried: map[*entry]bool{}}
	for range 700 {
		r.step()
		s.whole(t, r.retried)
	}
	for len(r.under) > 0 {
		r.end(0, 3)
	}
	for _, ref := range r.refs {
		_ = s.Retry(ref) // of what is set aside
	}
	before := s.Stats()
	for q := range uint32(2) {
		for d, ok := s.Next(1 + q); ok; d, ok = s.Next(1 + q) {
			s.Done(d)
		}
	}
	st := s.Stats()
	if st.Records != 0 || st.Aside != 0 || st.Stored != st.Delivered+st.Cancelled+st.Dropped+st.Coalesced {
		t.Errorf("%+v", st)
	}
	if before.SetAside == 0 || before.Cancelled == 0 || before.Dropped == 0 || before.Coalesced == 0 || len(r.retried) == 0 {
		t.Errorf("this proves little: %+v", before)
	}
	if s.whole(t, r.retried); len(s.index.sessions) != 0 {
		t.Errorf("%d sessions are left", len(s.index.sessions))
	}
}
