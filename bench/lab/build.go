package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"sereno/bench/load"
)

// sites is how many sites there are.
const sites = 2

// Options say what is run and how.
type Options struct {
	Sereno string    // path of the node's binary
	Short  bool      // announce_after 1 s and more frequent probes, instead of the product's defaults
	Out    io.Writer // where the tables go
}

// Rates of the load, in requests a second.
const (
	dnsRate    = 400
	radiusRate = 40
)

// laboratory is what has been built for one scenario.
type laboratory struct {
	options  Options
	timing   timing
	bird     *bird
	frr      *frr
	access   *bird
	watchers []*watcher
	nodes    [sites + 1]*node // by site, from 1
	unbound  [sites + 1][3]*process
	radius   [sites + 1][3]*process
	stop     context.CancelFunc // of the watchers and of the load
	ctx      context.Context

	dns   traffic
	login traffic
}

// traffic is load that goes on.
type traffic struct {
	name   string
	rate   float64
	books  func() load.Books
	result chan outcome
}

type outcome struct {
	books load.Books
	err   error
}

// setup is what scenarios want to be different.
type setup struct {
	whenDown  string // withdraw
	neighbors string // more of them for node 1, in YAML
	names     int    // how many names are asked again and again; 0: every name is new
	warm      bool   // site 2 is asked for a while before site 1 is there, so that both have the names in their caches
}

// build starts everything, and returns once both sites' routes are at both routers. What it started is ended by the
// end of the process.
func build(ctx context.Context, o Options, s setup) (*laboratory, error) {
	l := &laboratory{options: o, timing: wholeTiming}
	if o.Short {
		l.timing = shortTiming
	}
	l.ctx, l.stop = context.WithCancel(ctx)
	if err := errors.Join(furnish(), connect()); err != nil {
		return l, err
	}
	if err := errors.Join(l.startServers(), l.startRouters(s.whenDown == "hand-over")); err != nil {
		return l, err
	}
	for site := sites; site >= 1; site-- {
		more := ""
		if site == 1 {
			more = s.neighbors
		}
		whenDown := s.whenDown
		if whenDown == "" {
			whenDown = "withdraw"
		}
		n, err := newNode(site, o.Sereno, l.timing, whenDown, more)
		if err != nil {
			return l, err
		}
		l.nodes[site] = n
		if err := n.start(); err != nil {
			return l, err
		}
		if site == 2 && s.warm {
			if err := l.warmUp(s); err != nil {
				return l, err
			}
		}
	}
	for site := 1; site <= sites; site++ {
		if err := l.routed(site); err != nil {
			return l, err
		}
	}
	if s.warm {
		return l, l.pause(2500 * time.Millisecond) // for site 1 to be asked for every name
	}
	return l, l.startLoad(s.names)
}

func (l *laboratory) startServers() error {
	for site := 1; site <= sites; site++ {
		for number := 1; number <= 2; number++ {
			var err, also error
			l.unbound[site][number], err = unbound(site, number)
			l.radius[site][number], also = freeradius(site, number)
			if err = errors.Join(err, also); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *laboratory) startRouters(export bool) error {
	var err, also, access error
	l.bird, err = coreBIRD(export)
	l.frr, also = coreFRR(export)
	l.access, access = subscriberBIRD()
	if err = errors.Join(err, also, access); err != nil {
		return err
	}
	l.watchers = []*watcher{watch(l.ctx, l.bird), watch(l.ctx, l.frr)}
	return nil
}

// warmUp asks site 2, which is alone, for all the names.
func (l *laboratory) warmUp(s setup) error {
	if err := l.routed(2); err != nil {
		return err
	}
	if err := l.startLoad(s.names); err != nil {
		return err
	}
	return l.pause(2500 * time.Millisecond)
}

// routed waits until both prefixes of a site are at both routers, and the prefixes at the subscribers'.
func (l *laboratory) routed(site int) error {
	for _, w := range l.watchers {
		for _, prefix := range []string{dnsPrefix, radiusPrefix} {
			if _, err := l.until(w, prefix, time.Now(), is(site, announced), 40*time.Second); err != nil {
				return fmt.Errorf("node %d's route at the start: %w", site, err)
			}
		}
	}
	return l.eventually("the subscribers have the routes", 20*time.Second, func() bool {
		if l.access.conn == nil && l.access.connect() != nil {
			return false
		}
		dns, err := l.access.ask(dnsPrefix)
		radius, also := l.access.ask(radiusPrefix)
		return err == nil && also == nil && dns.best != "" && radius.best != ""
	})
}

// until waits until a router's view of a prefix is as wanted, and gives the moment.
func (l *laboratory) until(w *watcher, prefix string, since time.Time, want func(view) bool, patience time.Duration) (time.Time, error) {
	var at time.Time
	err := l.eventually(w.label()+" has "+prefix+" as it should", patience, func() bool {
		var ok bool
		at, ok = w.first(prefix, since, want)
		return ok
	})
	return at, err
}

func (l *laboratory) eventually(what string, patience time.Duration, ok func() bool) error {
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not within %s", what, patience)
		}
		for _, n := range l.nodes {
			if n != nil && n.crashed() {
				return fmt.Errorf("%s: %s has ended", what, n.name)
			}
		}
		if err := l.pause(5 * time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// pause lets time pass, unless the run is over.
func (l *laboratory) pause(d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-l.ctx.Done():
		return l.ctx.Err()
	}
}

// startLoad starts asking, from the subscribers' namespace.
func (l *laboratory) startLoad(names int) error {
	dnsAt, authAt, acctAt := netip.MustParseAddrPort("192.0.2.53:53"), netip.MustParseAddrPort("192.0.2.18:1812"), netip.MustParseAddrPort("192.0.2.18:1813")
	source := netip.MustParseAddr(subscriberAddress)
	return within(subscribers, func() error {
		d, err := load.NewDNS(load.DNSConfig{
			Common:  load.Common{Rate: dnsRate, Timeout: 3 * time.Second, Source: source, Laboratory: []netip.Addr{dnsAt.Addr()}},
			Targets: []netip.AddrPort{dnsAt}, Names: names, Labels: loadLabels,
		})
		if err != nil {
			return err
		}
		r, err := load.NewRADIUS(load.RADIUSConfig{
			Common:  load.Common{Rate: radiusRate, Timeout: 6 * time.Second, Source: source, Laboratory: []netip.Addr{authAt.Addr()}},
			Targets: []load.RADIUSTarget{{Auth: authAt, Acct: acctAt}}, Secret: []byte(nasSecret), PAP: 2, CHAP: 2, Acct: 1, Users: users,
		})
		if err != nil {
			return err
		}
		l.dns = begin(l.ctx, "DNS", dnsRate, d.Run, d.Books)
		l.login = begin(l.ctx, "RADIUS", radiusRate, r.Run, r.Books)
		return nil
	})
}

func begin(ctx context.Context, name string, rate float64, run func(context.Context) (load.Books, error), books func() load.Books) traffic {
	t := traffic{name, rate, books, make(chan outcome, 1)}
	go func() {
		b, err := run(ctx)
		t.result <- outcome{b, err}
	}()
	return t
}
