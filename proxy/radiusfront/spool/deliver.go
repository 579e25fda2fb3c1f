package spool

import (
	"errors"
	"os"
	"time"
)

// Delivery is a record on its way to a backend. It ends with exactly one call of
// Done, Again or SetAside.
type Delivery struct {
	ID      uint64
	Session uint64
	Class   Class
	Data    []byte
	Waited  time.Duration // in the spool, up to now
	// Tries is how often Again counted one for this record, Trying how long ago
	// the first of them began.
	Tries  int
	Trying time.Duration
	// Sent: it was on its way before, counted or not. Who sends it sets this, and Again keeps it.
	Sent bool

	e *entry
}

// Ready gets a value when something may have become ready for delivery.
func (s *Spool) Ready() <-chan struct{} { return s.ready }

// QueueStats is one queue of those that have records.
type QueueStats struct {
	ID      uint32
	Records int64
}

// Queues lists the queues that have records to be delivered.
func (s *Spool) Queues() []QueueStats {
	if s.count.Load() == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]QueueStats, 0, len(s.index.queues))
	for _, q := range s.index.queues {
		if q.records > 0 {
			out = append(out, QueueStats{ID: q.id, Records: q.records})
		}
	}
	return out
}

// Next takes the oldest record of the next session of a queue of which none is
// under way and whose time has come. It reads the disk.
func (s *Spool) Next(queueID uint32) (*Delivery, bool) {
	for {
		s.mu.Lock()
		e := s.take(queueID)
		if e == nil {
			s.mu.Unlock()
			return nil, false
		}
		v, g, off := e.session, e.segment, e.off
		now := s.now().Sub(s.base)
		d := &Delivery{ID: e.id, Session: v.key, Class: e.class, Waited: max(0, now-e.born), Tries: v.tries, Sent: e.sent, e: e}
		if v.tries > 0 {
			d.Trying = max(0, now-v.firstTry)
		}
		g.readers++
		s.mu.Unlock()

		raw := make([]byte, e.size)
		_, err := g.file.ReadAt(raw, int64(off))
		f, size, _ := parseFrame(raw, &g.salt)
		sound := err == nil && size > 0 && f.id == e.id
		s.mu.Lock()
		g.readers--
		if sound {
			delete(s.unread, e)
		}
		s.mu.Unlock()
		if sound {
			d.Data = f.payload
			return d, true
		}
		if errors.Is(err, os.ErrClosed) {
			return nil, false // by Close: nothing is wrong with it
		}
		if s.mayRead(e, err) {
			s.Again(d, retryDisk, false)
			return nil, false
		}
		s.spoilt(g, e, int(off), raw)
	}
}

// take finds the next record and marks it busy. mu is held.
func (s *Spool) take(queueID uint32) *entry {
	q := s.index.queues[queueID]
	if q == nil || s.closed {
		return nil
	}
	q.awaken(s.now().Sub(s.base))
	for {
		v := q.pop()
		if v == nil {
			return nil
		}
		if v.head == nil {
			s.index.forget(v)
			continue
		}
		if v.head.state == stateBusy {
			continue
		}
		v.head.state = stateBusy
		return v.head
	}
}

// Done says that a backend has the record: it is removed.
func (s *Spool) Done(d *Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.e.state != stateBusy {
		return
	}
	v := d.e.session
	s.counts.Delivered++
	s.over(d.e)
	s.index.settle(v, 0)
}

// Again says that no backend has the record: its session comes up again after
// the given time. counted adds one to its tries.
func (s *Spool) Again(d *Delivery, after time.Duration, counted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.e.state != stateBusy {
		return
	}
	v, now := d.e.session, s.now().Sub(s.base)
	if d.e.cancelled {
		s.counts.Cancelled++
		s.over(d.e)
		s.index.settle(v, 0)
		return
	}
	d.e.sent = d.Sent
	if counted {
		if v.tries == 0 {
			v.firstTry = now
		}
		v.tries++
	}
	d.e.state = stateQueued
	if next := d.e.follower; next != nil && next.born < d.e.born { // it was stored meanwhile
		s.index.unlink(d.e)
		s.index.insert(d.e)
	}
	s.index.settle(v, max(now+after, 1))
}

// SetAside takes the record out of its session, which goes on. It stays on disk
// until Retry, Cancel or Drop; one that was cancelled meanwhile is removed.
func (s *Spool) SetAside(d *Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.e.state != stateBusy {
		return
	}
	e, v := d.e, d.e.session
	if e.cancelled {
		s.counts.Cancelled++
		s.over(e)
		s.index.settle(v, 0)
		return
	}
	e.tries = uint8(min(v.tries+1, 255))
	s.index.unlink(e)
	s.index.list.setAside(e)
	s.counts.SetAside++
	s.moves = append(s.moves, move{id: e.id, aside: true})
	s.index.settle(v, 0)
}

// Cancel takes back a record that a backend turned out to have after all. It
// returns false when it was over already; one that is being delivered ends with
// that delivery, answered or not.
func (s *Spool) Cancel(r Ref) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := r.e
	if e == nil || e.id != r.id {
		return false
	}
	switch e.state {
	case stateQueued, stateAside:
		v := e.session
		head := v.head == e
		s.counts.Cancelled++
		s.over(e)
		if head {
			s.index.settle(v, 0)
		}
		return true
	case stateBusy:
		e.cancelled = true
		return true
	}
	return false
}

// Cancelled tells whether Cancel was called for a record on its way: Again and SetAside remove it.
func (s *Spool) Cancelled(d *Delivery) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return d.e.cancelled
}

// Ref names the record for Cancel.
func (d *Delivery) Ref() Ref { return Ref{e: d.e, id: d.ID} }
