package spool

import (
	"container/heap"
	"time"
)

type state uint8

const (
	statePending state = iota // not synced yet
	stateQueued
	stateBusy  // being delivered
	stateAside // set aside
	stateGone  // over
)

// entry is one record in memory: some 120 bytes with its share of the maps.
type entry struct {
	id         uint64
	follower   *entry // in its session
	prev, next *entry // in the list
	session    *session
	segment    *segment
	born       time.Duration // when it was stored, since Spool.base; negative for what was there before
	off, size  uint32        // of its frame
	class      Class
	state      state
	cancelled  bool  // over when its delivery ends
	sent       bool  // was on its way before
	tries      uint8 // of a record that is set aside, as far as this process saw them
}

// session is a row of records that are delivered one after the other.
type session struct {
	key        uint64
	queue      *queue
	head, tail *entry
	pending    int           // submitted, not synced
	nextReady  *session      // in its queue
	until      time.Duration // not before this; only while it waits
	heapAt     int           // place among those that wait, -1: does not
	inReady    bool
	newest     time.Duration // no record in it was born later
	tries      int
	firstTry   time.Duration
}

// queue is the sessions of which a record may go out now.
type queue struct {
	id          uint32
	first, last *session
	records     int64
	waiting     sessionHeap
}

func (q *queue) push(v *session) {
	v.inReady, v.nextReady = true, nil
	if q.last != nil {
		q.last.nextReady = v
	} else {
		q.first = v
	}
	q.last = v
}

func (q *queue) pop() *session {
	v := q.first
	if v == nil {
		return nil
	}
	q.first = v.nextReady
	if q.first == nil {
		q.last = nil
	}
	v.nextReady, v.inReady = nil, false
	return v
}

// sessionHeap is sessions by the time until which they wait.
type sessionHeap []*session

func (h sessionHeap) Len() int           { return len(h) }
func (h sessionHeap) Less(i, j int) bool { return h[i].until < h[j].until }
func (h sessionHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].heapAt, h[j].heapAt = i, j
}

// Push implements heap.Interface.
func (h *sessionHeap) Push(x any) {
	v := x.(*session)
	v.heapAt = len(*h)
	*h = append(*h, v)
}

// Pop implements heap.Interface.
func (h *sessionHeap) Pop() any {
	old := *h
	v := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	v.heapAt = -1
	return v
}

// list is the records that are not over, in the order of their numbers. One that is set aside keeps its place, so
// that it is put back at once among however many.
type list struct {
	first, last *entry
	oldest      *entry // the first that is not set aside
	live, aside tally
	cursors     []*cursor
}

// tally is how many records of a kind there are, and their bytes on disk.
type tally struct{ n, bytes int64 }

func (c *tally) add(e *entry)    { c.n++; c.bytes += int64(e.size) }
func (c *tally) remove(e *entry) { c.n--; c.bytes -= int64(e.size) }

// add puts an entry, with a higher number than all, at the end.
func (l *list) add(e *entry) {
	e.prev = l.last
	if l.last != nil {
		l.last.next = e
	} else {
		l.first = e
	}
	l.last = e
	if e.state == stateAside {
		l.aside.add(e)
		return
	}
	l.live.add(e)
	if l.oldest == nil {
		l.oldest = e
	}
}

// setAside counts a live entry as set aside from now on.
func (l *list) setAside(e *entry) {
	e.state = stateAside
	l.live.remove(e)
	l.aside.add(e)
	if l.oldest == e {
		l.oldest = e.next.live()
	}
}

// putBack counts an entry that is set aside as live.
func (l *list) putBack(e *entry) {
	e.state = stateQueued
	l.aside.remove(e)
	l.live.add(e)
	if l.oldest == nil || e.id < l.oldest.id {
		l.oldest = e
	}
}

func (l *list) remove(e *entry) {
	for _, c := range l.cursors {
		if c.at == e {
			c.at = e.next
		}
	}
	if l.oldest == e {
		l.oldest = e.next.live()
	}
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		l.first = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		l.last = e.prev
	}
	e.prev, e.next = nil, nil
	if e.state == stateAside {
		l.aside.remove(e)
	} else {
		l.live.remove(e)
	}
}

// live is e, or the first one behind it that is not set aside; nil: there is none.
func (e *entry) live() *entry {
	for e != nil && e.state == stateAside {
		e = e.next
	}
	return e
}

// index knows every record that is not over. It belongs to Spool.mu.
type index struct {
	sessions     map[uint64]*session
	queues       map[uint32]*queue
	list         list
	disk         int64 // bytes of all segments
	pendingBytes int64
}

func newIndex() index {
	return index{sessions: map[uint64]*session{}, queues: map[uint32]*queue{}}
}

// session finds or makes a session. It stays in the queue that it began with.
func (x *index) session(key uint64, queueID uint32) *session {
	if v := x.sessions[key]; v != nil {
		return v
	}
	q := x.queues[queueID]
	if q == nil {
		q = &queue{id: queueID}
		x.queues[queueID] = q
	}
	v := &session{key: key, queue: q, heapAt: -1}
	x.sessions[key] = v
	return v
}

// add puts a stored entry into its segment and its list.
func (x *index) add(e *entry) {
	e.state = stateQueued
	e.segment.add(e)
	x.list.add(e)
}

// insert puts an entry into its session, before those that came later: its request may have waited longer for a backend, or
// in another worker. What is on its way stays first.
func (x *index) insert(e *entry) {
	v := e.session
	if v.head == nil || v.newest <= e.born {
		x.back(e)
		return
	}
	var before *entry
	next := v.head
	for next != nil && (next.state == stateBusy || next.born <= e.born) {
		before, next = next, next.follower
	}
	e.follower = next
	if before != nil {
		before.follower = e
	} else {
		v.head = e
		v.tries, v.firstTry = 0, 0
	}
	if next == nil {
		v.tail = e
	}
	v.queue.records++
}

// back puts an entry at the end of its session.
func (x *index) back(e *entry) {
	v := e.session
	if v.tail != nil {
		v.tail.follower, v.newest = e, max(v.newest, e.born)
	} else {
		v.head, v.newest = e, e.born
	}
	v.tail = e
	v.queue.records++
	if v.head == e && v.heapAt < 0 && !v.inReady {
		v.queue.push(v)
	}
}

// addAside puts an entry that is set aside into its list.
func (x *index) addAside(e *entry) {
	e.state = stateAside
	e.segment.add(e)
	x.list.add(e)
}

// unlink takes an entry out of its session.
func (x *index) unlink(e *entry) {
	v := e.session
	v.queue.records--
	if v.head == e {
		v.head = e.follower
		v.tries, v.firstTry = 0, 0
	} else {
		for p := v.head; p != nil; p = p.follower {
			if p.follower == e {
				p.follower = e.follower
				if v.tail == e {
					v.tail = p
				}
				break
			}
		}
	}
	if v.head == nil {
		v.tail = nil
	}
	e.follower = nil
}

// settle puts a session where it belongs after its head changed or came back:
// ready, waiting until a time, or forgotten.
func (x *index) settle(v *session, until time.Duration) {
	switch {
	case v.head != nil && v.head.state == stateBusy:
	case v.head == nil:
		if v.heapAt >= 0 {
			heap.Remove(&v.queue.waiting, v.heapAt)
		}
		if !v.inReady { // one that is ready is forgotten when its turn comes
			x.forget(v)
		}
	case v.inReady || v.heapAt >= 0:
	case until > 0:
		v.until = until
		heap.Push(&v.queue.waiting, v)
	default:
		v.queue.push(v)
	}
}

// forget drops a session without records.
func (x *index) forget(v *session) {
	if v.head == nil && v.pending == 0 && !v.inReady && v.heapAt < 0 && x.sessions[v.key] == v {
		delete(x.sessions, v.key)
		if len(x.sessions) == 0 {
			clear(x.queues) // they are few, and go together
		}
	}
}

// awaken moves the sessions whose time has come to the ready ones.
func (q *queue) awaken(now time.Duration) {
	for len(q.waiting) > 0 && q.waiting[0].until <= now {
		q.push(heap.Pop(&q.waiting).(*session))
	}
}
