package dnsfront

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"sereno/proxy/dnswire"
	"sereno/proxy/pool"
)

const (
	tcpConns     = 4                // connections to one backend at most (Unbound takes 10 of all its clients)
	tcpPipelined = 32               // queries on a connection before another is opened
	tcpMost      = 256              // queries on a connection at most
	tcpIdle      = 10 * time.Second // without a query in flight, then it is closed
	tcpLook      = time.Second      // how often a connection is looked at: is it idle, is it stuck?
	tcpDial      = 2 * time.Second
)

// Errors of queries over TCP.
var (
	errTCPFull   = errors.New("every connection to the backend is full")
	errTCPClosed = errors.New("the backend closed the connection")
)

// tcpUpstreams are the kept connections to the backends of one service (RFC 7766 §6.2.2).
type tcpUpstreams struct {
	s      *Service
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex
	conns map[tcpTarget][]*tcpConn
}

// tcpTarget is a backend as the network knows it.
type tcpTarget struct {
	addr   netip.AddrPort
	source netip.Addr
}

// tcpConn is one connection, in use by two goroutines: run writes, receive reads.
type tcpConn struct {
	up     *tcpUpstreams
	target tcpTarget

	mu      sync.Mutex
	pending map[uint16]tcpQuery
	used    int64 // when the last query was given to it
	heard   int64 // when the last whole message came
	out     []byte
	ready   chan struct{}
	dead    bool
}

// tcpQuery is who waits for a reply, since when and until when.
type tcpQuery struct {
	w            *worker
	a            *attempt
	sent, expire int64
}

func (u *tcpUpstreams) init(s *Service) {
	u.s, u.conns = s, map[tcpTarget][]*tcpConn{}
	u.ctx, u.cancel = context.WithCancel(context.Background())
}

// close ends every connection; letters for what was in flight are posted.
func (u *tcpUpstreams) close() {
	u.mu.Lock() // ask opens no connection after this
	u.cancel()
	u.mu.Unlock()
	u.wg.Wait()
}

// askTCP sends an attempt's question over TCP. On false the attempt has been closed.
func (w *worker) askTCP(a *attempt) bool {
	f := a.f
	w.t.book.Upstream.Asked++
	target := tcpTarget{a.backend.Addr(), a.backend.Source()}
	msg := dnswire.AppendUpstream(make([]byte, 2, 2+len(f.key)+64)[2:], f.question(), 0, f.wireFlags(), upstreamSize, f.flags()&keyDO != 0, f.options(nil))
	if err := w.s.tcpUp.ask(target, tcpQuery{w, a, a.sent, a.expire}, msg); err != nil {
		a.backend.Fail(pool.SendError)
		w.closeAttempt(a)
		return false
	}
	return true
}

// ask puts a query on the connection that has the fewest, or on a new one.
func (u *tcpUpstreams) ask(t tcpTarget, q tcpQuery, msg []byte) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	var best *tcpConn
	least := tcpMost
	for _, c := range u.conns[t] {
		if n := c.load(); n < least {
			best, least = c, n
		}
	}
	if (best == nil || least >= tcpPipelined) && len(u.conns[t]) < tcpConns && u.ctx.Err() == nil {
		best = &tcpConn{up: u, target: t, pending: map[uint16]tcpQuery{}, ready: make(chan struct{}, 1)}
		u.conns[t] = append(u.conns[t], best)
		u.wg.Go(best.run)
	}
	if best == nil || !best.send(q, msg) {
		return errTCPFull
	}
	return nil
}

// load is how many queries are in flight on it; a dead one is full.
func (c *tcpConn) load() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return tcpMost
	}
	return len(c.pending)
}

func (c *tcpConn) send(q tcpQuery, msg []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead || len(c.pending) >= tcpMost {
		return false
	}
	var id [2]byte
	for {
		rand.Read(id[:])
		if _, taken := c.pending[binary.BigEndian.Uint16(id[:])]; !taken {
			break
		}
	}
	copy(msg, id[:])
	c.used = q.sent
	c.pending[binary.BigEndian.Uint16(id[:])] = q
	c.out = binary.BigEndian.AppendUint16(c.out, uint16(len(msg))) //nolint:gosec // a question is short
	c.out = append(c.out, msg...)
	select {
	case c.ready <- struct{}{}:
	default:
	}
	return true
}

// run opens the connection and writes queries until it breaks or nobody needs it.
func (c *tcpConn) run() {
	d := net.Dialer{Timeout: tcpDial}
	d.SetMultipathTCP(false)
	if c.target.source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.target.source, 0))
	}
	conn, err := d.DialContext(c.up.ctx, "tcp", c.target.addr.String())
	if err != nil {
		c.end(fmt.Errorf("connecting to %s: %w", c.target.addr, err))
		return
	}
	stop := context.AfterFunc(c.up.ctx, func() { _ = conn.Close() })
	defer stop()
	c.up.wg.Go(func() {
		c.end(c.receive(conn))
		_ = conn.Close()
	})
	look := time.NewTicker(tcpLook)
	defer look.Stop()
	defer func() { _ = conn.Close() }() // the reader ends with it, and settles everything
	var buf []byte
	for {
		select {
		case <-c.ready:
		case <-look.C:
			if c.idle() || c.stuck() {
				return
			}
			continue
		case <-c.up.ctx.Done():
			return
		}
		c.mu.Lock()
		buf, c.out = c.out, buf[:0]
		dead := c.dead
		c.mu.Unlock()
		if dead {
			return
		}
		if err := conn.SetWriteDeadline(time.Now().Add(tcpDial)); err != nil {
			return
		}
		if _, err := conn.Write(buf); err != nil {
			return
		}
	}
}

// idle takes a connection out of use that nobody has needed for a while.
func (c *tcpConn) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead = c.dead || len(c.pending) == 0 && c.up.s.since(c.used) >= tcpIdle
	return c.dead
}

// stuck forgets queries that were given up, whose replies may never come, and takes a
// connection out of use over which nothing came while one of them waited: it would be
// kept for ever, and whatever is asked over it would be asked in vain. A backend that is
// slow with one question answers others meanwhile.
func (c *tcpConn) stuck() bool {
	now := c.up.s.clock()
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, q := range c.pending {
		switch {
		case now < q.expire:
		case c.heard <= q.sent:
			c.dead = true
			return true
		default:
			delete(c.pending, id)
		}
	}
	return false
}

// receive hands replies to the workers that wait for them.
func (c *tcpConn) receive(conn net.Conn) error {
	var prefix [2]byte
	for {
		if _, err := io.ReadFull(conn, prefix[:]); err != nil {
			return errors.Join(errTCPClosed, err)
		}
		msg := make([]byte, binary.BigEndian.Uint16(prefix[:]))
		if _, err := io.ReadFull(conn, msg); err != nil {
			return errors.Join(errTCPClosed, err)
		}
		if len(msg) < dnswire.HeaderLen {
			return dnswire.ErrShort
		}
		c.mu.Lock()
		q, ok := c.pending[dnswire.ID(msg)]
		delete(c.pending, dnswire.ID(msg))
		c.heard = c.up.s.clock()
		c.mu.Unlock()
		if ok {
			q.w.post(letter{a: q.a, msg: msg})
		}
	}
}

// end takes the connection out of use; its queries, and no others, go to the next attempt.
func (c *tcpConn) end(err error) {
	u := c.up
	u.mu.Lock()
	list := u.conns[c.target]
	for i, other := range list {
		if other == c {
			u.conns[c.target] = append(list[:i:i], list[i+1:]...)
			break
		}
	}
	if len(u.conns[c.target]) == 0 {
		delete(u.conns, c.target)
	}
	u.mu.Unlock()
	c.mu.Lock()
	c.dead = true
	pending := c.pending
	c.pending = nil
	select {
	case c.ready <- struct{}{}:
	default:
	}
	c.mu.Unlock()
	for _, q := range pending {
		q.w.post(letter{a: q.a, err: err})
	}
}

// tcpEnded takes the end of an attempt over TCP: a reply, or why there is none.
func (w *worker) tcpEnded(a *attempt, msg []byte, err error) {
	if a.over {
		return // it was given up before
	}
	f, b, lost := a.f, a.backend, a.lost()
	took := time.Duration(w.t.now - a.sent)
	w.closeAttempt(a)
	if f != nil {
		if r := f.trace.Load(); r != nil {
			r.Say("reply", "over TCP from %s after %v: %d octets, %v", b.Name(), took, len(msg), err)
		}
	}
	if err != nil {
		b.Fail(pool.Closed)
		if f != nil {
			w.attemptFailed(f, lost, true)
		}
		return
	}
	r := &w.reply
	err = dnswire.ParseReply(msg, r)
	if err != nil || r.TC() || w.s.hash(r.Key(w.kbuf[:0], msg)) != a.qhash || f != nil && string(r.Key(w.kbuf[:0], msg)) != string(f.question()) {
		w.t.book.Upstream.Wrong++
		b.Fail(pool.BadReply)
		if f != nil {
			w.attemptFailed(f, lost, true)
		}
		return
	}
	b.Health().RepliedAfter(took)
	b.Observe(took)
	w.t.book.Upstream.Replies++
	if f == nil {
		w.t.book.Upstream.Late++
		return
	}
	w.got(f, b, msg)
}
