package app

import (
	"fmt"

	"sereno/config"
	"sereno/health"
	"sereno/proxy/pool"
)

// poolRole names one pool in one role.
type poolRole struct{ pool, role string }

// poolSet is every pool of a configuration in each of its roles.
type poolSet map[poolRole]*pool.Pool

// membersOf are the backends of a pool that have the role.
func membersOf(p *config.Pool, role string, verdicts map[health.Key]*health.Backend) []pool.Member {
	var out []pool.Member
	for i := range p.Backends {
		b := &p.Backends[i]
		if addr, ok := b.Addr(role); ok {
			out = append(out, pool.Member{
				Config: b.BackendConfig, Addr: addr,
				Health: verdicts[health.Key{Pool: p.Name, Backend: b.Name, Role: role}],
			})
		}
	}
	return out
}

// apply makes the set that c describes: pools that stay are updated in place,
// so that requests in flight and counters stay with them. On an error the pools
// may be of either configuration; the caller applies the old one again.
func (s poolSet) apply(c *config.Config, verdicts map[health.Key]*health.Backend) (poolSet, error) {
	next := make(poolSet, len(s))
	for i := range c.Pools {
		p := &c.Pools[i]
		for _, role := range rolesOf(p.Protocol) {
			key, members := poolRole{p.Name, role}, membersOf(p, role, verdicts)
			if old := s[key]; old != nil {
				if err := old.Update(p.Config, members); err != nil {
					return nil, fmt.Errorf("updating pool %s: %w", p.Name, err)
				}
				next[key] = old
				continue
			}
			made, err := pool.New(p.Config, role, members)
			if err != nil {
				return nil, fmt.Errorf("making pool %s: %w", p.Name, err)
			}
			next[key] = made
		}
	}
	return next, nil
}

// healthyAfter tells how many backends of the role would be up or suspect if
// one were drained, and how many there must be.
func (s poolSet) healthyAfter(key poolRole, without string) (healthy, least int, has bool) {
	p := s[key]
	if p == nil {
		return 0, 0, false
	}
	healthy, least = p.Healthy()
	b := p.Backend(without)
	if b == nil {
		return healthy, least, false
	}
	if h := b.Health(); h != nil && h.State().Healthy() {
		healthy--
	}
	return healthy, least, true
}
