package dnsfront

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestO30SlowReadersTogetherAreBounded: while all clients together have many answers to take,
// one that takes none is let go, and who takes them is served.
func TestO30SlowReadersTogetherAreBounded(t *testing.T) {
	f := newFront(t, setup{})
	f.askTCP(asking("big.example.", dns.TypeA))
	const others = DefaultMaxQueued - 1000
	f.streams.queued.Add(others)
	c := f.stream()
	done := make(chan struct{})
	go func() {
		defer close(done)
		raw := packed(t, asking("big.example.", dns.TypeA))
		frame := bytes.Repeat(append([]byte{0, byte(len(raw))}, raw...), 100)
		if err := c.SetWriteDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Error(err)
		}
		for range 10000 {
			if _, err := c.Write(frame); err != nil {
				return
			}
		}
		t.Error("a client that does not read could go on asking")
	}()
	for i := range 20 {
		f.askTCP(asking(fmt.Sprintf("other%d.example.", i), dns.TypeA))
	}
	<-done
	until(t, "its end", func() bool { return f.Stats().Refused[RefusedSlow] == 1 })
	f.askTCP(asking("www.example.", dns.TypeA))
	until(t, "its answers to be counted out", func() bool { return f.streams.queued.Load() == others })
}

func TestO30WhoMayQueue(t *testing.T) {
	for _, tt := range []struct {
		all, has, size int64
		want           bool
	}{
		{1, 1, 1, true}, {DefaultMaxQueued / 2, 1 << 20, 100, true}, // nobody is short of anything
		{DefaultMaxQueued/2 + 1, fewQueued, 100, true}, {DefaultMaxQueued/2 + 1, fewQueued + 1, 100, false},
		{DefaultMaxQueued, 60000, 60000, true}, {DefaultMaxQueued, 60000, 59999, false}, // one answer of any size
		{DefaultMaxQueued + 1, leastQueued, 100, true}, {DefaultMaxQueued + 1, 60000, 60000, false},
	} {
		if got := mayQueue(tt.all, DefaultMaxQueued, tt.has, tt.size); got != tt.want {
			t.Errorf("%d of %d octets, the last of %d: %v", tt.has, tt.all, tt.size, got)
		}
	}
}

// TestO30HTTPSRequestsAreBounded: beyond the bound a client is told to come again, and long
// bodies are read in bounded number only.
func TestO30HTTPSRequestsAreBounded(t *testing.T) {
	f := newFront(t, setup{anything: true})
	l := &listener{s: f.Service, transport: HTTPS}
	post := func(octets int) int {
		body := append(packed(t, asking("www.example.", dns.TypeA)), make([]byte, octets)...)
		r := httptest.NewRequestWithContext(withConn(t.Context(), &httpsConn{x: &f.streams}), http.MethodPost, "https://127.0.0.1"+f.settings.Load().cfg.HTTPS.Path, bytes.NewReader(body))
		r.RemoteAddr = "10.0.0.1:1234"
		r.Header.Set("Content-Type", mediaType)
		w := httptest.NewRecorder()
		l.request(w, r)
		return w.Code
	}
	if code := post(0); code != http.StatusOK {
		t.Fatal(code)
	}
	f.streams.requests.Add(maxRequests)
	if code := post(0); code != http.StatusServiceUnavailable {
		t.Errorf("%d for one request more", code)
	}
	f.streams.requests.Add(-maxRequests)
	f.streams.large.Add(maxLarge)
	if code := post(ordinaryQuery); code != http.StatusRequestEntityTooLarge {
		t.Errorf("%d for one long body more", code)
	}
	if code := post(0); code != http.StatusOK {
		t.Errorf("%d for an ordinary one beside them", code)
	}
	f.streams.large.Add(-maxLarge)
	if st := f.Stats(); st.Refused[RefusedRequests] != 1 || st.Refused[RefusedLong] != 1 || f.streams.requests.Load() != 0 || f.streams.large.Load() != 0 {
		t.Errorf("%v, %d, %d", st.Refused, f.streams.requests.Load(), f.streams.large.Load())
	}
}

// TestO30EveryTableShowsItsBound: what clients can fill is shown with its bound, and never
// stands above it.
func TestO30EveryTableShowsItsBound(t *testing.T) {
	file := blockFile(t, "a.example\nb.example\n")
	f := newFront(t, setup{config: func(c *Config) {
		c.Block = []BlockConfig{{File: file, Format: "names", Action: "nxdomain", Reason: "blocked"}}
	}})
	c := f.stream()
	writeFrame(t, c, packed(t, asking("www.example.", dns.TypeA)))
	readFrame(t, c)
	want := map[string]int64{"connections": 1, "queued-bytes": 0, "handshakes": 0, "https-requests": 0, "in-flight": 0, "cache-entries": 1, "blocked-names": 2}
	until(t, "what was written to be counted out", func() bool { return f.streams.queued.Load() == 0 })
	for _, table := range f.Stats().Tables {
		if n, ok := want[table.Name]; !ok || table.Entries != n || table.Limit < 1 || table.Entries > table.Limit {
			t.Errorf("%+v, want %d", table, n)
		}
		delete(want, table.Name)
	}
	if len(want) > 0 {
		t.Errorf("not shown: %v", want)
	}
}
