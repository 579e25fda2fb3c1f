package dnsfront

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"sereno/proxy/dnswire"
	"sereno/proxy/udp"
)

const (
	// maxQueued bounds the octets of answers that one connection has not taken yet;
	// beyond it we do not read from it.
	maxQueued = 256 << 10
	// Options.MaxQueued bounds them over all connections. From its half on, a connection may
	// have only fewQueued octets or one answer; at the whole, leastQueued. Who has more is let
	// go: it does not read, and the others do not pay for that.
	fewQueued   = 16 << 10
	leastQueued = 4 << 10
	// leastIdle is the shortest idle timeout when connections become scarce.
	leastIdle = time.Second
)

// streams are the connections of clients of one service.
type streams struct {
	s    *Service
	tls  *tls.Config // one for all connections: the keys of session tickets are in it
	open atomic.Int64

	mu     sync.Mutex
	all    map[*stream]struct{}
	client map[netip.Prefix]int
	next   int // seat for the next one
	wg     sync.WaitGroup
	large  atomic.Int64 // queries above ordinaryQuery that are being read

	handshakes handshakes

	queued   atomic.Int64 // octets of answers that clients have not taken
	requests atomic.Int64 // over HTTPS, being answered
	handed   atomic.Int64 // answers over HTTPS that net/http may hold
	refused  [NumRefusals]atomic.Uint64

	maxRequests int64
}

// Refusal says why a connection, or a request over HTTPS, was not served or let go.
type Refusal uint8

// The reasons.
const (
	RefusedConnections Refusal = iota // tcp.max_connections
	RefusedClient                     // tcp.max_per_client
	RefusedLong                       // too many long queries are being read
	RefusedSlow                       // it does not take its answers
	RefusedRequests                   // too many requests over HTTPS
	RefusedHandshake                  // its TLS handshake waited too long for its turn
	RefusedCancelled                  // it cancels its requests over HTTPS
	NumRefusals
)

// String is the reason as a metric's label.
func (r Refusal) String() string {
	return [...]string{"max-connections", "max-per-client", "long-queries", "slow-reader", "https-requests", "handshakes", "cancelled", "unknown"}[min(r, NumRefusals)]
}

// mayQueue tells whether a connection may have has octets of answers, the last of size,
// while all have so many of most.
func mayQueue(all, most, has, size int64) bool {
	switch {
	case all <= most/2:
		return true
	case all <= most:
		return has <= fewQueued || has == size
	}
	return has <= leastQueued
}

func (x *streams) init(s *Service, workers int) {
	x.s, x.all, x.client = s, map[*stream]struct{}{}, map[netip.Prefix]int{}
	x.tls = s.tlsConfig(func(set *settings) *certificate { return set.tls }, "dot")
	x.handshakes.init(workers)
	x.maxRequests = min(maxRequests, max(leastRequests, s.maxQueued/requestMemory))
}

// stream is one connection: a goroutine that reads queries and one that writes answers
// as they become ready (RFC 7766 §6.2.1.1, §7).
type stream struct {
	s         *Service
	conn      net.Conn
	local     netip.AddrPort
	peer      netip.AddrPort
	client    netip.Prefix // that it counts for
	transport Transport
	seat      *seat

	mu      sync.Mutex
	room    sync.Cond // an answer was written, or the connection is closed
	ready   chan struct{}
	out     outQueue
	octets  int64 // of answers that the client has not taken: in out, or being written
	queued  int   // answers in out
	pending int   // queries without an answer yet
	eof     bool  // no more queries will be read
	closed  bool
}

// accept takes connections until the listener is closed.
func (l *listener) accept() {
	for {
		c, err := l.tcp.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			l.s.log.acceptFailed(l, err)
			// Out of descriptors: trying again at once would only burn the core.
			select {
			case <-l.s.stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
			continue
		}
		l.s.streams.add(l, c)
	}
}

// add begins to serve a connection, or closes it if there are too many.
func (x *streams) add(l *listener, c net.Conn) {
	peer, local := addrOf(c.RemoteAddr()), addrOf(c.LocalAddr())
	client, ok := x.admit(peer.Addr(), local.Addr())
	if !ok {
		_ = c.Close() // nothing was promised
		return
	}
	if l.transport == TLS {
		c = tls.Server(&shaking{Conn: c, s: x.s, peer: peer.Addr()}, x.tls)
	}
	x.mu.Lock()
	st := &stream{s: x.s, conn: c, peer: peer, local: local, client: client, transport: l.transport,
		seat: &x.s.async[x.next%len(x.s.async)], ready: make(chan struct{}, 1)}
	st.room.L = &st.mu
	x.next++
	x.all[st] = struct{}{}
	x.wg.Add(2)
	x.mu.Unlock()
	go st.read()
	go st.write()
}

// remove forgets a connection whose goroutines have ended.
func (x *streams) remove(st *stream) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.all, st)
	x.releaseLocked(st.client)
}

// admit counts a connection in if there is room for it. Each true needs one release, of the
// client that was told: a reload may change what peer belongs to.
func (x *streams) admit(peer, local netip.Addr) (client netip.Prefix, ok bool) {
	cfg := &x.s.settings.Load().cfg
	c := &cfg.TCP
	client = cfg.RateLimit.client(peer)
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.s.closing.Load() {
		return client, false
	}
	// The self-probe comes from the very address that it asks, and no limit holds for
	// it (A07); who may ask at all is decided for each query.
	switch {
	case peer == local:
	case int(x.open.Load()) >= c.MaxConnections:
		x.refused[RefusedConnections].Add(1)
		return client, false
	case x.client[client] >= c.MaxPerClient:
		x.refused[RefusedClient].Add(1)
		return client, false
	}
	x.client[client]++
	x.open.Add(1)
	return client, true
}

func (x *streams) release(client netip.Prefix) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.releaseLocked(client)
}

func (x *streams) releaseLocked(client netip.Prefix) {
	if x.client[client]--; x.client[client] == 0 {
		delete(x.client, client)
	}
	x.open.Add(-1)
}

// close lets every connection write what it has, until ctx ends.
func (x *streams) close(ctx context.Context) {
	x.mu.Lock()
	for st := range x.all {
		_ = st.conn.SetReadDeadline(time.Unix(1, 0)) // ends the reader, as an idle timeout does
	}
	x.mu.Unlock()
	done := make(chan struct{})
	go func() { x.wg.Wait(); close(done) }()
	select {
	case <-done:
		return
	case <-ctx.Done():
	}
	x.mu.Lock()
	for st := range x.all {
		st.shut()
	}
	x.mu.Unlock()
	<-done
}

// idle is how long a connection may be idle now: less and less while the last half of
// max_connections is taken (RFC 7766 §6.2.3).
func (x *streams) idle(c *TCPConfig) time.Duration {
	free := c.MaxConnections - int(x.open.Load())
	if 2*free >= c.MaxConnections {
		return c.IdleTimeout
	}
	return max(leastIdle, c.IdleTimeout*time.Duration(2*max(0, free))/time.Duration(c.MaxConnections))
}

// A slow client holds the memory that its query is read into. So that many of them hold
// little, that of an ordinary query is small, and only maxLarge longer ones are read at a
// time; who sends one more is let go. No resolver's client sends such queries.
const (
	ordinaryQuery = 4096 // octets
	maxLarge      = 64
)

var (
	queryPool = sync.Pool{New: func() any { return new([ordinaryQuery]byte) }}
	largePool = sync.Pool{New: func() any { return new([dnswire.MaxMessage]byte) }}
)

// read takes queries off the connection until it ends, is idle, or breaks the rules.
func (st *stream) read() {
	defer st.s.streams.wg.Done()
	defer func() {
		if fault := recover(); fault != nil {
			st.s.faults.Caught(fault, nil)
		}
	}()
	defer st.endReading()
	if !st.handshake() {
		return
	}
	var prefix [2]byte
	for st.waitForRoom() {
		set := st.s.settings.Load()
		if err := st.conn.SetReadDeadline(time.Now().Add(st.s.streams.idle(&set.cfg.TCP))); err != nil || st.s.closing.Load() {
			return
		}
		// The whole message must come before the deadline: half a message a minute
		// would hold a connection for ever.
		if n, err := io.ReadFull(st.conn, prefix[:]); err != nil {
			if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && !st.s.closing.Load() && st.busy() {
				continue
			}
			return
		}
		if !st.message(int(binary.BigEndian.Uint16(prefix[:]))) {
			return
		}
	}
}

// message reads one query of n octets and handles it. false: the connection is not worth
// keeping.
func (st *stream) message(n int) bool {
	if n > ordinaryQuery {
		return st.largeMessage(n)
	}
	buf := queryPool.Get().(*[ordinaryQuery]byte)
	defer queryPool.Put(buf)
	if _, err := io.ReadFull(st.conn, buf[:n]); err != nil {
		return false
	}
	return st.query(buf[:n])
}

func (st *stream) largeMessage(n int) bool {
	large := &st.s.streams.large
	defer large.Add(-1)
	if large.Add(1) > maxLarge {
		st.s.streams.refused[RefusedLong].Add(1)
		return false
	}
	buf := largePool.Get().(*[dnswire.MaxMessage]byte)
	defer largePool.Put(buf)
	if _, err := io.ReadFull(st.conn, buf[:n]); err != nil {
		return false
	}
	return st.query(buf[:n])
}

// handshake ends a TLS handshake in time; who speaks something else is let go.
func (st *stream) handshake() bool {
	c, ok := st.conn.(*tls.Conn)
	if !ok {
		return true
	}
	limit := st.s.streams.idle(&st.s.settings.Load().cfg.TCP)
	return c.SetDeadline(time.Now().Add(limit)) == nil && c.Handshake() == nil
}

// query handles one query. false: the connection is not worth keeping.
func (st *stream) query(m []byte) bool {
	st.expect(1)
	l, r := st.s.take(st.seat, st.transport, udp.Dest{Peer: st.peer, Local: st.local.Addr()}, m, st)
	switch r {
	case answered, exempt:
		return true
	case missed:
		st.s.workers[l.hash%uint64(len(st.s.workers))].post(l)
		return true
	case faulted: // the fault was ours
	case dropped: // not a query, or not from whom we answer
	}
	st.expect(-1)
	return r == faulted
}

// expect counts queries that are to be answered.
func (st *stream) expect(n int) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.pending += n
}

// deliver queues an answer. It may come from any goroutine.
func (st *stream) deliver(msg []byte) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.pending--
	if st.closed {
		return false
	}
	x, size := &st.s.streams, int64(len(msg)+2)
	if !mayQueue(x.queued.Add(size), x.s.maxQueued, st.octets+size, size) {
		x.queued.Add(-size)
		x.refused[RefusedSlow].Add(1)
		st.closed = true
		_ = st.conn.SetDeadline(time.Unix(1, 0)) // ends reader and writer, and waits for neither
		st.room.Broadcast()
		st.signal()
		return false
	}
	st.octets += size
	st.out.push(msg)
	st.queued++
	st.signal()
	return true
}

func (st *stream) signal() {
	select {
	case st.ready <- struct{}{}:
	default:
	}
}

// waitForRoom waits while the client has too many queries in flight or does not take
// its answers. false: the connection is closed.
func (st *stream) waitForRoom() bool {
	limit := st.s.settings.Load().cfg.TCP.MaxPipelined
	st.mu.Lock()
	defer st.mu.Unlock()
	for !st.closed && (st.pending+st.queued >= limit || st.out.octets > maxQueued) {
		st.room.Wait()
	}
	return !st.closed
}

// busy tells whether answers are still to come or to be written.
func (st *stream) busy() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.pending > 0 || st.queued > 0
}

// endReading lets the writer end when everything is answered (a client may close its
// half early, RFC 7766 §6.2.3).
func (st *stream) endReading() {
	st.mu.Lock()
	st.eof = true
	st.signal()
	st.mu.Unlock()
}

// write writes answers, all that are ready in one write with their lengths (RFC 7766 §8).
func (st *stream) write() {
	defer st.s.streams.wg.Done()
	defer st.s.streams.remove(st)
	defer func() {
		st.shut()
		st.taken(st.octets) // nothing is added to it any more
	}()
	var mine outQueue
	for range st.ready {
		st.mu.Lock()
		if !st.closed {
			mine, st.out = st.out, mine
		}
		st.mu.Unlock()
		if n := mine.octets; n > 0 {
			limit := st.s.settings.Load().cfg.TCP.IdleTimeout
			if err := st.conn.SetWriteDeadline(time.Now().Add(limit)); err != nil {
				return
			}
			if err := mine.writeTo(st.conn); err != nil {
				return
			}
			st.taken(int64(n))
		}
		st.mu.Lock()
		if st.out.octets == 0 {
			st.queued = 0
		}
		over := st.closed || st.eof && st.pending == 0 && st.out.octets == 0
		st.room.Broadcast()
		st.mu.Unlock()
		if over {
			return
		}
	}
}

// taken counts answers out that nobody waits for any more.
func (st *stream) taken(n int64) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.octets -= n
	st.s.streams.queued.Add(-n)
}

// shut closes the connection at once; both goroutines end.
func (st *stream) shut() {
	st.mu.Lock()
	st.closed = true
	st.room.Broadcast()
	st.signal()
	st.mu.Unlock()
	_ = st.conn.Close() // the client notices, whatever the error is
}

func addrOf(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
	}
	return netip.AddrPort{}
}
