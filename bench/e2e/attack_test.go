package e2e

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"sereno/bench/e2e/harness"
	"sereno/bench/load"
	"sereno/bench/stub"
)

// attacked is a node under attack: in front of real resolvers and real RADIUS servers, with well-behaved clients that
// must not notice.
type attacked struct {
	watched
	limited netip.AddrPort // a second DNS service, with a rate limit
	relay   *relay         // what is below relayZone goes through it to the first resolver
	drip    *dripper       // what is below dripZone goes to it
}

// Zones that have backends of their own. What the real resolvers say of the names in them is known: one address.
const (
	relayZone  = "relay." + harness.LoadLabels + ".load.test."
	silentZone = "silent." + harness.LoadLabels + ".load.test."
	dripZone   = "drip." + harness.LoadLabels + ".load.test."
	ownZone    = "own." + harness.LoadLabels + ".load.test."
)

// Bounds of the node under attack, small enough that attackers reach them.
const (
	mostConnections = 400
	mostPerClient   = 100
	attackedIdle    = 2 * time.Second
	limitedRate     = 20 // queries a second of one client
)

// Hosts of the lab in these tests, beside the harness's own.
const (
	hostLimited  = 55
	hostRelay    = 56
	hostSilent   = 57
	hostDrip     = 58
	hostMirror   = 59
	hostMad      = 80  // a NAS
	hostVictim   = 90  // whose address is forged
	hostAttacker = 100 // + number
)

// attackTime is how long an attack goes on that has no end of its own.
func attackTime() time.Duration {
	if whole {
		return 10 * time.Second
	}
	return 800 * time.Millisecond
}

// newAttacked starts all of it.
func newAttacked(t *testing.T) *attacked {
	t.Helper()
	lab := harness.New(t)
	a := &attacked{watched: watched{t: t, lab: lab}, limited: netip.AddrPortFrom(lab.Addr(hostLimited), harness.DNSPort)}
	one, two := lab.Unbound(1), lab.Unbound(2)
	first, second := lab.FreeRADIUS(1), lab.FreeRADIUS(2)
	a.relay = newRelay(t, netip.AddrPortFrom(lab.Addr(hostRelay), harness.DNSPort), one.Addr)
	a.drip = newDripper(t, netip.AddrPortFrom(lab.Addr(hostDrip), harness.DNSPort))
	silent, err := stub.NewResolver(stub.ResolverConfig{Addr: netip.AddrPortFrom(lab.Addr(hostSilent), harness.DNSPort)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	set(t, silent, stub.Mode{Fault: stub.ProbesOnly})
	at := lab.Prepare(harness.Config{}) // for its addresses
	// The node refuses its own addresses as backends. Somebody who sends what he gets back to it is not so easily seen.
	mirror := lab.Addr(hostMirror)
	own := newRelay(t, netip.AddrPortFrom(mirror, harness.DNSPort), at.DNS)
	newRelay(t, netip.AddrPortFrom(mirror, harness.AuthPort), at.Auth)
	newRelay(t, netip.AddrPortFrom(mirror, harness.AcctPort), at.Acct)
	pools := "  - {name: resolvers, protocol: dns, health: {interval: 500ms, timeout: 400ms, slow_start: 1s}, " +
		fmt.Sprintf("backends: [{name: unbound-1, address: %q}, {name: unbound-2, address: %q}]}\n", one.Addr, two.Addr)
	for name, addr := range map[string]netip.AddrPort{"relay": a.relay.addr, "silent": silent.Addr(), "drip": a.drip.addr, "own": own.addr} {
		pools += fmt.Sprintf("  - {name: %s, protocol: dns, health: {interval: 1s, timeout: 900ms}, backends: [{name: %s, address: %q}]}\n", name, name, addr)
	}
	certificate := newCertificate(t, lab, "front", 1)
	a.s = lab.SerenoWith(pools + fmt.Sprintf(`  - name: servers
    protocol: radius
    health: {interval: 1s, timeout: 900ms, slow_start: 1s}
    backends: [{name: one, address: %[1]s, secret: %[3]s}, {name: two, address: %[2]s, secret: %[3]s}]
  - name: own-radius
    protocol: radius
    health: {interval: 1s, timeout: 900ms}
    backends: [{name: own-radius, address: %[4]s, secret: %[5]s}]
`, first.Addr, second.Addr, harness.BackendSecret, mirror, harness.NASSecret) +
		fmt.Sprintf(`dns:
  - {name: resolver, listen: [%q], pool: resolvers, tcp: {max_connections: %d, max_per_client: %d, idle_timeout: %s}, %s,
     routes: [{zones: [%s], pool: relay}, {zones: [%s], pool: silent}, {zones: [%s], pool: drip}, {zones: [%s], pool: own}]}
  - {name: limited, listen: [%q], pool: resolvers, rate_limit: {queries_per_second: %d}}
`, at.DNS, mostConnections, mostPerClient, attackedIdle, certificate.yaml(netip.AddrPortFrom(at.DNS.Addr(), portOf(overTLS)), netip.AddrPortFrom(at.DNS.Addr(), portOf(overHTTPS))),
			relayZone, silentZone, dripZone, ownZone, a.limited, limitedRate) +
		fmt.Sprintf(`radius:
  - {name: pppoe, auth: [%q], acct: [%q], pool: servers, routes: [{realm: own.example, pool: own-radius}],
     clients: [{name: nas, address: 127.0.0.1, secret: %[3]s}, {name: mad, address: %[4]s, secret: %[3]s, max_in_flight: 50}]}
`, at.Auth, at.Acct, harness.NASSecret, lab.Addr(hostMad)))
	for _, pool := range []string{"relay", "silent", "drip", "own"} {
		a.s.WaitBackend(pool, "dns", "up")
	}
	return a
}

// at is where the node answers over that transport.
func (a *attacked) at(w way) netip.AddrPort { return netip.AddrPortFrom(a.s.DNS.Addr(), portOf(w)) }

// TestE2EAttack plays attacks one after the other on one node. While each goes on, well-behaved clients over UDP, TCP,
// TLS and HTTPS and a NAS get every answer, rightly and in time; the node stays within its bounds, and counts what it
// did not answer. docs/security.md says which attack is played where.
func TestE2EAttack(t *testing.T) {
	a := newAttacked(t)
	a.welcome()
	// Their end takes its time, and is looked at when there was some.
	readers, writers := a.slowReaders(), a.slowWriters()
	for _, attack := range []struct {
		name string
		play func(*testing.T)
	}{
		{"names at random below a zone whose servers are silent", a.randomNames},
		{"queries in others' names", a.reflection},
		{"answers to the listening port", a.answersAsQueries},
		{"pointed at itself", a.inCircles},
		{"forged replies", a.forgedReplies},
		{"names that compress badly", a.compression},
		{"a backend over TCP that never ends", a.dripping},
		{"connections without an end", a.connections},
		{"TLS handshakes", a.handshakes},
		{"TLS handshakes from one address", a.handshakesOfOne},
		{"pipelines", a.pipelines},
		{"zone transfers", a.transfers},
		{"names for metrics and pages", a.names},
		{"HTTP2: streams reset at once", a.rapidReset},
		{"HTTP2: headers without an end", a.continuation},
		{"HTTP2: floods of small frames", a.smallFrames},
		{"HTTP2: stream identifiers at their end", a.lastStreams},
		{"a mad NAS", a.madNAS},
		{"a mad NAS and a random-name flood at once", func(t *testing.T) {
			done := make(chan struct{})
			go func() { defer close(done); a.mad(t, from(t, a.lab.Addr(hostMad+1), 0, a.s.Auth)) }()
			a.flood(t, a.s.DNS, harness.LoadLabels, 2000)
			<-done
		}},
	} {
		t.Run(attack.name, func(t *testing.T) { a.under(t, func() { attack.play(t) }) })
	}
	t.Run("slow readers", func(t *testing.T) { a.slowReadersEnd(t, readers) })
	t.Run("slow writers", func(t *testing.T) {
		for name := range writers {
			t.Errorf("who sends %s an octet at a time stays connected", name)
		}
	})
	for _, b := range []string{"unbound-1", "unbound-2"} {
		if state := a.s.Status().Backend(b, "dns"); state != "up" {
			t.Errorf("%s is %s", b, state)
		}
	}
	a.farewell()
}

// flood asks at that rate for names that were never asked before, from others' addresses, for the time of an attack.
func (a *attacked) flood(t *testing.T, to netip.AddrPort, labels string, rate float64) load.Books {
	t.Helper()
	c := load.DNSConfig{Targets: []netip.AddrPort{to}, Labels: labels}
	c.Rate, c.Limit, c.Timeout = rate, uint64(rate*attackTime().Seconds()), 4*time.Second
	for i := range 8 {
		c.Sources = append(c.Sources, a.lab.Addr(byte(hostAttacker+i)))
	}
	d, err := load.NewDNS(c)
	if err != nil {
		t.Fatal(err)
	}
	b, err := d.Run(t.Context())
	if err != nil {
		t.Error(err)
	}
	t.Logf("the flood: %s", &b)
	return b
}

// dnsDrops is how many queries were dropped for a reason.
func (a *attacked) dnsDrops(reason string) float64 {
	return a.s.Metrics().Sum("sereno_dns_drops_total", "reason", reason)
}

// upstream is how often something happened between the node and its resolvers.
func (a *attacked) upstream(event string) float64 {
	return a.s.Metrics().Sum("sereno_dns_upstream_total", "event", event)
}
