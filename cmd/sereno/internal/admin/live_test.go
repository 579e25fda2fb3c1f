package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// frames reads a live stream: names and data, in order.
func frames(t *testing.T, s *testServer, path string) <-chan [2]string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", s.url(path), nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := s.overListen.Transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != 200 || answer.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%d %v", answer.StatusCode, answer.Header)
	}
	out := make(chan [2]string, 1000)
	go func() {
		defer close(out)
		defer func() { _ = answer.Body.Close() }()
		lines, name := bufio.NewScanner(answer.Body), "message"
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			switch field, value, _ := strings.Cut(lines.Text(), ": "); field {
			case "event":
				name = value
			case "data":
				out <- [2]string{name, value}
				name = "message"
			}
		}
	}()
	return out
}

// next waits for the next frame of that name.
func next(t *testing.T, from <-chan [2]string, name string) string {
	t.Helper()
	late := time.After(10 * time.Second)
	for {
		select {
		case f, ok := <-from:
			if !ok {
				t.Fatalf("the stream ended before a %s", name)
			}
			if f[0] == name {
				return f[1]
			}
		case <-late:
			t.Fatalf("no %s", name)
		}
	}
}

func TestO21LiveStreamBeginsWithTheStatusAndGoesOn(t *testing.T) {
	w := newWorld()
	s := startServer(t, func(o *Options, _ *limits) { o.Snapshot = func() Snapshot { return *w.snapshot() } })
	s.Publish(Event{Kind: EventNode, Name: "old"})
	f := frames(t, s, "/api/v1/live?last=10")
	var status Status
	if first := <-f; first[0] != frameStatus || json.Unmarshal([]byte(first[1]), &status) != nil || status.Node != "garibaldi-1" {
		t.Fatalf("%v", first)
	}
	if e := next(t, f, "message"); !strings.Contains(e, `"old"`) {
		t.Error(e)
	}
	s.node.mu.Lock()
	s.node.status.State = "down"
	s.node.mu.Unlock()
	s.Publish(Event{Kind: EventNode, Name: "garibaldi-1", To: "down"})
	if e := next(t, f, "message"); !strings.Contains(e, `"down"`) {
		t.Error(e)
	}
	if st := next(t, f, frameStatus); !strings.Contains(st, `"state":"down"`) {
		t.Error(st)
	}
	var h History
	if sample := next(t, f, frameSample); json.Unmarshal([]byte(sample), &h) != nil || len(h.Times) != 1 || len(h.Services) != 2 || h.Step != 2 {
		t.Error(sample)
	}
	code, body, header := ask(t, s.overListen, "GET", s.url("/api/v1/history?span=10m"), [2]string{"Accept-Encoding", "identity"})
	if code != 200 || json.Unmarshal([]byte(body), &h) != nil || len(h.Times) == 0 || h.Node != "garibaldi-1" || header.Get("Content-Encoding") != "" {
		t.Errorf("%d %s", code, body)
	}
	if code, body, _ := ask(t, s.overListen, "GET", s.url("/api/v1/history?span=1y")); code != 400 || !strings.Contains(body, "24h") {
		t.Errorf("%d %s", code, body)
	}
}

// TestO21LiveStreamSendsNoStatusThatLooksTheSame runs an hour in virtual time.
func TestO21LiveStreamSendsNoStatusThatLooksTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, node := newWorld(), &fakeNode{t: t, status: contractStatus(t)}
		s := &Server{
			node: node, now: time.Now, recorder: recorder{}, feed: feed{subs: map[chan []byte]struct{}{}},
			changed: make(chan struct{}, 1), snapshot: func() Snapshot { return *w.snapshot() }, hub: newHub(1), log: zap.NewNop(),
		}
		stop := make(chan struct{})
		go s.record(stop)
		sub := s.feed.subscribe()
		statuses, samples := 0, 0
		end := time.After(time.Hour)
		for done := false; !done; {
			select {
			case f := <-sub:
				if strings.HasPrefix(string(f), "event: status") {
					statuses++
				} else {
					samples++
				}
				node.mu.Lock()
				node.status.Services[0].Requests++ // counters alone are no news
				node.status.BGP.Neighbors[0].LeaseMargin += 0.001
				node.mu.Unlock()
			case <-end:
				done = true
			}
		}
		// 1799 of 2 s (the first look has nothing to compare with), 359 of 10 s, 11 of 5 min.
		if statuses != 1 || samples < 2160 || samples > 2175 {
			t.Errorf("%d statuses and %d samples in an hour", statuses, samples)
		}
		s.feed.unsubscribe(sub)
		if !s.feed.idle() {
			t.Error("a subscriber is left")
		}
		close(stop)
		synctest.Wait()
	})
}

func TestO21ALiveStreamThatFallsBehindIsClosed(t *testing.T) {
	f := feed{subs: map[chan []byte]struct{}{}}
	slow := f.subscribe()
	for range feedBuffer + 1 {
		f.send([]byte("x"))
	}
	n := 0
	for range slow {
		n++
	}
	if n != feedBuffer || !f.idle() {
		t.Errorf("%d frames, idle: %v", n, f.idle())
	}
	f.unsubscribe(slow)
}

func TestO21AFaultInRecordingCostsNothingElse(t *testing.T) {
	s := startServer(t, nil)
	s.guarded(func() { panic("fault") })
	if n := s.panics.Load(); n != 1 {
		t.Errorf("%d faults were counted", n)
	}
}

// TestO21APageThatStaysOpenCostsNoMore gives one open stream the samples of twenty minutes, when the rings are full.
func TestO21APageThatStaysOpenCostsNoMore(t *testing.T) {
	var mu sync.Mutex
	w := newWorld()
	s := startServer(t, func(o *Options, _ *limits) {
		o.Snapshot = func() Snapshot { mu.Lock(); defer mu.Unlock(); return *w.snapshot() }
		o.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return w.now }
	})
	pass := func(samples int, each func()) {
		for range samples {
			mu.Lock()
			w.now, w.queries = w.now.Add(2*time.Second), w.queries+200
			mu.Unlock()
			s.sample()
			each()
		}
	}
	pass(1900, func() {})
	f := frames(t, s, "/api/v1/live")
	next(t, f, frameStatus)
	arrives := func() {
		for got := ""; !strings.Contains(got, `"step_seconds":2,`); {
			got = next(t, f, frameSample)
		}
	}
	type size struct {
		goroutines, minutes, hour, roomMinutes, roomHour int
		heap                                             uint64
	}
	measure := func() (out size) {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		out.goroutines, out.heap = runtime.NumGoroutine(), m.HeapAlloc
		s.recorder.mu.Lock()
		defer s.recorder.mu.Unlock()
		r := &s.recorder.rings
		out.minutes, out.roomMinutes, out.hour, out.roomHour = len(r[0].samples), cap(r[0].samples), len(r[1].samples), cap(r[1].samples)
		return out
	}
	pass(20, arrives)
	before := measure()
	pass(600, arrives)
	after := measure()
	t.Logf("first %+v, after twenty minutes %+v", before, after)
	if before.minutes != kept[0].most || before.hour != kept[1].most {
		t.Errorf("the rings are not full: %+v", before)
	}
	if after.heap > before.heap+256<<10 {
		t.Errorf("%d bytes of memory, and %d after twenty minutes", before.heap, after.heap)
	}
	if after.goroutines > before.goroutines+5 { // those of earlier tests come to their ends meanwhile
		t.Errorf("%d goroutines, and %d after twenty minutes", before.goroutines, after.goroutines)
	}
	before.heap, before.goroutines, after.heap, after.goroutines = 0, 0, 0, 0
	if after != before {
		t.Errorf("the history grows: %+v, then %+v", before, after)
	}
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	if len(s.feed.subs) != 1 {
		t.Errorf("%d subscribers", len(s.feed.subs))
	}
}
