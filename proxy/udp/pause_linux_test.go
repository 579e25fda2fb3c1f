package udp

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestWhatCameInAPauseIsReadBeforeTimers: a process that stood still reads what lies there before a Flush tells the
// handler how late it is. The pause falls where it does most harm: after the sockets were looked at, with nothing there.
func TestWhatCameInAPauseIsReadBeforeTimers(t *testing.T) {
	g, err := NewGroup(GroupConfig{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := g.Listen(netip.MustParseAddrPort("127.0.0.1:0"), ListenConfig{})
	if err != nil {
		t.Fatal(err)
	}
	u := client(t, c.LocalAddr())
	const pauses = 5
	var slept time.Duration
	sent, got, turns := 0, 0, 0
	g.loop.(*batched).now = func() time.Time {
		// Once in ten turns; never in the one that looks again, so that each has its own flush.
		if turns++; turns%10 == 0 && sent < pauses && sent == got {
			send(t, u, "x")
			there := []unix.PollFd{{Fd: int32(c.end.(*socket).fd), Events: unix.POLLIN}} //nolint:gosec // a descriptor
			if n, err := unix.Poll(there, int(patience.Milliseconds())); n != 1 {
				t.Error("what was sent does not come:", err)
			}
			sent++
			slept += 2 * standstill
		}
		return time.Unix(0, 0).Add(slept)
	}
	done := make(chan error)
	go func() {
		done <- g.Run(&funcs{
			receive: func(*Conn, []Packet) { got++ },
			flush: func() {
				if got < sent {
					t.Errorf("after pause %d timers came before what was sent was read", sent)
				}
				if got == pauses {
					g.Close()
					return
				}
				g.Wake()
			},
		})
	}()
	g.Wake()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("the pauses don't end")
	}
	if got != pauses {
		t.Errorf("%d of %d datagrams were read", got, pauses)
	}
}

// TestStandingStillAllTheTimeIsNoReasonToNeverFlush: where each turn is late, as on a machine that is far too slow, time
// passes for the handler all the same.
func TestStandingStillAllTheTimeIsNoReasonToNeverFlush(t *testing.T) {
	g, err := NewGroup(GroupConfig{})
	if err != nil {
		t.Fatal(err)
	}
	turns, flushes := 0, 0
	g.loop.(*batched).now = func() time.Time {
		turns++
		return time.Unix(0, 0).Add(time.Duration(turns) * 2 * standstill)
	}
	if _, err := g.Listen(netip.MustParseAddrPort("127.0.0.1:0"), ListenConfig{}); err != nil {
		t.Fatal(err)
	}
	g.Wake()
	if err := g.Run(&funcs{flush: func() {
		if flushes++; flushes == 3 {
			g.Close()
		}
		g.Wake()
	}}); err != nil {
		t.Fatal(err)
	}
	if turns < 3*(standstillLooks+1) || turns > 4*(standstillLooks+1) {
		t.Errorf("%d turns for %d flushes, not %d for each", turns, flushes, standstillLooks+1)
	}
}
