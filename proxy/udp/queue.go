package udp

import "encoding/binary"

// bufferShift is how much further apart than their size buffers lie that are used together, in bytes. At distances of
// 4096 their beginnings, all that most of them hold, would have to share one sixty-fourth of the processor's first cache.
const bufferShift = 3 * 64

// slabSlots is how many slots are made at once.
const slabSlots = 16

// slot is one datagram to send.
type slot struct {
	buf  []byte // MaxPacket bytes
	n    int
	dest Dest
	next *slot
	in   *queue // nil: in none
}

// queue is a list of slots in the order they were committed or, with peers, with those for one peer side by side.
type queue struct {
	head, tail *slot
	n          int
	peers      *peers // nil: the order is kept
}

// peers finds the last slot of a peer in a queue, for as many peers as it has places; what it says is looked up there.
type peers [64]*slot

func (p *peers) place(d *Dest) **slot {
	a := d.Peer.Addr().As16()
	h := binary.NativeEndian.Uint64(a[:]) ^ binary.NativeEndian.Uint64(a[8:]) ^ uint64(d.Peer.Port())<<16
	return &p[h*0x9e3779b97f4a7c15>>58]
}

func (q *queue) push(s *slot) {
	after := q.tail
	if q.peers != nil {
		place := q.peers.place(&s.dest)
		if last := *place; last != nil && last.in == q && last.dest == s.dest {
			after = last
		}
		*place = s
	}
	s.in = q
	q.n++
	if after == nil {
		s.next, q.head, q.tail = nil, s, s
		return
	}
	s.next, after.next = after.next, s
	if after == q.tail {
		q.tail = s
	}
}

func (q *queue) pop() *slot {
	s := q.head
	q.head = s.next
	if q.head == nil {
		q.tail = nil
	}
	s.next, s.in = nil, nil
	q.n--
	return s
}

// slots are the send buffers of a Group. A Conn holds some only while something is queued on it, so that a thousand
// upstream sockets cost no more memory than what is really in flight. The one used last is given out first: it is the
// one still in the processor's cache.
type slots struct {
	free  *slot
	made  int
	limit int
	size  int
	sink  slot // given out when there is no room: what is written there is dropped by Commit
}

func newSlots(batch, maxPacket, most int) slots {
	limit := max(4*batch, min(64*batch, most/maxPacket))
	return slots{limit: limit, size: maxPacket, sink: slot{buf: make([]byte, maxPacket)}}
}

// get gives nil when the limit is reached.
func (p *slots) get() *slot {
	if s := p.free; s != nil {
		p.free, s.next = s.next, nil
		return s
	}
	if p.made == p.limit {
		return nil
	}
	p.grow(min(slabSlots, p.limit-p.made))
	return p.get()
}

// grow makes n slots.
func (p *slots) grow(n int) {
	p.made += n
	stride := p.size + bufferShift
	slab, more := make([]byte, n*stride), make([]slot, n)
	for i := range more {
		more[i].buf = slab[i*stride : i*stride+p.size : i*stride+p.size]
		p.put(&more[i])
	}
}

func (p *slots) put(s *slot) {
	if s == &p.sink {
		return
	}
	s.next, p.free = p.free, s
}
