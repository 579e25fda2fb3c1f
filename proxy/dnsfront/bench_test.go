package dnsfront

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"sereno/proxy/insight"
	"sereno/proxy/udp"
)

// BenchmarkHit is one cached query from datagram to answer, without sockets.
func BenchmarkHit(b *testing.B) {
	f := newFront(b, setup{workers: 1})
	f.ask(withOPT(asking("www.example.com.", dns.TypeA), 1232, true))
	m := packed(b, withOPT(asking("www.eXample.com.", dns.TypeA), 1232, true))
	out := make([]byte, 4096)
	var x turn
	peer := udp.Dest{Peer: netip.MustParseAddrPort("10.1.2.3:4567"), Local: netip.MustParseAddr("127.0.0.1")}
	book := &f.async[0].book
	book.mu.Lock()
	x.begin(f.Service, book)
	for b.Loop() {
		if _, r := f.serve(&x, UDP, &peer, m, out); r != answered {
			b.Fatal(r)
		}
	}
	book.mu.Unlock()
}

// flood sends the same queries over and over in batches, with at most window of them
// unanswered.
type flood struct {
	group    *udp.Group
	conn     *udp.Conn
	queries  [][]byte
	window   int64
	sent     int64
	received atomic.Int64
	limit    int64
	done     chan struct{}
}

func (f *flood) Receive(_ *udp.Conn, batch []udp.Packet) { f.received.Add(int64(len(batch))) }

func (f *flood) Flush() {
	got := f.received.Load()
	for f.sent < f.limit && f.sent-got < f.window {
		n := copy(f.conn.Next(), f.queries[f.sent%int64(len(f.queries))])
		f.conn.Commit(n, udp.Dest{})
		f.sent++
	}
	if got == f.limit {
		select {
		case f.done <- struct{}{}:
		default:
		}
	}
}

// BenchmarkCachedOverLoopback is cached queries through real sockets: one worker, and a
// client in the same process that keeps 256 of them under way. Nothing may be lost.
func BenchmarkCachedOverLoopback(b *testing.B) {
	f := newFront(b, setup{workers: 1})
	g, err := udp.NewGroup(udp.GroupConfig{})
	if err != nil {
		b.Fatal(err)
	}
	x := &flood{group: g, window: 256, done: make(chan struct{}, 1)}
	for i := range 1000 {
		q := withOPT(asking(fmt.Sprintf("host%d.example.", i), dns.TypeA), 1232, false)
		x.queries = append(x.queries, packed(b, q))
		f.ask(q)
	}
	if x.conn, err = g.Dial(f.addr, netip.Addr{}, udp.ListenConfig{}); err != nil {
		b.Fatal(err)
	}
	ended := make(chan error)
	x.limit = int64(b.N)
	b.ResetTimer()
	go func() { ended <- g.Run(x) }()
	g.Wake()
	select {
	case <-x.done:
	case <-time.After(20 * time.Second):
		b.Errorf("%d of %d answers are missing", x.limit-x.received.Load(), x.limit)
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "queries/s")
	if err := g.Close(); err != nil {
		b.Error(err)
	}
	if err := <-ended; err != nil {
		b.Error(err)
	}
}

// BenchmarkO24Look is what a hit costs in a batch of 64, with nobody who looks, with one
// who follows somebody else, and with one who counts.
func BenchmarkO24Look(b *testing.B) {
	for _, who := range []string{"nobody", "trace", "top"} {
		b.Run(who, func(b *testing.B) {
			f := newFront(b, setup{workers: 1})
			q := asking("www.example.com.", 1)
			f.ask(q)
			switch who {
			case "trace":
				f.trace(TraceFilter{Client: netip.MustParsePrefix("192.0.2.0/24")})
			case "top":
				b.Cleanup(f.Count(insight.NewTop(NumTops)))
			}
			m, out := packed(b, q), make([]byte, 4096)
			var x turn
			peer := udp.Dest{Peer: netip.MustParseAddrPort("10.1.2.3:4567"), Local: netip.MustParseAddr("127.0.0.1")}
			book := &f.async[0].book
			book.mu.Lock()
			defer book.mu.Unlock()
			b.ReportAllocs()
			i := 64
			for b.Loop() {
				if i == 64 {
					x.begin(f.Service, book)
					i = 0
				}
				if x.lens != nil {
					f.regard(&x, i, 64, UDP, peer, m)
				}
				if _, r := f.serve(&x, UDP, &peer, m, out); r != answered {
					b.Fatal(r)
				}
				i++
			}
		})
	}
}
