package dnsfront

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// leastCancelled is how many requests a connection over HTTPS may cancel beyond those whose answers it waited for;
// where more may be in flight (tcp.max_pipelined), it is that many.
const leastCancelled = 100

// capped takes no more connections than the configuration allows, in all and from one
// client, together with those over TCP and TLS.
type capped struct {
	net.Listener
	s *Service
}

func (c *capped) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		peer, local := addrOf(conn.RemoteAddr()).Addr(), addrOf(conn.LocalAddr()).Addr()
		if client, ok := c.s.streams.admit(peer, local); ok {
			return &httpsConn{Conn: &shaking{Conn: conn, s: c.s, peer: peer}, x: &c.s.streams, client: client}, nil
		}
		_ = conn.Close() // nothing was promised
	}
}

// httpsConn is one connection over HTTPS, and what is counted for it: net/http shows its single requests only.
type httpsConn struct {
	net.Conn
	x      *streams
	client netip.Prefix
	once   sync.Once
	heard  atomic.Bool // we have written to it: its hello has come

	// cancelled requests, less those that were answered. Who opens a stream and resets it at once (CVE-2023-44487) has
	// all the work done and no stream in flight, so that no other bound holds him: tens of thousands of questions a
	// second.
	cancelled atomic.Int64
	octets    atomic.Int64 // of answers that requests hold until the client takes them

	mu     sync.Mutex
	handed int  // answers that net/http may hold: as many as were handed to it since no stream was open
	closed bool // they count no more
}

// SetReadDeadline leaves a connection that has said nothing yet no more time than an idle one has now.
func (c *httpsConn) SetReadDeadline(t time.Time) error {
	if !c.heard.Load() && !t.IsZero() {
		if most := time.Now().Add(c.x.idle(&c.x.s.settings.Load().cfg.TCP)); most.Before(t) {
			t = most
		}
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *httpsConn) Write(b []byte) (int, error) {
	c.heard.Store(true)
	return c.Conn.Write(b)
}

func (c *httpsConn) Close() error {
	c.once.Do(func() { c.x.release(c.client) })
	return c.Conn.Close()
}

type httpsConnKey struct{}

// withConn is for http.Server.ConnContext.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, httpsConnKey{}, rawConn(c))
}

// rawConn is the connection below TLS; its end waits for nobody.
func rawConn(c net.Conn) net.Conn {
	if t, ok := c.(*tls.Conn); ok {
		return t.NetConn()
	}
	return c
}

// connOf is the connection of a request with this context.
func connOf(ctx context.Context) *httpsConn { return ctx.Value(httpsConnKey{}).(*httpsConn) }

// hand counts an answer that the request leaves to net/http, which holds a short one until the client's window lets it
// go. false: it holds too many already, over all connections, and the request must wait itself.
func (c *httpsConn) hand(pipelined int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.handed >= pipelined { // more streams are not open
		return true
	}
	if c.x.handed.Add(1) > c.x.maxRequests/2 {
		c.x.handed.Add(-1)
		return false
	}
	c.handed++
	return true
}

// connState is for http.Server.ConnState. When no stream is open any more, everything was taken.
func connState(conn net.Conn, state http.ConnState) {
	c, ok := rawConn(conn).(*httpsConn)
	if !ok || state != http.StateIdle && state != http.StateClosed {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.x.handed.Add(int64(-c.handed))
	c.handed, c.closed = 0, state == http.StateClosed
}

// settle is for the end of a request. A connection that cancels too many is closed.
func (x *streams) settle(ctx context.Context, pipelined int) {
	c := connOf(ctx)
	switch {
	case ctx.Err() == nil:
		if c.cancelled.Add(-1) < 0 {
			c.cancelled.Add(1)
		}
	case c.cancelled.Add(1) == int64(max(leastCancelled, pipelined))+1:
		x.refused[RefusedCancelled].Add(1)
		_ = c.Close() // it was a client's
	}
}

// httpAnswer waits for the answer of one request, and then for its client to take it.
type httpAnswer struct {
	x    *streams
	conn *httpsConn
	ch   chan []byte // has room: there is one answer

	mu   sync.Mutex
	gone bool
	size int64
}

func (x *streams) newAnswer(ctx context.Context) *httpAnswer {
	return &httpAnswer{x: x, conn: connOf(ctx), ch: make(chan []byte, 1)}
}

// deliver hands the answer to its request. It may come from any goroutine. What clients do not take is bounded as over
// TCP: who has too much of it is let go.
func (h *httpAnswer) deliver(msg []byte) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gone {
		return false
	}
	size := int64(len(msg))
	if !mayQueue(h.x.queued.Add(size), h.x.s.maxQueued, h.conn.octets.Add(size), size) {
		h.x.queued.Add(-size)
		h.conn.octets.Add(-size)
		h.x.refused[RefusedSlow].Add(1)
		h.gone = true
		_ = h.conn.Close() // it was a client's; its requests end
		return false
	}
	h.size = size
	h.ch <- append([]byte(nil), msg...)
	return true
}

// leave is for the end of the request.
func (h *httpAnswer) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gone = true
	h.x.queued.Add(-h.size)
	h.conn.octets.Add(-h.size)
	h.size = 0
}
