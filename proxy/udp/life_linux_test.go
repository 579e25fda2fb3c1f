package udp

import (
	"errors"
	"net/netip"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func openFDs(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// Groups that ran, that never ran, and sockets that could not be opened leave no descriptor behind.
func TestLeavesNoDescriptors(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		life := func(runs bool) {
			g, err := NewGroup(GroupConfig{Plain: plain})
			if err != nil {
				t.Fatal(err)
			}
			c := listen(t, g, "127.0.0.1:0")
			dial(t, g, c.LocalAddr())
			if err := dial(t, g, c.LocalAddr()).Close(); err != nil {
				t.Error(err)
			}
			if _, err := g.Dial(c.LocalAddr(), netip.MustParseAddr("192.0.2.1"), ListenConfig{}); !errors.Is(err, syscall.EADDRNOTAVAIL) {
				t.Errorf("Dial from an address of somebody else: %v", err)
			}
			ended := make(chan error, 1)
			if runs {
				go func() { ended <- g.Run(echo{}) }()
			}
			if err := g.Close(); err != nil {
				t.Error(err)
			}
			if runs {
				if err := wait(t, ended, "the end of Run"); err != nil {
					t.Error(err)
				}
			}
			_, _ = g.Listen(netip.MustParseAddrPort("127.0.0.1:0"), ListenConfig{}) // refused: the Group is closed
		}
		life(true) // the runtime's own descriptors
		before := openFDs(t)
		for range 10 {
			life(true)
			life(false)
		}
		if after := openFDs(t); after != before {
			t.Errorf("%d descriptors, %d before", after, before)
		}
	})
}

// Out of descriptors, whichever of the two that a Group needs, or the socket: an error that says so, and none leaked.
func TestOutOfDescriptors(t *testing.T) {
	g := newGroup(t, GroupConfig{})
	before := openFDs(t)
	taken := takeAllFDs(t)
	for room := range 3 {
		for range room {
			_ = unix.Close(taken[len(taken)-1])
			taken = taken[:len(taken)-1]
		}
		made, err := NewGroup(GroupConfig{})
		switch {
		case room < 2 && !errors.Is(err, unix.EMFILE):
			t.Errorf("NewGroup with room for %d descriptors: %v", room, err)
		case room == 2 && err != nil:
			t.Errorf("NewGroup with room for %d descriptors: %v", room, err)
		case room == 2:
			if _, err := g.Listen(netip.MustParseAddrPort("127.0.0.1:0"), ListenConfig{}); !errors.Is(err, unix.EMFILE) {
				t.Errorf("Listen without room: %v", err)
			}
			_ = made.Close()
		}
		taken = append(taken, dupUntilFull(t)...)
	}
	for _, fd := range taken {
		_ = unix.Close(fd)
	}
	if after := openFDs(t); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

// takeAllFDs lowers the limit until the end of the test and takes all that is left below it.
func takeAllFDs(t *testing.T) []int {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: min(200, old.Cur), Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			t.Error(err)
		}
	})
	return dupUntilFull(t)
}

func dupUntilFull(t *testing.T) (fds []int) {
	t.Helper()
	for {
		fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
		if errors.Is(err, unix.EMFILE) {
			return fds
		}
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, fd)
	}
}
