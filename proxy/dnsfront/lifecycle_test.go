package dnsfront

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"sereno/proxy/pool"
)

func TestD52AnswersLeaveFromTheAddressThatWasAsked(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		f := newFront(t, setup{plain: plain, config: func(c *Config) { c.Listen = []string{"0.0.0.0:0"} }})
		for _, ip := range []string{"127.0.0.1", "127.0.0.5", "127.1.2.3"} {
			f.addr = netip.AddrPortFrom(netip.MustParseAddr(ip), f.addr.Port())
			f.ask(asking("www.example.", dns.TypeA)) // a connected client takes nothing from elsewhere
			f.askTCP(asking("www.example.", dns.TypeA))
		}
	})
}

func TestD52ListensWhereTheAddressIsNotThereYet(t *testing.T) {
	f := newFront(t, setup{config: func(c *Config) { c.Listen = []string{"127.0.0.1:0", "192.0.2.53:0"} }})
	if n := len(f.Listeners()); n != 4 {
		t.Error(n, "listeners")
	}
}

func TestD53SecondInstanceEndsWithAMessage(t *testing.T) {
	f := newFront(t, setup{})
	o := f.opts
	o.Config.Listen = []string{f.addr.String()}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Start()
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), f.addr.String()) {
		t.Error(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	f.ask(asking("www.example.", dns.TypeA))
}

func TestD53EachWorkerHasItsSocket(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		f := newFront(t, setup{plain: plain, workers: 4})
		for _, l := range f.Listeners() {
			if l.Transport == UDP && len(f.settings.Load().listeners[0].conns) != 4 {
				t.Error("not four sockets")
			}
			if l.KernelDrops != 0 {
				t.Error(l)
			}
		}
		for i := range 100 {
			f.ask(asking(unique(i%10), dns.TypeA))
		}
		busy := 0
		for _, w := range f.workers {
			if w.packets.Load() > 0 {
				busy++
			}
		}
		if busy < 2 || f.Packets() < 100 {
			t.Errorf("%d workers were busy, %d packets", busy, f.Packets())
		}
	})
}

func TestD60OthersAreRefusedOrDropped(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		f := newFront(t, setup{plain: plain, config: func(c *Config) { c.Allow = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} }})
		m := f.ask(withOPT(asking("www.example.", dns.TypeA), 1232, false))
		if m.Rcode != dns.RcodeRefused || ede(m) != int(dns.ExtendedErrorCodeProhibited) {
			t.Error(m)
		}
		if m := f.askTCP(asking("www.example.", dns.TypeA)); m.Rcode != dns.RcodeRefused {
			t.Error(m)
		}
		o := f.opts
		o.Config.Deny = "drop"
		if err := f.Update(o); err != nil {
			t.Fatal(err)
		}
		if out := f.send(packed(t, asking("www.example.", dns.TypeA)), 50*time.Millisecond); out != nil {
			t.Error("answered")
		}
		if s := f.Stats(); s.Drops[UDP][DropNotAllowed] != 1 || f.asked() != 0 {
			t.Error(s.Drops, f.asked())
		}
	})
}

func TestUpdateChangesEverythingAsOneSwap(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		f := newFront(t, setup{plain: plain})
		f.ask(asking("www.example.", dns.TypeA))
		keep := f.addr
		o := f.opts
		o.Config.Listen = []string{"127.0.0.1:0", "127.0.0.3:0"}
		o.Config.UDPSize = 600
		if err := f.Update(o); err != nil {
			t.Fatal(err)
		}
		ls := f.Listeners()
		if len(ls) != 4 || ls[0].Address != keep {
			t.Fatal(ls)
		}
		if m := f.ask(withOPT(asking("www.example.", dns.TypeA), 1232, false)); m.IsEdns0().UDPSize() != 600 || f.asked() != 1 {
			t.Error("the cache or the new size was lost: ", m)
		}
		f.addr = ls[1].Address
		f.ask(asking("www.example.", dns.TypeA))
		f.addr = keep

		bad := o
		bad.Config.Listen = []string{"127.0.0.1:0", keep.String()} // taken by ourselves
		if err := f.Update(bad); err == nil {
			t.Error("a taken address was accepted")
		}
		bad = o
		bad.Config.Pool = "unknown"
		if err := f.Update(bad); err == nil {
			t.Error("an unknown pool was accepted")
		}
		bad = o
		bad.Config.UDPSize = 7
		if err := f.Update(bad); err == nil {
			t.Error("a wrong value was accepted")
		}
		if n := len(f.Listeners()); n != 4 {
			t.Error("a refused update changed the listeners:", n)
		}
		f.ask(asking("www.example.", dns.TypeA))

		o.Config.Listen = []string{"127.0.0.1:0"}
		o.Config.Cache.Enabled = false
		if err := f.Update(o); err != nil {
			t.Fatal(err)
		}
		f.ask(asking("www.example.", dns.TypeA))
		if f.asked() != 2 {
			t.Error("the cache is still on")
		}
		if c, err := net.Dial("tcp", ls[3].Address.String()); err == nil {
			_ = c.Close()
			t.Error("a listener that is not wanted any more takes connections")
		}
		o.Config.Cache.Enabled = true
		if err := f.Update(o); err != nil {
			t.Fatal(err)
		}
		f.ask(asking("www.example.", dns.TypeA))
		f.ask(asking("www.example.", dns.TypeA))
		if f.asked() != 3 {
			t.Error("the cache is still off")
		}
	})
}

// TestUpdateUnderTraffic: reloads, a health flap and queries at the same time lose nothing.
func TestUpdateUnderTraffic(t *testing.T) {
	f := newFront(t, setup{pool: func(c *pool.Config) { c.AttemptTimeout = 50 * time.Millisecond }})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var answers atomic.Int64
	for c := range 6 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				q := asking(fmt.Sprintf("n%d-%d.example.", c, i%50), dns.TypeA)
				if c == 0 {
					f.askTCP(q)
				} else if m := f.ask(q); m.Rcode != dns.RcodeSuccess {
					t.Error(m)
				}
				answers.Add(1)
			}
		})
	}
	for i := range 30 {
		o := f.opts
		o.Config.UDPSize = 1000 + i
		o.Config.Cache.Entries = 5000 + 100*i
		o.Config.Cache.Enabled = i%5 != 0
		if i%2 == 0 {
			o.Config.Listen = []string{"127.0.0.1:0", "127.0.0.4:0"}
		}
		if err := f.Update(o); err != nil {
			t.Fatal(err)
		}
		f.Stats()
		f.Flush("", false)
		time.Sleep(5 * time.Millisecond)
	}
	close(stop)
	wg.Wait()
	if answers.Load() == 0 {
		t.Error("no answer")
	}
}

func TestCloseAnswersWhatIsInFlight(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		release := make(chan struct{})
		f := newFront(t, setup{plain: plain, handle: func(q *request) [][]byte { <-release; return normal(q) }})
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				if i%4 == 0 {
					f.askTCP(asking(unique(i), dns.TypeA))
				} else if m := f.ask(asking(unique(i), dns.TypeA)); len(m.Answer) != 1 {
					t.Error(m)
				}
			})
		}
		until(t, "20 in flight", func() bool { s := f.Stats(); return s.TotalInFlight() == 20 })
		closed := make(chan error)
		go func() { closed <- f.Close(t.Context()) }()
		until(t, "closing", func() bool { return f.closing.Load() })
		close(release)
		wg.Wait()
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}

func TestCloseDoesNotWaitForEver(t *testing.T) {
	f := newFront(t, setup{})
	for _, r := range f.resolvers {
		r.set(nil)
	}
	c, err := net.Dial("udp", f.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(packed(t, asking("www.example.", dns.TypeA))); err != nil {
		t.Fatal(err)
	}
	st := f.stream()
	writeFrame(t, st, packed(t, asking("tcp.example.", dns.TypeA)))
	until(t, "the queries", func() bool { s := f.Stats(); return s.TotalInFlight() == 2 })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := f.Close(ctx); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > time.Second {
		t.Error(took)
	}
	if s := f.Stats(); s.TotalInFlight() != 0 || s.Drops[UDP][DropUnanswered]+s.Drops[TCP][DropUnanswered] != 2 {
		t.Errorf("%+v", s.Drops)
	}
	f.load.Store(0)
}

// TestCloseTakesTheCacheFromNobodyWhoHoldsABook: a request over HTTPS that Close does not wait for any more may still be
// looking into the cache, whose memory the system takes back.
func TestCloseTakesTheCacheFromNobodyWhoHoldsABook(t *testing.T) {
	f := newFront(t, setup{})
	f.ask(asking("www.example.", dns.TypeA))
	key := cacheKey("www.example.")
	hash := f.hash(key)
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			var h hit
			buf := make([]byte, 512)
			for gone := false; !gone; {
				x := &f.async[i]
				x.mu.Lock()
				if c := f.settings.Load().cache; c != nil {
					c.get(key, hash, firstTick, buf, len(buf), true, 30, &h)
				} else {
					gone = true
				}
				x.mu.Unlock()
			}
		})
	}
	if err := f.Close(t.Context()); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

func TestBackendsThatLeaveThePoolAreForgotten(t *testing.T) {
	f := newFront(t, setup{workers: 1})
	for i := range 20 {
		f.ask(asking(unique(i), dns.TypeA))
	}
	var m pool.Member
	m.Config.SetDefaults()
	m.Config.Name, m.Config.Address, m.Addr = "b1", f.resolvers[1].addr.String(), f.resolvers[1].addr
	if err := f.pool.Update(f.pool.Config(), []pool.Member{m}); err != nil {
		t.Fatal(err)
	}
	before := f.resolvers[0].asked.Load()
	for i := range 20 {
		f.ask(asking(unique(100+i), dns.TypeA))
	}
	if f.resolvers[0].asked.Load() != before {
		t.Error("it is still asked")
	}
	f.later(2 * time.Second)
	until(t, "its sockets to be closed", func() bool {
		w := f.workers[0]
		w.group.Wake()
		w.book.mu.Lock()
		defer w.book.mu.Unlock()
		return len(w.upstreams) == 1 && len(w.retired) == 0
	})
}
