package udp

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// A socket that fills its batches leaves epoll's set and is read all the same, as are the others and what Wake asks
// for; when it has nothing more it is back, and hears of the next datagram.
func TestHotSocketLosesNothing(t *testing.T) {
	const batch, flood = 4, 100
	g := newGroup(t, GroupConfig{Batch: batch})
	c, other := listen(t, g, "127.0.0.1:0"), listen(t, g, "127.0.0.1:0")
	u, v := client(t, c.LocalAddr()), client(t, other.LocalAddr())
	for i := range flood {
		send(t, u, fmt.Sprint(i))
	}
	heat, cold := make(chan int, 1), make(chan struct{}, 1)
	received, flushed := 0, 0
	run(t, g, &funcs{
		receive: func(from *Conn, in []Packet) {
			echo{}.Receive(from, in)
			if from != c {
				return
			}
			if received += len(in); c.hot && cap(heat) > len(heat) && received < flood/2 {
				g.Wake()
				heat <- flushed
			}
		},
		flush: func() {
			if flushed++; received == flood && !c.hot && len(cold) == 0 {
				cold <- struct{}{}
			}
		},
	})
	for i := range flood {
		if got := receive(t, u); got != fmt.Sprint(i) {
			t.Fatalf("datagram %d is %q", i, got)
		}
	}
	wait(t, heat, "the socket to be hot")
	wait(t, cold, "the socket to be in epoll's set again")
	for _, at := range []string{"one more", "and another"} {
		send(t, v, at)
		send(t, u, at)
		if a, b := receive(t, v), receive(t, u); a != at || b != at {
			t.Errorf("received %q and %q", a, b)
		}
	}
}

// A hot socket that takes no more to send waits for room like any other, and is none.
func TestHotSocketWaitsForRoom(t *testing.T) {
	const batch, committed = 2, 50
	g := newGroup(t, GroupConfig{Batch: batch})
	c, end := pair(t, g)
	for i := range 5 * batch {
		if _, err := unix.Write(end, fmt.Append(nil, i)); err != nil {
			t.Fatalf("datagram %d: %v", i, err)
		}
	}
	hot := make(chan bool, 1)
	run(t, g, &funcs{receive: func(_ *Conn, in []Packet) {
		if string(in[len(in)-1].Data) != fmt.Sprint(5*batch-1) {
			return
		}
		hot <- c.hot
		for i := range committed {
			c.Commit(copy(c.Next(), fmt.Sprint(i)), Dest{})
		}
	}})
	if !wait(t, hot, "all datagrams") {
		t.Error("the socket is not hot")
	}
	settle(t, g, c)
	s := c.Stats()
	if s.Sent+batch+s.Drops[DropQueueFull] != committed || c.hot {
		t.Fatalf("hot: %v, with a queue of %d, stats are %+v", c.hot, batch, s)
	}
	for i := range s.Sent + batch {
		if got := await(t, end); got != fmt.Sprint(i) {
			t.Fatalf("datagram %d is %q", i, got)
		}
	}
	settle(t, g, c)
	if got := c.Stats().Sent; got != s.Sent+batch {
		t.Errorf("%d sent, not %d", got, s.Sent+batch)
	}
}

// Close of a hot socket takes it out of the loop, and of the Group ends the loop.
func TestHotSocketIsClosed(t *testing.T) {
	const batch, flood = 4, 400
	g := newGroup(t, GroupConfig{Batch: batch})
	c, other := listen(t, g, "127.0.0.1:0"), listen(t, g, "127.0.0.1:0")
	for range flood {
		send(t, client(t, c.LocalAddr()), "flood")
	}
	closed := make(chan error, 1)
	run(t, g, &funcs{receive: func(from *Conn, in []Packet) {
		if from == c && c.hot {
			closed <- c.Close()
		}
		if from == other {
			echo{}.Receive(from, in)
		}
	}})
	if err := wait(t, closed, "the socket to be hot"); err != nil {
		t.Error(err)
	}
	u := client(t, other.LocalAddr())
	send(t, u, "after")
	if got := receive(t, u); got != "after" {
		t.Errorf("received %q", got)
	}
}

// TestHotSocketOfBatchesOfOneCools: with a batch of one, every read is a full one.
func TestHotSocketOfBatchesOfOneCools(t *testing.T) {
	g := newGroup(t, GroupConfig{Batch: 1})
	c := listen(t, g, "127.0.0.1:0")
	u := client(t, c.LocalAddr())
	for range 20 {
		send(t, u, "flood")
	}
	hot, cooled := make(chan struct{}, 1), make(chan struct{}, 1)
	was := false
	run(t, g, &funcs{receive: func(from *Conn, in []Packet) { echo{}.Receive(from, in) }, flush: func() {
		if c.hot && !was {
			was = true
			hot <- struct{}{}
		}
		if !c.hot && was {
			was = false
			cooled <- struct{}{}
		}
	}})
	wait(t, hot, "the socket to be hot")
	wait(t, cooled, "the socket to cool")
	for range 20 {
		receive(t, u)
	}
}
