package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sereno/bgp"
)

// warning notes what works but hurts. Where there is an error, it is enough.
func (k *checker) warning(path, message string) {
	if k.said[path] || k.decoder.known(path) {
		return
	}
	k.report.Warnings = append(k.report.Warnings, Problem{k.decoder.where(path, k.root), path, message, true})
}

// warn collects the warnings: the sections' own, and those that need more than one.
func (k *checker) warn() {
	c := k.config
	if len(c.DNS)+len(c.RADIUS) == 0 {
		k.report.Warnings = append(k.report.Warnings, Problem{k.root, "", "no service: neither `dns` nor `radius` has an item, so nothing would be answered", true})
	}
	used := k.usedPools()
	for i := range c.Pools {
		p, path := &c.Pools[i], fmt.Sprintf("pools[%d]", i)
		k.poolWarnings(p, path)
		if p.Name != "" && !used[p.Name] && len(k.report.Errors) == 0 {
			k.warning(path, fmt.Sprintf("no service uses pool %q", p.Name))
		}
	}
	for i := range c.DNS {
		c.DNS[i].Warnings(k.warnAt(fmt.Sprintf("dns[%d]", i)))
	}
	for i := range c.RADIUS {
		path := fmt.Sprintf("radius[%d]", i)
		for j := range c.RADIUS[i].Clients {
			c.RADIUS[i].Clients[j].Warnings(k.warnAt(fmt.Sprintf("%s.clients[%d]", path, j)))
		}
		if len(c.RADIUS[i].Clients) == 0 {
			k.warning(path+".clients", "no client: every request would be dropped")
		}
		k.coaSourceWarning(i)
	}
	c.BGP.Warnings(k.warnAt("bgp"))
	for i := range c.Anycast {
		c.Anycast[i].Warnings(k.warnAt(fmt.Sprintf("anycast[%d]", i)))
		k.withdrawWarning(i)
	}
	bgp.WarningsTogether(&c.BGP, c.Anycast, k.warning)
}

// warnAt is the report function for warnings of the section at a path.
func (k *checker) warnAt(path string) func(key, message string) {
	return func(key, message string) { k.warning(join(path, key), message) }
}

func (k *checker) usedPools() map[string]bool {
	used := map[string]bool{}
	for _, s := range k.config.DNS {
		used[s.Pool] = true
		for _, r := range s.Routes {
			used[r.Pool] = true
		}
	}
	for _, s := range k.config.RADIUS {
		used[s.Pool] = true
		for _, r := range s.Routes {
			used[r.Pool] = true
		}
	}
	return used
}

// poolWarnings warns of what the sections of a pool say, and of a role without
// anybody to spare.
func (k *checker) poolWarnings(p *Pool, path string) {
	p.Config.Warnings(p.Protocol, k.warnAt(path))
	p.Health.Warnings(p.Protocol, k.warnAt(path+".health"))
	if p.Protocol == "radius" {
		for j := range p.Backends {
			p.Backends[j].RADIUS.Warnings(k.warnAt(fmt.Sprintf("%s.backends[%d]", path, j)))
		}
	}
	for _, role := range p.roles() {
		if n := len(p.inRole(role)); n == 1 && !k.wrongWithin(path+".backends") {
			name := map[string]string{"dns": "", "auth": " for authentication", "acct": " for accounting"}[role]
			k.warning(path+".backends", fmt.Sprintf("one backend only%s: nothing stands in for it", name))
		}
	}
}

// coaSourceWarning warns of a CoA source inside an anycast prefix: the NAS's
// answer may reach another site.
func (k *checker) coaSourceWarning(i int) {
	source, err := netip.ParseAddr(k.config.RADIUS[i].CoASource)
	if err != nil {
		return
	}
	for _, a := range k.config.Anycast {
		if j := slices.IndexFunc(a.Prefixes, func(p netip.Prefix) bool { return p.Contains(source) }); j >= 0 {
			k.warning(fmt.Sprintf("radius[%d].coa_source", i),
				fmt.Sprintf("%s is inside the anycast prefix %s: a NAS's answer may reach another site; use an address of this node", source, a.Prefixes[j]))
		}
	}
}

// withdrawWarning warns of services whose ways of answering without a backend
// end with the route.
func (k *checker) withdrawWarning(i int) {
	a := &k.config.Anycast[i]
	if a.WhenDown != "withdraw" {
		return
	}
	var on []string
	add := func(is bool, what string) {
		if is && !slices.Contains(on, what) {
			on = append(on, what)
		}
	}
	for _, s := range k.config.DNS {
		if slices.Contains(a.Requires, s.Name) {
			add(s.Cache.Enabled && s.Cache.Stale.For > 0, "stale answers")
		}
	}
	for _, s := range k.config.RADIUS {
		if slices.Contains(a.Requires, s.Name) {
			add(s.Accounting.Spool && len(s.Acct) > 0, "the spool")
			add(s.Survival.Mode != "off", "survival")
		}
	}
	if len(on) > 0 {
		k.warning(fmt.Sprintf("anycast[%d].when_down", i),
			fmt.Sprintf("withdraw takes the route away when the backends are down, and with it the use of %s; demote or hand-over keeps it", sentence(on)))
	}
}

// sentence joins words: "a", "a and b", "a, b and c".
func sentence(words []string) string {
	out := ""
	for i, w := range words {
		switch {
		case i == 0:
		case i == len(words)-1:
			out += " and "
		default:
			out += ", "
		}
		out += w
	}
	return out
}

// wrongWithin tells whether an item of a list has an error: then it cannot be counted.
func (k *checker) wrongWithin(list string) bool {
	return slices.ContainsFunc(k.report.Errors, func(p Problem) bool { return strings.HasPrefix(p.Key, list+"[") })
}
