package udp

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
)

func TestWakeLeadsToFlush(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		g := newGroup(t, GroupConfig{Plain: plain})
		g.Wake() // before Run: the first turn is its
		var asked, done atomic.Uint64
		flushed := make(chan struct{}, 1)
		run(t, g, &funcs{flush: func() {
			done.Store(asked.Load())
			select {
			case flushed <- struct{}{}:
			default:
			}
		}})
		wait(t, flushed, "the first turn")
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range 1000 {
					asked.Add(1)
					g.Wake()
				}
			})
		}
		all.Wait()
		for done.Load() < 4000 {
			wait(t, flushed, "a turn after the last wake")
		}
	})
}

func TestCloseEndsRun(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		g := newGroup(t, GroupConfig{Plain: plain})
		listener := listen(t, g, "127.0.0.1:0")
		dialed := dial(t, g, listener.LocalAddr())
		running, ended := make(chan struct{}, 1), make(chan error)
		go func() {
			ended <- g.Run(&funcs{flush: func() {
				select {
				case running <- struct{}{}:
				default:
				}
			}})
		}()
		g.Wake()
		wait(t, running, "the first turn")
		if err := g.Run(echo{}); err == nil {
			t.Error("Run works twice")
		}
		for range 2 {
			if err := g.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		if err := wait(t, ended, "the end of Run"); err != nil {
			t.Errorf("Run: %v", err)
		}
		g.Wake()
		for _, c := range []*Conn{listener, dialed} {
			if err := c.WriteTo([]byte("x"), Dest{Peer: listener.LocalAddr()}); !errors.Is(err, ErrClosed) {
				t.Errorf("WriteTo after Close: %v", err)
			}
			if err := c.Close(); err != nil {
				t.Errorf("Close of a Conn after Close: %v", err)
			}
		}
		if _, err := g.Listen(netip.MustParseAddrPort("127.0.0.1:0"), ListenConfig{}); !errors.Is(err, ErrClosed) {
			t.Errorf("Listen after Close: %v", err)
		}
		if _, err := g.Dial(listener.LocalAddr(), netip.Addr{}, ListenConfig{}); !errors.Is(err, ErrClosed) {
			t.Errorf("Dial after Close: %v", err)
		}
	})
}

// The handler itself may close: a Conn, whose queue is dropped and counted, and then the Group.
func TestHandlerMayClose(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		g := newGroup(t, GroupConfig{Plain: plain})
		c := listen(t, g, "127.0.0.1:0")
		ended := make(chan error)
		go func() {
			ended <- g.Run(&funcs{receive: func(c *Conn, batch []Packet) {
				for range 3 {
					c.Commit(copy(c.Next(), "never"), batch[0].Dest)
				}
				c.Next()
				_ = c.Close()
				c.Commit(copy(c.Next(), "never"), batch[0].Dest)
				c.Commit(copy(c.Next(), "never"), batch[0].Dest)
			}, flush: func() {
				if c.Stats().Received > 0 {
					_ = g.Close()
				}
			}})
		}()
		u := client(t, c.LocalAddr())
		send(t, u, "?")
		if err := wait(t, ended, "the end of Run"); err != nil {
			t.Errorf("Run: %v", err)
		}
		books(t, c, Stats{Received: 1, Drops: drops(DropClosed, 5)})
		silent(t, u)
	})
}

// Sockets come and go, from several goroutines, under traffic.
func TestDialAndCloseWhileRunning(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		const workers, rounds = 4, 50
		g := newGroup(t, GroupConfig{Plain: plain, Batch: 4})
		backend := listen(t, g, "127.0.0.1:0")
		answers := make([]chan string, workers)
		for i := range answers {
			answers[i] = make(chan string, 1)
		}
		run(t, g, &funcs{receive: func(c *Conn, batch []Packet) {
			if i, ok := c.Tag().(int); ok {
				answers[i] <- string(batch[0].Data)
				return
			}
			echo{}.Receive(c, batch)
		}})
		var all sync.WaitGroup
		for i := range workers {
			all.Go(func() {
				for j := range rounds {
					if err := exchange(g, backend.LocalAddr(), i, fmt.Sprint(i, j), answers[i]); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
		if s := backend.Stats(); s.Received != workers*rounds {
			t.Errorf("the backend received %d of %d", s.Received, workers*rounds)
		}
	})
}

// exchange dials, asks, waits for the answer and closes; meanwhile a listener is opened and closed too.
func exchange(g *Group, to netip.AddrPort, tag int, msg string, answers <-chan string) error {
	c, err := g.Dial(to, netip.Addr{}, ListenConfig{Tag: tag})
	if err != nil {
		return err
	}
	l, err := g.Listen(netip.MustParseAddrPort("127.0.0.1:0"), ListenConfig{})
	if err != nil {
		return err
	}
	if err := c.WriteTo([]byte(msg), Dest{}); err != nil {
		return err
	}
	if got := <-answers; got != msg {
		return fmt.Errorf("received %q, want %q", got, msg)
	}
	c.KernelDrops()
	return errors.Join(l.Close(), c.Close())
}

func TestTag(t *testing.T) {
	g := newGroup(t, GroupConfig{Plain: true})
	c, err := g.Listen(netip.MustParseAddrPort("127.0.0.1:0"), ListenConfig{Tag: "first"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Tag() != "first" {
		t.Errorf("Tag is %v", c.Tag())
	}
	c.SetTag(2)
	if c.Tag() != 2 {
		t.Errorf("Tag is %v", c.Tag())
	}
	if c := listen(t, g, "127.0.0.1:0"); c.Tag() != nil {
		t.Errorf("Tag is %v", c.Tag())
	}
}

func TestDropLabels(t *testing.T) {
	seen := map[string]bool{}
	for d := range NumDrops {
		if s := d.String(); s == "" || s == "unknown" || seen[s] {
			t.Errorf("reason %d is called %q", d, s)
		} else {
			seen[s] = true
		}
	}
	if NumDrops.String() != "unknown" {
		t.Errorf("no reason is called %q", NumDrops)
	}
}
