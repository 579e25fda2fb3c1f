package load

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"sereno/bench/stub"
)

func dnsBooks(t testing.TB, c DNSConfig) Books {
	t.Helper()
	d, err := NewDNS(c)
	if err != nil {
		t.Fatal(err)
	}
	return must(t, d.Run)
}

func TestDNSEveryKindOfNameIsAnsweredRightly(t *testing.T) {
	r := newResolver(t)
	for name, c := range map[string]DNSConfig{
		"new":       {},
		"hot":       {Names: 100},
		"zipf":      {Names: 100, Zipf: 1.1, New: 0.3},
		"types":     {Names: 10, Types: []uint16{stub.TypeA, stub.TypeAAAA, stub.TypeTXT}},
		"aliases":   {Names: 10, Labels: "cname.ttl-60"},
		"many":      {Names: 10, Labels: "count-20"},
		"cut":       {Names: 10, Labels: "size-3000", Types: []uint16{stub.TypeTXT}},
		"negative":  {Labels: "nx"},
		"servfail":  {Labels: "servfail"},
		"no EDNS":   {NoEDNS: true},
		"plain":     {Common: Common{Plain: true}},
		"unlimited": {Common: Common{Sockets: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			c.Targets, c.Rate, c.Limit = []netip.AddrPort{r.Addr()}, 5000, 500
			b := dnsBooks(t, c)
			if b.Answered != 500 || b.Latency.Count() != 500 {
				t.Errorf("%s\n%s", &b, strings.Join(b.Faulty, "\n"))
			}
		})
	}
}

func TestDNSFaultsAreFound(t *testing.T) {
	r := newResolver(t)
	for fault, want := range map[stub.Fault]Fate{
		stub.Servfail: Failed, stub.Refused: WrongRcode, stub.WrongQuestion: WrongQuestion, stub.Truncated: Cut,
	} {
		if err := r.Set(stub.Mode{Fault: fault, Every: 10}); err != nil {
			t.Fatal(err)
		}
		b := dnsBooks(t, DNSConfig{Common: Common{Rate: 5000, Limit: 200}, Targets: []netip.AddrPort{r.Addr()}})
		if b.Answered != 180 || b.Wrong != 20 || b.Fates[want] != 20 || len(b.Faulty) != maxFaulty {
			t.Errorf("%s: %s, %v", fault, &b, b.Fates)
		}
	}
	for _, fault := range []stub.Fault{stub.Silent, stub.WrongID} {
		if err := r.Set(stub.Mode{Fault: fault, Every: 10}); err != nil {
			t.Fatal(err)
		}
		b := dnsBooks(t, DNSConfig{Common: Common{Rate: 5000, Limit: 200, Timeout: 200 * time.Millisecond}, Targets: []netip.AddrPort{r.Addr()}})
		if b.Answered+b.Lost+b.Wrong != 200 || b.Lost < 10 {
			t.Errorf("%s: %s, %v", fault, &b, b.Fates)
		}
	}
}

// TestDNSResendsWhatIsUnanswered loses nothing to a server that drops every third query, or fails it.
func TestDNSResendsWhatIsUnanswered(t *testing.T) {
	r := newResolver(t)
	for _, fault := range []stub.Fault{stub.Silent, stub.Servfail} {
		if err := r.Set(stub.Mode{Fault: fault, Every: 3}); err != nil {
			t.Fatal(err)
		}
		b := dnsBooks(t, DNSConfig{
			Common: Common{Rate: 2000, Limit: 300, Resend: 20 * time.Millisecond, Tries: 8}, Targets: []netip.AddrPort{r.Addr()},
		})
		if b.Resent < 100 || b.Answered < 299 {
			t.Errorf("%s: %s", fault, &b)
		}
	}
}

// TestDNSLatencyCountsFromWhenTheQueryWasDue is about an open loop: a server that answers late does not slow the asking.
func TestDNSLatencyCountsFromWhenTheQueryWasDue(t *testing.T) {
	r := newResolver(t)
	if err := r.Set(stub.Mode{Delay: 100 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	b := dnsBooks(t, DNSConfig{Common: Common{Rate: 5000, Limit: 500}, Targets: []netip.AddrPort{r.Addr()}})
	if b.Answered != 500 || b.Latency.Quantile(0.01) < 100*time.Millisecond || b.Elapsed != 499*time.Second/5000 {
		t.Errorf("%s in %s", &b, b.Elapsed)
	}
}

// TestDNSUseMovesTheTraffic is what happens when a route moves: resends follow it, and without a route nothing is sent.
func TestDNSUseMovesTheTraffic(t *testing.T) {
	one, two := newResolver(t), newResolver(t)
	if err := one.Set(stub.Mode{Fault: stub.Silent}); err != nil {
		t.Fatal(err)
	}
	d, err := NewDNS(DNSConfig{
		Common:  Common{Rate: 1000, Timeout: 30 * time.Second, Resend: 50 * time.Millisecond, Tries: 8},
		Targets: []netip.AddrPort{one.Addr(), two.Addr()},
	})
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan Books, 1)
	go func() { result <- must(t, d.Run) }()
	until(t, func() bool { return one.Stats().UDP > 50 })
	d.Use(1)
	until(t, func() bool { return d.Books().Answered > 50 })
	d.Use(-1)
	sent := d.Books().Sent
	looks := 0
	until(t, func() bool { looks++; return looks > 30 })
	if now := d.Books().Sent; now != sent {
		t.Errorf("%d were sent to nobody", now-sent)
	}
	d.Use(0)
	if err := one.Set(stub.Mode{}); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return d.Books().Sent > sent+50 })
	d.SetRate(0)
	until(t, func() bool { return d.Books().Waiting == 0 })
	d.generators[0].end()
	if b := <-result; !b.Clean() {
		t.Errorf("%s", &b)
	}
}

// until waits for what another goroutine brings about.
func until(t *testing.T, ok func() bool) {
	t.Helper()
	for range 10_000 {
		if ok() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("it did not come about in ten seconds")
}

func TestTargetsElsewhereAreRefused(t *testing.T) {
	for _, addr := range []string{"192.0.2.1:53", "[2001:db8::1]:53", "127.0.0.1:0"} {
		if d, err := NewDNS(DNSConfig{Common: Common{Rate: 1}, Targets: []netip.AddrPort{netip.MustParseAddrPort(addr)}}); err == nil {
			t.Errorf("%s: %v", addr, d)
		}
	}
}

// TestLocateIsUndone finds the slot of every request from its socket and ID.
func TestLocateIsUndone(t *testing.T) {
	for _, bits := range []int{8, 16} {
		proto := map[int]protocol{8: &subscribers{}, 16: &questions{}}[bits]
		g := &generator{common: Common{Sockets: 8}, proto: proto, slots: make([]slot, 1024)}
		for n := range uint64(10_000) {
			index, id := g.locate(n)
			if want := &g.slots[n%1024]; g.slotOf(index, id) != want {
				t.Fatalf("request %d with %d bits: socket %d, ID %d", n, bits, index, id)
			}
		}
	}
}

// BenchmarkDNSStub is the generator and the simulated resolver together: what they cost a test that measures a front.
func BenchmarkDNSStub(b *testing.B) {
	r := newResolver(b)
	books := dnsBooks(b, DNSConfig{
		Common: Common{Rate: 80_000, Limit: uint64(b.N), Timeout: time.Second}, Names: 1000, Targets: []netip.AddrPort{r.Addr()},
	})
	b.ReportMetric(float64(books.Answered)/b.Elapsed().Seconds(), "answers/s")
	b.ReportMetric(float64(books.Lost), "lost")
}
