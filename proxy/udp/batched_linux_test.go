package udp

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A flooded socket does not hold up the others: each has its turn, and what was answered is sent meanwhile.
func TestFloodedSocketDoesNotStarveOthers(t *testing.T) {
	const batch, flood = 4, 400
	g := newGroup(t, GroupConfig{Batch: batch})
	flooded, quiet := listen(t, g, "127.0.0.1:0"), listen(t, g, "127.0.0.1:0")
	u := client(t, flooded.LocalAddr())
	for range flood {
		send(t, u, "flood")
	}
	send(t, client(t, quiet.LocalAddr()), "one")
	before := make(chan int, 1)
	seen := 0
	run(t, g, &funcs{receive: func(c *Conn, in []Packet) {
		if len(in) > batch {
			t.Errorf("a batch of %d", len(in))
		}
		if seen += len(in); c == quiet {
			before <- seen
		}
	}})
	if n := wait(t, before, "the quiet socket's turn"); n > 2*batch {
		t.Errorf("it came after %d datagrams of the flood", n)
	}
}

// pair is a Conn of g over a socket pair, and the other end: a real socket that really takes no more when nobody reads,
// which UDP over loopback never does.
func pair(t *testing.T, g *Group) (*Conn, int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fds[1]) })
	if err := unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_SNDBUF, 1); err != nil { // the smallest there is
		t.Fatal(err)
	}
	c := &Conn{g: g, dialed: true}
	c.end = &socket{loop: g.loop.(*batched), conn: c, fd: fds[0]}
	if err := g.open(c, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	return c, fds[1]
}

// read reads one datagram from the other end; false: there is none.
func read(t *testing.T, fd int) (string, bool) {
	t.Helper()
	buf := make([]byte, 100)
	n, err := unix.Read(fd, buf)
	if err != nil && err != unix.EAGAIN {
		t.Fatal(err)
	}
	return string(buf[:max(n, 0)]), err == nil
}

// await reads one datagram from the other end as soon as it comes.
func await(t *testing.T, fd int) string {
	t.Helper()
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		if n, err := unix.Poll(poll, int(patience/time.Millisecond)); n == 0 && err == nil {
			t.Fatal("waited in vain for a datagram")
		}
		if s, ok := read(t, fd); ok {
			return s
		}
	}
}

// The kernel takes a part of the batch; the rest leaves when there is room, in order, and nothing is lost.
func TestPartialSendsAreFinished(t *testing.T) {
	const sent = 50
	g := newGroup(t, GroupConfig{Batch: 64})
	c, other := pair(t, g)
	trigger := listen(t, g, "127.0.0.1:0")
	run(t, g, &funcs{receive: func(from *Conn, _ []Packet) {
		for i := 0; from == trigger && i < sent; i++ {
			c.Commit(copy(c.Next(), fmt.Sprint(i)), Dest{})
		}
	}})
	send(t, client(t, trigger.LocalAddr()), "go")
	for i := range sent {
		if got := await(t, other); got != fmt.Sprint(i) {
			t.Fatalf("datagram %d is %q", i, got)
		}
	}
	settle(t, g, c)
	books(t, c, Stats{Sent: sent})
}

// settle returns when the turn is over that a call now may have met: a later one has begun.
func settle(t *testing.T, g *Group, c *Conn) {
	t.Helper()
	other, end := pair(t, g)
	deadline := time.Now().Add(patience)
	for n := range uint64(2) {
		if _, err := unix.Write(end, []byte("turn")); err != nil {
			t.Fatal(err)
		}
		for other.Stats().Received == n {
			if time.Now().After(deadline) {
				t.Fatalf("the loop does not turn; %+v", c.Stats())
			}
			runtime.Gosched()
		}
	}
}

// A socket that takes no more holds a batch at most, and does not hold up the others; what does not fit is counted.
func TestFullSendBufferDropsAndDoesNotBlock(t *testing.T) {
	const batch, committed = 8, 100
	g := newGroup(t, GroupConfig{Batch: batch})
	full, other := pair(t, g)
	front := listen(t, g, "127.0.0.1:0")
	run(t, g, &funcs{receive: func(c *Conn, in []Packet) {
		if string(in[0].Data) == "fill" {
			for i := range committed {
				full.Commit(copy(full.Next(), fmt.Sprint(i)), Dest{})
			}
		}
		if c == front {
			echo{}.Receive(c, in)
		}
	}})
	u := client(t, front.LocalAddr())
	for _, msg := range []string{"fill", "another"} {
		send(t, u, msg)
		if got := receive(t, u); got != msg {
			t.Fatalf("received %q", got)
		}
	}
	s := full.Stats()
	if s.Sent == 0 || s.Sent+batch+s.Drops[DropQueueFull] != committed {
		t.Errorf("with a queue of %d, stats are %+v", batch, s)
	}
	if err := full.WriteTo([]byte("at once"), Dest{}); err == nil {
		t.Error("WriteTo works on a full socket")
	}
	for i := range s.Sent + batch {
		if got := await(t, other); got != fmt.Sprint(i) {
			t.Errorf("datagram %d is %q", i, got)
		}
	}
	settle(t, g, full)
	books(t, full, Stats{Sent: s.Sent + batch, Drops: drops(DropQueueFull, committed-s.Sent-batch+1)})
	// It is as good as new.
	send(t, u, "fill")
	if got := await(t, other); got != "0" {
		t.Errorf("afterwards received %q", got)
	}
}

// Closing a socket that takes no more drops what waits for it.
func TestCloseOfAFullSocketDropsItsQueue(t *testing.T) {
	const batch, committed = 32, 32
	g := newGroup(t, GroupConfig{Batch: batch})
	full, _ := pair(t, g)
	front := listen(t, g, "127.0.0.1:0")
	run(t, g, &funcs{receive: func(c *Conn, in []Packet) {
		for i := 0; c == front && i < committed; i++ {
			full.Commit(copy(full.Next(), "x"), Dest{})
		}
		if c == front {
			echo{}.Receive(c, in)
		}
	}})
	u := client(t, front.LocalAddr())
	send(t, u, "fill")
	receive(t, u)
	sent := full.Stats().Sent
	if sent == 0 || sent == committed {
		t.Fatalf("sent %d of %d", sent, committed)
	}
	if err := full.Close(); err != nil {
		t.Fatal(err)
	}
	settle(t, g, full)
	books(t, full, Stats{Sent: sent, Drops: drops(DropClosed, committed-sent)})
}

// More sockets with something to send than the Group has buffers: it sends in between.
func TestBuffersAreSharedByAllSockets(t *testing.T) {
	g := newGroup(t, GroupConfig{Batch: 1, MaxPacket: 65535})
	sockets := 3 * g.slots.limit
	if got := g.slots.limit * 65535; got > DefaultMaxUnsent {
		t.Errorf("the buffers take %d bytes", got)
	}
	backend := newGroup(t, GroupConfig{})
	at := listen(t, backend, "127.0.0.1:0").LocalAddr()
	all := make(chan struct{})
	n := 0
	run(t, backend, &funcs{receive: func(_ *Conn, batch []Packet) {
		if n += len(batch); n == sockets {
			close(all)
		}
	}})
	conns := make([]*Conn, sockets)
	for i := range conns {
		conns[i] = dial(t, g, at)
	}
	front := listen(t, g, "127.0.0.1:0")
	run(t, g, &funcs{receive: func(*Conn, []Packet) {
		for _, c := range conns {
			c.Commit(copy(c.Next(), "x"), Dest{})
		}
	}})
	send(t, client(t, front.LocalAddr()), "go")
	wait(t, all, "the datagrams of all sockets")
}

// No answer is refused because of a forged "fragmentation needed", and no IPv6 packet is larger than every link carries.
func TestPathMTUIsNotBelieved(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		g := newGroup(t, GroupConfig{Plain: plain})
		for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
			if addr[0] == '[' && !hasIPv6(t) {
				continue
			}
			l := listen(t, g, addr)
			for _, c := range []*Conn{l, dial(t, g, netip.AddrPortFrom(l.LocalAddr().Addr(), 9))} {
				checkPathMTU(t, c)
			}
		}
	})
}

func checkPathMTU(t *testing.T, c *Conn) {
	t.Helper()
	check := func(fd int) error {
		if !c.is6 {
			v, err := unix.GetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER)
			if v != unix.IP_PMTUDISC_OMIT {
				t.Errorf("IP_MTU_DISCOVER is %d", v)
			}
			return err
		}
		v, err := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER)
		if v != unix.IPV6_PMTUDISC_OMIT {
			t.Errorf("IPV6_MTU_DISCOVER is %d", v)
		}
		return err
	}
	var err error
	switch s := c.end.(type) {
	case *socket:
		err = check(s.fd)
	case *plainSocket:
		rc, rcErr := s.conn.SyscallConn()
		if rcErr != nil {
			t.Fatal(rcErr)
		}
		err = onFD(rc, check)
	}
	if err != nil {
		t.Error(err)
	}
}

// TestO30BuffersToSendAreAsManyAsAreAllowed: as the bound says, and never fewer than four batches, which a handler that
// answers one batch needs.
func TestO30BuffersToSendAreAsManyAsAreAllowed(t *testing.T) {
	for _, tt := range []struct{ batch, packet, unsent, want int }{
		{64, 4096, 0, 4096}, {64, 4096, 4 << 20, 1024}, {64, 4096, 1, 256}, {128, 8192, 0, 2048}, {1, 512, 1 << 30, 64},
	} {
		if got := newGroup(t, GroupConfig{Batch: tt.batch, MaxPacket: tt.packet, MaxUnsent: tt.unsent}).slots.limit; got != tt.want {
			t.Errorf("%+v: %d buffers", tt, got)
		}
	}
}
