package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// insideVariable tells a process that it is the one inside.
const insideVariable = "SERENO_LAB_INSIDE"

// dir is the laboratory's directory, inside.
const dir = "/run/lab"

// Inside says whether this process is the first of namespaces of its own.
func Inside() bool { return os.Getenv(insideVariable) == "1" && os.Getpid() == 1 }

// Enter runs this program again, with these arguments, as the first process of new PID, mount and network namespaces,
// and gives its exit code. When ctx ends that process is told (SIGTERM), and after 10 s the kernel ends it with
// everything that it has started.
func Enter(ctx context.Context, args []string, stdout, stderr io.Writer) (int, error) {
	if os.Getuid() != 0 {
		return 1, errors.New("the laboratory makes network namespaces, and needs root for that")
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET,
		Pdeathsig:  syscall.SIGKILL, Setpgid: true,
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if code := exit.ExitCode(); code >= 0 {
			return code, nil
		}
		return 1, fmt.Errorf("running inside: %w", err)
	}
	return 0, err
}

// furnish gives this process, which is inside, a /proc and a /run of its own, and the laboratory's directory.
func furnish() error {
	if !Inside() {
		return errors.New("not inside: a laboratory is only built by the first process of its own namespaces")
	}
	links, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("listing links: %w", err)
	}
	for _, l := range links {
		if l.Flags&net.FlagLoopback == 0 && l.Flags&net.FlagUp != 0 {
			return fmt.Errorf("link %s is up: this network namespace is not a new one", l.Name)
		}
	}
	for _, mount := range []struct {
		source, target, kind string
		flags                uintptr
	}{
		{"none", "/", "", unix.MS_REC | unix.MS_PRIVATE},
		{"proc", "/proc", "proc", 0},
		{"tmpfs", "/run", "tmpfs", 0},
	} {
		if err := unix.Mount(mount.source, mount.target, mount.kind, mount.flags, ""); err != nil {
			return fmt.Errorf("mounting %s: %w", mount.target, err)
		}
	}
	return os.MkdirAll(dir, 0o755)
}

// ownFileSystem makes a directory that is a file system of its own, of that size.
func ownFileSystem(path, size string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", path, "tmpfs", 0, "mode=0700,size="+size); err != nil {
		return fmt.Errorf("mounting %s: %w", path, err)
	}
	return nil
}
