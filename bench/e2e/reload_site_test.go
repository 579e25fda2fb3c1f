package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"sereno/bench/e2e/harness"
	"sereno/bench/stub"
)

// reloadSite is a node's configuration with what the reloads change in it.
type reloadSite struct {
	lab    *harness.Lab
	s      *harness.Sereno
	router *harness.BIRD

	resolvers []*stub.Resolver
	servers   []*stub.RADIUS
	books     *stub.Books

	v [fields]int // how often each thing was changed
}

// Things that a reload changes. Each has one line, or one file, of the configuration.
const (
	weight = iota
	thirdResolver
	thirdServer
	otherClient
	cacheEntries
	rateLimit
	blockList
	blockFile
	dnsRoute
	secondNeighbor
	anycastMED
	anycastCommunity
	adminToken
	logLevel
	udpSize
	dnsBalance
	poolTimeout
	probeInterval2
	secondService
	dnsListener
	radiusListener
	radiusRoute
	secondSecret
	connections
	staleTTL
	target
	fields
)

// newReloadSite starts simulated backends, a router, and the node between them.
func newReloadSite(t *testing.T, lab *harness.Lab) *reloadSite {
	t.Helper()
	r := &reloadSite{lab: lab, books: stub.NewBooks()}
	r.resolvers, _ = resolvers(t, lab, 3)
	for i := range 3 {
		a := lab.Addr(byte(41 + i))
		server, err := stub.NewRADIUS(stub.RADIUSConfig{
			Name: fmt.Sprint(i), Auth: netip.AddrPortFrom(a, harness.AuthPort), Acct: netip.AddrPortFrom(a, harness.AcctPort),
			Secret: []byte(harness.BackendSecret), Demand: true, Books: r.books,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := server.Close(); err != nil {
				t.Error(err)
			}
		})
		r.servers = append(r.servers, server)
	}
	r.router = lab.BIRD(false)
	r.s = lab.Prepare(harness.Config{})
	r.write(r.yaml())
	r.s.Start()
	r.s.WaitReady()
	return r
}

func (r *reloadSite) write(text string) {
	r.lab.Write("token", fmt.Sprintf("token-number-%d\n", r.v[adminToken]))
	r.lab.Write("block.txt", fmt.Sprintf("blocked-%d.test\n", r.v[blockFile]))
	r.lab.Write("sereno.yaml", text)
}

// odd tells whether a thing that is there or not is there.
func (r *reloadSite) odd(field int) bool { return r.v[field]%2 == 1 }

func (r *reloadSite) yaml() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	when := func(is bool, format string, args ...any) {
		if is {
			line(format, args...)
		}
	}
	one := func(field int, words ...string) string { return words[r.v[field]%len(words)] }

	line("node: {name: lab, state_dir: %s/state}", r.lab.Dir())
	line("log: {level: %s}", one(logLevel, "info", "warn", "error"))
	line("admin: {socket: %s/admin.sock, listen: %q, token_file: token}", r.lab.Dir(), r.s.HTTP)
	line("pools:")
	line("  - name: resolvers\n    protocol: dns")
	line("    balance: %s", one(dnsBalance, "least-outstanding", "round-robin", "random"))
	line("    timeout: %s", one(poolTimeout, "2s", "3s"))
	line("    health: {interval: %s, timeout: 400ms, slow_start: 1s}", one(probeInterval2, "1s", "900ms"))
	line("    backends:")
	line("      - {name: first, address: %q}", r.resolvers[0].Addr())
	line("      - {name: second, address: %q, weight: %d}", r.resolvers[1].Addr(), 1+r.v[weight]%5)
	when(r.odd(thirdResolver), "      - {name: third, address: %q}", r.resolvers[2].Addr())
	line("  - name: servers\n    protocol: radius")
	line("    health: {interval: 1s, timeout: 700ms, slow_start: 1s}")
	line("    backends:")
	for i, name := range []string{"first", "second", "third"} {
		when(i < 2 || r.odd(thirdServer), "      - {name: %s, address: %s, secret: %s}", name, r.lab.Addr(byte(41+i)), harness.BackendSecret)
	}
	r.yamlServices(line, when, one)
	line("bgp:\n  asn: %d\n  router_id: 10.255.0.1\n  neighbors:", harness.NodeASN)
	line("    - {name: bird, address: %s, asn: %d, port: %d, source: %s, connect_retry: 1s}", r.router.Addr, harness.RouterASN, harness.BGPPort, r.lab.Addr(1))
	when(r.odd(secondNeighbor), "    - {name: nobody, address: %s, asn: 64999, port: %d, source: %s}", r.lab.Addr(99), harness.BGPPort, r.lab.Addr(1))
	line("anycast:")
	line("  - {name: dns-vip, prefixes: [%s], requires: [resolver], med: %d, communities: [\"64512:%d\"]}", harness.DNSPrefix, r.v[anycastMED], r.v[anycastCommunity])
	line("  - {name: radius-vip, prefixes: [%s], requires: [pppoe]}", harness.RADIUSPrefix)
	line("availability: {target: %s}", one(target, "99.99", "99.9"))
	return b.String()
}

func (r *reloadSite) yamlServices(line func(string, ...any), when func(bool, string, ...any), one func(int, ...string) string) {
	listen := fmt.Sprintf("%q", r.s.DNS)
	if r.odd(dnsListener) {
		listen += fmt.Sprintf(", %q", netip.AddrPortFrom(r.lab.Addr(55), harness.DNSPort))
	}
	line("dns:\n  - name: resolver\n    listen: [%s]\n    pool: resolvers\n    allow: [127.0.0.0/8]", listen)
	line("    udp_size: %s", one(udpSize, "1232", "1400"))
	line("    cache: {entries: %d, stale: {ttl: %s}}", 400_000+1000*(r.v[cacheEntries]%7), one(staleTTL, "30s", "20s"))
	line("    rate_limit: {queries_per_second: %s, exempt: [127.0.0.0/8]}", one(rateLimit, "0", "100000", "1"))
	line("    tcp: {max_connections: %s}", one(connections, "10000", "500"))
	when(r.odd(dnsRoute), "    routes: [{zones: [part.test.], pool: resolvers}]")
	when(!r.odd(blockList), "    block: [{file: block.txt}]")
	when(r.odd(secondService), "  - {name: second-%d, listen: [%q], pool: resolvers}", r.v[secondService]/4, netip.AddrPortFrom(r.lab.Addr(56), harness.DNSPort))
	auth := fmt.Sprintf("%q", r.s.Auth)
	if r.odd(radiusListener) {
		auth += fmt.Sprintf(", %q", netip.AddrPortFrom(r.lab.Addr(57), harness.AuthPort))
	}
	line("radius:\n  - name: pppoe\n    auth: [%s]\n    acct: [%q]\n    pool: servers", auth, r.s.Acct)
	when(r.odd(radiusRoute), "    routes: [{realm: part.test, pool: servers}]")
	line("    clients:")
	line("      - {name: nas, address: 127.0.0.0/8, secret: [%s%s]}", harness.NASSecret, one(secondSecret, "", ", next-secret-of-the-lab"))
	when(r.odd(otherClient), "      - {name: other, address: 10.0.0.1, secret: other-secret-0123}")
}
