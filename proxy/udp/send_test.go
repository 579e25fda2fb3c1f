package udp

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// books are what a Conn's counters have to say when nothing is queued any more: a datagram may arrive before who has sent
// it counts it.
func books(t *testing.T, c *Conn, want Stats) {
	t.Helper()
	if got := settled(c, func(s Stats) bool { return s == want }); got != want {
		t.Errorf("stats are %+v, want %+v", got, want)
	}
}

// settled waits until a Conn's counters are as they should be, and gives them.
func settled(c *Conn, good func(Stats) bool) Stats {
	deadline := time.Now().Add(patience)
	s := c.Stats()
	for ; !good(s) && time.Now().Before(deadline); s = c.Stats() {
		time.Sleep(time.Millisecond)
	}
	return s
}

func drops(reason Drop, n uint64) (d [NumDrops]uint64) {
	d[reason] = n
	return d
}

// Many more datagrams than a batch holds, queued at once, all arrive in their order.
func TestSendsMoreThanABatch(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		const batch, sent = 8, 8*10 + 3
		g := newGroup(t, GroupConfig{Plain: plain, Batch: batch})
		c := listen(t, g, "127.0.0.1:0")
		done := make(chan struct{}, 1)
		run(t, g, &funcs{receive: func(c *Conn, in []Packet) {
			for i := range sent {
				c.Commit(copy(c.Next(), fmt.Sprint(i)), in[0].Dest)
			}
		}, flush: func() {
			if c.Stats().Sent == sent {
				done <- struct{}{}
			}
		}})
		u := client(t, c.LocalAddr())
		send(t, u, "?")
		for i := range sent {
			if got := receive(t, u); got != fmt.Sprint(i) {
				t.Fatalf("datagram %d is %q", i, got)
			}
		}
		g.Wake()
		wait(t, done, "the counters")
		books(t, c, Stats{Received: 1, Sent: sent})
	})
}

// A datagram that the kernel refuses is skipped, in whatever place of the batch, and the others leave.
func TestSendErrorsSkipOnlyTheirDatagram(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		g := newGroup(t, GroupConfig{Plain: plain, Batch: 4})
		c := listen(t, g, "127.0.0.1:0")
		turns := make(chan struct{}, 100)
		run(t, g, &funcs{receive: func(c *Conn, in []Packet) {
			// Port 0 is refused by the kernel, the other family by Commit.
			noPort := Dest{Peer: netip.AddrPortFrom(in[0].Peer.Addr(), 0), Local: in[0].Local}
			otherFamily := Dest{Peer: netip.MustParseAddrPort("[::1]:9")}
			for i, d := range []Dest{noPort, in[0].Dest, noPort, noPort, in[0].Dest, otherFamily, in[0].Dest, {}, in[0].Dest, noPort} {
				c.Commit(copy(c.Next(), fmt.Sprint(i)), d)
			}
		}, flush: func() { turns <- struct{}{} }})
		u := client(t, c.LocalAddr())
		send(t, u, "?")
		for _, want := range []string{"1", "4", "6", "8"} {
			if got := receive(t, u); got != want {
				t.Fatalf("received %q, want %q", got, want)
			}
		}
		wait(t, turns, "the turn")
		g.Wake()
		wait(t, turns, "the turn after it")
		books(t, c, Stats{Received: 1, Sent: 4, Drops: drops(DropSendError, 6)})
	})
}

func TestSendsLargeDatagrams(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		const size = 60000 // in IPv6, 50 fragments
		g := newGroup(t, GroupConfig{Plain: plain, Batch: 4, MaxPacket: 65535})
		conns := []*Conn{listen(t, g, "127.0.0.1:0")}
		if hasIPv6(t) {
			conns = append(conns, listen(t, g, "[::1]:0"))
		}
		run(t, g, echo{})
		for _, c := range conns {
			u := client(t, c.LocalAddr())
			want := strings.Repeat("0123456789", size/10)
			send(t, u, want)
			if got := receive(t, u); got != want {
				t.Errorf("%s: %d bytes came back of %d", c.LocalAddr(), len(got), len(want))
			}
		}
	})
}

func TestMisusePanics(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		g := newGroup(t, GroupConfig{Plain: plain, MaxPacket: 100})
		c := listen(t, g, "127.0.0.1:0")
		for name, misuse := range map[string]func(){
			"Commit without Next":       func() { c.Commit(1, Dest{}) },
			"Commit of too much":        func() { c.Next(); c.Commit(101, Dest{}) },
			"Commit of less than none":  func() { c.Next(); c.Commit(-1, Dest{}) },
			"Commit twice for one Next": func() { c.Next(); c.Commit(1, Dest{}); c.Commit(1, Dest{}) },
		} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s does not panic", name)
					}
				}()
				misuse()
			}()
		}
		first := c.Next()
		if again := c.Next(); &first[0] != &again[0] || len(again) != 100 {
			t.Error("Next without Commit gives another buffer")
		}
	})
}

func TestRefusesValuesOutOfRange(t *testing.T) {
	for _, cfg := range []GroupConfig{{Batch: -1}, {Batch: MaxBatch + 1}, {MaxPacket: -1}, {MaxPacket: 65536}} {
		if _, err := NewGroup(cfg); err == nil {
			t.Errorf("NewGroup(%+v) works", cfg)
		}
	}
	legs(t, func(t *testing.T, plain bool) {
		g := newGroup(t, GroupConfig{Plain: plain})
		if _, err := g.Listen(netip.AddrPort{}, ListenConfig{}); err == nil {
			t.Error("Listen on no address works")
		}
		loopback := netip.MustParseAddrPort("127.0.0.1:9")
		for _, d := range []struct {
			remote netip.AddrPort
			source string
		}{{netip.AddrPort{}, ""}, {netip.AddrPortFrom(loopback.Addr(), 0), ""}, {loopback, "::1"}, {loopback, "192.0.2.1"}} {
			var source netip.Addr
			if d.source != "" {
				source = netip.MustParseAddr(d.source)
			}
			if _, err := g.Dial(d.remote, source, ListenConfig{}); err == nil {
				t.Errorf("Dial(%s, %s) works", d.remote, source)
			}
		}
	})
}

// WriteTo comes from many goroutines while the Conn is closed under it: nothing is lost without being counted.
func TestWriteToWhileClosing(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		const writers = 4
		g := newGroup(t, GroupConfig{Plain: plain})
		run(t, g, &funcs{})
		c := listen(t, g, "127.0.0.1:0")
		u := client(t, listen(t, g, "127.0.0.1:0").LocalAddr())
		to := Dest{Peer: unmap(netip.MustParseAddrPort(u.LocalAddr().String()))}
		var sum Stats
		var mu sync.Mutex
		var all sync.WaitGroup
		begun := make(chan struct{}, writers)
		for range writers {
			all.Go(func() {
				for i := 0; ; i++ {
					err := c.WriteTo([]byte("x"), to)
					mu.Lock()
					switch {
					case err == nil:
						sum.Sent++
					case errors.Is(err, ErrClosed):
						sum.Drops[DropClosed]++
						mu.Unlock()
						return
					case errors.Is(err, syscall.EAGAIN):
						sum.Drops[DropQueueFull]++
					default:
						t.Errorf("WriteTo: %v", err)
						mu.Unlock()
						return
					}
					mu.Unlock()
					if i == 10 {
						begun <- struct{}{}
					}
				}
			})
		}
		for range writers {
			wait(t, begun, "the writers")
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		all.Wait()
		books(t, c, sum)
	})
}
