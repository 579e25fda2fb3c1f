package e2e

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"sereno/bench/e2e/harness"
	"sereno/bench/load"
)

// TestE2ERates measures cached queries and authentications a second and prints them; what it demands is that
// nothing is lost at rates that are safely below.
func TestE2ERates(t *testing.T) {
	lab := harness.New(t)
	s := lab.Sereno(harness.Config{
		Unbounds: []*harness.Unbound{lab.Unbound(1), lab.Unbound(2)}, Servers: []*harness.FreeRADIUS{lab.FreeRADIUS(1), lab.FreeRADIUS(2)},
	})
	seconds := 2.0
	if whole {
		seconds = 10
	}
	for _, rate := range []float64{5_000, 50_000} {
		b := cached(t, s, rate, seconds)
		t.Logf("%.0f cached queries/s: %s (the generator up to %s behind)", rate, &b, b.Behind)
		if !b.Clean() && rate <= 5_000 {
			t.Errorf("%d lost, %d wrong: %v", b.Lost, b.Wrong, b.Faulty)
		}
	}
	for _, rate := range []float64{1_000, 10_000} {
		_, work := radiusLoad(t, s, load.RADIUSConfig{Common: load.Common{Rate: rate, Limit: uint64(seconds * rate), Timeout: 6 * time.Second}})
		b := <-work.result
		t.Logf("%.0f authentications/s: %s (the generator up to %s behind)", rate, &b, b.Behind)
		if !b.Clean() && rate <= 1_000 {
			t.Errorf("%d lost, %d wrong: %v", b.Lost, b.Wrong, b.Faulty)
		}
	}
	s.WaitIdle()
}

// cached asks for names that the cache has, at that rate for that many seconds.
func cached(t *testing.T, s *harness.Sereno, rate, seconds float64) load.Books {
	t.Helper()
	var books load.Books
	for _, c := range []load.Common{{Rate: 2000, Limit: 4000}, {Rate: rate, Limit: uint64(seconds * rate)}} {
		d, err := load.NewDNS(load.DNSConfig{Common: c, Targets: []netip.AddrPort{s.DNS}, Names: 500, Labels: harness.LoadLabels})
		if err != nil {
			t.Fatal(err)
		}
		if books, err = d.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	return books
}
