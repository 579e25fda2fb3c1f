package bgp

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Command is how a speaker's process is started: the same binary with the
// arguments of its hidden command.
type Command struct {
	Path string
	Args []string
	Env  []string // the child's whole environment; nil: only GOTRACEBACK=single
}

// SelfCommand starts the running binary itself, even if its file has been
// replaced meanwhile.
func SelfCommand(args ...string) Command { return Command{Path: "/proc/self/exe", Args: args} }

// child is one running speaker.
type child struct {
	pid    int
	conn   net.Conn // orders out, reports in
	kill   func()
	exited <-chan struct{} // closed when the process is gone
	words  func() string   // after that: what it died of
}

// launcher starts a speaker; line is called for each line that it logs.
type launcher func(line func(string)) (*child, error)

// launch starts the process with one end of a socket pair as its standard
// input. It gets a process group of its own, so that a terminal's ^C reaches
// the node alone, which then takes the routes away in order (A14).
func (c Command) launch(line func(string)) (*child, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("starting speaker: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "speaker"), os.NewFile(uintptr(fds[1]), "node")
	conn, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		theirs.Close()
		return nil, fmt.Errorf("starting speaker: %w", err)
	}
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Env = c.Env
	if cmd.Env == nil {
		cmd.Env = []string{"GOTRACEBACK=single"}
	}
	out := &lineWriter{line: line}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("starting speaker: %w", err)
	}
	exited := make(chan struct{})
	var verdict string
	go func() {
		err := cmd.Wait()
		verdict = out.verdict(err, cmd.ProcessState)
		conn.Close()
		close(exited)
	}()
	return &child{pid: cmd.Process.Pid, conn: conn, exited: exited, words: func() string { return verdict },
		kill: func() { _ = cmd.Process.Kill() }}, nil
}

// lineWriter cuts a child's output into lines of bounded length and keeps the
// first one that tells of a panic.
type lineWriter struct {
	line func(string)

	mu   sync.Mutex
	rest []byte
	died string
	last string
}

const maxLine = 1024

func (w *lineWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = append(w.rest, b...)
	for {
		i := bytes.IndexByte(w.rest, '\n')
		if i < 0 && len(w.rest) < maxLine {
			return len(b), nil
		}
		if i < 0 || i > maxLine {
			i = maxLine
		}
		text := strings.TrimSpace(string(w.rest[:i]))
		w.rest = bytes.TrimPrefix(w.rest[i:], []byte("\n"))
		if w.died == "" && (strings.HasPrefix(text, "panic:") || strings.HasPrefix(text, "fatal error:")) {
			w.died = text
		}
		if text != "" {
			w.last = text
			w.line(text)
		}
	}
}

// verdict puts a child's end into words: its own last ones, where it had some.
func (w *lineWriter) verdict(err error, s *os.ProcessState) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.died != "":
		return "speaker died: " + w.died
	case err == nil:
		return "speaker ended by itself"
	case s != nil && s.Exited() && w.last != "":
		return "speaker ended: " + w.last
	}
	return "speaker died: " + err.Error()
}
