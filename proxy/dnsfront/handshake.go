package dnsfront

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// minHandshakes is how many TLS handshakes a service works at at once at least: half as
// many as it has workers, so that packets always find a processor.
const minHandshakes = 2

// handshakes lets clients take turns. A TLS handshake costs us a good part of a
// millisecond of a processor and the client nothing: thousands that are ready to go on
// would all stand before the next packet in the scheduler's queue. So few are worked at at
// a time, and those that wait are taken one of each client prefix after the other: who
// opens many waits behind himself.
type handshakes struct {
	mu      sync.Mutex
	limit   int
	running int
	turns   []netip.Prefix // who has somebody waiting, in the order of their turns
	waiting map[netip.Prefix][]*handshakeTurn
}

// handshakeTurn is one handshake that waits. Guarded by handshakes.mu.
type handshakeTurn struct {
	ch    chan struct{} // closed when it may go on
	given bool
	gone  bool // nobody waits any more
}

func (h *handshakes) init(workers int) {
	h.limit, h.waiting = max(minHandshakes, workers/2), map[netip.Prefix][]*handshakeTurn{}
}

// begin waits for a turn of the client, until ctx ends or the time is over. Each nil needs
// one end.
func (h *handshakes) begin(ctx context.Context, client netip.Prefix, most time.Duration) error {
	h.mu.Lock()
	if h.running < h.limit {
		h.running++
		h.mu.Unlock()
		return nil
	}
	turn := &handshakeTurn{ch: make(chan struct{})}
	if len(h.waiting[client]) == 0 {
		h.turns = append(h.turns, client)
	}
	h.waiting[client] = append(h.waiting[client], turn)
	h.mu.Unlock()
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-turn.ch:
		return nil
	case <-ctx.Done():
	case <-timer.C:
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if turn.given {
		return nil // at the last moment
	}
	turn.gone = true
	return errNoTurn
}

// end gives the turn on.
func (h *handshakes) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.turns) > 0 {
		client := h.turns[0]
		h.turns = h.turns[1:]
		rest := h.waiting[client]
		for len(rest) > 0 && rest[0].gone {
			rest = rest[1:]
		}
		if len(rest) == 0 {
			delete(h.waiting, client)
			continue
		}
		turn := rest[0]
		if rest = rest[1:]; len(rest) > 0 {
			h.waiting[client] = rest
			h.turns = append(h.turns, client)
		} else {
			delete(h.waiting, client)
		}
		turn.given = true
		close(turn.ch)
		return
	}
	h.running--
}

// now is how many are worked at.
func (h *handshakes) now() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return int64(h.running)
}

var errNoTurn = errors.New("too many handshakes")

// shaking is the plain connection below a TLS connection. It holds a turn from the
// client's hello to our first octet: all that is expensive lies in between, and no waiting
// for the client.
type shaking struct {
	net.Conn
	s     *Service
	peer  netip.Addr
	holds atomic.Bool
}

func (c *shaking) Write(b []byte) (int, error) {
	c.over()
	return c.Conn.Write(b)
}

func (c *shaking) Close() error {
	c.over()
	return c.Conn.Close()
}

// over ends the turn, if there is one.
func (c *shaking) over() {
	if c.holds.CompareAndSwap(true, false) {
		c.s.streams.handshakes.end()
	}
}

// hello is called when the client's hello was read.
func (s *Service) hello(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	return nil, s.takeTurn(hello)
}

// takeTurn waits for the client's turn, if it does not have it. It has had one when it was told
// to come with another key (RFC 8446 §4.1.4): our signature under its second hello takes another.
func (s *Service) takeTurn(hello *tls.ClientHelloInfo) error {
	conn := hello.Conn
	if h, ok := conn.(*httpsConn); ok {
		conn = h.Conn
	}
	c, ok := conn.(*shaking)
	if !ok || c.holds.Load() {
		return nil
	}
	cfg := &s.settings.Load().cfg
	if err := s.streams.handshakes.begin(hello.Context(), cfg.RateLimit.client(c.peer), s.streams.idle(&cfg.TCP)); err != nil {
		s.streams.refused[RefusedHandshake].Add(1)
		return err
	}
	c.holds.Store(true)
	return nil
}
