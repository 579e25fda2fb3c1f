package stub

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	tcpIdle        = 30 * time.Second
	maxConnections = 1000
)

// tcpServer answers length-prefixed messages (RFC 1035 §4.2.2), one after the other on each connection.
type tcpServer struct {
	listener net.Listener
	answer   func(dst, query []byte) []byte
	wg       sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{} // nil: closed
}

func serveTCP(l net.Listener, answer func(dst, query []byte) []byte) *tcpServer {
	s := &tcpServer{listener: l, answer: answer, conns: map[net.Conn]struct{}{}}
	s.wg.Go(s.accept)
	return s
}

func (s *tcpServer) close() error {
	err := s.listener.Close()
	s.mu.Lock()
	for c := range s.conns {
		err = errors.Join(err, c.Close())
	}
	s.conns = nil
	s.mu.Unlock()
	s.wg.Wait()
	return err
}

func (s *tcpServer) accept() {
	for {
		c, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // out of descriptors: a busy loop would not free one
			continue
		}
		s.mu.Lock()
		if s.conns == nil || len(s.conns) >= maxConnections {
			s.mu.Unlock()
			_ = c.Close()
			continue
		}
		s.conns[c] = struct{}{}
		s.mu.Unlock()
		s.wg.Go(func() { s.serve(c) })
	}
}

func (s *tcpServer) serve(c net.Conn) {
	defer func() {
		s.mu.Lock()
		if s.conns != nil {
			delete(s.conns, c)
			_ = c.Close()
		}
		s.mu.Unlock()
	}()
	var query, out []byte
	var head [2]byte
	for {
		if c.SetDeadline(time.Now().Add(tcpIdle)) != nil {
			return
		}
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return
		}
		query = append(query[:0], make([]byte, binary.BigEndian.Uint16(head[:]))...)
		if _, err := io.ReadFull(c, query); err != nil {
			return
		}
		out = s.answer(append(out[:0], 0, 0), query)
		if len(out) == 2 {
			continue
		}
		binary.BigEndian.PutUint16(out, uint16(len(out)-2))
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}
