package udp

import (
	"bytes"
	"testing"
)

// A datagram longer than MaxPacket never looks like a whole one; one of exactly that length is whole.
func TestDropsTruncatedDatagrams(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		const size = 512
		g := newGroup(t, GroupConfig{Plain: plain, MaxPacket: size, Batch: 8})
		lengths := make(chan int, 100)
		listener := listen(t, g, "127.0.0.1:0")
		dialed := dial(t, g, listener.LocalAddr())
		run(t, g, &funcs{receive: func(c *Conn, batch []Packet) {
			for i := range batch {
				if cap(batch[i].Data) != size {
					t.Errorf("the capacity is %d", cap(batch[i].Data))
				}
				if c == listener {
					lengths <- len(batch[i].Data)
				}
				// The answer is as long as the first byte says, or, for 0, too long for a buffer of this Group.
				if len(batch[i].Data) == 1 {
					_ = c.WriteTo(make([]byte, size+1), batch[i].Dest)
					_ = c.WriteTo(make([]byte, size), batch[i].Dest)
				}
				if c == dialed {
					lengths <- -len(batch[i].Data)
				}
			}
		}})
		u := client(t, listener.LocalAddr())
		for _, n := range []int{size + 1, size, 0, 4000, size - 1} {
			send(t, u, string(bytes.Repeat([]byte{'x'}, n)))
		}
		for _, want := range []int{size, 0, size - 1} {
			if got := wait(t, lengths, "a datagram"); got != want {
				t.Errorf("received %d bytes, want %d", got, want)
			}
		}
		if got := listener.Stats(); got.Drops != drops(DropTruncated, 2) || got.Received != 3 {
			t.Errorf("the listener's stats are %+v", got)
		}
		if err := dialed.WriteTo([]byte{0}, Dest{}); err != nil {
			t.Fatal(err)
		}
		for _, want := range []int{1, -size} {
			if got := wait(t, lengths, "a datagram"); got != want {
				t.Errorf("received %d bytes, want %d", got, want)
			}
		}
		if got := dialed.Stats(); got.Drops != drops(DropTruncated, 1) || got.Received != 1 || got.Sent != 1 {
			t.Errorf("the dialed socket's stats are %+v", got)
		}
	})
}

// The handler may answer in place: what it writes into Data hurts nobody.
func TestDataMayBeWritten(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		g := newGroup(t, GroupConfig{Plain: plain, MaxPacket: 64, Batch: 4})
		c := listen(t, g, "127.0.0.1:0")
		run(t, g, &funcs{receive: func(c *Conn, batch []Packet) {
			for i := range batch {
				whole := batch[i].Data[:cap(batch[i].Data)]
				for j := len(batch[i].Data); j < len(whole); j++ {
					whole[j] = '!'
				}
			}
			for i := range batch {
				c.Commit(copy(c.Next(), batch[i].Data), batch[i].Dest)
			}
		}})
		u := client(t, c.LocalAddr())
		for _, msg := range []string{"one", "two", "three", "four", "five"} {
			send(t, u, msg)
		}
		for _, msg := range []string{"one", "two", "three", "four", "five"} {
			if got := receive(t, u); got != msg {
				t.Errorf("received %q, want %q", got, msg)
			}
		}
	})
}

// What a dialed Conn receives is its peer's alone.
func TestDialedConnReceivesFromItsPeerOnly(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		g := newGroup(t, GroupConfig{Plain: plain})
		peer := listen(t, g, "127.0.0.1:0")
		c := dial(t, g, peer.LocalAddr())
		got := make(chan Packet, 1)
		run(t, g, &funcs{receive: func(from *Conn, batch []Packet) {
			if from == peer {
				echo{}.Receive(from, batch)
				return
			}
			p := batch[0]
			p.Data = bytes.Clone(p.Data)
			got <- p
		}})
		stranger := listen(t, g, "127.0.0.1:0")
		// On loopback the stranger's datagram is refused before WriteTo returns, so it would come first.
		_ = stranger.WriteTo([]byte("forged"), Dest{Peer: c.LocalAddr()})
		if err := c.WriteTo([]byte("true"), Dest{}); err != nil {
			t.Fatal(err)
		}
		want := Dest{Peer: peer.LocalAddr(), Local: c.LocalAddr().Addr()}
		if p := wait(t, got, "the answer"); string(p.Data) != "true" || p.Dest != want {
			t.Errorf("received %q from %+v, want %+v", p.Data, p.Dest, want)
		}
		if c.RemoteAddr() != peer.LocalAddr() || peer.RemoteAddr().IsValid() {
			t.Errorf("the remote addresses are %s and %s", c.RemoteAddr(), peer.RemoteAddr())
		}
	})
}

func TestDialTakesPortsOfItsOwn(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		const n = 50
		g := newGroup(t, GroupConfig{Plain: plain})
		remote := listen(t, g, "127.0.0.1:0").LocalAddr()
		ports := map[uint16]bool{}
		rising := 0
		last := uint16(0)
		for range n {
			c, err := g.Dial(remote, remote.Addr(), ListenConfig{})
			if err != nil {
				t.Fatal(err)
			}
			p := c.LocalAddr().Port()
			if c.LocalAddr().Addr() != remote.Addr() {
				t.Errorf("the source is %s", c.LocalAddr())
			}
			ports[p] = true
			if p > last {
				rising++
			}
			last = p
		}
		// Random ports rise half of the time: 50 times in a row once in 10^15 runs.
		if len(ports) != n || rising == n {
			t.Errorf("%d different ports of %d, %d rising", len(ports), n, rising)
		}
	})
}
