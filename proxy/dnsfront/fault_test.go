package dnsfront

import (
	"encoding/hex"
	"hash/maphash"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"sereno/proxy/dnswire"
	"sereno/proxy/insight"
	"sereno/proxy/pool"
)

// faulty is a service that panics when somebody sends it the form of a self-probe, asks
// for a name below boom.example, or asks from another address than 127.0.0.1.
func faulty(t *testing.T, x setup) (f *front, bad []byte, logs *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	f = newFront(t, x)
	f.lockBooks()
	f.probe = nil
	f.faults = insight.NewFaults(insight.NewRepeats(zap.New(core)))
	set := *f.settings.Load()
	set.limiter = &limiter{exempt: newPrefixSet([]netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")})} // who is not exempt finds no table
	set.routes = map[string]*pool.Pool{"\x04boom\x07example\x00": new(pool.Pool)}
	f.settings.Store(&set)
	f.unlockBooks()
	key := dnswire.NewProbeKey()
	bad, _ = key.Question()
	return f, bad, logs
}

func (f *front) panics(t *testing.T, want uint64) {
	t.Helper()
	until(t, "the panics", func() bool { return f.Stats().Panics >= want })
	s := f.Stats()
	if s.Panics != want || s.TotalQueries() != s.TotalAnswers()+s.TotalDrops()+uint64(s.TotalInFlight()) {
		t.Errorf("%d panics, %d queries, %d answers, %d drops, %d in flight", s.Panics, s.TotalQueries(), s.TotalAnswers(), s.TotalDrops(), s.TotalInFlight())
	}
}

func TestO33APanicCostsOnePacketOfItsBatch(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		f, _, logs := faulty(t, setup{plain: plain, workers: 1})
		f.ask(asking("www.example.", dns.TypeA))
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(f.addr))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		evil, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)}, net.UDPAddrFromAddrPort(f.addr))
		if err != nil {
			t.Fatal(err)
		}
		defer evil.Close()
		f.lockBooks() // so that the packets come in one batch
		want := map[uint16]bool{}
		for i := range uint16(40) {
			m := asking("www.example.", dns.TypeA)
			m.Id = i
			from := c
			if i%4 == 2 {
				from = evil
			} else {
				want[i] = true
			}
			if _, err := from.Write(packed(t, m)); err != nil {
				t.Fatal(err)
			}
		}
		f.unlockBooks()
		buf := make([]byte, 4096)
		for len(want) > 0 {
			if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			n, err := c.Read(buf)
			if err != nil {
				t.Fatalf("%d were not answered: %v", len(want), err)
			}
			delete(want, dnswire.ID(buf[:n]))
		}
		f.panics(t, 10)
		if n := f.Stats().Drops[UDP][DropPanic]; n != 10 {
			t.Errorf("%d were dropped", n)
		}
		first := asking("www.example.", dns.TypeA)
		first.Id = 2
		if logs.Len() != 1 || logs.All()[0].ContextMap()["packet"] != hex.EncodeToString(packed(t, first)) {
			t.Errorf("%v", logs.All())
		}
	})
}

func TestO33APanicWhileABatchIsReadAheadCostsOnePacket(t *testing.T) {
	f, _, logs := faulty(t, setup{workers: 1})
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(f.addr))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f.lockBooks()           // so that the packets come in one batch
	f.seed = maphash.Seed{} // nothing can be hashed: the well-formed ones
	want := map[uint16]bool{}
	for i := range uint16(40) {
		m := asking("www.example.", dns.TypeA)
		m.Id = i
		raw := packed(t, m)
		if i%4 != 2 {
			want[i] = true
			raw = raw[:dnswire.HeaderLen]
		}
		if _, err := c.Write(raw); err != nil {
			t.Fatal(err)
		}
	}
	f.unlockBooks()
	buf := make([]byte, 4096)
	for len(want) > 0 {
		if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := c.Read(buf)
		if err != nil {
			t.Fatalf("%d were not answered: %v", len(want), err)
		}
		if id := dnswire.ID(buf); !want[id] || n != dnswire.HeaderLen || buf[3]&dnswire.RcodeMask != dnswire.FormErr {
			t.Errorf("%x", buf[:n])
		}
		delete(want, dnswire.ID(buf))
	}
	f.panics(t, 10)
	if s := f.Stats(); s.Drops[UDP][DropPanic] != 10 || s.Queries[UDP] != 40 {
		t.Errorf("%d were dropped of %d", s.Drops[UDP][DropPanic], s.Queries[UDP])
	}
	if logs.Len() != 1 {
		t.Errorf("%v", logs.All())
	}
}

func TestO33APanicOnTheWayToABackendIsAnsweredAndLeavesNothingBehind(t *testing.T) {
	f, _, _ := faulty(t, setup{workers: 1})
	for i := range 3 { // were the question stuck in the table, it would wait for itself
		m := f.ask(withOPT(asking("a.boom.example.", dns.TypeA), 1232, false))
		if m.Rcode != dns.RcodeServerFailure || ede(m) != dnswire.EDEOther {
			t.Error(m)
		}
		f.panics(t, uint64(i+1))
	}
	if m := f.askTCP(asking("b.boom.example.", dns.TypeA)); m.Rcode != dns.RcodeServerFailure {
		t.Error(m)
	}
	if m := f.ask(asking("www.example.", dns.TypeA)); len(m.Answer) != 1 {
		t.Error(m)
	}
}

func TestO33APanicInAReplyLeavesNobodyWaiting(t *testing.T) {
	for _, reply := range []bool{true, false} {
		release := make(chan struct{})
		f, _, _ := faulty(t, setup{workers: 1, pool: func(c *pool.Config) { c.Timeout, c.AttemptTimeout = time.Second, 500*time.Millisecond },
			handle: func(q *request) [][]byte {
				<-release
				if !reply {
					return nil
				}
				return normal(q)
			}})
		var conns []net.Conn
		for i := range 3 {
			c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(f.addr))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			m := asking("slow.example.", dns.TypeA)
			m.Id = uint16(i)
			if _, err := c.Write(packed(t, m)); err != nil {
				t.Fatal(err)
			}
			conns = append(conns, c)
			until(t, "the query", func() bool { return waiting(f) == int64(i+1) })
		}
		f.lockBooks()
		var all []*waiter
		for i := range f.table.shards {
			for _, fl := range f.table.shards[i].m {
				all = append(all, fl.waiters...)
			}
		}
		for _, w := range all {
			if w.id == 1 {
				w.listener = nil
			}
		}
		f.unlockBooks()
		close(release)
		buf := make([]byte, 4096)
		for i, c := range conns {
			_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
			if i == 1 {
				continue
			}
			if n, err := c.Read(buf); err != nil || n < dnswire.HeaderLen {
				t.Errorf("reply %v: query %d was not answered: %v", reply, i, err)
			}
		}
		until(t, "the end", func() bool { return waiting(f) == 0 })
		s := f.Stats()
		if s.Drops[UDP][DropPanic] != 1 || s.Panics < 1 || s.TotalAnswers() != 2 {
			t.Errorf("reply %v: %d dropped, %d panics, %d answers", reply, s.Drops[UDP][DropPanic], s.Panics, s.TotalAnswers())
		}
		if m := f.ask(asking("slow.example.", dns.TypeA)); reply && len(m.Answer) != 1 {
			t.Error(m)
		}
	}
}

func TestO33APanicCostsAConnectionOneQuery(t *testing.T) {
	f, bad, _ := faulty(t, setup{})
	c := f.stream()
	writeFrame(t, c, bad)
	writeFrame(t, c, packed(t, asking("www.example.", dns.TypeA)))
	var m dns.Msg
	if err := m.Unpack(readFrame(t, c)); err != nil || len(m.Answer) != 1 {
		t.Error(err, &m)
	}
	f.panics(t, 1)
}

func TestO33APanicOverHTTPSIsAnsweredWith500(t *testing.T) {
	f, _, doh, _, roots := secured(t, nil)
	f.lockBooks()
	f.probe = nil
	f.unlockBooks()
	key := dnswire.NewProbeKey()
	bad, _ := key.Question()
	client := client8484(roots, t)
	for range 2 * len(f.async) { // no lock stays held
		r, err := client.Post("https://"+doh.String()+"/dns-query", mediaType, strings.NewReader(string(bad)))
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		if r.StatusCode != http.StatusInternalServerError {
			t.Error(r.Status)
		}
	}
	f.panics(t, uint64(2*len(f.async)))
}

func waiting(f *front) int64 {
	s := f.Stats()
	return s.TotalInFlight()
}

func TestO23AFloodOfBadQueriesIsAFewLines(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	f := newFront(t, setup{backends: 1, config: func(c *Config) { c.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} }})
	f.lockBooks()
	f.log = newLogger(zap.New(core), "resolver")
	f.unlockBooks()
	other, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 3)}, net.UDPAddrFromAddrPort(f.addr))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for i := range uint64(1000) {
		raw := []byte{0, 1, 2}
		if i%2 == 0 {
			raw = packed(t, asking("www.example.", dns.TypeA)) // from where nobody may ask
		}
		if _, err := other.Write(raw); err != nil {
			t.Fatal(err)
		}
		if i%100 == 99 {
			until(t, "the flood", func() bool { s := f.Stats(); return s.TotalQueries() == i+1 })
		}
	}
	// Replies that fit no question: each asks for a line.
	f.resolvers[0].set(func(q *request) [][]byte {
		if q.tcp {
			return normal(q)
		}
		wrong := normal(q)[0]
		wrong[0] ^= 1
		return [][]byte{wrong, wrong, wrong, wrong}
	})
	for i := range 20 {
		f.ask(asking(unique(i), dns.TypeA)) // over TCP after the third
	}
	if got := logs.All(); len(got) != 1 {
		t.Errorf("%d lines: %v", len(got), got)
	}
	f.log.repeats.Close()
	if got := logs.All(); len(got) != 2 {
		t.Errorf("%d lines: %v", len(got), got)
	}
}
