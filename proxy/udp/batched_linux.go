package udp

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// turnEvents is how many ready sockets one turn takes from epoll at most.
const turnEvents = 128

// turnBatches bounds how many full batches are read before what was answered is sent.
const turnBatches = 4

// hotBatches is how many full batches in a row make a socket hot.
const hotBatches = 4

// yieldAfter is after how many datagrams other goroutines may have the processor: a busy loop makes no call that the
// runtime knows of, and would be made to give way only after 10 ms. Giving way wakes a thread that then looks for work,
// so it is not done by the turn: a loop with small batches waits often enough.
//
// yieldEvery is after what time they may have it in any case. A goroutine that holds a processor for 10 ms, of which it
// may have waited most, is taken for one that does not give way: the runtime's monitor takes the processor from its
// calls, and looks every 20 µs what to take next. At 5,000 queries a second it woke up 2,300 times a second for that,
// with this 130 times.
const (
	yieldAfter = 16 * DefaultBatch
	yieldEvery = 4 * time.Millisecond
)

// batched is the loop that moves datagrams in batches. One goroutine runs it to completion: it takes the ready sockets
// from epoll, reads one batch from each, calls the handler, sends what was queued, and begins again. A socket that
// has more to read is level-triggered: it is ready again in the next turn, behind the others.
type batched struct {
	g    *Group
	io   *mmsg
	poll *poller
	now  func() time.Time

	mu   sync.Mutex
	byFD []*Conn // index: descriptor

	events [turnEvents]unix.EpollEvent
	ready  [turnEvents]*Conn
	hot    []*Conn // read in each turn without being asked for, and not in epoll's set
	read   int     // datagrams since other goroutines last had the processor
	unsent int     // of this turn, since what was answered was last sent
}

func newBatched(g *Group) (*batched, error) {
	p, err := newPoller()
	if err != nil {
		return nil, err
	}
	return &batched{g: g, poll: p, now: time.Now, io: newMmsg(g.batch, g.maxPacket)}, nil
}

// standstill is how long after the last look what was found to be ready may be out of date, because the process may have
// stood still since; then it looks again, but not for ever.
const (
	standstill      = 100 * time.Millisecond
	standstillLooks = 4
)

func (b *batched) run() error {
	last, again := b.now(), 0
	yielded := last
	for {
		look := b.poll.wait
		if len(b.hot) > 0 || again > 0 {
			look = b.poll.look
		}
		n, err := look(b.events[:])
		if err != nil {
			return fmt.Errorf("waiting for datagrams: %w", err)
		}
		if b.g.closed.Load() {
			return nil
		}
		b.turn(b.events[:n])
		// What came while we stood still is read before timers say that it did not.
		now := b.now()
		late := now.Sub(last) > standstill
		last = now
		if late && again < standstillLooks {
			again++
			continue
		}
		again = 0
		b.g.finish()
		if b.read >= yieldAfter || now.Sub(yielded) >= yieldEvery {
			b.read, yielded = 0, now
			runtime.Gosched()
		}
	}
}

// turn serves the hot sockets and what is ready.
func (b *batched) turn(events []unix.EpollEvent) {
	b.resolve(events)
	b.unsent = 0
	kept := b.hot[:0]
	for _, c := range b.hot {
		if !c.hot {
			continue
		}
		if n := b.receive(c); n > 0 && n >= b.g.batch/2 || !b.cool(c, 0) {
			kept = append(kept, c)
		}
	}
	clear(b.hot[len(kept):])
	b.hot = kept
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
			b.warm(c, b.receive(c))
		}
	}
}

// pause sends what was answered so far when enough was read.
func (b *batched) pause(read int) {
	b.read += read
	if b.unsent += read; b.unsent >= turnBatches*b.g.batch {
		b.g.sendAll()
		b.unsent = 0
	}
}

// warm takes a socket that has filled some batches in a row out of epoll's set: it is read in each turn without being
// asked for. While it is in the set, the kernel takes a lock and looks for whom to wake with each datagram that leaves
// by it, which is 4 % of all that an answer costs.
func (b *batched) warm(c *Conn, n int) {
	if n < b.g.batch {
		c.full = 0
		return
	}
	if c.full++; c.full < hotBatches || c.blocked || c.closed.Load() {
		return
	}
	if s := c.end.(*socket); s.interest(b.poll.ep, unix.EPOLL_CTL_DEL, 0) == nil {
		c.hot = true
		b.hot = append(b.hot, c)
	}
}

// cool puts a hot socket back: if there is something to read, epoll says so at once. It fails if there is no memory for
// it; then the socket stays hot.
func (b *batched) cool(c *Conn, also uint32) bool {
	s := c.end.(*socket)
	if err := s.interest(b.poll.ep, unix.EPOLL_CTL_ADD, unix.EPOLLIN|also); err != nil && !c.closed.Load() {
		return false
	}
	c.hot, c.full = false, 0
	return true
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

// receive reads one batch from c and hands it on; of joined datagrams it may be several. It returns how many messages it
// took from the kernel.
func (b *batched) receive(c *Conn) int {
	r := b.io.receiver(c)
	n, errno := r.recv(c, c.end.(*socket))
	if errno != 0 {
		if errno != unix.EAGAIN && errno != unix.EBADF {
			b.g.fail(c, errno)
		}
		return 0
	}
	for {
		batch := r.packets()
		if len(batch) == 0 {
			return n
		}
		b.g.received(c, batch)
		b.pause(len(batch))
	}
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

// sendFilled sends the first n messages of b.io, which are c's queue, or less if they have to be filled anew. False: the
// kernel has no room, or c is closed.
func (b *batched) sendFilled(c *Conn, s *socket, n int) bool {
	retried := false
	for at := 0; at < n; {
		k, errno := b.io.send(s, at, n)
		switch {
		case errno == 0:
			for range k {
				c.stats.sent.Add(uint64(b.io.datagrams[at]))
				b.release(c, b.io.datagrams[at])
				at++
			}
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
		case b.io.datagrams[at] > 1 && uncut(errno):
			c.segment = false
			return true
		default:
			c.stats.drops[DropSendError].Add(uint64(b.io.datagrams[at]))
			b.release(c, b.io.datagrams[at])
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
	if c.hot {
		c.blocked = b.cool(c, unix.EPOLLOUT)
	} else if s.interest(b.poll.ep, unix.EPOLL_CTL_MOD, unix.EPOLLIN|unix.EPOLLOUT) == nil {
		c.blocked = true
	}
	if !c.blocked { // nobody would tell when there is room
		b.g.dropQueue(c)
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

func (b *batched) close() {
	b.poll.close()
	b.io.close()
}

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
	if c.segment = cfg.Segment && segments(s.fd); c.segment {
		c.queue.peers = new(peers)
	}
	c.joined = cfg.Segment && takesJoined(s.fd)
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
	c.segment = cfg.Segment && segments(s.fd)
	c.joined = cfg.Segment && takesJoined(s.fd)
	return s.bound(c, netip.AddrPortFrom(source, 0), remote)
}
