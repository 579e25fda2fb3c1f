package dnsfront

import (
	"net"
	"testing"
	"time"

	"github.com/miekg/dns"

	"sereno/proxy/pool"
)

// A janitor that rests is roused by the first query that waits for a backend, whose timers then run as ever.
func TestJanitorRestsUntilSomethingFlies(t *testing.T) {
	f := newFront(t, setup{workers: 1, handle: func(*request) [][]byte { return nil },
		pool: func(c *pool.Config) { c.Timeout, c.AttemptTimeout = 300*time.Millisecond, 100*time.Millisecond }})
	until(t, "the janitor to rest", f.resting.Load)
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(f.addr))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(packed(t, asking("silent.example.", dns.TypeA))); err != nil {
		t.Fatal(err)
	}
	until(t, "the janitor to come", func() bool { return !f.resting.Load() })
	until(t, "its end", func() bool { return f.Stats().Answers[UDP][FromSelf][dns.RcodeServerFailure] == 1 })
	until(t, "the janitor to rest again", f.resting.Load)
}

// Blocks are ready before somebody stores, but no more of them than the cache may take, and none when it is closed.
func TestArenaPreparesBlocks(t *testing.T) {
	var a arena
	const steps = 3
	a.bound(steps * arenaStep)
	taken := 0
	for range 2 * steps {
		a.prepare()
		if len(a.free) < arenaStep/blockSize/2 && len(a.regions) < steps {
			t.Fatalf("%d blocks are ready, of %d regions", len(a.free), len(a.regions))
		}
		for range arenaStep / blockSize / 2 {
			if b := a.get(); len(b) != blockSize || cap(b) != blockSize {
				t.Fatal("a block of", len(b), cap(b))
			}
			taken++
		}
	}
	if len(a.regions) != steps || taken+len(a.free) != steps*arenaStep/blockSize {
		t.Errorf("%d regions, %d blocks are taken and %d are free", len(a.regions), taken, len(a.free))
	}
	a.get()
	if len(a.regions) != steps+1 {
		t.Error("who needs one above the bound gets none")
	}
	a.close()
	if a.prepare(); len(a.regions) != 0 {
		t.Error("a closed one takes memory")
	}
}
