package udp

// bufferShift is how much further apart than their size buffers lie that are used together, in bytes. At distances of
// 4096 their beginnings, all that most of them hold, would have to share one sixty-fourth of the processor's first cache.
const bufferShift = 3 * 64

// slabSlots is how many slots are made at once.
const slabSlots = 16

// slotBytes bounds what the send buffers of one Group may take.
const slotBytes = 16 << 20

// slot is one datagram to send.
type slot struct {
	buf  []byte // MaxPacket bytes
	n    int
	dest Dest
	next *slot
}

// queue is a list of slots in the order they were committed.
type queue struct {
	head, tail *slot
	n          int
}

func (q *queue) push(s *slot) {
	s.next = nil
	if q.tail == nil {
		q.head = s
	} else {
		q.tail.next = s
	}
	q.tail = s
	q.n++
}

func (q *queue) pop() *slot {
	s := q.head
	q.head = s.next
	if q.head == nil {
		q.tail = nil
	}
	s.next = nil
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

func newSlots(batch, maxPacket int) slots {
	limit := max(4*batch, min(64*batch, slotBytes/maxPacket))
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
