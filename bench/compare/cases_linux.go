package compare

import (
	"fmt"
	"time"

	"sereno/bench/drive"
)

// comparison is one case: the same load for several programs.
type comparison struct {
	name, what string
	programs   []string
	load       load
	fill       int // names that are asked once before
	bars       []bar
}

// bar is what sereno has to reach: a ratio to another program's figure.
type bar struct {
	what    string
	of      func(sample) float64
	to      string
	atMost  float64 // 0: none
	atLeast float64
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

// comparisons are all cases with rounds.
func comparisons() []comparison {
	dns, rad := []string{"echo", "dnsdist", "unbound", "sereno"}, []string{"freeradius", "radsecproxy", "sereno"}
	return []comparison{
		{name: "dns-hit", what: "DNS from the cache, as fast as one core can, 1,000 names", programs: dns, fill: 1000,
			load: load{protocol: names(1000, false), port: 5353, sockets: 32, window: 512},
			bars: []bar{{"CPU", cpu, "echo", 1.10, 0}, {"user time", user, "dnsdist", 0.5, 0}, {"throughput", rate, "echo", 0, 0.92}}},
		{name: "dns-miss", what: "DNS forwarded, as fast as one core can, every name new", programs: dns[1:],
			load: load{protocol: names(0, false), port: 5353, sockets: 32, window: 256},
			bars: []bar{{"CPU", cpu, "dnsdist", 0.95, 0}}},
		{name: "radius-auth", what: "RADIUS logins forwarded (PAP, Message-Authenticator), as fast as one core can", programs: rad,
			load: load{protocol: radius(false), port: 1812, sockets: 64, window: 128},
			bars: []bar{{"CPU", cpu, "freeradius", 0.2, 0}}},
		{name: "radius-acct", what: "RADIUS accounting forwarded, as fast as one core can", programs: rad,
			load: load{protocol: radius(true), port: 1813, sockets: 64, window: 128},
			bars: []bar{{"CPU", cpu, "freeradius", 0.2, 0}}},
		{name: "latency-hit", what: "DNS from the cache, 20,000 a second", programs: dns, fill: 1000,
			load: load{protocol: names(1000, false), port: 5353, sockets: 32, rate: 20000},
			bars: []bar{{"p50", p50, "dnsdist", 1, 0}, {"p99", p99, "dnsdist", 1, 0}}},
		{name: "latency-miss", what: "DNS forwarded, 5,000 a second", programs: dns[1:],
			load: load{protocol: names(0, false), port: 5353, sockets: 32, rate: 5000},
			bars: []bar{{"p50", p50, "dnsdist", 1, 0}, {"p99", p99, "dnsdist", 1, 0}}},
		{name: "million", what: "DNS from the cache among a million names", programs: []string{"echo", "dnsdist", "sereno"}, fill: 1_000_000,
			load: load{protocol: names(1_000_000, false), port: 5353, sockets: 32, window: 512},
			bars: []bar{{"memory above start", memory, "dnsdist", 1, 0}}},
	}
}

func memory(s sample) float64 { return float64(s.resident) }

// failover is one case of a backend that breaks.
type failover struct {
	name, what string
	programs   []string
	mode       drive.Mode
	load       load
}

// failovers are all of them: one of two backends breaks after a third of the time.
func failovers() []failover {
	var list []failover
	for _, mode := range []drive.Mode{drive.Killed, drive.Frozen, drive.Silent, drive.Failing} {
		broken := func(i *instance) { i.backends[0].Set(mode) }
		list = append(list, failover{
			name: "dns-" + mode.String(), what: fmt.Sprintf("2,000 new names a second, one of two backends is %s", mode),
			programs: []string{"dnsdist", "unbound", "sereno"}, mode: mode,
			load: load{protocol: names(0, false), port: 5353, sockets: 32, rate: 2000, patience: 5 * time.Second, midway: broken},
		})
		if mode == drive.Failing {
			continue // a RADIUS server has no way to say so
		}
		list = append(list, failover{
			name: "radius-" + mode.String(), what: fmt.Sprintf("1,000 logins a second, one of two backends is %s", mode),
			programs: []string{"freeradius", "radsecproxy", "sereno"}, mode: mode,
			load: load{protocol: radius(false), port: 1812, sockets: 64, rate: 1000, patience: 5 * time.Second, midway: broken},
		})
	}
	return list
}
