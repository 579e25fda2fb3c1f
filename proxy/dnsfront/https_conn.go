package dnsfront

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
)

// leastCancelled is how many requests a connection over HTTPS may cancel beyond those whose answers it waited for;
// where more may be in flight (tcp.max_pipelined), it is that many.
const leastCancelled = 100

// httpsConn is what is counted for one connection over HTTPS, which net/http shows only its single requests of.
type httpsConn struct {
	conn net.Conn
	// cancelled requests, less those that were answered. Who opens a stream and resets it at once (CVE-2023-44487) has
	// all the work done and no stream in flight, so that no other bound holds him: tens of thousands of questions a
	// second.
	cancelled atomic.Int64
	octets    atomic.Int64 // of answers that the client has not taken
}

type httpsConnKey struct{}

// withConn is for http.Server.ConnContext.
func withConn(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn() // its end waits for nobody
	}
	return context.WithValue(ctx, httpsConnKey{}, &httpsConn{conn: c})
}

// connOf is the connection of a request with this context.
func connOf(ctx context.Context) *httpsConn { return ctx.Value(httpsConnKey{}).(*httpsConn) }

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
		_ = c.conn.Close() // it was a client's
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
		_ = h.conn.conn.Close() // it was a client's; its requests end
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
