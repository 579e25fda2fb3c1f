package udp

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSockaddrRoundTrip(t *testing.T) {
	for _, d := range []Dest{
		{Peer: netip.MustParseAddrPort("192.0.2.7:53")},
		{Peer: netip.MustParseAddrPort("255.255.255.255:65535")},
		{Peer: netip.MustParseAddrPort("[2001:db8::7]:1812")},
		{Peer: netip.MustParseAddrPort("[fe80::7]:1"), IfIndex: 3},
	} {
		var a sockaddr
		for i := range a {
			a[i] = 0xff // what an earlier datagram left
		}
		size := a.encode(d)
		if want := uint32(unix.SizeofSockaddrInet4); d.Peer.Addr().Is4() && size != want {
			t.Errorf("%s: %d bytes, want %d", d.Peer, size, want)
		}
		if want := uint32(unix.SizeofSockaddrInet6); d.Peer.Addr().Is6() && size != want {
			t.Errorf("%s: %d bytes, want %d", d.Peer, size, want)
		}
		if peer, ifindex := a.decode(); peer != d.Peer || ifindex != d.IfIndex {
			t.Errorf("%s on %d became %s on %d", d.Peer, d.IfIndex, peer, ifindex)
		}
	}
}

// The interface of the query steers the answer only where the address alone does not: with anycast the way back is
// often not the way in.
func TestInterfaceSteersOnlyLinkLocal(t *testing.T) {
	var a sockaddr
	a.encode(Dest{Peer: netip.MustParseAddrPort("[2001:db8::7]:1812"), IfIndex: 3})
	if _, ifindex := a.decode(); ifindex != 0 {
		t.Errorf("a global peer is bound to interface %d", ifindex)
	}
	for _, c := range []struct {
		local string
		want  uint32
	}{{"192.0.2.1", 0}, {"2001:db8::1", 0}, {"fe80::1", 3}} {
		var ctl control
		d := Dest{Local: netip.MustParseAddr(c.local), IfIndex: 3}
		if ctl.encode(d) == 0 {
			t.Errorf("%s: no control message", c.local)
		}
		if local, ifindex := ctl.decode(); local != d.Local || ifindex != c.want {
			t.Errorf("%s became %s on interface %d, want %d", c.local, local, ifindex, c.want)
		}
	}
}

// No source address can be made of these: the kernel chooses.
func TestNoControlWithoutAUsableSource(t *testing.T) {
	for _, local := range []netip.Addr{{}, netip.IPv4Unspecified(), netip.IPv6Unspecified(), netip.MustParseAddr("ff02::1"), netip.MustParseAddr("224.0.0.1")} {
		var ctl control
		if n := ctl.encode(Dest{Local: local}); n != 0 {
			t.Errorf("%s: a control message of %d bytes", local, n)
		}
	}
	if local, ifindex := new(control).decode(); local.IsValid() || ifindex != 0 {
		t.Errorf("an empty control message says %s on interface %d", local, ifindex)
	}
}

func TestZoneNames(t *testing.T) {
	for zone, want := range map[string]uint32{"": 0, "lo": 1, "7": 7} {
		if got, err := scopeOf(netip.MustParseAddr("fe80::1").WithZone(zone)); err != nil || got != want {
			t.Errorf("zone %q is interface %d, %v; want %d", zone, got, err, want)
		}
	}
	if _, err := scopeOf(netip.MustParseAddr("fe80::1%nosuch0")); err == nil {
		t.Error("a zone without interface works")
	}
}
