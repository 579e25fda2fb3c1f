package stub

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"sereno/proxy/udp"
)

// server is one Group with its goroutine.
type server struct {
	group *udp.Group
	conns []*udp.Conn
	done  chan error
}

// listen opens the addresses in one Group and runs the handler on it. The sockets exclude others: a port that is
// in use is an error.
func listen(h udp.Handler, plain bool, addrs ...netip.AddrPort) (*server, error) {
	group, err := udp.NewGroup(udp.GroupConfig{MaxPacket: MaxUDP, Plain: plain})
	if err != nil {
		return nil, err
	}
	s := &server{group: group, done: make(chan error, 1)}
	for _, addr := range addrs {
		if addr.Port() != 0 {
			err = udp.Probe(addr)
		}
		var conn *udp.Conn
		if err == nil {
			conn, err = group.Listen(addr, udp.ListenConfig{})
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listening on %s: %w", addr, err), group.Close())
		}
		s.conns = append(s.conns, conn)
	}
	go func() { s.done <- group.Run(h) }()
	return s, nil
}

func (s *server) close() error {
	err := s.group.Close()
	return errors.Join(err, <-s.done)
}

// send queues b on c, or sends it after the delay. late counts those that wait.
func send(c *udp.Conn, b []byte, d udp.Dest, delay time.Duration, late *atomic.Int64) {
	if delay <= 0 {
		c.Commit(copy(c.Next(), b), d)
		return
	}
	if late.Add(1) > maxDelayed {
		late.Add(-1)
		return
	}
	b = append([]byte(nil), b...)
	time.AfterFunc(delay, func() {
		late.Add(-1)
		// A socket that was closed meanwhile is one way of never answering.
		_ = c.WriteTo(b, d)
	})
}
