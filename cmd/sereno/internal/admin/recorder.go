package admin

import (
	"slices"
	"sync"
	"time"
)

// recorder keeps the figures of the last time, in rings of fixed length.
type recorder struct {
	mu    sync.Mutex
	rings [len(kept)]ring
}

// ring is the last samples of one step, oldest first.
type ring struct {
	samples []sample
	was     *counted // what had been counted at the last sample
}

// sample is what happened in one step, or nothing known (a gap) if it has no names.
type sample struct {
	at        time.Time
	names     *names
	services  []serviceFigures // in the order of names
	backends  []backendFigures
	roles     [][2]Figure // healthy, members
	neighbors []Figure
}

// names are what the columns of a sample are of. They are shared by all samples between
// two reloads and never changed.
type names struct {
	services  []serviceName
	backends  []backendName
	roles     []roleName
	neighbors []string
}

type (
	serviceName struct {
		name, kind string
		spool      bool
	}
	backendName struct{ pool, name, role string }
	roleName    struct{ pool, role string }
)

func (n *names) equal(o *names) bool {
	return slices.Equal(n.services, o.services) && slices.Equal(n.backends, o.backends) &&
		slices.Equal(n.roles, o.roles) && slices.Equal(n.neighbors, o.neighbors)
}

type serviceFigures struct {
	requests, answers, drops, failures, p50, p95, p99, inFlight Figure
	hitRatio, stale, entries                                    Figure
	accepted, rejected, sessions, spooled, oldest               Figure
}

type backendFigures struct{ requests, failures, latency Figure }

// take adds a sample to every ring whose step is over, and returns these as histories of
// one column.
func (r *recorder) take(now time.Time, s *Snapshot) []History {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []History
	c := count(now, s)
	for i := range r.rings {
		k, g := &kept[i], &r.rings[i]
		if g.was != nil && c.names.equal(g.was.names) {
			c.names = g.was.names
		}
		if g.was != nil && wallBack(g.was.at, now) {
			*g = ring{} // the clock was set back: times would not be in order
		}
		if g.was == nil {
			g.was = c
			continue
		}
		passed := now.Sub(g.was.at)
		if passed < k.step-kept[0].step/2 {
			continue
		}
		if passed > 3*k.step { // this process stood still, or the clock was set ahead
			g.add(sample{at: g.was.at.Add(k.step)}, k.most)
		}
		g.add(difference(g.was, c), k.most)
		g.was = c
		out = append(out, g.columns(len(g.samples)-1, k.step))
	}
	return out
}

// wallBack tells whether the wall clock stands before what it showed then.
func wallBack(then, now time.Time) bool { return now.Round(0).Before(then.Round(0)) }

// history is all of one ring.
func (r *recorder) history(i int) History {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rings[i].columns(0, kept[i].step)
}

func (g *ring) add(s sample, most int) {
	if len(g.samples) >= most {
		copy(g.samples, g.samples[1:])
		g.samples = g.samples[:most-1]
	}
	g.samples = append(g.samples, s)
}

// columns are the samples from the first on, of everything that the newest one knows.
func (g *ring) columns(first int, step time.Duration) History {
	h := History{Step: SecondsOf(step)}
	if len(g.samples) == 0 {
		return h
	}
	samples := g.samples[first:]
	now := samples[len(samples)-1].names
	for _, n := range now.services {
		h.Services = append(h.Services, ServiceHistory{Name: n.name, Kind: n.kind})
	}
	for _, n := range now.backends {
		h.Backends = append(h.Backends, BackendHistory{Pool: n.pool, Name: n.name, Role: n.role})
	}
	for _, n := range now.roles {
		h.Roles = append(h.Roles, RoleHistory{Pool: n.pool, Role: n.role})
	}
	for _, n := range now.neighbors {
		h.Neighbors = append(h.Neighbors, NeighborHistory{Name: n})
	}
	for i := range samples {
		s := &samples[i]
		h.Times = append(h.Times, stampOf(s.at))
		for j, n := range now.services {
			h.Services[j].add(n, find(s, now, j, func(o *names) int { return slices.Index(o.services, n) }, s.services, noService))
		}
		for j, n := range now.backends {
			f := find(s, now, j, func(o *names) int { return slices.Index(o.backends, n) }, s.backends, noBackend)
			b := &h.Backends[j]
			b.Requests, b.Failures, b.Latency = append(b.Requests, f.requests), append(b.Failures, f.failures), append(b.Latency, f.latency)
		}
		for j, n := range now.roles {
			f := find(s, now, j, func(o *names) int { return slices.Index(o.roles, n) }, s.roles, [2]Figure{none, none})
			h.Roles[j].Healthy, h.Roles[j].Members = append(h.Roles[j].Healthy, f[0]), append(h.Roles[j].Members, f[1])
		}
		for j, n := range now.neighbors {
			f := find(s, now, j, func(o *names) int { return slices.Index(o.neighbors, n) }, s.neighbors, none)
			h.Neighbors[j].LeaseMargin = append(h.Neighbors[j].LeaseMargin, f)
		}
	}
	return h
}

var (
	noService = serviceFigures{none, none, none, none, none, none, none, none, none, none, none, none, none, none, none, none}
	noBackend = backendFigures{none, none, none}
)

// find is what a sample has of column j of now; index finds its place among other names.
func find[T any](s *sample, now *names, j int, index func(*names) int, columns []T, nothing T) T {
	switch {
	case s.names == nil:
		return nothing
	case s.names != now:
		if j = index(s.names); j < 0 {
			return nothing
		}
	}
	return columns[j]
}

func (h *ServiceHistory) add(n serviceName, f serviceFigures) {
	for _, c := range []struct {
		to   *List[Figure]
		v    Figure
		when bool
	}{
		{&h.Requests, f.requests, true}, {&h.Answers, f.answers, true}, {&h.Drops, f.drops, true}, {&h.Failures, f.failures, true},
		{&h.P50, f.p50, true}, {&h.P95, f.p95, true}, {&h.P99, f.p99, true}, {&h.InFlight, f.inFlight, true},
		{&h.HitRatio, f.hitRatio, n.kind == kindDNS}, {&h.Stale, f.stale, n.kind == kindDNS}, {&h.Entries, f.entries, n.kind == kindDNS},
		{&h.Accepted, f.accepted, n.kind == kindRADIUS}, {&h.Rejected, f.rejected, n.kind == kindRADIUS},
		{&h.Sessions, f.sessions, n.kind == kindRADIUS}, {&h.Spooled, f.spooled, n.spool}, {&h.Oldest, f.oldest, n.spool},
	} {
		if c.when {
			*c.to = append(*c.to, c.v)
		}
	}
}
