package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"sereno/config"
)

const confinedEnv = "SERENO_TEST_CONFINED"

// What a node gives away at its start is gone for it and for what it starts, and what it
// needs is still there. It is tried in a process of its own, because it is for good.
func TestO31Confine(t *testing.T) {
	if dir := os.Getenv(confinedEnv); dir != "" {
		fmt.Println(confined(dir))
		return
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run", "^TestO31Confine$")
	cmd.Env = append(os.Environ(), confinedEnv+"="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "<nil>\n") {
		t.Fatalf("%v: %s", err, out)
	}
}

// What keeps the socket's directory from being made is told with what helps.
func TestO31ASocketWithoutADirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none", "sereno")
	for _, want := range []string{dir, "no such file or directory", "name another place with admin.socket"} {
		if err := makeSocketDir(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	if err := makeSocketDir(filepath.Dir(filepath.Dir(dir))); err != nil {
		t.Errorf("one that is there: %v", err)
	}
}

func confined(dir string) error {
	before := cap.GetProc()
	c := &config.Config{}
	c.Node.StateDir, c.Admin.Socket = filepath.Join(dir, "state"), filepath.Join(dir, "run", "admin.sock")
	if err := confine(c); err != nil {
		return err
	}
	var all error
	for v := range cap.MaxBits() {
		had, _ := before.GetFlag(cap.Permitted, v)
		has, _ := cap.GetProc().GetFlag(cap.Permitted, v)
		if want := had && slices.Contains(neededCapabilities(), v); has != want {
			all = errors.Join(all, fmt.Errorf("%v: has it: %v, want %v", v, has, want))
		}
	}
	for _, path := range []string{c.Node.StateDir, filepath.Dir(c.Admin.Socket)} {
		if err := os.WriteFile(filepath.Join(path, "file"), []byte("x"), 0o600); err != nil {
			all = errors.Join(all, err)
		}
	}
	if _, err := os.ReadFile("/proc/self/status"); err != nil {
		all = errors.Join(all, err)
	}
	status, err := exec.Command("cat", "/proc/self/status").Output() // of a process that it starts
	if err != nil || !strings.Contains(string(status), "NoNewPrivs:\t1") {
		all = errors.Join(all, fmt.Errorf("a child may gain rights: %w: %s", err, status))
	}
	if hasLandlock() {
		if err := os.WriteFile(filepath.Join(dir, "elsewhere"), nil, 0o600); !errors.Is(err, fs.ErrPermission) {
			all = errors.Join(all, fmt.Errorf("writing elsewhere: %w", err))
		}
		if err := exec.Command("touch", filepath.Join(dir, "elsewhere")).Run(); err == nil {
			all = errors.Join(all, errors.New("a child writes elsewhere"))
		}
	}
	return all
}

// hasLandlock asks the kernel for Landlock's version (landlock_create_ruleset(2)).
func hasLandlock() bool {
	_, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	return errno == 0
}
