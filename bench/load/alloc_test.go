//go:build !race

package load

import (
	"testing"

	"sereno/bench/stub"
)

// loopback is a link that answers each request at once, as package stub does.
type loopback struct {
	link
	g      *generator
	buf    [maxMessage]byte
	answer func(dst, request []byte) []byte
	reply  []byte
}

func (l *loopback) next(int) []byte { return l.buf[:] }

func (l *loopback) commit(conn, n int) {
	l.reply = l.answer(l.reply[:0], l.buf[:n])
	l.g.reply(l.g.places[conn], l.reply, 0)
}

// TestO10BenchAllocatesNothingForAQuery is the way of a query and its answer through the generator.
func TestO10BenchAllocatesNothingForAQuery(t *testing.T) {
	for name, c := range map[string]DNSConfig{"zipf": {Names: 1000, Zipf: 1, New: 0.2}, "real": {Names: 10, Real: true}} {
		g := dnsLoopback(t, c)
		n := uint64(0)
		if got := testing.AllocsPerRun(2000, func() { step(g, n); n++ }); got != 0 {
			t.Errorf("%s: %v allocations for each query", name, got)
		}
		if g.books.Answered != n {
			t.Errorf("%s: %d of %d answered: %v", name, g.books.Answered, n, g.books.Faulty)
		}
	}
}

// TestO10BenchAllocatesNothingForALogin is the same for RADIUS.
func TestO10BenchAllocatesNothingForALogin(t *testing.T) {
	_, target := newServer(t)
	r, err := NewRADIUS(RADIUSConfig{Common: Common{Rate: 1}, PAP: 1, CHAP: 2, Acct: 3, Targets: []RADIUSTarget{target}, Secret: []byte("s")})
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	g := r.generators[0]
	g.link = &loopback{link: g.link, g: g, answer: func(dst, request []byte) []byte { return append(dst, request...) }}
	n := uint64(0)
	if got := testing.AllocsPerRun(2000, func() { step(g, n); n++ }); got > 0.01 {
		t.Errorf("%v allocations for each request", got)
	}
}

// step sends request n.
func step(g *generator, n uint64) {
	g.slots[n%uint64(len(g.slots))] = slot{n: n, state: waiting}
	g.transmit(n)
}

func dnsLoopback(t testing.TB, c DNSConfig) *generator {
	t.Helper()
	c.Targets, c.Rate = append(c.Targets, newResolver(t).Addr()), 1
	d, err := NewDNS(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.close() })
	g := d.generators[0]
	g.link = &loopback{link: g.link, g: g, answer: func(dst, query []byte) []byte { return stub.Answer(dst, query, stub.MaxUDP) }}
	return g
}

// BenchmarkDNSQuery is what a query and its answer cost the generator without system calls, and what the answering
// costs.
func BenchmarkDNSQuery(b *testing.B) {
	for name, c := range map[string]DNSConfig{"new": {}, "names": {Names: 1000}, "zipf": {Names: 100_000, Zipf: 1}} {
		b.Run(name, func(b *testing.B) {
			g := dnsLoopback(b, c)
			b.ReportAllocs()
			n := uint64(0)
			for b.Loop() {
				step(g, n)
				n++
			}
		})
	}
}
