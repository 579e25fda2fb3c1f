package dnsfront

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
)

// leastCancelled is how many requests a connection over HTTPS may cancel beyond those whose answers it waited for;
// where more may be in flight (tcp.max_pipelined), it is that many.
const leastCancelled = 100

// cancels counts for one connection over HTTPS. Who opens a stream and resets it at once (CVE-2023-44487) has all the
// work done and no stream in flight, so that no other bound holds him: tens of thousands of questions a second.
type cancels struct {
	conn net.Conn
	over atomic.Int64 // requests that were cancelled, less those that were answered
}

type cancelsKey struct{}

// withCancels is for http.Server.ConnContext.
func withCancels(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn() // its end waits for nobody
	}
	return context.WithValue(ctx, cancelsKey{}, &cancels{conn: c})
}

// settle is for the end of a request. A connection that cancels too many is closed.
func (x *streams) settle(ctx context.Context, pipelined int) {
	c, ok := ctx.Value(cancelsKey{}).(*cancels)
	switch {
	case !ok:
	case ctx.Err() == nil:
		if c.over.Add(-1) < 0 {
			c.over.Add(1)
		}
	case c.over.Add(1) == int64(max(leastCancelled, pipelined))+1:
		x.refused[RefusedCancelled].Add(1)
		_ = c.conn.Close() // it was a client's
	}
}
