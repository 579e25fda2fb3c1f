package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

func TestD53GroupsShareAnAddress(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		const groups, clients, each = 4, 64, 20
		addr := netip.MustParseAddrPort("127.0.0.1:0")
		var received [groups]atomic.Uint64
		for i := range groups {
			g := newGroup(t, GroupConfig{Plain: plain})
			c, err := g.Listen(addr, ListenConfig{})
			if err != nil {
				t.Fatal(err)
			}
			addr = c.LocalAddr()
			run(t, g, &funcs{receive: func(c *Conn, batch []Packet) {
				received[i].Add(uint64(len(batch)))
				echo{}.Receive(c, batch)
			}})
		}
		for i := range clients {
			u := client(t, addr)
			missing := map[string]bool{}
			for j := range each {
				msg := fmt.Sprintf("%d/%d", i, j)
				missing[msg] = true
				send(t, u, msg)
			}
			for range each {
				got := receive(t, u)
				if !missing[got] {
					t.Fatalf("answered %q twice, or to the wrong client", got)
				}
				delete(missing, got)
			}
		}
		busy, sum := 0, uint64(0)
		for i := range received {
			sum += received[i].Load()
			if received[i].Load() > 0 {
				busy++
			}
		}
		if sum != clients*each || busy < 2 {
			t.Errorf("%d groups received %d datagrams; want several and %d", busy, sum, clients*each)
		}
	})
}

func TestD53ProbeTellsASecondInstance(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		g := newGroup(t, GroupConfig{Plain: plain})
		c := listen(t, g, "127.0.0.1:0")
		err := Probe(c.LocalAddr())
		if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), c.LocalAddr().String()) {
			t.Errorf("Probe of an address in use: %v", err)
		}
		if err := Probe(on("0.0.0.0", c)); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("Probe of the wildcard address with the port in use: %v", err)
		}
		if err := Probe(on("127.0.0.2", c)); err != nil {
			t.Errorf("Probe of a free address: %v", err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if err := Probe(c.LocalAddr()); err != nil {
			t.Errorf("Probe after Close: %v", err)
		}
	})
}

func TestListenOnAPortOfAnotherServer(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		other, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		at := other.LocalAddr().(*net.UDPAddr).AddrPort()
		_, err = newGroup(t, GroupConfig{Plain: plain}).Listen(at, ListenConfig{})
		if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), at.String()) {
			t.Errorf("Listen: %v", err)
		}
	})
}

func TestD53BuffersAreReadBack(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		g := newGroup(t, GroupConfig{Plain: plain})
		c, err := g.Listen(netip.MustParseAddrPort("127.0.0.1:0"), ListenConfig{RecvBuffer: 100_000, SendBuffer: 120_000})
		if err != nil {
			t.Fatal(err)
		}
		if recv, sent := c.Buffers(); recv != 100_000 || sent != 120_000 || c.BufferWarning() != "" {
			t.Errorf("buffers are %d and %d, warning %q", recv, sent, c.BufferWarning())
		}
		// More than any kernel gives, even to root: it counts twice the size in 31 bits.
		const huge = 1 << 30
		c, err = g.Dial(netip.MustParseAddrPort("127.0.0.1:9"), netip.Addr{}, ListenConfig{RecvBuffer: huge, SendBuffer: huge})
		if err != nil {
			t.Fatal(err)
		}
		recv, sent := c.Buffers()
		want := fmt.Sprintf("the receive buffer is %d bytes instead of %d: set sysctl net.core.rmem_max to %d or more; "+
			"the send buffer is %d bytes instead of %d: set sysctl net.core.wmem_max to %d or more", recv, huge, huge, sent, huge, huge)
		if recv >= huge || sent >= huge || c.BufferWarning() != want {
			t.Errorf("buffers are %d and %d, warning %q, want %q", recv, sent, c.BufferWarning(), want)
		}
	})
}

func TestD53KernelDropsAreCounted(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		const sent = 500
		g := newGroup(t, GroupConfig{Plain: plain})
		c, err := g.Listen(netip.MustParseAddrPort("127.0.0.1:0"), ListenConfig{RecvBuffer: 20_000})
		if err != nil {
			t.Fatal(err)
		}
		u := client(t, c.LocalAddr())
		for range sent {
			send(t, u, "a datagram that nobody reads")
		}
		dropped := c.KernelDrops()
		if dropped == 0 || dropped >= sent {
			t.Fatalf("the kernel dropped %d of %d", dropped, sent)
		}
		// The others are read as soon as somebody reads.
		all := make(chan struct{})
		n := uint64(0)
		run(t, g, &funcs{receive: func(_ *Conn, batch []Packet) {
			if n += uint64(len(batch)); n == sent-dropped {
				close(all)
			}
		}})
		wait(t, all, "what the kernel kept")
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if after := c.KernelDrops(); after != dropped {
			t.Errorf("%d kernel drops after Close, %d before", after, dropped)
		}
	})
}
