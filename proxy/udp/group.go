package udp

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
)

// finishRounds bounds how often one turn of the loop lets the handler react to errors of the turn's own sends.
const finishRounds = 4

// Group is one worker: its sockets and the loop that serves them. All methods may be called from any goroutine.
type Group struct {
	batch     int
	maxPacket int
	loop      loop

	mu      sync.Mutex
	conns   map[*Conn]struct{}
	letters []letter
	running bool

	// These two are written with mu held.
	closed atomic.Bool
	mail   atomic.Bool // letters is not empty

	turns atomic.Uint64 // written by the loop alone

	// The rest belongs to the goroutine that runs the loop.
	h      Handler
	eh     ErrorHandler // nil: the handler does not care
	slots  slots
	dirty  []*Conn // conns with something queued, except those that wait for the kernel's buffer
	failed []*Conn // conns with an error that the handler has not seen
}

// letter is something that another goroutine did to a Conn and that the loop's goroutine has to finish.
type letter struct {
	c   *Conn
	err error // nil: the Conn was closed
}

// loop is one of the two ways to move datagrams between sockets and the Group.
type loop interface {
	listen(c *Conn, addr netip.AddrPort, cfg ListenConfig) error
	dial(c *Conn, remote netip.AddrPort, source netip.Addr, cfg ListenConfig) error
	watch(c *Conn) error // from here on c is read
	run() error          // until wake finds the Group closed
	wake()
	send(c *Conn) // sends what is queued on c; what the kernel has no room for stays queued
	close()       // frees what the loop holds besides the sockets; run has returned or never ran
}

// endpoint is one socket as its loop made it. Safe for concurrent use.
type endpoint interface {
	writeTo(b []byte, d Dest) error
	kernelDrops() uint64
	close() error
}

// NewGroup makes a Group without sockets. It fails for values out of range and when the system is out of descriptors.
// Close frees it, also when Run was never called.
func NewGroup(cfg GroupConfig) (*Group, error) {
	if cfg.Batch == 0 {
		cfg.Batch = DefaultBatch
	}
	if cfg.MaxPacket == 0 {
		cfg.MaxPacket = DefaultMaxPacket
	}
	if cfg.MaxUnsent == 0 {
		cfg.MaxUnsent = DefaultMaxUnsent
	}
	if cfg.Batch < 1 || cfg.Batch > MaxBatch {
		return nil, fmt.Errorf("making a group: batch %d is not in 1..%d", cfg.Batch, MaxBatch)
	}
	if cfg.MaxPacket < 1 || cfg.MaxPacket > 65535 {
		return nil, fmt.Errorf("making a group: packet size %d is not in 1..65535", cfg.MaxPacket)
	}
	g := &Group{batch: cfg.Batch, maxPacket: cfg.MaxPacket, conns: map[*Conn]struct{}{}}
	g.slots = newSlots(cfg.Batch, cfg.MaxPacket, cfg.MaxUnsent)
	var err error
	if g.loop, err = newLoop(g, cfg.Plain); err != nil {
		return nil, fmt.Errorf("making a group: %w", err)
	}
	return g, nil
}

// Listen opens a listening socket that shares its address (SO_REUSEPORT) with those of other Groups, and that may be
// on an address which the host does not have yet (IP_FREEBIND). Port 0 takes a free one. The Conn is read as soon as
// Run runs.
func (g *Group) Listen(addr netip.AddrPort, cfg ListenConfig) (*Conn, error) {
	addr = unmap(addr)
	if !addr.IsValid() {
		return nil, errors.New("listening on UDP: invalid address")
	}
	c := &Conn{g: g, is6: addr.Addr().Is6(), wildcard: addr.Addr().IsUnspecified()}
	c.SetTag(cfg.Tag)
	if err := g.open(c, func() error { return g.loop.listen(c, addr, cfg.withDefaults()) }); err != nil {
		return nil, fmt.Errorf("listening on UDP %s: %w", addr, err)
	}
	return c, nil
}

// Dial opens a socket connected to remote, from source (invalid: the kernel chooses) and a random port that the
// kernel chooses. Only remote's datagrams are received on it, and its ICMP errors are told (ErrorHandler). It fails
// with EADDRNOTAVAIL if source is not the host's and with ENETUNREACH if there is no route.
func (g *Group) Dial(remote netip.AddrPort, source netip.Addr, cfg ListenConfig) (*Conn, error) {
	remote, source = unmap(remote), source.Unmap()
	if !remote.IsValid() || remote.Port() == 0 {
		return nil, fmt.Errorf("dialing UDP: invalid address %s", remote)
	}
	if source.IsValid() && source.Is4() != remote.Addr().Is4() {
		return nil, fmt.Errorf("dialing UDP %s: source %s is of the other address family", remote, source)
	}
	c := &Conn{g: g, is6: remote.Addr().Is6(), dialed: true}
	c.SetTag(cfg.Tag)
	if err := g.open(c, func() error { return g.loop.dial(c, remote, source, cfg.withDefaults()) }); err != nil {
		return nil, fmt.Errorf("dialing UDP %s: %w", remote, err)
	}
	return c, nil
}

// open makes c's socket, then registers and watches it unless the Group was closed meanwhile.
func (g *Group) open(c *Conn, socket func() error) error {
	if err := socket(); err != nil {
		return err
	}
	g.mu.Lock()
	err := ErrClosed
	if !g.closed.Load() {
		g.conns[c] = struct{}{}
		if err = g.loop.watch(c); err != nil {
			delete(g.conns, c)
		}
	}
	g.mu.Unlock()
	if err != nil {
		return errors.Join(err, c.end.close())
	}
	return nil
}

// Run serves the sockets until Close, which makes it return nil; any other return is a failure of the system's
// polling. It can be called once. The handler runs on this goroutine (plain path: on one goroutine at a time).
func (g *Group) Run(h Handler) error {
	g.mu.Lock()
	if g.closed.Load() || g.running {
		defer g.mu.Unlock()
		if g.running {
			return errors.New("running a group: Run was called before")
		}
		return nil
	}
	g.running = true
	g.h = h
	g.eh, _ = h.(ErrorHandler)
	g.mu.Unlock()

	err := g.loop.run()
	if closeErr := g.Close(); err == nil {
		err = closeErr
	}
	g.drain()
	g.loop.close()
	if err != nil {
		return fmt.Errorf("running a group: %w", err)
	}
	return nil
}

// Wake makes the loop turn once, so that Flush is called after Wake was. It never blocks and does nothing on a closed
// Group. Many calls may share one turn.
func (g *Group) Wake() { g.loop.wake() }

// Turns is how many turns the loop has finished. It stands still only while nothing wakes the loop, or while the loop is
// stuck: Wake tells the two apart.
func (g *Group) Turns() uint64 { return g.turns.Load() }

// Close closes every socket and makes Run return; what is queued is dropped. It does not wait for Run. Calling it
// again does nothing.
func (g *Group) Close() error {
	g.mu.Lock()
	if g.closed.Load() {
		g.mu.Unlock()
		return nil
	}
	g.closed.Store(true)
	running := g.running
	conns := make([]*Conn, 0, len(g.conns))
	for c := range g.conns {
		conns = append(conns, c)
		g.remove(c)
	}
	g.mu.Unlock()

	var errs []error
	for _, c := range conns {
		errs = append(errs, c.end.close())
	}
	if running {
		g.loop.wake()
	} else {
		g.loop.close()
	}
	return errors.Join(errs...)
}

// post leaves a letter for the loop's goroutine, with mu held. The caller wakes it afterwards.
func (g *Group) post(l letter) {
	if g.running {
		g.letters = append(g.letters, l)
		g.mail.Store(true)
	}
}

// remove takes c out of the Group, with mu held, and leaves what is queued on it to the loop's goroutine. It tells
// whether c was still there; then its socket is the caller's to close.
func (g *Group) remove(c *Conn) bool {
	if _, ok := g.conns[c]; !ok {
		return false
	}
	delete(g.conns, c)
	c.closed.Store(true)
	g.post(letter{c: c})
	return true
}

// failElsewhere tells of an error that was met on another goroutine.
func (g *Group) failElsewhere(c *Conn, err error) {
	g.mu.Lock()
	g.post(letter{c: c, err: err})
	g.mu.Unlock()
	g.loop.wake()
}

// readMail finishes what other goroutines began.
func (g *Group) readMail() {
	if !g.mail.Load() {
		return
	}
	g.mu.Lock()
	letters := g.letters
	g.letters = nil
	g.mail.Store(false)
	g.mu.Unlock()
	for _, l := range letters {
		if l.err != nil {
			g.fail(l.c, l.err)
		} else {
			g.dropQueue(l.c)
		}
	}
}

// received hands one batch to the handler.
func (g *Group) received(c *Conn, batch []Packet) {
	if len(batch) == 0 {
		return
	}
	c.stats.received.Add(uint64(len(batch)))
	g.h.Receive(c, batch)
}

// fail notes an error of a dialed Conn for the handler; one is enough until it was told.
func (g *Group) fail(c *Conn, err error) {
	c.stats.errors.Add(1)
	if g.eh == nil || !c.dialed || c.err != nil {
		return
	}
	c.err = err
	g.failed = append(g.failed, c)
}

// finish ends a turn: errors, Flush, sends; and again while the sends met errors that the handler may react to.
func (g *Group) finish() {
	g.readMail()
	g.turns.Store(g.turns.Load() + 1)
	for range finishRounds {
		g.tellErrors()
		g.h.Flush()
		g.sendAll()
		if len(g.failed) == 0 {
			return
		}
	}
	g.loop.wake()
}

// tellErrors gives the handler each error once. What its own sends bring up meanwhile is left for the next time.
func (g *Group) tellErrors() {
	n := len(g.failed)
	for _, c := range g.failed[:n] {
		err := c.err
		c.err = nil
		if !c.closed.Load() {
			g.eh.SocketError(c, err)
		}
	}
	rest := copy(g.failed, g.failed[n:])
	clear(g.failed[rest:])
	g.failed = g.failed[:rest]
}

// sendAll sends what is queued on any Conn.
func (g *Group) sendAll() {
	for i, c := range g.dirty {
		c.dirty, g.dirty[i] = false, nil
		if !c.blocked {
			g.loop.send(c)
		}
	}
	g.dirty = g.dirty[:0]
}

// drain frees what is queued when the loop has ended.
func (g *Group) drain() {
	g.readMail() // all Conns are closed, so each with a queue left a letter
	g.dirty, g.failed = nil, nil
}

// dropQueue drops what is queued on a closed Conn.
func (g *Group) dropQueue(c *Conn) {
	for c.queue.n > 0 {
		g.slots.put(c.queue.pop())
		c.stats.drops[DropClosed].Add(1)
	}
	if c.next != nil {
		g.slots.put(c.next)
		c.next = nil
	}
}

func (cfg ListenConfig) withDefaults() ListenConfig {
	if cfg.RecvBuffer <= 0 {
		cfg.RecvBuffer = DefaultBuffer
	}
	if cfg.SendBuffer <= 0 {
		cfg.SendBuffer = DefaultBuffer
	}
	return cfg
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
