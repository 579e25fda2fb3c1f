package admin

import "sereno/proxy/insight"

// Snapshot is everything that one scrape shows, taken at one moment. What is counted
// since the start is uint64. A map's missing key is a series that is not shown; a front
// that fills in its zeros lets rate() see the first event.
type Snapshot struct {
	DNS       []DNSMetrics
	RADIUS    []RADIUSMetrics
	Backends  []BackendMetrics
	Anycast   []AnycastMetrics
	Neighbors []NeighborMetrics
	Listeners []ListenerMetrics
	Services  []ServiceMetrics
	Alarms    []string // names of the alarms that stand
	// LastReloadFailed: the last reload was refused. The load at the start counts as one
	// that was not.
	LastReloadFailed bool
	EventsLost       uint64 // changes of state that nobody heard
	LogLinesLost     uint64
}

// DNSMetrics are the figures of one DNS service, transports added up:
// the sum of Queries = the sum of Answers + the sum of Drops + InFlight.
type DNSMetrics struct {
	Service      string
	Queries      map[string]uint64     // by transport: udp, tcp, tls, https
	Answers      map[DNSAnswer]uint64  //
	Drops        map[string]uint64     // by reason
	InFlight     int64                 //
	CacheEntries int64                 //
	CacheBytes   int64                 //
	CacheHits    uint64                //
	CacheMisses  uint64                //
	Latency      map[string]*Histogram // by source
	Panics       uint64                // faults of ours that were caught
	Upstream     map[string]uint64     // what happened between us and the backends, by event; outside the equation
	Refused      map[string]uint64     // connections and requests over HTTPS that were not served or let go, by reason
	Tables       []insight.Table       //
	// CertificateExpires is the Unix time in seconds at which a transport's certificate
	// runs out; only transports with one are in it.
	CertificateExpires map[string]int64
	Good, Valid        uint64 // queries that were answered well, of those that could be (A31)
}

// Missing is how many queries the figures do not account for; 0 in a sound snapshot.
func (m DNSMetrics) Missing() int64 {
	return sum(m.Queries) - sum(m.Answers) - sum(m.Drops) - m.InFlight
}

// DNSAnswer are the labels of an answer.
type DNSAnswer struct {
	Transport string // udp, tcp, tls, https
	Source    string // cache, stale, backend, self
	Rcode     string // NOERROR, NXDOMAIN, …
}

// RADIUSMetrics are the figures of one RADIUS service:
// the sum of Requests = the sum of Answers + the sum of Drops + InFlight.
type RADIUSMetrics struct {
	Service  string
	Requests map[string]uint64 // by kind: auth, acct, coa, status
	Answers  map[RADIUSAnswer]uint64
	Drops    map[RADIUSDrop]uint64
	InFlight int64 // of all kinds
	Sessions int64
	Latency  map[string]*Histogram // by kind
	Spool    *SpoolMetrics         // nil without one
	Known    *int                  // users that survival would answer; nil while it is off
	Upstream map[string]uint64     // what happened between us and the backends, by event; outside the equation
	Panics   uint64                // faults of ours that were caught
	Tables   []insight.Table       //
	Unsigned map[string]uint64     // Access-Requests without Message-Authenticator by client; outside the equation
	BadAuth  map[string]uint64     // authenticators and Message-Authenticators that do not verify, by client; dropped

	Good, Valid uint64 // requests that were answered well, of those that could be (A31)
}

// Missing is how many requests the figures do not account for; 0 in a sound snapshot.
func (m RADIUSMetrics) Missing() int64 {
	return sum(m.Requests) - sum(m.Answers) - sum(m.Drops) - m.InFlight
}

// logins are the Access-Accepts and Access-Rejects, repeated answers not counted again.
func (m RADIUSMetrics) logins() (accepted, rejected uint64) {
	for a, n := range m.Answers {
		switch {
		case a.Kind != "auth" || a.Source == "duplicate":
		case a.Code == "Access-Accept":
			accepted += n
		case a.Code == "Access-Reject":
			rejected += n
		}
	}
	return accepted, rejected
}

// RADIUSAnswer are the labels of an answer.
type RADIUSAnswer struct {
	Kind   string // auth, acct, coa, status
	Code   string // Access-Accept, …
	Source string // backend, spool, duplicate, survival, self
}

// RADIUSDrop are the labels of a drop.
type RADIUSDrop struct {
	Kind   string
	Reason string
}

// SpoolMetrics are the figures of a spool.
type SpoolMetrics struct {
	Records       int64
	Bytes         int64
	OldestSeconds float64 // 0: empty
	Aside         int64
	Disk, Max     int64 // bytes
	Accepts       bool
	PerSecond     float64 // delivered

	Stored, Recovered, Delivered, SetAside, Damaged, Coalesced, TakenBack, Dropped, DiskFailed uint64
	Resent                                                                                     map[string]uint64 // by reason
	Refused                                                                                    map[string]uint64 // by class
}

// BackendMetrics are the figures of one backend in one role.
type BackendMetrics struct {
	Pool, Backend, Role string
	State               string            // starting, up, suspect, down, drained
	Requests            uint64            // sent to it, second attempts and repetitions included
	Failures            map[string]uint64 // by reason
	Latency             *Histogram        // of its replies to real requests; nil: not shown
}

// AnycastMetrics tell which prefixes of an anycast entry are given to the neighbors.
type AnycastMetrics struct {
	Anycast  string
	Prefixes []string
	State    string // announced, demoted, withdrawn
}

// NeighborMetrics are the figures of one BGP session.
type NeighborMetrics struct {
	Neighbor           string
	Up                 bool // established
	LeaseMarginSeconds float64
}

// ListenerMetrics are the figures of one listening address. Two with the same name are
// added up: each worker has a socket of its own.
type ListenerMetrics struct {
	Listener    string // "resolver udp 192.0.2.53:53"
	KernelDrops uint64
	Drops       map[string]uint64 // by us, by reason: truncated, queue_full, send_error, closed
}

// ServiceMetrics is the verdict on one service.
type ServiceMetrics struct {
	Service string
	State   string // starting, up, degraded, down, drained
}

// Histogram is a distribution of durations. Counts has one place more than Bounds: the
// last is for what is above every bound. Counts are not cumulative.
type Histogram struct {
	Bounds     []float64 // upper bounds in seconds, ascending, inclusive
	Counts     []uint64
	SumSeconds float64
}

func sum[K comparable](counts map[K]uint64) int64 {
	var total uint64
	for _, n := range counts {
		total += n
	}
	return int64(total) //nolint:gosec // counts since the start stay far below 2^63
}
