package dnsfront

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
)

// resolver is a backend in this process, over UDP and TCP on one port. It fails the
// test if a query is not as a front must ask: one OPT of 1232 octets, AD set, the
// question in lower case.
type resolver struct {
	t     testing.TB
	addr  netip.AddrPort
	udp   *net.UDPConn
	tcp   net.Listener
	asked atomic.Int64
	overT atomic.Int64 // over TCP
	wg    sync.WaitGroup

	mu     sync.Mutex
	handle func(q *request) [][]byte // nil: silent
	ports  map[uint16]int
	ids    map[uint16]int
	conns  map[net.Conn]struct{}
}

// request is one query as the backend sees it.
type request struct {
	raw  []byte
	msg  *dns.Msg
	tcp  bool
	from net.Addr
	r    *resolver
}

func newResolver(t testing.TB, handle func(q *request) [][]byte) *resolver {
	t.Helper()
	if handle == nil {
		handle = normal
	}
	r := &resolver{t: t, handle: handle, ports: map[uint16]int{}, ids: map[uint16]int{}, conns: map[net.Conn]struct{}{}}
	r.listen(netip.MustParseAddrPort("127.0.0.1:0"))
	t.Cleanup(r.stop)
	return r
}

func (r *resolver) listen(at netip.AddrPort) {
	for range 50 {
		u, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
		if err != nil {
			r.t.Fatal(err)
		}
		r.addr = u.LocalAddr().(*net.UDPAddr).AddrPort()
		tcp, err := net.Listen("tcp4", r.addr.String())
		if err != nil {
			_ = u.Close()
			continue
		}
		r.udp, r.tcp = u, tcp
		r.wg.Go(func() { r.serveUDP(u) })
		r.wg.Go(func() { r.serveTCP(tcp) })
		return
	}
	r.t.Fatal("no port is free over UDP and TCP")
}

// stop closes its sockets, as a killed process would.
func (r *resolver) stop() {
	_ = r.udp.Close()
	_ = r.tcp.Close()
	r.mu.Lock()
	for c := range r.conns {
		_ = c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

func (r *resolver) set(handle func(q *request) [][]byte) {
	r.mu.Lock()
	r.handle = handle
	r.mu.Unlock()
}

func (r *resolver) serveUDP(u *net.UDPConn) {
	buf := make([]byte, 65535)
	for {
		n, from, err := u.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		raw := append([]byte(nil), buf[:n]...)
		r.mu.Lock()
		r.ports[from.Port()]++
		r.ids[binary.BigEndian.Uint16(raw)]++
		r.mu.Unlock()
		r.wg.Go(func() { // one slow answer does not hold up the others
			for _, out := range r.answer(raw, false, net.UDPAddrFromAddrPort(from)) {
				if _, err := u.WriteToUDPAddrPort(out, from); err != nil {
					return
				}
			}
		})
	}
}

func (r *resolver) serveTCP(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		r.conns[c] = struct{}{}
		r.mu.Unlock()
		r.wg.Go(func() {
			defer func() {
				_ = c.Close()
				r.mu.Lock()
				delete(r.conns, c)
				r.mu.Unlock()
			}()
			var prefix [2]byte
			for {
				if _, err := io.ReadFull(c, prefix[:]); err != nil {
					return
				}
				raw := make([]byte, binary.BigEndian.Uint16(prefix[:]))
				if _, err := io.ReadFull(c, raw); err != nil {
					return
				}
				r.overT.Add(1)
				out := r.answer(raw, true, c.RemoteAddr())
				if out == nil {
					continue
				}
				for _, m := range out {
					if len(m) == 0 { // close the connection
						return
					}
					if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(m))), m...)); err != nil {
						return
					}
				}
			}
		})
	}
}

func (r *resolver) answer(raw []byte, tcp bool, from net.Addr) [][]byte {
	r.asked.Add(1)
	m := new(dns.Msg)
	if err := m.Unpack(raw); err != nil {
		r.t.Errorf("a query that does not parse reached a backend: %v", err)
		return nil
	}
	opt := m.IsEdns0()
	switch {
	case len(m.Question) != 1, opt == nil, opt != nil && opt.UDPSize() != 1232, !m.AuthenticatedData,
		m.Question[0].Name != strings.ToLower(m.Question[0].Name):
		r.t.Errorf("not a query of ours: %s", m)
	}
	r.mu.Lock()
	handle := r.handle
	r.mu.Unlock()
	if handle == nil {
		return nil
	}
	return handle(&request{raw: raw, msg: m, tcp: tcp, from: from, r: r})
}

// reply begins a reply to q with OPT.
func (q *request) reply(rcode int) *dns.Msg {
	m := new(dns.Msg)
	m.SetRcode(q.msg, rcode)
	m.RecursionAvailable, m.Compress = true, true
	m.AuthenticatedData = false
	m.SetEdns0(1232, q.msg.IsEdns0() != nil && q.msg.IsEdns0().Do())
	return m
}

func packed(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Error(err)
	}
	return b
}

func mustRR(t testing.TB, s string) dns.RR {
	t.Helper()
	rr, err := dns.NewRR(s)
	if err != nil {
		t.Error(err)
	}
	return rr
}

// normal answers every name: `nx…` does not exist, `nodata…` has nothing, `nosoa…` does
// not exist without a SOA, `big…` has two hundred records, `fail…` is SERVFAIL,
// `refused…` REFUSED, `zero…` has TTL 0, anything else one A record of 300 s.
func normal(q *request) [][]byte {
	t := q.r.t
	name := q.msg.Question[0].Name
	soa := "zone.example. 1000 IN SOA ns.zone.example. root.zone.example. 1 2 3 4 120"
	m := q.reply(dns.RcodeSuccess)
	switch {
	case strings.HasPrefix(name, "nx"):
		m = q.reply(dns.RcodeNameError)
		m.Ns = append(m.Ns, mustRR(t, soa))
	case strings.HasPrefix(name, "nosoa"):
		m = q.reply(dns.RcodeNameError)
	case strings.HasPrefix(name, "nodata"):
		m.Ns = append(m.Ns, mustRR(t, soa))
	case strings.HasPrefix(name, "fail"):
		m = q.reply(dns.RcodeServerFailure)
	case strings.HasPrefix(name, "refused"):
		m = q.reply(dns.RcodeRefused)
	case strings.HasPrefix(name, "zero"):
		m.Answer = append(m.Answer, mustRR(t, name+" 0 IN A 192.0.2.1"))
	case strings.HasPrefix(name, "big"):
		for i := range 200 {
			m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 300}, A: net.IPv4(192, 0, 2, byte(i))})
		}
		if !q.tcp {
			m.Answer, m.Truncated = nil, true
		}
	case q.msg.Question[0].Qtype == dns.TypeA || q.msg.Question[0].Qtype == dns.TypeANY:
		m.Answer = append(m.Answer, mustRR(t, name+" 300 IN A 192.0.2.1"))
	default:
		m.Answer = append(m.Answer, &dns.RFC3597{Hdr: dns.RR_Header{Name: name, Rrtype: q.msg.Question[0].Qtype, Class: dns.ClassINET, Ttl: 300}, Rdata: "c0ffee00c00c"})
	}
	return [][]byte{packed(t, m)}
}
