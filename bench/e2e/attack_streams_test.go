package e2e

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"sereno/bench/load"
)

// unchecked is TLS whose certificate is the test's own.
func unchecked(protocol string) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}} //nolint:gosec // an attacker trusts nobody
}

// dial opens a connection to the node from the nth attacker, also over TLS. nil: it was turned away.
func (a *attacked) dial(n int, w way) net.Conn {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(asPort(a.lab.Addr(byte(hostAttacker + n)))), Timeout: 5 * time.Second}
	c, err := d.Dial("tcp", a.at(w).String())
	if err != nil {
		return nil
	}
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if w == overTCP {
		return c
	}
	protocol := "dot"
	if w == overHTTPS {
		protocol = "h2"
	}
	inside := tls.Client(c, unchecked(protocol))
	if inside.Handshake() != nil {
		_ = c.Close()
		return nil
	}
	return inside
}

// connections takes every connection that there is, from many addresses and over every transport, and more. Who was
// connected stays so; who comes anew gets in as soon as the idle ones are shut out, which is soon.
func (a *attacked) connections(t *testing.T) {
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	refused := func(reason string) float64 {
		return a.s.Metrics().Sum("sereno_dns_connections_refused_total", "reason", reason)
	}
	all, one := refused("max-connections"), refused("max-per-client")
	for i := range 2 * mostConnections {
		w := []way{overTCP, overTLS, overHTTPS}[i%3]
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(asPort(a.lab.Addr(byte(hostAttacker + i/90)))), Timeout: 5 * time.Second}
		c, err := d.Dial("tcp", a.at(w).String())
		if err != nil {
			continue
		}
		conns = append(conns, c)
	}
	began := time.Now()
	q := (&question{name: wire("www.example.test."), class: 1, typ: 1, flags: flagRD}).message(1)
	for _, w := range []way{overTCP, overTLS, overHTTPS} {
		a.lab.Eventually(10*time.Second, "a new client over "+w.String()+" gets in", func() bool {
			c := newClient(t)
			defer c.close()
			m, err := c.try(w, a.at(w), q, time.Second)
			return err == nil && m[3]&15 == 0
		})
	}
	t.Logf("%d connections of %d; a new client waits %s", len(conns), 2*mostConnections, time.Since(began).Round(time.Millisecond))
	closed := 0
	for _, c := range conns {
		if closes(c, 5*time.Second) {
			closed++
		}
	}
	if closed != len(conns) {
		t.Errorf("%d of %d connections stay open", len(conns)-closed, len(conns))
	}
	// From one address there are max_per_client.
	var own []net.Conn
	defer func() {
		for _, c := range own {
			_ = c.Close()
		}
	}()
	for range mostPerClient {
		if c := a.dial(40, overTCP); c != nil {
			own = append(own, c)
		}
	}
	if c := a.dial(40, overTCP); c != nil && !closes(c, 2*time.Second) {
		t.Errorf("connection %d of one client", mostPerClient+1)
	}
	if all, one = refused("max-connections")-all, refused("max-per-client")-one; all < mostConnections/2 || one < 1 {
		t.Errorf("%g connections are counted as too many, %g of one client", all, one)
	}
}

// slowWriters begin something on every transport, and go on so slowly that it would never end: an octet at a time. What
// they give ends when the node has let go of all of them, and tells of whom it has not.
func (a *attacked) slowWriters() <-chan string {
	t := a.t
	stay := make(chan string, 100)
	q := (&question{name: wire("www.example.test."), class: 1, typ: 1, flags: flagRD}).message(1)
	framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(q))), q...)
	hello := clientHello(t, "h2")
	var preface bytes.Buffer
	preface.WriteString(http2.ClientPreface)
	framer := http2.NewFramer(&preface, nil)
	if err := errors.Join(framer.WriteSettings(), framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, BlockFragment: headerBlock("POST", "/dns-query", len(q)), EndHeaders: true})); err != nil {
		t.Fatal(err)
	}
	begun := preface.Len()
	if err := framer.WriteData(1, true, q); err != nil {
		t.Fatal(err)
	}
	http1 := fmt.Sprintf("POST /dns-query HTTP/1.1\r\nHost: x\r\nContent-Type: application/dns-message\r\nContent-Length: %d\r\n\r\n%s", len(q), q)
	var done sync.WaitGroup
	n := 0
	for what, c := range map[string]struct {
		w     way
		plain bool // not inside of TLS
		all   []byte
		first int // octets that are sent at once
	}{
		"a query":                   {overTCP, false, framed, 2},
		"a query in TLS":            {overTLS, false, framed, 2},
		"a ClientHello to TLS":      {overTLS, true, hello, 6},
		"a ClientHello to HTTPS":    {overHTTPS, true, hello, 6},
		"an HTTP/1.1 header":        {overHTTPS, false, []byte(http1), 20},
		"an HTTP/1.1 body":          {overHTTPS, false, []byte(http1), len(http1) - len(q)},
		"an HTTP/2 preface":         {overHTTPS, false, preface.Bytes(), 10},
		"an HTTP/2 header":          {overHTTPS, false, preface.Bytes(), begun - 10},
		"an HTTP/2 body, of a POST": {overHTTPS, false, preface.Bytes(), begun + 9},
	} {
		for range 10 {
			n++
			from := 50 + n%8
			done.Go(func() {
				w := c.w
				if c.plain {
					w = overTCP
				}
				conn := a.dialAs(from, c.w, w, strings.Contains(what, "HTTP/1.1"))
				if conn == nil {
					stay <- what + ": not even begun"
					return
				}
				defer conn.Close()
				_, err := conn.Write(c.all[:c.first])
				for at := c.first; err == nil && at < len(c.all)-1; at++ {
					_, err = conn.Write(c.all[at : at+1])
					time.Sleep(200 * time.Millisecond)
				}
				if err == nil && !closes(conn, 5*time.Second) {
					stay <- what
				}
			})
		}
	}
	go func() { done.Wait(); close(stay) }()
	return stay
}

// dialAs opens a connection to the port of one transport that speaks another.
func (a *attacked) dialAs(n int, port, w way, http1 bool) net.Conn {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(asPort(a.lab.Addr(byte(hostAttacker + n)))), Timeout: 5 * time.Second, Control: smallWindow}
	c, err := d.Dial("tcp", a.at(port).String())
	if err != nil || w == overTCP {
		return c
	}
	protocol := map[bool]string{true: "http/1.1", false: "h2"}[http1]
	if w == overTLS {
		protocol = "dot"
	}
	inside := tls.Client(c, unchecked(protocol))
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if inside.Handshake() != nil {
		_ = c.Close()
		return nil
	}
	return inside
}

// clientHello is the first message of a TLS client.
func clientHello(t *testing.T, protocol string) []byte {
	t.Helper()
	here, there := net.Pipe()
	defer here.Close()
	done := make(chan []byte)
	go func() {
		buf := make([]byte, 16<<10)
		n, _ := there.Read(buf)
		_ = there.Close()
		done <- buf[:n]
	}()
	_ = tls.Client(here, unchecked(protocol)).Handshake() // the other side goes away
	hello := <-done
	if len(hello) < 100 {
		t.Fatalf("a ClientHello of %d octets", len(hello))
	}
	return hello
}

// handshakes has attackers at 36 addresses that let the node do all the work of a TLS handshake, and do none.
func (a *attacked) handshakes(t *testing.T) {
	a.flooded(t, 150, func(i int) netip.Addr { return a.lab.Addr(byte(60 + hostAttacker + i%36)) })
}

// handshakesOfOne is the same from one address, with more connections at a time than it may have.
func (a *attacked) handshakesOfOne(t *testing.T) {
	a.flooded(t, mostPerClient+20, func(int) netip.Addr { return a.lab.Addr(hostAttacker + 60) })
}

// flooded has so many attackers send the same ClientHello again and again, the ith from the address that from says. Who
// comes anew over TLS meanwhile, with a handshake for each question, is served, and in time.
func (a *attacked) flooded(t *testing.T, attackers int, from func(i int) netip.Addr) {
	hello := map[way][]byte{overTLS: clientHello(t, "dot"), overHTTPS: clientHello(t, "h2")}
	quiet := a.visits(t, time.Now().Add(300*time.Millisecond))
	var made, refused atomic.Int64
	var done sync.WaitGroup
	end := time.Now().Add(attackTime())
	for i := range attackers {
		w := []way{overTLS, overHTTPS}[i%2]
		done.Go(func() {
			buf := make([]byte, 4096)
			for time.Now().Before(end) {
				d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(asPort(from(i))), Timeout: 5 * time.Second}
				c, err := d.Dial("tcp", a.at(w).String())
				if err != nil {
					refused.Add(1)
					continue
				}
				_ = c.SetDeadline(time.Now().Add(5 * time.Second))
				if _, err = c.Write(hello[w]); err == nil {
					_, err = c.Read(buf)
				}
				if err != nil {
					refused.Add(1)
				} else {
					made.Add(1)
				}
				_ = c.(*net.TCPConn).SetLinger(0)
				_ = c.Close()
			}
		})
	}
	under := a.visits(t, end)
	done.Wait()
	most := 250*time.Millisecond + 5*quiet.Quantile(0.99) // the attackers take the machine's time too
	t.Logf("%d handshakes begun, %d refused; %d new clients, p50 %s, p99 %s (quiet %s, at most %s)", made.Load(), refused.Load(), under.Count(),
		under.Quantile(0.5), under.Quantile(0.99), quiet.Quantile(0.99), most)
	if made.Load() == 0 {
		t.Error("no handshake at all")
	}
	if under.Count() == 0 || under.Quantile(0.99) > most {
		t.Errorf("%d new clients; p99 %s, at most %s", under.Count(), under.Quantile(0.99), most)
	}
}

// visits has one client after the other connect over TLS, ask and leave, until the end, and tells how long each took.
// None is turned away.
func (a *attacked) visits(t *testing.T, end time.Time) (took load.Histogram) {
	q := (&question{name: wire("www.example.test."), class: 1, typ: 1, flags: flagRD}).message(1)
	for time.Now().Before(end) {
		began := time.Now()
		c := newClient(t)
		m, err := c.try(overTLS, a.at(overTLS), q, 4*time.Second)
		c.close()
		if err != nil || m[3]&15 != 0 {
			t.Errorf("a new client over TLS: %x, %v", m, err)
		}
		took.Add(time.Since(began))
		time.Sleep(time.Until(began.Add(10 * time.Millisecond)))
	}
	return took
}

// slowReader is a client that asks and never reads.
type slowReader struct {
	what string
	conn net.Conn
	from time.Time
}

// slowReaders ask over every transport for more than the network holds, and read none of it. In the end the node lets
// go of them.
func (a *attacked) slowReaders() (all []*slowReader) {
	big := (&question{name: wire("big.example.test."), class: 1, typ: 16, flags: flagRD}).message(0)
	framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(big))), big...)
	requests := func(from uint32) []byte { // fifty over HTTP/2
		var b bytes.Buffer
		framer := http2.NewFramer(&b, nil)
		for i := range uint32(50) {
			id := 2*(from+i) + 1
			_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: headerBlock("POST", "/dns-query", len(big)), EndHeaders: true}) // a buffer
			_ = framer.WriteData(id, true, big)
		}
		return b.Bytes()
	}
	var pings bytes.Buffer
	framer := http2.NewFramer(&pings, nil)
	for range 2000 {
		_ = framer.WritePing(false, [8]byte{1})
	}
	start := func(window uint32) []byte {
		var b bytes.Buffer
		b.WriteString(http2.ClientPreface)
		framer := http2.NewFramer(&b, nil)
		_ = framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
		_ = framer.WriteWindowUpdate(0, 1<<30)
		return b.Bytes()
	}
	same := func(b []byte) func(uint32) []byte { return func(uint32) []byte { return b } }
	http1 := fmt.Sprintf("POST /dns-query HTTP/1.1\r\nHost: x\r\nContent-Type: application/dns-message\r\nContent-Length: %d\r\n\r\n%s", len(big), big)
	for what, c := range map[string]struct {
		w     way
		first []byte
		then  func(from uint32) []byte // again and again
		pause time.Duration
	}{
		"over TCP":                       {overTCP, nil, same(bytes.Repeat(framed, 50)), 0},
		"over TLS":                       {overTLS, nil, same(bytes.Repeat(framed, 50)), 0},
		"with a window of nothing":       {overHTTPS, append(start(0), requests(0)...), nil, 0},
		"with a window of a gigabyte":    {overHTTPS, start(1 << 30), requests, 20 * time.Millisecond},
		"with a hundred answers to take": {overHTTPS, append(append(start(1<<30), requests(0)...), requests(50)...), nil, 0},
		"that pings and reads nothing":   {overHTTPS, start(0), same(pings.Bytes()), 0},
		"over HTTP/1.1":                  {overHTTPS, nil, same([]byte(strings.Repeat(http1, 50))), 0},
	} {
		for i := range 5 {
			conn := a.dialAs(30+i, c.w, c.w, strings.Contains(what, "1.1"))
			if conn == nil {
				a.t.Errorf("a slow reader %s is turned away", what)
				continue
			}
			all = append(all, &slowReader{what, conn, time.Now()})
			go func() {
				_ = conn.SetDeadline(time.Now().Add(time.Minute))
				_, err := conn.Write(c.first)
				for n := uint32(0); err == nil && c.then != nil && n < 50_000; n += 50 {
					_, err = conn.Write(c.then(n)) // until nothing goes any more
					time.Sleep(c.pause)
				}
			}()
		}
	}
	return all
}

// slowReadersEnd demands that every slow reader was let go, though none of them has noticed: to who does not read the
// kernel cannot say it.
func (a *attacked) slowReadersEnd(t *testing.T, all []*slowReader) {
	t.Helper()
	from := time.Now()
	if len(all) > 0 {
		from = all[0].from
	}
	connections := func() float64 {
		return a.s.Metrics().Sum("sereno_table_entries", "table", "connections", "service", "resolver")
	}
	const guests = 5 // over TCP, TLS and HTTPS
	a.lab.Eventually(max(time.Second, 25*time.Second-time.Since(from)), "every slow reader is let go", func() bool { return connections() <= guests })
	for _, r := range all {
		_ = r.conn.SetReadDeadline(time.Now().Add(time.Minute)) // a window of next to nothing is asked after more and more seldom
		raw := r.conn
		if inside, ok := raw.(*tls.Conn); ok {
			raw = inside.NetConn()
		}
		n, err := io.Copy(io.Discard, raw)
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			t.Errorf("a slow reader %s is still connected after %s (%d octets)", r.what, time.Since(r.from).Round(time.Second), n)
		}
		_ = r.conn.Close()
	}
}

// asPort is that address with a port that the kernel chooses.
func asPort(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, 0) }

// smallWindow has the kernel take little that nobody reads.
func smallWindow(_, _ string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 2048) }); cerr != nil {
		return cerr
	}
	return err
}
