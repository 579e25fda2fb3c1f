package udp

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
)

// refusing is an address where nobody listens.
func refusing(t *testing.T) netip.AddrPort {
	t.Helper()
	u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	return u.LocalAddr().(*net.UDPAddr).AddrPort()
}

// A query to a backend that refuses is told, and the handler can ask another one in the same turn.
func TestRefusedIsToldAndRetried(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		g := newGroup(t, GroupConfig{Plain: plain})
		front, backend := listen(t, g, "127.0.0.1:0"), listen(t, g, "127.0.0.1:0")
		dead, alive := dial(t, g, refusing(t)), dial(t, g, backend.LocalAddr())
		var asker Dest
		told := make(chan error, 10)
		run(t, g, &funcs{
			receive: func(c *Conn, batch []Packet) {
				switch c {
				case front:
					asker = batch[0].Dest
					dead.Commit(copy(dead.Next(), batch[0].Data), Dest{})
				case backend:
					echo{}.Receive(c, batch)
				case alive:
					front.Commit(copy(front.Next(), batch[0].Data), asker)
				}
			},
			socketError: func(c *Conn, err error) {
				if c != dead {
					t.Errorf("an error of the wrong socket: %v", err)
				}
				alive.Commit(copy(alive.Next(), "again"), Dest{})
				told <- err
			},
		})
		u := client(t, front.LocalAddr())
		send(t, u, "?")
		if got := receive(t, u); got != "again" {
			t.Errorf("received %q", got)
		}
		if err := wait(t, told, "the error"); err != error(syscall.ECONNREFUSED) {
			t.Errorf("told %v", err)
		}
		if n := dead.Stats().Errors; n != 1 {
			t.Errorf("counted %d errors", n)
		}
	})
}

// A pending error is not taken for the failure of the datagram that met it: as long as the peer is back, it gets all.
func TestPendingErrorLosesNoDatagram(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		at := refusing(t)
		g := newGroup(t, GroupConfig{Plain: plain})
		c := dial(t, g, at)
		// Nobody runs g yet, so the error of this one stays pending.
		if err := c.WriteTo([]byte("lost"), Dest{}); err != nil {
			t.Fatal(err)
		}
		back := newGroup(t, GroupConfig{})
		revived := listen(t, back, at.String())
		got := make(chan string, 1)
		run(t, back, &funcs{receive: func(_ *Conn, batch []Packet) { got <- string(batch[0].Data) }})
		if err := c.WriteTo([]byte("found"), Dest{}); err != nil {
			t.Errorf("WriteTo: %v", err)
		}
		if s := wait(t, got, "the datagram"); s != "found" {
			t.Errorf("received %q", s)
		}
		if s := revived.Stats(); s.Received != 1 {
			t.Errorf("received %d", s.Received)
		}
		books(t, c, Stats{Sent: 2})
	})
}

// The same for datagrams that are queued: the error is told once, not once for each.
func TestPendingErrorOfAQueue(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		const sent = 10
		g := newGroup(t, GroupConfig{Plain: plain})
		c := dial(t, g, refusing(t))
		trigger := listen(t, g, "127.0.0.1:0")
		turns := make(chan int, 100)
		told := 0
		run(t, g, &funcs{
			receive: func(from *Conn, _ []Packet) {
				if from != trigger {
					t.Error("received from nobody")
				}
				for range sent {
					c.Commit(copy(c.Next(), "x"), Dest{})
				}
			},
			socketError: func(*Conn, error) { told++ },
			flush:       func() { turns <- told },
		})
		u := client(t, trigger.LocalAddr())
		send(t, u, "go")
		for n := 0; n == 0; {
			n = wait(t, turns, "the error")
		}
		// Each refused datagram leaves an error that the next one meets, but none is lost before it was sent.
		s := c.Stats()
		if s.Sent != sent || s.Drops != [NumDrops]uint64{} || s.Errors == 0 || s.Errors > sent {
			t.Errorf("stats are %+v", s)
		}
	})
}

// An error that WriteTo meets on any goroutine reaches the handler too.
func TestErrorOfWriteToIsTold(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		g := newGroup(t, GroupConfig{Plain: plain})
		c := dial(t, g, refusing(t))
		told := make(chan error, 10)
		run(t, g, &funcs{socketError: func(_ *Conn, err error) {
			select {
			case told <- err:
			default:
			}
		}})
		for range 3 {
			if err := c.WriteTo([]byte("x"), Dest{}); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("WriteTo: %v", err)
			}
		}
		if err := wait(t, told, "the error"); err != error(syscall.ECONNREFUSED) {
			t.Errorf("told %v", err)
		}
	})
}

// A handler without SocketError is served all the same.
func TestErrorsNeedNoErrorHandler(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		g := newGroup(t, GroupConfig{Plain: plain})
		c := listen(t, g, "127.0.0.1:0")
		dead := dial(t, g, refusing(t))
		run(t, g, echo{})
		if err := dead.WriteTo([]byte("x"), Dest{}); err != nil {
			t.Fatal(err)
		}
		u := client(t, c.LocalAddr())
		send(t, u, "still there")
		if got := receive(t, u); got != "still there" {
			t.Errorf("received %q", got)
		}
	})
}

// What the handler sends while it is told of an error may fail too, at once if the batch is full: that is told as well.
func TestErrorsWhileTellingErrors(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		g := newGroup(t, GroupConfig{Plain: plain, Batch: 1})
		first, second := dial(t, g, refusing(t)), dial(t, g, refusing(t))
		told := make(chan *Conn, 100)
		rounds := 0
		run(t, g, &funcs{socketError: func(c *Conn, _ error) {
			if rounds++; rounds > 20 {
				return
			}
			for range 3 {
				second.Commit(copy(second.Next(), "x"), Dest{})
			}
			told <- c
		}})
		if err := first.WriteTo([]byte("x"), Dest{}); err != nil {
			t.Fatal(err)
		}
		if c := wait(t, told, "the first error"); c != first {
			t.Error("the first error is not the first socket's")
		}
		for range 5 {
			if c := wait(t, told, "the errors of the second socket"); c != second {
				t.Error("the error is not the second socket's")
			}
		}
	})
}
