package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"sereno/bench/internal/servers"
	"sereno/bench/load"
)

// maxSites is how many sites there can be; most scenarios have two.
const maxSites = 3

// Options say what is run and how.
type Options struct {
	Sereno string    // path of the node's binary
	Short  bool      // announce_after 1 s and more frequent probes, instead of the product's defaults
	Out    io.Writer // where the tables go
}

// Rates of the load, in requests a second.
const (
	dnsRate    = 300
	dns6Rate   = 100 // over IPv6
	radiusRate = 40
)

// laboratory is what has been built for one scenario.
type laboratory struct {
	options  Options
	timing   timing
	bird     *bird
	frr      *frr
	access   *bird
	watchers []*watcher // of the core's routers: BIRD, FRR
	kernels  []*watcher // of what forwards there
	sites    int
	nodes    [maxSites + 1]*node // by site, from 1
	unbound  [maxSites + 1][3]*process
	radius   [maxSites + 1][3]*process
	stop     context.CancelFunc // of the watchers and of the load
	ctx      context.Context
	traffic  []*traffic
}

// overIPv6 is the name of the traffic that is the only one over IPv6.
const overIPv6 = "DNS over IPv6"

// traffic is load that goes on.
type traffic struct {
	name string
	service
	rate   float64
	may    uint64 // may be lost
	books  func() load.Books
	result chan outcome
}

type outcome struct {
	books load.Books
	err   error
}

// setup is what scenarios want to be different.
type setup struct {
	sites     int           // 2
	whenDown  string        // withdraw
	neighbors string        // more of them for node 1, in YAML
	names     int           // how many names are asked again and again; 0: every name is new
	ownLoad   bool          // who plays it brings the load
	glance    time.Duration // how often routers are asked; 4 ms
	stateSize string        // of the file system that each node's state_dir is then, for example 64m; "": none of its own
	prepare   func() error  // called once there is a directory
	changes   changes
	warm      bool // every site is the only or the best one for a while, so that all have the names in their caches
}

// build starts everything, and returns once both sites' routes are at both routers. What it started is ended by the
// end of the process.
func build(ctx context.Context, o Options, s setup) (*laboratory, error) {
	if s.sites == 0 {
		s.sites = 2
	}
	if s.whenDown == "" {
		s.whenDown = "withdraw"
	}
	if s.glance == 0 {
		s.glance = glance
	}
	l := &laboratory{options: o, timing: wholeTiming, sites: s.sites}
	if o.Short {
		l.timing = shortTiming
	}
	l.ctx, l.stop = context.WithCancel(ctx)
	if err := errors.Join(furnish(), connect(l.sites)); err != nil {
		return l, err
	}
	if s.prepare != nil {
		if err := s.prepare(); err != nil {
			return l, err
		}
	}
	if err := errors.Join(l.startServers(), l.startRouters(s.whenDown == "hand-over", s.glance)); err != nil {
		return l, err
	}
	for site := l.sites; site >= 1; site-- { // the best one last
		if err := l.startNode(site, s); err != nil {
			return l, err
		}
		if site > 1 && s.warm {
			if err := l.warmUp(site, s); err != nil {
				return l, err
			}
		}
	}
	for site := 1; site <= l.sites; site++ {
		if err := l.routed(site); err != nil {
			return l, err
		}
	}
	if s.ownLoad {
		return l, nil
	}
	if s.warm {
		return l, l.pause(2500 * time.Millisecond) // for site 1 to be asked for every name
	}
	return l, l.startLoad(s.names)
}

func (l *laboratory) startNode(site int, s setup) (err error) {
	if site > 1 {
		s.neighbors = ""
	}
	if l.nodes[site], err = newNode(site, l.options.Sereno, l.timing, s.whenDown, s.neighbors, s.changes); err != nil {
		return err
	}
	if s.stateSize != "" {
		if err := ownFileSystem(stateDir(site), s.stateSize); err != nil {
			return err
		}
	}
	return l.nodes[site].start()
}

func stateDir(site int) string { return fmt.Sprintf("%s/state-%d", dir, site) }

func (l *laboratory) startServers() error {
	for site := 1; site <= l.sites; site++ {
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

func (l *laboratory) startRouters(export bool, every time.Duration) error {
	var err, also, access error
	l.bird, err = coreBIRD(l.sites, export)
	l.frr, also = coreFRR(l.sites, export)
	l.access, access = subscriberBIRD()
	if err = errors.Join(err, also, access); err != nil {
		return err
	}
	l.watchers = []*watcher{watch(l.ctx, l.bird, every), watch(l.ctx, l.frr, every)}
	l.kernels = []*watcher{watch(l.ctx, &kernel{namespace: core1}, every), watch(l.ctx, &kernel{namespace: core2}, every)}
	return nil
}

// processes are all that were started.
func (l *laboratory) processes() (all []*process) {
	for _, r := range []router{l.bird, l.frr, l.access} {
		all = append(all, r.daemons()...)
	}
	for site := 1; site <= l.sites; site++ {
		all = append(append(append(all, l.nodes[site].process), l.unbound[site][1:]...), l.radius[site][1:]...)
	}
	return all
}

// warmUp asks a site, which is the best one now, for all the names.
func (l *laboratory) warmUp(site int, s setup) error {
	if err := l.routed(site); err != nil {
		return err
	}
	if len(l.traffic) == 0 {
		if err := l.startLoad(s.names); err != nil {
			return err
		}
	}
	return l.pause(2500 * time.Millisecond)
}

// routed waits until all prefixes of a site are at both routers, and the subscribers have the prefixes from both: FRR tells
// a neighbor that has just come up only a second later (its coalesce-time), and a router that dies before that takes the
// only way with it.
func (l *laboratory) routed(site int) error {
	for _, w := range l.watchers {
		for _, prefix := range []string{dnsPrefix, radiusPrefix} {
			if _, err := l.until(w, prefix, time.Now(), is(site, announced), 40*time.Second); err != nil {
				return fmt.Errorf("node %d's route at the start: %w", site, err)
			}
		}
	}
	return l.eventually("the subscribers have the routes", 20*time.Second, func() bool {
		both := func(v view) bool { return v.paths[core1] != absent && v.paths[core2] != absent }
		return l.subscribed(dnsPrefix, both) && l.subscribed(radiusPrefix, both)
	})
}

// subscribed says whether the subscribers' router has a prefix as wanted, in both families.
func (l *laboratory) subscribed(prefix string, want func(view) bool) bool {
	if l.access.conn == nil && l.access.connect() != nil {
		return false
	}
	for _, p := range both(prefix) {
		if v, err := l.access.ask(p); err != nil || !want(v) {
			return false
		}
	}
	return true
}

// until waits until a router's view of a prefix is as wanted, and gives the moment.
func (l *laboratory) until(w *watcher, prefix string, since time.Time, want func(view) bool, patience time.Duration) (time.Time, error) {
	var at time.Time
	err := l.eventually(w.label()+" has "+prefix+" as it should", patience, func() bool {
		var ok bool
		at, ok = w.all(prefix, since, want)
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
	return within(subscribers, func() error {
		for _, d := range []struct {
			name, target, source string
			rate                 float64
			names                int
		}{
			{"DNS", "192.0.2.53:53", subscriberAddress, dnsRate, names},
			{overIPv6, "[2001:db8:53::53]:53", subscriberAddress6, dns6Rate, names / 5}, // as often asked for each of them
		} {
			target := netip.MustParseAddrPort(d.target)
			g, err := load.NewDNS(load.DNSConfig{
				Common:  load.Common{Rate: d.rate, Timeout: 3 * time.Second, Source: netip.MustParseAddr(d.source), Laboratory: []netip.Addr{target.Addr()}},
				Targets: []netip.AddrPort{target}, Names: d.names, Labels: servers.LoadLabels,
			})
			if err != nil {
				return err
			}
			l.begin(l.ctx, d.name, dnsService, d.rate, g.Run, g.Books)
		}
		auth, acct := netip.MustParseAddrPort("192.0.2.18:1812"), netip.MustParseAddrPort("192.0.2.18:1813")
		r, err := load.NewRADIUS(load.RADIUSConfig{
			Common: load.Common{Rate: radiusRate, Timeout: 6 * time.Second, Source: netip.MustParseAddr(subscriberAddress),
				Laboratory: []netip.Addr{auth.Addr()}},
			Targets: []load.RADIUSTarget{{Auth: auth, Acct: acct}}, Secret: []byte(nasSecret), PAP: 2, CHAP: 2, Acct: 1, Users: servers.Users,
		})
		if err != nil {
			return err
		}
		l.begin(l.ctx, "RADIUS", radiusService, radiusRate, r.Run, r.Books)
		return nil
	})
}

func (l *laboratory) begin(ctx context.Context, name string, of service, rate float64, run func(context.Context) (load.Books, error), books func() load.Books) {
	t := &traffic{name: name, service: of, rate: rate, books: books, result: make(chan outcome, 1)}
	l.traffic = append(l.traffic, t)
	go func() {
		b, err := run(ctx)
		t.result <- outcome{b, err}
	}()
}
