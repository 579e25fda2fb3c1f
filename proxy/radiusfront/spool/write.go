package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	// noteInterval is how long the end of a record may wait to be noted; what
	// ended within it before a crash is delivered again.
	noteInterval = 50 * time.Millisecond
	// syncInterval is how long notes may stay unsynced when no record is stored.
	syncInterval = time.Second
	// damagedLooks is the time between two looks for damaged files.
	damagedLooks = time.Second
	// copyStep is how many bytes are copied forward at once.
	copyStep = 1 << 20
	// unreadTime is how long a disk may fail to read a record before that is given up: a path to it may come back.
	unreadTime = 10 * time.Minute
)

// write is the spool's goroutine: all that was submitted while it stored the
// last batch is the next one, under one sync.
func (s *Spool) write() {
	defer close(s.stopped)
	t := time.NewTicker(noteInterval)
	defer t.Stop()
	for {
		select {
		case <-s.wake:
		case <-t.C:
		}
		s.mu.Lock()
		s.busy = time.Now()
		b := s.batch
		s.batch = batch{buf: s.spare.buf[:0], items: s.spare.items[:0]}
		notes, moves, closed, taken, last := s.notes, s.moves, s.closed, s.now(), s.next-1
		s.notes, s.moves = nil, nil
		probe := s.failed != nil && s.now().Sub(s.base)-s.failedAt >= retryDisk
		s.mu.Unlock()
		s.commit(&b, notes, last, taken, moves, probe)
		clear(b.items)
		if cap(b.buf) > maxPending/2 {
			b.buf = nil // an outburst's buffer is not kept
		}
		s.spare = b
		s.reclaim()
		if time.Since(s.damagedAt) >= damagedLooks {
			s.countDamaged()
		}
		s.at(time.Time{})
		if closed {
			_ = s.settleNotes(0) // unsynced notes only cost a second delivery
			return
		}
	}
}

// commit stores a batch, with the ends of records that were known when it was taken, and tells who waits for it.
func (s *Spool) commit(b *batch, notes []uint64, last uint64, taken time.Time, moves []move, probe bool) {
	buf := noteFrames(b.buf, &s.salt, notes, last, taken)
	for _, m := range moves {
		f := frame{kind: kindMove, id: m.id}
		if m.aside {
			f.class = 1
		}
		buf = appendFrame(buf, &s.salt, &f)
	}
	if probe && len(b.items) == 0 {
		buf = appendFrame(buf, &s.salt, &frame{kind: kindDone, payload: make([]byte, 4096)}) // ends record 0, which is none
	}
	b.buf = buf
	if len(buf) == 0 {
		_ = s.settleNotes(syncInterval) // tried again in a moment
		return
	}
	g, at, err := s.store(buf, len(b.items) > 0 || len(moves) > 0 || probe)
	refs := s.book(b.items, g, at, err)
	if err != nil {
		s.mu.Lock()
		s.counts.LostNotes += uint64(len(notes))
		s.mu.Unlock()
	}
	s.tell(err)
	for i := range b.items {
		if b.items[i].done != nil {
			b.items[i].done(refs[i], err)
		}
	}
	if len(b.items) > 0 {
		signal(s.ready)
	}
}

// book enters what became of a batch into the index.
func (s *Spool) book(items []item, g *segment, at int64, err error) []Ref {
	refs := make([]Ref, len(items))
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.failed, s.failedAt = err, s.now().Sub(s.base)
		s.counts.Failed += uint64(len(items))
	} else {
		s.failed = nil
	}
	for i := range items {
		e := items[i].e
		e.session.pending--
		s.index.pendingBytes -= int64(e.size)
		if err != nil {
			e.state = stateGone
			s.count.Add(-1)
			s.index.settle(e.session, 0)
			continue
		}
		s.counts.Stored++
		e.off += uint32(at)
		e.segment = g
		refs[i] = Ref{e: e, id: e.id}
		if last := e.session.tail; s.coalesce && e.class == Interim && last != nil && last.state == stateQueued && last.class == Interim && last.born <= e.born {
			s.over(last)
			s.counts.Coalesced++
		}
		s.index.add(e)
		s.index.insert(e)
	}
	return refs
}

// over takes a record out for good. mu is held.
func (s *Spool) over(e *entry) {
	s.index.list.remove(e)
	if e.state != stateAside {
		s.index.unlink(e)
	}
	e.state = stateGone
	e.segment.leave(e)
	delete(s.unread, e)
	s.notes = append(s.notes, e.id)
	s.count.Add(-1)
}

// tell reports a change between a disk that works and one that does not.
func (s *Spool) tell(err error) {
	if (err != nil) == s.told {
		return
	}
	s.told = err != nil
	if s.opts.OnState != nil {
		s.opts.OnState(err)
	}
}

// store appends to the active segment and tells where. After an error nothing of
// buf is left in it, and it is not written again: a kernel that failed to write
// a page back may forget the page.
func (s *Spool) store(buf []byte, sync bool) (*segment, int64, error) {
	if s.active != nil && s.active.size > 0 && s.active.size+int64(len(buf)) > segmentSize(s.max.Load()) {
		err := s.settleNotes(0)
		s.active, s.unsynced = nil, false
		if err != nil {
			return nil, 0, err
		}
	}
	if s.active == nil {
		if err := s.begin(); err != nil {
			return nil, 0, fmt.Errorf("storing accounting: %w", err)
		}
	}
	g, at := s.active, s.active.size
	_, err := g.file.WriteAt(buf, at)
	if err == nil && sync {
		err = g.file.Sync()
	}
	if err != nil {
		s.abandon(g, at)
		return nil, 0, fmt.Errorf("storing accounting: %w", err)
	}
	if sync {
		s.unsynced = false
	} else if !s.unsynced {
		s.unsynced, s.syncedAt = true, time.Now()
	}
	s.mu.Lock()
	g.size += int64(len(buf))
	s.index.disk += int64(len(buf))
	s.mu.Unlock()
	return g, at, nil
}

// abandon gives up the active segment, whose bytes from at on failed.
func (s *Spool) abandon(g *segment, at int64) {
	s.active, s.unsynced = nil, false
	_ = g.file.Truncate(at) // what it cannot take away was never acknowledged
	if at > 0 {
		return
	}
	s.mu.Lock()
	s.segments = s.segments[:len(s.segments)-1]
	s.mu.Unlock()
	_ = g.file.Close() // nothing is in it
	_ = s.root.Remove(g.name())
}

// settleNotes syncs notes that have waited for age.
func (s *Spool) settleNotes(age time.Duration) error {
	if !s.unsynced || s.active == nil || time.Since(s.syncedAt) < age {
		return nil
	}
	if err := s.active.file.Sync(); err != nil {
		return fmt.Errorf("storing accounting: %w", err)
	}
	s.unsynced = false
	return nil
}

// reclaim gives disk space back: segments in which every record is over, oldest
// first, since a note must outlive the record that it is about; and where much
// is garbage, the records of the oldest one are copied to the end.
func (s *Spool) reclaim() {
	for {
		s.at(time.Now())
		s.removeEmpty()
		if !s.wasteful() || !s.copyForward() {
			return
		}
	}
}

// removeEmpty removes the oldest segments that hold nothing. The last one is kept while it is small; else a new one is
// begun in its place, since a number must be on disk for none to be used again. A disk that takes nothing gets its room
// back all the same.
func (s *Spool) removeEmpty() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.segments) > 0 {
		g := s.segments[0]
		if g.live > 0 || g.readers > 0 {
			return
		}
		if len(s.segments) == 1 && s.failed == nil {
			if s.count.Load() > 0 || len(s.batch.items) > 0 || g.size < segmentSize(s.max.Load())/4 {
				return
			}
			last := frame{kind: kindDone, id: s.next - 1, at: s.now().UnixNano()}
			s.active, s.unsynced = nil, false
			s.mu.Unlock()
			_, _, err := s.store(appendFrame(nil, &s.salt, &last), true)
			s.mu.Lock()
			if err == nil {
				continue
			}
		}
		if g == s.active {
			s.active, s.unsynced = nil, false
		}
		s.segments = s.segments[1:]
		s.index.disk -= g.size
		s.mu.Unlock() // the disk may take its time
		_ = g.file.Close()
		_ = s.root.Remove(g.name()) // one that stays is read at the next Open, and its records are known to be over or delivered again
		s.mu.Lock()
	}
}

// wasteful tells whether garbage takes more than an eighth of the bound, or,
// where the bound is near, more than a segment.
func (s *Spool) wasteful() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segments) < 2 || s.segments[0] == s.active || s.failed != nil || s.now().Sub(s.base) < s.copyAt {
		return false
	}
	most := s.max.Load()
	garbage := s.index.disk - s.index.list.live.bytes - s.index.list.aside.bytes
	return garbage > most/8 || s.used() > most*80/100 && garbage > 2*segmentSize(most)
}

// copyForward copies records of the oldest segment to the active one, at most
// copyStep bytes. It returns false when that failed.
func (s *Spool) copyForward() bool {
	s.mu.Lock()
	g := s.segments[0]
	var moving []*entry
	var asides []bool
	bytes := 0
	for ; g.cursor < len(g.entries) && bytes < copyStep; g.cursor++ {
		if e := g.entries[g.cursor]; e.segment == g {
			moving, asides, bytes = append(moving, e), append(asides, e.state == stateAside), bytes+int(e.size)
		}
	}
	if len(moving) == 0 {
		g.cursor = 0
		s.mu.Unlock()
		return false
	}
	s.mu.Unlock()
	buf := make([]byte, 0, bytes)
	places := make([]int, len(moving))
	for i, e := range moving {
		raw := make([]byte, e.size) // off and size change only here
		_, err := g.file.ReadAt(raw, int64(e.off))
		f, size, _ := parseFrame(raw, &g.salt)
		if (err != nil || size == 0) && s.mayRead(e, err) {
			s.mu.Lock()
			g.cursor, s.copyAt = 0, s.now().Sub(s.base)+retryDisk
			s.mu.Unlock()
			return false
		}
		if err != nil || size == 0 {
			s.spoilt(g, e, int(e.off), raw)
			places[i] = -1
			continue
		}
		f.kind = kindRecord
		if asides[i] {
			f.kind = kindAside
		}
		places[i] = len(buf)
		buf = appendFrame(buf, &s.salt, &f)
	}
	if len(buf) == 0 {
		return true
	}
	to, at, err := s.store(buf, true)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		g.cursor = 0 // from the beginning another time
		s.failed, s.failedAt = err, s.now().Sub(s.base)
		return false
	}
	for i, e := range moving {
		if places[i] < 0 || e.segment != g {
			continue // over meanwhile
		}
		g.live -= int64(e.size)
		delete(s.unread, e)
		e.off = uint32(at) + uint32(places[i])
		to.add(e)
	}
	if g.live == 0 {
		g.entries, g.cursor = nil, 0
	}
	return true
}

// mayRead tells, after a failed read, whether the record may still be there: the disk gave an error instead of bytes,
// and not for unreadTime yet.
func (s *Spool) mayRead(e *entry, err error) bool {
	if err == nil || errors.Is(err, io.EOF) {
		return false // what was read is not what was written
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now().Sub(s.base)
	since, before := s.unread[e]
	if !before {
		since = now
		s.unread[e] = since
	}
	return now-since < unreadTime
}

// spoilt gives up a record whose bytes are not what was written; they are kept
// aside.
func (s *Spool) spoilt(g *segment, e *entry, off int, raw []byte) {
	s.keepDamaged(g.ordinal, off, raw)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Damaged++
	if e.state != stateGone {
		v := e.session
		s.over(e)
		s.index.settle(v, 0)
	}
}

func doneIDs(payload []byte, each func(id uint64)) {
	for ; len(payload) >= 8; payload = payload[8:] {
		each(binary.BigEndian.Uint64(payload))
	}
}
