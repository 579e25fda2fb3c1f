package dnsfront

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"

	"github.com/miekg/dns"

	"sereno/proxy/dnswire"
	"sereno/proxy/pool"
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

// forwarding has one worker of a service that does not run take one query that no cache answers, and its backend's reply,
// with each call; names are new.
func forwarding(tb testing.TB) func() {
	backend, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}) // nobody reads there
	if err != nil {
		tb.Fatal(err)
	}
	m := pool.Member{Addr: backend.LocalAddr().(*net.UDPAddr).AddrPort()}
	m.Config.SetDefaults()
	m.Config.Name, m.Config.Address = "b", m.Addr.String()
	var pc pool.Config
	pc.SetDefaults("dns")
	pc.Name, pc.Protocol = "resolvers", "dns"
	p, err := pool.New(pc, "dns", []pool.Member{m})
	if err != nil {
		tb.Fatal(err)
	}
	o := Options{Pools: map[string]*pool.Pool{"resolvers": p}, Workers: 1}
	o.Config.SetDefaults()
	o.Config.Name, o.Config.Pool, o.Config.Listen, o.Config.Cache.Entries = "resolver", "resolvers", []string{"127.0.0.1:0"}, 10000
	s, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	w := s.workers[0]
	l := &listener{s: s}
	c, err := w.group.Listen(netip.MustParseAddrPort("127.0.0.1:0"), udp.ListenConfig{Tag: l})
	if err != nil {
		tb.Fatal(err)
	}
	l.conns = []*udp.Conn{c}
	tb.Cleanup(func() {
		if err := errors.Join(s.Close(context.Background()), backend.Close()); err != nil {
			tb.Error(err)
		}
	})

	query := asking("aaaaaaaa.example.com.", dns.TypeA)
	raw := packed(tb, withOPT(query, 1232, false))
	answer := withOPT(new(dns.Msg).SetReply(query), 1232, false)
	answer.Answer = []dns.RR{mustRR(tb, "aaaaaaaa.example.com. 300 IN A 192.0.2.1")}
	reply := packed(tb, answer)
	in := []udp.Packet{{Data: raw, Dest: udp.Dest{Peer: m.Addr, Local: m.Addr.Addr()}}} // its answer is read by nobody, too
	back := []udp.Packet{{}}
	received := make([]byte, len(reply))
	n := 0
	return func() {
		n++
		for i, k := 0, n; i < 8; i, k = i+1, k/26 {
			name := dnswire.HeaderLen + 1 + i
			raw[name] = byte('a' + k%26) //nolint:gosec // below 26
			reply[name] = raw[name]
		}
		w.Receive(c, in)
		sock := w.upstreams[p.Backends()[0]].current
		copy(received, reply) // what is received may be changed
		for id := range sock.ids {
			dnswire.SetID(received, uint16(id)) //nolint:gosec // it is one
		}
		back[0].Data = received
		w.Receive(sock.conn, back)
		w.Flush()
		if w.book.Upstream.Replies != uint64(n) || w.book.Answers[UDP][FromBackend][dns.RcodeSuccess] != uint64(n) { //nolint:gosec // not negative
			tb.Fatalf("%d replies, %d answers of %d", w.book.Upstream.Replies, w.book.Answers[UDP][FromBackend][dns.RcodeSuccess], n)
		}
	}
}

// BenchmarkForwarded is a query that no cache answers, there and back, without its backend.
func BenchmarkForwarded(b *testing.B) {
	forward := forwarding(b)
	b.ReportAllocs()
	for b.Loop() {
		forward()
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
