package demo

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
)

// What is announced, and by whom.
const (
	dnsPrefix    = "192.0.2.53/32"
	radiusPrefix = "192.0.2.18/32"
	nodeASN      = 64512
	routerASN    = 64500
	routerID     = "10.255.0.2"

	nasSecret     = "nas-secret-of-the-demo"
	backendSecret = "backend-secret-of-the-demo"
)

// Ports. Every part has an address of its own, so they are the usual ones plus what an ordinary user may open.
const (
	dnsPort  = 5353
	authPort = 1812
	acctPort = 1813
	bgpPort  = 1179
	httpPort = 8053
)

// layout is the addresses of one demo: 127.X.Y.0/24, which no other run uses.
type layout struct {
	x, y byte
	lock net.Listener
}

// newLayout picks a network; close lets it go.
func newLayout() (*layout, error) {
	var err error
	for range 100 {
		l := &layout{x: byte(64 + rand.IntN(190)), y: byte(1 + rand.IntN(254))}
		if l.lock, err = net.Listen("tcp", netip.AddrPortFrom(l.addr(250), 4001).String()); err == nil {
			return l, nil
		}
	}
	return nil, errors.Join(errors.New("no free loopback network: the demo needs 127.0.0.0/8 as Linux has it"), err)
}

func (l *layout) close() error { return l.lock.Close() }

func (l *layout) addr(host byte) netip.Addr { return netip.AddrFrom4([4]byte{127, l.x, l.y, host}) }

func (l *layout) at(host byte, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(l.addr(host), port)
}

// site is what one node has: number 0 is the site of the story, number 1 the one to fall back on.
type site struct {
	number    int
	resolvers []string // names of backends
	servers   []string
}

// sites of the demo. Their backends' names are what the story and the player call them.
var sites = [...]site{
	{0, []string{"dns-1", "dns-2"}, []string{"radius-1", "radius-2"}},
	{1, []string{"dns-3"}, []string{"radius-3"}},
}

// hosts of the layout, for site n.
func nodeHost(n int) byte   { return byte(1 + 100*n) }
func dnsHost(n int) byte    { return byte(53 + 100*n) }
func radiusHost(n int) byte { return byte(54 + 100*n) }

const routerHost = 2

// backendHost is the address of a backend: dns-1 is .11, radius-1 is .21.
func backendHost(name string) byte {
	number := name[len(name)-1] - '0'
	if strings.HasPrefix(name, "radius") {
		return 20 + number
	}
	return 10 + number
}

// config is a site's sereno.yaml. Backends are probed twice as often as by default, and a route comes back after 2 s
// of health instead of 10, so that the story is short.
func (l *layout) config(s site, dir string) string {
	var y strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&y, format+"\n", args...) }
	line("node: {name: site-%d, state_dir: %s}", s.number+1, filepath.Join(dir, "state"))
	line("admin: {socket: %s, listen: %q}", filepath.Join(dir, "admin.sock"), l.at(nodeHost(s.number), httpPort))
	line("pools:")
	line("  - name: resolvers")
	line("    protocol: dns")
	line("    health: {interval: 500ms, timeout: 250ms, slow_start: 1s}")
	line("    backends:")
	for _, name := range s.resolvers {
		line("      - {name: %s, address: %q}", name, l.at(backendHost(name), dnsPort))
	}
	line("  - name: servers")
	line("    protocol: radius")
	line("    health: {interval: 1s, timeout: 700ms, slow_start: 1s}")
	line("    backends:")
	for _, name := range s.servers {
		line("      - {name: %s, address: %s, secret: %s}", name, l.addr(backendHost(name)), backendSecret)
	}
	line("dns:\n  - {name: resolver, listen: [%q], pool: resolvers}", l.at(dnsHost(s.number), dnsPort))
	line("radius:")
	line("  - name: pppoe")
	line("    auth: [%q]", l.at(radiusHost(s.number), authPort))
	line("    acct: [%q]", l.at(radiusHost(s.number), acctPort))
	line("    pool: servers")
	line("    clients: [{name: nas, address: 127.0.0.1, secret: %s}]", nasSecret)
	line("bgp:\n  asn: %d\n  router_id: 10.255.1.%d\n  site: %d\n  neighbors:", nodeASN, s.number+1, s.number+1)
	line("    - {name: router, address: %s, asn: %d, port: %d, source: %s, connect_retry: 1s}",
		l.addr(routerHost), routerASN, bgpPort, l.addr(nodeHost(s.number)))
	line("anycast:")
	for _, vip := range [...][2]string{{"resolver", dnsPrefix}, {"pppoe", radiusPrefix}} {
		line("  - {name: %[1]s-vip, prefixes: [%[2]s], requires: [%[1]s], announce_after: 2s, drain_time: 1s, med: %[3]d}", vip[0], vip[1], 100*s.number)
	}
	return y.String()
}
