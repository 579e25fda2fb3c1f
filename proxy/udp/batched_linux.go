package udp

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// turnEvents is how many ready sockets one turn takes from epoll at most.
const turnEvents = 128

// turnBatches bounds how many full batches are read before what was answered is sent.
const turnBatches = 4

// batched is the loop that moves datagrams in batches. One goroutine runs it to completion: it takes the ready sockets
// from epoll, reads one batch from each, calls the handler, sends what was queued, and begins again. A socket that
// has more to read is level-triggered: it is ready again in the next turn, behind the others.
type batched struct {
	g    *Group
	io   *mmsg
	poll *poller

	mu   sync.Mutex
	byFD []*Conn // index: descriptor

	events [turnEvents]unix.EpollEvent
	ready  [turnEvents]*Conn
}

func newBatched(g *Group) (*batched, error) {
	p, err := newPoller()
	if err != nil {
		return nil, err
	}
	return &batched{g: g, poll: p, io: newMmsg(g.batch, g.maxPacket)}, nil
}

func (b *batched) run() error {
	for {
		n, err := b.poll.wait(b.events[:])
		if err != nil {
			return fmt.Errorf("waiting for datagrams: %w", err)
		}
		if b.g.closed.Load() {
			return nil
		}
		b.turn(b.events[:n])
	}
}

// turn serves what is ready.
func (b *batched) turn(events []unix.EpollEvent) {
	b.resolve(events)
	read := 0
	for i := range events {
		c := b.ready[i]
		b.ready[i] = nil
		if c == nil {
			continue
		}
		if events[i].Events&unix.EPOLLOUT != 0 {
			b.unblock(c)
		}
		if events[i].Events&^unix.EPOLLOUT != 0 {
			read += b.receive(c)
		}
		if read >= turnBatches*b.g.batch {
			b.g.finish()
			read = 0
		}
	}
	b.g.finish()
}

// resolve finds the Conns of the events under one lock. An event that is stale, because another goroutine closed the
// socket and opened one with the same descriptor, makes the new one be read in vain: harmless.
func (b *batched) resolve(events []unix.EpollEvent) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range events {
		b.ready[i] = nil
		if fd := int(events[i].Fd); fd < len(b.byFD) {
			b.ready[i] = b.byFD[fd]
		}
	}
}

// receive reads one batch from c and hands it on. It returns how many datagrams it took from the kernel.
func (b *batched) receive(c *Conn) int {
	s := c.end.(*socket)
	n, errno := b.io.recv(c, s)
	if errno != 0 {
		if errno != unix.EAGAIN && errno != unix.EBADF {
			b.g.fail(c, errno)
		}
		return 0
	}
	b.g.received(c, b.io.packets(c, n))
	return n
}

// send sends what is queued on c.
func (b *batched) send(c *Conn) {
	s := c.end.(*socket)
	for c.queue.n > 0 {
		n := b.io.fill(c)
		if !b.sendFilled(c, s, n) {
			return
		}
	}
}

// sendFilled sends the first n messages of b.io, which are c's queue. False: the kernel has no room, or c is closed.
func (b *batched) sendFilled(c *Conn, s *socket, n int) bool {
	retried := false
	for at := 0; at < n; {
		k, errno := b.io.send(s, at, n)
		switch {
		case errno == 0:
			c.stats.sent.Add(uint64(k))
			b.release(c, k)
			at += k
			retried = false
		case errno == unix.EAGAIN:
			b.block(c, s)
			return false
		case errno == unix.EBADF:
			b.g.dropQueue(c)
			return false
		case c.dialed && !retried:
			// It may be an error that the kernel held against the socket since an earlier datagram and that this
			// call only took delivery of; then the datagram itself was not tried yet.
			b.g.fail(c, errno)
			retried = true
		default:
			c.stats.drops[DropSendError].Add(1)
			b.release(c, 1)
			at++
			retried = false
		}
	}
	return true
}

// release gives the first k slots of c's queue back.
func (b *batched) release(c *Conn, k int) {
	for range k {
		b.g.slots.put(c.queue.pop())
	}
}

// block leaves c's queue, at most one batch, until the kernel's send buffer has room.
func (b *batched) block(c *Conn, s *socket) {
	if s.interest(b.poll.ep, unix.EPOLL_CTL_MOD, unix.EPOLLIN|unix.EPOLLOUT) == nil {
		c.blocked = true
	}
}

func (b *batched) unblock(c *Conn) {
	if !c.blocked {
		return
	}
	c.blocked = false
	s := c.end.(*socket)
	if err := s.interest(b.poll.ep, unix.EPOLL_CTL_MOD, unix.EPOLLIN); err != nil {
		b.g.dropQueue(c)
		return
	}
	b.send(c)
}

func (b *batched) wake() { b.poll.wake() }

func (b *batched) close() { b.poll.close() }

// watch enters c where events find it.
func (b *batched) watch(c *Conn) error {
	s := c.end.(*socket)
	b.mu.Lock()
	if s.fd >= len(b.byFD) {
		b.byFD = append(b.byFD, make([]*Conn, s.fd+1-len(b.byFD))...)
	}
	b.byFD[s.fd] = c
	b.mu.Unlock()
	if err := s.interest(b.poll.ep, unix.EPOLL_CTL_ADD, unix.EPOLLIN); err != nil {
		return fmt.Errorf("watching the socket: %w", err)
	}
	return nil
}

func (b *batched) listen(c *Conn, addr netip.AddrPort, cfg ListenConfig) error {
	s, err := newSocket(b, c)
	if err != nil {
		return err
	}
	if err := errors.Join(listenOptions(s.fd, c.is6, c.wildcard), c.setBuffers(s.fd, cfg)); err != nil {
		return errors.Join(err, s.close())
	}
	return s.bound(c, addr, netip.AddrPort{})
}

func (b *batched) dial(c *Conn, remote netip.AddrPort, source netip.Addr, cfg ListenConfig) error {
	s, err := newSocket(b, c)
	if err != nil {
		return err
	}
	if err := errors.Join(commonOptions(s.fd, c.is6), c.setBuffers(s.fd, cfg)); err != nil {
		return errors.Join(err, s.close())
	}
	return s.bound(c, netip.AddrPortFrom(source, 0), remote)
}
