package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

var lookPaths = []string{"/api/v1/top?for=1s", "/api/v1/trace/dns?client=10.0.0.1", "/api/v1/trace/radius?user=alice"}

func TestO24OnlyOverTheSocket(t *testing.T) {
	s := startServer(t, nil)
	for _, path := range lookPaths {
		code, body, _ := ask(t, s.overListen, "GET", s.url(path))
		if code != 403 || !strings.Contains(body, "over the socket only") {
			t.Errorf("%s: %d %s", path, code, body)
		}
		if code, _, _ := ask(t, s.overListen, "GET", s.url(path), bearer("secret")); code != 403 {
			t.Errorf("%s with a token: %d", path, code)
		}
	}
	if calls := s.node.taken(); len(calls) != 0 {
		t.Errorf("the node was asked: %v", calls)
	}
	if n := s.refusals.total(refusedSocketOnly); n != 6 {
		t.Errorf("%d refusals are counted", n)
	}
}

func TestO24ArgumentsAreChecked(t *testing.T) {
	s := startServer(t, nil)
	for _, path := range []string{
		"/api/v1/top?for=0s", "/api/v1/top?for=2m", "/api/v1/top?for=", "/api/v1/top?limit=0", "/api/v1/top?limit=many", "/api/v1/trace/dns", "/api/v1/trace/dns?client=",
		"/api/v1/trace/dns?client=10.0.0.0/99", "/api/v1/trace/dns?name=a&for=11m", "/api/v1/trace/dns?name=" + strings.Repeat("a", 256),
		"/api/v1/trace/radius", "/api/v1/trace/radius?nas=bras-1", "/api/v1/trace/radius?user=a&for=1ms",
	} {
		if code, body, _ := ask(t, s.overSocket, "GET", "http://node"+path); code != 400 || !strings.Contains(body, "bad argument") {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if calls := s.node.taken(); len(calls) != 0 {
		t.Errorf("the node was asked: %v", calls)
	}
	ask(t, s.overSocket, "GET", "http://node/api/v1/top?service=x&for=3s&limit=7")
	ask(t, s.overSocket, "GET", "http://node/api/v1/trace/dns?client=10.1.2.3/16&name=example.com&for=1s")
	if calls := s.node.taken(); !slices.Equal(calls, []string{"top x 3s 7", "trace dns 10.1.0.0/16 example.com"}) {
		t.Errorf("%v", calls)
	}
}

// traced begins a trace and reads its first line.
func (s *testServer) traced(ctx context.Context, t *testing.T, path string) (lines *bufio.Scanner, end func()) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, "GET", "http://node"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := s.overSocket.Transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != 200 || answer.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Fatalf("%s %v", answer.Status, answer.Header)
	}
	lines = bufio.NewScanner(answer.Body)
	if !lines.Scan() || !strings.Contains(lines.Text(), `"step":"begin"`) {
		t.Fatalf("%q %v", lines.Text(), lines.Err())
	}
	return lines, func() { _ = answer.Body.Close() }
}

func TestO24TracesAreBoundedInTimeAndNumber(t *testing.T) {
	s := startServer(t, func(_ *Options, l *limits) { l.looks = 2 })
	lines, end := s.traced(context.Background(), t, lookPaths[1]+"&for=1s")
	defer end()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	_, endOther := s.traced(ctx, t, lookPaths[2]+"&for=10m")
	code, body, header := ask(t, s.overSocket, "GET", "http://node"+lookPaths[0])
	if code != 503 || !strings.Contains(body, "2 traces and counts run already") || header.Get("Retry-After") == "" {
		t.Errorf("one too many: %d %s", code, body)
	}
	var steps []string
	for lines.Scan() {
		var l TraceLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, l.Step)
	}
	if !slices.Equal(steps, []string{"received", "received", "end"}) {
		t.Errorf("%v", steps)
	}
	cancel() // a client that goes makes room
	endOther()
	for deadline := time.Now().Add(5 * time.Second); len(s.looks) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("its place is not free")
		}
	}
}

func TestO24CloseEndsATrace(t *testing.T) {
	s := startServer(t, nil)
	lines, end := s.traced(context.Background(), t, lookPaths[1]+"&for=10m")
	defer end()
	began := time.Now()
	closeServer(t, s)
	last := ""
	for lines.Scan() {
		last = lines.Text()
	}
	if !strings.Contains(last, `"step":"end"`) || time.Since(began) > 5*time.Second {
		t.Errorf("%v: %q", time.Since(began), last)
	}
}
