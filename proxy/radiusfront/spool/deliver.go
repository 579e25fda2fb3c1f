package spool

import (
	"errors"
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
		d := &Delivery{ID: e.id, Session: v.key, Class: e.class, Waited: max(0, now-e.born), Tries: v.tries, e: e}
		if v.tries > 0 {
			d.Trying = max(0, now-v.firstTry)
		}
		g.readers++
		s.mu.Unlock()

		raw := make([]byte, e.size)
		_, err := g.file.ReadAt(raw, int64(off))
		f, size, _ := parseFrame(raw, &g.salt)
		s.mu.Lock()
		g.readers--
		s.mu.Unlock()
		if err == nil && size > 0 && f.id == e.id {
			d.Data = f.payload
			return d, true
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
	if counted {
		if v.tries == 0 {
			v.firstTry = now
		}
		v.tries++
	}
	d.e.state = stateQueued
	s.index.settle(v, max(now+after, 1))
}

// SetAside takes the record out of its session, which goes on. It stays on disk
// until Retry or Drop.
func (s *Spool) SetAside(d *Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.e.state != stateBusy {
		return
	}
	e, v := d.e, d.e.session
	s.index.live.remove(e)
	s.index.unlink(e)
	s.index.aside.add(e)
	e.state = stateAside
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
	case stateQueued:
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

// ErrNoRecord means that no record has the number, or not in the state that is
// asked for.
var ErrNoRecord = errors.New("no such record")

// Info is one record as List shows it.
type Info struct {
	ID      uint64
	Session uint64
	Class   Class
	Size    int
	Waited  time.Duration
	Aside   bool
}

// List shows at most n records with numbers above after, those to be delivered
// first, then those set aside; both in their order.
func (s *Spool) List(aside bool, after uint64, n int) []Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &s.index.live
	if aside {
		l = &s.index.aside
	}
	var out []Info
	now := s.now().Sub(s.base)
	for e := l.first; e != nil && len(out) < n; e = e.next {
		if e.id > after {
			out = append(out, Info{ID: e.id, Session: e.session.key, Class: e.class, Size: int(e.size) - headerLen, Waited: max(0, now-e.born), Aside: aside})
		}
	}
	return out
}

// find is the record with a number, nil if there is none. mu is held.
func (s *Spool) find(id uint64) *entry {
	for _, l := range []*list{&s.index.live, &s.index.aside} {
		for e := l.first; e != nil && e.id <= id; e = e.next {
			if e.id == id {
				return e
			}
		}
	}
	return nil
}

// Get reads one record's data.
func (s *Spool) Get(id uint64) (Info, []byte, error) {
	s.mu.Lock()
	e := s.find(id)
	if e == nil {
		s.mu.Unlock()
		return Info{}, nil, ErrNoRecord
	}
	info := Info{ID: id, Session: e.session.key, Class: e.class, Size: int(e.size) - headerLen, Waited: max(0, s.now().Sub(s.base)-e.born), Aside: e.state == stateAside}
	g, off := e.segment, e.off
	g.readers++
	s.mu.Unlock()
	raw := make([]byte, e.size)
	_, err := g.file.ReadAt(raw, int64(off))
	f, size, _ := parseFrame(raw, &g.salt)
	s.mu.Lock()
	g.readers--
	s.mu.Unlock()
	if err != nil || size == 0 {
		return info, nil, errors.Join(errors.New("the record is damaged"), err)
	}
	return info, f.payload, nil
}

// Retry puts a record that was set aside back at the end of its session.
func (s *Spool) Retry(id uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(id)
	if e == nil || e.state != stateAside {
		return ErrNoRecord
	}
	s.index.aside.remove(e)
	e.session = s.index.session(e.session.key, e.session.queue.id) // it may have been forgotten
	s.index.back(e)
	s.moves = append(s.moves, move{id: id})
	signal(s.ready)
	return nil
}

// Drop deletes a record without delivering it. One that is being delivered is
// not dropped.
func (s *Spool) Drop(id uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(id)
	if e == nil || e.state == stateBusy {
		return ErrNoRecord
	}
	v := e.session
	s.counts.Dropped++
	s.over(e)
	s.index.settle(v, 0)
	return nil
}

// Ref names the record for Cancel.
func (d *Delivery) Ref() Ref { return Ref{e: d.e, id: d.ID} }
