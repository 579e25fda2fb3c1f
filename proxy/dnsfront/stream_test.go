package dnsfront

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"sereno/proxy/pool"
)

func TestD50PipelinedAndOutOfOrder(t *testing.T) {
	release := make(chan struct{})
	free := sync.OnceFunc(func() { close(release) })
	f := newFront(t, setup{pool: func(c *pool.Config) { c.AttemptTimeout, c.Timeout = 5*time.Second, 10*time.Second }, handle: func(q *request) [][]byte {
		if q.msg.Question[0].Name == "slow.example." {
			<-release
		}
		return normal(q)
	}})
	defer free()
	c := f.stream()
	slow := asking("slow.example.", dns.TypeA)
	slow.Id = 1
	writeFrame(t, c, packed(t, slow))
	for i := range 50 {
		q := asking(unique(i), dns.TypeA)
		q.Id = uint16(100 + i)
		writeFrame(t, c, packed(t, q))
	}
	seen := map[uint16]bool{}
	for range 50 {
		var m dns.Msg
		if err := m.Unpack(readFrame(t, c)); err != nil {
			t.Fatal(err)
		}
		if m.Id == 1 || len(m.Answer) != 1 || m.Question[0].Name != unique(int(m.Id)-100) {
			t.Fatal(&m)
		}
		seen[m.Id] = true
	}
	free()
	var m dns.Msg
	if err := m.Unpack(readFrame(t, c)); err != nil || m.Id != 1 || len(seen) != 50 {
		t.Error(err, m.Id, len(seen))
	}
}

// TestD50NoMoreThanMaxPipelinedAreRead: the rest waits in the connection.
func TestD50NoMoreThanMaxPipelinedAreRead(t *testing.T) {
	const most = 5
	release := make(chan struct{})
	free := sync.OnceFunc(func() { close(release) })
	f := newFront(t, setup{config: func(c *Config) { c.TCP.MaxPipelined = most },
		pool: func(c *pool.Config) { c.AttemptTimeout, c.Timeout = 5*time.Second, 10*time.Second }, handle: func(q *request) [][]byte {
			if strings.HasPrefix(q.msg.Question[0].Name, "slow") {
				<-release
			}
			return normal(q)
		}})
	defer free()
	c := f.stream()
	for i := range 3 * most {
		writeFrame(t, c, packed(t, asking("slow-"+unique(i), dns.TypeA)))
	}
	until(t, "all that may be in flight", func() bool { return f.Stats().InFlight[TCP] == most })
	for i := range 50 { // time for what must not happen
		f.ask(asking(unique(i), dns.TypeA))
	}
	if n := f.Stats().InFlight[TCP]; n != most {
		t.Errorf("%d in flight", n)
	}
	free()
	for range 3 * most {
		readFrame(t, c)
	}
}

func TestD50HalfCloseIsAnswered(t *testing.T) {
	release := make(chan struct{})
	f := newFront(t, setup{handle: func(q *request) [][]byte { <-release; return normal(q) }})
	c := f.stream()
	writeFrame(t, c, packed(t, asking("www.example.", dns.TypeA)))
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	until(t, "the query", func() bool { s := f.Stats(); return s.TotalInFlight() == 1 })
	close(release)
	readFrame(t, c)
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Error(err)
	}
}

func TestD50ConnectionsAreCapped(t *testing.T) {
	f := newFront(t, setup{config: func(c *Config) {
		c.TCP.MaxPerClient = 5
		c.Listen = []string{"127.0.0.2:0"}
	}})
	var conns []net.Conn
	dial := func() net.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}}
		c, err := d.Dial("tcp", f.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		conns = append(conns, c)
		return c
	}
	for range 5 {
		c := dial()
		writeFrame(t, c, packed(t, asking("www.example.", dns.TypeA)))
		readFrame(t, c)
	}
	c := dial()
	if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a sixth connection of one client was served")
	}
	_ = conns[0].Close()
	until(t, "the place to be free", func() bool { return f.Stats().Connections == 4 })
	c = dial()
	writeFrame(t, c, packed(t, asking("www.example.", dns.TypeA)))
	readFrame(t, c)
}

// A subscriber has 2^64 addresses and more: over IPv6 a client is a prefix, that of rate_limit.
func TestD50AClientIsItsPrefix(t *testing.T) {
	f := newFront(t, setup{config: func(c *Config) { c.TCP.MaxPerClient = 2 }})
	x, local := &f.streams, netip.MustParseAddr("2001:db8::53")
	admitted := func(from string) (netip.Prefix, bool) { return x.admit(netip.MustParseAddr(from), local) }
	var of []netip.Prefix
	for i, from := range []string{"2001:db8:1:100::1", "2001:db8:1:1ff::2", "2001:db8:1:100::3", "2001:db8:1:200::1", "192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"} {
		client, ok := admitted(from)
		if refused := i == 2 || i == 6; ok == refused {
			t.Errorf("connection %d, from %s, of %s: %v", i, from, client, ok)
		}
		if ok {
			of = append(of, client)
		}
	}
	// What is counted is given back where it was counted, whatever a reload says meanwhile.
	f.opts.Config.RateLimit.IPv6Prefix, f.opts.Config.RateLimit.IPv4Prefix = 64, 24
	if err := f.Update(f.opts); err != nil {
		t.Fatal(err)
	}
	if _, ok := admitted("2001:db8:1:100::3"); !ok {
		t.Error("a /64 of its own")
	} else {
		of = append(of, netip.MustParsePrefix("2001:db8:1:100::/64"))
	}
	for _, client := range of {
		x.release(client)
	}
	if len(x.client) != 0 || x.open.Load() != 0 {
		t.Errorf("left: %v, %d", x.client, x.open.Load())
	}
}

func TestD50IdleTimeoutShrinks(t *testing.T) {
	x := streams{}
	c := TCPConfig{MaxConnections: 100, IdleTimeout: 10 * time.Second}
	for open, want := range map[int64]time.Duration{0: 10 * time.Second, 50: 10 * time.Second, 75: 5 * time.Second, 99: time.Second, 100: time.Second} {
		x.open.Store(open)
		if got := x.idle(&c); got != want {
			t.Errorf("%d open: %v, want %v", open, got, want)
		}
	}
}

func TestD50IdleAndSlowConnectionsEnd(t *testing.T) {
	f := newFront(t, setup{config: func(c *Config) { c.TCP.IdleTimeout = time.Second }})
	idle, half, garbage, short := f.stream(), f.stream(), f.stream(), f.stream()
	if _, err := half.Write([]byte{0, 100, 1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	if _, err := garbage.Write([]byte("\x00\x20GET / HTTP/1.1\r\nHost: example.org\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	writeFrame(t, short, []byte{1, 2, 3})
	for name, c := range map[string]net.Conn{"idle": idle, "half a message": half, "short": short} {
		if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 10)); n != 0 || err == nil {
			t.Errorf("%s: %d %v", name, n, err)
		}
	}
	f.ask(asking("www.example.", dns.TypeA))
}

// TestD50SlowReaderHoldsOnlyItself: a client that asks and does not read is stopped by
// the bounds on its own queue, and others notice nothing.
func TestD50SlowReaderHoldsOnlyItself(t *testing.T) {
	f := newFront(t, setup{})
	f.askTCP(asking("big.example.", dns.TypeA))
	c := f.stream()
	done := make(chan struct{})
	go func() {
		defer close(done)
		raw := packed(t, asking("big.example.", dns.TypeA))
		frame := append([]byte{0, byte(len(raw))}, raw...)
		if err := c.SetWriteDeadline(time.Now().Add(2 * time.Second)); err != nil {
			t.Error(err)
		}
		for range 200000 {
			if _, err := c.Write(frame); err != nil {
				return
			}
		}
		t.Error("a client that does not read could go on asking")
	}()
	for i := range 50 {
		f.ask(asking(fmt.Sprintf("other%d.example.", i), dns.TypeA))
		f.askTCP(asking(fmt.Sprintf("other%d.example.", i), dns.TypeA))
	}
	<-done
	f.streams.mu.Lock()
	defer f.streams.mu.Unlock()
	for st := range f.streams.all {
		st.mu.Lock()
		if n := st.out.octets; n > maxQueued+2*4096 {
			t.Errorf("%d octets are queued for a client that does not read", n)
		}
		st.mu.Unlock()
	}
}

func TestD50ThousandIdleConnectionsBotherNobody(t *testing.T) {
	f := newFront(t, setup{config: func(c *Config) { c.TCP.MaxPerClient = 2000 }})
	var conns []net.Conn
	for range 1000 {
		c, err := net.Dial("tcp", f.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	until(t, "all of them", func() bool { return f.Stats().Connections == 1000 })
	for i := range 50 {
		f.ask(asking(unique(i), dns.TypeA))
		f.askTCP(asking(unique(i), dns.TypeA))
	}
	for _, c := range conns {
		_ = c.Close()
	}
	until(t, "their end", func() bool { return f.Stats().Connections <= 50 })
}

// Half a message of 60,000 octets holds memory for a whole one: only so many are read at
// a time, and ordinary queries don't notice.
func TestD50LongQueriesAreReadInBoundedNumber(t *testing.T) {
	f := newFront(t, setup{config: func(c *Config) { c.TCP.MaxPerClient = 2 * maxLarge }})
	long := func() net.Conn {
		c := f.stream()
		if _, err := c.Write([]byte{60000 >> 8, 60000 & 0xff, 1, 2, 3}); err != nil {
			t.Fatal(err)
		}
		return c
	}
	for range maxLarge {
		long()
	}
	until(t, "the long ones to be read", func() bool { return f.streams.large.Load() == maxLarge })
	c := long()
	if err := c.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("one more was read on: %v", err)
	}
	c = f.stream()
	writeFrame(t, c, packed(t, asking("www.example.", dns.TypeA)))
	readFrame(t, c)
}
