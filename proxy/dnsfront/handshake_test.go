package dnsfront

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// TestO30HandshakesTakeTurns: who opens a hundred at once waits behind himself, and nobody else behind him.
func TestO30HandshakesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h handshakes
		h.init(1)
		one, other := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::/56")
		var got []netip.Prefix
		ask := func(client netip.Prefix) {
			go func() {
				if err := h.begin(t.Context(), client, time.Minute); err != nil {
					t.Error(err)
				}
				got = append(got, client) // one at a time: each turn is given on by the test
			}()
			synctest.Wait()
		}
		for range 100 {
			ask(one)
		}
		if len(got) != minHandshakes {
			t.Fatalf("%d are worked at, not %d", len(got), minHandshakes)
		}
		for range 3 {
			ask(other)
		}
		for range 103 {
			h.end()
			synctest.Wait()
		}
		if h.running != 0 || len(h.turns) != 0 || len(h.waiting) != 0 || len(got) != 103 {
			t.Fatalf("in the end %d are worked at, %v wait, and %d have been", h.running, h.turns, len(got))
		}
		for i, client := range got {
			if want := i == minHandshakes+1 || i == minHandshakes+3 || i == minHandshakes+5; (client == other) != want {
				t.Errorf("turn %d was %s's", i, client)
			}
		}
		// Who has left is passed over.
		for range minHandshakes {
			ask(one)
		}
		for range 10 {
			go func() {
				if err := h.begin(t.Context(), other, time.Second); !errors.Is(err, errNoTurn) {
					t.Errorf("a handshake that got no turn: %v", err)
				}
			}()
		}
		time.Sleep(2 * time.Second)
		ask(one)
		for range minHandshakes + 1 {
			h.end()
			synctest.Wait()
		}
		if h.running != 0 || len(h.turns) != 0 || len(h.waiting) != 0 || len(got) != 103+minHandshakes+1 {
			t.Errorf("in the end %d are worked at, %v wait, and %d have been", h.running, h.turns, len(got))
		}
	})
}

// TestO30AHandshakeThatGetsNoTurnIsLetGo: it is counted, and every way that a handshake ends gives its turn on.
func TestO30AHandshakeThatGetsNoTurnIsLetGo(t *testing.T) {
	f, dot, doh, _, roots := secured(t, func(c *Config) { c.TCP.IdleTimeout = 3 * time.Second })
	h := &f.streams.handshakes
	stranger := netip.MustParsePrefix("192.0.2.1/32")
	for range h.limit {
		if err := h.begin(t.Context(), stranger, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	var dialing sync.WaitGroup
	for _, at := range []netip.AddrPort{dot, doh} {
		dialing.Go(func() {
			if _, err := tls.Dial("tcp", at.String(), &tls.Config{RootCAs: roots}); err == nil {
				t.Errorf("%s: a handshake without a turn", at)
			}
		})
	}
	dialing.Wait()
	until(t, "the refusals", func() bool { return f.Stats().Refused[RefusedHandshake] == 2 })
	for range h.limit {
		h.end()
	}
	for range 2 * h.limit {
		c := dialTLS(t, dot, &tls.Config{RootCAs: roots, NextProtos: []string{"dot"}})
		writeFrame(t, c, packed(t, asking("www.example.", dns.TypeA)))
		readFrame(t, c)
		if r, err := client8484(roots, t).Get("https://" + doh.String() + "/elsewhere"); err != nil {
			t.Error(err)
		} else {
			_ = r.Body.Close()
		}
		// Nothing that we speak, and a client that is gone when its turn comes.
		for _, at := range []netip.AddrPort{dot, doh} {
			if _, err := tls.Dial("tcp", at.String(), &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil { //nolint:gosec // that is what is tried
				t.Errorf("%s: TLS 1.1", at)
			}
			here, there := net.Pipe()
			go func() { _ = tls.Client(here, &tls.Config{RootCAs: roots, ServerName: "dns.example.net"}).Handshake() }()
			hello := make([]byte, 16<<10)
			n, err := there.Read(hello)
			_ = there.Close()
			gone, err2 := net.Dial("tcp", at.String())
			if err := errors.Join(err, err2); err != nil {
				t.Fatal(err)
			}
			_, err = gone.Write(hello[:n])
			if err := errors.Join(err, gone.(*net.TCPConn).SetLinger(0), gone.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	until(t, "the end of all turns", func() bool { return h.now() == 0 })
	if n := f.Stats().Refused[RefusedHandshake]; n != 2 {
		t.Errorf("%d were let go", n)
	}
}

// withoutKey is a client's hello, and the same without the key that the server would go on with.
func withoutKey(t *testing.T) (first, second []byte) {
	t.Helper()
	here, there := net.Pipe()
	defer there.Close()
	go func() {
		_ = tls.Client(here, &tls.Config{ServerName: "dns.example.net", MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519}}).Handshake()
	}()
	second = make([]byte, 16<<10)
	n, err := there.Read(second)
	if err != nil {
		t.Fatal(err)
	}
	second = second[:n]
	shares := bytes.Index(second, []byte{0, 51, 0, 38, 0, 36, 0, 29, 0, 32}) // the extension key_share with one key of X25519
	if shares < 0 {
		t.Fatalf("no key in %x", second)
	}
	first = append(bytes.Clone(second[:shares]), 0, 51, 0, 2, 0, 0)
	first = append(first, second[shares+42:]...)
	const gone = 36
	binary.BigEndian.PutUint16(first[3:], uint16(len(first)-5)) //nolint:gosec // a hello is short
	binary.BigEndian.PutUint16(first[7:], uint16(len(first)-9)) //nolint:gosec // a hello is short
	extensions := 9 + 2 + 32
	extensions += 1 + int(first[extensions])
	extensions += 2 + int(binary.BigEndian.Uint16(first[extensions:]))
	extensions += 1 + int(first[extensions])
	binary.BigEndian.PutUint16(first[extensions:], binary.BigEndian.Uint16(first[extensions:])-gone)
	second[2] = 3 // the version of a record that is not the first (RFC 8446 section 5.1)
	return first, second
}

// TestO30ASecondHelloTakesATurnToo: a client that leaves out its key is told to come with one (RFC 8446 section 4.1.4), and
// what is expensive comes only then.
func TestO30ASecondHelloTakesATurnToo(t *testing.T) {
	f, dot, doh, _, _ := secured(t, func(c *Config) { c.TCP.IdleTimeout = 3 * time.Second })
	h := &f.streams.handshakes
	first, second := withoutKey(t)
	say := func(c net.Conn, hello []byte) {
		t.Helper()
		if _, err := c.Write(hello); err != nil {
			t.Fatal(err)
		}
	}
	told := func() (conns []net.Conn) { // to come with another key
		t.Helper()
		for _, at := range []netip.AddrPort{dot, doh} {
			c, err := net.Dial("tcp", at.String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			say(c, first)
			serverHello(t, c)
			conns = append(conns, c)
		}
		return conns
	}
	waiting := told()
	until(t, "the end of their turns", func() bool { return h.now() == 0 })
	for range h.limit {
		if err := h.begin(t.Context(), netip.MustParsePrefix("192.0.2.1/32"), time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range waiting {
		say(c, second)
	}
	for _, c := range waiting {
		_, _ = io.Copy(io.Discard, c) // to its end, however that comes
	}
	until(t, "the refusals", func() bool { return f.Stats().Refused[RefusedHandshake] == 2 })
	for range h.limit {
		h.end()
	}
	for _, c := range told() {
		say(c, second)
		serverHello(t, c)
	}
	until(t, "the end of all turns", func() bool { return h.now() == 0 })
}

// serverHello reads on to the next record of a handshake.
func serverHello(t *testing.T, c net.Conn) {
	t.Helper()
	for {
		var head [5]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint16(head[3:]))); err != nil {
			t.Fatal(err)
		}
		if head[0] == 22 {
			return
		}
	}
}
