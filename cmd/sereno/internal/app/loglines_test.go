package app

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"sereno/bench/stub"
)

// nodeMain is a process that does as `sereno run` does.
func nodeMain() int {
	if err := Run(Options{Path: os.Getenv("SERENO_CONFIG"), Speaker: speakerCommand()}, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// TestO23ANodeDoesNotWaitForItsLog: neither whoever hangs instead of reading it (a journal on a disk that hangs) nor
// whoever ends (a journal that was killed) costs an answer, a verdict or an orderly end.
func TestO23ANodeDoesNotWaitForItsLog(t *testing.T) {
	for name, gone := range map[string]bool{"nobody reads": false, "the reader is gone": true} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.write()
			theirs, ours, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer theirs.Close()
			if _, err := unix.FcntlInt(ours.Fd(), unix.F_SETPIPE_SZ, 4096); err != nil {
				t.Fatal(err)
			}
			node := exec.Command("/proc/self/exe")
			node.Env = append(os.Environ(), roleVariable+"=node", "SERENO_CONFIG="+s.path())
			node.Stderr = ours
			if err := node.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- node.Wait() }()
			defer func() { _ = node.Process.Kill() }()
			ours.Close()
			if gone {
				theirs.Close()
			}
			until(t, 10*time.Second, "readiness", func() bool {
				code, _, _ := get("http://" + s.listen + "/readyz")
				return code == 200
			})
			for i := range 20 { // they say more than the pipe takes
				was, is := fmt.Sprintf("weight: %d,", i+1), fmt.Sprintf("weight: %d,", i+2)
				if i == 0 {
					was, is = "name: tempesta,", "name: tempesta, weight: 2,"
				}
				s.change("pools", was, is)
				s.write()
				if err := node.Process.Signal(syscall.SIGHUP); err != nil {
					t.Fatal(err)
				}
				until(t, 10*time.Second, "a reload", func() bool {
					_, body, _ := get("http://" + s.listen + "/api/v1/status")
					return strings.Contains(body, fmt.Sprintf(`"weight": %d,`, i+2))
				})
			}
			if err := s.resolvers[0].Set(stub.Mode{Fault: stub.Closed}); err != nil {
				t.Fatal(err)
			}
			until(t, 10*time.Second, "a verdict", func() bool {
				_, body, _ := get("http://" + s.listen + "/metrics")
				return strings.Contains(body, `sereno_backend_state{backend="fulmine",pool="resolvers",role="dns",state="down"} 1`)
			})
			if err := asks(s.dns, "www.example.com"); err != nil {
				t.Error(err)
			}
			if err := node.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-ended:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(20 * time.Second):
				t.Error("it does not end")
			}
		})
	}
}

// hanging is a log that takes nothing until it is let go.
type hanging struct {
	let chan struct{}
	lockedBuffer
}

func (h *hanging) Write(p []byte) (int, error) {
	<-h.let
	return h.lockedBuffer.Write(p)
}

// TestO23LogLinesThatNobodyTakesAreBounded: they are counted, and told with the next that is taken; an end waits a second.
func TestO23LogLinesThatNobodyTakesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &hanging{let: make(chan struct{})}
		log, _, lines, err := newLogger(w, "info", "console")
		if err != nil {
			t.Fatal(err)
		}
		const all = 20000
		text := strings.Repeat("x", 100)
		for range all {
			log.Info(text)
		}
		began := time.Now()
		if err := lines.Sync(); err != nil || time.Since(began) != flushWithin {
			t.Errorf("an end waits %v for it: %v", time.Since(began), err)
		}
		lost := lines.Lost()
		if lost == 0 || lost >= all || len(lines.waiting) > maxUnread {
			t.Errorf("%d of %d were lost, %d bytes wait", lost, all, len(lines.waiting))
		}
		close(w.let)
		synctest.Wait()
		got := w.lines()
		if want := fmt.Sprintf("%d", lost); len(got) != all-int(lost)+1 || !strings.Contains(got[len(got)-1], want) || !strings.Contains(got[len(got)-1], "lost") {
			t.Errorf("%d lines came, %d were lost, and the last says %s", len(got), lost, got[len(got)-1])
		}
		log.Info("after")
		if err := lines.Sync(); err != nil || !strings.HasSuffix(w.lines()[len(got)], "after") || lines.Lost() != lost {
			t.Errorf("afterwards: %v, %q, %d lost", err, w.lines()[len(got)], lines.Lost())
		}
	})
}

// TestO23LogLinesThatCannotBeWrittenAreCounted, and so is nothing else.
func TestO23LogLinesThatCannotBeWrittenAreCounted(t *testing.T) {
	r, w := io.Pipe()
	r.Close()
	log, _, lines, err := newLogger(w, "info", "json")
	if err != nil {
		t.Fatal(err)
	}
	log.Info("one")
	log.Info("two")
	if err := lines.Sync(); err != nil || lines.Lost() != 2 {
		t.Errorf("%v, %d were lost", err, lines.Lost())
	}
	var b bytes.Buffer
	lines.w = &b
	log.Info("three")
	if err := lines.Sync(); err != nil || !strings.Contains(b.String(), "three") || !strings.Contains(b.String(), `"lost":2`) {
		t.Errorf("%v, %s", err, b.String())
	}
}
