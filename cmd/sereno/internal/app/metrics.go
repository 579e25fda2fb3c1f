package app

import (
	"sereno/bgp"
	"sereno/cmd/sereno/internal/admin"
	"sereno/proxy/pool"
	"sereno/proxy/udp"
)

// snapshot is everything that one scrape shows.
func (n *Node) snapshot() admin.Snapshot {
	s, routes := n.shape.Load(), n.routes.Status()
	var out admin.Snapshot
	for _, f := range s.fronts {
		f.measure(&out, s.config.Availability.GoodWithin)
	}
	for _, v := range n.services.All() {
		out.Services = append(out.Services, admin.ServiceMetrics{Service: v.Name, State: string(v.State)})
	}
	for i := range s.config.Pools {
		p := &s.config.Pools[i]
		for _, role := range rolesOf(p.Protocol) {
			if live := s.pools[poolRole{p.Name, role}]; live != nil {
				for _, b := range live.Backends() {
					out.Backends = append(out.Backends, backendMetrics(p.Name, role, b))
				}
			}
		}
	}
	for _, a := range routes.Anycast {
		out.Anycast = append(out.Anycast, admin.AnycastMetrics{Anycast: a.Name, Prefixes: a.Prefixes, State: string(a.State)})
	}
	for _, b := range routes.BGP.Neighbors {
		out.Neighbors = append(out.Neighbors, admin.NeighborMetrics{
			Neighbor: b.Name, Up: b.State == bgp.Established, LeaseMarginSeconds: b.LeaseMarginSeconds,
		})
	}
	for _, a := range n.alarms() {
		out.Alarms = append(out.Alarms, a.Name)
	}
	out.EventsLost = n.monitor.Lost() + n.services.Lost()
	if n.o.lost != nil {
		out.LogLinesLost = n.o.lost()
	}
	r := n.reloads.Load()
	out.LastReloadFailed = r != nil && r.err != ""
	return out
}

func backendMetrics(name, role string, b *pool.Backend) admin.BackendMetrics {
	figures := b.Counters()
	m := admin.BackendMetrics{
		Pool: name, Backend: b.Name(), Role: role, Requests: figures.Requests, Failures: map[string]uint64{},
		Latency: &admin.Histogram{Bounds: pool.LatencyBounds(), Counts: figures.Buckets, SumSeconds: figures.Sum.Seconds()},
	}
	if h := b.Health(); h != nil {
		m.State = h.State().String()
	}
	for _, f := range pool.Failures() {
		m.Failures[f.String()] = figures.Failures[f]
	}
	return m
}

// udpDrops names the counters of a listening socket.
func udpDrops(drops [udp.NumDrops]uint64) map[string]uint64 {
	out := map[string]uint64{}
	for d, n := range drops {
		out[udp.Drop(d).String()] = n
	}
	return out
}
