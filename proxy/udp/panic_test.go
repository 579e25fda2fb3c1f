package udp

import "testing"

// A handler that recovers by itself goes on behind the packet that it panicked over: nothing that it queued before is
// lost, the buffer that it did not commit is not, and the loop turns on.
func TestO33AHandlerMayRecoverAndGoOn(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		g := newGroup(t, GroupConfig{Plain: plain, Batch: 16})
		c := listen(t, g, "127.0.0.1:0")
		echo := func(batch []Packet) (n int) {
			defer func() { _ = recover() }()
			for i := range batch {
				n = i + 1
				buf := c.Next()
				if string(batch[i].Data) == "bad" {
					panic("bad")
				}
				c.Commit(copy(buf, batch[i].Data), batch[i].Dest)
			}
			return n
		}
		run(t, g, &funcs{receive: func(_ *Conn, batch []Packet) {
			for len(batch) > 0 {
				batch = batch[echo(batch):]
			}
		}})
		u := client(t, c.LocalAddr())
		before := g.Turns()
		for _, msg := range []string{"bad", "one", "bad", "bad", "two", "three", "bad"} {
			send(t, u, msg)
		}
		for _, msg := range []string{"one", "two", "three"} {
			if got := receive(t, u); got != msg {
				t.Errorf("received %q, want %q", got, msg)
			}
		}
		if g.Turns() == before {
			t.Error("no turn was counted")
		}
		if s := c.Stats(); s.Drops != [NumDrops]uint64{} {
			t.Errorf("%+v", s)
		}
	})
}
