package lab

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"
)

// TestWallClockOfOneProcess sets the clock of a process back and ahead: its wall clock steps, its monotonic one goes on,
// and this process notices nothing.
func TestWallClockOfOneProcess(t *testing.T) {
	if os.Getenv("SERENO_LAB_CLOCK") == "1" {
		tellTime()
		return
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestWallClockOfOneProcess$")
	cmd.Env = append(os.Environ(), "SERENO_LAB_CLOCK=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close(); _ = cmd.Wait() }()
	ask := func() (wall time.Time, since time.Duration) {
		t.Helper()
		var nanoseconds, monotonic int64
		if _, err := fmt.Fprintln(in); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fscanln(out, &nanoseconds, &monotonic); err != nil {
			t.Fatal(err)
		}
		return time.Unix(0, nanoseconds), time.Duration(monotonic)
	}
	ask() // it runs
	clock, err := newWallClock(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	_, last := ask()
	for _, step := range []time.Duration{0, -24 * time.Hour, time.Hour, 0} {
		if err := clock.set(step); err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		wall, since := ask()
		if off := wall.Sub(before) - step; off < -time.Millisecond || off > 5*time.Second {
			t.Errorf("set by %s it is off by %s more", step, off)
		}
		if since < last || since > last+5*time.Second {
			t.Errorf("set by %s its monotonic clock went from %s to %s", step, last, since)
		}
		last = since
	}
}

// tellTime answers each line with both clocks.
func tellTime() {
	begin := time.Now()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		fmt.Println(time.Now().UnixNano(), time.Since(begin).Nanoseconds())
	}
}
