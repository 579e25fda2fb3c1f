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
	prev, next *entry // in the list of all
	session    *session
	segment    *segment
	born       time.Duration // when it was stored, since Spool.base; negative for what was there before
	off, size  uint32        // of its frame
	class      Class
	state      state
	cancelled  bool  // over when its delivery ends
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

// list is entries in the order of their numbers.
type list struct {
	first, last *entry
	n, bytes    int64
	cursors     []*cursor
}

// before is the entry behind which one with that number belongs, nil: in front
// of all. It is looked for from the end that is nearer by number: new records
// belong to the end, those that were set aside to the front.
func (l *list) before(id uint64) *entry {
	if l.first == nil || id < l.first.id {
		return nil
	}
	if id < l.last.id && id-l.first.id < l.last.id-id {
		e := l.first
		for e.next.id < id {
			e = e.next
		}
		return e
	}
	e := l.last
	for e.id > id {
		e = e.prev
	}
	return e
}

func (l *list) add(e *entry) {
	after := l.before(e.id)
	for _, c := range l.cursors {
		c.added(e)
	}
	e.prev = after
	if after != nil {
		e.next, after.next = after.next, e
	} else {
		e.next, l.first = l.first, e
	}
	if e.next != nil {
		e.next.prev = e
	} else {
		l.last = e
	}
	l.n++
	l.bytes += int64(e.size)
}

func (l *list) remove(e *entry) {
	for _, c := range l.cursors {
		if c.at == e {
			c.at = e.next
		}
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
	l.n--
	l.bytes -= int64(e.size)
}

// index knows every record that is not over. It belongs to Spool.mu.
type index struct {
	sessions     map[uint64]*session
	queues       map[uint32]*queue
	live, aside  list
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

// add puts a stored entry into its segment and at the end of its session.
func (x *index) add(e *entry) {
	e.segment.add(e)
	x.back(e)
}

// back puts an entry at the end of its session.
func (x *index) back(e *entry) {
	e.state = stateQueued
	v := e.session
	if v.tail != nil {
		v.tail.follower = e
	} else {
		v.head = e
	}
	v.tail = e
	v.queue.records++
	x.live.add(e)
	if v.head == e && v.heapAt < 0 && !v.inReady {
		v.queue.push(v)
	}
}

// addAside puts an entry that is set aside into its list.
func (x *index) addAside(e *entry) {
	e.state = stateAside
	e.segment.add(e)
	x.aside.add(e)
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
