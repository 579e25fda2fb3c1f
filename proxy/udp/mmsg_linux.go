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
	bufs  [][]byte // one for each message, MaxPacket long
	names []sockaddr
	ctls  []control
	iovs  []unix.Iovec
	hdrs  [numWants][]mmsghdr
	pkts  []Packet

	sendNames []sockaddr
	sendCtls  []controls
	sendIovs  []unix.Iovec
	sendHdrs  []mmsghdr
	datagrams []int // of each message
}

func newMmsg(batch, maxPacket int) *mmsg {
	m := &mmsg{
		bufs: make([][]byte, batch), names: make([]sockaddr, batch), ctls: make([]control, batch), iovs: make([]unix.Iovec, batch),
		pkts: make([]Packet, batch), sendHdrs: make([]mmsghdr, batch),
		sendNames: make([]sockaddr, batch), sendCtls: make([]controls, batch), sendIovs: make([]unix.Iovec, batch), datagrams: make([]int, batch),
	}
	stride := maxPacket + bufferShift
	slab := make([]byte, batch*stride)
	for want := range m.hdrs {
		m.hdrs[want] = make([]mmsghdr, batch)
	}
	for i := range batch {
		m.bufs[i] = slab[i*stride : i*stride+maxPacket : i*stride+maxPacket]
		m.iovs[i].Base = &m.bufs[i][0]
		m.iovs[i].SetLen(maxPacket)
		for want := range m.hdrs {
			h := &m.hdrs[want][i].hdr
			h.Iov = &m.iovs[i]
			h.SetIovlen(1)
			if want >= wantPeer {
				h.Name = &m.names[i][0]
				h.Namelen = uint32(len(m.names[i]))
			}
			if want == wantAll {
				h.Control = m.ctls[i].base()
				h.SetControllen(controlSize)
			}
		}
		h := &m.sendHdrs[i].hdr
		h.Name = &m.sendNames[i][0]
		h.Control = m.sendCtls[i].base()
	}
	return m
}

// want is what c's headers ask for.
func (c *Conn) want() int {
	switch {
	case c.dialed:
		return wantData
	case c.wildcard:
		return wantAll
	}
	return wantPeer
}

// recv reads one batch. The call does not wait, so the runtime is not told of it: that would make it look for other
// work at each of them, and take the processor away from long ones.
func (m *mmsg) recv(c *Conn, s *socket) (int, syscall.Errno) {
	hdrs := m.hdrs[c.want()]
	if !s.use() {
		return 0, unix.EBADF
	}
	defer s.done()
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&hdrs[0])), uintptr(len(hdrs)), unix.MSG_DONTWAIT, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		return int(n), 0
	}
}

// packets are the first n messages that recv read from c, without those that were cut off.
func (m *mmsg) packets(c *Conn, n int) []Packet {
	want := c.want()
	hdrs := m.hdrs[want][:n]
	k := 0
	for i := range hdrs {
		h := &hdrs[i]
		if h.hdr.Flags&unix.MSG_TRUNC != 0 {
			c.stats.drops[DropTruncated].Add(1)
		} else {
			p := &m.pkts[k]
			k++
			p.Data = m.bufs[i][:h.len]
			switch want {
			case wantData:
				p.Peer, p.Local, p.IfIndex = c.remote, c.local.Addr(), c.scope
			case wantPeer:
				p.Peer, p.IfIndex = m.names[i].decode()
				p.Local = c.local.Addr()
			case wantAll:
				p.Peer, _ = m.names[i].decode()
				p.Local, p.IfIndex = m.ctls[i].decode()
			}
		}
		// The kernel wrote how much it used: the next recv needs to say again how much there is.
		if want >= wantPeer {
			h.hdr.Namelen = uint32(len(m.names[i]))
		}
		if want == wantAll {
			h.hdr.SetControllen(controlSize)
		}
	}
	return m.pkts[:k]
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
