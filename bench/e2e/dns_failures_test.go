package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"sereno/bench/e2e/harness"
	"sereno/bench/load"
	"sereno/bench/stub"
)

// backendsYAML is a pool of backends with quick probes, and one service before it.
func backendsYAML(s netip.AddrPort, service string, backends ...netip.AddrPort) string {
	text := "pools:\n  - name: resolvers\n    protocol: dns\n    health: {interval: 500ms, timeout: 250ms, slow_start: 1s}\n    backends:\n"
	for i, b := range backends {
		text += fmt.Sprintf("      - {name: backend-%d, address: %q}\n", i+1, b)
	}
	return text + fmt.Sprintf("dns:\n  - {name: resolver, listen: [%q], pool: resolvers, %s}\n", s, service)
}

// resolvers are simulated backends in the test's own process.
func resolvers(t *testing.T, lab *harness.Lab, n int) (out []*stub.Resolver, addrs []netip.AddrPort) {
	t.Helper()
	for i := range n {
		r, err := stub.NewResolver(stub.ResolverConfig{Addr: netip.AddrPortFrom(lab.Addr(byte(31+i)), harness.DNSPort)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
		out, addrs = append(out, r), append(addrs, r.Addr())
	}
	return out, addrs
}

func set(t *testing.T, r *stub.Resolver, m stub.Mode) {
	t.Helper()
	if err := r.Set(m); err != nil {
		t.Fatal(err)
	}
}

// TestE2EDNSOneOfTwoBackendsFails has one of two backends fail in each way that a backend can, under load: every query
// gets the right answer, also while the front finds it out and while the backend comes back.
func TestE2EDNSOneOfTwoBackendsFails(t *testing.T) {
	t.Parallel()
	lab := harness.New(t)
	backend, addrs := resolvers(t, lab, 2)
	dns := netip.AddrPortFrom(lab.Addr(53), harness.DNSPort)
	s := node(t, lab, "lab", backendsYAML(dns, "cache: {enabled: false}", addrs...))
	broken := uint64(600)
	if whole {
		broken = 5000
	}
	for _, mode := range []stub.Mode{
		{Fault: stub.Closed}, {Fault: stub.Silent}, {Fault: stub.ProbesOnly},
		{Fault: stub.Servfail}, {Fault: stub.Refused}, {Fault: stub.Servfail, Every: 3},
		{Fault: stub.WrongID}, {Fault: stub.WrongQuestion}, {Fault: stub.Truncated},
		{Delay: 200 * time.Millisecond}, {Delay: 700 * time.Millisecond}, {Delay: 3 * time.Second},
	} {
		work := dnsLoad(t, s, 1000)
		work.sent(lab, 200)
		set(t, backend[0], mode)
		work.sent(lab, broken)
		set(t, backend[0], stub.Mode{})
		s.WaitBackend("backend-1", "dns", "up")
		work.sent(lab, 200)
		work.nothingLost(mode.String())
	}
	t.Run("flapping", func(t *testing.T) {
		work := dnsLoad(t, s, 1000)
		for range 6 {
			set(t, backend[0], stub.Mode{Fault: stub.Closed})
			work.sent(lab, 200)
			set(t, backend[0], stub.Mode{})
			work.sent(lab, 200)
		}
		work.nothingLost("closed and opened again every 200 ms")
	})
	s.WaitIdle()
}

// TestE2EDNSBackendAnswersGarbage has a backend that is healthy to probes and answers everything else with garbage
// that has the right ID, and a black hole that nobody reads from.
func TestE2EDNSBackendAnswersGarbage(t *testing.T) {
	lab := harness.New(t)
	_, addrs := resolvers(t, lab, 1)
	hole, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(lab.Addr(41), harness.DNSPort)))
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close()
	bad := garbage(t, netip.AddrPortFrom(lab.Addr(40), harness.DNSPort))
	dns := netip.AddrPortFrom(lab.Addr(53), harness.DNSPort)
	s := node(t, lab, "lab", backendsYAML(dns, "cache: {enabled: false}", addrs[0], bad, hole.LocalAddr().(*net.UDPAddr).AddrPort()))
	work := dnsLoad(t, s, 1000)
	work.sent(lab, 4000)
	// It is avoided, and asked again and again: how often within these seconds is chance.
	lab.Eventually(20*time.Second, "ten failures of the backend that answers garbage", func() bool {
		return s.Metrics().Sum("sereno_backend_failures_total", "backend", "backend-2") >= 10
	})
	work.nothingLost("garbage and a black hole")
	s.WaitIdle()
}

// garbage answers probes, and everything else with what no resolver would send.
func garbage(t *testing.T, addr netip.AddrPort) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		buf := make([]byte, 4096)
		for n := uint64(0); ; n++ {
			size, peer, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if size > 12 {
				_, _ = conn.WriteToUDPAddrPort(spoiled(buf[:size], n), peer) // nobody may listen any more
			}
		}
	})
	group.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(time.Second)) // then it is closed
			_, _ = io.CopyN(io.Discard, c, 20)
			_, _ = c.Write([]byte("\x00\x05short\xff\xff and no more than this"))
			_ = c.Close()
		}
	})
	t.Cleanup(func() {
		_, _ = conn.Close(), listener.Close()
		group.Wait()
	})
	return addr
}

// spoiled is the nth answer of a backend that answers garbage; the root's is right.
func spoiled(query []byte, n uint64) []byte {
	good := stub.Answer(nil, query, stub.MaxUDP)
	if query[12] == 0 || len(good) < 12 {
		return good
	}
	question := 12 + bytes.IndexByte(good[12:], 0) + 5
	random := rand.New(rand.NewPCG(n, 7))
	switch n % 8 {
	case 0: // anything
		b := make([]byte, random.IntN(600))
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return b
	case 1: // as if more followed
		binary.BigEndian.PutUint16(good[6:], 60000)
	case 2: // cut within a record
		return good[:question+1+random.IntN(10)]
	case 3: // an owner that points at itself
		good[question], good[question+1] = 0xc0|byte(question>>8), byte(question)
	case 4: // an owner that points ahead
		good[question], good[question+1] = 0xc0|byte((question+9)>>8), byte(question+9)
	case 5: // no question
		binary.BigEndian.PutUint16(good[4:], 0)
		return good[:12]
	case 6: // two questions
		binary.BigEndian.PutUint16(good[4:], 2)
	case 7: // RDATA longer than the message
		binary.BigEndian.PutUint16(good[question+10:], 9000)
	}
	return good
}

// TestE2EAttackDNSFloodOfRandomNames asks for a popular set of names while ten times as many names as the cache holds are
// asked for once each: the popular set's hit ratio falls by no more than two points.
func TestE2EAttackDNSFloodOfRandomNames(t *testing.T) {
	const entries, popular = 3_000, 1_200
	lab := harness.New(t)
	_, addrs := resolvers(t, lab, 2)
	dns := netip.AddrPortFrom(lab.Addr(53), harness.DNSPort)
	s := node(t, lab, "lab", backendsYAML(dns, fmt.Sprintf("cache: {entries: %d}", entries), addrs...))
	hits := func() float64 { return s.Metrics().Sum("sereno_dns_answers_total", "source", "cache") }
	run := func(c load.DNSConfig) *running {
		c.Targets, c.Timeout = []netip.AddrPort{s.DNS}, 4*time.Second
		d, err := load.NewDNS(c)
		if err != nil {
			t.Fatal(err)
		}
		return start(t, d.Run, d.Books, d.Use)
	}
	for _, flood := range []string{"nx", "ttl-300"} {
		work := run(load.DNSConfig{Common: load.Common{Rate: 4000}, Names: popular, Zipf: 0.9, Labels: harness.LoadLabels})
		ratio := func(n uint64) float64 {
			from, before := work.books().Answered, hits()
			work.sent(lab, n)
			return (hits() - before) / float64(work.books().Answered-from)
		}
		work.sent(lab, 8_000) // until the cache has them
		quiet := ratio(3_000)
		storm := run(load.DNSConfig{Common: load.Common{Rate: 16_000, Limit: 10 * entries}, Labels: flood})
		during := ratio(7_000)
		b := <-storm.result
		after := ratio(3_000)
		t.Logf("flood of %d names with %s: hit ratio %.2f %% before, %.2f %% during, %.2f %% after; the flood: %s", b.Sent, flood, 100*quiet, 100*during, 100*after, &b)
		if quiet < 0.9 {
			t.Errorf("the hit ratio is %.2f %% without a flood", 100*quiet)
		}
		if during < quiet-0.02 || after < quiet-0.02 {
			t.Errorf("a flood with %s: the hit ratio was %.2f %%, then %.2f %%, then %.2f %%", flood, 100*quiet, 100*during, 100*after)
		}
		work.nothingLost("popular names during a flood with " + flood)
		if !b.Clean() {
			t.Errorf("the flood: %d lost, %d wrong: %v", b.Lost, b.Wrong, b.Faulty)
		}
	}
	s.WaitIdle()
}
