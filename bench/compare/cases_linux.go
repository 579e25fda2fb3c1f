package compare

import (
	"fmt"
	"time"

	"sereno/bench/drive"
)

// comparison is one case: the same load for several programs, in rounds.
type comparison struct {
	name, what string
	entrants   []entrant
	load       load
	bars       []bar
	panels     []panel
}

// entrant is a program in a case. Zero fields are the case's own, or the usual: two backends, one core.
type entrant struct {
	program  string
	label    string // what tables call it; the program's name
	backends int
	cores    int
	fill     int // names that are asked for once before
	load     *load
}

func (e entrant) String() string {
	if e.label != "" {
		return e.label
	}
	return e.program
}

// entrants are programs that take part as they are.
func entrants(fill int, programs ...string) []entrant {
	list := make([]entrant, len(programs))
	for i, p := range programs {
		list[i] = entrant{program: p, fill: fill}
	}
	return list
}

// bar is what sereno has to reach: a ratio to another's figure.
type bar struct {
	what    string
	of      figure
	to      string
	atMost  float64 // 0: none
	atLeast float64
	ours    string // the entrant that is held to it; sereno
	cores   int    // how many ours has, if the ratio means nothing unless they are all busy
}

func (b bar) who() string {
	if b.ours != "" {
		return b.ours
	}
	return "sereno"
}

func names(n int, inOrder bool) func() drive.Protocol {
	return func() drive.Protocol {
		d := drive.NewDNS(n)
		d.InOrder = inOrder
		return d
	}
}

func radius(acct bool) func() drive.Protocol {
	return func() drive.Protocol { return drive.NewRADIUS(secret, acct) }
}

// The names that tables and bars use for sereno in other circumstances.
const (
	fewNames     = "sereno, 1,000 names"
	manyBackends = "sereno, 64 backends"
	twoCores     = "sereno, two cores"
)

const million = 1_000_000

// hits asks for n cached names as fast as they are answered.
func hits(n int) load {
	return load{protocol: names(n, false), port: 5353, sockets: 32, window: 512}
}

// misses asks for new names as fast as they are answered.
func misses() load {
	return load{protocol: names(0, false), port: 5353, sockets: 32, window: 256}
}

// comparisons are all cases with rounds.
func comparisons() []comparison {
	few := hits(1000)
	latencyHit, latencyMiss := hits(1000), misses()
	latencyHit.rate, latencyMiss.rate = 20000, 5000
	cost, speed, late := []panel{cpuPanel, ratePanel}, []panel{cpuPanel, ratePanel, p99Panel}, []panel{p50Panel, p99Panel}
	radiusLoad := func(acct bool, port uint16) load {
		return load{protocol: radius(acct), port: port, sockets: 64, window: 128}
	}
	forwarders := entrants(0, "dnsdist", "unbound", "coredns", "sereno")
	caches := entrants(1000, "echo", "dnsdist", "unbound", "coredns", "sereno")
	proxies := entrants(0, "freeradius", "radsecproxy", "sereno")
	return []comparison{
		{name: "dns-hit", what: "DNS from the cache, as fast as one core can, 1,000 names", entrants: caches, load: hits(1000), panels: speed,
			bars: []bar{
				{what: "DNS hit, CPU", of: cpu, to: "echo", atMost: 1.10},
				{what: "DNS hit, CPU in user mode", of: user, to: "dnsdist", atMost: 0.5},
				{what: "DNS hit, throughput of one core", of: rate, to: "echo", atLeast: 0.92},
			}},
		{name: "dns-miss", what: "DNS forwarded, as fast as one core can, every name new", entrants: forwarders, load: misses(), panels: speed,
			bars: []bar{{what: "DNS miss, forwarded, CPU", of: cpu, to: "dnsdist", atMost: 0.95}}},
		{name: "radius-auth", what: "RADIUS logins forwarded (PAP, Message-Authenticator), as fast as one core can", entrants: proxies, panels: speed,
			load: radiusLoad(false, 1812),
			bars: []bar{{what: "RADIUS authentication forwarded, CPU", of: cpu, to: "freeradius", atMost: 0.2}}},
		{name: "radius-acct", what: "RADIUS accounting forwarded, as fast as one core can", entrants: proxies, panels: speed, load: radiusLoad(true, 1813),
			bars: []bar{{what: "RADIUS accounting forwarded, CPU", of: cpu, to: "freeradius", atMost: 0.2}}},
		{name: "latency-hit", what: "DNS from the cache, 20,000 a second", entrants: caches, load: latencyHit, panels: late,
			bars: []bar{
				{what: "latency at 20,000 hits/s, p50", of: p50, to: "dnsdist", atMost: 1},
				{what: "latency at 20,000 hits/s, p99", of: p99, to: "dnsdist", atMost: 1},
			}},
		{name: "latency-miss", what: "DNS forwarded, 5,000 a second", entrants: forwarders, load: latencyMiss, panels: late,
			bars: []bar{
				{what: "latency at 5,000 forwarded/s, p50", of: p50, to: "dnsdist", atMost: 1},
				{what: "latency at 5,000 forwarded/s, p99", of: p99, to: "dnsdist", atMost: 1},
			}},
		{name: "million", what: "DNS from the cache among a million names, as fast as one core can", load: hits(million), panels: []panel{cpuPanel, memoryPanel},
			entrants: []entrant{{program: "dnsdist", fill: million}, {program: "sereno", fill: million}, {program: "sereno", label: fewNames, fill: 1000, load: &few}},
			bars: []bar{
				{what: "memory for a million cached answers", of: memory, to: "dnsdist", atMost: 1},
				{what: "a hit among a million names, CPU", of: cpu, to: fewNames, atMost: 1.4},
			}},
		{name: "backends", what: "DNS forwarded to two backends and to 64, as fast as one core can", load: misses(), panels: cost,
			entrants: []entrant{{program: "sereno"}, {program: "sereno", label: manyBackends, backends: 64}},
			bars:     []bar{{what: "64 backends, CPU of a miss", of: cpu, to: "sereno", atMost: 1.1, ours: manyBackends}}},
		{name: "cores", what: "DNS from the cache, as fast as one and two cores can", load: hits(1000), panels: cost,
			entrants: []entrant{{program: "sereno", fill: 1000}, {program: "sereno", label: twoCores, fill: 1000, cores: 2}},
			bars:     []bar{{what: "two cores, throughput of hits", of: rate, to: "sereno", atLeast: 1.8, ours: twoCores, cores: 2}}},
	}
}

// failover is one case of a backend that breaks.
type failover struct {
	name, what string
	radius     bool
	barred     bool // the bar speaks of it
	programs   []string
	load       load
}

// failovers are all of them: one of two backends breaks after a third of the time.
func failovers() []failover {
	ways := []struct {
		mode   drive.Mode
		barred bool
		dns    string
		radius string
	}{
		{drive.Killed, true, "is killed", "is killed"},
		{drive.Frozen, true, "is frozen", "is frozen"},
		{drive.Silent, false, "is black-holed", "is black-holed"},
		{drive.Failing, false, "answers SERVFAIL, to probes too", "answers Status-Server and no login (its database hangs)"},
	}
	var dns, rad []failover
	for _, way := range ways {
		broken := func(i *instance) { i.backends[0].Set(way.mode) }
		dns = append(dns, failover{
			name: "failover-dns-" + way.mode.String(), what: "2,000 new names a second, one of two backends " + way.dns,
			programs: []string{"dnsdist", "unbound", "coredns", "sereno"}, barred: way.barred,
			load: load{protocol: names(0, false), port: 5353, sockets: 32, rate: 2000, patience: 5 * time.Second, slow: slow, midway: broken},
		})
		rad = append(rad, failover{
			name: "failover-radius-" + way.mode.String(), what: "1,000 logins a second, one of two backends " + way.radius,
			programs: []string{"freeradius", "radsecproxy", "sereno"}, barred: way.barred, radius: true,
			load: load{
				protocol: radius(false), port: 1812, sockets: 64, rate: 1000, resend: nasTimeout, patience: 3 * nasTimeout, slow: slow,
				midway: broken,
			},
		})
	}
	return append(dns, rad...)
}

const (
	// nasTimeout is after how long a NAS asks again; after three times it gives up.
	nasTimeout = 3 * time.Second
	// slow is the latency that nobody has while both backends live: who waits longer has noticed.
	slow = 100 * time.Millisecond
	// slowestAllowed is the bar for who waits longest for DNS when a backend breaks.
	slowestAllowed = 1500 * time.Millisecond
)

// verdict judges sereno by the bar: nothing lost, nothing wrong, and no DNS answer too late, no RADIUS request sent again.
func (f *failover) verdict(s sample) (ours, bound string, met bool) {
	if f.radius {
		return fmt.Sprintf("%d lost, %d wrong, %d sent again, slowest %.2f s", s.lost, s.wrong, s.resent, s.slowest.Seconds()),
			"none lost, none rejected, none sent again", s.lost+s.wrong+s.resent == 0
	}
	return fmt.Sprintf("%d lost, %d wrong, slowest %.2f s", s.lost, s.wrong, s.slowest.Seconds()),
		fmt.Sprintf("none lost, none SERVFAIL, slowest under %g s", slowestAllowed.Seconds()), s.lost+s.wrong == 0 && s.slowest < slowestAllowed
}
