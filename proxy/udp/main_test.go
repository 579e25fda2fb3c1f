package udp

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what has to happen.
const patience = 10 * time.Second

// legs runs a test on each path that this system has.
func legs(t *testing.T, f func(t *testing.T, plain bool)) {
	if runtime.GOOS == "linux" {
		t.Run("batched", func(t *testing.T) { f(t, false) })
	}
	t.Run("plain", func(t *testing.T) { f(t, true) })
}

// funcs is a Handler made of functions; nil does nothing.
type funcs struct {
	receive     func(c *Conn, batch []Packet)
	flush       func()
	socketError func(c *Conn, err error)
}

func (f *funcs) Receive(c *Conn, batch []Packet) {
	if f.receive != nil {
		f.receive(c, batch)
	}
}

func (f *funcs) Flush() {
	if f.flush != nil {
		f.flush()
	}
}

func (f *funcs) SocketError(c *Conn, err error) {
	if f.socketError != nil {
		f.socketError(c, err)
	}
}

// echo answers each datagram with a copy of itself.
type echo struct{}

func (echo) Receive(c *Conn, batch []Packet) {
	for i := range batch {
		c.Commit(copy(c.Next(), batch[i].Data), batch[i].Dest)
	}
}

func (echo) Flush() {}

// newGroup makes a Group that is closed at the end of the test.
func newGroup(t testing.TB, cfg GroupConfig) *Group {
	t.Helper()
	g, err := NewGroup(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return g
}

// run runs g until the end of the test. Call it after newGroup, and after what its handler uses was made.
func run(t testing.TB, g *Group, h Handler) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- g.Run(h) }()
	t.Cleanup(func() {
		_ = g.Close()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
			noLeak(t, g)
		case <-time.After(patience):
			t.Error("Run did not return after Close")
		}
	})
}

// noLeak tells that every send buffer came back.
func noLeak(t testing.TB, g *Group) {
	t.Helper()
	free := 0
	for s := g.slots.free; s != nil; s = s.next {
		free++
	}
	if free != g.slots.made {
		t.Errorf("%d of %d send buffers came back", free, g.slots.made)
	}
}

func listen(t testing.TB, g *Group, addr string) *Conn {
	t.Helper()
	c, err := g.Listen(netip.MustParseAddrPort(addr), ListenConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func dial(t testing.TB, g *Group, to netip.AddrPort) *Conn {
	t.Helper()
	c, err := g.Dial(to, netip.Addr{}, ListenConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// client is a connected socket of the standard library: it receives from the address that it asks and no other.
func client(t testing.TB, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	u, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = u.Close() })
	return u
}

func send(t testing.TB, u *net.UDPConn, data string) {
	t.Helper()
	if _, err := u.Write([]byte(data)); err != nil {
		t.Fatal(err)
	}
}

func receive(t testing.TB, u *net.UDPConn) string {
	t.Helper()
	buf := make([]byte, 65536)
	_ = u.SetReadDeadline(time.Now().Add(patience))
	n, err := u.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

// silent tells that nothing more came. What was sent on loopback before has arrived by now.
func silent(t testing.TB, u *net.UDPConn) {
	t.Helper()
	buf := make([]byte, 65536)
	_ = u.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	n, err := u.Read(buf)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("received %q, %v; want silence", buf[:n], err)
	}
}

// wait waits for one value.
func wait[T any](t testing.TB, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// hasIPv6 tells whether loopback has its IPv6 address.
func hasIPv6(t testing.TB) bool {
	t.Helper()
	u, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if err != nil {
		return false
	}
	return u.Close() == nil
}

// needIPv6 leaves a test out on a host without IPv6.
func needIPv6(t testing.TB) {
	t.Helper()
	if !hasIPv6(t) {
		leaveOut(t, "this host has no IPv6 address on loopback")
	}
}

// leaveOut skips a test that cannot run here, unless the run is one that must not leave out anything.
func leaveOut(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("SERENO_E2E") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}
