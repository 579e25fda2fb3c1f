package dnsfront

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"sereno/proxy/dnswire"
	"sereno/proxy/pool"
	"sereno/proxy/udp"
)

func TestD63EmbeddingIsThatOfRFC6052(t *testing.T) {
	// RFC 6052 §2.4.
	for prefix, want := range map[string]string{
		"2001:db8::/32": "2001:db8:c000:221::", "2001:db8:100::/40": "2001:db8:1c0:2:21::", "2001:db8:122::/48": "2001:db8:122:c000:2:2100::",
		"2001:db8:122:300::/56": "2001:db8:122:3c0:0:221::", "2001:db8:122:344::/64": "2001:db8:122:344:c0:2:2100::",
		"2001:db8:122:344::/96": "2001:db8:122:344::192.0.2.33", "64:ff9b::/96": "64:ff9b::192.0.2.33",
	} {
		d := newDNS64(&DNS64Config{Prefix: prefix})
		got := d.embed([4]byte{192, 0, 2, 33})
		if got != netip.MustParseAddr(want) {
			t.Errorf("%s: %s, want %s", prefix, got, want)
		}
		if back := d.extract(got); back != [4]byte{192, 0, 2, 33} {
			t.Errorf("%s: back to %v", prefix, back)
		}
	}
}

// sixless answers AAAA with nothing, but `six…`, which has one, and `mapped…`, which has
// one that does not count; A with two addresses of 1000 s, but `none…`, which has none.
func sixless(q *request) [][]byte {
	t, name := q.r.t, q.msg.Question[0].Name
	soa := mustRR(t, "example. 500 IN SOA ns.example. root.example. 1 2 3 4 200")
	m := q.reply(dns.RcodeSuccess)
	switch typ := q.msg.Question[0].Qtype; {
	case typ == dns.TypePTR:
		if strings.HasPrefix(name, "9.") {
			m = q.reply(dns.RcodeNameError)
			m.Ns = []dns.RR{soa}
		} else {
			m.Answer = []dns.RR{mustRR(t, name+" 700 IN PTR host.example.")}
		}
	case typ == dns.TypeA && !strings.HasPrefix(name, "none"):
		m.Answer = []dns.RR{mustRR(t, name+" 900 IN CNAME real.example."), mustRR(t, "real.example. 1000 IN A 192.0.2.1"), mustRR(t, "real.example. 1000 IN A 192.0.2.2")}
	case typ == dns.TypeAAAA && strings.HasPrefix(name, "six"):
		m.Answer = []dns.RR{mustRR(t, name+" 60 IN AAAA 2001:db8::1")}
	case typ == dns.TypeAAAA && strings.HasPrefix(name, "mapped"):
		m.Answer = []dns.RR{mustRR(t, name+" 60 IN AAAA ::ffff:192.0.2.9")}
	case strings.HasPrefix(name, "nosoa"):
	default:
		m.Ns = []dns.RR{soa}
	}
	return [][]byte{packed(t, m)}
}

func TestD63DNS64(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		f := newFront(t, setup{plain: plain, handle: sixless, config: func(c *Config) { c.DNS64.Prefix = "64:ff9b::/96" }})
		made := func(m *dns.Msg, ttl uint32) {
			t.Helper()
			if len(m.Answer) != 3 || m.AuthenticatedData {
				t.Fatal(m)
			}
			for i, want := range []string{"", "64:ff9b::c000:201", "64:ff9b::c000:202"} {
				if i == 0 {
					continue
				}
				a, ok := m.Answer[i].(*dns.AAAA)
				if !ok || a.AAAA.String() != want || a.Hdr.Ttl > ttl || a.Hdr.Ttl+2 < ttl {
					t.Error(m.Answer[i])
				}
			}
		}
		for range 3 { // a miss, then hits
			made(f.ask(asking("Www.example.", dns.TypeAAAA)), 200)
		}
		if n := f.asked(); n != 2 {
			t.Errorf("asked %d times", n)
		}
		f.later(150 * time.Second)
		made(f.ask(asking("www.example.", dns.TypeAAAA)), 50)
		made(f.askTCP(asking("www.example.", dns.TypeAAAA)), 50)
		made(f.ask(asking("nosoa.example.", dns.TypeAAAA)), 600)
		made(f.ask(asking("mapped.example.", dns.TypeAAAA)), 600)
		made(f.ask(asking("mapped.example.", dns.TypeAAAA)), 600)
		if m := f.ask(asking("six.example.", dns.TypeAAAA)); len(m.Answer) != 1 {
			t.Error("with an AAAA of its own: ", m)
		}
		if m := f.ask(asking("none.example.", dns.TypeAAAA)); m.Rcode != 0 || len(m.Answer) != 0 || len(m.Ns) != 1 || m.Question[0].Qtype != dns.TypeAAAA {
			t.Error("with neither: ", m)
		}
		validating := withOPT(asking("www.example.", dns.TypeAAAA), 1232, true)
		validating.CheckingDisabled = true
		if m := f.ask(validating); len(m.Answer) != 0 {
			t.Error("for CD=1 with DO=1: ", m)
		}
		var wg sync.WaitGroup
		for i := range 30 {
			wg.Go(func() { made(f.ask(asking(fmt.Sprintf("n%d.example.", i%3), dns.TypeAAAA)), 200) })
		}
		wg.Wait()
	})
}

// Many authorities answer AAAA with an error where they have A (RFC 6147 §5.1.2).
func TestD63AnErrorForAAAAIsNoAAAA(t *testing.T) {
	f := newFront(t, setup{config: func(c *Config) { c.DNS64.Prefix = "64:ff9b::/96" }, handle: func(q *request) [][]byte {
		if x := q.msg.Question[0]; x.Qtype == dns.TypeAAAA {
			rcode := map[string]int{"nx.example.": dns.RcodeNameError, "refused.example.": dns.RcodeRefused}[x.Name]
			if rcode == 0 {
				rcode = dns.RcodeServerFailure
			}
			return [][]byte{packed(q.r.t, q.reply(rcode))}
		}
		return sixless(q)
	}})
	for range 3 { // also while the failure is in the cache
		for _, name := range []string{"www.example.", "refused.example."} {
			if m := f.ask(asking(name, dns.TypeAAAA)); m.Rcode != 0 || len(m.Answer) != 3 || m.Answer[1].(*dns.AAAA).AAAA.String() != "64:ff9b::c000:201" {
				t.Error(m)
			}
		}
		if m := f.ask(asking("nx.example.", dns.TypeAAAA)); m.Rcode != dns.RcodeNameError || len(m.Answer) != 0 {
			t.Error(m)
		}
	}
}

type sinkFunc func(msg []byte) bool

func (f sinkFunc) deliver(msg []byte) bool { return f(msg) }

// An equal question may end between a query's look into the cache and its entry into the
// table: what it left there must not keep A from being asked.
func TestD63AnAnswerThatCameMeanwhileLeadsToA(t *testing.T) {
	f := newFront(t, setup{config: func(c *Config) { c.DNS64.Prefix = "64:ff9b::/96" }})
	s, err := New(f.opts) // never started: this goroutine is its worker
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context()) //nolint:errcheck // nothing was opened
	defer s.abandon()          // the query to a backend
	w := s.workers[0]
	w.book.mu.Lock()
	defer w.book.mu.Unlock()
	w.begin()
	q := asking("www.example.", dns.TypeAAAA)
	raw := packed(t, q)
	s.read(w.t.query, raw)
	w.t.a.take(&w.t.q, TCP, 1232)
	q.Response = true
	none := &answer{msg: packed(t, q), kind: kindNoData, life: 60}
	if !w.t.set.cache.put(w.t.key, w.t.hash, w.t.tick, none) {
		t.Fatal("not stored")
	}
	answered := false
	wt := newWaiter(&w.t, raw, nil, udp.Dest{}, sinkFunc(func([]byte) bool { answered = true; return true }))
	w.t.book.came(TCP)
	w.t.book.InFlight[TCP]++
	w.missOf(wt, w.t.key, w.t.keyLen(), w.t.hash)
	a := append([]byte{}, w.t.key...)
	a[w.t.keyLen()-3] = dnswire.TypeA
	if answered || s.table.find(a, s.hash(a), w) == nil {
		t.Errorf("answered %v, A is asked %v", answered, s.table.find(a, s.hash(a), w) != nil)
	}
}

// manyAddresses answers A with n addresses, over UDP with TC=1 if they do not fit, and AAAA with nothing.
func manyAddresses(n int) func(q *request) [][]byte {
	return func(q *request) [][]byte {
		m := q.reply(dns.RcodeSuccess)
		m.AuthenticatedData = true
		if x := q.msg.Question[0]; x.Qtype == dns.TypeA {
			for i := range n {
				m.Answer = append(m.Answer, mustRR(q.r.t, fmt.Sprintf("%s 60 IN A 192.0.%d.%d", x.Name, i/256, i%256)))
			}
		}
		m.Compress = true
		if out := packed(q.r.t, m); q.tcp || len(out) <= 1232 {
			return [][]byte{out}
		}
		m.Truncated, m.Answer = true, nil
		return [][]byte{packed(q.r.t, m)}
	}
}

// An answer with very many addresses is not made for a client over UDP, who gets TC=1.
func TestD63WhatCannotFitIsNotMade(t *testing.T) {
	f := newFront(t, setup{handle: manyAddresses(1000), config: func(c *Config) { c.DNS64.Prefix = "64:ff9b::/96" }})
	for range 2 { // from a backend, and from the cache
		q := withOPT(asking("www.example.", dns.TypeAAAA), 1232, true)
		if m := f.ask(q); !m.Truncated || m.AuthenticatedData || m.Rcode != 0 || len(m.Answer) != 0 {
			t.Error(m)
		}
		if m := f.askTCP(q); len(m.Answer) != 1000 {
			t.Error(len(m.Answer))
		}
	}
	var r dnswire.Reply
	d := newDNS64(&DNS64Config{Prefix: "64:ff9b::/96"})
	told := 0
	for n := range 100 {
		m := asking(".", dns.TypeA) // the shortest owner
		m.Response = true
		for range n {
			m.Answer = append(m.Answer, mustRR(t, ". 60 IN A 192.0.2.1"))
		}
		raw := packed(t, m)
		for _, room := range []int{501, 1221} {
			if outgrows(rewriteA, raw, &r, room) {
				told++
				if out := made(d, rewriteA, raw[12:17], raw, 60); len(out) <= room {
					t.Errorf("%d records: %d octets fit into %d", n, len(out), room)
				}
			}
		}
	}
	if told < 100 {
		t.Errorf("told of %d", told)
	}
}

// An answer with more addresses than a made one can have has as many as it can, and is never truncated over TCP.
func TestD63MadeAnswersHaveABound(t *testing.T) {
	f := newFront(t, setup{handle: manyAddresses(4000), config: func(c *Config) { c.DNS64.Prefix = "64:ff9b::/96" }})
	for range 2 { // from a backend, and from the cache
		m := f.askTCP(withOPT(asking("www.example.", dns.TypeAAAA), 1232, false))
		if m.Truncated || m.Rcode != 0 || len(m.Answer) != maxMade || m.Answer[maxMade-1].(*dns.AAAA).AAAA.String() != "64:ff9b::c000:3e7" {
			t.Error(m.MsgHdr, len(m.Answer))
		}
	}
	if m := f.askTCP(asking("www.example.", dns.TypeA)); len(m.Answer) != 4000 {
		t.Error(m.MsgHdr, len(m.Answer))
	}
}

func TestD63PTRIsMappedBack(t *testing.T) {
	f := newFront(t, setup{handle: sixless, config: func(c *Config) { c.DNS64.Prefix = "64:ff9b::/96" }})
	for range 2 {
		name, err := dns.ReverseAddr("64:ff9b::192.0.2.1")
		if err != nil {
			t.Fatal(err)
		}
		m := f.ask(asking(strings.ToUpper(name), dns.TypePTR))
		if len(m.Answer) != 2 || m.Answer[0].(*dns.CNAME).Target != "1.2.0.192.in-addr.arpa." || m.Answer[1].(*dns.PTR).Ptr != "host.example." {
			t.Fatal(m)
		}
	}
	if n := f.asked(); n != 1 {
		t.Error("asked", n)
	}
	name, _ := dns.ReverseAddr("64:ff9b::192.0.2.9")
	if m := f.ask(asking(name, dns.TypePTR)); m.Rcode != dns.RcodeNameError || len(m.Answer) != 1 {
		t.Error(m)
	}
	name, _ = dns.ReverseAddr("2001:db8::1")
	if m := f.ask(asking(name, dns.TypePTR)); len(m.Answer) != 1 {
		t.Error("outside the prefix: ", m)
	}
}

func TestD63StaleAddressesAreMadeToo(t *testing.T) {
	f := newFront(t, setup{handle: sixless, config: func(c *Config) { c.DNS64.Prefix = "64:ff9b::/96" },
		pool: func(c *pool.Config) { c.AttemptTimeout, c.Timeout = 50*time.Millisecond, 300*time.Millisecond }})
	f.ask(asking("www.example.", dns.TypeAAAA))
	f.later(2000 * time.Second)
	for _, r := range f.resolvers {
		r.set(nil)
	}
	m := f.ask(withOPT(asking("www.example.", dns.TypeAAAA), 1232, false))
	if len(m.Answer) != 3 || m.Answer[1].(*dns.AAAA).AAAA.String() != "64:ff9b::c000:201" || ede(m) != 3 || m.Answer[1].Header().Ttl != 30 {
		t.Error(m)
	}
}

// The question for AAAA and the one for A that follows it have the time of one together, whoever asked for A before; and who
// asked for A himself has all of his.
func TestD20BothQuestionsOfDNS64HaveOneDeadline(t *testing.T) {
	const timeout = time.Second
	f := newFront(t, setup{config: func(c *Config) { c.DNS64.Prefix = "64:ff9b::/96" },
		pool: func(c *pool.Config) { c.Timeout, c.AttemptTimeout = timeout, timeout },
		handle: func(q *request) [][]byte {
			if q.msg.Question[0].Qtype == dns.TypeA {
				return nil
			}
			time.Sleep(timeout * 8 / 10)
			return sixless(q)
		}})
	failed := func(name string, typ uint16) time.Duration {
		start := time.Now()
		if m := f.ask(withOPT(asking(name, typ), 1232, false)); m.Rcode != dns.RcodeServerFailure || ede(m) != 22 {
			t.Error(m)
		}
		return time.Since(start)
	}
	var wg sync.WaitGroup
	for i := range 8 { // of two workers: those that join another's question too
		name := unique(i)
		wg.Go(func() {
			if took := failed(name, dns.TypeAAAA); took < timeout*9/10 || took > timeout*3/2 {
				t.Errorf("AAAA %s was answered after %v, the deadline is %v", name, took, timeout)
			}
		})
		if i%4 == 0 {
			continue
		}
		wg.Go(func() {
			time.Sleep(timeout * 6 / 10)
			if took := failed(name, dns.TypeA); took < timeout*9/10 {
				t.Errorf("A %s was given up after %v, the deadline is %v", name, took, timeout)
			}
		})
	}
	wg.Wait()
}
