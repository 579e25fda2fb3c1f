package admin

// States of the node, of services, of a pool's role, of backends, of anycast entries
// and of neighbors, as the API spells them.
const (
	StateStarting = "starting"
	StateUp       = "up"
	StateDegraded = "degraded"
	StateSuspect  = "suspect"
	StateDown     = "down"
	StateDrained  = "drained"
	StateStopping = "stopping"

	StateAnnounced = "announced"
	StateDemoted   = "demoted"
	StateWithdrawn = "withdrawn"

	StateEstablished = "established"
	StateConnecting  = "connecting"
)

// Status is the answer of GET /api/v1/status: the whole node at one moment.
type Status struct {
	Node     string        `json:"node"`
	Version  string        `json:"version"`
	Started  Time          `json:"started"`
	State    string        `json:"state"` // starting, up, degraded, down, drained, stopping
	Config   ConfigStatus  `json:"config"`
	Services List[Service] `json:"services"`
	Pools    List[Pool]    `json:"pools"`
	Anycast  List[Anycast] `json:"anycast"`
	BGP      BGP           `json:"bgp"`
	Drains   List[Drain]   `json:"drains"`
	Alarms   List[Alarm]   `json:"alarms"`
}

// ConfigStatus tells which configuration is running. LastError is why the last reload was
// refused, empty after one that was not.
type ConfigStatus struct {
	Path      string `json:"path"`
	Hash      string `json:"hash"`
	Loaded    Time   `json:"loaded"`
	LastError string `json:"last_error"`
}

// Service is one DNS or RADIUS service. Requests = Answers + Drops + InFlight.
type Service struct {
	Name     string       `json:"name"`
	Kind     string       `json:"kind"`   // dns, radius
	State    string       `json:"state"`  // starting, up, degraded, down, drained
	Reason   string       `json:"reason"` // one word; empty when there is nothing to explain
	Since    Time         `json:"since"`
	Pool     string       `json:"pool"`
	Listen   List[string] `json:"listen"`
	Requests uint64       `json:"requests"`
	Answers  uint64       `json:"answers"`
	Drops    uint64       `json:"drops"`
	InFlight int64        `json:"in_flight"`
	Cache    *Cache       `json:"cache"` // null for RADIUS
	Spool    *Spool       `json:"spool"` // null without one
	// Unsigned are the RADIUS clients that have sent Access-Requests without
	// Message-Authenticator: `require` would break them.
	Unsigned List[string] `json:"unsigned"`
	Survival *Survival    `json:"survival"` // null while it is off
}

// Survival is what a RADIUS service answers from memory while every backend is down.
type Survival struct {
	Known   int    `json:"known"`   // users whose login would be answered
	Answers uint64 `json:"answers"` // that were, since the start
}

// Cache is the cache of a DNS service.
type Cache struct {
	Entries int64  `json:"entries"`
	Bytes   int64  `json:"bytes"`
	Hits    uint64 `json:"hits"`
	Misses  uint64 `json:"misses"`
}

// Spool is the accounting that a RADIUS service holds on disk.
// What is counted is counted since the spool was opened.
type Spool struct {
	Records  int64   `json:"records"` // to be delivered
	Bytes    int64   `json:"bytes"`
	Oldest   Seconds `json:"oldest_seconds"`
	SetAside int64   `json:"set_aside"` // beside these: no backend acknowledged them
	Used     Ratio   `json:"used"`      // share of spool_max that is taken
	Accepts  bool    `json:"accepts"`   // whether a record is taken now
	Error    string  `json:"error"`     // of the disk, or why it could not be opened

	Stored     uint64 `json:"stored"`
	Recovered  uint64 `json:"recovered"` // found when it was opened
	Delivered  uint64 `json:"delivered"`
	PerSecond  Ratio  `json:"delivered_per_second"` // in the last ten seconds
	Resent     Counts `json:"resent"`               // copies sent, by reason: silent, anew, asked-live
	WasAside   uint64 `json:"set_aside_total"`
	Damaged    uint64 `json:"damaged"` // stretches of files that are not what was written
	Coalesced  uint64 `json:"coalesced"`
	TakenBack  uint64 `json:"taken_back"` // a backend answered after all
	Dropped    uint64 `json:"dropped"`    // by an operator
	Refused    Counts `json:"refused"`    // by a spool that was full, by class: interim, start, stop
	DiskFailed uint64 `json:"disk_failed"`
}

// Pool is one pool with its roles and backends.
type Pool struct {
	Name     string        `json:"name"`
	Protocol string        `json:"protocol"` // dns, radius
	Roles    List[Role]    `json:"roles"`
	Backends List[Backend] `json:"backends"`
}

// Role is what a pool is for: dns, auth or acct.
type Role struct {
	Role       string `json:"role"`
	State      string `json:"state"` // up, down
	Healthy    int    `json:"healthy"`
	MinHealthy int    `json:"min_healthy"`
}

// Backend is one backend in one role; a RADIUS backend stands once for each of its roles.
type Backend struct {
	Name      string    `json:"name"`
	Address   string    `json:"address"`
	Role      string    `json:"role"`  // dns, auth, acct
	State     string    `json:"state"` // starting, up, suspect, down, drained
	Reason    string    `json:"reason"`
	Since     Time      `json:"since"`
	Weight    int       `json:"weight"`
	Share     Ratio     `json:"share"` // of its weight that it gets: below 1 in slow start
	InFlight  int64     `json:"in_flight"`
	Latency   Millis    `json:"latency_ms"`
	Backup    bool      `json:"backup"`
	LastProbe LastProbe `json:"last_probe"`
}

// LastProbe is the last probe that ended. At is zero before the first.
type LastProbe struct {
	At    Time   `json:"at"`
	OK    bool   `json:"ok"`
	Error string `json:"error"`
}

// Anycast is one anycast entry.
type Anycast struct {
	Name     string       `json:"name"`
	Prefixes List[string] `json:"prefixes"`
	State    string       `json:"state"` // announced, demoted, withdrawn
	Reason   string       `json:"reason"`
	Since    Time         `json:"since"`
	WaitsFor string       `json:"waits_for"`
}

// BGP is the routing part of the status.
type BGP struct {
	Neighbors List[Neighbor] `json:"neighbors"`
}

// Neighbor is one BGP session and the process that speaks on it.
type Neighbor struct {
	Name        string       `json:"name"`
	Speaker     string       `json:"speaker"` // up, down
	LeaseMargin Seconds      `json:"lease_margin_seconds"`
	Address     string       `json:"address"`
	ASN         uint32       `json:"asn"`
	State       string       `json:"state"` // established, connecting, down
	Since       Time         `json:"since"`
	Advertised  List[string] `json:"advertised"`
	Received    int          `json:"received"` // routes
	LastError   string       `json:"last_error"`
}

// Drain is one drain that an operator asked for. Until is zero when it lasts until it is
// undone.
type Drain struct {
	Target string `json:"target"`
	Since  Time   `json:"since"`
	Until  Time   `json:"until"`
}

// Alarm is something that an operator should look at.
type Alarm struct {
	Name    string `json:"name"`
	Subject string `json:"subject"` // what it is about: a service, a neighbor, an anycast entry; may be empty
	Since   Time   `json:"since"`
	Text    string `json:"text"`
}
