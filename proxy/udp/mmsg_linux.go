package udp

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// What the kernel shall tell of each datagram, from least to most.
const (
	wantData = iota // a dialed socket: the peer is known
	wantPeer        // a listener on one address
	wantAll         // a wildcard listener: also which address was asked
	numWants
)

// mmsg are the messages of one Group for recvmmsg and sendmmsg: one set for all its sockets, since only one goroutine
// reads and sends. Everything the kernel writes to is made once, and those pointers never change.
type mmsg struct {
	batch, maxPacket int
	single           *receiver
	joined           *receiver // of Conns that take joined datagrams; nil: there was none yet
	mapped           []byte    // its buffers

	sendNames []sockaddr
	sendCtls  []controls
	sendIovs  []unix.Iovec
	sendHdrs  []mmsghdr
	datagrams []int // of each message
}

func newMmsg(batch, maxPacket int) *mmsg {
	m := &mmsg{
		batch: batch, maxPacket: maxPacket, single: newReceiver(batch, maxPacket, maxPacket, make([]byte, slabSize(batch, maxPacket))), sendHdrs: make([]mmsghdr, batch),
		sendNames: make([]sockaddr, batch), sendCtls: make([]controls, batch), sendIovs: make([]unix.Iovec, batch), datagrams: make([]int, batch),
	}
	for i := range batch {
		h := &m.sendHdrs[i].hdr
		h.Name = &m.sendNames[i][0]
		h.Control = m.sendCtls[i].base()
	}
	return m
}

// receiver is what c is read into.
func (m *mmsg) receiver(c *Conn) *receiver {
	if !c.joined {
		return m.single
	}
	if m.joined == nil {
		// Most of it is never touched: it lies where that costs nothing, and not in Go's heap.
		size := slabSize(m.batch, maxJoined)
		slab, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if m.mapped = slab; err != nil {
			slab = make([]byte, size)
		}
		m.joined = newReceiver(m.batch, m.maxPacket, maxJoined, slab)
	}
	return m.joined
}

// close frees what is not the collector's.
func (m *mmsg) close() {
	if m.mapped != nil {
		m.joined = nil
		_ = unix.Munmap(m.mapped) // cannot fail: it was mapped
		m.mapped = nil
	}
}

// fill makes messages of the head of c's queue and returns how many.
func (m *mmsg) fill(c *Conn) int {
	n, at := 0, 0
	for s := c.queue.head; s != nil && at < len(m.sendIovs); n++ {
		first, from := s, at
		for {
			m.sendIovs[at].Base = &s.buf[0]
			m.sendIovs[at].SetLen(s.n)
			at++
			last := s
			s = s.next
			if s == nil || at == len(m.sendIovs) || !c.segment || !first.joins(last, s, at-from) {
				break
			}
		}
		m.datagrams[n] = at - from
		h := &m.sendHdrs[n].hdr
		h.Iov = &m.sendIovs[from]
		h.SetIovlen(at - from)
		h.Namelen = 0
		size := 0
		if !c.dialed {
			h.Namelen = m.sendNames[n].encode(first.dest)
			if c.wildcard {
				size = m.sendCtls[n].encode(first.dest)
			}
		}
		if at-from > 1 {
			size = m.sendCtls[n].segment(size, first.n)
		}
		h.SetControllen(size)
	}
	return n
}

// send sends the messages from..to and returns how many the kernel took; the error is that of the first one.
func (m *mmsg) send(s *socket, from, to int) (int, syscall.Errno) {
	if !s.use() {
		return 0, unix.EBADF
	}
	defer s.done()
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&m.sendHdrs[from])), uintptr(to-from), unix.MSG_DONTWAIT, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		return int(n), 0
	}
}
