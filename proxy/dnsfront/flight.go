package dnsfront

import (
	"bytes"
	"sync"
	"sync/atomic"

	"sereno/proxy/dnswire"
	"sereno/proxy/insight"
	"sereno/proxy/pool"
	"sereno/proxy/udp"
)

// A question that no cache can answer becomes a flight: the question, who waits for
// it, and the attempts at backends. It belongs to the worker that made it; other
// workers and connections may only add waiters, under the table's lock.

// sink takes the answer for a query that came over a connection. deliver never blocks and
// does not keep msg; false: the client has gone.
type sink interface{ deliver(msg []byte) bool }

// waiter is one client's query that waits for a flight.
type waiter struct {
	ask
	came     int64 // ns since the service was made
	listener *listener
	dest     udp.Dest
	sink     sink             // of a connection; nil over UDP
	six      bool             // it may be given addresses made from A
	rewrite  rewrite          // the flight it waits for has another question
	most     uint32           // TTL of what is made, at most
	due      int64            // when it is answered at the latest, where that is before its flight's deadline; 0: it is not
	trace    *insight.Request // nil: nobody follows it
	qlen     int
	qbuf     [dnswire.MaxName + 4]byte
}

func (w *waiter) question() []byte { return w.qbuf[:w.qlen] }

// flight is one question in flight.
type flight struct {
	next *flight // of the same hash; table's lock

	owner *worker // never changes: flights are reused by their worker alone

	// Set before it enters the table, then read only.
	hash uint64
	key  []byte // canonical question, client subnet if it is forwarded, the octet of flags
	qlen int    // of the question
	kbuf [maxKey]byte

	trace atomic.Pointer[insight.Request] // of one who waits; nil: nobody follows it

	waiters    []*waiter  // table's lock
	first      [1]*waiter // where waiters begins: mostly there is no other
	staleGiven bool       // table's lock: who comes now gets a stale answer at once, if there is one

	// The owner's alone.
	pool     *pool.Pool
	timeout  int64 // the pool's, ns
	deadline int64

	attemptTime int64 // silence before the next attempt, ns
	staleAt     int64 // when waiters get a stale answer; 0: never
	early       int64 // the first waiter's due; 0: none has any
	attempts    int   // made so far
	most        int   // at most
	tried       pool.Tried
	open        []*attempt // without an answer
	wrong       int        // replies that did not fit
	tcp         bool       // ask over TCP from now on
	verdict     failure    // why it would fail now
	second      bool       // a backend has answered with a failure, and another was asked
	saved       []byte     // that answer, in case that no better one comes
	ended       bool

	// Timer wheel.
	due        int64
	prev, succ *flight
	slot       int
}

// maxSubnet is the longest client subnet option: family, two lengths, an IPv6 address.
const maxSubnet = 4 + 16

// maxKey is the longest key in octets.
const maxKey = dnswire.MaxName + 4 + maxSubnet + 1

// failure is why no backend's answer came.
type failure uint8

const (
	failTimeout   failure = iota
	failNoBackend         // none could be picked
	failNetwork           // socket errors only
	failOverload
	failFault // of our own
)

// flags is the last octet of the key.
func (f *flight) flags() byte { return f.key[len(f.key)-1] }

// question is the question in its canonical form.
func (f *flight) question() []byte { return f.key[:f.qlen] }

// name is the question's name.
func (f *flight) name() []byte { return f.key[:f.qlen-4] }

// subnet is the client subnet that goes with the question, mostly none (RFC 7871).
func (f *flight) subnet() []byte { return f.key[f.qlen : len(f.key)-1] }

// cacheable tells whether the answer may go into the cache (D10, D12).
func (f *flight) cacheable() bool { return f.flags()&keyRD != 0 && len(f.subnet()) == 0 }

// flights is the table of all questions in flight of a service.
type flights struct {
	shards [64]struct {
		mu sync.Mutex
		m  map[uint64]*flight
		_  [48]byte
	}
}

func newFlights() *flights {
	t := &flights{}
	for i := range t.shards {
		t.shards[i].m = map[uint64]*flight{}
	}
	return t
}

// joined says what became of a query at the table.
type joined uint8

const (
	joinedNew    joined = iota // f is in the table now, and the caller must start it
	joinedOther                // an equal question is in flight; the waiter has been added to it
	joinedPassed               // an equal question is in flight, and has gone over to stale answers
)

// join adds w to the flight of f's question, or puts f with w into the table. With
// passed, a flight that gives stale answers is reported instead of joined. owner is the
// worker of the flight that w waits for.
func (t *flights) join(f *flight, w *waiter, passed bool) (what joined, owner *worker) {
	s := &t.shards[f.hash>>58]
	s.mu.Lock()
	defer s.mu.Unlock()
	head := s.m[f.hash]
	for other := head; other != nil; other = other.next {
		if bytes.Equal(other.key, f.key) {
			if passed && other.staleGiven {
				return joinedPassed, other.owner
			}
			if w != nil {
				other.waiters = append(other.waiters, w)
				if w.trace != nil {
					w.trace.Say("wait", "an equal question is in flight")
					other.trace.CompareAndSwap(nil, w.trace)
				}
			}
			return joinedOther, other.owner
		}
	}
	if w != nil {
		f.waiters = append(f.first[:0], w)
		if w.trace != nil {
			f.trace.Store(w.trace)
		}
	}
	f.next = head
	s.m[f.hash] = f
	return joinedNew, f.owner
}

// find returns the owner's flight of a key, or nil.
func (t *flights) find(key []byte, hash uint64, owner *worker) *flight {
	s := &t.shards[hash>>58]
	s.mu.Lock()
	defer s.mu.Unlock()
	for f := s.m[hash]; f != nil; f = f.next {
		if f.owner == owner && bytes.Equal(f.key, key) {
			return f
		}
	}
	return nil
}

// takeStale takes the waiters out of a flight that goes on without them. They are the owner's to take over at once, as
// what remove returns: the slice is the flight's own.
func (t *flights) takeStale(f *flight) []*waiter {
	s := &t.shards[f.hash>>58]
	s.mu.Lock()
	defer s.mu.Unlock()
	f.staleGiven = true
	w := f.waiters
	f.waiters = nil
	return w
}

// takeDue takes the waiters out of a flight whose own time is over, and tells when the next one's is; 0: never.
func (t *flights) takeDue(f *flight, now int64) (due []*waiter, next int64) {
	s := &t.shards[f.hash>>58]
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := f.waiters[:0]
	for _, w := range f.waiters {
		switch {
		case w.due > 0 && w.due <= now:
			due = append(due, w)
			continue
		case w.due > 0 && (next == 0 || w.due < next):
			next = w.due
		}
		kept = append(kept, w)
	}
	clear(f.waiters[len(kept):])
	f.waiters = kept
	return due, next
}

// remove takes a flight out of the table and returns who waits for it.
func (t *flights) remove(f *flight) []*waiter {
	s := &t.shards[f.hash>>58]
	s.mu.Lock()
	defer s.mu.Unlock()
	if head := s.m[f.hash]; head == f {
		if f.next == nil {
			delete(s.m, f.hash)
		} else {
			s.m[f.hash] = f.next
		}
	} else {
		for ; head != nil; head = head.next {
			if head.next == f {
				head.next = f.next
				break
			}
		}
	}
	f.next = nil
	w := f.waiters
	f.waiters = nil
	return w
}

// waiters are reused over all workers and connections.
var waiterPool = sync.Pool{New: func() any { return new(waiter) }}

// keyLen is the length of the question in the turn's key: another than the client's if a
// block list sends it elsewhere.
func (t *turn) keyLen() int {
	if t.target != nil {
		return len(t.target) + 4
	}
	return t.q.QuestionLen()
}

// newWaiter makes a waiter of a turn's query.
func newWaiter(t *turn, m []byte, l *listener, d udp.Dest, to sink) *waiter {
	w := waiterPool.Get().(*waiter)
	w.ask, w.came, w.listener, w.dest, w.sink, w.trace = t.a, t.now, l, d, to, t.trace
	w.six, w.rewrite, w.most, w.due = t.set.dns64.wants(&t.q), rewriteNone, 0, 0
	if t.target != nil {
		w.six, w.rewrite = false, rewriteCNAME
	}
	w.qlen = copy(w.qbuf[:], t.q.Question(m))
	return w
}

func (w *waiter) free() {
	w.listener, w.sink, w.trace = nil, nil, nil
	waiterPool.Put(w)
}
