package dnsfront

import (
	"sereno/proxy/dnswire"
	"sereno/proxy/udp"
)

// seats is how many a service has.
const seats = 8

// seat is where queries that came over connections are handled, one after the other. Its lock is its book's. It has the
// one buffer that is as long as an answer can be: however many connections ask at once, a service needs no more of them
// than it has seats.
type seat struct {
	book
	turn turn
	out  [dnswire.MaxMessage + 1]byte
}

// take takes one query of a connection through serve, and delivers the answer if there is one at once. After missed, the
// letter is for a worker.
func (s *Service) take(x *seat, transport Transport, dest udp.Dest, m []byte, to sink) (l letter, r result) {
	t := &x.turn
	x.mu.Lock()
	defer func() {
		if fault := recover(); fault != nil {
			s.faults.Caught(fault, m)
			x.settle()
			l, r = letter{}, faulted
		}
		t.set = nil
		x.mu.Unlock()
	}()
	t.begin(s, &x.book)
	if t.lens != nil {
		s.regard(t, 0, 1, transport, dest, m)
	}
	n, r := s.serve(t, transport, &dest, m, x.out[:])
	if r == missed {
		w := newWaiter(t, m, nil, dest, to)
		l = letter{w: w, key: append([]byte(nil), t.key...), qlen: t.keyLen(), hash: t.hash}
		x.InFlight[transport]++
	}
	if t.trace != nil {
		t.after(transport, dest.Peer.Addr(), r, x.out[:n])
		t.trace = nil
	}
	t.latencies(s)
	if r == answered || r == exempt {
		to.deliver(x.out[:n])
	}
	return l, r
}
