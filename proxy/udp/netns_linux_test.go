package udp

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ownNetwork moves this test to a network namespace of its own that ends with it: loopback, and an Ethernet link
// 198.51.100.1/24 with nobody on it.
func ownNetwork(t *testing.T) netlink.Link {
	t.Helper()
	runtime.LockOSThread() // for good: the thread ends with the test's goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		leaveOut(t, "no network namespace: "+err.Error())
	}
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "near"}, PeerName: "far"}
	if err := netlink.LinkAdd(veth); err != nil {
		leaveOut(t, "no virtual Ethernet: "+err.Error())
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(198, 51, 100, 1), Mask: net.CIDRMask(24, 32)}}
	if err := netlink.AddrAdd(veth, addr); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lo", "near", "far"} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetUp(link); err != nil {
			t.Fatal(err)
		}
	}
	return veth
}

// A peer whose Ethernet address is not known yet keeps the datagrams in the kernel and fills the socket's send buffer.
// The others are served meanwhile, and the queue leaves when the peer is found.
func TestUnresolvedPeerDoesNotBlock(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		const batch, committed = 16, 200
		link := ownNetwork(t)
		g := newGroup(t, GroupConfig{Plain: plain, Batch: batch})
		front := listen(t, g, "127.0.0.1:0")
		absent, err := g.Dial(netip.MustParseAddrPort("198.51.100.9:53"), netip.MustParseAddr("198.51.100.1"), ListenConfig{SendBuffer: 5000})
		if err != nil {
			t.Fatal(err)
		}
		run(t, g, &funcs{receive: func(c *Conn, in []Packet) {
			for i := 0; c == front && string(in[0].Data) == "fill" && i < committed; i++ {
				absent.Commit(copy(absent.Next(), fmt.Sprint(i)), Dest{})
			}
			echo{}.Receive(c, in)
		}})
		u := client(t, front.LocalAddr())
		for _, msg := range []string{"fill", "another"} {
			send(t, u, msg)
			if got := receive(t, u); got != msg {
				t.Fatalf("received %q", got)
			}
		}
		waiting := uint64(batch)
		if plain {
			waiting = 0 // this path waits a moment for room and keeps nothing
		}
		s := absent.Stats()
		if s.Sent == 0 || s.Drops[DropQueueFull] == 0 || s.Sent+s.Drops[DropQueueFull]+waiting != committed {
			t.Errorf("stats are %+v", s)
		}
		found := &netlink.Neigh{
			LinkIndex: link.Attrs().Index, IP: net.IPv4(198, 51, 100, 9), State: netlink.NUD_PERMANENT,
			HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 9},
		}
		if err := netlink.NeighSet(found); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(patience); absent.Stats().Sent != s.Sent+waiting; runtime.Gosched() {
			if time.Now().After(end) {
				t.Fatalf("the queue did not leave: %+v", absent.Stats())
			}
		}
	})
}
