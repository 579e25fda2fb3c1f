package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sereno/proxy/radiusfront"
)

// radiusKeys and dnsKeys are the keys that only one protocol's pools have.
var (
	radiusKeys = []string{
		"hash_key", "health.radius",
		"backends[].auth_port", "backends[].acct_port", "backends[].secret", "backends[].secret_file", "backends[].message_authenticator",
	}
	dnsKeys = []string{"health.dns"}
)

// pools checks what a pool's parts need of one another.
func (k *checker) pools() {
	for i := range k.config.Pools {
		p, path := &k.config.Pools[i], fmt.Sprintf("pools[%d]", i)
		switch p.Protocol {
		case "dns":
			k.foreignKeys(p, path, radiusKeys, "radius")
		case "radius":
			k.foreignKeys(p, path, dnsKeys, "dns")
			if len(p.HashKey) == 0 {
				k.fail(path+".hash_key", "is empty; name at least one attribute, for example User-Name")
			}
			for j, name := range p.HashKey {
				if _, ok := radiusfront.HashAttribute(name); !ok {
					k.fail(fmt.Sprintf("%s.hash_key[%d]", path, j), fmt.Sprintf("%q is not an attribute to choose a backend by; write for example Calling-Station-Id or User-Name", name))
				}
			}
		default:
			continue
		}
		if len(p.Backends) == 0 {
			k.fail(path+".backends", "a pool needs a backend; two, to have one to spare")
			continue
		}
		k.backends(p, path)
		for _, role := range p.roles() {
			if n := len(p.inRole(role)); n > 0 && p.MinHealthy > n {
				k.fail(path+".min_healthy", fmt.Sprintf("is %d, but only %d of the backends can be healthy%s: the pool would always be down",
					p.MinHealthy, n, map[string]string{"auth": " for authentication", "acct": " for accounting"}[role]))
			}
		}
	}
}

// foreignKeys reports keys of the other protocol that were written down.
func (k *checker) foreignKeys(p *Pool, path string, keys []string, protocol string) {
	for _, key := range keys {
		under, backend := strings.CutPrefix(key, "backends[].")
		if !backend {
			k.foreignKey(path+"."+key, protocol)
			continue
		}
		for j := range p.Backends {
			k.foreignKey(fmt.Sprintf("%s.backends[%d].%s", path, j, under), protocol)
		}
	}
}

func (k *checker) foreignKey(path, protocol string) {
	if k.decoder.given(path) {
		k.fail(path, fmt.Sprintf("belongs to pools with `protocol: %s`", protocol))
	}
}

// backends checks the addresses and secrets of one pool.
func (k *checker) backends(p *Pool, path string) {
	first := map[string]string{}
	for j := range p.Backends {
		b, at := &p.Backends[j], fmt.Sprintf("%s.backends[%d]", path, j)
		if p.Protocol == "radius" {
			k.oneSecret(at, b.RADIUS.Secret != "", b.RADIUS.SecretFile != "")
			if b.RADIUS.AuthPort == 0 && b.RADIUS.AcctPort == 0 {
				k.fail(at+".acct_port", "auth_port and acct_port are both 0: the backend would do nothing")
			}
		}
		for _, role := range p.roles() {
			addr, ok := b.Addr(role)
			if !ok {
				continue
			}
			id := role + " " + addr.String()
			if first[id] != "" {
				k.fail(at+".address", fmt.Sprintf("%s is %s already", addr, first[id]))
				continue
			}
			first[id] = at
		}
	}
}

// oneSecret checks that a secret is given, and in one place.
func (k *checker) oneSecret(at string, secret, file bool) {
	if secret && file {
		k.fail(at+".secret_file", "secret and secret_file are both given; write one of them")
	}
	// A secret given as "" is missing too, and the message belongs to it.
	if !secret && !file && !k.decoder.known(at+".secret_file") {
		k.fail(at+".secret", "a shared secret is needed; write secret, or secret_file with the name of a file")
	}
}

// references checks that the pools that services name are there and speak their protocol.
func (k *checker) references() {
	for i, s := range k.config.DNS {
		path := fmt.Sprintf("dns[%d]", i)
		k.poolReference(path+".pool", s.Pool, "dns")
		for j, r := range s.Routes {
			k.poolReference(fmt.Sprintf("%s.routes[%d].pool", path, j), r.Pool, "dns")
		}
	}
	for i, s := range k.config.RADIUS {
		path := fmt.Sprintf("radius[%d]", i)
		k.poolReference(path+".pool", s.Pool, "radius")
		if p := k.config.Pool(s.Pool); p != nil && p.Protocol == "radius" && len(p.Backends) > 0 {
			if len(s.Auth) > 0 && len(p.inRole("auth")) == 0 {
				k.fail(path+".auth", fmt.Sprintf("no backend of pool %q does authentication (auth_port is 0)", s.Pool))
			}
			if len(s.Acct) > 0 && len(p.inRole("acct")) == 0 {
				k.fail(path+".acct", fmt.Sprintf("no backend of pool %q does accounting (acct_port is 0)", s.Pool))
			}
		}
		for j, r := range s.Routes {
			k.poolReference(fmt.Sprintf("%s.routes[%d].pool", path, j), r.Pool, "radius")
		}
	}
}

func (k *checker) poolReference(path, name, protocol string) {
	if name == "" {
		k.fail(path, fmt.Sprintf("a pool is needed; name one with `protocol: %s`", protocol))
		return
	}
	if p := k.config.Pool(name); p != nil {
		if p.Protocol != protocol && (p.Protocol == "dns" || p.Protocol == "radius") {
			k.fail(path, fmt.Sprintf("pool %q speaks %s, not %s", name, p.Protocol, protocol))
		}
		return
	}
	if k.doubtful("pools") {
		return
	}
	var known []string
	for _, p := range k.config.Pools {
		if p.Protocol == protocol {
			known = append(known, p.Name)
		}
	}
	k.fail(path, fmt.Sprintf("there is no pool %q%s", name, didYouMean(name, known)))
}

// doubtful tells whether a list was not read whole, so that a name missing
// from it may be there after all.
func (k *checker) doubtful(list string) bool {
	answer, ok := k.doubts[list]
	if ok {
		return answer
	}
	for p := range k.decoder.bad {
		if p == list || parent(p) == list {
			answer = true
		}
	}
	// Also a name that is not there, or misspelt.
	for _, n := range append(k.services(), k.poolNames()...) {
		if n.name == "" && parent(n.path) == list {
			answer = true
		}
	}
	k.doubts[list] = answer
	return answer
}

// clients checks the NASes of each service: a secret each, and no address twice.
func (k *checker) clients() {
	for i, s := range k.config.RADIUS {
		first := make(map[netip.Prefix]string, len(s.Clients))
		for j, c := range s.Clients {
			at := fmt.Sprintf("radius[%d].clients[%d]", i, j)
			k.oneSecret(at, len(c.Secret) > 0, c.SecretFile != "")
			p, ok := prefixOf(c.Address)
			if !ok {
				continue
			}
			if first[p] != "" {
				k.fail(at+".address", fmt.Sprintf("%s is %s already", c.Address, first[p]))
				continue
			}
			first[p] = at
		}
	}
}

// prefixOf reads an address or a prefix.
func prefixOf(text string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked(), true
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, false
	}
	a = a.Unmap().WithZone("")
	return netip.PrefixFrom(a, a.BitLen()), true
}

// anycast checks what the entries require, and that no prefix stands in two.
func (k *checker) anycast() {
	var known []string
	for _, s := range k.services() {
		known = append(known, s.name)
	}
	first := map[netip.Prefix]string{}
	for i, a := range k.config.Anycast {
		path := fmt.Sprintf("anycast[%d]", i)
		seen := map[string]bool{}
		for j, name := range a.Requires {
			at := fmt.Sprintf("%s.requires[%d]", path, j)
			switch {
			case seen[name]:
				k.fail(at, fmt.Sprintf("service %q is named twice", name))
			case !slices.Contains(known, name) && !k.doubtful("dns") && !k.doubtful("radius"):
				k.fail(at, fmt.Sprintf("there is no service %q%s", name, k.serviceHint(name, known)))
			}
			seen[name] = true
		}
		for j, p := range a.Prefixes {
			if !p.IsValid() {
				continue
			}
			at := fmt.Sprintf("%s.prefixes[%d]", path, j)
			if first[p.Masked()] != "" {
				k.fail(at, fmt.Sprintf("%s is %s already", p, first[p.Masked()]))
				continue
			}
			first[p.Masked()] = at
		}
	}
}

func (k *checker) serviceHint(name string, known []string) string {
	if k.config.Pool(name) != nil {
		return fmt.Sprintf("; %q is a pool, and a service is an item of dns or radius", name)
	}
	return didYouMean(name, known)
}
