package dnsfront

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"sereno/health"
	"sereno/proxy/pool"
)

func ttlOf(t *testing.T, m *dns.Msg) uint32 {
	t.Helper()
	for _, rr := range append(m.Answer, m.Ns...) {
		return rr.Header().Ttl
	}
	t.Fatalf("no record: %s", m)
	return 0
}

func TestD30AnswersServeEveryTransportAndOption(t *testing.T) {
	f := newFront(t, setup{})
	q := asking("www.example.", dns.TypeA)
	f.ask(q)
	ad := asking("www.example.", dns.TypeA)
	ad.AuthenticatedData = true
	f.ask(ad)
	f.askTCP(q)
	f.ask(withOPT(asking("www.example.", dns.TypeA), 700, false))
	cookie := withOPT(asking("www.example.", dns.TypeA), 1400, false)
	cookie.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef"}, &dns.EDNS0_PADDING{Padding: make([]byte, 9)}}
	f.ask(cookie)
	if n := f.asked(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestD31TTLsCountDownAndZeroIsNotStored(t *testing.T) {
	f := newFront(t, setup{})
	for i, want := range []uint32{300, 299, 200, 1} {
		f.later([]time.Duration{0, time.Second, 99 * time.Second, 199 * time.Second}[i])
		if got := ttlOf(t, f.ask(asking("www.example.", dns.TypeA))); got != want && got != want-1 {
			t.Errorf("%d: TTL %d, want %d", i, got, want)
		}
	}
	if f.asked() != 1 {
		t.Error("asked", f.asked())
	}
	f.later(2 * time.Second)
	if got := ttlOf(t, f.ask(asking("www.example.", dns.TypeA))); got != 300 || f.asked() != 2 {
		t.Error("after its end:", got, f.asked())
	}
	for range 3 {
		f.ask(asking("zero.example.", dns.TypeA))
	}
	if n := f.asked(); n != 5 {
		t.Error("TTL 0 was stored", n)
	}
}

func TestD32MaxAndMinTTLOnTheWire(t *testing.T) {
	f := newFront(t, setup{config: func(c *Config) { c.Cache.MaxTTL, c.Cache.MinTTL = 100*time.Second, 20*time.Second }, handle: func(q *request) [][]byte {
		m := q.reply(dns.RcodeSuccess)
		name := q.msg.Question[0].Name
		m.Answer = []dns.RR{mustRR(q.r.t, fmt.Sprintf("%s %s IN A 192.0.2.1", name, strings.TrimPrefix(name[:strings.Index(name, ".")], "t")))}
		return [][]byte{packed(q.r.t, m)}
	}})
	for name, want := range map[string]uint32{"t5.example.": 20, "t50.example.": 50, "t5000.example.": 100, "t0.example.": 20} {
		for range 2 {
			if got := ttlOf(t, f.ask(asking(name, dns.TypeA))); got != want && got != want-1 {
				t.Errorf("%s: TTL %d, want %d", name, got, want)
			}
		}
	}
	if n := f.asked(); n != 4 {
		t.Error("asked", n)
	}
	f.later(101 * time.Second)
	f.ask(asking("t5000.example.", dns.TypeA))
	if n := f.asked(); n != 5 {
		t.Error("max_ttl does not end an entry")
	}
}

// A failure may come with records (a DNAME whose target fails): their TTLs are no others'.
func TestD32MaxTTLHoldsForFailuresToo(t *testing.T) {
	f := newFront(t, setup{config: func(c *Config) { c.Cache.MaxTTL = 100 * time.Second }, handle: func(q *request) [][]byte {
		m := q.reply(dns.RcodeServerFailure)
		m.Ns = []dns.RR{mustRR(q.r.t, "example. 500 IN NS ns.example."), mustRR(q.r.t, "example. 500 IN NS ns2.example.")}
		m.Ns[1].Header().Ttl = 1<<31 + 5
		return [][]byte{packed(q.r.t, m)}
	}})
	for range 2 { // from a backend, then from the cache
		m := f.ask(asking("www.example.", dns.TypeA))
		if len(m.Ns) != 2 || m.Ns[0].Header().Ttl > 100 || m.Ns[1].Header().Ttl != 0 {
			t.Error(m)
		}
	}
}

func TestD33NegativeAnswersLiveAsTheirSOASays(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		f := newFront(t, setup{plain: plain})
		for _, name := range []string{"nx.example.", "nodata.example."} {
			before := f.asked()
			for range 2 {
				if got := ttlOf(t, f.ask(asking(name, dns.TypeA))); got != 120 && got != 119 {
					t.Errorf("%s: TTL %d, want the SOA's MINIMUM", name, got)
				}
			}
			if n := f.asked() - before; n != 1 {
				t.Errorf("%s: asked %d times", name, n)
			}
			f.later(121 * time.Second)
			f.ask(asking(name, dns.TypeA))
			if n := f.asked() - before; n != 2 {
				t.Errorf("%s: asked %d times after its end", name, n)
			}
		}
		before := f.asked()
		for range 3 {
			if m := f.ask(asking("nosoa.example.", dns.TypeA)); m.Rcode != dns.RcodeNameError {
				t.Error(m)
			}
		}
		if n := f.asked() - before; n != 3 {
			t.Errorf("without a SOA it was stored: asked %d times", n)
		}
	})
}

func TestD33TheSOAsTTLIsAnUpperBound(t *testing.T) {
	f := newFront(t, setup{handle: func(q *request) [][]byte {
		m := q.reply(dns.RcodeNameError)
		m.Ns = []dns.RR{mustRR(q.r.t, "example. 60 IN SOA ns.example. root.example. 1 2 3 4 120")}
		return [][]byte{packed(q.r.t, m)}
	}})
	if got := ttlOf(t, f.ask(asking("www.example.", dns.TypeA))); got != 60 {
		t.Error(got)
	}
	f.later(61 * time.Second)
	f.ask(asking("www.example.", dns.TypeA))
	if n := f.asked(); n != 2 {
		t.Error(n)
	}
}

func TestD33NegativeTTLIsAnUpperBound(t *testing.T) {
	f := newFront(t, setup{config: func(c *Config) { c.Cache.NegativeTTL = 10 * time.Second }})
	if got := ttlOf(t, f.ask(asking("nx.example.", dns.TypeA))); got != 10 {
		t.Error(got)
	}
	f.later(11 * time.Second)
	f.ask(asking("nx.example.", dns.TypeA))
	if f.asked() != 2 {
		t.Error(f.asked())
	}
}

func TestD24FailureIsAskedOfOneOther(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		for _, rcode := range []int{dns.RcodeServerFailure, dns.RcodeRefused, dns.RcodeNotImplemented, dns.RcodeFormatError} {
			f := newFront(t, setup{plain: plain, backends: 3, pool: func(c *pool.Config) { c.Balance = "ordered" }})
			bad := func(q *request) [][]byte { return [][]byte{packed(q.r.t, q.reply(rcode))} }
			f.resolvers[0].set(bad)
			if m := f.ask(asking("www.example.", dns.TypeA)); m.Rcode != dns.RcodeSuccess {
				t.Errorf("rcode %d: %s", rcode, m)
			}
			f.resolvers[1].set(bad)
			if m := f.ask(asking("other.example.", dns.TypeA)); m.Rcode != rcode {
				t.Errorf("rcode %d of two backends: %s", rcode, m)
			}
			if n := f.resolvers[2].asked.Load(); n != 0 {
				t.Errorf("rcode %d: a third was asked", rcode)
			}
			if n := f.asked(); n != 4 {
				t.Errorf("rcode %d: asked %d times", rcode, n)
			}
		}
	})
}

func TestD24NXDomainIsFinalAtOnce(t *testing.T) {
	f := newFront(t, setup{})
	f.ask(asking("nx.example.", dns.TypeA))
	f.ask(asking("nodata.example.", dns.TypeA))
	if n := f.asked(); n != 2 {
		t.Error("asked", n)
	}
}

// Who asked a backend was not without one, though no other is left for a second attempt.
func TestD24NobodyElseToAskIsNoQuestionWithoutABackend(t *testing.T) {
	f := newFront(t, setup{backends: 1})
	f.ask(asking("fail.example.", dns.TypeA))
	if u := f.Stats().Upstream; u.Asked != 1 || u.NoBackend != 0 {
		t.Errorf("%+v", u)
	}
}

func TestD24FailureOfTheFirstIsGivenWhenTheSecondIsSilent(t *testing.T) {
	f := newFront(t, setup{pool: func(c *pool.Config) {
		c.Balance, c.AttemptTimeout, c.Timeout, c.Attempts = "ordered", 50*time.Millisecond, 300*time.Millisecond, 2
	}})
	f.resolvers[0].set(func(q *request) [][]byte {
		m := q.reply(dns.RcodeServerFailure)
		m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_EDE{InfoCode: 6}} // DNSSEC bogus
		return [][]byte{packed(q.r.t, m)}
	})
	f.resolvers[1].set(nil)
	if m := f.ask(withOPT(asking("www.example.", dns.TypeA), 1232, false)); m.Rcode != dns.RcodeServerFailure || ede(m) != 6 {
		t.Error(m)
	}
}

// A silent backend is no reason to keep a failure from the next one.
func TestD24FailureAfterASilentBackendIsAskedOfOneOther(t *testing.T) {
	f := newFront(t, setup{backends: 3, pool: func(c *pool.Config) {
		c.Balance, c.AttemptTimeout, c.Timeout, c.Attempts = "ordered", 50*time.Millisecond, time.Second, 3
	}})
	f.resolvers[0].set(nil)
	f.resolvers[1].set(func(q *request) [][]byte { return [][]byte{packed(q.r.t, q.reply(dns.RcodeServerFailure))} })
	if m := f.ask(asking("www.example.", dns.TypeA)); m.Rcode != dns.RcodeSuccess {
		t.Error(m)
	}
}

func TestD25FastFailureDrawsNoTraffic(t *testing.T) {
	f := newFront(t, setup{})
	f.resolvers[0].set(func(q *request) [][]byte { return [][]byte{packed(q.r.t, q.reply(dns.RcodeServerFailure))} })
	for i := range 200 {
		f.ask(asking(unique(i), dns.TypeA))
	}
	if bad, good := f.resolvers[0].asked.Load(), f.resolvers[1].asked.Load(); bad > 40 || good < 190 {
		t.Errorf("the failing backend was asked %d times, the other %d times", bad, good)
	}
}

// TestD25RefusalsWithoutRDSayNothing: a resolver may well refuse what asks for its cache alone.
func TestD25RefusalsWithoutRDSayNothing(t *testing.T) {
	f := newFront(t, setup{})
	f.resolvers[0].set(func(q *request) [][]byte { return [][]byte{packed(q.r.t, q.reply(dns.RcodeRefused))} })
	for i := range 200 {
		q := asking(unique(i), dns.TypeA)
		q.RecursionDesired = false
		f.ask(q)
	}
	if n := f.resolvers[0].asked.Load(); n < 60 {
		t.Errorf("the backend that refuses was asked %d times of 200", n)
	}
}

func TestD34FailuresLiveShortly(t *testing.T) {
	f := newFront(t, setup{})
	for range 3 {
		f.ask(asking("fail.example.", dns.TypeA))
	}
	if n := f.asked(); n != 2 { // of two backends, once
		t.Error("SERVFAIL was not stored:", n)
	}
	f.later(6 * time.Second)
	f.ask(asking("fail.example.", dns.TypeA))
	if n := f.asked(); n != 4 {
		t.Error("SERVFAIL lives longer than failure_ttl:", n)
	}
	for range 3 {
		f.ask(asking("refused.example.", dns.TypeA))
	}
	if n := f.asked(); n != 10 {
		t.Error("REFUSED was stored:", n)
	}
}

func TestD34OwnFailuresAreNotStored(t *testing.T) {
	f := newFront(t, setup{pool: func(c *pool.Config) { c.Timeout, c.AttemptTimeout = 200*time.Millisecond, 50*time.Millisecond }})
	for _, r := range f.resolvers {
		r.set(nil)
	}
	f.ask(asking("www.example.", dns.TypeA))
	for _, r := range f.resolvers {
		r.set(normal)
	}
	if m := f.ask(asking("www.example.", dns.TypeA)); m.Rcode != dns.RcodeSuccess {
		t.Error(m)
	}
}

// isStale checks an answer that was given for want of a fresh one.
func isStale(t *testing.T, m *dns.Msg, code int) {
	t.Helper()
	if ede(m) != code || ttlOf(t, m) != 30 {
		t.Errorf("not a stale answer with extended error %d: %s", code, m)
	}
}

func (f *front) askE(name string) *dns.Msg {
	f.t.Helper()
	return f.ask(withOPT(asking(name, dns.TypeA), 1232, false))
}

func TestD35StaleWhenTheAttemptsFail(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		f := newFront(t, setup{plain: plain, pool: func(c *pool.Config) { c.AttemptTimeout, c.Attempts = 60*time.Millisecond, 2 }})
		f.askE("www.example.")
		f.askE("nx.example.")
		f.later(400 * time.Second)
		for _, r := range f.resolvers {
			r.set(nil)
		}
		start := time.Now()
		isStale(t, f.askE("www.example."), 3)
		if took := time.Since(start); took < 50*time.Millisecond || took > time.Second {
			t.Errorf("after %v: not when the attempts had failed", took)
		}
		isStale(t, f.askE("nx.example."), 19)
		if s := f.Stats(); s.Answers[UDP][FromStale][0] != 1 || s.Answers[UDP][FromStale][3] != 1 {
			t.Error("stale answers are not counted as such")
		}
	})
}

func TestD35StaleAtOnceAfterAFailure(t *testing.T) {
	f := newFront(t, setup{pool: func(c *pool.Config) { c.AttemptTimeout, c.Timeout = 300*time.Millisecond, 900*time.Millisecond }})
	f.askE("www.example.")
	f.later(400 * time.Second)
	for _, r := range f.resolvers {
		r.set(nil)
	}
	isStale(t, f.askE("www.example."), 3)
	until(t, "the asking to end", func() bool { return f.load.Load() == 0 })
	asked := f.asked()
	start := time.Now()
	isStale(t, f.askE("www.example."), 3)
	if time.Since(start) > 250*time.Millisecond || f.asked() != asked {
		t.Error("after a failure it was asked again, or waited for")
	}
	for _, r := range f.resolvers {
		r.set(normal)
	}
	f.later(31 * time.Second)
	if m := f.askE("www.example."); ede(m) != -1 || ttlOf(t, m) != 300 {
		t.Error("30 s later it is still stale:", m)
	}
}

func TestD35StaleWhenStaleAfterPasses(t *testing.T) {
	f := newFront(t, setup{backends: 1, config: func(c *Config) { c.Cache.Stale.After = 300 * time.Millisecond },
		pool: func(c *pool.Config) { c.AttemptTimeout, c.Timeout = 3*time.Second, 5*time.Second }})
	f.askE("www.example.")
	f.later(400 * time.Second)
	release := make(chan struct{})
	f.resolvers[0].set(func(q *request) [][]byte { <-release; return normal(q) })
	start := time.Now()
	isStale(t, f.askE("www.example."), 3)
	if took := time.Since(start); took < 280*time.Millisecond || took > 2*time.Second {
		t.Errorf("after %v", took)
	}
	start = time.Now()
	isStale(t, f.askE("www.example."), 3) // the flight has gone over to stale answers
	if took := time.Since(start); took > 250*time.Millisecond {
		t.Errorf("who comes later waits again: %v", took)
	}
	close(release) // the asking went on, and its answer replaces the stale one
	until(t, "the fresh answer", func() bool { m := f.askE("www.example."); return ede(m) == -1 })
	if n := f.asked(); n != 2 {
		t.Error("asked", n)
	}
}

func TestD35StaleAtOnceWhenAllAreDown(t *testing.T) {
	f := newFront(t, setup{health: func(i int, a netip.AddrPort) *health.Backend { return testHealth(fmt.Sprint("b", i), a) },
		pool: func(c *pool.Config) { c.AttemptTimeout, c.Timeout = 3*time.Second, 5*time.Second }})
	f.askE("www.example.")
	f.later(400 * time.Second)
	release := make(chan struct{})
	for i, r := range f.resolvers {
		r.set(func(q *request) [][]byte { <-release; return normal(q) })
		probe(f.pool.Backend(fmt.Sprint("b", i)).Health(), false)
	}
	start := time.Now()
	isStale(t, f.askE("www.example."), 3)
	if took := time.Since(start); took > time.Second {
		t.Errorf("waited %v though every backend is down", took)
	}
	close(release) // one of them was asked all the same, and its answer ends it
	until(t, "the fresh answer", func() bool { m := f.askE("www.example."); return ede(m) == -1 })
}

func TestD35StaleGoesBeforeServfailAndRefused(t *testing.T) {
	for _, rcode := range []int{dns.RcodeServerFailure, dns.RcodeRefused} {
		f := newFront(t, setup{})
		f.askE("www.example.")
		f.later(400 * time.Second)
		for _, r := range f.resolvers {
			r.set(func(q *request) [][]byte { return [][]byte{packed(q.r.t, q.reply(rcode))} })
		}
		isStale(t, f.askE("www.example."), 3)
		f.later(25 * time.Hour)
		if m := f.askE("www.example."); m.Rcode != rcode {
			t.Error("older than stale.for:", m)
		}
	}
}

func TestD35FreshNXDomainReplacesStaleData(t *testing.T) {
	f := newFront(t, setup{})
	f.askE("www.example.")
	f.later(400 * time.Second)
	for _, r := range f.resolvers {
		r.set(func(q *request) [][]byte {
			m := q.reply(dns.RcodeNameError)
			m.Ns = []dns.RR{mustRR(q.r.t, "example. 60 IN SOA a. b. 1 2 3 4 60")}
			return [][]byte{packed(q.r.t, m)}
		})
	}
	for range 2 {
		if m := f.askE("www.example."); m.Rcode != dns.RcodeNameError || ede(m) != -1 {
			t.Error(m)
		}
	}
}

// What says that there is nothing replaces an expired answer also where it cannot be stored itself, without a SOA (D33): a
// name that the backends block is not given while they are down.
func TestD35NegativeAnswersWithoutASOAReplaceStaleDataToo(t *testing.T) {
	f := newFront(t, setup{})
	for name, rcode := range map[string]int{"gone.example.": dns.RcodeNameError, "empty.example.": dns.RcodeSuccess} {
		reply := func(rcode int) {
			for _, r := range f.resolvers {
				r.set(func(q *request) [][]byte { return [][]byte{packed(q.r.t, q.reply(rcode))} })
			}
		}
		for _, r := range f.resolvers {
			r.set(normal)
		}
		f.askE(name)
		f.later(400 * time.Second)
		reply(rcode)
		if m := f.askE(name); m.Rcode != rcode || len(m.Answer) != 0 {
			t.Error(m)
		}
		reply(dns.RcodeServerFailure)
		if m := f.askE(name); m.Rcode != dns.RcodeServerFailure || ede(m) == int(dns.ExtendedErrorCodeStaleAnswer) {
			t.Error(m)
		}
	}
}

func TestD37CountersBalanceAtAnyMoment(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		var n atomic.Int64
		f := newFront(t, setup{plain: plain, handle: func(q *request) [][]byte {
			if n.Add(1)%7 == 0 {
				return nil
			}
			return normal(q)
		}, pool: func(c *pool.Config) { c.AttemptTimeout, c.Timeout = 20*time.Millisecond, 60*time.Millisecond }})
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				s := f.Stats()
				for tr := range NumTransports {
					var answers, drops uint64
					for _, by := range s.Answers[tr] {
						for _, k := range by {
							answers += k
						}
					}
					for _, k := range s.Drops[tr] {
						drops += k
					}
					if s.InFlight[tr] < 0 || s.Queries[tr] != answers+drops+uint64(s.InFlight[tr]) {
						t.Errorf("%v: %d queries, %d answers, %d drops, %d in flight", tr, s.Queries[tr], answers, drops, s.InFlight[tr])
						return
					}
				}
			}
		})
		var clients sync.WaitGroup
		for c := range 8 {
			clients.Go(func() {
				for i := range 60 {
					name := fmt.Sprintf("n%d.example.", (c*31+i*7)%97)
					if i%6 == 0 {
						f.askTCP(asking(name, dns.TypeA))
					} else {
						f.ask(asking(name, dns.TypeA))
					}
				}
			})
		}
		clients.Wait()
		close(stop)
		wg.Wait()
	})
}
