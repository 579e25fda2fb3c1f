package dnsfront

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"golang.org/x/net/http2"
)

// TestO30HeadersOverHTTPSAreBounded: above maxHeader there is no answer but 431, and little more is read.
func TestO30HeadersOverHTTPSAreBounded(t *testing.T) {
	f, _, doh, _, roots := secured(t, nil)
	one := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}, DisableKeepAlives: true}}
	for _, tt := range []struct{ octets, status int }{{maxHeader / 2, http.StatusNotFound}, {2 * maxHeader, http.StatusRequestHeaderFieldsTooLarge}} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+doh.String()+"/elsewhere", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Long", strings.Repeat("x", tt.octets))
		answer, err := one.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := answer.Body.Close(); err != nil || answer.StatusCode != tt.status || answer.ProtoMajor != 1 {
			t.Errorf("%d octets: %s, %v", tt.octets, answer.Status, err)
		}
	}
	until(t, "the end of the connections", func() bool { return f.Stats().Connections == 0 })
}

// TestO30HTTP2SaysItsBounds: how many streams, what a header may have, and how much may be sent ahead.
func TestO30HTTP2SaysItsBounds(t *testing.T) {
	f, _, doh, _, roots := secured(t, nil)
	c := dialTLS(t, doh, &tls.Config{RootCAs: roots, NextProtos: []string{"h2"}})
	frames := http2.NewFramer(c, c)
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := frames.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	said, ahead := map[http2.SettingID]uint32{}, uint32(65535) // RFC 9113 section 6.9.2
	for done := false; !done; {
		frame, err := frames.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch frame := frame.(type) {
		case *http2.WindowUpdateFrame:
			ahead += frame.Increment
		case *http2.SettingsFrame:
			if done = frame.IsAck(); !done {
				_ = frame.ForeachSetting(func(s http2.Setting) error { said[s.ID] = s.Val; return nil })
			}
		}
	}
	most := uint32(f.settings.Load().cfg.TCP.MaxPipelined) //nolint:gosec // 100
	if got := said[http2.SettingInitialWindowSize]; got != windowHTTP2 || ahead > windowHTTP2 {
		t.Errorf("%d octets may be sent ahead on a stream, %d on the connection", got, ahead)
	}
	if said[http2.SettingMaxConcurrentStreams] != most || said[http2.SettingMaxFrameSize] != 1<<14 {
		t.Errorf("%v", said)
	}
	if got := said[http2.SettingMaxHeaderListSize]; got < maxHeader || got > maxHeader+1024 {
		t.Errorf("a header may have %d octets", got)
	}
}

// TestD26QueriesOnOneSocketAreBounded: another socket is taken, and none when all are full.
func TestD26QueriesOnOneSocketAreBounded(t *testing.T) {
	f := newFront(t, setup{})
	f.ask(asking("www.example.", dns.TypeA)) // opens sockets
	w := f.workers[0]
	w.book.mu.Lock() // the worker waits meanwhile
	defer w.book.mu.Unlock()
	b := f.pool.Backend("b0")
	var full []*socket
	for s := w.socket(b); s != nil && len(full) < 1000; s = w.socket(b) {
		for id := range maxPerSocket {
			s.ids[uint32(id)] = nil //nolint:gosec // below 65536
		}
		full = append(full, s)
	}
	if up := w.upstreams[b]; len(full) < minSockets || len(full) != len(up.sockets) {
		t.Errorf("%d sockets of %d took %d queries each", len(full), len(up.sockets), maxPerSocket)
	}
	for _, s := range full {
		clear(s.ids)
	}
}

// TestD27QueriesOverTCPAreBounded: to one backend, on all its connections.
func TestD27QueriesOverTCPAreBounded(t *testing.T) {
	var u tcpUpstreams
	u.init(nil)
	to := tcpTarget{addr: netip.MustParseAddrPort("192.0.2.1:53")}
	for range tcpConns {
		u.conns[to] = append(u.conns[to], &tcpConn{up: &u, target: to, pending: map[uint16]tcpQuery{}, ready: make(chan struct{}, 1)})
	}
	n := 0
	for ; n <= tcpConns*tcpMost; n++ {
		if err := u.ask(to, tcpQuery{}, make([]byte, 12)); err != nil {
			if !errors.Is(err, errTCPFull) {
				t.Error(err)
			}
			break
		}
	}
	if n != tcpConns*tcpMost || len(u.conns[to]) != tcpConns {
		t.Errorf("%d queries on %d connections", n, len(u.conns[to]))
	}
	u.cancel()
}
