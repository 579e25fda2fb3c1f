package lab

import (
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"sereno/bench/internal/nas"
	"sereno/bench/internal/servers"
	"sereno/bench/load"
	"sereno/bench/stub"
)

// TestSoakComparesBooks: R40 and R41 as the soak sees them. What is lost, out of order, invented or never acknowledged is
// told; copies that came late, and sites that share nothing, are no fault.
func TestSoakComparesBooks(t *testing.T) {
	at := func(timestamp int64, site, server, place, copies int) written {
		return written{servers.DetailRecord{Record: stub.Record{Session: "a"}, Timestamp: timestamp}, site, server, place, copies}
	}
	a0, a1 := nas.Event{Session: "a", N: 0}, nas.Event{Session: "a", N: 1}
	acked := nas.Told{Sends: 1, Acked: true}
	for _, c := range []struct {
		name  string
		told  map[nas.Event]nas.Told
		first map[nas.Event]written
		want  string
	}{
		{"in order", map[nas.Event]nas.Told{a0: acked, a1: acked}, map[nas.Event]written{a0: at(10, 1, 1, 0, 1), a1: at(10, 1, 1, 1, 2)}, ""},
		{"lost", map[nas.Event]nas.Told{a0: acked, a1: acked}, map[nas.Event]written{a0: at(10, 1, 1, 0, 1)}, "1 of 2 acknowledged records are in no server's books"},
		{"not acknowledged", map[nas.Event]nas.Told{a0: {Sends: 3}}, nil, "1 records were never acknowledged"},
		{"invented", nil, map[nas.Event]written{a0: at(10, 1, 1, 0, 1)}, "was never sent"},
		{"later", map[nas.Event]nas.Told{a0: acked, a1: acked}, map[nas.Event]written{a0: at(12, 1, 2, 0, 1), a1: at(10, 1, 1, 1, 1)}, "2 s later, at site 1"},
		{"later in one file", map[nas.Event]nas.Told{a0: acked, a1: acked}, map[nas.Event]written{a0: at(10, 1, 1, 5, 1), a1: at(10, 1, 1, 4, 1)}, "by server 1 of site 1"},
		{"two sites", map[nas.Event]nas.Told{a0: acked, a1: acked}, map[nas.Event]written{a0: at(12, 1, 1, 5, 1), a1: at(10, 2, 1, 4, 1)}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := quiet(t)
			s.compare(c.told, c.first)
			got := strings.Join(s.broken, "\n")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func quiet(t *testing.T) *soak {
	t.Helper()
	log, err := newEvidence(t.TempDir(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.close() })
	return &soak{log: log, start: time.Now()}
}

// TestSoakAllowances: what clients may notice of events.
func TestSoakAllowances(t *testing.T) {
	for _, c := range []struct {
		allowance
		stream        bool
		again, failed uint64
		want          bool
	}{
		{nothing, false, 0, 0, true},
		{nothing, false, 1, 0, false},
		{nothing, true, 1, 0, false},
		{nothing, false, 0, 1, false},
		{moves, true, 7, 0, true},
		{moves, true, 7, 1, false},
		{moves, false, 1, 0, false},
		{failures, false, 3, 3, true},
		{failures, false, 4, 3, false},
		{failures, true, 4, 3, true},
		{packets, false, 9, 9, true},
	} {
		if got := c.bears(c.stream, c.again, c.failed); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// TestSoakFollowsFromItsSeed: the same seed, the same events, and a whole deck has all of them.
func TestSoakFollowsFromItsSeed(t *testing.T) {
	names := func(seed uint64) (list []string) {
		d := deck{events: events, rng: rand.New(rand.NewPCG(seed, 0))}
		for d.draw(); len(d.order) > 0; {
			list = append(list, d.draw().name)
		}
		return list
	}
	one, again, other := names(7), names(7), names(8)
	if strings.Join(one, " ") != strings.Join(again, " ") || strings.Join(one, " ") == strings.Join(other, " ") {
		t.Errorf("%v\n%v\n%v", one, again, other)
	}
	for _, e := range events {
		if !strings.Contains(strings.Join(append(one, other...), " "), e.name) {
			t.Errorf("%s does not happen", e.name)
		}
	}
}

// TestSoakSeesGrowth: the medians of a node's life are compared, another node's are not, and neither is a node with the
// traffic to what it was like without.
func TestSoakSeesGrowth(t *testing.T) {
	m := &sampler{}
	received := 0.0
	for i := range 100 {
		at, connections := time.Duration(i)*time.Second, 0
		if i < 25 || i >= 75 {
			received += trafficFrom
		}
		if i >= 25 && i < 75 || i > 95 {
			connections = 16
		}
		m.add(reading{at: at, site: 1, resident: float64(50 + i), files: 90 + connections, received: received})
		m.add(reading{at: at, site: 2, resident: 1e6})
	}
	g := m.growth(1, 100*time.Second)
	if memory := g[0]; memory.early != 73 || memory.late != 140 || memory.late <= memory.most {
		t.Errorf("%+v", memory)
	}
	if files := g[3]; files.early != 90 || files.late != 90 || files.late > files.most {
		t.Errorf("%+v", files)
	}
}

// TestSoakJudgesHTTPS: an answer is right if it has the one record that the name asks for.
func TestSoakJudgesHTTPS(t *testing.T) {
	question := new(dns.Msg).SetQuestion("s1.load.test.", dns.TypeA)
	answer := func(change func(*dns.Msg)) []byte {
		m := new(dns.Msg).SetReply(question)
		m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: "s1.load.test.", Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.IPv4(192, 0, 2, 53)}}
		change(m)
		packed, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return packed
	}
	for _, c := range []struct {
		status int
		body   []byte
		want   load.Fate
	}{
		{200, answer(func(*dns.Msg) {}), load.Right},
		{503, answer(func(*dns.Msg) {}), load.Malformed},
		{200, []byte("<html>"), load.Malformed},
		{200, answer(func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure }), load.Failed},
		{200, answer(func(m *dns.Msg) { m.Rcode = dns.RcodeNameError }), load.WrongRcode},
		{200, answer(func(m *dns.Msg) { m.Question[0].Name = "s2.load.test." }), load.WrongQuestion},
		{200, answer(func(m *dns.Msg) { m.Answer = nil }), load.WrongRecords},
		{200, answer(func(m *dns.Msg) { m.Answer[0].Header().Ttl = 61 }), load.WrongRecords},
	} {
		if got := judge(question, c.status, c.body); got != c.want {
			t.Errorf("status %d, %x: %s, want %s", c.status, c.body, got, c.want)
		}
	}
}
