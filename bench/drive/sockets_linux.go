package drive

import (
	"fmt"
	"net/netip"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// batch is how many datagrams one system call moves at most.
	batch = 64
	// packetSize is the longest datagram, in bytes.
	packetSize = 2048
	// bufferSize is what each socket asks the kernel for, in bytes and each direction.
	bufferSize = 4 << 20
)

type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// messages are buffers for one system call; they serve all sockets in turn.
type messages struct {
	hdrs  [batch]mmsghdr
	iovs  [batch]unix.Iovec
	names [batch][unix.SizeofSockaddrInet6]byte
	bufs  [batch][packetSize]byte
	n     int // to be sent
}

func newMessages(withNames bool) *messages {
	m := &messages{}
	for i := range m.hdrs {
		m.iovs[i].Base = &m.bufs[i][0]
		h := &m.hdrs[i].hdr
		h.Iov = &m.iovs[i]
		h.SetIovlen(1)
		if withNames {
			h.Name = &m.names[i][0]
		}
	}
	return m
}

// receive reads what there is, at most one batch; it never waits.
func (m *messages) receive(fd int) (int, error) {
	for i := range m.hdrs {
		m.iovs[i].SetLen(packetSize)
		if m.hdrs[i].hdr.Name != nil {
			m.hdrs[i].hdr.Namelen = unix.SizeofSockaddrInet6
		}
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.hdrs)), batch, unix.MSG_DONTWAIT, 0, 0)
	if errno == unix.EAGAIN || errno == unix.EINTR {
		return 0, nil
	}
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func (m *messages) data(i int) []byte { return m.bufs[i][:m.hdrs[i].len] }

// next is the buffer of the next message to be sent; commit takes it up.
func (m *messages) next() []byte { return m.bufs[m.n][:0] }

func (m *messages) commit(length int) {
	m.iovs[m.n].SetLen(length)
	m.n++
}

// replyTo lets message m.n go where message i of other came from.
func (m *messages) replyTo(other *messages, i int) {
	m.names[m.n] = other.names[i]
	m.hdrs[m.n].hdr.Namelen = other.hdrs[i].hdr.Namelen
}

// send sends what was committed. What the kernel does not take is gone.
func (m *messages) send(fd int) error {
	var first error
	for at := 0; at < m.n; {
		k, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.hdrs[at])), uintptr(m.n-at), unix.MSG_DONTWAIT, 0, 0)
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
	m.n = 0
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
