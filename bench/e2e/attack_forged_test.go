package e2e

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sereno/bench/e2e/harness"
)

// relay stands between the node and a resolver, and shows what passes to who attacks: over UDP each query is shown
// before it is forwarded, 50 ms later.
type relay struct {
	addr   netip.AddrPort
	to     netip.AddrPort
	watch  atomic.Pointer[func(query []byte, from netip.AddrPort)]
	overTC atomic.Uint64 // connections over TCP
	done   sync.WaitGroup
}

func newRelay(t *testing.T, addr, to netip.AddrPort) *relay {
	t.Helper()
	r := &relay{addr: addr, to: to}
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	r.done.Go(func() { r.datagrams(conn) })
	r.done.Go(func() { r.connections(listener) })
	t.Cleanup(func() {
		_, _ = conn.Close(), listener.Close()
		r.done.Wait()
	})
	return r
}

func (r *relay) datagrams(conn *net.UDPConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		query := bytes.Clone(buf[:n])
		r.done.Go(func() {
			if watch := r.watch.Load(); watch != nil && len(query) > 30 { // a probe is shorter
				(*watch)(query, from)
			}
			if reply := r.ask(query); reply != nil {
				_, _ = conn.WriteToUDPAddrPort(reply, from) // nobody may listen any more
			}
		})
	}
}

func (r *relay) ask(query []byte) []byte {
	c, err := net.Dial("udp", r.to.String())
	if err != nil {
		return nil
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := c.Write(query); err != nil {
		return nil
	}
	buf := make([]byte, 4096)
	n, err := c.Read(buf)
	if err != nil {
		return nil
	}
	return buf[:n]
}

func (r *relay) connections(listener *net.TCPListener) {
	for {
		c, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		} else if err != nil {
			continue
		}
		r.overTC.Add(1)
		r.done.Go(func() {
			defer c.Close()
			to, err := net.Dial("tcp", r.to.String())
			if err != nil {
				return
			}
			defer to.Close()
			for _, x := range []net.Conn{c, to} {
				_ = x.SetDeadline(time.Now().Add(time.Minute))
			}
			go func() { _, _ = io.Copy(late{to}, c); _ = to.Close() }()
			_, _ = io.Copy(c, to)
		})
	}
}

// late writes 25 ms later.
type late struct{ net.Conn }

func (l late) Write(b []byte) (int, error) {
	time.Sleep(25 * time.Millisecond)
	return l.Conn.Write(b)
}

// ReadFrom keeps io.Copy from a short cut.
func (l late) ReadFrom(r io.Reader) (int64, error) { return io.Copy(struct{ io.Writer }{l}, r) }

// forged is an answer to a query that says 203.0.113.66.
func forged(query []byte) []byte {
	end := 12 + bytes.IndexByte(query[12:], 0) + 5
	m := bytes.Clone(query[:end])
	m[2], m[3] = 0x81, 0x80
	copy(m[4:], []byte{0, 1, 0, 1, 0, 0, 0, 0})
	return append(m, 0xc0, 12, 0, 1, 0, 1, 0, 1, 0x51, 0x80, 0, 4, 203, 0, 113, 66)
}

// notQuite are forged answers with one thing wrong each.
func notQuite(query []byte) [][]byte {
	change := func(f func(m []byte) []byte) []byte { return f(forged(query)) }
	other := func(name string) []byte { // of another name, whose answer nobody asked for
		q := (&question{name: wire(name), class: 1, typ: 1, flags: flagRD}).message(binary.BigEndian.Uint16(query))
		return forged(q)
	}
	end := 12 + bytes.IndexByte(query[12:], 0) + 1
	return [][]byte{
		change(func(m []byte) []byte { m[0] ^= 0x80; return m }),
		change(func(m []byte) []byte { m[1]++; return m }),
		change(func(m []byte) []byte { m[13] ^= 1; return m }),               // another first letter
		change(func(m []byte) []byte { m[end+1] = 28; return m }),            // another type
		change(func(m []byte) []byte { m[end+3] = 3; return m }),             // another class
		change(func(m []byte) []byte { m[2] &^= 0x80; return m }),            // a query
		change(func(m []byte) []byte { m[2] |= 0x28; return m }),             // another opcode
		change(func(m []byte) []byte { m[5] = 2; return m }),                 // two questions
		change(func(m []byte) []byte { m[5] = 0; return m[:12] }),            // no question
		change(func(m []byte) []byte { m[7] = 99; return m }),                // cut
		change(func(m []byte) []byte { return m[:12] }),                      // the question is not there
		change(func(m []byte) []byte { m[1]--; upper(m[12:end]); return m }), // the name in another case, and another ID
		other("www.example.test."), other("bank.load.test."),
	}
}

func upper(name []byte) { copy(name, bytes.ToUpper(name)) }

// forgedReplies has who sees each query and can send in the resolver's name, but gets one thing wrong in each answer,
// and then, when the question has moved to TCP, nothing; and besides who sees nothing and sends to every port. No
// forged word reaches a client or the cache.
func (a *attacked) forgedReplies(t *testing.T) {
	forger := newForger(t)
	elsewhere := netip.AddrPortFrom(a.lab.Addr(hostAttacker), harness.DNSPort)
	var sent atomic.Uint64
	var last atomic.Pointer[[]byte]
	watch := func(query []byte, to netip.AddrPort) {
		last.Store(&query)
		for _, m := range notQuite(query) {
			forger.send(a.relay.addr, to, m)
			sent.Add(1)
		}
		right := forged(query)
		forger.send(elsewhere, to, right)                                            // from another address
		forger.send(netip.AddrPortFrom(a.relay.addr.Addr(), 53), to, right)          // from another port
		forger.send(a.relay.addr, netip.AddrPortFrom(to.Addr(), to.Port()^1), right) // to another port
		time.Sleep(10 * time.Millisecond)                                            // they are read in the order that they came in
		forger.send(a.relay.addr, to, right)                                         // nothing is wrong with it but that it comes over UDP
		time.Sleep(40 * time.Millisecond)
	}
	a.relay.watch.Store(&watch)
	defer a.relay.watch.Store(nil)
	wrong, moved, tcp := a.upstream("wrong"), a.upstream("wrong-to-tcp"), a.relay.overTC.Load()
	c := newClient(t)
	defer c.close()
	stop := make(chan struct{})
	var blind sync.WaitGroup
	blind.Go(func() { a.sendBlindly(forger, &last, stop) })
	n := 0
	answered := func(n int) {
		t.Helper()
		m := c.ask(overUDP, a.s.DNS, (&question{name: wire(fmt.Sprintf("f%04d.%s", n, relayZone)), class: 1, typ: 1, flags: flagRD}).message(uint16(n)))
		if m == nil || !bytes.HasSuffix(m, []byte{192, 0, 2, 53}) || m[7] != 1 {
			t.Errorf("name %d: %x", n, m)
		}
	}
	for end := time.Now().Add(attackTime()); time.Now().Before(end); n++ {
		answered(n) // after 25 ms at least
	}
	close(stop)
	blind.Wait()
	for i := range n { // what is in the cache
		answered(i)
	}
	m := c.ask(overUDP, a.s.DNS, (&question{name: wire("www.example.test."), class: 1, typ: 1, flags: flagRD}).message(1))
	if !bytes.HasSuffix(m, []byte{192, 0, 2, 80}) {
		t.Errorf("a name that was forged without being asked for: %x", m)
	}
	t.Logf("%d questions, %d answers with one thing wrong, %g of them read, %g questions moved to TCP", n, sent.Load(), a.upstream("wrong")-wrong, a.upstream("wrong-to-tcp")-moved)
	if k := a.upstream("wrong-to-tcp") - moved; k < float64(n) || a.relay.overTC.Load() == tcp {
		t.Errorf("%g of %d questions were moved to TCP", k, n)
	}
	if k := a.upstream("wrong") - wrong; k < 3*float64(n) {
		t.Errorf("%g wrong answers are counted for %d questions", k, n)
	}
	if state := a.s.Status().Backend("relay", "dns"); state != "up" {
		t.Errorf("the resolver in whose name it was sent is %s", state)
	}
	if n := a.s.Metrics().Sum("sereno_backend_failures_total", "backend", "relay", "reason", "bad-reply"); n == 0 {
		t.Error("no bad reply of the resolver is counted")
	}
}

// sendBlindly sends a thousand answers a second to the node's ports towards the relay, with every ID but the right one.
func (a *attacked) sendBlindly(forger *forger, last *atomic.Pointer[[]byte], stop chan struct{}) {
	ports := a.portsTo(a.relay.addr)
	for id := uint16(0); ; {
		select {
		case <-stop:
			return
		case <-time.After(10 * time.Millisecond):
		}
		if query := last.Load(); query != nil && len(ports) > 0 {
			m := forged(*query)
			for i := range 10 {
				if id++; id == binary.BigEndian.Uint16(*query) {
					continue
				}
				binary.BigEndian.PutUint16(m, id)
				forger.send(a.relay.addr, ports[(int(id)+i)%len(ports)], m)
			}
		}
		if id%500 < 10 {
			ports = a.portsTo(a.relay.addr) // they are renewed
		}
	}
}

// portsTo are the node's source ports towards a backend.
func (a *attacked) portsTo(backend netip.AddrPort) (all []netip.AddrPort) {
	file, err := os.Open("/proc/net/udp")
	if err != nil {
		a.t.Error(err)
		return nil
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 {
			continue
		}
		local, remote := hexAddr(fields[1]), hexAddr(fields[2])
		if remote == backend {
			all = append(all, local)
		}
	}
	return all
}

// hexAddr reads an address of /proc/net/udp.
func hexAddr(s string) netip.AddrPort {
	addr, port, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(addr + port)
	if err != nil || len(b) != 6 {
		return netip.AddrPort{}
	}
	slices.Reverse(b[:4])
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[:4])), binary.BigEndian.Uint16(b[4:]))
}
