package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// within runs f on a thread that is in a namespace of the laboratory: the sockets and processes that f makes are in
// that namespace, and stay there.
func within(namespace string, f func() error) error {
	runtime.LockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer own.Close()
	other, err := os.Open("/run/netns/" + namespace)
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer other.Close()
	if err := unix.Setns(int(other.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("entering %s: %w", namespace, err)
	}
	err = f()
	if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
		// The thread stays locked and ends with its goroutine: no other may run in the wrong namespace.
		return errors.Join(err, fmt.Errorf("leaving %s: %w", namespace, back))
	}
	runtime.UnlockOSThread()
	return err
}

// process is one program of the laboratory, in a namespace.
type process struct {
	name, namespace, path string
	args                  []string

	mu   sync.Mutex
	told bool // to end
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// program finds an installed program, in the places where daemons are too.
func program(name string) (string, error) {
	for _, folder := range []string{"", "/usr/sbin/", "/sbin/", "/usr/lib/frr/"} {
		if path, err := exec.LookPath(folder + name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed", name)
}

func (p *process) logFile() string { return filepath.Join(dir, p.name+".log") }

// start starts it (again), in a process group of its own. Its output goes to its log. It needs no Pdeathsig: all ends
// with the first process of the PID namespace. With it, it would end with the thread that started it, and threads end with
// goroutines that keep them locked.
func (p *process) start() error {
	path := p.path
	if !filepath.IsAbs(path) {
		var err error
		if path, err = program(path); err != nil {
			return err
		}
	}
	out, err := os.OpenFile(p.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(path, p.args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := within(p.namespace, cmd.Start); err != nil {
		return fmt.Errorf("starting %s: %w", p.name, err)
	}
	done := make(chan struct{})
	p.mu.Lock()
	p.cmd, p.done, p.told = cmd, done, false
	p.mu.Unlock()
	go func() {
		_ = cmd.Wait() // its exit code is in ProcessState
		close(done)
	}()
	return nil
}

func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Pid
}

func (p *process) ended() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

// crashed says whether it has ended without being told to.
func (p *process) crashed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.done: // nil before its start
		return !p.told
	default:
		return false
	}
}

// running says whether it has been started, has not ended, and was not told to.
func (p *process) running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.done: // nil before its start
		return false
	default:
		return p.done != nil && !p.told
	}
}

// signal sends a signal to the process itself, and to none of its children.
func (p *process) signal(s syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told = p.told || s == syscall.SIGKILL || s == syscall.SIGTERM
	return syscall.Kill(p.cmd.Process.Pid, s)
}

// kill ends it with SIGKILL and waits for that.
func (p *process) kill() error {
	err := p.signal(syscall.SIGKILL)
	<-p.ended()
	return err
}

// exitCode waits for its end, for at most the patience, and gives the exit code.
func (p *process) exitCode(patience time.Duration) (int, error) {
	select {
	case <-p.ended():
		return p.cmd.ProcessState.ExitCode(), nil
	case <-time.After(patience):
		return 0, fmt.Errorf("%s has not ended within %s", p.name, patience)
	}
}

// tail is the last n lines that it has printed.
func (p *process) tail(n int) string {
	b, err := os.ReadFile(p.logFile())
	if err != nil {
		return err.Error()
	}
	lines := strings.SplitAfter(string(b), "\n")
	return strings.Join(lines[max(0, len(lines)-n-1):], "")
}

// children gives the processes that it has started itself.
func (p *process) children() ([]int, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.pid()))
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, task := range tasks {
		b, err := os.ReadFile(task)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // that thread has ended
		}
		if err != nil {
			return nil, err
		}
		for field := range strings.FieldsSeq(string(b)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				return nil, err
			}
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}
