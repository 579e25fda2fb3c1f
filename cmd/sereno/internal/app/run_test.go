package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sereno/cmd/sereno/internal/admin"
	"sereno/config"
)

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(strings.TrimSuffix(l.b.String(), "\n"), "\n")
}

// manager is systemd, as far as it listens.
type manager struct {
	mu   sync.Mutex
	said []string
}

func newManager(t *testing.T) *manager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", path)
	m := &manager{}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b := make([]byte, 4096)
		for {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			m.mu.Lock()
			word, _, _ := strings.Cut(string(b[:n]), "\n")
			m.said = append(m.said, word)
			m.mu.Unlock()
		}
	}()
	t.Cleanup(func() { c.Close(); <-ended })
	return m
}

func (m *manager) heard() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.said)
}

func TestO23RunFollowsSignalsAndTellsSystemd(t *testing.T) {
	m := newManager(t)
	s := newSite(t)
	s.change("log", "level: debug", "level: info, format: json")
	s.write()
	log := &lockedBuffer{}
	ended := make(chan error, 1)
	go func() {
		ended <- Run(Options{Path: s.path(), Build: admin.Build{Version: "0.0.1"}, Speaker: speakerCommand()}, log)
	}()
	send := func(signal syscall.Signal) {
		t.Helper()
		if err := syscall.Kill(os.Getpid(), signal); err != nil {
			t.Fatal(err)
		}
	}
	hears := func(want ...string) {
		t.Helper()
		until(t, 5*time.Second, strings.Join(want, " "), func() bool { return slices.Equal(m.heard(), want) })
	}
	hears("READY=1")
	if err := asks(s.dns, "www.example.com"); err != nil {
		t.Errorf("ready, and does not answer: %v", err)
	}
	send(syscall.SIGHUP)
	hears("READY=1", "RELOADING=1", "READY=1")
	send(syscall.SIGTERM)
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("it does not stop")
	}
	hears("READY=1", "RELOADING=1", "READY=1", "STOPPING=1")
	var messages []string
	for _, line := range log.lines() {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry["node"] != "test-1" || entry["ts"] == nil || entry["level"] == nil {
			t.Fatalf("a log line is %s (%v)", line, err)
		}
		messages = append(messages, entry["msg"].(string))
	}
	for _, want := range []string{"running", "reload applied", "stopping: routes first, then what is in flight", "stopped"} {
		if !slices.Contains(messages, want) {
			t.Errorf("the log has no %q: %q", want, messages)
		}
	}
}

// TestO23AStopDoesNotWaitForAReload whose file does not come: on a file system that hangs, say. A drain does not either.
func TestO23AStopDoesNotWaitForAReload(t *testing.T) {
	newManager(t)
	s := newSite(t)
	s.write()
	ended := make(chan error, 1)
	go func() { ended <- Run(Options{Path: s.path(), Speaker: speakerCommand()}, io.Discard) }()
	until(t, 10*time.Second, "readiness", func() bool {
		code, _, _ := get("http://" + s.listen + "/readyz")
		return code == 200
	})
	if err := os.Remove(s.path()); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(s.path(), 0o600); err != nil { // who opens it waits for a writer
		t.Fatal(err)
	}
	for _, signal := range []syscall.Signal{syscall.SIGHUP, syscall.SIGTERM} {
		if err := syscall.Kill(os.Getpid(), signal); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond) // the reload is under way, or comes too late: either must do
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("it does not stop")
	}
	if w, err := os.OpenFile(s.path(), os.O_WRONLY|unix.O_NONBLOCK, 0); err == nil { // and the reload, too, comes to its end
		w.Close()
	}
}

func TestRunRefusesAWrongConfiguration(t *testing.T) {
	s := newSite(t)
	s.text["dns"] = "dns: 5\n"
	s.write()
	err := Run(Options{Path: s.path()}, &lockedBuffer{})
	var wrong *config.Error
	if !errors.As(err, &wrong) || !strings.Contains(err.Error(), "dns") {
		t.Errorf("it says %v", err)
	}
}

func TestLogFormats(t *testing.T) {
	for format, begins := range map[string]string{"console": "2", "json": "{"} {
		b := &lockedBuffer{}
		log, level, lines, err := newLogger(b, "warn", format)
		if err != nil {
			t.Fatal(err)
		}
		log.Info("not this")
		log.Warn("this")
		if err := level.UnmarshalText([]byte("info")); err != nil {
			t.Fatal(err)
		}
		log.Info("and that")
		if err := lines.Sync(); err != nil {
			t.Fatal(err)
		}
		if got := b.lines(); len(got) != 2 || !strings.HasPrefix(got[0], begins) || !strings.Contains(got[1], "and that") {
			t.Errorf("%s: %q", format, got)
		}
	}
	for _, wrong := range [][2]string{{"loud", "json"}, {"info", "xml"}} {
		if _, _, _, err := newLogger(&lockedBuffer{}, wrong[0], wrong[1]); err == nil {
			t.Errorf("%v was taken", wrong)
		}
	}
}
