package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	socketMode = 0o660
	// maxSocketPath is what fits into sockaddr_un with its closing zero (unix(7)).
	maxSocketPath = 107
)

// socketListener is a Unix socket that takes its file away when it is closed, unless the
// file is somebody else's by then.
type socketListener struct {
	*net.UnixListener
	path string
	file fs.FileInfo
	once sync.Once
}

// listenSocket opens the Unix socket at path. A file left by a dead process is replaced; a
// socket that somebody answers on, and a file that is no socket, are left alone and are an
// error.
func listenSocket(path string) (*socketListener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("opening socket %s: the path has %d bytes, at most %d are possible", path, len(path), maxSocketPath)
	}
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("opening socket %s: %w", path, err)
	}
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("opening socket %s: its directory is missing: %w", path, err)
	}
	// The mode is set on the socket before bind makes the file of it (unix(7): fchmod), so
	// that there is no moment in which others could connect; what the umask took from the
	// group is given back afterwards.
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var chmodErr error
		err := raw.Control(func(fd uintptr) { chmodErr = unix.Fchmod(int(fd), socketMode) })
		return errors.Join(err, chmodErr)
	}}
	l, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("opening socket: %w", err)
	}
	listener := l.(*net.UnixListener)
	listener.SetUnlinkOnClose(false)
	err = os.Chmod(path, socketMode)
	file, statErr := os.Lstat(path)
	if err = errors.Join(err, statErr); err != nil {
		_ = listener.Close()
		return nil, fmt.Errorf("opening socket: %w", err)
	}
	return &socketListener{UnixListener: listener, path: path, file: file}, nil
}

// removeStale removes a socket that nobody listens on.
func removeStale(path string) error {
	file, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if file.Mode().Type() != fs.ModeSocket {
		return errors.New("there is a file of that name that is no socket; it is left alone")
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = conn.Close()
		return errors.New("another program answers on it: is a node running already?")
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("a socket of that name is there, and whether somebody listens cannot be told: %w", err)
	}
	return os.Remove(path)
}

// Close stops listening and removes the file if it is still the one that was made. A second
// Close leaves the file alone: a new socket may stand there, even with the same inode number.
func (l *socketListener) Close() error {
	err := net.ErrClosed
	l.once.Do(func() {
		if now, statErr := os.Lstat(l.path); statErr == nil && os.SameFile(now, l.file) {
			_ = os.Remove(l.path)
		}
		err = l.UnixListener.Close()
	})
	return err
}

// peerOf says who is at the other end of a connection, for the log.
func peerOf(conn net.Conn) string {
	c, ok := conn.(*net.UnixConn)
	if !ok {
		return conn.RemoteAddr().String()
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return "socket"
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if errors.Join(err, credErr) != nil {
		return "socket"
	}
	return fmt.Sprintf("socket, uid %d, pid %d", cred.Uid, cred.Pid)
}
