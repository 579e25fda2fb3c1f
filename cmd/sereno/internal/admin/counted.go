package admin

import (
	"math"
	"slices"
	"time"
)

// The kinds of services.
const (
	kindDNS    = "dns"
	kindRADIUS = "radius"
)

// counted is what was counted since the start, at one moment: what a sample is the
// difference of two of.
type counted struct {
	at        time.Time
	names     *names
	services  []serviceCounts // in the order of names
	backends  []backendCounts
	roles     [][2]Figure
	neighbors []Figure
}

type serviceCounts struct {
	requests, answers, drops, good, valid, hits, misses, stale, accepted, rejected uint64
	inFlight, entries, sessions, spooled                                           int64
	oldest                                                                         float64
	latency                                                                        Histogram
}

type backendCounts struct {
	requests, failures uint64
	latency            Histogram
}

// count reads a snapshot.
func count(at time.Time, s *Snapshot) *counted {
	c := &counted{at: at, names: &names{}}
	for i := range s.DNS {
		c.names.services = append(c.names.services, serviceName{name: s.DNS[i].Service, kind: kindDNS})
		c.services = append(c.services, countDNS(&s.DNS[i]))
	}
	for i := range s.RADIUS {
		m := &s.RADIUS[i]
		c.names.services = append(c.names.services, serviceName{name: m.Service, kind: kindRADIUS, spool: m.Spool != nil})
		c.services = append(c.services, countRADIUS(m))
	}
	for i := range s.Backends {
		m := &s.Backends[i]
		c.names.backends = append(c.names.backends, backendName{m.Pool, m.Backend, m.Role})
		b := backendCounts{requests: m.Requests}
		for _, n := range m.Failures {
			b.failures += n
		}
		b.latency.add(m.Latency)
		c.backends = append(c.backends, b)
		role := roleName{m.Pool, m.Role}
		at := slices.Index(c.names.roles, role)
		if at < 0 {
			at = len(c.roles)
			c.names.roles, c.roles = append(c.names.roles, role), append(c.roles, [2]Figure{})
		}
		c.roles[at][1]++
		if m.State == StateUp || m.State == StateSuspect {
			c.roles[at][0]++
		}
	}
	for _, m := range s.Neighbors {
		c.names.neighbors = append(c.names.neighbors, m.Neighbor)
		c.neighbors = append(c.neighbors, Figure(m.LeaseMarginSeconds))
	}
	return c
}

func countDNS(m *DNSMetrics) serviceCounts {
	c := serviceCounts{hits: m.CacheHits, misses: m.CacheMisses, inFlight: m.InFlight, entries: m.CacheEntries, good: m.Good, valid: m.Valid}
	for _, n := range m.Queries {
		c.requests += n
	}
	for a, n := range m.Answers {
		c.answers += n
		if a.Source == "stale" {
			c.stale += n
		}
	}
	for _, n := range m.Drops {
		c.drops += n
	}
	for _, h := range m.Latency {
		c.latency.add(h)
	}
	return c
}

func countRADIUS(m *RADIUSMetrics) serviceCounts {
	c := serviceCounts{inFlight: m.InFlight, sessions: m.Sessions, good: m.Good, valid: m.Valid}
	for _, n := range m.Requests {
		c.requests += n
	}
	for _, n := range m.Answers {
		c.answers += n
	}
	c.accepted, c.rejected = m.logins()
	for d, n := range m.Drops {
		if d.Reason != "duplicate" { // its first is counted
			c.drops += n
		}
	}
	for _, kind := range []string{"auth", "acct"} {
		c.latency.add(m.Latency[kind])
	}
	if m.Spool != nil {
		c.spooled, c.oldest = m.Spool.Records, m.Spool.OldestSeconds
	}
	return c
}

// add adds the counts of o, which has the same bounds; one of other bounds, or none, is
// left out.
func (h *Histogram) add(o *Histogram) {
	switch {
	case o == nil || len(o.Counts) != len(o.Bounds)+1:
	case h.Counts == nil:
		h.Bounds, h.Counts, h.SumSeconds = o.Bounds, slices.Clone(o.Counts), o.SumSeconds
	case slices.Equal(h.Bounds, o.Bounds):
		for i, n := range o.Counts {
			h.Counts[i] += n
		}
		h.SumSeconds += o.SumSeconds
	}
}

// minus is what h has counted since was; all of it if was is of a service that was made anew.
func (h *Histogram) minus(was *Histogram) Histogram {
	if len(was.Counts) != len(h.Counts) {
		return *h
	}
	out := Histogram{Bounds: h.Bounds, Counts: make([]uint64, len(h.Counts)), SumSeconds: h.SumSeconds - was.SumSeconds}
	for i, n := range h.Counts {
		if n < was.Counts[i] {
			return *h
		}
		out.Counts[i] = n - was.Counts[i]
	}
	return out
}

func (h *Histogram) total() (n uint64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// quantile is the time within which a share q of what was counted lies, by linear
// interpolation in its bucket; none if nothing was counted, and the highest bound for what
// is above all bounds.
func (h *Histogram) quantile(q float64) Figure {
	all := float64(h.total())
	if all == 0 {
		return none
	}
	below, low := 0.0, 0.0
	for i, high := range h.Bounds {
		n := float64(h.Counts[i])
		if n > 0 && below+n >= q*all {
			return Figure(low + (high-low)*(q*all-below)/n)
		}
		below, low = below+n, high
	}
	return Figure(low)
}

func (h *Histogram) mean() Figure {
	n := h.total()
	if n == 0 {
		return none
	}
	return Figure(max(h.SumSeconds, 0) / float64(n))
}

// difference is the sample between two moments. What is not in both is none.
func difference(was, is *counted) sample {
	s := sample{
		at: is.at, names: is.names, roles: is.roles, neighbors: is.neighbors,
		services: make([]serviceFigures, len(is.services)), backends: make([]backendFigures, len(is.backends)),
	}
	seconds := is.at.Sub(was.at).Seconds()
	for i, n := range is.names.services {
		s.services[i] = noService
		if j := slices.IndexFunc(was.names.services, func(o serviceName) bool { return o.name == n.name && o.kind == n.kind }); j >= 0 {
			s.services[i] = is.services[i].since(&was.services[j], seconds)
		}
	}
	for i, n := range is.names.backends {
		s.backends[i] = noBackend
		if j := slices.Index(was.names.backends, n); j >= 0 {
			b, o := &is.backends[i], &was.backends[j]
			latency := b.latency.minus(&o.latency)
			s.backends[i] = backendFigures{rate(o.requests, b.requests, seconds), rate(o.failures, b.failures, seconds), latency.mean()}
		}
	}
	return s
}

func (c *serviceCounts) since(was *serviceCounts, seconds float64) serviceFigures {
	latency := c.latency.minus(&was.latency)
	hits, misses := grown(was.hits, c.hits), grown(was.misses, c.misses)
	return serviceFigures{
		requests: rate(was.requests, c.requests, seconds), answers: rate(was.answers, c.answers, seconds),
		drops: rate(was.drops, c.drops, seconds), failures: Figure(max(grown(was.valid, c.valid)-grown(was.good, c.good), 0) / seconds),
		p50: latency.quantile(0.50), p95: latency.quantile(0.95), p99: latency.quantile(0.99),
		inFlight: Figure(c.inFlight), hitRatio: Figure(hits / (hits + misses)), stale: rate(was.stale, c.stale, seconds),
		accepted: rate(was.accepted, c.accepted, seconds), rejected: rate(was.rejected, c.rejected, seconds),
		sessions: Figure(c.sessions), spooled: Figure(c.spooled), entries: Figure(c.entries), oldest: Figure(c.oldest),
	}
}

// grown is how much a counter has counted; one that has gone back began anew.
func grown(was, is uint64) float64 {
	if is < was {
		return float64(is)
	}
	return float64(is - was)
}

func rate(was, is uint64, seconds float64) Figure {
	if seconds <= 0 {
		return none
	}
	return Figure(math.Max(grown(was, is)/seconds, 0))
}
