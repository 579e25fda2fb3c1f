package dnsfront

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

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
	var out, block bytes.Buffer
	frames, e := http2.NewFramer(&out, nil), hpack.NewEncoder(&block)
	out.WriteString(http2.ClientPreface)
	err = frames.WriteSettings()
	for i := range streams {
		id := uint32(2*i + 1)
		block.Reset()
		query := base64.RawURLEncoding.EncodeToString(packed(t, asking(unique(i), dns.TypeA)))
		for _, h := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "dns.example.net"}, {":path", "/dns-query?dns=" + query}} {
			err = errors.Join(err, e.WriteField(hpack.HeaderField{Name: h[0], Value: h[1], Sensitive: true}))
		}
		err = errors.Join(err, frames.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true}),
			frames.WriteRSTStream(id, http2.ErrCodeCancel))
		if err != nil {
			t.Fatal(err)
		}
		if i%together == together-1 {
			if _, err := out.WriteTo(c); err != nil {
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
	var x streams
	mine, other := net.Pipe()
	defer func() { _, _ = mine.Close(), other.Close() }()
	ctx, cancel := context.WithCancel(withCancels(t.Context(), mine))
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
