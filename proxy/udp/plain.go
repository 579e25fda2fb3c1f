package udp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// plainWait bounds how long a full send buffer may hold up the other sockets of the Group.
const plainWait = 10 * time.Millisecond

// plain is the loop for every system: a goroutine for each socket, a system call for each datagram. The handler is
// called under one lock, so it sees the same as on the batched path: one call at a time, and a turn after each batch.
type plain struct {
	g     *Group
	woken chan struct{}

	turn sync.Mutex // held while the handler is called and while what belongs to the loop is touched

	mu      sync.Mutex
	running bool
	waiting []*Conn // watched before Run
	readers sync.WaitGroup
}

func newPlain(g *Group) *plain { return &plain{g: g, woken: make(chan struct{}, 1)} }

func (p *plain) run() error {
	p.mu.Lock()
	p.running = true
	for _, c := range p.waiting {
		p.start(c)
	}
	p.waiting = nil
	p.mu.Unlock()
	for range p.woken {
		if p.g.closed.Load() {
			break
		}
		p.turn.Lock()
		p.g.finish()
		p.turn.Unlock()
	}
	p.readers.Wait()
	return nil
}

// watch starts the reader, or leaves that to run.
func (p *plain) watch(c *Conn) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running {
		p.start(c)
	} else {
		p.waiting = append(p.waiting, c)
	}
	return nil
}

func (p *plain) start(c *Conn) { p.readers.Go(func() { p.read(c) }) }

// read serves one socket until it is closed.
func (p *plain) read(c *Conn) {
	s := c.end.(*plainSocket)
	buf := make([]byte, p.g.maxPacket+1) // one more: a datagram that reaches it does not fit
	oob := make([]byte, plainOOB)
	batch := make([]Packet, 1)
	for {
		n, oobn, _, peer, err := s.conn.ReadMsgUDPAddrPort(buf, oob)
		if c.closed.Load() {
			return
		}
		p.turn.Lock()
		switch {
		case err != nil:
			p.g.fail(c, errnoOf(err))
		case n > p.g.maxPacket:
			c.stats.drops[DropTruncated].Add(1)
		default:
			batch[0] = Packet{Data: buf[:n:p.g.maxPacket], Dest: s.dest(peer, oob[:oobn])}
			p.g.received(c, batch)
		}
		p.g.finish()
		p.turn.Unlock()
		if err != nil {
			pause(err)
		}
	}
}

// pause keeps an error that does not go away from taking a whole processor.
func pause(err error) {
	if !errors.Is(err, syscall.ECONNREFUSED) {
		time.Sleep(time.Millisecond)
	}
}

// errnoOf is the kernel's own error, as the batched path tells it.
func errnoOf(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

func (p *plain) wake() {
	select {
	case p.woken <- struct{}{}:
	default:
	}
}

func (p *plain) close() {}

// send sends c's queue, one by one.
func (p *plain) send(c *Conn) {
	s := c.end.(*plainSocket)
	if c.queue.n == 0 {
		return
	}
	s.patience()
	renewed := false
	for c.queue.n > 0 {
		if c.closed.Load() {
			p.g.dropQueue(c)
			return
		}
		slot := c.queue.pop()
		err := s.write(slot.buf[:slot.n], slot.dest)
		if errors.Is(err, os.ErrDeadlineExceeded) && !renewed {
			// This goroutine was held up, and the buffer may have room: a deadline that is over fails untried.
			renewed = true
			s.patience()
			err = s.write(slot.buf[:slot.n], slot.dest)
		}
		if c.dialed && err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, net.ErrClosed) {
			// It may be an error held against the socket since an earlier datagram.
			p.g.fail(c, errnoOf(err))
			err = s.write(slot.buf[:slot.n], slot.dest)
		}
		_ = c.count(slot.dest, err) // the error is in the books
		p.g.slots.put(slot)
	}
}

func (p *plain) listen(c *Conn, addr netip.AddrPort, cfg ListenConfig) error {
	if c.wildcard && !plainWildcard {
		return ErrWildcard
	}
	scope, err := scopeOf(addr.Addr())
	if err != nil {
		return err
	}
	lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
		return onFD(rc, func(fd int) error { return errors.Join(listenOptions(fd, c.is6, c.wildcard), c.setBuffers(fd, cfg)) })
	}}
	pc, err := lc.ListenPacket(context.Background(), network(c.is6), addr.String())
	if err != nil {
		return err
	}
	c.scope = scope
	return p.opened(c, pc.(*net.UDPConn))
}

func (p *plain) dial(c *Conn, remote netip.AddrPort, source netip.Addr, cfg ListenConfig) error {
	scope, err := scopeOf(remote.Addr())
	if err != nil {
		return err
	}
	d := net.Dialer{Control: func(_, _ string, rc syscall.RawConn) error {
		return onFD(rc, func(fd int) error { return errors.Join(commonOptions(fd, c.is6), c.setBuffers(fd, cfg)) })
	}}
	if source.IsValid() {
		d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	nc, err := d.DialContext(context.Background(), network(c.is6), remote.String())
	if err != nil {
		return err
	}
	c.scope = scope
	c.remote = netip.AddrPortFrom(remote.Addr().WithZone(""), remote.Port())
	return p.opened(c, nc.(*net.UDPConn))
}

func (p *plain) opened(c *Conn, u *net.UDPConn) error {
	local := unmap(u.LocalAddr().(*net.UDPAddr).AddrPort())
	c.local = netip.AddrPortFrom(local.Addr().WithZone(""), local.Port())
	c.end = &plainSocket{c: c, conn: u}
	return nil
}

func network(is6 bool) string {
	if is6 {
		return "udp6"
	}
	return "udp4"
}

// onFD runs f on a connection's descriptor.
func onFD(rc syscall.RawConn, f func(fd int) error) error {
	var err error
	if ctlErr := rc.Control(func(fd uintptr) { err = f(int(fd)) }); ctlErr != nil {
		return ctlErr
	}
	return err
}

// plainSocket is one socket of the plain path.
type plainSocket struct {
	c    *Conn
	conn *net.UDPConn

	mu    sync.Mutex
	drops uint64 // as the kernel last said
}

// dest is what the batched path tells of a datagram.
func (s *plainSocket) dest(peer netip.AddrPort, oob []byte) Dest {
	if s.c.dialed {
		return Dest{Peer: s.c.remote, Local: s.c.local.Addr(), IfIndex: s.c.scope}
	}
	addr := peer.Addr().Unmap()
	d := Dest{Peer: netip.AddrPortFrom(addr.WithZone(""), peer.Port()), Local: s.c.local.Addr()}
	if addr.IsLinkLocalUnicast() {
		d.IfIndex = s.c.scope
	}
	if s.c.wildcard {
		d.Local, d.IfIndex = parseControl(oob)
	}
	return d
}

// write sends one datagram, waiting as long as the socket's deadline allows.
func (s *plainSocket) write(b []byte, d Dest) error {
	if s.c.dialed {
		_, err := s.conn.Write(b)
		return err
	}
	peer := d.Peer
	if peer.Addr().Is6() && peer.Addr().IsLinkLocalUnicast() && d.IfIndex != 0 {
		peer = netip.AddrPortFrom(peer.Addr().WithZone(strconv.FormatUint(uint64(d.IfIndex), 10)), peer.Port())
	}
	var oob []byte
	if s.c.wildcard {
		oob = makeControl(d)
	}
	_, _, err := s.conn.WriteMsgUDPAddrPort(b, oob, peer)
	return err
}

func (s *plainSocket) writeTo(b []byte, d Dest) error {
	c := s.c
	if !c.dialed && !c.canReach(d) {
		return c.count(d, syscall.EAFNOSUPPORT)
	}
	s.patience()
	err := s.write(b, d)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		s.patience() // as in plain.send
		err = s.write(b, d)
	}
	if c.dialed && err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, net.ErrClosed) {
		// As in plain.send; the handler hears of it in its own time.
		c.g.failElsewhere(c, errnoOf(err))
		err = s.write(b, d)
	}
	return c.count(d, err)
}

// patience starts the time that a full send buffer is waited for.
func (s *plainSocket) patience() {
	_ = s.conn.SetWriteDeadline(time.Now().Add(plainWait)) // fails on a closed socket, as the write does then
}

func (s *plainSocket) kernelDrops() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if rc, err := s.conn.SyscallConn(); err == nil {
		_ = rc.Control(func(fd uintptr) { s.drops = kernelDrops(int(fd)) }) // closed: it stays what it was
	}
	return s.drops
}

func (s *plainSocket) close() error {
	s.kernelDrops()
	return s.conn.Close()
}
