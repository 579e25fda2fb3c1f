package radiusfront

import (
	"sync/atomic"
	"time"

	"sereno/proxy/insight"
	"sereno/proxy/pool"
	"sereno/proxy/radwire"
	"sereno/proxy/udp"
)

// entry is one request in the duplicate table (R20): in flight while it has a
// flight, then remembered with its answer until duplicate_window is over.
type entry struct {
	chain      *entry // next in its bucket
	prev, next *entry // in its slot of the timer wheel
	slot       int32
	hash       uint64
	due        int64 // when the timer looks at it
	dest       udp.Dest
	conn       *udp.Conn // the listener it came by
	auth       radwire.Authenticator
	code       radwire.Code
	id         byte
	kind       Kind
	answer     AnswerCode // of reply
	signed     bool       // its Message-Authenticator verified
	ahead      uint16     // of CoA: seconds by which its Event-Timestamp was in the future
	flight     *flight    // nil: answered
	reply      []byte     // the answer's bytes, from the worker's buffers
}

// flight is the part of a request that is needed only until its answer.
type flight struct {
	entry    *entry
	free     *flight // in the worker's free list
	request  []byte  // as it came, without padding; from the worker's buffers
	client   *client
	secret   *radwire.Secret // of the client, the one that fitted
	target   *target
	pool     *pool.Pool
	hash     uint64
	received int64 // worker time in ns, as all here
	arrived  int64 // the same, but another one for each of the worker's requests: their order
	deadline int64
	tried    pool.Tried
	attempts [MaxAttempts]attempt
	n        int         // attempts made; the last is the current one
	login    survivorKey // of survival; zero: none
	state    [proxyStateLen]byte
	stated   bool   // state goes with it: proxy_state as it was when it came
	userName []byte // replaces User-Name, from the worker's buffers
	pinned   bool   // goes to the issuer of its State or nowhere (R32)
	keeping  *keeping
	trace    *insight.Request // nil: nobody follows it
}

// attempt is one backend that the request was sent to. A left one still
// waits: a late reply of it is as good as any (R30).
type attempt struct {
	up     *upstream
	port   *port
	secret *radwire.Secret
	auth   radwire.Authenticator // that we sent
	id     byte
	resent bool  // more than one copy is on its way: the identifier rests when this ends
	silent bool  // was reported
	sent   int64 // first
	last   int64 // last copy
}

// table finds entries by who asked, how, and under which identifier. Chained
// through the entries, so that it allocates only to grow.
type table struct {
	buckets []*entry
	n       int
	seed    uint64
}

const initialBuckets = 1 << 10

func newTable(seed uint64) table { return table{buckets: make([]*entry, initialBuckets), seed: seed} }

// hashOf mixes what tells two requests of different identity apart; equality
// is decided by same.
func (t *table) hashOf(d *udp.Dest, code radwire.Code, id byte) uint64 {
	a := d.Peer.Addr().As16()
	h := t.seed
	for i := 0; i < 16; i += 8 {
		h = mix(h ^ (uint64(a[i]) | uint64(a[i+1])<<8 | uint64(a[i+2])<<16 | uint64(a[i+3])<<24 |
			uint64(a[i+4])<<32 | uint64(a[i+5])<<40 | uint64(a[i+6])<<48 | uint64(a[i+7])<<56))
	}
	return mix(h ^ uint64(d.Peer.Port())<<16 ^ uint64(code)<<8 ^ uint64(id))
}

// mix is the finalizer of MurmurHash3: every bit of x changes half of the result's.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// find is the entry of that very request: a duplicate meets its first.
func (t *table) find(hash uint64, c *udp.Conn, d *udp.Dest, code radwire.Code, id byte, auth *radwire.Authenticator) *entry {
	for e := t.buckets[hash&uint64(len(t.buckets)-1)]; e != nil; e = e.chain {
		if e.same(hash, c, d, code, id) && e.auth == *auth {
			return e
		}
	}
	return nil
}

// replaceable is an entry under the same identifier that a new request may
// replace: any if the new one is signed, else one that is not signed either
// (RFC 5080 section 2.2.2). A signed one and an unsigned one stand side by
// side: what is forged ends no real request, and a NAS that signs only EAP
// loses none of its others.
func (t *table) replaceable(hash uint64, c *udp.Conn, d *udp.Dest, code radwire.Code, id byte, signed bool) *entry {
	for e := t.buckets[hash&uint64(len(t.buckets)-1)]; e != nil; e = e.chain {
		if e.same(hash, c, d, code, id) && (signed || !e.signed) {
			return e
		}
	}
	return nil
}

func (e *entry) same(hash uint64, c *udp.Conn, d *udp.Dest, code radwire.Code, id byte) bool {
	return e.hash == hash && e.id == id && e.code == code && e.conn == c && e.dest.Peer == d.Peer && e.dest.Local == d.Local
}

func (t *table) insert(e *entry) {
	if t.n >= len(t.buckets) {
		t.grow()
	}
	b := &t.buckets[e.hash&uint64(len(t.buckets)-1)]
	e.chain, *b = *b, e
	t.n++
}

func (t *table) remove(e *entry) {
	for b := &t.buckets[e.hash&uint64(len(t.buckets)-1)]; *b != nil; b = &(*b).chain {
		if *b == e {
			*b, e.chain = e.chain, nil
			t.n--
			return
		}
	}
}

func (t *table) grow() {
	old := t.buckets
	t.buckets = make([]*entry, 2*len(old))
	for _, e := range old {
		for e != nil {
			next := e.chain
			b := &t.buckets[e.hash&uint64(len(t.buckets)-1)]
			e.chain, *b = *b, e
			e = next
		}
	}
}

// The timer wheel: an entry stands in the slot of its due time, behind those
// that came into it before. An entry that is due in a later round is passed
// over, so no time is too far away.
const (
	wheelTick  = int64(10 * time.Millisecond)
	wheelSlots = 4096 // 41 s: above the usual timeouts and windows
	noSlot     = -1
)

type wheelSlot struct{ first, last *entry }

type wheel struct {
	slots [wheelSlots]wheelSlot
	done  int64 // tick up to which every slot was visited
}

func (w *wheel) add(e *entry, due int64) {
	tick := max(due/wheelTick+1, w.done+1) // the first visit after it is due
	e.due, e.slot = due, int32(tick&(wheelSlots-1))
	s := &w.slots[e.slot]
	e.prev, e.next = s.last, nil
	if s.last != nil {
		s.last.next = e
	} else {
		s.first = e
	}
	s.last = e
}

func (w *wheel) remove(e *entry) {
	if e.slot == noSlot {
		return
	}
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		w.slots[e.slot].first = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		w.slots[e.slot].last = e.prev
	}
	e.prev, e.next, e.slot = nil, nil, noSlot
}

func (w *wheel) move(e *entry, due int64) {
	w.remove(e)
	w.add(e, due)
}

// repeat has the last tick's slot visited again, because it was not to its end.
func (w *wheel) repeat() { w.done-- }

// expire calls due for each entry whose time has come; due may add, move and
// remove any entry.
func (w *wheel) expire(now int64, due func(*entry)) {
	tick := now / wheelTick
	if tick-w.done > wheelSlots { // the clock jumped: one round sees every slot
		w.done = tick - wheelSlots
	}
	for w.done < tick {
		w.done++
		slot := &w.slots[w.done&(wheelSlots-1)]
		for e := slot.first; e != nil; {
			if e.due > now {
				e = e.next
				continue
			}
			w.remove(e)
			due(e)
			e = slot.first // the list may have changed; what is due was taken out, so this ends
			for e != nil && e.due > now {
				e = e.next
			}
		}
	}
}

// buffers keeps byte slices of a few sizes, so that remembered answers of 60
// bytes do not take 4096.
type buffers struct {
	free [len(bufferSizes)][][]byte
	held *atomic.Int64 // bytes that are in use, of all workers
}

// maxFree bounds what is kept of one size for the next use, in bytes: what a
// storm took is given back.
const maxFree = 4 << 20

var bufferSizes = [...]int{64, 128, 256, 512, 1024, radwire.MaxLen}

// keep copies b into a buffer of its own.
func (s *buffers) keep(b []byte) []byte {
	for i, size := range bufferSizes {
		if len(b) > size {
			continue
		}
		var buf []byte
		if n := len(s.free[i]); n > 0 {
			buf = s.free[i][n-1]
			s.free[i] = s.free[i][:n-1]
		} else {
			buf = make([]byte, size)
		}
		s.held.Add(int64(size))
		return buf[:copy(buf[:size], b)]
	}
	panic("radiusfront: a packet of more than 4096 bytes")
}

// release takes a buffer back; what it held is wiped, since it may have been a
// password (R15).
func (s *buffers) release(b []byte) {
	if b == nil {
		return
	}
	clear(b)
	for i, size := range bufferSizes {
		if cap(b) == size {
			s.held.Add(-int64(size))
			if len(s.free[i])*size < maxFree {
				s.free[i] = append(s.free[i], b[:0])
			}
			return
		}
	}
	panic("radiusfront: a buffer that is not ours came back")
}
