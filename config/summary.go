package config

import (
	"fmt"
	"net/netip"
	"strings"
)

// Summary is what would run, in a few lines for people: services with their
// listeners, pools with their backends, prefixes, neighbors. It holds no secret.
func (c *Config) Summary() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("node %s, state in %s", c.Node.Name, c.Node.StateDir)
	line("admin: %s", c.adminText())
	for i := range c.DNS {
		s := &c.DNS[i]
		line("dns %s: %s, pool %s%s", s.Name, listenText("listens on", s.Listen), s.Pool, routesText(len(s.Routes)))
		line("    allows %s", prefixesText(s.Allow))
		if s.Cache.Enabled {
			line("    cache of %d entries", s.Cache.Entries)
		}
	}
	for i := range c.RADIUS {
		s := &c.RADIUS[i]
		line("radius %s: %s, pool %s%s", s.Name, portsText(s.Auth, s.Acct, s.CoA), s.Pool, routesText(len(s.Routes)))
		line("    %s", count(len(s.Clients), "client"))
	}
	for i := range c.Pools {
		p := &c.Pools[i]
		line("pool %s: %s, %s, %s", p.Name, p.Protocol, p.Balance, count(len(p.Backends), "backend"))
		for j := range p.Backends {
			line("    %s", p.Backends[j].summary(p))
		}
	}
	for i := range c.Anycast {
		a := &c.Anycast[i]
		line("anycast %s: %s while %s healthy, else %s", a.Name, prefixesText(a.Prefixes), areHealthy(a.Requires), a.WhenDown)
	}
	if n := len(c.BGP.Neighbors); n > 0 {
		line("bgp AS %d, router ID %s, site %d: %s", c.BGP.ASN, c.BGP.RouterID, c.BGP.Site, count(n, "neighbor"))
		for _, n := range c.BGP.Neighbors {
			line("    %s at %s, AS %d", n.Name, n.Address, n.ASN)
		}
	} else {
		line("bgp: no neighbors, no route is announced")
	}
	return b.String()
}

func (c *Config) adminText() string {
	var on []string
	if c.Admin.Socket != "" {
		on = append(on, c.Admin.Socket)
	}
	if c.Admin.Listen != "" {
		on = append(on, "http://"+c.Admin.Listen)
	}
	if len(on) == 0 {
		return "off"
	}
	return strings.Join(on, ", ")
}

// summary is one backend's line.
func (b *Backend) summary(p *Pool) string {
	var text string
	for _, role := range p.roles() {
		addr, ok := b.Addr(role)
		if !ok {
			continue
		}
		if role == "dns" {
			text = addr.String()
			continue
		}
		text = strings.TrimPrefix(text+", "+role+" "+addr.String(), ", ")
	}
	if b.Weight != 1 {
		text += fmt.Sprintf(", weight %d", b.Weight)
	}
	if b.Backup {
		text += ", backup"
	}
	return b.Name + ": " + text
}

func listenText(what string, list []string) string {
	return what + " " + strings.Join(list, ", ")
}

func portsText(auth, acct, coa []string) string {
	var parts []string
	for _, l := range []struct {
		what string
		list []string
	}{{"authentication on", auth}, {"accounting on", acct}, {"CoA on", coa}} {
		if len(l.list) > 0 {
			parts = append(parts, listenText(l.what, l.list))
		}
	}
	return strings.Join(parts, ", ")
}

func routesText(n int) string {
	if n == 0 {
		return ""
	}
	return " and " + count(n, "route")
}

// prefixesText writes at most eight prefixes.
func prefixesText(list []netip.Prefix) string {
	if len(list) == 0 {
		return "nobody"
	}
	const most = 8
	var parts []string
	for _, p := range list[:min(len(list), most)] {
		parts = append(parts, p.String())
	}
	if len(list) > most {
		parts = append(parts, fmt.Sprintf("%d more", len(list)-most))
	}
	return strings.Join(parts, ", ")
}

func areHealthy(services []string) string {
	if len(services) == 1 {
		return services[0] + " is"
	}
	return sentence(services) + " are"
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
