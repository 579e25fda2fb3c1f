package spool

import (
	"errors"
	"os"
	"slices"
	"time"
)

const (
	// walkSteps is how many records are passed, and walkReads how many are read,
	// before the lock is released: nobody who stores waits for who looks.
	walkSteps = 4096
	walkReads = 64
)

// What is against an operator's wish.
var (
	ErrNoRecord   = errors.New("no such record")
	ErrNotAside   = errors.New("the record is not set aside")
	ErrDelivering = errors.New("the record is being delivered at this moment")
	ErrDamaged    = errors.New("the record is damaged")
)

// Info is what is known of one record without its data.
type Info struct {
	ID         uint64
	Session    uint64
	Class      Class
	Size       int
	Stored     time.Time // by the wall clock
	Waited     time.Duration
	Delivering bool // on its way to a backend
	Aside      bool // set aside
	Tries      int  // rounds in which no backend acknowledged it, as far as this process saw them

	ref Ref
}

// Ref names the record for Retry and Drop.
func (i Info) Ref() Ref { return i.ref }

// cursor is a place in the list that stays right while the list changes.
type cursor struct {
	at    *entry // nil: the end
	until uint64 // the number that the walk goes to
}

// walker begins a walk. mu is held, and for close and next too.
func (s *Spool) walker() *cursor {
	c := &cursor{at: s.index.list.first, until: s.next - 1}
	s.index.list.cursors = append(s.index.list.cursors, c)
	return c
}

func (l *list) close(c *cursor) {
	l.cursors = slices.DeleteFunc(l.cursors, func(x *cursor) bool { return x == c })
}

// next is the next record, nil at the end.
func (c *cursor) next() *entry {
	e := c.at
	if e == nil || e.id > c.until {
		return nil
	}
	c.at = e.next
	return e
}

// look is one record as Walk reads it.
type look struct {
	info    Info
	segment *segment
	off     uint32
	size    uint32
}

// looked notes where a record stands; its segment is kept until read. mu is held.
func (s *Spool) looked(e *entry) look {
	waited := max(0, s.now().Sub(s.base)-e.born)
	e.segment.readers++
	in := Info{
		ID: e.id, Session: e.session.key, Class: e.class, Size: int(e.size) - headerLen, Waited: waited, Stored: s.now().Add(-waited),
		Delivering: e.state == stateBusy, Aside: e.state == stateAside, Tries: int(e.tries), ref: Ref{e: e, id: e.id},
	}
	if !in.Aside && e.session.head == e {
		in.Tries = e.session.tries
	}
	return look{info: in, segment: e.segment, off: e.off, size: e.size}
}

// data reads the record from the disk. ErrDamaged, ErrClosed.
func (l *look) data() ([]byte, error) {
	raw := make([]byte, l.size)
	_, err := l.segment.file.ReadAt(raw, int64(l.off))
	if errors.Is(err, os.ErrClosed) {
		return nil, ErrClosed
	}
	f, size, _ := parseFrame(raw, &l.segment.salt)
	if err != nil || size == 0 || f.id != l.info.ID {
		return nil, errors.Join(ErrDamaged, err)
	}
	return f.payload, nil
}

// Walk calls each, without a lock, for every record above the number after that
// was there when it began and still is when its turn comes, in the order of
// their numbers, with its data or ErrDamaged, until each returns false. With
// aside only for those that are set aside. Memory is bounded; a spool of
// millions is walked while it works. It returns ErrClosed when the spool was
// closed meanwhile.
func (s *Spool) Walk(after uint64, aside bool, each func(Info, []byte, error) bool) error {
	s.mu.Lock()
	w := s.walker()
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.index.list.close(w)
		s.mu.Unlock()
	}()
	for {
		batch, end, err := s.nextLooks(w, after, aside)
		if err != nil {
			return err
		}
		if going, err := s.show(batch, each); err != nil || !going || end {
			return err
		}
	}
}

// nextLooks passes some records.
func (s *Spool) nextLooks(w *cursor, after uint64, aside bool) (batch []look, end bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, false, ErrClosed
	}
	for steps := 0; steps < walkSteps && len(batch) < walkReads; steps++ {
		e := w.next()
		if e == nil {
			return batch, true, nil
		}
		if e.id > after && (!aside || e.state == stateAside) {
			batch = append(batch, s.looked(e))
		}
	}
	return batch, false, nil
}

// show reads records, and lets go of their segments.
func (s *Spool) show(batch []look, each func(Info, []byte, error) bool) (going bool, err error) {
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i := range batch {
			batch[i].segment.readers--
		}
	}()
	for i := range batch {
		data, err := batch[i].data()
		if errors.Is(err, ErrClosed) {
			return false, err
		}
		if !each(batch[i].info, data, err) {
			return false, nil
		}
	}
	return true, nil
}

// Get finds one record by its number and reads it. ErrNoRecord, ErrDamaged.
func (s *Spool) Get(id uint64) (info Info, data []byte, err error) {
	if id == 0 {
		return info, nil, ErrNoRecord
	}
	err = ErrNoRecord
	if walked := s.Walk(id-1, false, func(in Info, d []byte, e error) bool {
		if in.ID == id {
			info, data, err = in, d, e
		}
		return false
	}); walked != nil {
		return info, nil, walked
	}
	return info, data, err
}

// Retry puts a record that was set aside back at the end of its session.
// ErrNotAside when it is not, or is over.
func (s *Spool) Retry(r Ref) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := r.e
	if e == nil || e.state != stateAside {
		return ErrNotAside
	}
	s.index.list.putBack(e)
	e.tries = 0
	e.session = s.index.session(e.session.key, e.session.queue.id) // it may have been forgotten
	s.index.back(e)
	s.moves = append(s.moves, move{id: e.id})
	signal(s.ready)
	return nil
}

// Drop deletes a record without delivering it. ErrDelivering, ErrNoRecord when it
// is over.
func (s *Spool) Drop(r Ref) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := r.e
	switch {
	case e == nil || e.state == stateGone || e.state == statePending:
		return ErrNoRecord
	case e.state == stateBusy:
		return ErrDelivering
	}
	v := e.session
	s.counts.Dropped++
	s.over(e)
	s.index.settle(v, 0)
	return nil
}
