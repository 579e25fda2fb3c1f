package udp

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestWhatCameInAPauseIsReadBeforeTimers: a process that stood still reads what lies there before a Flush tells the
// handler how late it is.
func TestWhatCameInAPauseIsReadBeforeTimers(t *testing.T) {
	if os.Getenv("SERENO_TEST_PAUSED") == "1" {
		standing()
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestWhatCameInAPauseIsReadBeforeTimers$")
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
	u := client(t, netip.MustParseAddrPort(strings.TrimSpace(addr)))
	const pauses = 5
	timersFirst := 0
	for range pauses {
		if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		inState(t, cmd.Process.Pid, "T")
		send(t, u, strconv.FormatInt(time.Now().UnixNano(), 10))
		time.Sleep(2 * standstill)
		if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		first, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if first != "read\n" {
			timersFirst++
		}
	}
	// On a busy machine a stop may fall between the last look and the timers. Without another look they all do.
	if timersFirst > pauses/2 {
		t.Errorf("after %d of %d pauses timers came before what was sent was read", timersFirst, pauses)
	}
}

// standing is the process that is stopped: it says where it listens, and after each pause what came first.
func standing() {
	g, err := NewGroup(GroupConfig{})
	if err != nil {
		panic(err)
	}
	c, err := g.Listen(netip.MustParseAddrPort("127.0.0.1:0"), ListenConfig{})
	if err != nil {
		panic(err)
	}
	go func() {
		for {
			time.Sleep(standstill / 10)
			g.Wake()
		}
	}()
	fmt.Println(c.LocalAddr())
	var flushed time.Time
	panic(g.Run(&funcs{
		receive: func(_ *Conn, batch []Packet) {
			sent, err := strconv.ParseInt(string(batch[0].Data), 10, 64)
			if err != nil {
				panic(err)
			}
			if flushed.Sub(time.Unix(0, sent)) > standstill {
				fmt.Println("timers")
			} else {
				fmt.Println("read")
			}
		},
		flush: func() { flushed = time.Now() },
	}))
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
