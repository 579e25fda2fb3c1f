package dnsfront

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"sereno/health"
	"sereno/proxy/pool"
	"sereno/proxy/udp"
)

// askAll asks many different names at once and returns the answers.
func (f *front) askAll(n int, name func(i int) string) []*dns.Msg {
	out := make([]*dns.Msg, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { out[i] = f.ask(withOPT(asking(name(i), dns.TypeA), 1232, false)) })
	}
	wg.Wait()
	return out
}

func unique(i int) string { return fmt.Sprintf("n%d.example.", i) }

func TestD20EveryQueryIsAnsweredByTheDeadline(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		f := newFront(t, setup{plain: plain, pool: func(c *pool.Config) { c.Timeout, c.AttemptTimeout = 400*time.Millisecond, 100*time.Millisecond }})
		for _, r := range f.resolvers {
			r.set(nil) // frozen
		}
		start := time.Now()
		for _, m := range f.askAll(50, unique) {
			if m.Rcode != dns.RcodeServerFailure || ede(m) != int(dns.ExtendedErrorCodeNoReachableAuthority) || !m.RecursionAvailable {
				t.Error(m)
			}
		}
		if took := time.Since(start); took < 300*time.Millisecond || took > 1500*time.Millisecond {
			t.Errorf("answered after %v, the deadline is 400 ms", took)
		}
		if m := f.askTCP(asking("tcp.example.", dns.TypeA)); m.Rcode != dns.RcodeServerFailure {
			t.Error(m)
		}
	})
}

func TestD20AllBackendsRefuse(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		f := newFront(t, setup{plain: plain})
		for _, r := range f.resolvers {
			r.stop()
		}
		start := time.Now()
		m := f.ask(withOPT(asking("www.example.", dns.TypeA), 1232, false))
		if m.Rcode != dns.RcodeServerFailure || ede(m) != int(dns.ExtendedErrorCodeNetworkError) {
			t.Error(m)
		}
		if took := time.Since(start); took > 350*time.Millisecond {
			t.Errorf("a refused connection was waited for: %v", took)
		}
	})
}

func TestD21RandomIDsAndManyPorts(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		f := newFront(t, setup{plain: plain, backends: 1})
		for i := range 600 {
			f.ask(asking(unique(i), dns.TypeA))
		}
		r := f.resolvers[0]
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.ports) < minPorts*3/4 {
			t.Errorf("600 queries came from %d ports", len(r.ports))
		}
		if len(r.ids) < 580 {
			t.Errorf("600 queries had %d different IDs", len(r.ids))
		}
	})
}

func TestD21PortsAreRenewed(t *testing.T) {
	f := newFront(t, setup{backends: 1, workers: 1})
	f.ask(asking(unique(0), dns.TypeA))
	ports := func() map[string]bool {
		w := f.workers[0]
		w.book.mu.Lock()
		defer w.book.mu.Unlock()
		out := map[string]bool{}
		for _, up := range w.upstreams {
			for _, s := range up.sockets {
				out[s.conn.LocalAddr().String()] = true
			}
		}
		return out
	}
	before := ports()
	if len(before) != minPorts {
		t.Fatalf("%d ports", len(before))
	}
	f.later(time.Duration(renewEvery) + time.Second)
	until(t, "a new port", func() bool {
		f.workers[0].group.Wake()
		now := ports()
		for p := range now {
			if !before[p] {
				return len(now) == minPorts
			}
		}
		return false
	})
}

func TestD21EqualQuestionsAreAskedOnce(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		release := make(chan struct{})
		f := newFront(t, setup{plain: plain, handle: func(q *request) [][]byte { <-release; return normal(q) }})
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				name := []string{"www.example.", "WWW.example.", "wWw.EXAMPLE."}[i%3]
				if i%5 == 0 {
					f.askTCP(asking(name, dns.TypeA))
				} else if m := f.ask(asking(name, dns.TypeA)); len(m.Answer) != 1 {
					t.Error(m)
				}
			})
		}
		until(t, "39 queries that wait for an equal one", func() bool { return f.Stats().Upstream.Coalesced == 39 })
		close(release)
		wg.Wait()
		if n := f.asked(); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
}

func TestD22WrongRepliesAreIgnored(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		f := newFront(t, setup{plain: plain, handle: func(q *request) [][]byte {
			if q.tcp {
				return normal(q)
			}
			good := normal(q)[0]
			wrongID, wrongName, query, cut := bytes.Clone(good), bytes.Clone(good), bytes.Clone(good), good[:len(good)-3]
			wrongID[0] ^= 0x55
			wrongName[13] ^= 1
			query[2] &^= 0x80
			switch q.msg.Question[0].Name[0] {
			case 'a': // two wrong ones, then the right one
				return [][]byte{wrongID, wrongName, good}
			case 'b':
				return [][]byte{query, good}
			case 'c':
				return [][]byte{cut, {1}, good}
			}
			return [][]byte{wrongID, wrongName, wrongID, wrongName, good}
		}})
		for _, name := range []string{"a.example.", "b.example.", "c.example."} {
			if m := f.ask(asking(name, dns.TypeA)); len(m.Answer) != 1 || m.Answer[0].Header().Name != name {
				t.Errorf("%s: %s", name, m)
			}
		}
		if s := f.Stats(); s.Upstream.Wrong != 5 || s.Upstream.WrongToTCP != 0 || f.overTCP() != 0 {
			t.Errorf("%+v", s.Upstream)
		}
		if m := f.ask(asking("d.example.", dns.TypeA)); len(m.Answer) != 1 {
			t.Error(m)
		}
		if s := f.Stats(); s.Upstream.WrongToTCP != 1 || f.overTCP() != 1 {
			t.Errorf("repeated wrong replies did not move the question to TCP: %+v", s.Upstream)
		}
	})
}

func TestD22RepliesFromStrangersDoNotCount(t *testing.T) {
	// Upstream sockets are connected: another address never gets through to us.
	f := newFront(t, setup{backends: 1})
	stranger := newResolver(silentTB{t}, nil)
	f.resolvers[0].set(func(q *request) [][]byte {
		forged := normal(q)[0]
		forged[len(forged)-12] = 66
		_, _ = stranger.udp.WriteTo(forged, q.from)
		return normal(q)
	})
	for i := range 20 {
		if m := f.ask(asking(unique(i), dns.TypeA)); m.Answer[0].(*dns.A).A.String() != "192.0.2.1" {
			t.Error(m)
		}
	}
}

func TestD23DeadBackendIsNotNoticed(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		f := newFront(t, setup{plain: plain})
		f.resolvers[0].stop()
		for i := range 30 {
			start := time.Now()
			if m := f.ask(asking(unique(i), dns.TypeA)); len(m.Answer) != 1 {
				t.Error(m)
			}
			if took := time.Since(start); took > 300*time.Millisecond {
				t.Errorf("query %d took %v: a refused connection was waited for", i, took)
			}
		}
	})
}

func TestD23FrozenBackendCostsOneAttempt(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		f := newFront(t, setup{plain: plain, health: func(i int, a netip.AddrPort) *health.Backend { return testHealth(fmt.Sprint("b", i), a) }})
		f.resolvers[0].set(nil)
		start := time.Now()
		for _, m := range f.askAll(60, unique) {
			if len(m.Answer) != 1 {
				t.Error(m)
			}
		}
		if took := time.Since(start); took > 1500*time.Millisecond {
			t.Errorf("took %v", took)
		}
		if b := f.pool.Backend("b0"); b.Health().State() != health.Suspect {
			t.Errorf("the frozen backend is %v", b.Health().State())
		}
		before := f.resolvers[0].asked.Load()
		f.askAll(20, func(i int) string { return unique(1000 + i) })
		if n := f.resolvers[0].asked.Load() - before; n != 0 {
			t.Errorf("a suspect backend got %d queries while another is up", n)
		}
	})
}

func TestD23QueriesMoveWhenTheirBackendGoesDown(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		f := newFront(t, setup{plain: plain, health: func(i int, a netip.AddrPort) *health.Backend { return testHealth(fmt.Sprint("b", i), a) },
			pool: func(c *pool.Config) { c.AttemptTimeout, c.Timeout, c.Balance = 3*time.Second, 4*time.Second, "ordered" }})
		f.resolvers[0].set(nil)
		answered := make(chan *dns.Msg)
		go func() { answered <- f.ask(asking("www.example.", dns.TypeA)) }()
		until(t, "the query at the first backend", func() bool { return f.resolvers[0].asked.Load() == 1 })
		start := time.Now()
		probe(f.pool.Backend("b0").Health(), false)
		if m := <-answered; len(m.Answer) != 1 {
			t.Error(m)
		}
		if took := time.Since(start); took > 500*time.Millisecond {
			t.Errorf("moved after %v", took)
		}
		if s := f.Stats(); s.Upstream.Moved != 1 || s.Upstream.Retries != 0 {
			t.Errorf("%+v", s.Upstream)
		}
	})
}

// A deaf resolver answers its probe from its cache, so that it is suspected for a moment
// only: who waits for it moves all the same, and it is on trial.
func TestD23QueriesMoveWhenTheirBackendComesOnTrial(t *testing.T) {
	f := newFront(t, setup{health: func(i int, a netip.AddrPort) *health.Backend { return testHealth(fmt.Sprint("b", i), a) },
		pool: func(c *pool.Config) {
			c.AttemptTimeout, c.Timeout, c.Balance = time.Second, 1500*time.Millisecond, "ordered"
		}})
	h := f.pool.Backend("b0").Health()
	h.Watch(func(bool) {
		if h.State() == health.Suspect {
			probe(h, true)
		}
	})
	f.resolvers[0].set(nil)
	f.resolvers[0].asked.Store(0)
	var waiting sync.WaitGroup
	for i := range 22 {
		if i == 2 { // the first two have waited long by the time that they are all there
			time.Sleep(700 * time.Millisecond)
		}
		waiting.Go(func() {
			if m := f.ask(asking(unique(i), dns.TypeA)); len(m.Answer) != 1 {
				t.Error(m)
			}
		})
	}
	waiting.Wait()
	if s := f.Stats(); s.Upstream.Moved < 15 || h.State() != health.Up || h.Trial() != 2 {
		t.Errorf("%d moved; the deaf resolver is %v, on trial with %d at a time", s.Upstream.Moved, h.State(), h.Trial())
	}
	until(t, "the end of what waits for it", func() bool { return f.pool.Backend("b0").InFlight() == 0 })
	before := f.resolvers[0].asked.Load()
	f.askAll(20, func(i int) string { return unique(1000 + i) })
	if n := f.resolvers[0].asked.Load() - before; n < 1 || n > 2 {
		t.Errorf("on trial it got %d of 20 queries at once, not 2", n)
	}
}

func TestD23LateFirstAnswerStillCounts(t *testing.T) {
	f := newFront(t, setup{pool: func(c *pool.Config) {
		c.AttemptTimeout, c.Timeout, c.Balance = 50*time.Millisecond, 3*time.Second, "ordered"
	}})
	f.resolvers[0].set(func(q *request) [][]byte { time.Sleep(200 * time.Millisecond); return normal(q) })
	f.resolvers[1].set(nil)
	start := time.Now()
	if m := f.ask(asking("www.example.", dns.TypeA)); len(m.Answer) != 1 || time.Since(start) > time.Second {
		t.Error(time.Since(start), m)
	}
}

func TestD23LostDatagramIsAskedAgainWithOneBackend(t *testing.T) {
	var once sync.Once
	f := newFront(t, setup{backends: 1, pool: func(c *pool.Config) { c.AttemptTimeout = 50 * time.Millisecond }, handle: func(q *request) [][]byte {
		lost := false
		once.Do(func() { lost = true })
		if lost {
			return nil
		}
		return normal(q)
	}})
	if m := f.ask(asking("www.example.", dns.TypeA)); len(m.Answer) != 1 {
		t.Error(m)
	}
}

func TestD23RetriesStayInTheBudget(t *testing.T) {
	f := newFront(t, setup{pool: func(c *pool.Config) {
		c.AttemptTimeout, c.Timeout, c.RetryBudget = 20*time.Millisecond, 300*time.Millisecond, 0
	}})
	for _, r := range f.resolvers {
		r.set(nil)
	}
	f.askAll(200, unique)
	s := f.Stats()
	if s.Upstream.Retries > 100 || s.Upstream.NoBudget == 0 || s.Upstream.Asked != 200+s.Upstream.Retries+s.Upstream.Moved {
		t.Errorf("%+v", s.Upstream)
	}
}

// Whoever asks many questions that backends answer with an error, or that the only backend does, takes no retry from a
// question whose datagram was lost.
func TestD24RetriesOfAnswersLeaveSomeForSilence(t *testing.T) {
	for backends, retries := range map[int]uint64{1: 0, 2: 74} {
		var lost sync.Once
		f := newFront(t, setup{backends: backends, pool: func(c *pool.Config) { c.AttemptTimeout, c.Timeout = 200*time.Millisecond, 2*time.Second },
			handle: func(q *request) [][]byte {
				if q.msg.Question[0].Qtype == dns.TypeMAILB {
					return [][]byte{packed(q.r.t, q.reply(dns.RcodeNotImplemented))}
				}
				silent := false
				lost.Do(func() { silent = true })
				if silent {
					return nil
				}
				return normal(q)
			}})
		for i := range 150 {
			if m := f.ask(asking(unique(i), dns.TypeMAILB)); m.Rcode != dns.RcodeNotImplemented {
				t.Error(m)
			}
		}
		if s := f.Stats().Upstream; s.Retries != retries {
			t.Errorf("%d backends: %+v", backends, s)
		}
		if m := f.ask(asking("www.example.", dns.TypeA)); len(m.Answer) != 1 {
			t.Errorf("%d backends: a lost datagram was not made good: %s", backends, m)
		}
	}
}

func TestD26BoundsInFlight(t *testing.T) {
	release := make(chan struct{})
	f := newFront(t, setup{handle: func(q *request) [][]byte { <-release; return normal(q) }})
	f.resolvers[0].set(nil)
	f.resolvers[1].set(nil)
	defer close(release)
	// max_in_flight of both backends, over which nobody is left to ask.
	var members []pool.Member
	for i, r := range f.resolvers {
		m := pool.Member{Addr: r.addr}
		m.Config.SetDefaults()
		m.Config.Name, m.Config.Address, m.Config.MaxInFlight = fmt.Sprintf("b%d", i), r.addr.String(), 5
		members = append(members, m)
	}
	if err := f.pool.Update(f.pool.Config(), members); err != nil {
		t.Fatal(err)
	}
	for i, m := range f.askAll(30, unique) {
		if m.Rcode != dns.RcodeServerFailure {
			t.Errorf("%d: %s", i, m)
		}
	}
	for _, r := range f.resolvers {
		if n := r.asked.Load(); n > 5 {
			t.Errorf("a backend with max_in_flight 5 got %d silent queries", n)
		}
	}
	if s := f.Stats(); s.Upstream.NoBackend == 0 {
		t.Error(s.Upstream)
	}
	// The bound on all.
	f.load.Add(DefaultMaxInFlight)
	start := time.Now()
	if m := f.ask(withOPT(asking("over.example.", dns.TypeA), 1232, false)); m.Rcode != dns.RcodeServerFailure || time.Since(start) > 300*time.Millisecond || ede(m) != 0 {
		t.Error(time.Since(start), m)
	}
	f.load.Add(-DefaultMaxInFlight)
	if s := f.Stats(); s.Upstream.Overload != 1 {
		t.Error(s.Upstream)
	}
}

// A backend that hangs takes queries over TCP and never answers. When it is well again, and knows nothing of its old
// connections, those must not be kept.
func TestD27StuckConnectionIsReplaced(t *testing.T) {
	var well atomic.Bool
	var stuck sync.Map // connections over which nothing comes
	f := newFront(t, setup{backends: 1, pool: func(c *pool.Config) {
		c.Timeout, c.AttemptTimeout, c.Attempts = 400*time.Millisecond, 100*time.Millisecond, 1
	}, handle: func(q *request) [][]byte {
		if q.tcp && !well.Load() {
			stuck.Store(q.from.String(), true)
		}
		if _, is := stuck.Load(q.from.String()); is {
			return nil
		}
		return normal(q)
	}})
	for i := range 2 {
		if m := f.askTCP(asking(fmt.Sprintf("big-stuck%d.example.", i), dns.TypeA)); m.Rcode != dns.RcodeServerFailure {
			t.Errorf("%v from a backend that hangs", m.MsgHdr)
		}
	}
	well.Store(true)
	n := 0
	until(t, "an answer over another connection", func() bool {
		n++
		return len(f.askTCP(asking(fmt.Sprintf("big-well%d.example.", n), dns.TypeA)).Answer) == 200
	})
}

func TestD27BrokenConnectionFailsOnlyItsOwnQueries(t *testing.T) {
	var broken atomic.Int64
	f := newFront(t, setup{handle: func(q *request) [][]byte {
		if q.tcp && q.msg.Question[0].Name == "bigbroken.example." && broken.Add(1) <= 2 {
			return [][]byte{{}}
		}
		return normal(q)
	}})
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			if m := f.askTCP(asking(fmt.Sprintf("big%d.example.", i), dns.TypeA)); len(m.Answer) != 200 {
				t.Errorf("%d: %v", i, m.MsgHdr)
			}
		})
	}
	wg.Go(func() {
		if m := f.askTCP(asking("bigbroken.example.", dns.TypeA)); len(m.Answer) != 200 || broken.Load() != 3 {
			t.Error(m)
		}
	})
	wg.Wait()
	for _, r := range f.resolvers {
		r.mu.Lock()
		if n := len(r.conns); n > tcpConns {
			t.Errorf("%d connections to one backend", n)
		}
		r.mu.Unlock()
	}
}

// What a worker reads together goes to few backends of a large pool, so that it leaves in few batches.
func TestD53ABatchGoesToFewOfManyBackends(t *testing.T) {
	const backends, queries = 32, 64
	f := newFront(t, setup{workers: 1, backends: backends})
	w := f.workers[0]
	client, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(f.addr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_ = client.SetDeadline(time.Now().Add(20 * time.Second))
	least := backends
	for round := range 20 {
		before := make([]int64, backends)
		for i, r := range f.resolvers {
			before[i] = r.asked.Load()
		}
		w.book.mu.Lock() // what comes meanwhile is read together
		for i := range queries {
			if _, err := client.Write(packed(t, asking(unique(round*queries+i), dns.TypeA))); err != nil {
				t.Fatal(err)
			}
		}
		w.book.mu.Unlock()
		for range queries {
			if _, err := client.Read(make([]byte, 512)); err != nil {
				t.Fatal(err)
			}
		}
		asked := 0
		for i, r := range f.resolvers {
			if r.asked.Load() > before[i] {
				asked++
			}
		}
		least = min(least, asked)
	}
	if least > queries/8+2 { // one is read by itself before; and a retry on a busy machine is no harm either
		t.Errorf("%d queries at once went to %d backends at the best", queries, least)
	}
}

// TestD21StrayedSocketsAreLeft: a socket that was opened while a link was down keeps the address of another way. It is
// left as soon as something on it was silent, when the backend comes up again, and at the next renewal.
func TestD21StrayedSocketsAreLeft(t *testing.T) {
	for name, notice := range map[string]func(f *front, up *upstream){
		"renewal": func(f *front, _ *upstream) { f.later(time.Duration(renewEvery) + time.Second) },
		"silence": func(f *front, up *upstream) { up.silence = true; f.later(2 * time.Second) },
		"up":      func(f *front, up *upstream) { up.wasUp = false; f.later(2 * time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFront(t, setup{backends: 1, workers: 1})
			f.ask(asking(unique(0), dns.TypeA))
			w := f.workers[0]
			look := func(do func(up *upstream)) {
				w.book.mu.Lock()
				defer w.book.mu.Unlock()
				for _, up := range w.upstreams {
					do(up)
				}
			}
			right := netip.MustParseAddr("127.0.0.1")
			look(func(up *upstream) {
				for i := range 5 {
					sock := &socket{up: up, ids: map[uint32]*attempt{}}
					c, err := w.group.Dial(up.backend.Addr(), netip.MustParseAddr("127.0.0.9"), udp.ListenConfig{Tag: sock})
					if err != nil {
						t.Error(err)
						return
					}
					sock.conn = c
					w.retired = append(w.retired, up.sockets[i])
					up.sockets[i].retired, up.sockets[i] = true, sock
				}
				up.current = nil
				notice(f, up)
			})
			until(t, "the right sockets alone", func() bool {
				w.group.Wake()
				strayed := 0
				look(func(up *upstream) {
					for _, s := range up.sockets {
						if s.conn.LocalAddr().Addr() != right {
							strayed++
						}
					}
				})
				return strayed == 0
			})
			if m := f.ask(asking(unique(1), dns.TypeA)); len(m.Answer) != 1 {
				t.Error(m)
			}
		})
	}
}
