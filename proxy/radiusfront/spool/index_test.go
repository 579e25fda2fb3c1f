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

// TestR41RowsStayWhole: whatever happens to records in whatever order, none is lost from its row and none stands in another's
// place.
func TestR41RowsStayWhole(t *testing.T) {
	s := open(t, t.TempDir(), func(o *Options) { o.Coalesce = true })
	rng := rand.New(rand.NewPCG(1, 2))
	var mu sync.Mutex
	var refs []Ref
	var under []*Delivery
	retried := map[*entry]bool{}
	store := func() {
		var wg sync.WaitGroup
		for range rng.IntN(5) {
			session := uint64(rng.IntN(4))
			r := record(session, 0)
			r.Queue, r.Class, r.Came = uint32(1+session%2), Class(rng.IntN(int(numClasses))), s.base.Add(time.Duration(rng.IntN(20)-20)*time.Minute)
			wg.Add(1)
			if err := s.Submit(r, func(ref Ref, err error) {
				mu.Lock()
				refs = append(refs, ref)
				mu.Unlock()
				wg.Done()
			}); err != nil {
				t.Fatal(err)
			}
		}
		wg.Wait()
	}
	end := func(i int, how int) {
		d := under[i]
		under = slices.Delete(under, i, i+1)
		switch how {
		case 0:
			s.Done(d)
		case 1:
			s.SetAside(d)
		default:
			s.Again(d, 0, how == 2)
		}
	}
	for range 700 {
		switch op := rng.IntN(9); {
		case op < 2:
			store()
		case op < 4:
			if d, ok := s.Next(uint32(1 + rng.IntN(2))); ok {
				under = append(under, d)
			}
		case op < 5 && len(under) > 0:
			end(rng.IntN(len(under)), rng.IntN(5))
		case len(refs) > 0:
			ref := refs[rng.IntN(len(refs))]
			switch op {
			case 6:
				s.Cancel(ref)
			case 7:
				if s.Retry(ref) == nil {
					retried[ref.e] = true
				}
			case 8:
				_ = s.Drop(ref) // of one that is over or on its way: not
			}
		}
		s.whole(t, retried)
	}
	for len(under) > 0 {
		end(0, 3)
	}
	for _, ref := range refs {
		_ = s.Retry(ref) // of what is set aside
	}
	stored := s.Stats()
	for q := uint32(1); q <= 2; q++ {
		for {
			d, ok := s.Next(q)
			if !ok {
				break
			}
			s.Done(d)
		}
	}
	st := s.Stats()
	if st.Records != 0 || st.Aside != 0 || st.Stored != st.Delivered+st.Cancelled+st.Dropped+st.Coalesced || stored.SetAside == 0 || stored.Cancelled == 0 || stored.Dropped == 0 || stored.Coalesced == 0 {
		t.Errorf("%+v, before the last deliveries %+v", st, stored)
	}
	if s.whole(t, retried); len(s.index.sessions) != 0 {
		t.Errorf("%d sessions are left", len(s.index.sessions))
	}
}
