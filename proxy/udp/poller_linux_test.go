package udp

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestPollerFindsWhatCameInAPause: what came while the process stood still is found by the very wait that the stop broke
// off, so that no turn runs timers before it is read.
func TestPollerFindsWhatCameInAPause(t *testing.T) {
	if os.Getenv("SERENO_TEST_PAUSED") == "1" {
		waitOnce()
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestPollerFindsWhatCameInAPause$")
	cmd.Env = append(os.Environ(), "SERENO_TEST_PAUSED=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	in := bufio.NewReader(out)
	addr, err := in.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	inState(t, cmd.Process.Pid, "S")
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	inState(t, cmd.Process.Pid, "T")
	conn, err := net.Dial("udp", strings.TrimSpace(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if found, err := in.ReadString('\n'); err != nil || found != "1\n" {
		t.Errorf("the wait that was broken off found %q, %v; want 1 socket", found, err)
	}
}

// waitOnce is the process that is stopped: it says where it listens, and how many sockets its first wait found.
func waitOnce() {
	p, err := newPoller()
	if err != nil {
		panic(err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		panic(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		panic(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		panic(err)
	}
	if err := unix.EpollCtl(p.ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
		panic(err)
	}
	fmt.Printf("127.0.0.1:%d\n", name.(*unix.SockaddrInet4).Port)
	events := make([]unix.EpollEvent, 4)
	n, err := p.wait(events)
	if err != nil {
		panic(err)
	}
	fmt.Println(n)
	os.Exit(0)
}

// inState waits until every thread of a process is in one of these states, by their letters in proc(5).
func inState(t *testing.T, pid int, states string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		all := len(files) > 0
		for _, file := range files {
			stat, err := os.ReadFile(file)
			_, rest, found := strings.Cut(string(stat), ") ")
			all = all && err == nil && found && strings.Contains(states, rest[:1])
		}
		if all {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d is not in state %s", pid, states)
		}
	}
}
