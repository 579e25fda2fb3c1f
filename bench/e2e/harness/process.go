package harness

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is one program of a lab.
type Process struct {
	lab   *Lab
	name  string
	path  string
	args  []string
	stdin string
	env   []string // beside the test's own
	log   string

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// prepare makes a program ready to start. Its output goes to a file of the lab.
func (l *Lab) prepare(name, path string, args ...string) *Process {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &Process{lab: l, name: name, path: path, args: args}
	p.log = filepath.Join(l.dir, numbered("log", len(l.processes)))
	l.processes = append(l.processes, p)
	return p
}

// start starts it, in a process group of its own, to die with the test.
func (p *Process) start() {
	p.lab.t.Helper()
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.lab.t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(p.path, p.args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.lab.dir, out, out
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdin = strings.NewReader(p.stdin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	p.lab.runs <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		p.lab.t.Fatalf("starting %s: %v", p.name, err)
	}
	done := make(chan struct{})
	p.mu.Lock()
	p.cmd, p.done = cmd, done
	p.mu.Unlock()
	go func() {
		_ = cmd.Wait() // its exit code is in ProcessState
		close(done)
	}()
}

// Setenv gives it a variable, as KEY=VALUE, from its next start on.
func (p *Process) Setenv(variable string) { p.env = append(p.env, variable) }

// Anonymous is its resident memory that no file backs, in bytes: now, and 0 when it has ended.
func (p *Process) Anonymous() int64 {
	p.mu.Lock()
	cmd := p.cmd
	p.mu.Unlock()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "\nRssAnon:")
	text, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	kib, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return kib << 10
}

// Signal sends a signal to the process group; one that has ended already is let be.
func (p *Process) Signal(s syscall.Signal) {
	p.mu.Lock()
	cmd := p.cmd
	p.mu.Unlock()
	if cmd == nil {
		return
	}
	if err := syscall.Kill(-cmd.Process.Pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		p.lab.t.Errorf("sending %s to %s: %v", s, p.name, err)
	}
}

// Replace has another program run from the next start on, with the same arguments.
func (p *Process) Replace(path string) { p.path = path }

// PID is the number of the process that was started last, 0 before the first.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Kill ends it with SIGKILL and waits for that.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	p.mu.Lock()
	done := p.done
	p.mu.Unlock()
	if done != nil {
		<-done
	}
}

// Freeze stops it with SIGSTOP: its sockets take packets, and nobody answers.
func (p *Process) Freeze() { p.Signal(syscall.SIGSTOP) }

// Thaw lets it go on.
func (p *Process) Thaw() { p.Signal(syscall.SIGCONT) }

// Wait waits until it has ended by itself and gives its exit code, -1 after a signal. The test fails when the
// patience ends first.
func (p *Process) Wait(patience time.Duration) int {
	p.lab.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		p.lab.t.Fatalf("%s has not ended within %s", p.name, patience)
		return -1
	}
}

// Running says whether it has been started and has not ended yet.
func (p *Process) Running() bool { return p.started() && !p.endsWithin(0) }

func (p *Process) started() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done != nil
}

// endsWithin says whether one that was started has ended before the patience is over.
func (p *Process) endsWithin(patience time.Duration) bool {
	p.mu.Lock()
	done := p.done
	p.mu.Unlock()
	select {
	case <-done:
		return true
	default:
	}
	select {
	case <-done:
		return true
	case <-time.After(patience):
		return false
	}
}

// Log is all that it has printed so far, over all its starts.
func (p *Process) Log() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return ""
	}
	return string(b)
}

// Tail is the last n lines of Log.
func (p *Process) Tail(n int) string {
	lines := bytes.SplitAfter([]byte(p.Log()), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-n-1):], nil))
}
