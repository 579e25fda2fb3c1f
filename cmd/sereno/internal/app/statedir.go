package app

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// stateDir is node.state_dir, locked for as long as it is open, so that a
// second instance with the same state ends with a clear message (D53).
type stateDir struct {
	path string
	lock *os.File
}

// openStateDir creates the directory if it is absent and locks it.
func openStateDir(path string) (*stateDir, error) {
	if err := os.MkdirAll(path, 0o750); err != nil {
		return nil, unusable(err)
	}
	name := filepath.Join(path, "lock")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o640)
	if errors.Is(err, unix.EROFS) {
		// A disk that the kernel has made read-only after an error. What it holds is read, what needs it is an alarm, and
		// answers need none of it.
		f, err = os.Open(name)
	}
	if err != nil {
		return nil, unusable(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("another sereno is running with node.state_dir %s: stop it first, or give this one a directory of its own", path)
		}
		return nil, fmt.Errorf("locking node.state_dir %s: %w", path, err)
	}
	return &stateDir{path: path, lock: f}, nil
}

func unusable(err error) error {
	return fmt.Errorf("opening node.state_dir: %w (name another with node.state_dir, or make it writable for this user)", err)
}

// file returns the path of a file in the directory.
func (d *stateDir) file(name string) string { return filepath.Join(d.path, name) }

// Close gives the lock back.
func (d *stateDir) Close() error { return d.lock.Close() }

// writeFileAtomic replaces path by data so that a reader, or a crash at any
// moment, finds either the old content or the new, whole.
func writeFileAtomic(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(data); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
