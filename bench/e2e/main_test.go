// Package e2e puts the real programs around sereno: Unbound, FreeRADIUS and
// BIRD with it, dig, kdig, dnsperf, radclient and our own load before it.
// Everything is on loopback addresses and unprivileged ports. The tests run
// with SERENO_E2E=1, some of them longer with SERENO_E2E=full; without it they are
// named and left out.
package e2e

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"sereno/bench/e2e/harness"
	"sereno/bench/load"
)

// whole is the long form of the tests that have one.
var whole = os.Getenv("SERENO_E2E") == "full"

func TestMain(m *testing.M) {
	if os.Getenv("SERENO_E2E") != "1" && !whole {
		fmt.Println("left out, SERENO_E2E=1 runs them (with the programs that .ci/run installs):")
		if err := flag.Set("test.list", "."); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	harness.Remove()
	os.Exit(code)
}

// running is load that goes on while a test does something.
type running struct {
	t      *testing.T
	books  func() load.Books
	use    func(int)
	cancel context.CancelFunc
	result chan load.Books
}

func start(t *testing.T, run func(context.Context) (load.Books, error), books func() load.Books, use func(int)) *running {
	t.Helper()
	longest := 4 * time.Minute
	if whole {
		longest = 10 * time.Minute
	}
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	r := &running{t: t, books: books, use: use, cancel: cancel, result: make(chan load.Books, 1)}
	go func() {
		b, err := run(ctx)
		if err != nil {
			t.Errorf("load: %v", err)
		}
		r.result <- b
	}()
	t.Cleanup(cancel)
	return r
}

// dnsLoad asks the node for names never asked before, which only a backend can answer.
func dnsLoad(t *testing.T, s *harness.Sereno, rate float64) *running {
	t.Helper()
	d, err := load.NewDNS(load.DNSConfig{
		Common:  load.Common{Rate: rate, Timeout: 4 * time.Second},
		Targets: []netip.AddrPort{s.DNS}, Labels: harness.LoadLabels,
	})
	if err != nil {
		t.Fatal(err)
	}
	return start(t, d.Run, d.Books, d.Use)
}

// radiusLoad logs subscribers in by PAP and CHAP and accounts for them.
func radiusLoad(t *testing.T, s *harness.Sereno, c load.RADIUSConfig) (*load.RADIUS, *running) {
	t.Helper()
	c.Targets, c.Secret = []load.RADIUSTarget{{Auth: s.Auth, Acct: s.Acct}}, []byte(harness.NASSecret)
	c.Users = harness.Users
	r, err := load.NewRADIUS(c)
	if err != nil {
		t.Fatal(err)
	}
	return r, start(t, r.Run, r.Books, r.Use)
}

// sent waits until n more requests were sent.
func (r *running) sent(l *harness.Lab, n uint64) {
	r.t.Helper()
	want := r.books().Sent + n
	l.Eventually(time.Minute, fmt.Sprintf("%d more requests", n), func() bool { return r.books().Sent >= want })
}

// stop ends the load, waits for the last answers and gives the books.
func (r *running) stop() load.Books {
	r.t.Helper()
	r.cancel()
	return <-r.result
}

// nothingLost ends the load and fails the test unless every request was answered rightly.
func (r *running) nothingLost(what string) {
	r.t.Helper()
	b := r.stop()
	r.t.Logf("%s: %s", what, &b)
	if !b.Clean() || b.Sent == 0 {
		r.t.Errorf("%s: %d lost, %d wrong of %d: %v", what, b.Lost, b.Wrong, b.Sent, b.Faulty)
	}
}
