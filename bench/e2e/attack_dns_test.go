package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"sereno/bench/e2e/harness"
)

// randomNames asks for names at random below a zone whose servers do not answer: each waits, and takes the room of one.
func (a *attacked) randomNames(t *testing.T) {
	before := a.upstream("silent")
	labels, _ := strings.CutSuffix(silentZone, ".load.test.")
	b := a.flood(t, a.s.DNS, labels, 3000)
	// Each was answered by its deadline: by SERVFAIL, which is not what the name asks for.
	if b.Lost != 0 || b.Answered != 0 {
		t.Errorf("%d of the flood were not answered", b.Lost)
	}
	if n := a.upstream("silent") - before; n < float64(b.Sent) {
		t.Errorf("%g silent attempts for %d queries", n, b.Sent)
	}
}

// reflection asks in the name of a victim, which must get less than was sent; and a service without a rate limit
// answers with no more than udp_size.
func (a *attacked) reflection(t *testing.T) {
	victim, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a.lab.Addr(hostVictim), 0)))
	if err != nil {
		t.Fatal(err)
	}
	defer victim.Close()
	from := netip.AddrPortFrom(a.lab.Addr(hostVictim), victim.LocalAddr().(*net.UDPAddr).AddrPort().Port())
	forger := newForger(t)
	before := a.s.Metrics().Sum("sereno_dns_drops_total", "service", "limited", "reason", "rate-limit")
	big := question{name: wire("big.example.test."), class: 1, typ: 16, flags: flagRD, edns: true, size: 4096}
	sent, n := 0, 0
	for end := time.Now().Add(attackTime()); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		for range 10 {
			m := big.message(uint16(n))
			forger.send(from, a.limited, m)
			sent, n = sent+len(m), n+1
		}
	}
	got, large := 0, 0
	buf := make([]byte, 65536)
	for victim.SetReadDeadline(time.Now().Add(100*time.Millisecond)) == nil {
		k, err := victim.Read(buf)
		if err != nil {
			break
		}
		if got += k; k > 200 {
			large++
		}
	}
	t.Logf("%d queries of %d octets, of which the victim got %d octets, %d large answers", n, sent, got, large)
	if bound := limitedRate + limitedRate*int(2+attackTime()/time.Second); got > sent || large > bound {
		t.Errorf("the victim got %d octets for %d, and %d large answers (at most %d)", got, sent, large, bound)
	}
	if dropped := a.s.Metrics().Sum("sereno_dns_drops_total", "service", "limited", "reason", "rate-limit") - before; dropped < float64(n/4) {
		t.Errorf("%g of %d were dropped for the rate", dropped, n)
	}
	c := newClient(t)
	defer c.close()
	for what, q := range map[string]question{
		"ANY":                  {name: wire("example.test."), class: 1, typ: 255, flags: flagRD, edns: true, size: 4096},
		"ANY of a large set":   {name: wire("big.example.test."), class: 1, typ: 255, flags: flagRD, edns: true, size: 65535},
		"a large set":          big,
		"a large set, no EDNS": {name: wire("big.example.test."), class: 1, typ: 16, flags: flagRD},
	} {
		m := c.ask(overUDP, a.s.DNS, q.message(1))
		limit := 1232
		if !q.edns {
			limit = 512
		}
		if q.typ == 255 {
			limit = len(q.message(1)) + 20
		}
		if len(m) > limit {
			t.Errorf("%s is answered with %d octets, at most %d", what, len(m), limit)
		}
	}
}

// answersAsQueries sends answers to the listening port: true ones, as somebody whose queries carry our address would.
func (a *attacked) answersAsQueries(t *testing.T) {
	conn := from(t, a.lab.Addr(hostAttacker), 0, a.s.DNS)
	m := (&question{name: wire("www.example.test."), class: 1, typ: 1, flags: flagRD | flagQR | flagRA}).message(1)
	m = append(m, 0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 203, 0, 113, 66)
	m[7] = 1
	before, n := a.dnsDrops("response"), 0.0
	for end := time.Now().Add(attackTime()); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		for range 15 {
			binary.BigEndian.PutUint16(m, uint16(n))
			send(t, conn, m)
			n++
		}
	}
	a.lab.Eventually(5*time.Second, "all are counted", func() bool { return a.dnsDrops("response")-before >= n })
	if reply := receive(t, conn, 50*time.Millisecond); reply != nil {
		t.Errorf("an answer to an answer: %x", reply)
	}
}

// inCircles has pools whose backends send everything back to the node, for DNS and for RADIUS, and a resolver in whose
// name the node is asked: nothing goes round.
func (a *attacked) inCircles(t *testing.T) {
	sum := func() float64 { return a.s.Metrics().Sum("sereno_dns_queries_total") }
	before, loops := sum(), dropped(a.s, "loop")
	sent := a.sentOverDNS()
	c := newClient(t)
	defer c.close()
	const n = 20
	ids := map[uint16]bool{}
	conn, err := c.conn(overUDP, a.s.DNS)
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint16(n) {
		if _, err := conn.Write((&question{name: wire(fmt.Sprintf("n%d.%s", i, ownZone)), class: 1, typ: 1, flags: flagRD}).message(i)); err != nil {
			t.Fatal(err)
		}
		ids[i] = true
	}
	forger := newForger(t)
	resolver := netip.AddrPortFrom(a.lab.Addr(11), harness.DNSPort) // its answer to our answer would be the next
	for range 50 {
		forger.send(resolver, a.s.DNS, (&question{name: wire("www.example.test."), class: 1, typ: 1, flags: flagRD}).message(7))
	}
	login := login(t, harness.NASSecret, 1, "user-1@own.example", true)
	nas := from(t, netip.MustParseAddr("127.0.0.1"), 0, a.s.Auth)
	send(t, nas, login)
	for len(ids) > 0 {
		if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		k, err := conn.Read(c.buf)
		if err != nil {
			t.Fatalf("%d are not answered: %v", len(ids), err)
		}
		if rcode := c.buf[3] & 15; rcode != 2 {
			t.Errorf("rcode %d of %x", rcode, c.buf[:k])
		}
		delete(ids, binary.BigEndian.Uint16(c.buf))
	}
	a.lab.Eventually(5*time.Second, "the login that came back is counted", func() bool { return dropped(a.s, "loop") > loops })
	others := a.sentOverDNS() - sent
	if more := sum() - before - float64(others); more > 8*n+200 { // attempts, probes, and what the clients sent meanwhile
		t.Errorf("%d queries that came back make %g", n, more)
	}
}

// sentOverDNS is how much the clients have sent.
func (a *attacked) sentOverDNS() (n uint64) {
	for _, g := range a.guests {
		if g.name != "RADIUS" {
			n += g.work.books().Sent
		}
	}
	return n
}

// names asks for names whose octets mean something in metrics, pages, logs and terminals, and looks whether they mean
// something there.
func (a *attacked) names(t *testing.T) {
	c := newClient(t)
	defer c.close()
	labels := []string{
		"<script>alert(1)</script>", "\"}\nevil_metric 1\n", "\x1b[2J\x1b]0;owned\x07", "\\\"{{.}}", "%s%n%x", "\x00\xff\xfe", "'; DROP TABLE x--", "a,b\r\nSet-Cookie: x",
	}
	for i, label := range labels {
		name := string([]byte{byte(len(label))}) + label + wire("example.test.")
		for _, w := range []way{overUDP, overTCP, overTLS, overHTTPS} {
			m := c.ask(w, a.at(w), (&question{name: name, class: 1, typ: 1, flags: flagRD}).message(uint16(i)))
			if m == nil || m[3]&15 != 3 {
				t.Errorf("%q over %s: %x", label, w, m)
			}
		}
	}
	stop := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() { // for who counts
		conn := from(t, a.lab.Addr(hostAttacker), 0, a.s.DNS)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
				label := labels[n%len(labels)]
				_, _ = conn.Write((&question{name: string([]byte{byte(len(label))}) + label + wire("example.test."), class: 1, typ: 1, flags: flagRD}).message(uint16(n)))
			}
		}
	})
	metrics := a.s.Metrics() // parses
	for _, sample := range metrics {
		for _, text := range append([]string{sample.Name}, values(sample.Labels)...) {
			if strings.Contains(text, "evil") || strings.ContainsAny(text, "<>\x1b\x00") {
				t.Errorf("%q is in the metrics: %q", text, sample.Name)
			}
		}
	}
	binary, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	socket := a.lab.Dir() + "/admin.sock"
	for _, command := range [][]string{{"status"}, {"top", "--for", "1s"}, {"explain", "dns", "<script>.example.test"}} {
		out, code := a.lab.Output("", binary, append(command, "--socket", socket)...)
		if code != 0 || command[0] == "top" && !strings.Contains(out, "script") {
			t.Errorf("%v ended with %d:\n%s", command, code, out)
		}
		if i := strings.IndexFunc(out, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r == 0x7f }); i >= 0 {
			t.Errorf("%v prints %q", command, out[max(0, i-30):min(len(out), i+30)])
		}
	}
	close(stop)
	asking.Wait()
	if log := a.s.Log(); strings.Contains(log, "\x1b[2J") || strings.Contains(log, "\nevil_metric") {
		t.Error("a name is in the log as it came")
	}
}

func values(labels map[string]string) (all []string) {
	for _, v := range labels {
		all = append(all, v)
	}
	return all
}

// pipelines sends as many queries as there are stream identifiers elsewhere, over one connection, all at once.
func (a *attacked) pipelines(t *testing.T) {
	many := 20_000
	if whole {
		many = 70_000
	}
	conn := dialFrom(t, a.lab.Addr(hostAttacker), a.at(overTCP))
	q := (&question{name: wire("www.example.test."), class: 1, typ: 1, flags: flagRD}).message(0)
	framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(q))), q...)
	fresh := (&question{name: wire("new-0000." + harness.LoadLabels + ".load.test."), class: 1, typ: 1, flags: flagRD}).message(0)
	written := make(chan error, 1)
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	go func() {
		var block []byte
		for i := range many {
			if i%100 == 0 { // one that has to be asked
				copy(fresh[17:], fmt.Sprintf("%04d", i/100))
				block = append(binary.BigEndian.AppendUint16(block, uint16(len(fresh))), fresh...)
			} else {
				block = append(block, framed...)
			}
		}
		_, err := conn.Write(block)
		written <- err
	}()
	buf := make([]byte, 65536)
	for i := range many {
		n, err := read(overTCP, conn, buf)
		if err != nil || buf[3]&15 != 0 || bytes.Equal(buf[6:8], []byte{0, 0}) {
			t.Fatalf("answer %d of %d: %x, %v", i, many, buf[:n], err)
		}
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}

// transfers asks for zones over every transport, and then what a resolver must be asked over TCP.
func (a *attacked) transfers(t *testing.T) {
	c := newClient(t)
	defer c.close()
	soa := wire("example.test.") + "\x00\x06\x00\x01\x00\x00\x00\x3c\x00\x16\x00\x00" + strings.Repeat("\x00", 20)
	for round := range 50 {
		for _, w := range []way{overUDP, overTCP, overTLS, overHTTPS} {
			for _, kind := range []uint16{251, 252} {
				m := (&question{name: wire("example.test."), class: 1, typ: kind, flags: flagRD}).message(uint16(round))
				if kind == 251 {
					m = append(m, soa...)
					m[9] = 1
				}
				if r := c.ask(w, a.at(w), m); len(r) < 12 || r[3]&15 != 5 || r[7] != 0 {
					t.Fatalf("type %d over %s: %x", kind, w, r)
				}
			}
		}
	}
	m := c.ask(overTCP, a.at(overTCP), (&question{name: wire("big.example.test."), class: 1, typ: 16, flags: flagRD}).message(9))
	if len(m) < 1900 {
		t.Errorf("a large answer after them: %d octets", len(m))
	}
}
