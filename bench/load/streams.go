package load

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	dialPatience  = 5 * time.Second
	writePatience = 5 * time.Second
	maxUnwritten  = 1 << 20 // octets; what comes on top is not sent

	// Connections from a given address take the ports of this range in turn. Where an anycast address moves to another
	// node and back, the first one may still have a connection from a port that was used shortly before: a new one from
	// there would hang until the old one's idle timeout.
	firstPort, ports = 20_000, 40_000
)

type streamOptions struct {
	network string      // "udp" or "tcp"
	tls     *tls.Config // over TCP
	within  func(open func() error) error
}

// streams is the link over Go's own connections: TCP and TLS with a length before each message (RFC 7766), and UDP with
// one system call for each datagram. Each connection has a goroutine that writes and one that reads. A TCP connection
// is made when there is something to send, and again after it was closed.
type streams struct {
	to      receiver
	begin   time.Time
	conns   []*stream
	dirty   []int
	buf     []byte
	arrived chan struct{}
	dials   atomic.Uint32
	from    uint32 // at which of the ports it begins
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup
}

type stream struct {
	s       *streams
	index   int
	end     endpoint
	options streamOptions
	wake    chan struct{}
	queued  bool // by the generator's goroutine

	mu       sync.Mutex
	out      []byte // framed messages
	messages []int  // their ends
}

func newStreams(to receiver, begin time.Time, ends []endpoint, o streamOptions) (link, error) {
	s := &streams{to: to, begin: begin, buf: make([]byte, maxMessage), arrived: make(chan struct{}, 1), from: rand.Uint32N(ports)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for i, e := range ends {
		c := &stream{s: s, index: i, end: e, options: o, wake: make(chan struct{}, 1)}
		var conn net.Conn
		if o.network == "udp" {
			var err error
			if conn, err = c.dial(); err != nil {
				return nil, errors.Join(err, s.close())
			}
		}
		s.conns = append(s.conns, c)
		s.wg.Go(func() { c.write(conn) })
	}
	return s, nil
}

func (s *streams) next(int) []byte { return s.buf }

func (s *streams) commit(conn, n int) {
	c := s.conns[conn]
	if !c.queued {
		c.queued = true
		s.dirty = append(s.dirty, conn)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.out) > maxUnwritten {
		return
	}
	if c.options.network == "tcp" {
		c.out = binary.BigEndian.AppendUint16(c.out, uint16(n))
	}
	c.out = append(c.out, s.buf[:n]...)
	c.messages = append(c.messages, len(c.out))
}

func (s *streams) flush(time.Duration) {
	for _, i := range s.dirty {
		s.conns[i].queued = false
		select {
		case s.conns[i].wake <- struct{}{}:
		default:
		}
	}
	s.dirty = s.dirty[:0]
}

func (s *streams) wait(d time.Duration, arrivals bool) {
	if !arrivals {
		time.Sleep(d)
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.arrived:
	}
}

func (*streams) collect() {}

func (s *streams) close() error {
	s.cancel()
	s.wg.Wait()
	return nil
}

func (c *stream) dial() (net.Conn, error) {
	d := net.Dialer{Timeout: dialPatience}
	if c.end.source.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: c.end.source.AsSlice(), Zone: c.end.source.Zone(), Port: c.s.nextPort()}
		if c.options.network == "udp" {
			d.LocalAddr = &net.UDPAddr{IP: c.end.source.AsSlice(), Zone: c.end.source.Zone()}
		}
	}
	var conn net.Conn
	open := func() (err error) {
		conn, err = d.DialContext(c.s.ctx, c.options.network, c.end.remote.String())
		return err
	}
	within := c.options.within
	if within == nil {
		within = func(open func() error) error { return open() }
	}
	err := within(open)
	if err == nil && c.options.tls != nil {
		secure := tls.Client(conn, c.options.tls)
		if err = secure.HandshakeContext(c.s.ctx); err != nil {
			err = errors.Join(err, conn.Close())
		}
		conn = secure
	}
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", c.end.remote, err)
	}
	return conn, nil
}

// nextPort is the source port of the next connection.
func (s *streams) nextPort() int { return firstPort + int(s.dials.Add(1)+s.from)%ports }

// write sends what is queued until the link is closed. conn is nil where it is dialed when needed.
func (c *stream) write(conn net.Conn) {
	var reader sync.WaitGroup
	read := func() (gone chan struct{}) {
		gone = make(chan struct{})
		reader.Go(func() { defer close(gone); c.read(conn) })
		return gone
	}
	hangUp := func() {
		if conn != nil {
			_ = conn.Close()
			reader.Wait()
			conn = nil
		}
	}
	defer func() { hangUp() }()
	var gone chan struct{}
	if conn != nil {
		gone = read()
	}
	var out []byte
	var messages []int
	for {
		select {
		case <-c.s.ctx.Done():
			return
		case <-gone:
			hangUp()
			gone = nil
			continue
		case <-c.wake:
		}
		c.mu.Lock()
		out, c.out = c.out, out[:0]
		messages, c.messages = c.messages, messages[:0]
		c.mu.Unlock()
		if conn == nil {
			var err error
			if conn, err = c.dial(); err != nil {
				c.s.to.refused()
				continue
			}
			gone = read()
		}
		if c.send(conn, out, messages) != nil {
			c.s.to.refused()
			if c.options.network == "tcp" {
				hangUp()
				gone = nil
			}
		}
	}
}

func (c *stream) send(conn net.Conn, out []byte, messages []int) error {
	_ = conn.SetWriteDeadline(time.Now().Add(writePatience))
	if c.options.network == "tcp" {
		_, err := conn.Write(out)
		return err
	}
	var failed error
	from := 0
	for _, end := range messages {
		if _, err := conn.Write(out[from:end]); err != nil {
			failed = err
		}
		from = end
	}
	return failed
}

// read hands on what arrives until the connection is closed.
func (c *stream) read(conn net.Conn) {
	from := bufio.NewReader(conn)
	buf, one := make([]byte, 64<<10), make([]arrival, 1)
	var head [2]byte
	for {
		var n int
		var err error
		if c.options.network == "tcp" {
			if _, err = io.ReadFull(from, head[:]); err == nil {
				n = int(binary.BigEndian.Uint16(head[:]))
				buf = slices.Grow(buf[:0], n)[:cap(buf)]
				_, err = io.ReadFull(from, buf[:n])
			}
		} else {
			n, err = conn.Read(buf)
		}
		switch {
		case err == nil:
			one[0] = arrival{buf[:n], time.Since(c.s.begin)}
			c.s.to.receive(c.index, one)
			select {
			case c.s.arrived <- struct{}{}:
			default:
			}
		case errors.Is(err, net.ErrClosed) || c.options.network == "tcp":
			return
		default:
			c.s.to.refused()
		}
	}
}
