//go:build !race

package udp

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// forwarder passes what the front received on to the backend and what the backend answered back to who asked.
type forwarder struct {
	front, backend *Conn
	askers         [256]Dest
}

func (f *forwarder) Receive(c *Conn, batch []Packet) {
	for i := range batch {
		p := &batch[i]
		if c == f.front {
			f.askers[p.Data[0]] = p.Dest
			f.backend.Commit(copy(f.backend.Next(), p.Data), Dest{})
		} else {
			f.front.Commit(copy(f.front.Next(), p.Data), f.askers[p.Data[0]])
		}
	}
}

func (f *forwarder) Flush() {}

// The whole way of a datagram, in at a listener, out to a backend, and the answer back, allocates nothing.
func TestForwardingDoesNotAllocate(t *testing.T) {
	needIPv6(t)
	for _, addr := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"} {
		t.Run(addr, func(t *testing.T) {
			backend, front := newGroup(t, GroupConfig{}), newGroup(t, GroupConfig{Batch: 8})
			at := listen(t, backend, "127.0.0.1:0").LocalAddr()
			f := &forwarder{front: listen(t, front, addr), backend: dial(t, front, at)}
			run(t, backend, echo{})
			run(t, front, f)
			fd := asker(t, f.front.LocalAddr())
			var buf [64]byte
			roundTrip := func() {
				for i := range byte(20) {
					buf[0] = i
					if _, err := unix.Write(fd, buf[:]); err != nil {
						t.Fatal(err)
					}
				}
				for range 20 {
					readBack(t, fd, buf[:])
				}
			}
			if n := testing.AllocsPerRun(500, roundTrip); n != 0 {
				t.Errorf("%v allocations for 20 datagrams", n)
			}
		})
	}
}

// An answer from another goroutine does not allocate either.
func TestWriteToDoesNotAllocate(t *testing.T) {
	g := newGroup(t, GroupConfig{})
	c := listen(t, g, "0.0.0.0:0")
	fd := asker(t, c.LocalAddr())
	d := Dest{Peer: localOf(t, fd), Local: netip.MustParseAddr("127.0.0.1")}
	dialed := dial(t, g, c.LocalAddr())
	var buf [64]byte
	if n := testing.AllocsPerRun(500, func() {
		if err := c.WriteTo(buf[:], d); err != nil {
			t.Fatal(err)
		}
		readBack(t, fd, buf[:])
		if err := dialed.WriteTo(buf[:], Dest{}); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Wake, the counters and the scrape's system call do not allocate.
func TestHousekeepingDoesNotAllocate(t *testing.T) {
	g := newGroup(t, GroupConfig{})
	c := listen(t, g, "127.0.0.1:0")
	run(t, g, echo{})
	if n := testing.AllocsPerRun(500, func() {
		g.Wake()
		c.KernelDrops()
		c.Stats()
		c.Buffers()
		c.Tag()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// asker is a blocking socket connected to the port of a listener on loopback, without anything of Go's around it.
func asker(t *testing.T, to netip.AddrPort) int {
	t.Helper()
	var sa unix.Sockaddr = &unix.SockaddrInet4{Port: int(to.Port()), Addr: [4]byte{127, 0, 0, 1}}
	if to.Addr().Is6() {
		sa = &unix.SockaddrInet6{Port: int(to.Port()), Addr: netip.IPv6Loopback().As16()}
	}
	fd, err := unix.Socket(family(to.Addr().Is6()), unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Connect(fd, sa); err != nil {
		t.Fatal(err)
	}
	timeout := unix.NsecToTimeval(patience.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		t.Fatal(err)
	}
	return fd
}

func readBack(t *testing.T, fd int, buf []byte) {
	for {
		_, err := unix.Read(fd, buf)
		if err == nil {
			return
		}
		if err != unix.EINTR {
			t.Fatal(err)
		}
	}
}

func localOf(t *testing.T, fd int) netip.AddrPort {
	t.Helper()
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(sa.(*unix.SockaddrInet4).Port))
}
