//go:build !race

package dnsfront

import (
	"net/netip"
	"testing"

	"sereno/proxy/insight"
	"sereno/proxy/udp"
)

func TestD37CacheHitAllocatesNothing(t *testing.T) {
	c := testCache(t, cacheLimits{entries: 1000})
	key := cacheKey("www.example.")
	c.put(key, c.hash(key), 0, cacheAnswer(key, 60, 60))
	buf := make([]byte, 512)
	var h hit
	if n := testing.AllocsPerRun(1000, func() {
		if !c.get(key, c.hash(key), 16, buf, 512, true, 30, &h) {
			t.Fatal("miss")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestD37NoStageAllocates(t *testing.T) {
	for _, s := range stages(t) {
		if n := testing.AllocsPerRun(1000, s.run); n != 0 {
			t.Errorf("%s: %v allocations", s.name, n)
		}
	}
}

func TestD37HitIsAnsweredWithoutAllocation(t *testing.T) {
	f := newFront(t, setup{workers: 1})
	q := withOPT(asking("www.example.com.", 1), 1232, true)
	f.ask(q)
	m, out := packed(t, q), make([]byte, 4096)
	var x turn
	peer := udp.Dest{Peer: netip.MustParseAddrPort("10.1.2.3:4567"), Local: netip.MustParseAddr("127.0.0.1")}
	book := &f.async[0].book
	book.mu.Lock()
	defer book.mu.Unlock()
	if n := testing.AllocsPerRun(1000, func() {
		x.begin(f.Service, book)
		if _, r := f.serve(&x, UDP, &peer, m, out); r != answered {
			t.Fatal(r)
		}
		x.latencies(f.Service)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestAForwardedQueryAllocatesNothing: a query that no cache answers takes no memory of the heap on its way to a backend and
// back, except what the cache keeps and takes in blocks. At 100,000 such queries a second the collector would never rest.
func TestAForwardedQueryAllocatesNothing(t *testing.T) {
	forward := forwarding(t)
	for range 1000 {
		forward()
	}
	if n := testing.AllocsPerRun(10000, forward); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestO24CountingAndFollowingOthersAllocatesNothing(t *testing.T) {
	f := newFront(t, setup{workers: 1})
	q := asking("www.example.com.", 1)
	f.ask(q)
	top := insight.NewTop(NumTops)
	defer f.Count(top)()
	f.trace(TraceFilter{Client: netip.MustParsePrefix("192.0.2.0/24")})
	m, out := packed(t, q), make([]byte, 4096)
	var x turn
	peer := udp.Dest{Peer: netip.MustParseAddrPort("10.1.2.3:4567"), Local: netip.MustParseAddr("127.0.0.1")}
	book := &f.async[0].book
	book.mu.Lock()
	defer book.mu.Unlock()
	top.Of(book)
	if n := testing.AllocsPerRun(1000, func() {
		x.begin(f.Service, book)
		f.regard(&x, 0, 1, UDP, peer, m)
		if _, r := f.serve(&x, UDP, &peer, m, out); r != answered || x.trace != nil {
			t.Fatal(r)
		}
		x.latencies(f.Service)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
