package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
)

// Conn is one socket of a Group: a listener, or connected to one peer.
type Conn struct {
	g             *Group
	end           endpoint
	local, remote netip.AddrPort
	dialed        bool
	wildcard      bool
	is6           bool
	scope         uint32 // interface of a link-local address that it is bound or connected to, else 0
	recvBuffer    int    // bytes, as read back
	sendBuffer    int
	warning       string
	joined        bool // the kernel may hand over several datagrams as one message
	tag           atomic.Pointer[any]
	closed        atomic.Bool
	stats         counters

	// The rest belongs to the goroutine that runs the loop.
	queue   queue
	segment bool  // equal datagrams leave as one message
	next    *slot // handed out by Next, not committed yet
	dirty   bool  // is in Group.dirty
	blocked bool  // waits for room in the kernel's send buffer
	hot     bool  // is in batched.hot
	full    int   // batches read in a row that were full
	err     error // the handler has not seen it; then it is in Group.failed
}

type counters struct {
	received, sent, errors atomic.Uint64
	drops                  [NumDrops]atomic.Uint64
}

// LocalAddr is the address it is bound to; the port is the real one.
func (c *Conn) LocalAddr() netip.AddrPort { return c.local }

// RemoteAddr is the peer of a dialed Conn and the zero AddrPort of a listener.
func (c *Conn) RemoteAddr() netip.AddrPort { return c.remote }

// Tag is the owner's mark. Safe for concurrent use.
func (c *Conn) Tag() any {
	if p := c.tag.Load(); p != nil {
		return *p
	}
	return nil
}

// SetTag replaces the owner's mark. Safe for concurrent use. See ListenConfig.Tag for a mark that is there from the start.
func (c *Conn) SetTag(tag any) { c.tag.Store(&tag) }

// Next gives the next free send buffer, MaxPacket bytes long with whatever was in it before. If Batch datagrams are
// queued it sends them first. It never fails and never blocks: when the kernel takes no more, Commit drops.
// Only for the handler's calls; the buffer is the handler's until Commit or until the call returns. Without a Commit
// the next Next gives the same one.
func (c *Conn) Next() []byte {
	if c.next == nil {
		c.next = c.g.slot(c)
	}
	return c.next.buf
}

// slot finds a buffer for c.
func (g *Group) slot(c *Conn) *slot {
	if c.closed.Load() {
		return &g.slots.sink
	}
	if c.queue.n >= g.batch && !c.blocked {
		g.loop.send(c)
	}
	if c.queue.n >= g.batch {
		return &g.slots.sink
	}
	s := g.slots.get()
	if s == nil {
		g.sendAll()
		s = g.slots.get()
	}
	if s == nil {
		return &g.slots.sink
	}
	return s
}

// Commit queues the first n bytes of the buffer that Next gave; it is sent at the end of the turn, or when the batch
// is full. For a dialed Conn d is ignored. It panics without a Next before it and for an n outside the buffer.
func (c *Conn) Commit(n int, d Dest) {
	s := c.next
	if s == nil {
		panic("udp: Commit without Next")
	}
	if n < 0 || n > len(s.buf) {
		panic("udp: Commit of more than the buffer holds")
	}
	c.next = nil
	switch {
	case c.closed.Load():
		c.stats.drops[DropClosed].Add(1)
		c.g.slots.put(s)
		return
	case s == &c.g.slots.sink:
		c.stats.drops[DropQueueFull].Add(1)
		return
	case !c.dialed && !c.canReach(d):
		c.stats.drops[DropSendError].Add(1)
		c.g.slots.put(s)
		return
	}
	s.n, s.dest = n, d
	c.queue.push(s)
	if !c.dirty && !c.blocked {
		c.dirty = true
		c.g.dirty = append(c.g.dirty, c)
	}
}

// canReach tells whether a listener's socket is of the peer's address family.
func (c *Conn) canReach(d Dest) bool {
	return d.Peer.IsValid() && d.Peer.Addr().Is6() == c.is6
}

// WriteTo sends b at once; for a dialed Conn d is ignored. Safe for concurrent use; b is not kept. It never waits: a
// full send buffer is an error. Errors are counted as drops too.
func (c *Conn) WriteTo(b []byte, d Dest) error {
	if c.closed.Load() {
		c.stats.drops[DropClosed].Add(1)
		return ErrClosed
	}
	return c.end.writeTo(b, d)
}

// count books one datagram that was tried to be sent, and says whose it was if it failed.
func (c *Conn) count(d Dest, err error) error {
	if c.dialed {
		d.Peer = c.remote
	}
	switch {
	case err == nil:
		c.stats.sent.Add(1)
		return nil
	case errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.EBADF):
		c.stats.drops[DropClosed].Add(1)
		return ErrClosed
	case errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.EAGAIN):
		c.stats.drops[DropQueueFull].Add(1)
	default:
		c.stats.drops[DropSendError].Add(1)
	}
	return fmt.Errorf("sending to %s: %w", d.Peer, err)
}

// Close removes it from the Group and closes its socket before it returns; what is queued on it is dropped.
// Calling it again does nothing.
func (c *Conn) Close() error {
	c.g.mu.Lock()
	removed := c.g.remove(c)
	c.g.mu.Unlock()
	if !removed {
		return nil
	}
	err := c.end.close()
	c.g.loop.wake()
	return err
}

// KernelDrops is the number of datagrams that the kernel dropped on this socket, joined ones as one, mostly because its
// receive buffer was full. Linux only (SO_MEMINFO), else 0. After Close it stays what it was. It costs one system call.
func (c *Conn) KernelDrops() uint64 { return c.end.kernelDrops() }

// Buffers are the kernel's receive and send buffers in bytes as read back, in the unit in which they were asked for
// (Linux books twice as much, for its own overhead).
func (c *Conn) Buffers() (recv, send int) { return c.recvBuffer, c.sendBuffer }

// BufferWarning is empty, or says which buffer is smaller than was asked for and which sysctl to raise to what.
func (c *Conn) BufferWarning() string { return c.warning }

// Stats are the counters. They are read one by one, so a sum over them may be off by what happens meanwhile.
func (c *Conn) Stats() Stats {
	s := Stats{Received: c.stats.received.Load(), Sent: c.stats.sent.Load(), Errors: c.stats.errors.Load()}
	for i := range s.Drops {
		s.Drops[i] = c.stats.drops[i].Load()
	}
	return s
}
