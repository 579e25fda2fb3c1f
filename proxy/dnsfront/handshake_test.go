package dnsfront

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
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
	f, dot, doh, _, roots := secured(t, func(c *Config) { c.TCP.IdleTimeout = time.Second })
	h := &f.streams.handshakes
	stranger := netip.MustParsePrefix("192.0.2.1/32")
	for range h.limit {
		if err := h.begin(t.Context(), stranger, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	for i, at := range []netip.AddrPort{dot, doh} {
		if _, err := tls.Dial("tcp", at.String(), &tls.Config{RootCAs: roots}); err == nil {
			t.Errorf("%s: a handshake without a turn", at)
		}
		until(t, "the refusal", func() bool { return f.Stats().Refused[RefusedHandshake] == uint64(i+1) }) //nolint:gosec // not negative
	}
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
			if _, err := tls.Dial("tcp", at.String(), &tls.Config{RootCAs: roots, MaxVersion: tls.VersionTLS11}); err == nil {
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
