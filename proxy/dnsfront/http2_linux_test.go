package dnsfront

import (
	"crypto/tls"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/http2"
	"golang.org/x/sys/unix"
)

// TestD50WhoNeverReadsHTTP2IsLetGo: answers that fill the connection, and a client that
// never takes an octet of them. WriteTimeout ends streams only.
func TestD50WhoNeverReadsHTTP2IsLetGo(t *testing.T) {
	const streams, records = 100, 4000 // as many as tcp.max_pipelined allows, of 64,000 octets
	f, _, doh, _, roots := secured(t, func(c *Config) { c.TCP.IdleTimeout = time.Second })
	for _, r := range f.resolvers {
		r.set(func(q *request) [][]byte {
			m := q.reply(dns.RcodeSuccess)
			m.Truncated = !q.tcp
			for i := 0; q.tcp && i < records; i++ {
				m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: q.msg.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 300}, A: net.IPv4(192, 0, byte(i>>8), byte(i))})
			}
			return [][]byte{packed(t, m)}
		})
	}
	f.askTCP(asking("www.example.", dns.TypeA))
	small := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096) })
	}}
	c, err := (&tls.Dialer{NetDialer: &small, Config: &tls.Config{RootCAs: roots, NextProtos: []string{"h2"}}}).DialContext(t.Context(), "tcp", doh.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	const window = 1 << 30 // it says that it takes everything
	x := newHTTP2(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
	if err := x.frames.WriteWindowUpdate(0, window); err != nil {
		t.Fatal(err)
	}
	for range streams {
		x.ask("www.example.")
	}
	until(t, "the connection", func() bool { return f.Stats().Connections == 1 })
	if _, err := x.out.WriteTo(c); err != nil {
		t.Fatal(err)
	}
	// A slow machine, or the race detector, takes its time to encrypt so much; without the bound it never ends.
	for deadline := time.Now().Add(time.Minute); f.Stats().Connections != 0 || f.streams.requests.Load() != 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("who never reads stays connected")
		}
	}
	n, _ := io.Copy(io.Discard, c) // what the kernels held; then its end
	if n < 1 || n >= streams*records*16 {
		t.Errorf("%d octets were on their way: the connection was never full", n)
	}
}
