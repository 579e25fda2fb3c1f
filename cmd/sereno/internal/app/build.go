package app

import (
	"net/netip"

	"sereno/bgp"
	"sereno/config"
	"sereno/health"
)

// rolesOf are the roles that a pool's backends can have.
func rolesOf(protocol string) []string {
	if protocol == "radius" {
		return []string{"auth", "acct"}
	}
	return []string{"dns"}
}

// sourceOf is a backend's `source`; it was checked with the configuration.
func sourceOf(b *config.Backend) netip.Addr {
	a, _ := netip.ParseAddr(b.Source)
	return a
}

// targetsOf are all backends of a configuration in all of their roles, as health
// judges them.
func targetsOf(c *config.Config) []health.Target {
	var out []health.Target
	for i := range c.Pools {
		p := &c.Pools[i]
		for j := range p.Backends {
			b := &p.Backends[j]
			for _, role := range rolesOf(p.Protocol) {
				addr, ok := b.Addr(role)
				if !ok {
					continue
				}
				out = append(out, health.Target{
					Key:      health.Key{Pool: p.Name, Backend: b.Name, Role: role},
					Protocol: p.Protocol, Addr: addr, Source: sourceOf(b),
					Config: p.Health, AttemptTimeout: p.AttemptTimeout,
					Secret:                      []byte(b.RADIUS.Secret),
					RequireMessageAuthenticator: b.RADIUS.MessageAuthenticator == "require",
				})
			}
		}
	}
	return out
}

// routingOf is the part of a configuration that decides about routes.
func routingOf(c *config.Config) bgp.Settings {
	passwords := make(map[string]string, len(c.NeighborPasswords))
	for name, secret := range c.NeighborPasswords {
		passwords[name] = string(secret)
	}
	return bgp.Settings{BGP: c.BGP, Anycast: c.Anycast, Passwords: passwords}
}
