package dnsfront

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"sereno/proxy/udp"
)

// http2Bytes makes what a client over HTTP/2 sends, as it likes.
type http2Bytes struct {
	t          *testing.T
	out, block bytes.Buffer
	frames     *http2.Framer
	encoder    *hpack.Encoder
	last       uint32
}

func newHTTP2(t *testing.T, settings ...http2.Setting) *http2Bytes {
	x := &http2Bytes{t: t}
	x.out.WriteString(http2.ClientPreface)
	x.frames, x.encoder = http2.NewFramer(&x.out, nil), hpack.NewEncoder(&x.block)
	if err := x.frames.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	return x
}

// ask begins a stream with a query for a name's A, and is its identifier.
func (x *http2Bytes) ask(name string) uint32 {
	x.t.Helper()
	x.last += 1 + x.last&1 // 1, 3, 5
	x.block.Reset()
	var err error
	query := base64.RawURLEncoding.EncodeToString(packed(x.t, asking(name, dns.TypeA)))
	for _, h := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "dns.example.net"}, {":path", "/dns-query?dns=" + query}} {
		err = errors.Join(err, x.encoder.WriteField(hpack.HeaderField{Name: h[0], Value: h[1], Sensitive: true}))
	}
	err = errors.Join(err, x.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: x.last, BlockFragment: x.block.Bytes(), EndHeaders: true, EndStream: true}))
	if err != nil {
		x.t.Fatal(err)
	}
	return x.last
}

// TestO30WhoCancelsHTTPSRequestsIsLetGo: streams that are opened and reset at once are soon the end of the connection,
// and few of their questions are asked.
func TestO30WhoCancelsHTTPSRequestsIsLetGo(t *testing.T) {
	const streams, together = 20_000, 50
	f, _, doh, _, roots := secured(t, func(*Config) {})
	c, err := tls.Dial("tcp", doh.String(), &tls.Config{RootCAs: roots, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	x := newHTTP2(t)
	for i := range streams {
		id := x.ask(unique(i))
		if err := x.frames.WriteRSTStream(id, http2.ErrCodeCancel); err != nil {
			t.Fatal(err)
		}
		if i%together == together-1 {
			if _, err := x.out.WriteTo(c); err != nil {
				break // the node has closed it
			}
		}
	}
	_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
	calm := false // on a busy machine net/http's own bound, on streams whose requests have not begun, may come first
	for in := http2.NewFramer(nil, c); ; {
		frame, err := in.ReadFrame()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("it stays connected")
		}
		if err != nil {
			break
		}
		if end, ok := frame.(*http2.GoAwayFrame); ok {
			calm = calm || end.ErrCode == http2.ErrCodeEnhanceYourCalm
		}
	}
	until(t, "its end", func() bool {
		s := f.Stats()
		return s.Connections == 0 && f.streams.requests.Load() == 0 && s.TotalInFlight() == 0 && f.load.Load() == 0
	})
	if n := f.Stats().Refused[RefusedCancelled]; n != 1 && !calm {
		t.Errorf("%d connections were let go", n)
	}
	if n := f.asked(); n > streams/20 {
		t.Errorf("%d of %d questions were asked", n, streams)
	}
}

// TestWhoCancelsSomeRequestsStays: what was answered makes good for what was cancelled.
func TestWhoCancelsSomeRequestsStays(t *testing.T) {
	x := streams{client: map[netip.Prefix]int{}}
	mine, other := net.Pipe()
	defer func() { _, _ = mine.Close(), other.Close() }()
	ctx, cancel := context.WithCancel(withConn(t.Context(), &httpsConn{Conn: mine, x: &x}))
	gone := ctx
	cancel()
	staying := context.WithoutCancel(gone)
	for range 3 * leastCancelled {
		x.settle(gone, 1)
		x.settle(staying, 1)
	}
	for range leastCancelled {
		x.settle(gone, 1)
	}
	if n := x.refused[RefusedCancelled].Load(); n != 0 {
		t.Fatalf("%d times let go", n)
	}
	x.settle(gone, 1)
	if _, err := other.Read(make([]byte, 1)); x.refused[RefusedCancelled].Load() != 1 || !errors.Is(err, io.EOF) {
		t.Errorf("one cancelled request too many: %d times let go, %v", x.refused[RefusedCancelled].Load(), err)
	}
}

// TestCloseGivesAnswersThatAreThereOverHTTPS: a request whose answer is there gets it while the service stops, not now and
// then: one that was made at once, and one that a backend gave.
func TestCloseGivesAnswersThatAreThereOverHTTPS(t *testing.T) {
	f := newFront(t, setup{})
	s, err := New(f.opts) // never started: nobody else closes stop
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	close(s.stop)
	l := &listener{s: s, transport: HTTPS}
	ctx := withConn(t.Context(), &httpsConn{x: &s.streams})
	dest := udp.Dest{Peer: netip.MustParseAddrPort("127.0.0.1:4567")}
	own := asking("id.server.", dns.TypeTXT)
	own.Question[0].Qclass = dns.ClassCHAOS
	for i := range 32 { // either would do by chance each second time
		if out, status := l.ask(ctx, dest, packed(t, own), s.streams.newAnswer(ctx)); out == nil {
			t.Fatalf("%d: its own answer: status %d", i, status)
		}
		wait := s.streams.newAnswer(ctx)
		if !wait.deliver([]byte("a backend's")) {
			t.Fatal("not delivered")
		}
		if out, status := l.ask(ctx, dest, packed(t, asking("www.example.", dns.TypeA)), wait); string(out) != "a backend's" {
			t.Fatalf("%d: a backend's answer: status %d", i, status)
		}
	}
}

// TestO30SlowReadersOverHTTPSTogetherAreBounded: answers that clients over HTTPS do not take count with those over TCP.
// Who lets them lie while there are many is let go, and who takes them is served.
func TestO30SlowReadersOverHTTPSTogetherAreBounded(t *testing.T) {
	const others = DefaultMaxQueued + 1
	f, _, doh, _, roots := secured(t, func(*Config) {})
	f.ask(asking("www.example.", dns.TypeA)) // over UDP
	f.streams.queued.Add(others)
	f.streams.handed.Add(maxRequests) // net/http holds all that it may
	c, err := tls.Dial("tcp", doh.String(), &tls.Config{RootCAs: roots, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	x := newHTTP2(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}) // it takes nothing
	const streams = 100
	for range streams {
		x.ask("www.example.")
	}
	if _, err := x.out.WriteTo(c); err != nil {
		t.Fatal(err)
	}
	until(t, "its end", func() bool { return f.Stats().Refused[RefusedSlow] > 0 && f.Stats().Connections == 0 })
	until(t, "its answers to be counted out", func() bool {
		return f.streams.queued.Load() == others && f.streams.requests.Load() == 0 && f.streams.handed.Load() == maxRequests
	})
	if most := f.Stats().Answers[HTTPS][FromCache][dns.RcodeSuccess]; most < 2 {
		t.Errorf("%d answers were made: what was refused was the first", most)
	}
	d, err := tls.Dial("tcp", doh.String(), &tls.Config{RootCAs: roots, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	y := newHTTP2(t)
	y.ask("www.example.")
	if _, err := y.out.WriteTo(d); err != nil {
		t.Fatal(err)
	}
	_ = d.SetReadDeadline(time.Now().Add(30 * time.Second))
	for frames := http2.NewFramer(nil, d); ; {
		frame, err := frames.ReadFrame()
		if err != nil {
			t.Fatal("who takes his answers: ", err)
		}
		if _, ok := frame.(*http2.DataFrame); ok {
			break
		}
	}
}

// TestO30ShortAnswersOverHTTPSAreBounded: net/http holds short answers for who does not take them. As many of them as
// streams are open count, until nothing is open any more.
func TestO30ShortAnswersOverHTTPSAreBounded(t *testing.T) {
	const streams = 100
	f, _, doh, _, roots := secured(t, func(c *Config) { c.TCP.MaxPipelined = streams })
	c, err := tls.Dial("tcp", doh.String(), &tls.Config{RootCAs: roots, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	x := newHTTP2(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	for range streams {
		x.ask("www.example.")
	}
	send := func() {
		t.Helper()
		if _, err := x.out.WriteTo(c); err != nil {
			t.Fatal(err)
		}
	}
	send()
	until(t, "all of them to wait", func() bool { return f.streams.handed.Load() == streams && f.streams.requests.Load() == 0 })
	for id := uint32(1); id <= x.last; id += 2 {
		if err := x.frames.WriteWindowUpdate(id, 1<<16); err != nil {
			t.Fatal(err)
		}
	}
	send()
	until(t, "all of them to be taken", func() bool { return f.streams.handed.Load() == 0 })
	x.ask("www.example.")
	send()
	until(t, "one more to wait", func() bool { return f.streams.handed.Load() == 1 })
	_ = c.Close()
	until(t, "its end", func() bool { return f.streams.handed.Load() == 0 && f.Stats().Connections == 0 })
}

// TestO30WhoIsToComeAgainOverHTTPSHoldsNothing: what tells a client that there are too many requests is no octet that
// waits for it.
func TestO30WhoIsToComeAgainOverHTTPSHoldsNothing(t *testing.T) {
	f, _, doh, _, roots := secured(t, func(*Config) {})
	f.streams.requests.Add(maxRequests)
	c, err := tls.Dial("tcp", doh.String(), &tls.Config{RootCAs: roots, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	x := newHTTP2(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	id := x.ask("www.example.")
	if _, err := x.out.WriteTo(c); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
	frames := http2.NewFramer(nil, c)
	frames.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		frame, err := frames.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		h, ok := frame.(*http2.MetaHeadersFrame)
		if !ok {
			continue
		}
		if h.StreamID != id || h.PseudoValue("status") != "503" || !h.StreamEnded() {
			t.Errorf("%v, the stream's end: %v", h, h.StreamEnded())
		}
		break
	}
	if n := f.streams.handed.Load(); n != 0 || f.Stats().Refused[RefusedRequests] != 1 {
		t.Errorf("%d answers wait, %d were refused", n, f.Stats().Refused[RefusedRequests])
	}
}
