package drive

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// batch is how many messages one system call moves at most.
	batch = 64
	// packetSize is the longest datagram that is sent, in bytes.
	packetSize = 2048
	// messageSize is what a message may hold that the kernel put together of several datagrams, in bytes.
	messageSize = 1<<16 - 1
	// maxJoined is how many datagrams leave as one message at most: the kernel's least bound is 64.
	maxJoined = 64
	// bufferSize is what each socket asks the kernel for, in bytes and each direction.
	bufferSize = 4 << 20
)

type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

type sockname [unix.SizeofSockaddrInet6]byte

// control is the length of the datagrams in a message: of UDP_SEGMENT two bytes, of UDP_GRO four.
type control struct {
	hdr  unix.Cmsghdr
	data [8]byte
}

// inbox takes what one system call receives; it serves all sockets in turn.
type inbox struct {
	hdrs  [batch]mmsghdr
	iovs  [batch]unix.Iovec
	names [batch]sockname
	ctls  [batch]control
	bufs  [batch][]byte
	parts []part
}

// part is one datagram, a part of a message.
type part struct {
	data    []byte
	message int
}

func newInbox() *inbox {
	m := &inbox{}
	for i := range m.hdrs {
		m.bufs[i] = make([]byte, messageSize)
		m.iovs[i].Base = &m.bufs[i][0]
		m.iovs[i].SetLen(messageSize)
		h := &m.hdrs[i].hdr
		h.Iov, h.Name, h.Control = &m.iovs[i], &m.names[i][0], (*byte)(unsafe.Pointer(&m.ctls[i]))
		h.SetIovlen(1)
	}
	return m
}

// receive reads what there is, at most one batch of messages, and tells how many datagrams that is; it never waits.
func (m *inbox) receive(fd int) (int, error) {
	m.parts = m.parts[:0]
	for i := range m.hdrs {
		m.hdrs[i].hdr.Namelen = unix.SizeofSockaddrInet6
		m.hdrs[i].hdr.SetControllen(int(unsafe.Sizeof(control{})))
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.hdrs)), batch, unix.MSG_DONTWAIT, 0, 0)
	if errno == unix.EAGAIN || errno == unix.EINTR {
		return 0, nil
	}
	if errno != 0 {
		return 0, errno
	}
	for i := range int(n) {
		b, each := m.bufs[i][:m.hdrs[i].len], int(m.hdrs[i].len)
		if c := &m.ctls[i]; m.hdrs[i].hdr.Controllen > 0 && c.hdr.Level == unix.IPPROTO_UDP && c.hdr.Type == unix.UDP_GRO {
			each = int(binary.NativeEndian.Uint32(c.data[:]))
		}
		for len(b) > each {
			m.parts = append(m.parts, part{b[:each:each], i})
			b = b[each:]
		}
		m.parts = append(m.parts, part{b, i})
	}
	return len(m.parts), nil
}

func (m *inbox) data(i int) []byte { return m.parts[i].data }

// from is who sent datagram i.
func (m *inbox) from(i int) *sockname { return &m.names[m.parts[i].message] }

// outbox holds what one system call sends. Datagrams of one length to one peer that follow each other leave as one message
// (UDP_SEGMENT), of which the last may be shorter.
type outbox struct {
	hdrs  [batch]mmsghdr
	iovs  [batch]unix.Iovec
	names [batch]sockname
	ctls  [batch]control
	bufs  [batch][packetSize]byte
	n     int // datagrams to be sent
	full  int // messages of them; the last may still grow
	named bool
}

// newOutbox makes one; named is for sockets that are not connected.
func newOutbox(named bool) *outbox {
	m := &outbox{named: named}
	for i := range m.bufs {
		m.iovs[i].Base = &m.bufs[i][0]
	}
	return m
}

// next is the buffer of the next datagram to be sent; commit takes it up. There is one until n is batch.
func (m *outbox) next() []byte { return m.bufs[m.n][:0] }

// commit takes up a datagram; to is whom a named one answers.
func (m *outbox) commit(length int, to *sockname) {
	m.iovs[m.n].SetLen(length)
	defer func() { m.n++ }()
	if last := m.full - 1; last >= 0 {
		h := &m.hdrs[last].hdr
		first, k := m.n-int(h.Iovlen), int(h.Iovlen)
		if each := m.iovs[first].Len; m.iovs[m.n-1].Len == each && m.iovs[m.n].Len <= each && k < maxJoined && (!m.named || m.names[last] == *to) {
			h.SetIovlen(k + 1)
			c := &m.ctls[last]
			c.hdr.Level, c.hdr.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
			c.hdr.SetLen(unix.CmsgLen(2))
			binary.NativeEndian.PutUint16(c.data[:], uint16(each)) //nolint:gosec // at most packetSize
			h.Control = (*byte)(unsafe.Pointer(c))
			h.SetControllen(unix.CmsgSpace(2))
			return
		}
	}
	h := &m.hdrs[m.full].hdr
	*h = unix.Msghdr{Iov: &m.iovs[m.n]}
	h.SetIovlen(1)
	if m.named {
		m.names[m.full] = *to
		h.Name, h.Namelen = &m.names[m.full][0], unix.SizeofSockaddrInet6
		if binary.NativeEndian.Uint16(to[:]) == unix.AF_INET {
			h.Namelen = unix.SizeofSockaddrInet4
		}
	}
	m.full++
}

// send sends what was committed. What the kernel does not take is gone.
func (m *outbox) send(fd int) error {
	var first error
	for at := 0; at < m.full; {
		k, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.hdrs[at])), uintptr(m.full-at), unix.MSG_DONTWAIT, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			k = 1
			if first == nil {
				first = errno
			}
		}
		at += int(k)
	}
	m.n, m.full = 0, 0
	return first
}

// open makes a socket bound to local or connected to remote, whichever is valid.
func open(local, remote netip.AddrPort) (int, error) {
	a := local
	if remote.IsValid() {
		a = remote
	}
	family, sa := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()})
	if a.Addr().Is4() {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("opening a socket: %w", err)
	}
	for _, option := range []int{unix.SO_RCVBUF, unix.SO_SNDBUF} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, bufferSize); err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("setting a socket's buffers: %w", err)
		}
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1) // before Linux 5.0 each datagram is a message
	if remote.IsValid() {
		err = unix.Connect(fd, sa)
	} else {
		err = unix.Bind(fd, sa)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("opening a socket for %s: %w", a, err)
	}
	return fd, nil
}

// pin keeps the calling goroutine on a thread of its own, on that core.
func pin(core int) error {
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(core)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("moving to core %d: %w", core, err)
	}
	return nil
}
