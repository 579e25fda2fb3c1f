package lab_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sereno/bench/lab"
)

// programs are where TestMain has built what the tests run.
var programs string

// whole says that the scenarios are played with the product's defaults.
var whole = os.Getenv("SERENO_E2E") == "full"

func TestMain(m *testing.M) {
	if os.Getenv("SERENO_LAB_CLOCK") == "1" { // the process whose clock a test sets
		os.Exit(m.Run())
	}
	if whole || os.Getenv("SERENO_E2E") == "1" {
		if !whole { // they mostly wait; the whole form is measured, and leaves more of the machine to each
			if err := flag.Set("test.parallel", "3"); err != nil {
				panic(err)
			}
		}
		code, err := withPrograms(m.Run)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		os.Exit(code)
	}
	fmt.Println("left out, SERENO_E2E=1 plays them in a short form, SERENO_E2E=full whole (as root, with the programs that .ci/run installs):")
	for _, s := range lab.Scenarios() {
		fmt.Println("  " + s.Name)
	}
	if err := flag.Set("test.list", "."); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func withPrograms(run func() int) (int, error) {
	dir, err := os.MkdirTemp("", "sereno-lab-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	programs = dir
	for name, path := range map[string]string{"sereno": "sereno/cmd/sereno", "lab": "sereno/bench/cmd/lab", "soak": "sereno/bench/cmd/soak"} {
		if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, name), path).CombinedOutput(); err != nil {
			return 1, fmt.Errorf("building %s: %w\n%s", name, err, out)
		}
	}
	return run(), nil
}

// command is the laboratory's own, as an operator runs it.
func command(ctx context.Context, scenario string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(programs, "lab"), "run", "--sereno", filepath.Join(programs, "sereno"),
		fmt.Sprintf("--short=%v", !whole), scenario)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	return cmd
}

// TestLabScenarios plays every scenario: A11 to A16, A18, A20 and A21 between real routers.
func TestLabScenarios(t *testing.T) {
	for _, s := range lab.Scenarios() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel() // each in namespaces of its own, and mostly waiting
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			out, err := command(ctx, s.Name).CombinedOutput()
			t.Logf("\n%s", out)
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSoakShort soaks for one event: from this seed every RADIUS server of both sites dies, the node that has the traffic is
// killed with accounting on its disk, and the other's clock is set meanwhile. It finds the verdict and the evidence.
func TestSoakShort(t *testing.T) {
	kept := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(programs, "soak"), "--sereno", filepath.Join(programs, "sereno"),
		"--for", "1s", "--seed", "100", "--rate-dns", "300", "--rate-radius", "60", "--keep", kept)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	out, err := cmd.CombinedOutput()
	t.Logf("\n%s", out)
	if err != nil {
		t.Error(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if last := lines[len(lines)-1]; !strings.Contains(last, "VERDICT: HELD: ") || !strings.Contains(string(out), "every-server-dead-node-killed: ") {
		t.Errorf("the last line is %q", last)
	}
	for _, name := range []string{"events.log", "clients.csv", "samples.csv", "accounting.csv", "lab/node-1.log", "lab/freeradius-1-1/detail"} {
		if info, err := os.Stat(filepath.Join(kept, name)); err != nil || info.Size() == 0 {
			t.Errorf("the evidence has no %s: %v", name, err)
		}
	}
}

// TestLabEndsWithoutATrace interrupts a run in its middle, and kills another: no process and no namespace stays.
func TestLabEndsWithoutATrace(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		before := spaces(t)
		cmd := command(t.Context(), "moved-live")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, signal, "the namespaces", func() bool { return len(spaces(t)) > len(before) })
		time.Sleep(2 * time.Second) // for the programs to start; nothing waits for this to be enough
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil {
			t.Errorf("%s: exit code 0", signal)
		}
		eventually(t, signal, "no process in the namespaces", func() bool { return !beyond(spaces(t), before) })
		if left, err := filepath.Glob("/run/netns/*-[12]"); err != nil || len(left) > 0 {
			t.Errorf("%s: left %v, %v", signal, left, err)
		}
	}
}

// TestSoakInterruptedTellsWhatItKnows: Ctrl-C in its middle, and the last line is a verdict that says so, the evidence is
// kept, and no process and no namespace stays.
func TestSoakInterruptedTellsWhatItKnows(t *testing.T) {
	before, kept := spaces(t), t.TempDir()
	cmd := exec.CommandContext(t.Context(), filepath.Join(programs, "soak"), "--sereno", filepath.Join(programs, "sereno"),
		"--for", "5m", "--seed", "1", "--rate-dns", "200", "--rate-radius", "20", "--keep", kept)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for in := bufio.NewScanner(out); in.Scan(); {
		lines = append(lines, in.Text())
		if strings.Contains(in.Text(), "two sites serve") {
			time.AfterFunc(time.Second, func() { _ = cmd.Process.Signal(os.Interrupt) }) // while clients ask
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 || errs.Len() > 0 {
		t.Errorf("%v, not exit code 1; on stderr: %s", err, &errs)
	}
	t.Logf("\n%s", strings.Join(lines, "\n"))
	if last := lines[len(lines)-1]; !strings.Contains(last, "VERDICT: INTERRUPTED, and the books not compared; 0 things did not hold; 5m0s, seed 1, ") || strings.Contains(last, "DNS 0 asked") {
		t.Errorf("the last line is %q", last)
	}
	for _, name := range []string{"events.log", "lab/node-1.log"} {
		if info, err := os.Stat(filepath.Join(kept, name)); err != nil || info.Size() == 0 {
			t.Errorf("the evidence has no %s: %v", name, err)
		}
	}
	eventually(t, os.Interrupt, "no process in the namespaces", func() bool { return !beyond(spaces(t), before) })
	if left, err := filepath.Glob("/run/netns/*-[12]"); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func eventually(t *testing.T, signal os.Signal, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: %s: not within 20s", signal, what)
		}
	}
}

// spaces gives the network namespaces that some process of the laboratory is in.
func spaces(t *testing.T) map[string]bool {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, link := range links {
		line, _ := os.ReadFile(strings.TrimSuffix(link, "ns/net") + "cmdline") // it may have ended
		if !strings.Contains(string(line), programs) && !strings.Contains(string(line), "/run/lab") {
			continue
		}
		if target, err := os.Readlink(link); err == nil {
			found[target] = true
		}
	}
	return found
}

// beyond says whether there is one that was not there before.
func beyond(now, before map[string]bool) bool {
	for space := range now {
		if !before[space] {
			return true
		}
	}
	return false
}
