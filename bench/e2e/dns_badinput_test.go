package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"sereno/bench/e2e/harness"
)

// silence is the rcode of what must not be answered.
const silence = -1

// bad is a message that no client should send, and what it gets.
type bad struct {
	what    string
	message []byte
	rcode   int
	drop    string // with silence
}

// badMessages are the classes of malformed and hostile queries. The ID of each is 0xbad0.
func badMessages() []bad {
	const (
		formErr, notImp, refused, badVers = 1, 4, 5, 16
	)
	head := func(flags uint16, qd, an, ns, ar int, rest ...string) []byte {
		m := []byte{0xba, 0xd0}
		for _, n := range []int{int(flags), qd, an, ns, ar} {
			m = binary.BigEndian.AppendUint16(m, uint16(n))
		}
		return append(m, strings.Join(rest, "")...)
	}
	www := wire("www.load.test.")
	in := "\x00\x01\x00\x01"
	opt := "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"
	record := www + in + "\x00\x00\x00\x3c\x00\x04\x01\x02\x03\x04"
	long := strings.Repeat("\x3f"+strings.Repeat("l", 63), 4) + "\x01l\x00"
	all := []bad{
		{"nothing", []byte{}, silence, "short"},
		{"11 octets", head(flagRD, 1, 0, 0, 0)[:11], silence, "short"},
		{"an answer", head(flagQR|flagRD, 1, 0, 0, 0, www, in), silence, "response"},
		{"an answer with two OPTs", head(flagQR, 1, 0, 0, 2, www, in, opt, opt), silence, "response"},
		{"no question", head(flagRD, 0, 0, 0, 0), formErr, ""},
		{"no question, but OPT", head(flagRD, 0, 0, 0, 1, opt), formErr, ""},
		{"a question that is not there", head(flagRD, 1, 0, 0, 0), formErr, ""},
		{"two questions", head(flagRD, 2, 0, 0, 0, www, in, www, in), formErr, ""},
		{"65535 questions", head(flagRD, 65535, 0, 0, 0, www, in), formErr, ""},
		{"answers that are not there", head(flagRD, 1, 1, 0, 0, www, in), formErr, ""},
		{"authority that is not there", head(flagRD, 1, 0, 65535, 0, www, in), formErr, ""},
		{"additional records that are not there", head(flagRD, 1, 0, 0, 3, www, in, opt), formErr, ""},
		{"a name that is a pointer to itself", head(flagRD, 1, 0, 0, 0, "\xc0\x0c", in), formErr, ""},
		{"a name that points ahead", head(flagRD, 1, 0, 0, 0, "\xc0\x12", in, www), formErr, ""},
		{"a name that points into the header", head(flagRD, 1, 0, 0, 0, "\x03www\xc0\x00", in), formErr, ""},
		{"a label of 64 octets", head(flagRD, 1, 0, 0, 0, "\x40"+strings.Repeat("l", 64)+"\x00", in), formErr, ""},
		{"a label of an unknown kind", head(flagRD, 1, 0, 0, 0, "\x80www\x00", in), formErr, ""},
		{"a name of 259 octets", head(flagRD, 1, 0, 0, 0, long, in), formErr, ""},
		{"a name without an end", head(flagRD, 1, 0, 0, 0, "\x03www\x04load"), formErr, ""},
		{"a label that is longer than the message", head(flagRD, 1, 0, 0, 0, "\x3fwww"), formErr, ""},
		{"a question without a class", head(flagRD, 1, 0, 0, 0, www, "\x00\x01"), formErr, ""},
		{"two OPTs", head(flagRD, 1, 0, 0, 2, www, in, opt, opt), formErr, ""},
		{"OPT that is not at the root", head(flagRD, 1, 0, 0, 1, www, in, "\x01x", opt), formErr, ""},
		{"OPT in the answer section", head(flagRD, 1, 1, 0, 0, www, in, opt), formErr, ""},
		{"OPT in the authority section", head(flagRD, 1, 0, 1, 0, www, in, opt), formErr, ""},
		{"OPT whose data is cut", head(flagRD, 1, 0, 0, 1, www, in, opt[:9], "\x00\x08\x00\x0a"), formErr, ""},
		{"OPT with an option longer than it", head(flagRD, 1, 0, 0, 1, www, in, opt[:9], "\x00\x04\x00\x0a\x00\x08"), formErr, ""},
		{"OPT with half an option", head(flagRD, 1, 0, 0, 1, www, in, opt[:9], "\x00\x02\x00\x0a"), formErr, ""},
		{"a cookie of three octets", head(flagRD, 1, 0, 0, 1, www, in, opt[:9], "\x00\x07\x00\x0a\x00\x03abc"), formErr, ""},
		{"a cookie of 41 octets", head(flagRD, 1, 0, 0, 1, www, in, opt[:9], "\x00\x2d\x00\x0a\x00\x29", strings.Repeat("c", 41)), formErr, ""},
		{"EDNS version 1", head(flagRD, 1, 0, 0, 1, www, in, "\x00\x00\x29\x04\xd0\x00\x01\x00\x00\x00\x00"), badVers, ""},
		{"EDNS version 255", head(flagRD, 1, 0, 0, 1, www, in, "\x00\x00\x29\x04\xd0\x00\xff\x00\x00\x00\x00"), badVers, ""},
		{"a record whose data is cut", head(flagRD, 1, 1, 0, 0, www, in, record[:len(record)-1]), formErr, ""},
		{"a record without its head", head(flagRD, 1, 0, 0, 1, www, in, www, "\x00\x01"), formErr, ""},
		{"a record whose name is a loop", head(flagRD, 1, 1, 0, 0, www, in, "\xc0\x20", record[len(www):]), formErr, ""},
		{"one octet too many", head(flagRD, 1, 0, 0, 0, www, in, "\x00"), formErr, ""},
		{"rubbish after OPT", head(flagRD, 1, 0, 0, 1, www, in, opt, "rubbish"), formErr, ""},
		{"class 0", head(flagRD, 1, 0, 0, 0, www, "\x00\x01\x00\x00"), refused, ""},
		{"class NONE", head(flagRD, 1, 0, 0, 0, www, "\x00\x01\x00\xfe"), refused, ""},
		{"class ANY", head(flagRD, 1, 0, 0, 0, www, "\x00\x01\x00\xff"), refused, ""},
		{"AXFR", head(flagRD, 1, 0, 0, 0, www, "\x00\xfc\x00\x01"), refused, ""},
		{"IXFR", head(0, 1, 0, 1, 0, www, "\x00\xfb\x00\x01", record), refused, ""},
	}
	for opcode := uint16(1); opcode < 16; opcode++ {
		all = append(all, bad{fmt.Sprintf("opcode %d", opcode), head(opcode<<11|flagRD, 1, 0, 0, 0, www, in), notImp, ""})
	}
	for i := range 256 { // every octet of a good query but those of the ID, changed: whatever comes back, it must be well formed
		good := head(flagRD, 1, 0, 0, 1, www, in, opt)
		if i < len(good)-2 {
			good[2+i] ^= 0xa5
			all = append(all, bad{fmt.Sprintf("octet %d changed", 2+i), good, anything, ""})
		}
	}
	return all
}

// anything is the rcode of what may be answered or not.
const anything = -2

// TestE2EAttackDNSBadMessages sends every class of malformed message over UDP and TCP, while well-behaved clients notice
// nothing, and gets the rcode or the counted drop that is due.
func TestE2EAttackDNSBadMessages(t *testing.T) {
	lab := harness.New(t)
	_, addrs := resolvers(t, lab, 2)
	dns := netip.AddrPortFrom(lab.Addr(53), harness.DNSPort)
	s := node(t, lab, "lab", backendsYAML(dns, "cache: {enabled: true}", addrs...))
	work := dnsLoad(t, s, 500)
	for _, w := range []way{overUDP, overTCP} {
		t.Run(w.String(), func(t *testing.T) {
			wants := map[string]float64{}
			drops := func(reason string) float64 { return s.Metrics().Sum("sereno_dns_drops_total", "reason", reason) }
			before := map[string]float64{"short": drops("short"), "response": drops("response")}
			for _, b := range badMessages() {
				sendBad(t, w, s.DNS, b)
				if b.rcode == silence {
					wants[b.drop]++
				}
			}
			for reason, n := range wants {
				// One more "response" comes from the changed octet that makes the query an answer.
				lab.Eventually(5*time.Second, fmt.Sprintf("%g drops as %s", n, reason), func() bool { return drops(reason)-before[reason] >= n })
			}
		})
	}
	t.Run("source port 0", func(t *testing.T) {
		before := s.Metrics().Sum("sereno_dns_drops_total", "reason", "port-zero")
		spoof(t, netip.AddrPortFrom(lab.Addr(99), 0), s.DNS)
		lab.Eventually(5*time.Second, "the drop is counted", func() bool {
			return s.Metrics().Sum("sereno_dns_drops_total", "reason", "port-zero") == before+1
		})
	})
	t.Run("from our own socket", func(t *testing.T) {
		before := s.Metrics().Sum("sereno_dns_drops_total", "reason", "loop")
		spoof(t, s.DNS, s.DNS)
		lab.Eventually(5*time.Second, "the drop is counted", func() bool {
			return s.Metrics().Sum("sereno_dns_drops_total", "reason", "loop") == before+1
		})
	})
	work.sent(lab, 200)
	work.nothingLost("well-behaved clients beside bad messages")
	s.WaitIdle()
}

// sendBad sends one bad message on a socket of its own and judges the answer.
func sendBad(t *testing.T, w way, to netip.AddrPort, b bad) {
	t.Helper()
	c := newClient(t)
	defer c.close()
	patience := 3 * time.Second
	if b.rcode < 0 {
		patience = 20 * time.Millisecond // long enough to see a wrong answer; the drop is seen in the counter
	}
	raw, err := c.try(w, to, b.message, patience)
	if b.rcode == silence {
		if err == nil {
			t.Errorf("%s got %x", b.what, raw)
		}
		return
	}
	if err != nil {
		if b.rcode != anything {
			t.Errorf("%s: %v", b.what, err)
		}
		return
	}
	a, err := parse(raw)
	if err != nil {
		t.Errorf("%s: the answer: %v", b.what, err)
		return
	}
	sent := binary.BigEndian.Uint16(b.message[2:])
	switch {
	case a.flags&flagQR == 0 || (a.flags^sent)&0x7800 != 0:
		t.Errorf("%s: flags %04x", b.what, a.flags)
	case b.rcode == anything:
	case a.rcode != b.rcode:
		t.Errorf("%s: rcode %d, not %d", b.what, a.rcode, b.rcode)
	case len(a.sections[0])+len(a.sections[1])+len(a.sections[2]) > 0:
		t.Errorf("%s: records: %v", b.what, a.sections)
	case len(a.question) > 0 && !bytes.HasPrefix(b.message[12:], a.question):
		t.Errorf("%s: another question: %x", b.what, a.question)
	}
}

// spoof sends one good query with a source address that no socket could have.
func spoof(t *testing.T, from, to netip.AddrPort) {
	t.Helper()
	forger := newForger(t)
	forger.send(from, to, (&question{name: wire("www.load.test."), class: 1, typ: 1, flags: flagRD}).message(7))
}

// TestE2EAttackDNSBadConnections has clients over TCP that send nothing, half a query, an octet at a time, rubbish, or never
// read, and a thousand that are idle: memory stays bounded, they are shut out in time, and well-behaved clients over
// UDP and TCP notice nothing.
func TestE2EAttackDNSBadConnections(t *testing.T) {
	lab := harness.New(t)
	_, addrs := resolvers(t, lab, 2)
	dns := netip.AddrPortFrom(lab.Addr(53), harness.DNSPort)
	s := node(t, lab, "lab", backendsYAML(dns, "tcp: {idle_timeout: 1500ms, max_per_client: 100}", addrs...))
	memory := func() float64 { return s.Metrics().Sum("process_resident_memory_bytes") }
	work := dnsLoad(t, s, 500)
	work.sent(lab, 500)
	before := memory()

	good := newClient(t)
	defer good.close()
	polite := func(n int) {
		t.Helper()
		q := question{name: wire(fmt.Sprintf("polite%d.load.test.", n)), class: 1, typ: 1, flags: flagRD}
		asked := time.Now()
		if m := good.ask(overTCP, s.DNS, q.message(uint16(n))); m == nil || m[3]&15 != 0 || m[7] == 0 {
			t.Errorf("a well-behaved client over TCP got %x", m)
		}
		if took := time.Since(asked); took > time.Second {
			t.Errorf("a well-behaved client over TCP waited %s", took)
		}
	}
	polite(1)

	thousand(t, lab, s, "idle connections", nil, polite)
	// Of a length that queries have: of longer ones only a few are read at a time, and the rest is let go at once.
	thousand(t, lab, s, "connections with half a query", []byte("\x0f\xff\x12\x34\x01"), polite)
	big := question{name: wire("size-4000.load.test."), class: 1, typ: 16, flags: flagRD}
	acts := map[string]func(net.Conn){
		"one octet":                    func(c net.Conn) { _, _ = c.Write([]byte{0}) },
		"a length alone":               func(c net.Conn) { _, _ = c.Write([]byte{0xff, 0xff}) },
		"half a query":                 func(c net.Conn) { _, _ = c.Write(append([]byte{0, 40}, big.message(1)[:20]...)) },
		"a length of nothing":          func(c net.Conn) { _, _ = c.Write(make([]byte, 4000)) },
		"rubbish":                      func(c net.Conn) { _, _ = c.Write(bytes.Repeat([]byte("GET / HTTP/1.1\r\n"), 2000)) },
		"queries, and reads no answer": func(c net.Conn) { pour(c, big.message(1)) },
	}
	all := map[string][]net.Conn{}
	for what, act := range acts {
		from := lab.Addr(byte(120 + len(all)))
		for range 20 {
			c := dialFrom(t, from, s.DNS)
			go act(c)
			all[what] = append(all[what], c)
		}
		polite(2001)
	}
	time.Sleep(500 * time.Millisecond) // what they do goes on
	polite(2002)
	for what, conns := range all {
		for _, c := range conns {
			if !closes(c, 10*time.Second) {
				t.Errorf("a client that sends %s stays connected", what)
				break
			}
		}
	}
	octetByOctet(t, dialFrom(t, lab.Addr(130), s.DNS))
	grown := memory() - before
	t.Logf("after all of it %.1f MB more are in use", grown/1e6)
	if grown > 128e6 {
		t.Errorf("after all of it %.1f MB more are in use", grown/1e6)
	}
	work.sent(lab, 200)
	work.nothingLost("well-behaved clients beside bad connections")
	s.WaitIdle()
}

// thousand opens a thousand connections that send so much and then nothing. They take little memory, are shut out in
// time, and no client gets more of them than max_per_client.
func thousand(t *testing.T, lab *harness.Lab, s *harness.Sereno, what string, sent []byte, polite func(int)) {
	t.Helper()
	memory := func() float64 { return s.Metrics().Sum("process_resident_memory_bytes") }
	before := memory()
	var conns []net.Conn
	for i := range 1000 {
		c := dialFrom(t, lab.Addr(byte(100+i/100)), s.DNS)
		if _, err := c.Write(sent); err != nil {
			t.Fatal(err)
		}
		if conns = append(conns, c); i%50 == 0 {
			polite(10 + i)
		}
	}
	grown := memory() - before
	t.Logf("1000 %s: %.1f MB more, %.1f KB each", what, grown/1e6, grown/1e3/1000)
	if grown > 64e6 {
		t.Errorf("1000 %s take %.1f MB", what, grown/1e6)
	}
	if !closes(dialFrom(t, lab.Addr(100), s.DNS), time.Second) {
		t.Error("the 101st connection of a client stays open")
	}
	began := time.Now()
	for i, c := range conns {
		if !closes(c, 6*time.Second) {
			t.Fatalf("connection %d of 1000 %s is open after %s", i, what, time.Since(began))
		}
	}
	t.Logf("1000 %s are closed after %s", what, time.Since(began).Round(10*time.Millisecond))
	polite(2000)
}

// octetByOctet sends a query an octet at a time, which is slow but no fault, and wants its answer.
func octetByOctet(t *testing.T, c net.Conn) {
	t.Helper()
	q := (&question{name: wire("slow.load.test."), class: 1, typ: 1, flags: flagRD}).message(9)
	for _, octet := range append([]byte{0, byte(len(q))}, q...) {
		if _, err := c.Write([]byte{octet}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	buf := make([]byte, 65536)
	if err := c.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := read(overTCP, c, buf); err != nil || !bytes.Equal(buf[:n][4:6], []byte{0, 1}) || buf[3]&15 != 0 {
		t.Errorf("a query that came an octet at a time got %x, %v", buf[:n], err)
	}
}

// dialFrom opens a connection that comes from an address; it is closed at the end.
func dialFrom(t *testing.T, from netip.Addr, to netip.AddrPort) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), Timeout: 5 * time.Second}
	c, err := d.Dial("tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// closes waits until the server closes the connection; answers that come before are read over.
func closes(c net.Conn, patience time.Duration) bool {
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return true
	}
	_, err := io.Copy(io.Discard, c)
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// pour sends queries until the server takes no more.
func pour(c net.Conn, q []byte) {
	framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(q))), q...)
	many := bytes.Repeat(framed, 100)
	_ = c.SetWriteDeadline(time.Now().Add(4 * time.Second))
	for range 1000 {
		if _, err := c.Write(many); err != nil {
			return
		}
	}
}
