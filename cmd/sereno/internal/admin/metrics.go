package admin

import (
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"sereno/proxy/insight"
)

// descs are the metrics with their names, which are a contract, and their labels, which
// come from the configuration and from closed lists, never from a packet.
type descs struct {
	dnsQueries, dnsAnswers, dnsDrops, dnsInFlight, dnsLatency                           *prometheus.Desc
	cacheEntries, cacheBytes, cacheHits, cacheMisses                                    *prometheus.Desc
	radRequests, radAnswers, radDrops, radInFlight, radLatency                          *prometheus.Desc
	radLogins, radSessions, radKnown, radUnsigned, radBadAuth, radUpstream, dnsUpstream *prometheus.Desc
	backendState, backendRequests, backendFailures, backendLatency                      *prometheus.Desc
	announced, neighborUp, leaseMargin, kernelDrops, service, alarm, panics             *prometheus.Desc
	reloadSuccess, build, certificate, eventsLost, logLost                              *prometheus.Desc
	tableEntries, tableLimit, dnsRefused, udpDrops                                      *prometheus.Desc
	spool                                                                               *spoolDescs
	all                                                                                 []*prometheus.Desc
}

func newDescs() *descs {
	var all []*prometheus.Desc
	d := func(name, help string, labels ...string) *prometheus.Desc {
		all = append(all, prometheus.NewDesc("sereno_"+name, help, labels, nil))
		return all[len(all)-1]
	}
	out := &descs{
		dnsQueries:   d("dns_queries_total", "DNS queries received. In one scrape: queries = answers + drops + in flight.", "service", "transport"),
		dnsAnswers:   d("dns_answers_total", "DNS answers sent, by where they came from (cache, stale, backend, self).", "service", "transport", "source", "rcode"),
		dnsDrops:     d("dns_drops_total", "DNS queries that were not answered, by reason.", "service", "reason"),
		dnsInFlight:  d("dns_in_flight", "DNS queries received and neither answered nor dropped yet.", "service"),
		dnsLatency:   d("dns_latency_seconds", "Time from a DNS query to its answer.", "service", "source"),
		cacheEntries: d("dns_cache_entries", "Answers in the cache.", "service"),
		cacheBytes:   d("dns_cache_bytes", "Bytes of the answers in the cache.", "service"),
		cacheHits:    d("dns_cache_hits_total", "DNS queries that the cache could answer.", "service"),
		cacheMisses:  d("dns_cache_misses_total", "DNS queries that the cache was asked for in vain.", "service"),

		dnsRefused: d("dns_connections_refused_total", "Connections, and requests over HTTPS, that were not served or were let go, by reason.", "service", "reason"),

		tableEntries: d("table_entries", "What is in a table, a queue or a buffer that has a bound.", "service", "table"),
		tableLimit:   d("table_limit", "Its bound.", "service", "table"),

		certificate: d("dns_certificate_expires_seconds", "Unix time at which the certificate of DNS over TLS or HTTPS runs out.", "service", "transport"),

		radRequests: d("radius_requests_total", "RADIUS requests received. In one scrape: requests = answers + drops + in flight.", "service", "kind"),
		radAnswers:  d("radius_answers_total", "RADIUS answers sent, by where they came from (backend, spool, duplicate, survival, self).", "service", "kind", "code", "source"),
		radDrops:    d("radius_drops_total", "RADIUS requests that were not answered, by reason.", "service", "kind", "reason"),
		radInFlight: d("radius_in_flight", "RADIUS requests received and neither answered nor dropped yet.", "service"),
		radLatency:  d("radius_latency_seconds", "Time from a RADIUS request to its answer.", "service", "kind"),
		radLogins:   d("radius_logins_total", "Access-Accepts and Access-Rejects, repeated answers not counted again.", "service", "result"),
		dnsUpstream: d("dns_upstream_total", "What happened between us and the backends, by event; wrong-to-tcp means that somebody may be guessing replies.", "service", "event"),
		radUpstream: d("radius_upstream_total", "What happened between us and the backends, by event.", "service", "event"),
		radBadAuth:  d("radius_bad_authenticators_total", "Requests whose authenticator or Message-Authenticator does not verify: another secret, or a forger.", "service", "client"),
		radUnsigned: d("radius_unsigned_total", "Access-Requests without Message-Authenticator: what `require` would drop.", "service", "client"),
		radSessions: d("radius_sessions", "Sessions that accounting says are open.", "service"),

		radKnown: d("radius_survival_known", "Users whose login would be answered from memory while every backend is down.", "service"),

		spool: newSpoolDescs(d),

		backendState:    d("backend_state", "1 for the state that the backend is in.", "pool", "backend", "role", "state"),
		backendRequests: d("backend_requests_total", "Requests sent to the backend, second attempts included.", "pool", "backend", "role"),
		backendFailures: d("backend_failures_total", "Requests that the backend did not answer as it should, by reason.", "pool", "backend", "role", "reason"),
		backendLatency:  d("backend_latency_seconds", "Time from a request to the backend's reply.", "pool", "backend", "role"),

		announced:   d("anycast_announced", "1 while the prefix is announced, demoted or not.", "anycast", "prefix"),
		neighborUp:  d("bgp_neighbor_up", "1 while the BGP session is established.", "neighbor"),
		leaseMargin: d("bgp_lease_margin_seconds", "What was left of the speaker's lease when it was last renewed.", "neighbor"),
		kernelDrops: d("kernel_drops_total", "Datagrams that the kernel dropped because a socket's buffer was full.", "listener"),
		udpDrops:    d("udp_drops_total", "Datagrams that we dropped at a listening socket, by reason.", "listener", "reason"),
		service:     d("service_state", "1 for the state that the service is in.", "service", "state"),
		alarm:       d("alarms", "Alarms that stand, by name.", "alarm"),
		panics:      d("panics_total", "Faults of ours that cost one packet each; the log has their places.", "service"),

		eventsLost: d("health_events_lost_total", "Changes of state that were not told, because whoever hears them hangs: a fault of ours."),
		logLost:    d("log_lines_lost_total", "Log lines that nobody took: whoever reads the log hangs or is gone."),

		reloadSuccess: d("config_last_reload_success", "1 if the last reload of the configuration was applied, 0 if it was refused."),
		build:         d("build_info", "Always 1; the labels say which program this is.", "version", "commit", "goversion"),
	}
	out.all = all
	return out
}

// serverDescs are the metrics of the API itself.
type serverDescs struct {
	connections, subscribers, refused, panics *prometheus.Desc
}

func newServerDescs() *serverDescs {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("sereno_admin_"+name, help, labels, nil)
	}
	return &serverDescs{
		connections: d("connections", "Open connections of the API.", "door"),
		subscribers: d("event_subscribers", "Subscribers of the event stream."),
		refused:     d("refused_total", "Connections, requests and subscribers of the API that were turned away, by reason.", "reason"),
		panics:      d("panics_total", "Requests of the API that failed by a fault of ours."),
	}
}

// States that sereno_backend_state and sereno_service_state have a series for.
var (
	backendStates = []string{StateStarting, StateUp, StateSuspect, StateDown, StateDrained}
	serviceStates = []string{StateStarting, StateUp, StateDegraded, StateDown, StateDrained}
)

// NewRegistry is a registry of its own with the node's metrics, those of the Go runtime
// and those of the process. snapshot is called once for each scrape, and may be called by
// several at once.
func NewRegistry(build Build, snapshot func() Snapshot) (*prometheus.Registry, error) {
	registry := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{
		&collector{d: newDescs(), build: build, snapshot: snapshot},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("registering metrics: %w", err)
		}
	}
	return registry, nil
}

// collector turns one Snapshot into metrics for each scrape.
type collector struct {
	d        *descs
	build    Build
	snapshot func() Snapshot
}

// Describe sends every metric's name and labels.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.d.all {
		ch <- d
	}
}

// Collect takes a snapshot and sends it.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s, e := c.snapshot(), emitter{ch}
	for _, m := range s.DNS {
		c.dns(e, m)
	}
	for _, m := range s.RADIUS {
		c.radius(e, m)
	}
	for _, m := range s.Backends {
		c.backend(e, m)
	}
	c.routes(e, s)
	c.listeners(e, s.Listeners)
	for _, m := range s.Services {
		for _, state := range serviceStates {
			e.gauge(c.d.service, one(m.State == state), m.Service, state)
		}
	}
	alarms := map[string]int{}
	for _, name := range s.Alarms {
		alarms[name]++
	}
	for name, n := range alarms {
		e.gauge(c.d.alarm, float64(n), name)
	}
	e.counter(c.d.eventsLost, s.EventsLost)
	e.counter(c.d.logLost, s.LogLinesLost)
	e.gauge(c.d.reloadSuccess, one(!s.LastReloadFailed))
	e.gauge(c.d.build, 1, c.build.Version, c.build.Commit, c.build.GoVersion)
}

func (c *collector) listeners(e emitter, all []ListenerMetrics) {
	kernel, ours := map[string]uint64{}, map[[2]string]uint64{}
	for _, m := range all {
		kernel[m.Listener] += m.KernelDrops
		for reason, n := range m.Drops {
			ours[[2]string{m.Listener, reason}] += n
		}
	}
	for listener, n := range kernel {
		e.counter(c.d.kernelDrops, n, listener)
	}
	for k, n := range ours {
		e.counter(c.d.udpDrops, n, k[0], k[1])
	}
}

func (c *collector) tables(e emitter, service string, all []insight.Table) {
	for _, t := range all {
		e.gauge(c.d.tableEntries, float64(t.Entries), service, t.Name)
		e.gauge(c.d.tableLimit, float64(t.Limit), service, t.Name)
	}
}

func (c *collector) dns(e emitter, m DNSMetrics) {
	for transport, n := range m.Queries {
		e.counter(c.d.dnsQueries, n, m.Service, transport)
	}
	for a, n := range m.Answers {
		e.counter(c.d.dnsAnswers, n, m.Service, a.Transport, a.Source, a.Rcode)
	}
	for reason, n := range m.Drops {
		e.counter(c.d.dnsDrops, n, m.Service, reason)
	}
	e.counter(c.d.panics, m.Panics, m.Service)
	e.gauge(c.d.dnsInFlight, float64(m.InFlight), m.Service)
	e.gauge(c.d.cacheEntries, float64(m.CacheEntries), m.Service)
	e.gauge(c.d.cacheBytes, float64(m.CacheBytes), m.Service)
	e.counter(c.d.cacheHits, m.CacheHits, m.Service)
	e.counter(c.d.cacheMisses, m.CacheMisses, m.Service)
	for event, n := range m.Upstream {
		e.counter(c.d.dnsUpstream, n, m.Service, event)
	}
	for reason, n := range m.Refused {
		e.counter(c.d.dnsRefused, n, m.Service, reason)
	}
	c.tables(e, m.Service, m.Tables)
	for transport, at := range m.CertificateExpires {
		e.gauge(c.d.certificate, float64(at), m.Service, transport)
	}
	for source, h := range m.Latency {
		e.histogram(c.d.dnsLatency, h, m.Service, source)
	}
}

func (c *collector) radius(e emitter, m RADIUSMetrics) {
	for kind, n := range m.Requests {
		e.counter(c.d.radRequests, n, m.Service, kind)
	}
	for a, n := range m.Answers {
		e.counter(c.d.radAnswers, n, m.Service, a.Kind, a.Code, a.Source)
	}
	accepted, rejected := m.logins()
	e.counter(c.d.radLogins, accepted, m.Service, "accepted")
	e.counter(c.d.radLogins, rejected, m.Service, "rejected")
	for d, n := range m.Drops {
		e.counter(c.d.radDrops, n, m.Service, d.Kind, d.Reason)
	}
	e.counter(c.d.panics, m.Panics, m.Service)
	e.gauge(c.d.radInFlight, float64(m.InFlight), m.Service)
	e.gauge(c.d.radSessions, float64(m.Sessions), m.Service)
	for event, n := range m.Upstream {
		e.counter(c.d.radUpstream, n, m.Service, event)
	}
	c.tables(e, m.Service, m.Tables)
	for client, n := range m.Unsigned {
		e.counter(c.d.radUnsigned, n, m.Service, client)
	}
	for client, n := range m.BadAuth {
		e.counter(c.d.radBadAuth, n, m.Service, client)
	}
	for kind, h := range m.Latency {
		e.histogram(c.d.radLatency, h, m.Service, kind)
	}
	if m.Known != nil {
		e.gauge(c.d.radKnown, float64(*m.Known), m.Service)
	}
	if m.Spool != nil {
		c.d.spool.collect(e, m.Service, m.Spool)
	}
}

func (c *collector) backend(e emitter, m BackendMetrics) {
	for _, state := range backendStates {
		e.gauge(c.d.backendState, one(m.State == state), m.Pool, m.Backend, m.Role, state)
	}
	e.counter(c.d.backendRequests, m.Requests, m.Pool, m.Backend, m.Role)
	for reason, n := range m.Failures {
		e.counter(c.d.backendFailures, n, m.Pool, m.Backend, m.Role, reason)
	}
	e.histogram(c.d.backendLatency, m.Latency, m.Pool, m.Backend, m.Role)
}

func (c *collector) routes(e emitter, s Snapshot) {
	for _, m := range s.Anycast {
		for _, prefix := range m.Prefixes {
			e.gauge(c.d.announced, one(m.State == StateAnnounced || m.State == StateDemoted), m.Anycast, prefix)
		}
	}
	for _, m := range s.Neighbors {
		e.gauge(c.d.neighborUp, one(m.Up), m.Neighbor)
		e.gauge(c.d.leaseMargin, m.LeaseMarginSeconds, m.Neighbor)
	}
}

// emitter sends constant metrics. A metric that cannot be made is sent as an invalid one:
// it costs itself, is reported, and the others are shown.
type emitter struct{ ch chan<- prometheus.Metric }

func (e emitter) counter(d *prometheus.Desc, n uint64, labels ...string) {
	e.send(d)(prometheus.NewConstMetric(d, prometheus.CounterValue, float64(n), valid(labels)...))
}

func (e emitter) gauge(d *prometheus.Desc, v float64, labels ...string) {
	e.send(d)(prometheus.NewConstMetric(d, prometheus.GaugeValue, v, valid(labels)...))
}

func (e emitter) histogram(d *prometheus.Desc, h *Histogram, labels ...string) {
	if h == nil {
		return
	}
	if len(h.Counts) != len(h.Bounds)+1 {
		e.ch <- prometheus.NewInvalidMetric(d, fmt.Errorf("histogram has %d bounds and %d counts", len(h.Bounds), len(h.Counts)))
		return
	}
	buckets, total := make(map[float64]uint64, len(h.Bounds)), uint64(0)
	for i, bound := range h.Bounds {
		total += h.Counts[i]
		buckets[bound] = total
	}
	total += h.Counts[len(h.Bounds)]
	e.send(d)(prometheus.NewConstHistogram(d, total, h.SumSeconds, buckets, valid(labels)...))
}

func (e emitter) send(d *prometheus.Desc) func(prometheus.Metric, error) {
	return func(m prometheus.Metric, err error) {
		if err != nil {
			m = prometheus.NewInvalidMetric(d, err)
		}
		e.ch <- m
	}
}

// valid replaces what is not UTF-8, which no label may contain.
func valid(labels []string) []string {
	for i, l := range labels {
		labels[i] = strings.ToValidUTF8(l, "\uFFFD")
	}
	return labels
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
