package udp

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sendJoined sends b as one message that the kernel may cut into datagrams of each bytes, and that stays one on loopback
// where the receiver takes it so.
func sendJoined(t testing.TB, u *net.UDPConn, b string, each int) {
	t.Helper()
	raw, err := u.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var ctl controls
	size := ctl.segment(0, each)
	var sent error
	if err := raw.Control(func(fd uintptr) {
		_, sent = unix.SendmsgN(int(fd), []byte(b), (*[unsafe.Sizeof(ctl)]byte)(unsafe.Pointer(&ctl))[:size], nil, 0)
	}); err != nil || sent != nil {
		t.Fatal(err, sent)
	}
}

// What arrives as one message is handed on as the datagrams that it is, each from its peer, to the address that was asked, in
// batches, and nobody can write into another's.
func TestJoinedDatagramsAreToldApart(t *testing.T) {
	needIPv6(t)
	for _, addr := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"} {
		t.Run(addr, func(t *testing.T) {
			const batch = 4
			g := newGroup(t, GroupConfig{Batch: batch, MaxPacket: 256})
			c, err := g.Listen(netip.MustParseAddrPort(addr), ListenConfig{Segment: true})
			if err != nil {
				t.Fatal(err)
			}
			if !c.joined {
				t.Fatal("this kernel does not join datagrams")
			}
			type seen struct {
				data string
				Dest
			}
			got, most := make(chan seen, 100), 0
			run(t, g, &funcs{receive: func(_ *Conn, in []Packet) {
				most = max(most, len(in))
				for i := range in {
					got <- seen{string(in[i].Data), in[i].Dest}
					whole := in[i].Data[:cap(in[i].Data)]
					for k := range whole {
						whole[k] = '!'
					}
				}
				if len(in) > batch {
					t.Errorf("a batch of %d", len(in))
				}
			}})
			asked := c.LocalAddr().Addr()
			if asked.IsUnspecified() && asked.Is4() {
				asked = netip.AddrFrom4([4]byte{127, 0, 0, 1})
			} else if asked.IsUnspecified() {
				asked = netip.IPv6Loopback()
			}
			for k := range 2 {
				u := client(t, netip.AddrPortFrom(asked, c.LocalAddr().Port()))
				from := u.LocalAddr().(*net.UDPAddr).AddrPort()
				var want []string
				for _, m := range []struct{ n, each, rest int }{{3, 20, 0}, {0, 0, 7}, {11, 30, 1}, {1, 20, 0}, {1, 40, 39}, {64, 10, 0}} {
					var message strings.Builder
					for i := range m.n {
						s := datagram(fmt.Sprint(k), i, m.each)
						want = append(want, s)
						message.WriteString(s)
					}
					if m.rest > 0 {
						s := strings.Repeat("r", m.rest)
						want = append(want, s)
						message.WriteString(s)
					}
					if m.n == 0 {
						send(t, u, message.String())
					} else {
						sendJoined(t, u, message.String(), m.each)
					}
				}
				for i, w := range want {
					s := wait(t, got, "a datagram")
					if s.data != w || s.Peer != from || s.Local != asked {
						t.Fatalf("datagram %d is %q from %s to %s; want %q from %s to %s", i, s.data, s.Peer, s.Local, w, from, asked)
					}
				}
			}
			books(t, c, Stats{Received: 2 * (3 + 1 + 12 + 1 + 2 + 64)})
			if err := g.Close(); err != nil || most != batch {
				t.Errorf("at most %d were handed on together, %v", most, err)
			}
		})
	}
}

// A dialed socket takes them, too, and datagrams that are too long are dropped, one by one or joined.
func TestJoinedDatagramsThatDoNotFit(t *testing.T) {
	const size = 64
	g := newGroup(t, GroupConfig{MaxPacket: size})
	at, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = at.Close() }()
	c, err := g.Dial(at.LocalAddr().(*net.UDPAddr).AddrPort(), netip.Addr{}, ListenConfig{Segment: true})
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan int, 100)
	run(t, g, &funcs{receive: func(_ *Conn, in []Packet) {
		for i := range in {
			if in[i].Peer != c.RemoteAddr() || in[i].Local != c.LocalAddr().Addr() {
				t.Errorf("from %s to %s", in[i].Peer, in[i].Local)
			}
			got <- len(in[i].Data)
		}
	}})
	// From the address that the socket is connected to.
	raw, err := at.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		err = unix.Connect(int(fd), &unix.SockaddrInet4{Port: int(c.LocalAddr().Port()), Addr: [4]byte{127, 0, 0, 1}})
	}); err != nil {
		t.Fatal(err)
	}
	for _, m := range []struct{ n, each int }{{130, size + 1}, {3 * size, size}, {size + 1, size}} {
		sendJoined(t, at, strings.Repeat("x", m.n), m.each)
	}
	for _, n := range []int{size + 1, size} {
		if _, err := at.Write(make([]byte, n)); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []int{size, size, size, size, 1, size} {
		if n := wait(t, got, "a datagram"); n != want {
			t.Errorf("datagram %d has %d bytes, want %d", i, n, want)
		}
	}
	books(t, c, Stats{Received: 6, Drops: drops(DropTruncated, 3)})
}
