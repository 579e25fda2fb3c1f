package config

import (
	"fmt"
	"net/netip"
)

// dnsPort is the port of a DNS backend whose address names none.
const dnsPort = 53

// roles are the roles of a pool of this protocol: "dns", or "auth" and "acct".
func (p *Pool) roles() []string {
	if p.Protocol == "radius" {
		return []string{"auth", "acct"}
	}
	return []string{"dns"}
}

// inRole lists the backends that have a role.
func (p *Pool) inRole(role string) []*Backend {
	var out []*Backend
	for i := range p.Backends {
		if _, ok := p.Backends[i].Addr(role); ok {
			out = append(out, &p.Backends[i])
		}
	}
	return out
}

// Addr is where the backend is asked in a role ("dns", "auth" or "acct"). It is
// false if the backend does not have that role.
func (b *Backend) Addr(role string) (netip.AddrPort, bool) {
	if role == "dns" {
		if a, err := netip.ParseAddrPort(b.Address); err == nil {
			return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), true
		}
		a, err := netip.ParseAddr(b.Address)
		return netip.AddrPortFrom(a.Unmap(), dnsPort), err == nil
	}
	port := b.RADIUS.AuthPort
	if role == "acct" {
		port = b.RADIUS.AcctPort
	}
	a, err := netip.ParseAddr(b.Address)
	if err != nil || port <= 0 || port > 65535 {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(port)), true
}

// listener is one address that the node opens.
type listener struct {
	path     string
	addr     netip.AddrPort
	udp, tcp bool
	service  string // kind of what listens: "dns", "dns over tls", "radius auth", "admin", …
	owner    string // name of the service; "" for admin and bgp
}

// listeners lists every address that the configuration opens; what cannot be
// read is left out, for its section has said so.
func (c *Config) listeners() []listener {
	var out []listener
	add := func(path, kind, owner string, list []string, udp, tcp bool) {
		for i, text := range list {
			at := path
			if len(path) > 0 && path[len(path)-1] == '*' {
				at = fmt.Sprintf("%s[%d]", path[:len(path)-1], i)
			}
			addr, err := netip.ParseAddrPort(text)
			if err != nil {
				continue
			}
			out = append(out, listener{at, netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()), udp, tcp, kind, owner})
		}
	}
	for i, s := range c.DNS {
		path := fmt.Sprintf("dns[%d]", i)
		add(path+".listen*", "dns", s.Name, s.Listen, true, true)
		add(path+".tls.listen*", "dns over tls", s.Name, s.TLS.Listen, false, true)
		add(path+".https.listen*", "dns over https", s.Name, s.HTTPS.Listen, false, true)
	}
	for i, s := range c.RADIUS {
		path := fmt.Sprintf("radius[%d]", i)
		add(path+".auth*", "radius auth", s.Name, s.Auth, true, false)
		add(path+".acct*", "radius acct", s.Name, s.Acct, true, false)
		add(path+".coa*", "radius coa", s.Name, s.CoA, true, false)
	}
	add("admin.listen", "admin", "", []string{c.Admin.Listen}, false, true)
	bgpListen := c.BGP.Listen
	if len(bgpListen) > 0 && bgpListen[0] == ':' {
		bgpListen = "[::]" + bgpListen
	}
	add("bgp.listen", "bgp", "", []string{bgpListen}, false, true)
	return out
}

// listeners checks that no two listen on the same address, also through a
// wildcard, and that no backend is one of our own listeners.
func (k *checker) listeners() {
	all := k.config.listeners()
	for j, b := range all {
		for _, a := range all[:j] {
			if a.addr.Port() != b.addr.Port() || b.addr.Port() == 0 || !(a.udp && b.udp || a.tcp && b.tcp) {
				continue
			}
			k.collision(a, b)
		}
	}
	for i := range k.config.Pools {
		p := &k.config.Pools[i]
		for j := range p.Backends {
			for _, role := range p.roles() {
				addr, ok := p.Backends[j].Addr(role)
				if l := ownListener(all, addr); ok && l != nil {
					k.fail(fmt.Sprintf("pools[%d].backends[%d].address", i, j), fmt.Sprintf("%s is our own (%s): queries would go round in circles", addr, l.path))
				}
			}
		}
	}
}

// collision reports two listeners on one address, at the later one that is
// written down: a default is not what the author has to change.
func (k *checker) collision(a, b listener) {
	if !k.decoder.given(b.path) && k.decoder.given(a.path) {
		a, b = b, a
	}
	switch {
	case a.addr == b.addr:
		k.fail(b.path, fmt.Sprintf("%s is taken by %s", b.addr, a.path))
	case covers(a.addr.Addr(), b.addr.Addr()):
		k.fail(b.path, fmt.Sprintf("%s is taken by %s, which listens on every address (%s)", b.addr, a.path, a.addr))
	case covers(b.addr.Addr(), a.addr.Addr()):
		k.fail(b.path, fmt.Sprintf("%s is every address, and %s listens on %s already", b.addr, a.path, a.addr))
	}
}

func ownListener(all []listener, addr netip.AddrPort) *listener {
	for i := range all {
		if all[i].addr == addr && all[i].udp {
			return &all[i]
		}
	}
	return nil
}

// covers tells whether a is the wildcard of b's family.
func covers(a, b netip.Addr) bool { return a.IsUnspecified() && a != b && a.Is4() == b.Is4() }
