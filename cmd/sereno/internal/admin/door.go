package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// The kinds of doors; the values of the label `door`.
const (
	doorSocket = "socket" // whoever comes in has full control
	doorListen = "listen" // reads; changes with the token
)

// limits bound what clients can take.
type limits struct {
	header    time.Duration // to send a request's header
	read      time.Duration // to send a request
	write     time.Duration // to take an answer
	idle      time.Duration // between two requests
	change    time.Duration // for the node to make a change
	keepalive time.Duration // between two signs of life on an event stream
	event     time.Duration // to take one event
	close     time.Duration // to finish when a door closes by a reload

	connections int // of each door
	subscribers int // of the event stream, of both doors
	reads       int // answers that are being made at once
	exports     int // of the spool, at once
	looks       int // traces and counts that run at once
}

func defaultLimits() limits {
	return limits{
		header: 5 * time.Second, read: 15 * time.Second, write: 30 * time.Second, idle: time.Minute,
		change: 2 * time.Minute, keepalive: 15 * time.Second, event: 10 * time.Second, close: 10 * time.Second,
		connections: 128, subscribers: 32, reads: 4, exports: 2, looks: 8,
	}
}

const maxHeaderBytes = 16 << 10

// door is one open way in.
type door struct {
	kind     string
	address  string // as configured
	listener *boundedListener
	http     *http.Server
	served   chan struct{} // closed when no more connections are accepted
}

// openDoor listens, and serves until close.
func (s *Server) openDoor(kind, address string) (*door, error) {
	var inner net.Listener
	var err error
	if kind == doorSocket {
		inner, err = listenSocket(address)
	} else if inner, err = net.Listen("tcp", address); errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("opening admin.listen: %s is in use by another instance or another server: %w", address, err)
	} else if err != nil {
		err = fmt.Errorf("opening admin.listen: %w", err)
	}
	if err != nil {
		return nil, err
	}
	d := &door{kind: kind, address: address, served: make(chan struct{})}
	d.listener = &boundedListener{Listener: inner, most: int64(s.limits.connections), refused: func() { s.refusals.count(refusedConnections) }}
	d.http = &http.Server{
		Handler:           s.handler(kind, hostOf(address)),
		ReadHeaderTimeout: s.limits.header,
		ReadTimeout:       s.limits.read,
		WriteTimeout:      s.limits.write,
		IdleTimeout:       s.limits.idle,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          zap.NewStdLog(s.repeats.Line(zap.WarnLevel, "admin: http", zap.String("door", kind)).Logger()),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if b, ok := c.(*boundedConn); ok {
				c = b.Conn
			}
			return context.WithValue(ctx, peerKey{}, peerOf(c))
		},
	}
	go func() {
		defer close(d.served)
		err := d.http.Serve(d.listener)
		if !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			s.log.Error("admin: a door closed by itself", zap.String("door", d.kind), zap.Error(err))
		}
	}()
	return d, nil
}

// close finishes the requests that are being answered, until ctx ends.
func (d *door) close(ctx context.Context) error {
	err := d.http.Shutdown(ctx)
	if err != nil {
		_ = d.http.Close()
		err = fmt.Errorf("closing the admin %s: %w", d.kind, err)
	}
	<-d.served
	return err
}

// peerKey finds in a request's context who asked.
type peerKey struct{}

// boundedListener turns away connections above a number, at once, so that whoever comes
// sees it instead of waiting behind clients that do nothing.
type boundedListener struct {
	net.Listener
	most    int64
	open    atomic.Int64
	refused func()
}

// Accept waits for the next connection that there is room for.
func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= l.most {
			return &boundedConn{Conn: conn, listener: l}, nil
		}
		l.open.Add(-1)
		l.refused()
		_ = conn.Close()
	}
}

type boundedConn struct {
	net.Conn
	listener *boundedListener
	once     sync.Once
}

// Close closes the connection and makes room for another.
func (c *boundedConn) Close() error {
	c.once.Do(func() { c.listener.open.Add(-1) })
	return c.Conn.Close()
}
