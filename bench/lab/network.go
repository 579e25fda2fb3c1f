package lab

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Namespaces of the laboratory; those of a site have its number behind them.
const (
	subscribers = "subscribers"
	core1       = "core-1"
	core2       = "core-2"
)

func nodeSpace(site int) string   { return fmt.Sprintf("node-%d", site) }
func serverSpace(site int) string { return fmt.Sprintf("servers-%d", site) }

// Where the load comes from.
const (
	subscriberAddress  = "198.51.100.1"
	subscriberAddress6 = "2001:db8:100::1"
)

// family is one of the two that the laboratory's network is built of: each link has addresses of both, each router a
// session of each with each node.
type family struct {
	channel    string // as BIRD and FRR call it
	suffix     string // of the names of BIRD's protocols
	wire       string // of a link's addresses: its two numbers, and the end
	bits       int    // of a link
	subscriber string // the load's source
	whole      string // the default route
}

var families = []family{
	{"ipv4", "", "10.%d.%d.%d", 30, subscriberAddress + "/32", "0.0.0.0/0"},
	{"ipv6", "_v6", "fd00:%d:%d::%d", 64, subscriberAddress6 + "/128", "::/0"},
}

// familyOf is the family of a prefix.
func familyOf(prefix string) family {
	if strings.Contains(prefix, ":") {
		return families[1]
	}
	return families[0]
}

// Addresses: of the end of a link inside the core, of a node at the core's routers, and of those at the node.
func (f family) inside(link, end int) string  { return fmt.Sprintf(f.wire, 0, link, end) }
func (f family) nodeAt(site, core int) string { return fmt.Sprintf(f.wire, site, core, 2) }
func (f family) coreAt(site, core int) string { return fmt.Sprintf(f.wire, site, core, 1) }

// server is the address of one of a site's servers; they have IPv4 only.
func server(site, host int) string { return fmt.Sprintf("10.%d.9.%d", site, host) }

// The links inside the core, by their numbers in addresses.
const (
	linkSubscribers1 = 1 + iota
	linkSubscribers2
	linkCore
)

// cable is a veth pair between two namespaces; each end is named after the namespace at the other.
type cable struct {
	a, b   string
	at, bt []string // addresses with their lengths
}

func newCable(a, b string, x, y int, ends [2]int) cable {
	c := cable{a: a, b: b}
	for _, f := range families {
		c.at = append(c.at, fmt.Sprintf(f.wire+"/%d", x, y, ends[0], f.bits))
		c.bt = append(c.bt, fmt.Sprintf(f.wire+"/%d", x, y, ends[1], f.bits))
	}
	return c
}

func cables(sites int) []cable {
	ends := [2]int{1, 2}
	list := []cable{
		newCable(core1, subscribers, 0, linkSubscribers1, ends),
		newCable(core2, subscribers, 0, linkSubscribers2, ends),
		newCable(core1, core2, 0, linkCore, ends),
	}
	for site := 1; site <= sites; site++ {
		list = append(list,
			newCable(core1, nodeSpace(site), site, 1, ends),
			newCable(core2, nodeSpace(site), site, 2, ends),
			cable{serverSpace(site), nodeSpace(site), []string{server(site, 11) + "/24"}, []string{server(site, 1) + "/24"}})
	}
	return list
}

// connect makes the namespaces, the cables, the addresses and the few routes that no protocol brings.
func connect(sites int) error {
	spaces := []string{subscribers, core1, core2}
	for site := 1; site <= sites; site++ {
		spaces = append(spaces, nodeSpace(site), serverSpace(site))
	}
	var all strings.Builder
	for _, s := range spaces {
		fmt.Fprintf(&all, "netns add %s\n", s)
	}
	each := map[string]*strings.Builder{}
	for _, s := range spaces {
		each[s] = &strings.Builder{}
		fmt.Fprintln(each[s], "link set lo up")
	}
	for _, c := range cables(sites) {
		fmt.Fprintf(&all, "link add %s netns %s type veth peer name %s netns %s\n", c.b, c.a, c.a, c.b)
		for i := range c.at {
			fmt.Fprintf(each[c.a], "addr add %s dev %s\n", c.at[i], c.b)
			fmt.Fprintf(each[c.b], "addr add %s dev %s\n", c.bt[i], c.a)
		}
		fmt.Fprintf(each[c.a], "link set %s up\n", c.b)
		fmt.Fprintf(each[c.b], "link set %s up\n", c.a)
	}
	for _, f := range families {
		fmt.Fprintf(each[subscribers], "addr add %s dev lo\n", f.subscriber)
		fmt.Fprintf(each[core1], "route add %s via %s\n", f.subscriber, f.inside(linkSubscribers1, 2))
		fmt.Fprintf(each[core2], "route add %s via %s\n", f.subscriber, f.inside(linkSubscribers2, 2))
	}
	for site := 1; site <= sites; site++ {
		for _, f := range families {
			fmt.Fprintf(each[nodeSpace(site)], "route add %s nexthop via %s nexthop via %s\n", f.whole, f.coreAt(site, 1), f.coreAt(site, 2))
		}
		for _, host := range []int{12, 21, 22} {
			fmt.Fprintf(each[serverSpace(site)], "addr add %s/24 dev %s\n", server(site, host), nodeSpace(site))
		}
	}
	if err := ip(all.String(), "-batch", "-"); err != nil {
		return err
	}
	for _, s := range spaces {
		if err := settings(s); err != nil {
			return err
		}
		if err := ip(each[s].String(), "-n", s, "-batch", "-"); err != nil {
			return err
		}
	}
	return nil
}

// settings makes routers of the core's namespaces, and lets a node use what is left of its ways when a link is cut.
func settings(namespace string) error {
	forward := "0"
	if namespace == core1 || namespace == core2 {
		forward = "1"
	}
	list := [][2]string{
		{"ipv4/ip_forward", forward}, {"ipv4/conf/all/rp_filter", "0"}, {"ipv4/conf/default/rp_filter", "0"},
		{"ipv6/conf/all/forwarding", forward},
	}
	for _, which := range []string{"all", "default"} {
		list = append(list,
			[2]string{"ipv4/conf/" + which + "/ignore_routes_with_linkdown", "1"},
			[2]string{"ipv6/conf/" + which + "/ignore_routes_with_linkdown", "1"},
			[2]string{"ipv6/conf/" + which + "/disable_ipv6", "0"},
			[2]string{"ipv6/conf/" + which + "/accept_dad", "0"},        // nobody else is on a cable, and nothing waits for that to be found out
			[2]string{"ipv6/conf/" + which + "/keep_addr_on_down", "1"}) // as IPv4 does
	}
	return within(namespace, func() error {
		// Neighbour discovery asks again after 100 ms, or a link that comes up again costs IPv6 up to three seconds.
		neighbors, err := filepath.Glob("/proc/sys/net/ipv6/neigh/*/retrans_time_ms")
		if err != nil {
			return err
		}
		for _, file := range neighbors {
			list = append(list, [2]string{strings.TrimPrefix(file, "/proc/sys/net/"), "100"})
		}
		for _, s := range list {
			if err := os.WriteFile("/proc/sys/net/"+s[0], []byte(s[1]), 0); err != nil {
				return fmt.Errorf("setting %s in %s: %w", s[0], namespace, err)
			}
		}
		return nil
	})
}

// assigned gives the anycast addresses that a node's namespace has, which the node itself puts there and takes away
// (A23).
func assigned(site int) (found []string, err error) {
	err = within(nodeSpace(site), func() error {
		addrs, err := net.InterfaceAddrs()
		for _, a := range addrs {
			if slices.Contains([]string{dnsPrefix, dnsPrefix6, radiusPrefix}, a.String()) {
				found = append(found, a.String())
			}
		}
		return err
	})
	return found, err
}

// ip runs ip(8) with these commands on its standard input.
func ip(stdin string, args ...string) error {
	path, err := program("ip")
	if err != nil {
		return err
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
