package e2e

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"sereno/bench/e2e/harness"
)

// headerBlock is the header of a request. A body length of 0: none is announced.
func headerBlock(method, path string, body int) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	fields := []hpack.HeaderField{{Name: ":method", Value: method}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "dns.example"}, {Name: ":path", Value: path}}
	if body > 0 {
		fields = append(fields, hpack.HeaderField{Name: "content-type", Value: "application/dns-message"}, hpack.HeaderField{Name: "content-length", Value: strconv.Itoa(body)})
	}
	for _, f := range fields {
		f.Sensitive = true // not in the table: each block stands alone
		if err := e.WriteField(f); err != nil {
			panic(err) // a buffer takes everything
		}
	}
	return b.Bytes()
}

// rawHTTP2 is a connection on which the test writes frames of its own. What comes is read over and counted.
type rawHTTP2 struct {
	*http2.Framer
	conn  net.Conn
	out   bytes.Buffer
	heard atomic.Int64 // octets
	ended chan struct{}
}

func (a *attacked) http2(t *testing.T, n int, settings ...http2.Setting) *rawHTTP2 {
	t.Helper()
	conn := a.dial(n, overHTTPS)
	if conn == nil {
		t.Fatal("turned away")
	}
	t.Cleanup(func() { _ = conn.Close() })
	h := &rawHTTP2{conn: conn, ended: make(chan struct{})}
	h.Framer = http2.NewFramer(&h.out, nil)
	h.AllowIllegalWrites = true
	h.out.WriteString(http2.ClientPreface)
	if err := h.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(h.ended)
		buf := make([]byte, 64<<10)
		for {
			k, err := conn.Read(buf)
			h.heard.Add(int64(k))
			if err != nil {
				return
			}
		}
	}()
	return h
}

// flush sends what was written. false: the node has closed the connection.
func (h *rawHTTP2) flush() bool {
	_, err := h.out.WriteTo(h.conn)
	h.out.Reset()
	return err == nil
}

// closed waits until the node has closed the connection.
func (h *rawHTTP2) closed(patience time.Duration) bool {
	select {
	case <-h.ended:
		return true
	case <-time.After(patience):
		return false
	}
}

// rapidReset opens streams and resets them at once (CVE-2023-44487), each with a question that has to be asked. The
// node closes such a connection, or serves it; it never has more of them than may be open at a time.
func (a *attacked) rapidReset(t *testing.T) {
	opened, n := 0, 0
	began := time.Now()
	for ; time.Since(began) < attackTime(); n++ {
		h := a.http2(t, 40)
		for id := uint32(1); id < 40_000 && time.Since(began) < attackTime(); id += 2 {
			q := (&question{name: wire(fmt.Sprintf("r%d-%d.%s.load.test.", n, id, harness.LoadLabels)), class: 1, typ: 1, flags: flagRD}).message(0)
			_ = h.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: headerBlock("GET", "/dns-query?dns="+base64.RawURLEncoding.EncodeToString(q), 0), EndHeaders: true, EndStream: true}) // a buffer
			_ = h.WriteRSTStream(id, http2.ErrCodeCancel)
			opened++
			if id%50 == 1 && !h.flush() {
				break
			}
		}
		_ = h.conn.Close()
	}
	t.Logf("%d streams of %d connections were opened and reset in %s", opened, n, time.Since(began).Round(time.Millisecond))
	if n < 5 {
		t.Errorf("%d connections sufficed for %d streams", n, opened)
	}
}

// continuation sends header blocks that never end (CVE-2023-45288), and one that is small on the wire and large when
// unpacked.
func (a *attacked) continuation(t *testing.T) {
	for n := range 2 {
		h := a.http2(t, 41+n)
		_ = h.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: headerBlock("GET", "/dns-query", 0)}) // a buffer
		var field bytes.Buffer
		e := hpack.NewEncoder(&field)
		_ = e.WriteField(hpack.HeaderField{Name: "x", Value: string(bytes.Repeat([]byte{'y'}, 4000)), Sensitive: n == 0})
		block := field.Bytes()
		if n == 1 {
			block = bytes.Repeat([]byte{0xbe}, 8000) // the field in the table, 8000 times: 32 MB
		}
		sent := 0
		for ; sent < 200<<20; sent += len(block) {
			_ = h.WriteContinuation(1, false, block)
			if h.out.Len() > 64<<10 && !h.flush() {
				break
			}
		}
		if !h.closed(5 * time.Second) {
			t.Errorf("header block %d: the connection stays open after %d octets", n, sent)
		}
		t.Logf("header block %d: %d KB were taken", n, sent>>10)
		if sent > 20<<20 {
			t.Errorf("header block %d: %d MB were taken", n, sent>>20)
		}
	}
}

// smallFrames sends SETTINGS, PING, PRIORITY, WINDOW_UPDATE and empty DATA frames as fast as it can, on connections that
// read and on one that does not.
func (a *attacked) smallFrames(t *testing.T) {
	kinds := map[string]func(*rawHTTP2) error{
		"SETTINGS": func(h *rawHTTP2) error {
			return h.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 65535})
		},
		"PING":          func(h *rawHTTP2) error { return h.WritePing(false, [8]byte{1}) },
		"PRIORITY":      func(h *rawHTTP2) error { return h.WritePriority(3, http2.PriorityParam{StreamDep: 1, Weight: 9}) },
		"WINDOW_UPDATE": func(h *rawHTTP2) error { return h.WriteWindowUpdate(0, 1) },
		"empty DATA":    func(h *rawHTTP2) error { return h.WriteData(1, false, nil) },
		"unknown":       func(h *rawHTTP2) error { return h.WriteRawFrame(0xee, 0xff, 1, []byte("what?")) },
	}
	each := attackTime() / time.Duration(len(kinds))
	for what, write := range kinds {
		h := a.http2(t, 46)
		if what == "empty DATA" {
			_ = h.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: headerBlock("POST", "/dns-query", 40), EndHeaders: true}) // a buffer
		}
		frames := 0
		for end := time.Now().Add(each); time.Now().Before(end) && frames < 100_000; frames += 100 {
			for range 100 {
				_ = write(h)
			}
			if !h.flush() {
				break
			}
		}
		t.Logf("%s: %d frames, %d octets came back", what, frames, h.heard.Load())
		_ = h.conn.Close()
	}
}

// lastStreams uses the last stream identifier that there is, and goes on with lower and with even ones.
func (a *attacked) lastStreams(t *testing.T) {
	q := (&question{name: wire("www.example.test."), class: 1, typ: 1, flags: flagRD}).message(0)
	block := headerBlock("GET", "/dns-query?dns="+base64.RawURLEncoding.EncodeToString(q), 0)
	var done sync.WaitGroup
	defer done.Wait()
	for _, ids := range [][]uint32{{1<<31 - 1}, {1<<31 - 1, 1}, {2}, {0}, {1<<31 - 1, 1<<31 - 1}} {
		h := a.http2(t, 47)
		for _, id := range ids {
			_ = h.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true, EndStream: true}) // a buffer
		}
		h.flush()
		done.Go(func() {
			if len(ids) == 1 && ids[0] > 2 {
				a.lab.Eventually(5*time.Second, "an answer on the last stream", func() bool { return h.heard.Load() > 60 })
				_ = h.conn.Close()
			} else if !h.closed(10 * time.Second) {
				t.Errorf("streams %d: the connection stays open", ids)
			}
		})
	}
	conn := a.dial(48, overHTTPS)
	if conn == nil {
		t.Fatal("turned away")
	}
	_, _ = io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x00\x00\x00\x00\x00\x01") // a frame of 16 MB
	if !closes(conn, 5*time.Second) {
		t.Error("a frame of 16 MB is waited for")
	}
}
