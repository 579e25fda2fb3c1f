package udp

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

// asked answers with the address that it believes was asked.
type asked struct{}

func (asked) Receive(c *Conn, batch []Packet) {
	for i := range batch {
		c.Commit(copy(c.Next(), batch[i].Local.String()), batch[i].Dest)
	}
}

func (asked) Flush() {}

func TestD52AnswersLeaveFromTheAskedAddress(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		g := newGroup(t, GroupConfig{Plain: plain})
		wildcard := listen(t, g, "0.0.0.0:0")
		single := listen(t, g, "127.0.0.4:0")
		run(t, g, asked{})
		for _, at := range []netip.AddrPort{
			on("127.0.0.1", wildcard), on("127.0.0.2", wildcard), on("127.0.0.3", wildcard), on("127.255.0.9", wildcard), on("127.0.0.4", single),
		} {
			checkSource(t, at)
		}
	})
}

func TestD52AnswersLeaveFromTheAskedAddressIPv6(t *testing.T) {
	needIPv6(t)
	legs(t, func(t *testing.T, plain bool) {
		g := newGroup(t, GroupConfig{Plain: plain})
		wildcard, single := listen(t, g, "[::]:0"), listen(t, g, "[::1]:0")
		run(t, g, asked{})
		checkSource(t, on("::1", wildcard))
		checkSource(t, on("::1", single))
		for _, at := range ownIPv6(t, wildcard.LocalAddr().Port()) {
			checkSource(t, at)
		}
	})
}

func on(addr string, c *Conn) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(addr), c.LocalAddr().Port())
}

// checkSource asks at an address, on a socket that would take the answer from anywhere.
func checkSource(t *testing.T, at netip.AddrPort) {
	t.Helper()
	u, err := net.ListenUDP("udp", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if _, err := u.WriteToUDPAddrPort([]byte("?"), at); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	_ = u.SetReadDeadline(time.Now().Add(patience))
	n, from, err := u.ReadFromUDPAddrPort(buf)
	if err != nil {
		t.Fatalf("asked %s: %v", at, err)
	}
	if from = unmap(from); from != at {
		t.Errorf("asked %s, answered from %s", at, from)
	}
	if told, want := string(buf[:n]), at.Addr().WithZone("").String(); told != want {
		t.Errorf("asked %s, Dest.Local was %s", want, told)
	}
}

// ownIPv6 are the host's own addresses, if it has any. The answers of the link-local ones need the interface's index.
func ownIPv6(t *testing.T, port uint16) []netip.AddrPort {
	t.Helper()
	ifis, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var all []netip.AddrPort
	for _, ifi := range ifis {
		addrs, err := ifi.Addrs()
		if err != nil || ifi.Flags&net.FlagUp == 0 {
			continue
		}
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err != nil || p.Addr().Is4() {
				continue
			}
			addr := p.Addr()
			if addr.IsLinkLocalUnicast() {
				addr = addr.WithZone(ifi.Name)
			}
			all = append(all, netip.AddrPortFrom(addr, port))
		}
	}
	return all
}

func TestD52ListensOnAddressesThatTheHostDoesNotHave(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		g := newGroup(t, GroupConfig{Plain: plain})
		if c := listen(t, g, "192.0.2.1:0"); c.LocalAddr().Addr() != netip.MustParseAddr("192.0.2.1") || c.LocalAddr().Port() == 0 {
			t.Errorf("LocalAddr is %s", c.LocalAddr())
		}
		if err := Probe(netip.MustParseAddrPort("192.0.2.1:0")); err != nil {
			t.Errorf("Probe: %v", err)
		}
		needIPv6(t)
		if c := listen(t, g, "[2001:db8::1]:0"); c.LocalAddr().Addr() != netip.MustParseAddr("2001:db8::1") {
			t.Errorf("LocalAddr is %s", c.LocalAddr())
		}
	})
}

func TestD52BothFamiliesShareAPort(t *testing.T) {
	needIPv6(t)
	legs(t, func(t *testing.T, plain bool) {
		g := newGroup(t, GroupConfig{Plain: plain})
		four := listen(t, g, "0.0.0.0:0")
		six, err := g.Listen(netip.AddrPortFrom(netip.IPv6Unspecified(), four.LocalAddr().Port()), ListenConfig{})
		if err != nil {
			t.Fatal(err)
		}
		run(t, g, asked{})
		checkSource(t, on("127.0.0.1", four))
		checkSource(t, on("::1", six))
	})
}

// An answer may be sent later, from another goroutine, with nothing but the Dest.
func TestD52WriteToLeavesFromTheAskedAddress(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		g := newGroup(t, GroupConfig{Plain: plain})
		c := listen(t, g, "0.0.0.0:0")
		dests := make(chan Dest, 1)
		run(t, g, &funcs{receive: func(_ *Conn, batch []Packet) { dests <- batch[0].Dest }})
		u := client(t, on("127.0.0.2", c))
		send(t, u, "?")
		if err := c.WriteTo([]byte("later"), wait(t, dests, "the query")); err != nil {
			t.Fatal(err)
		}
		if got := receive(t, u); got != "later" {
			t.Errorf("received %q", got)
		}
	})
}
