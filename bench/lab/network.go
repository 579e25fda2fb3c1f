package lab

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
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

// subscriberAddress is where the load comes from.
const subscriberAddress = "198.51.100.1"

// Addresses of a site: of its node at the core's routers, and of those at the node.
func nodeAt(site, core int) string { return fmt.Sprintf("10.%d.%d.2", site, core) }
func coreAt(site, core int) string { return fmt.Sprintf("10.%d.%d.1", site, core) }
func server(site, host int) string { return fmt.Sprintf("10.%d.9.%d", site, host) }

// cable is a veth pair between two namespaces; each end is named after the namespace at the other.
type cable struct {
	a, b   string
	at, bt string // addresses with their lengths
}

func cables() []cable {
	list := []cable{
		{core1, subscribers, "10.0.1.1/30", "10.0.1.2/30"},
		{core2, subscribers, "10.0.2.1/30", "10.0.2.2/30"},
		{core1, core2, "10.0.3.1/30", "10.0.3.2/30"},
	}
	for site := 1; site <= sites; site++ {
		list = append(list,
			cable{core1, nodeSpace(site), coreAt(site, 1) + "/30", nodeAt(site, 1) + "/30"},
			cable{core2, nodeSpace(site), coreAt(site, 2) + "/30", nodeAt(site, 2) + "/30"},
			cable{serverSpace(site), nodeSpace(site), server(site, 11) + "/24", server(site, 1) + "/24"})
	}
	return list
}

// connect makes the namespaces, the cables, the addresses and the few routes that no protocol brings.
func connect() error {
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
	for _, c := range cables() {
		fmt.Fprintf(&all, "link add %s netns %s type veth peer name %s netns %s\n", c.b, c.a, c.a, c.b)
		fmt.Fprintf(each[c.a], "addr add %s dev %s\nlink set %s up\n", c.at, c.b, c.b)
		fmt.Fprintf(each[c.b], "addr add %s dev %s\nlink set %s up\n", c.bt, c.a, c.a)
	}
	fmt.Fprintf(each[subscribers], "addr add %s/32 dev lo\n", subscriberAddress)
	fmt.Fprintf(each[core1], "route add %s/32 via 10.0.1.2\n", subscriberAddress)
	fmt.Fprintf(each[core2], "route add %s/32 via 10.0.2.2\n", subscriberAddress)
	for site := 1; site <= sites; site++ {
		fmt.Fprintf(each[nodeSpace(site)], "route add default nexthop via %s nexthop via %s\n", coreAt(site, 1), coreAt(site, 2))
		fmt.Fprintf(each[nodeSpace(site)], "addr add %s dev lo\naddr add %s dev lo\n", dnsPrefix, radiusPrefix)
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
	return within(namespace, func() error {
		for _, s := range [][2]string{
			{"ip_forward", forward}, {"conf/all/rp_filter", "0"}, {"conf/default/rp_filter", "0"},
			{"conf/all/ignore_routes_with_linkdown", "1"}, {"conf/default/ignore_routes_with_linkdown", "1"},
		} {
			if err := os.WriteFile("/proc/sys/net/ipv4/"+s[0], []byte(s[1]), 0); err != nil {
				return fmt.Errorf("setting %s in %s: %w", s[0], namespace, err)
			}
		}
		return nil
	})
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
