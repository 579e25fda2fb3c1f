package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// screen is a terminal, and what was written to it.
type screen struct {
	program *os.File // the program's end
	ended   chan struct{}

	mu    sync.Mutex
	shown bytes.Buffer
}

func newScreen(t *testing.T) *screen {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours := os.NewFile(uintptr(fd), "/dev/ptmx")
	t.Cleanup(func() { _ = ours.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetUint32(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{ended: make(chan struct{})}
	if s.program, err = os.OpenFile(fmt.Sprint("/dev/pts/", number), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.ended)
		for piece := make([]byte, 4096); ; {
			n, err := ours.Read(piece)
			s.mu.Lock()
			s.shown.Write(piece[:n])
			s.mu.Unlock()
			if err != nil { // EIO: the program's end is closed
				return
			}
		}
	}()
	t.Cleanup(func() { s.close() })
	return s
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shown.String()
}

// close ends the terminal and gives all that was written to it.
func (s *screen) close() string {
	_ = s.program.Close()
	<-s.ended
	return s.text()
}

// within runs one command line, which has to end by itself.
func within(t *testing.T, patience time.Duration, command func() int) int {
	t.Helper()
	done := make(chan int, 1)
	go func() { done <- command() }()
	select {
	case code := <-done:
		return code
	case <-time.After(patience):
		t.Fatalf("it has not ended after %s", patience)
		return 0
	}
}

// TestO11WatchOnATerminal: each page stands alone, and Ctrl-C is a good end.
func TestO11WatchOnATerminal(t *testing.T) {
	// Whatever goes wrong, the signal must not end the tests.
	here := make(chan os.Signal, 1)
	signal.Notify(here, os.Interrupt)
	defer signal.Stop(here)
	_, socket := startNode(t)
	s := newScreen(t)
	interrupt := time.AfterFunc(0, func() {
		for late := time.Now().Add(20 * time.Second); strings.Count(s.text(), "garibaldi-1: up") < 2 && time.Now().Before(late); {
			time.Sleep(20 * time.Millisecond)
		}
		_ = unix.Kill(os.Getpid(), unix.SIGINT)
	})
	defer interrupt.Stop()
	var errs bytes.Buffer
	code := within(t, 30*time.Second, func() int {
		return Execute(context.Background(), Root(testBuild), []string{"status", "--watch", "--socket", socket}, s.program, &errs)
	})
	shown := s.close()
	if code != Done || errs.Len() > 0 {
		t.Errorf("%d %q", code, errs.String())
	}
	pages := strings.Split(shown, "\x1b[H\x1b[2J\x1b[3J")
	if len(pages) < 3 || pages[0] != "" {
		t.Fatalf("%d pages: %q", len(pages)-1, shown)
	}
	for _, page := range pages[1:] {
		if strings.Count(page, "garibaldi-1: up") != 1 || !strings.Contains(page, "every 2s, Ctrl-C ends") || strings.Contains(page, "\x1b") {
			t.Errorf("a page: %q", page)
		}
	}
}

// watched is a stdout whose second piece waits until something is on the screen.
type watched struct {
	bytes.Buffer
	pieces int
	seen   func() bool
}

func (w *watched) Write(b []byte) (int, error) {
	if w.pieces++; w.pieces == 2 {
		for late := time.Now().Add(10 * time.Second); !w.seen() && time.Now().Before(late); {
			time.Sleep(10 * time.Millisecond)
		}
	}
	return w.Buffer.Write(b)
}

// TestR45ExportOnATerminal: the bar is for the eyes alone, and an export that is over at once is over.
func TestR45ExportOnATerminal(t *testing.T) {
	_, socket := startSpools(t, 5000)
	for _, test := range []struct {
		name, at, from string
		records, times int
	}{
		{"of a node", "--socket", socket, 5000, 1},
		{"of files, at once", "--dir", "good", 25, 5},
	} {
		args := []string{"spool", "export", test.at, test.from}
		_, want, _ := run(t, args...)
		for range test.times {
			s := newScreen(t)
			out := &watched{seen: func() bool { return strings.Contains(s.text(), "% [") }}
			code := within(t, 20*time.Second, func() int {
				return Execute(context.Background(), Root(testBuild, SpoolCommand(openFake)), args, out, s.program)
			})
			shown := s.close()
			if code != Done || out.String() != want || strings.Count(want, "\n\n") != test.records {
				t.Fatalf("%s: %d, %d bytes instead of %d", test.name, code, out.Len(), len(want))
			}
			if out.pieces > 1 != strings.Contains(shown, "% [") || !strings.Contains(shown, "records ... done!") || !strings.HasSuffix(shown, fmt.Sprintf("%d records\r\n", test.records)) {
				t.Fatalf("%s, in %d pieces: the terminal shows %q", test.name, out.pieces, shown)
			}
			if test.records == 5000 && out.pieces < 2 {
				t.Error("nobody could have seen a bar")
			}
		}
	}
}

// TestR45AnExportThatFailsIsNotDone: the bar does not say that it is.
func TestR45AnExportThatFailsIsNotDone(t *testing.T) {
	s := newScreen(t)
	broken, err := os.Open(os.DevNull) // for reading alone
	if err != nil {
		t.Fatal(err)
	}
	defer broken.Close()
	code := within(t, 20*time.Second, func() int {
		return Execute(context.Background(), Root(testBuild, SpoolCommand(openFake)), []string{"spool", "export", "--dir", "good"}, broken, s.program)
	})
	if shown := s.close(); code != Failed || strings.Contains(shown, "done!") || !strings.Contains(shown, "records ... fail!") {
		t.Errorf("%d %q", code, shown)
	}
}
