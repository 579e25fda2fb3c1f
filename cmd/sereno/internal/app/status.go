package app

import (
	"fmt"
	"time"

	"sereno/cmd/sereno/internal/admin"
	"sereno/config"
	"sereno/health"
	"sereno/proxy/pool"
)

// Status is the whole node at one moment.
func (n *Node) Status() admin.Status {
	s, routes := n.shape.Load(), n.routes.Status()
	out := admin.Status{
		Node: n.first.Node.Name, Version: n.o.Build.Version, Started: admin.Time{Time: n.started},
		Config: admin.ConfigStatus{Path: s.config.Path, Hash: s.config.Hash, Loaded: admin.Time{Time: s.loaded}},
	}
	if r := n.reloads.Load(); r != nil {
		out.Config.LastError = r.err
	}
	for _, f := range s.fronts {
		service := f.status()
		service.State, service.Reason, service.Since = admin.StateStarting, string(health.ReasonStarting), admin.Time{Time: s.loaded}
		if v, ok := n.services.Status(f.name()); ok {
			service.State, service.Reason, service.Since = string(v.State), string(v.Reason), admin.Time{Time: v.Since}
		}
		out.Services = append(out.Services, service)
	}
	for i := range s.config.Pools {
		out.Pools = append(out.Pools, n.poolStatus(&s.config.Pools[i], s.pools))
	}
	for _, a := range routes.Anycast {
		out.Anycast = append(out.Anycast, admin.Anycast{
			Name: a.Name, Prefixes: a.Prefixes, State: string(a.State), Reason: string(a.Reason),
			Since: admin.Time{Time: a.Since}, WaitsFor: a.WaitsFor,
		})
	}
	for _, b := range routes.BGP.Neighbors {
		out.BGP.Neighbors = append(out.BGP.Neighbors, admin.Neighbor{
			Name: b.Name, Speaker: b.Speaker, LeaseMargin: admin.Seconds(b.LeaseMarginSeconds), Address: b.Address, ASN: b.ASN,
			State: b.State, Since: admin.Time{Time: b.Since}, Advertised: b.Advertised, Received: b.Received, LastError: b.LastError,
		})
	}
	for _, d := range n.drains.list() {
		out.Drains = append(out.Drains, adminDrain(d))
	}
	out.Alarms = n.alarms()
	out.State = n.stateOf()
	return out
}

// stateOf is the node's state: the worst of what matters most.
func (n *Node) stateOf() string {
	if n.stopping.Load() {
		return admin.StateStopping
	}
	if n.drains.has(string(admin.TargetNode)) {
		return admin.StateDrained
	}
	services := n.services.All()
	count := map[string]int{}
	for _, v := range services {
		count[string(v.State)]++
	}
	switch all := len(services); {
	case all > 0 && count[admin.StateDrained] == all:
		return admin.StateDrained
	case count[admin.StateDown] > 0 && count[admin.StateUp]+count[admin.StateDegraded] == 0:
		return admin.StateDown
	case count[admin.StateDown]+count[admin.StateDegraded] > 0:
		return admin.StateDegraded
	case count[admin.StateStarting] > 0:
		return admin.StateStarting
	}
	return admin.StateUp
}

func (n *Node) poolStatus(p *config.Pool, pools poolSet) admin.Pool {
	out := admin.Pool{Name: p.Name, Protocol: p.Protocol}
	now := n.now()
	for _, role := range rolesOf(p.Protocol) {
		live := pools[poolRole{p.Name, role}]
		if live == nil || len(live.Backends()) == 0 {
			continue
		}
		healthy, least := live.Healthy()
		out.Roles = append(out.Roles, admin.Role{Role: role, State: roleState(live), Healthy: healthy, MinHealthy: least})
		for i := range p.Backends {
			b := live.Backend(p.Backends[i].Name)
			if b == nil {
				continue
			}
			figures := b.Counters()
			item := admin.Backend{
				Name: b.Name(), Address: b.Addr().String(), Role: role, Weight: b.Weight(), Backup: p.Backends[i].Backup,
				InFlight: figures.InFlight, Latency: millis(figures.Latency),
			}
			if h := b.Health(); h != nil {
				fillVerdict(&item, h, now)
			}
			out.Backends = append(out.Backends, item)
		}
	}
	return out
}

// roleState is up while min_healthy backends are (A07).
func roleState(p *pool.Pool) string {
	if healthy, least := p.Healthy(); healthy < least {
		return admin.StateDown
	}
	return admin.StateUp
}

func fillVerdict(item *admin.Backend, h *health.Backend, now time.Time) {
	v := h.Status()
	item.State, item.Reason, item.Since = v.State.String(), string(v.Reason), admin.Time{Time: v.Since}
	item.Share = admin.Ratio(h.Share(now))
	item.LastProbe = admin.LastProbe{At: admin.Time{Time: v.LastProbe.At}, OK: v.LastProbe.OK, Error: v.LastProbe.Error}
	if item.Latency == 0 {
		item.Latency = millis(v.Latency)
	}
}

func millis(d time.Duration) admin.Millis {
	return admin.Millis(float64(d) / float64(time.Millisecond))
}

// Ready tells whether every service is up or degraded, and what is not.
func (n *Node) Ready() (bool, []string) {
	var reasons []string
	for _, f := range n.shape.Load().fronts {
		v, ok := n.services.Status(f.name())
		if !ok {
			v.Reason = health.ReasonStarting // a reload is just opening it
		}
		if !v.State.Serves() {
			reasons = append(reasons, fmt.Sprintf("service %s: %s", f.name(), v.Reason))
		}
	}
	return len(reasons) == 0, reasons
}
