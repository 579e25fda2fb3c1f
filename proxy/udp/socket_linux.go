package udp

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socket is a descriptor that may be closed while others use it. use and done surround each system call, so that the
// number is never used after another socket may have got it.
type socket struct {
	loop *batched
	conn *Conn

	mu     sync.RWMutex
	fd     int
	closed bool
	drops  uint64 // as the kernel said before it was closed
}

func newSocket(b *batched, c *Conn) (*socket, error) {
	fd, err := unix.Socket(family(c.is6), unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a socket: %w", err)
	}
	s := &socket{loop: b, conn: c, fd: fd}
	c.end = s
	return s, nil
}

func family(is6 bool) int {
	if is6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

func (s *socket) use() bool {
	s.mu.RLock()
	if s.closed {
		s.mu.RUnlock()
		return false
	}
	return true
}

func (s *socket) done() { s.mu.RUnlock() }

// bound binds and connects, as far as the addresses are valid, and notes in c what came of it.
func (s *socket) bound(c *Conn, local, remote netip.AddrPort) error {
	if err := s.bind(c, local, remote); err != nil {
		return errors.Join(err, s.close())
	}
	return nil
}

func (s *socket) bind(c *Conn, local, remote netip.AddrPort) error {
	if local.Addr().IsValid() {
		sa, scope, err := sockaddrOf(local)
		if err != nil {
			return err
		}
		if err := unix.Bind(s.fd, sa); err != nil {
			return fmt.Errorf("binding to %s: %w", local, err)
		}
		c.scope = scope
	}
	if remote.IsValid() {
		sa, scope, err := sockaddrOf(remote)
		if err != nil {
			return err
		}
		if err := unix.Connect(s.fd, sa); err != nil {
			return fmt.Errorf("connecting to %s: %w", remote, err)
		}
		c.scope = scope
		c.remote = netip.AddrPortFrom(remote.Addr().WithZone(""), remote.Port())
	}
	sa, err := unix.Getsockname(s.fd)
	if err != nil {
		return fmt.Errorf("reading the socket's address: %w", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		c.local = netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		c.local = netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))
	}
	return nil
}

// interest tells epoll what to wait for.
func (s *socket) interest(ep, op int, events uint32) error {
	if !s.use() {
		return ErrClosed
	}
	defer s.done()
	ev := unix.EpollEvent{Events: events, Fd: int32(s.fd)}
	return unix.EpollCtl(ep, op, s.fd, &ev)
}

func (s *socket) writeTo(b []byte, d Dest) error {
	c := s.conn
	if !c.dialed && !c.canReach(d) {
		return c.count(d, unix.EAFNOSUPPORT)
	}
	errno := s.sendmsg(b, d)
	if c.dialed && errno != 0 && errno != unix.EAGAIN && errno != unix.EBADF {
		// As in batched.sendFilled; the handler hears of it in its own time.
		c.g.failElsewhere(c, errno)
		errno = s.sendmsg(b, d)
	}
	if errno == 0 {
		return c.count(d, nil)
	}
	return c.count(d, errno)
}

func (s *socket) sendmsg(b []byte, d Dest) unix.Errno {
	var (
		name sockaddr
		ctl  control
		iov  unix.Iovec
		hdr  unix.Msghdr
	)
	if len(b) > 0 {
		iov.Base = &b[0]
		iov.SetLen(len(b))
		hdr.Iov = &iov
		hdr.SetIovlen(1)
	}
	if !s.conn.dialed {
		hdr.Name = &name[0]
		hdr.Namelen = name.encode(d)
		if s.conn.wildcard {
			hdr.Control = ctl.base()
			hdr.SetControllen(ctl.encode(d))
		}
	}
	if !s.use() {
		return unix.EBADF
	}
	defer s.done()
	for {
		_, _, errno := unix.Syscall(unix.SYS_SENDMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&hdr)), unix.MSG_DONTWAIT)
		if errno != unix.EINTR {
			return errno
		}
	}
}

func (s *socket) kernelDrops() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return s.drops
	}
	return kernelDrops(s.fd)
}

func (s *socket) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.drops = kernelDrops(s.fd)
	s.loop.forget(s)
	return unix.Close(s.fd)
}

// forget takes a socket out of the set before it is closed. Closing alone would not do: a child process that is just
// being started holds a copy of the descriptor.
func (b *batched) forget(s *socket) {
	b.mu.Lock()
	if s.fd < len(b.byFD) && b.byFD[s.fd] == s.conn {
		b.byFD[s.fd] = nil
		b.poll.remove(s.fd)
	}
	b.mu.Unlock()
}

// commonOptions are those of every socket.
func commonOptions(fd int, is6 bool) error {
	// "Fragmentation needed": anybody can forge that message (RFC 1191 §8), to have answers sent in fragments that are
	// easy to forge in turn, and with anycast the true one may reach another site than the one it is meant for. So it
	// is not listened to: DF is not set, and the MTU is the interface's. No answer is refused with EMSGSIZE for it.
	if !is6 {
		return setInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_OMIT, "IP_MTU_DISCOVER")
	}
	// In IPv6 no router fragments, so whoever does not listen to them has to send what every link carries: 1280 bytes
	// (RFC 8200 §5). That is larger than any DNS answer within the default udp_size of 1232.
	return errors.Join(
		setInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1, "IPV6_V6ONLY"),
		setInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_OMIT, "IPV6_MTU_DISCOVER"),
		setInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU, 1280, "IPV6_MTU"),
	)
}

// listenOptions are those of a listener.
func listenOptions(fd int, is6, wildcard bool) error {
	errs := []error{
		commonOptions(fd, is6),
		setInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1, "SO_REUSEPORT"),
		freebind(fd, is6),
	}
	if wildcard && is6 {
		errs = append(errs, setInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1, "IPV6_RECVPKTINFO"))
	} else if wildcard {
		errs = append(errs, setInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1, "IP_PKTINFO"))
	}
	return errors.Join(errs...)
}

// probeOptions are those of Probe's socket: the listeners' without SO_REUSEPORT.
func probeOptions(fd int, is6 bool) error { return freebind(fd, is6) }

// freebind lets the socket be bound to an address that the host does not have (yet).
func freebind(fd int, is6 bool) error {
	if is6 {
		return setInt(fd, unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1, "IPV6_FREEBIND")
	}
	return setInt(fd, unix.IPPROTO_IP, unix.IP_FREEBIND, 1, "IP_FREEBIND")
}

func setInt(fd, level, option, value int, name string) error {
	if err := unix.SetsockoptInt(fd, level, option, value); err != nil {
		return fmt.Errorf("setting %s: %w", name, err)
	}
	return nil
}

// setBuffers asks for the buffers and notes what the kernel gave.
func (c *Conn) setBuffers(fd int, cfg ListenConfig) error {
	recv, err := setBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, cfg.RecvBuffer)
	if err != nil {
		return fmt.Errorf("setting the receive buffer: %w", err)
	}
	send, err := setBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, cfg.SendBuffer)
	if err != nil {
		return fmt.Errorf("setting the send buffer: %w", err)
	}
	c.noteBuffers(recv, send, cfg)
	return nil
}

func setBuffer(fd, force, option, want int) (int, error) {
	// The forced one needs CAP_NET_ADMIN and passes the sysctl's limit.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, want) != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, want); err != nil {
			return 0, err
		}
	}
	got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, option)
	return got / 2, err // socket(7): the kernel doubles the value for its own bookkeeping
}

// kernelDrops is 0 if the kernel does not say (before Linux 4.12).
func kernelDrops(fd int) uint64 {
	var info [unix.SK_MEMINFO_VARS]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO, uintptr(unsafe.Pointer(&info[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 || size <= 4*unix.SK_MEMINFO_DROPS {
		return 0
	}
	return uint64(info[unix.SK_MEMINFO_DROPS])
}

// sockaddrOf translates an address; the zone of a link-local one becomes its interface's index.
func sockaddrOf(a netip.AddrPort) (unix.Sockaddr, uint32, error) {
	addr := a.Addr()
	if addr.Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: addr.As4()}, 0, nil
	}
	scope, err := scopeOf(addr)
	if err != nil {
		return nil, 0, err
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), ZoneId: scope, Addr: addr.As16()}, scope, nil
}
