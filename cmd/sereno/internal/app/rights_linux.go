package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/landlock-lsm/go-landlock/landlock"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"sereno/config"
)

// confine gives away, for this process and all that it starts, and for good, what its
// work does not need (O31): capabilities other than those to bind low ports and, where
// it has it, to administer the network (`anycast[].assign`, large socket buffers); the
// way to gain any by executing a file (PR_SET_NO_NEW_PRIVS); and, where the kernel has
// Landlock, writing anywhere but in state_dir and beside the socket.
//
// What it keeps becomes ambient, so that a speaker can listen on port 179 also where the
// capability came with the file.
func confine(c *config.Config) error {
	if _, err := cap.Prctlw(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("giving up new privileges: %w", err)
	}
	if err := keepCapabilities(neededCapabilities()...); err != nil {
		return fmt.Errorf("giving up capabilities: %w", err)
	}
	writable := []string{c.Node.StateDir}
	if c.Admin.Socket != "" {
		dir := filepath.Dir(c.Admin.Socket)
		if err := makeSocketDir(dir); err != nil {
			return err
		}
		writable = append(writable, dir)
	}
	err := landlock.V5.BestEffort().RestrictPaths(
		landlock.RODirs("/"), landlock.RWDirs(writable...), landlock.RWFiles(os.DevNull).IgnoreIfMissing())
	if err != nil {
		return fmt.Errorf("giving up writing outside of %v: %w", writable, err)
	}
	return nil
}

// makeSocketDir makes the directory of the socket, as the API does, unless it is there.
func makeSocketDir(dir string) error {
	err := os.Mkdir(dir, 0o755) //nolint:gosec // the socket has its own mode
	if err == nil || errors.Is(err, fs.ErrExist) {
		return nil
	}
	return fmt.Errorf("making the directory of admin.socket: %w (make it for this user, or name another place with admin.socket)", err)
}

// neededCapabilities are those of the work. Who starts it as root has it read, at a
// reload too, what belongs to others.
func neededCapabilities() []cap.Value {
	needed := []cap.Value{cap.NET_BIND_SERVICE, cap.NET_ADMIN}
	if os.Geteuid() == 0 {
		needed = append(needed, cap.DAC_OVERRIDE)
	}
	return needed
}

// keepCapabilities keeps those of kept that the process has, and no other.
func keepCapabilities(kept ...cap.Value) error {
	had, now := cap.GetProc(), cap.NewSet()
	var has []cap.Value
	for _, v := range kept {
		if ok, err := had.GetFlag(cap.Permitted, v); err == nil && ok {
			has = append(has, v)
		}
	}
	if len(has) > 0 {
		for _, flag := range []cap.Flag{cap.Permitted, cap.Effective, cap.Inheritable} {
			if err := now.SetFlag(flag, true, has...); err != nil {
				return err
			}
		}
	}
	// Where a service manager has given no more, capset(2) may be forbidden, too.
	if diff, err := now.Cf(had); err != nil || diff != 0 {
		if err := now.SetProc(); err != nil {
			return err
		}
	}
	if len(has) == 0 {
		return nil
	}
	return cap.SetAmbient(true, has...)
}
