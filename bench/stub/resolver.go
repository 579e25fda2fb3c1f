package stub

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sereno/proxy/udp"
)

// maxDelayed bounds the answers that wait for their Mode's Delay; over it the newest is not answered.
const maxDelayed = 100_000

// ResolverConfig says where a Resolver listens.
type ResolverConfig struct {
	Addr  netip.AddrPort // port 0: one that is free for UDP and TCP
	Plain bool           // udp's single-packet path
}

// ResolverStats are the books of a Resolver since its start.
type ResolverStats struct {
	UDP       uint64 // queries read
	TCP       uint64
	Probes    uint64 // of these, for the root
	Answers   uint64 // sent, faulty ones included
	Faults    uint64 // queries that met the Mode's fault
	Malformed uint64 // messages that nobody should answer
}

// Resolver is a simulated DNS resolver on UDP and TCP. See Answer for what it
// answers, and Mode for how it fails.
type Resolver struct {
	addr  netip.AddrPort
	plain bool
	mode  atomic.Pointer[Mode]
	stats struct{ udp, tcp, probes, answers, faults, malformed, requests atomic.Uint64 }
	late  atomic.Int64

	mu   sync.Mutex // opening and closing
	udp  *server
	tcp  *tcpServer
	shut bool
}

// NewResolver opens the sockets and answers until Close.
func NewResolver(c ResolverConfig) (*Resolver, error) {
	r := &Resolver{addr: c.Addr, plain: c.Plain}
	r.mode.Store(&Mode{})
	tries := 1
	if c.Addr.Port() == 0 {
		tries = 20
	}
	var err error
	for range tries {
		if err = r.open(); err == nil {
			return r, nil
		}
		r.addr = c.Addr
	}
	return nil, fmt.Errorf("starting simulated resolver: %w", err)
}

// Addr is where it listens, UDP and TCP; it stays the same while the ports are closed.
func (r *Resolver) Addr() netip.AddrPort { return r.addr }

// Mode is the present one.
func (r *Resolver) Mode() Mode { return *r.mode.Load() }

// Set changes the mode. When it returns the new mode holds for everything that is read from then on, and ports
// are closed or open as it says. The error is one of opening the ports again.
func (r *Resolver) Set(m Mode) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.shut {
		return net.ErrClosed
	}
	if m.Fault == Closed {
		r.mode.Store(&m)
		return r.close()
	}
	if r.udp == nil {
		if err := r.open(); err != nil {
			return fmt.Errorf("opening simulated resolver again: %w", err)
		}
	}
	r.mode.Store(&m)
	return nil
}

// Stats gives the books.
func (r *Resolver) Stats() ResolverStats {
	s := &r.stats
	return ResolverStats{s.udp.Load(), s.tcp.Load(), s.probes.Load(), s.answers.Load(), s.faults.Load(), s.malformed.Load()}
}

// Close stops it for good.
func (r *Resolver) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shut = true
	return r.close()
}

func (r *Resolver) open() error {
	listener, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(r.addr))
	if err != nil {
		return err
	}
	addr := listener.Addr().(*net.TCPAddr).AddrPort()
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	server, err := listen(&resolverUDP{r: r}, r.plain, addr)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	r.addr, r.udp = addr, server
	r.tcp = serveTCP(listener, r.answerTCP)
	return nil
}

func (r *Resolver) close() error {
	if r.udp == nil {
		return nil
	}
	err := errors.Join(r.udp.close(), r.tcp.close())
	r.udp, r.tcp = nil, nil
	return err
}

// answer appends the answer to query as the mode has it to dst; nothing when there is none.
func (r *Resolver) answer(dst, query []byte, limit int, m Mode) []byte {
	start := len(dst)
	dst = Answer(dst, query, limit)
	if len(dst) == start {
		r.stats.malformed.Add(1)
		return dst
	}
	probe := len(query) > headerSize && query[headerSize] == 0
	if probe {
		r.stats.probes.Add(1)
	}
	if m.meets(r.stats.requests.Add(1)) && (m.Fault != ProbesOnly || !probe) {
		r.stats.faults.Add(1)
		dst = spoil(dst, start, m.Fault, limit)
	}
	if len(dst) > start {
		r.stats.answers.Add(1)
	}
	return dst
}

// spoil makes the answer that begins at start what the fault makes of it.
func spoil(dst []byte, start int, f Fault, limit int) []byte {
	answer := dst[start:]
	switch f {
	case Silent, ProbesOnly:
		return dst[:start]
	case Servfail, Refused:
		rcode := byte(RcodeServfail)
		if f == Refused {
			rcode = RcodeRefused
		}
		return dst[:start+empty(answer, rcode)]
	case WrongID:
		answer[1] ^= 0x55
	case WrongQuestion:
		if len(answer) > headerSize+1 && answer[headerSize] != 0 {
			answer[headerSize+1] ^= 1
		} else if len(answer) > headerSize+2 {
			answer[headerSize+2] ^= 1
		}
	case Truncated:
		if limit < MaxTCP {
			n := empty(answer, RcodeNoError)
			answer[2] |= 0x02
			return dst[:start+n]
		}
	}
	return dst
}

// empty cuts an answer to its question, with that rcode, and gives its length.
func empty(answer []byte, rcode byte) int {
	answer[3] = answer[3]&0xf0 | rcode
	clear(answer[6:headerSize])
	if _, end, ok := readName(answer, headerSize); ok && end+4 <= len(answer) {
		return end + 4
	}
	answer[5] = 0
	return headerSize
}

// resolverUDP answers on one Group.
type resolverUDP struct {
	r       *Resolver
	scratch []byte
}

// Receive answers a batch.
func (h *resolverUDP) Receive(c *udp.Conn, batch []udp.Packet) {
	h.r.stats.udp.Add(uint64(len(batch)))
	m := h.r.Mode()
	for _, p := range batch {
		h.scratch = h.r.answer(h.scratch[:0], p.Data, MaxUDP, m)
		if len(h.scratch) > 0 {
			send(c, h.scratch, p.Dest, m.Delay, &h.r.late)
		}
	}
}

// Flush has nothing to publish.
func (*resolverUDP) Flush() {}

// answerTCP answers one query of a connection.
func (r *Resolver) answerTCP(dst, query []byte) []byte {
	r.stats.tcp.Add(1)
	m := r.Mode()
	dst = r.answer(dst, query, MaxTCP, m)
	if m.Delay > 0 {
		time.Sleep(m.Delay)
	}
	return dst
}
