package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"sereno/bgp"
	"sereno/config"
)

const (
	filterEnv   = "SERENO_TEST_FILTER"   // file with the numbers of the calls that are allowed
	filteredEnv = "SERENO_TEST_FILTERED" // directory of a process for which that is so
)

// TestO31TheUnitLetsTheNodeStart: a node gives away its rights, starts and stops under
// the very filter of system calls that the unit asks systemd for.
func TestO31TheUnitLetsTheNodeStart(t *testing.T) {
	if dir := os.Getenv(filteredEnv); dir != "" {
		fmt.Println(startsConfined(dir, freeAddr(t)))
		return
	}
	if file := os.Getenv(filterEnv); file != "" {
		fmt.Println(filterCalls(file)) // it does not come back
		return
	}
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		if os.Getenv("SERENO_E2E") != "" {
			t.Fatal("systemd-analyze is not installed (Debian: systemd)")
		}
		t.Log("left out without systemd-analyze")
		return
	}
	dir := t.TempDir()
	numbers, err := json.Marshal(allowedCalls(t))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "filter")
	if err := os.WriteFile(file, numbers, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run", "^TestO31TheUnitLetsTheNodeStart$")
	cmd.Env = append(os.Environ(), filterEnv+"="+file, confinedEnv+"="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "<nil>\n") {
		t.Fatalf("%v: %s", err, out)
	}
}

// allowedCalls are the numbers of the system calls that the unit allows.
func allowedCalls(t *testing.T) []uint32 {
	t.Helper()
	unit, err := os.ReadFile("../../../../deploy/systemd/sereno.service")
	if err != nil {
		t.Fatal(err)
	}
	allowed := callsOf(t, "@default") // systemd adds them
	for _, line := range regexp.MustCompile(`(?m)^SystemCallFilter=(~?)(.*)$`).FindAllSubmatch(unit, -1) {
		for _, name := range strings.Fields(string(line[2])) {
			for call := range callsOf(t, name) {
				if len(line[1]) > 0 {
					delete(allowed, call)
				} else {
					allowed[call] = true
				}
			}
		}
	}
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/sys").Output()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "unix", "zsysnum_linux_"+runtime.GOARCH+".go"))
	if err != nil {
		t.Fatal(err)
	}
	var out []uint32
	for _, m := range regexp.MustCompile(`(?m)^\s*SYS_(\w+)\s*=\s*(\d+)`).FindAllStringSubmatch(string(text), -1) {
		if allowed[strings.ToLower(m[1])] {
			n, err := strconv.ParseUint(m[2], 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, uint32(n))
		}
	}
	if len(out) < 100 {
		t.Fatalf("only %d calls are allowed", len(out))
	}
	return out
}

// callsOf are the calls that a word of SystemCallFilter stands for.
func callsOf(t *testing.T, word string) map[string]bool {
	t.Helper()
	if !strings.HasPrefix(word, "@") {
		return map[string]bool{word: true}
	}
	out, err := exec.Command("systemd-analyze", "syscall-filter", word).Output()
	if err != nil {
		t.Fatal(err)
	}
	calls := map[string]bool{}
	for _, line := range strings.Split(string(out), "\n")[1:] {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			maps.Copy(calls, callsOf(t, line))
		}
	}
	return calls
}

// filterCalls has this process be the test again, and every call that is not allowed fail
// with EPERM from then on (seccomp(2); SystemCallErrorNumber of the unit).
func filterCalls(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var numbers []uint32
	if err := json.Unmarshal(text, &numbers); err != nil {
		return err
	}
	const jump, give, allow, refuse = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K, 0x7fff0000, 0x00050000
	program := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}} // seccomp_data.nr
	for _, n := range numbers {
		program = append(program, unix.SockFilter{Code: jump, Jf: 1, K: n}, unix.SockFilter{Code: give, K: allow})
	}
	program = append(program, unix.SockFilter{Code: give, K: refuse | uint32(unix.EPERM)})
	runtime.LockOSThread() // the thread that executes is the one that stays
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]} //nolint:gosec // two for each call
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&filter)), 0, 0); err != nil {
		return fmt.Errorf("filtering: %w", err)
	}
	env := append(slices.Clone(os.Environ()), filteredEnv+"="+os.Getenv(confinedEnv))
	return syscall.Exec("/proc/self/exe", os.Args, env)
}

// startsConfined starts a node that gives its rights away, and stops it.
func startsConfined(dir, listen string) error {
	if _, _, errno := unix.Syscall(unix.SYS_SWAPON, 0, 0, 0); !errors.Is(errno, unix.EPERM) {
		return fmt.Errorf("nothing is filtered: %w", errno)
	}
	text := fmt.Sprintf(`
node: {state_dir: %[1]s/state}
admin: {socket: %[1]s/run/admin.sock, listen: ""}
pools: [{name: p, protocol: dns, backends: [{name: a, address: "127.0.0.1:9"}, {name: b, address: "127.0.0.2:9"}]}]
dns: [{name: d, listen: [%[2]q], pool: p, cache: {entries: 1000}}]
`, dir, listen)
	c, report := config.Parse(filepath.Join(dir, "sereno.yaml"), []byte(text), config.Options{})
	if err := report.Err(); err != nil {
		return err
	}
	if err := os.Mkdir(c.Node.StateDir, 0o700); err != nil {
		return err
	}
	n, err := start(c, Options{Path: c.Path, Confine: true, Cores: 1, Speaker: bgp.SelfCommand("none")}, zap.NewNop(), zap.NewAtomicLevel())
	if err != nil {
		return fmt.Errorf("starting: %w", err)
	}
	_, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errors.Is(errno, unix.EPERM) {
		return errors.New("the filter takes Landlock away")
	}
	if errno == 0 {
		if err := os.WriteFile(filepath.Join(dir, "elsewhere"), nil, 0o600); err == nil {
			return errors.New("it may write elsewhere")
		}
	}
	defer n.stop(context.Background())
	return movesSocket(n, c, errno == 0)
}

// movesSocket has a reload put the socket where a confined node may not write.
func movesSocket(n *Node, c *config.Config, landlocked bool) error {
	moved := *c
	moved.Admin.Socket = filepath.Join(filepath.Dir(c.Path), "run2", "admin.sock")
	n.change.Lock()
	err := n.turnInto(n.shape.Load(), &moved)
	n.change.Unlock()
	if landlocked && (err == nil || !strings.Contains(err.Error(), "or restart")) {
		return fmt.Errorf("a socket elsewhere: %w", err)
	}
	return nil
}

// TestO31UnitTriesForEver: five starts that fail within ten seconds, at boot before an
// interface is there, would be the last ones by systemd's default.
func TestO31UnitTriesForEver(t *testing.T) {
	unit, err := os.ReadFile("../../../../deploy/systemd/sereno.service")
	if err != nil {
		t.Fatal(err)
	}
	before, _, _ := strings.Cut(string(unit), "[Service]")
	if !strings.Contains(before, "\nStartLimitIntervalSec=0\n") {
		t.Error("systemd gives up after some tries")
	}
}
