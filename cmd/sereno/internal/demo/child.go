package demo

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// child is a process of this same binary.
type child struct {
	name  string
	cmd   *exec.Cmd
	log   string
	stdin io.WriteCloser
	done  chan struct{}
}

// startChild starts `sereno args...` in a process group of its own, so that Ctrl-C reaches the demo alone. What it
// logs goes to a file. With a pipe, its standard output is read from there, and its standard input stays open.
func startChild(dir, name string, pipe bool, args ...string) (*child, io.Reader, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, fmt.Errorf("finding this program: %w", err)
	}
	c := &child{name: name, log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("starting %s: %w", name, err)
	}
	defer log.Close()
	c.cmd = exec.Command(self, args...)
	c.cmd.Dir, c.cmd.Stderr, c.cmd.Stdout = dir, log, log
	c.cmd.SysProcAttr = childAttributes()
	var out io.ReadCloser
	if pipe {
		c.cmd.Stdout = nil
		if out, err = c.cmd.StdoutPipe(); err == nil {
			c.stdin, err = c.cmd.StdinPipe()
		}
		if err != nil {
			return nil, nil, fmt.Errorf("starting %s: %w", name, err)
		}
	}
	if err := c.cmd.Start(); err != nil {
		return nil, nil, fmt.Errorf("starting %s: %w", name, err)
	}
	if !pipe {
		go c.wait()
	}
	return c, out, nil
}

// wait is called once, after the pipe was read to its end.
func (c *child) wait() {
	_ = c.cmd.Wait() // how it ended is in ProcessState
	close(c.done)
}

// stop asks it to end, and kills it when it has not after the patience.
func (c *child) stop(patience time.Duration) {
	if c.stdin != nil {
		_ = c.stdin.Close()
	}
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-c.done:
	case <-time.After(patience):
		_ = c.cmd.Process.Kill()
		<-c.done
	}
}

// failure tells why it ended, when it should not have.
func (c *child) failure() error {
	text, _ := os.ReadFile(c.log)
	lines := bytes.SplitAfter(bytes.TrimSpace(text), []byte("\n"))
	tail := bytes.Join(lines[max(0, len(lines)-8):], nil)
	return fmt.Errorf("%s has ended (%s):\n%s", c.name, c.cmd.ProcessState, tail)
}
