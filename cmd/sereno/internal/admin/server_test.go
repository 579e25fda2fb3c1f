package admin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func closeServer(t *testing.T, s *testServer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
}

func TestSocketIsForOwnerAndGroupAlone(t *testing.T) {
	for _, mask := range []int{0, 0o022, 0o077} {
		old := syscall.Umask(mask)
		s := startServer(t, nil)
		syscall.Umask(old)
		file, err := os.Lstat(s.socket)
		if err != nil {
			t.Fatal(err)
		}
		if file.Mode() != fs.ModeSocket|0o660 {
			t.Errorf("umask %03o: mode %v", mask, file.Mode())
		}
		closeServer(t, s)
		if _, err := os.Lstat(s.socket); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket is left behind: %v", err)
		}
	}
}

func TestSocketThatIsThereAlready(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	living := startServer(t, nil)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(stale, link); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		living.socket:                          "is a node running already?",
		file:                                   "no socket",
		link:                                   "no socket",
		filepath.Join(dir, "a", "b", "socket"): "its directory is missing",
		"/" + strings.Repeat("long/", 30):      "at most 107",
		stale:                                  "",
		filepath.Join(dir, "new", "socket"):    "",
	} {
		l, err := listenSocket(path)
		if want == "" {
			if err != nil {
				t.Errorf("%s: %v", path, err)
				continue
			}
			_ = l.Close()
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if code, _, _ := ask(t, living.overSocket, "GET", "http://node/healthz"); code != 200 {
		t.Errorf("the living node was harmed: %d", code)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file was harmed: %q, %v", b, err)
	}
	if _, err := os.Readlink(link); err != nil {
		t.Errorf("the link was harmed: %v", err)
	}
}

func TestSocketOfASuccessorIsLeftAlone(t *testing.T) {
	s := startServer(t, nil)
	if err := os.Remove(s.socket); err != nil {
		t.Fatal(err)
	}
	successor, err := listenSocket(s.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = successor.Close() }()
	closeServer(t, s)
	if _, err := os.Lstat(s.socket); err != nil {
		t.Errorf("the successor's socket is gone: %v", err)
	}
}

func TestStartOpensAllOrNothing(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	registry, err := NewRegistry(Build{}, func() Snapshot { return Snapshot{} })
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "s")
	s, err := New(Options{Node: &fakeNode{t: t}, Registry: registry, Doors: Doors{Socket: socket, Listen: taken.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "admin.listen") || !strings.Contains(err.Error(), "is in use by another") {
		t.Errorf("a port in use: %v", err)
	}
	if _, err := os.Lstat(socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is open all the same: %v", err)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if err := s.Update(Doors{}); err == nil {
		t.Error("a closed server was opened")
	}
}

func TestO04DoorsChangeInAReload(t *testing.T) {
	s := startServer(t, nil)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	other := filepath.Join(t.TempDir(), "other.sock")

	// A reload that cannot be: nothing has changed.
	if err := s.Update(Doors{Socket: other, Listen: taken.Addr().String()}); err == nil {
		t.Fatal("a taken port was opened")
	}
	socket, listen := s.Addresses()
	if socket != s.socket || listen != s.listen {
		t.Fatalf("after a refused change: %s, %s", socket, listen)
	}
	if _, err := os.Lstat(other); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the new socket is left: %v", err)
	}
	if code, _, _ := ask(t, s.overListen, "POST", s.url("/api/v1/reload"), bearer(testToken)); code != 200 {
		t.Errorf("after a refused change: %d", code)
	}
	s.overListen.CloseIdleConnections()

	// The request that asks for the change comes in by the door that goes.
	s.node.hold = make(chan struct{})
	answered := make(chan int)
	go func() {
		code, _, _ := ask(t, s.overSocket, "POST", "http://node/api/v1/drain?target=node")
		answered <- code
	}()
	<-s.node.entered
	if err := s.Update(Doors{Socket: other}); err != nil {
		t.Fatal(err)
	}
	close(s.node.hold)
	if code := <-answered; code != 200 {
		t.Errorf("the request at the door that went: %d", code)
	}
	if _, err := os.Lstat(s.socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old socket is left: %v", err)
	}
	if _, err := net.Dial("tcp", s.listen); err == nil {
		t.Error("the listener that is turned off still listens")
	}

	// An address that overlaps with our own, and back.
	_, port, _ := net.SplitHostPort(s.listen)
	for _, address := range []string{"127.0.0.1:" + port, "0.0.0.0:" + port, "127.0.0.1:" + port} {
		if err := s.Update(Doors{Socket: other, Listen: address}); err != nil {
			t.Fatal(err)
		}
		if code, _, _ := ask(t, s.overListen, "GET", "http://127.0.0.1:"+port+"/healthz"); code != 200 {
			t.Errorf("%s: %d", address, code)
		}
		s.overListen.CloseIdleConnections()
	}
}

// A reload makes the socket anew whose file somebody has deleted, and leaves alone what somebody has put in its place.
func TestO04AReloadBringsADeletedSocketBack(t *testing.T) {
	s := startServer(t, nil)
	doors := s.wanted
	for range 2 {
		if err := os.Remove(s.socket); err != nil {
			t.Fatal(err)
		}
		s.overSocket.CloseIdleConnections()
		if err := s.Update(doors); err != nil {
			t.Fatal(err)
		}
		if code, _, _ := ask(t, s.overSocket, "GET", "http://node/healthz"); code != 200 {
			t.Fatalf("over the new socket: %d", code)
		}
		if file, err := os.Lstat(s.socket); err != nil || file.Mode() != fs.ModeSocket|0o660 {
			t.Errorf("the new socket: %v, %v", file, err)
		}
	}
	if err := os.Remove(s.socket); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.socket, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(doors); err != nil {
		t.Error(err)
	}
	closeServer(t, s)
	if b, err := os.ReadFile(s.socket); err != nil || string(b) != "precious" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestO22EventsAreStreamed(t *testing.T) {
	s := startServer(t, func(_ *Options, l *limits) { l.keepalive = 20 * time.Millisecond })
	s.Publish(Event{At: Instant{time.UnixMilli(1500)}, Kind: EventBackend, Name: "first"})
	s.Publish(Event{Kind: EventBackend, Name: "second", From: StateUp, To: StateDown, Reason: "timeouts", Detail: "<script>\n\nid: 1"})

	stream := subscribe(t, s, "?last=1", "")
	id, data := stream.event(t)
	want := `{"at":null,"kind":"backend","name":"second","from":"up","to":"down","reason":"timeouts","detail":"\u003cscript\u003e\n\nid: 1"}`
	if data != want {
		t.Errorf("got %s, want %s", data, want)
	}
	s.Publish(Event{At: Instant{time.UnixMilli(1500)}, Name: "third"})
	if _, data := stream.event(t); !strings.Contains(data, `"at":"1970-01-01T00:00:01.500Z"`) || !strings.Contains(data, `"name":"third"`) {
		t.Errorf("got %s", data)
	}
	for !strings.HasPrefix(stream.line(t), ": alive") { // a sign of life without an event
	}
	stream.close()

	s.Publish(Event{Name: "fourth"})
	again := subscribe(t, s, "", id)
	for _, name := range []string{"third", "fourth"} {
		if _, data := again.event(t); !strings.Contains(data, `"name":"`+name+`"`) {
			t.Errorf("after coming back: %s, want %s", data, name)
		}
	}
	again.close()

	// IDs of an earlier process, of the future and of nobody: the stream begins now.
	for _, id := range []string{"0123456789ab-1", s.hub.run + "-99", s.hub.run + "-x", "<script>", "-"} {
		stranger := subscribe(t, s, "", id)
		s.Publish(Event{Name: "now"})
		if _, data := stranger.event(t); !strings.Contains(data, `"name":"now"`) {
			t.Errorf("Last-Event-ID %q: %s", id, data)
		}
		stranger.close()
	}
}

func TestO30SubscribersAreBounded(t *testing.T) {
	s := startServer(t, func(_ *Options, l *limits) { l.subscribers = 2 })
	first, second := subscribe(t, s, "", ""), subscribe(t, s, "", "")
	code, body, header := ask(t, s.overSocket, "GET", "http://node/api/v1/events")
	if code != 503 || !strings.Contains(body, "too many subscribers") || header.Get("Retry-After") == "" {
		t.Errorf("a third subscriber: %d %s", code, body)
	}
	if _, body, _ := ask(t, s.overSocket, "GET", "http://node/metrics"); !strings.Contains(body, "sereno_admin_event_subscribers 2\n") {
		t.Error("the metric does not tell the subscribers")
	}
	second.close()
	for s.hub.subscribers() > 1 {
		time.Sleep(time.Millisecond)
	}
	subscribe(t, s, "", "").close()
	first.close()
}

func TestO30SubscriberThatNeverReadsCostsItself(t *testing.T) {
	s := startServer(t, func(_ *Options, l *limits) { l.event = 200 * time.Millisecond })
	deaf := subscribe(t, s, "", "")
	defer deaf.close()
	listening := subscribe(t, s, "", "")
	defer listening.close()
	for range 50_000 {
		s.Publish(Event{Name: "noise", Detail: strings.Repeat("x", 5000)})
		listening.event(t)
		if s.hub.subscribers() == 1 {
			break
		}
	}
	if n := s.hub.subscribers(); n != 1 {
		t.Fatalf("%d subscribers are left", n)
	}
	s.hub.mu.Lock()
	kept := 0
	for _, e := range s.hub.kept {
		kept += len(e.data)
	}
	s.hub.mu.Unlock()
	if kept > keptEvents*(maxDetail+300) {
		t.Errorf("%d bytes of events are kept", kept)
	}
	s.Publish(Event{Name: "last"})
	if _, data := listening.event(t); !strings.Contains(data, `"name":"last"`) {
		t.Errorf("the subscriber that reads got %.100s", data)
	}
}

func TestCloseEndsStreamsAndTurnsAwayNoRequest(t *testing.T) {
	s := startServer(t, nil)
	stream := subscribe(t, s, "", "")
	defer stream.close()
	s.node.hold = make(chan struct{})
	answered := make(chan int)
	go func() {
		code, _, _ := ask(t, s.overSocket, "POST", "http://node/api/v1/drain?target=node")
		answered <- code
	}()
	<-s.node.entered
	closed := make(chan error)
	go func() { closed <- s.Close(context.Background()) }()
	for stream.scanner.Scan() { // ends with the hub
	}
	close(s.node.hold)
	if code := <-answered; code != 200 {
		t.Errorf("the request in flight: %d", code)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	s.Publish(Event{Name: "after the end"})
}

func TestCloseDoesNotWaitForever(t *testing.T) {
	s := startServer(t, nil)
	s.node.hold = make(chan struct{})
	failed := make(chan error)
	go func() {
		_, err := s.overSocket.Post("http://node/api/v1/drain?target=node", "", nil) //nolint:bodyclose // it fails
		failed <- err
	}()
	<-s.node.entered
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Close with an unfinished request: %v", err)
	}
	if err := <-failed; err == nil {
		t.Error("the request was answered")
	}
	close(s.node.hold)
}

func TestO23LogOfChangesAndRefusals(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	s := startServer(t, func(o *Options, _ *limits) { o.Logger = zap.New(core) })
	logs.TakeAll()
	for range 100 {
		ask(t, s.overListen, "POST", s.url("/api/v1/reload"), bearer("guess"))
	}
	if lines := logs.TakeAll(); len(lines) != 1 || lines[0].ContextMap()["reason"] != refusedToken {
		t.Errorf("100 wrong tokens have %d lines: %v", len(lines), lines)
	}
	ask(t, s.overSocket, "POST", "http://node/api/v1/undrain?target=node")
	lines := logs.TakeAll()
	want := fmt.Sprintf("socket, uid %d, pid %d", os.Getuid(), os.Getpid())
	if len(lines) != 1 || lines[0].Level != zap.InfoLevel || lines[0].ContextMap()["by"] != want {
		t.Errorf("a change has %v", lines)
	}
	for range 100 {
		ask(t, s.overSocket, "GET", "http://node/api/v1/status")
	}
	if lines := logs.TakeAll(); len(lines) != 0 {
		t.Errorf("reads have %d lines", len(lines))
	}
	s.node.err = ErrNotFound
	for range 100 {
		ask(t, s.overSocket, "POST", "http://node/api/v1/undrain?target=node")
	}
	if lines := logs.TakeAll(); len(lines) != 1 || lines[0].Message != "admin: change refused" || lines[0].ContextMap()["by"] != want {
		t.Errorf("100 refused changes: %v", lines)
	}
	s.repeats.Close()
	sums := map[string]bool{}
	for _, l := range logs.TakeAll() {
		sums[l.Message] = true
	}
	if len(sums) != 2 || !sums["admin: turned away: 99 times more"] || !sums["admin: change refused: 99 times more"] {
		t.Errorf("%v", sums)
	}
}

// eventStream is a subscriber of a test.
type eventStream struct {
	answer  *http.Response
	scanner *bufio.Scanner
}

func subscribe(t *testing.T, s *testServer, query, lastID string) *eventStream {
	t.Helper()
	r, err := http.NewRequest("GET", "http://node/api/v1/events"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	answer, err := s.overSocket.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != 200 || answer.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%d %s", answer.StatusCode, answer.Header.Get("Content-Type"))
	}
	e := &eventStream{answer, bufio.NewScanner(answer.Body)}
	if line := e.line(t); line != "retry: 2000" {
		t.Fatalf("the stream begins with %q", line)
	}
	return e
}

func (e *eventStream) line(t *testing.T) string {
	t.Helper()
	if !e.scanner.Scan() {
		t.Fatalf("the stream has ended: %v", e.scanner.Err())
	}
	return e.scanner.Text()
}

// event reads the next event.
func (e *eventStream) event(t *testing.T) (id, data string) {
	t.Helper()
	for {
		line := e.line(t)
		if text, ok := strings.CutPrefix(line, "id: "); ok {
			id = text
		}
		if text, ok := strings.CutPrefix(line, "data: "); ok {
			return id, text
		}
	}
}

func (e *eventStream) close() { _ = e.answer.Body.Close() }
