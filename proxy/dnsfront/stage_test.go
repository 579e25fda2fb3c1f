package dnsfront

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/miekg/dns"

	"sereno/proxy/dnswire"
	"sereno/proxy/udp"
)

// stage is one step of the way of a query that hits.
type stage struct {
	name string
	run  func()
}

// stages are all of them, each ready to be run again and again. alloc_test.go holds them to allocate nothing.
func stages(tb testing.TB) []stage {
	f := newFront(tb, setup{workers: 1})
	q := withOPT(asking("www.eXample.com.", dns.TypeA), 1232, true)
	f.ask(q)
	set, m, out := f.settings.Load(), packed(tb, q), make([]byte, 4096)
	peer := udp.Dest{Peer: netip.MustParseAddrPort("10.1.2.3:4567"), Local: netip.MustParseAddr("127.0.0.1")}
	book := new(book)
	x := new(turn)
	x.begin(f.Service, book)
	f.read(x.query, m)
	look := func() {
		if !set.cache.get(x.key, x.hash, x.tick, out, x.a.room(), false, 0, &x.h) {
			tb.Fatal("miss")
		}
	}
	x.a.take(&x.q, UDP, set.cfg.UDPSize)
	look()
	return []stage{
		{"decode", func() { f.read(x.query, m) }},
		{"gates", func() {
			if _, drop := x.undesired(UDP, &peer); drop {
				tb.Fatal("dropped")
			}
			x.a.take(&x.q, UDP, set.cfg.UDPSize)
			if _, _, done := f.gate(x, peer.Peer.Addr(), m, out); done {
				tb.Fatal("refused")
			}
		}},
		{"lookup", look},
		{"answer", func() { f.fromCache(x, m, out, FromCache, noEDE) }},
		{"refuse", func() { f.refuse(set, out, &x.a, x.q.Question(m), dnswire.ServFail, dnswire.EDENoReachable, "") }},
		{"whole", func() {
			if _, r := f.serve(x, UDP, &peer, m, out); r != answered {
				tb.Fatal(r)
			}
		}},
	}
}

// BenchmarkStage is each step for itself, and all of them one after the other.
func BenchmarkStage(b *testing.B) {
	for _, s := range stages(b) {
		b.Run(s.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.run()
			}
		})
	}
}

// BenchmarkLookup is lookups of names in random order, one by one and with their memory fetched in groups of readAhead,
// among few and among many.
func BenchmarkLookup(b *testing.B) {
	for _, names := range []int{1000, 1_000_000} {
		c := testCache(b, cacheLimits{entries: 2 * names, negativeShare: 0.2})
		keys, hashes := make([][]byte, names), make([]uint64, names)
		for i := range keys {
			keys[i] = cacheKey(fmt.Sprintf("host%d.example.", i))
			hashes[i] = c.hash(keys[i])
			c.put(keys[i], hashes[i], 0, cacheAnswer(keys[i], 3600))
		}
		var h hit
		out := make([]byte, 512)
		for _, ahead := range []bool{false, true} {
			b.Run(fmt.Sprintf("names=%d/ahead=%v", names, ahead), func(b *testing.B) {
				b.ReportAllocs()
				var group [readAhead]int
				n, next := 0, uint64(0)
				for b.Loop() {
					if n%readAhead == 0 {
						for i := range group {
							next = next*6364136223846793005 + 1442695040888963407
							group[i] = int(next >> 33 % uint64(names)) //nolint:gosec // below names
							if ahead {
								c.fetchSlot(hashes[group[i]])
							}
						}
						for i := range group {
							if ahead {
								c.fetchEntry(hashes[group[i]])
							}
						}
					}
					at := group[n%readAhead]
					n++
					if !c.get(keys[at], hashes[at], 16, out, 512, false, 0, &h) {
						b.Fatal("miss")
					}
				}
			})
		}
	}
}

// BenchmarkLookupByAllCores is what lookups cost when as many workers as there are cores make them (-cpu): of names at
// random, and all of the same one.
func BenchmarkLookupByAllCores(b *testing.B) {
	const names = 1000
	c := testCache(b, cacheLimits{entries: 1_000_000, negativeShare: 0.2})
	keys, hashes := make([][]byte, names), make([]uint64, names)
	for i := range keys {
		keys[i] = cacheKey(fmt.Sprintf("host%d.example.", i))
		hashes[i] = c.hash(keys[i])
		c.put(keys[i], hashes[i], 0, cacheAnswer(keys[i], 3600))
	}
	for _, of := range []int{names, 1} {
		b.Run(fmt.Sprintf("names=%d", of), func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				var h hit
				out := make([]byte, 512)
				for at := rand.IntN(names); pb.Next(); at += 7 {
					if i := at % of; !c.get(keys[i], hashes[i], 16, out, 512, false, 0, &h) {
						b.Error("miss")
						return
					}
				}
			})
		})
	}
}
