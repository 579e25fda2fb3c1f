package health

import (
	"fmt"
	"net/netip"
	"time"
)

// ServiceState is the verdict on one DNS or RADIUS service (A07).
type ServiceState string

// The states of a service. Up and degraded serve.
const (
	ServiceStarting ServiceState = "starting" // has not been healthy yet, and nothing speaks against it
	ServiceUp       ServiceState = "up"
	ServiceDegraded ServiceState = "degraded" // serves without redundancy, or a routed pool is down, or it is demoted
	ServiceDown     ServiceState = "down"
	ServiceDrained  ServiceState = "drained" // by an operator; it still answers
)

// Serves tells whether routes may rest on a service in this state.
func (s ServiceState) Serves() bool { return s == ServiceUp || s == ServiceDegraded }

// Service is one service as the configuration wants it judged. Its functions are
// called from the goroutines of Services, often, and with its lock held: they must
// be quick and must not call it.
type Service struct {
	Name string
	Kind string // "dns" or "radius"
	// Auth and Acct tell which roles a RADIUS service has.
	Auth, Acct bool
	Pool       string
	Routes     []string // pools that only `routes` lead to; Pool itself is ignored among them
	// Listeners are asked for the proof that they are ours.
	Listeners []Listener
	// Open tells whether all listeners are open; nil: they are.
	Open func() bool
	// SpoolAccepts tells whether accounting records are taken although no backend
	// answers; nil: there is no spool.
	SpoolAccepts func() bool
	// Activity is the number of datagrams that the service's workers have read so
	// far; nil: not known, and then no self-probe is excused by it.
	Activity func() uint64
}

// Listener is one listening address of a service. Comparable.
type Listener struct {
	Network string // "udp" or "tcp"
	Addr    netip.AddrPort
}

// String is network and address.
func (l Listener) String() string { return l.Network + " " + l.Addr.String() }

// ServiceStatus is all there is to show about one service.
type ServiceStatus struct {
	Name   string
	Kind   string
	State  ServiceState
	Reason Reason // empty when it is up
	Detail string
	Since  time.Time // of the state
	// SelfProbe is when every listener last passed; zero: never.
	SelfProbe time.Time
	Needs     []Need // without which it cannot serve
}

// Need is how many backends a service has in one role of one pool, and how many
// it needs there. Proven of Role is not counted.
type Need struct {
	Pool, Role string
	Count      Role
	Least      int // min_healthy
}

// ServiceEvent is one change of state of one service. Reason is never empty.
type ServiceEvent struct {
	At      time.Time
	Service string
	Kind    string
	From    ServiceState
	To      ServiceState
	Reason  Reason
	Detail  string
}

// roleEvidence is what is known of one role of one pool that a service uses.
type roleEvidence struct {
	pool, role string
	count      Role
	least      int // min_healthy
}

// down tells whether the role is down. Backends that are not known yet don't
// count (A07); but a role that served does not go down for a reload that
// replaces its backends, before the first of them had the time to answer.
func (r *roleEvidence) down(served bool) bool {
	if served {
		return r.count.Healthy+r.count.Starting < r.least
	}
	return r.count.Healthy < r.least
}

// undecided tells whether backends that are not known yet may make it healthy.
func (r *roleEvidence) undecided() bool {
	return r.count.Healthy < r.least && r.count.Healthy+r.count.Starting >= r.least
}

// thin tells whether a backend was lost and one more would take the role down. A
// pool that is configured without a spare has lost nothing.
func (r *roleEvidence) thin() bool {
	return r.count.Total > r.least && r.count.Healthy+r.count.Starting <= r.least
}

func (r *roleEvidence) String() string {
	return fmt.Sprintf("pool %s: %d of %d backends healthy for %s, %d needed", r.pool, r.count.Healthy, r.count.Total, r.role, r.least)
}

// selfVerdict is what the self-probe says of all listeners together.
type selfVerdict uint8

const (
	selfUnknown selfVerdict = iota // some listener has not been asked yet
	selfPassed
	selfFailed
	selfMissing // an address is not on this host
)

// serviceEvidence is everything that the verdict on a service depends on.
type serviceEvidence struct {
	served   bool // it serves, apart from a drain, as of the last verdict
	ever     bool // it has served before
	open     bool
	self     selfVerdict
	selfText string
	roles    []roleEvidence // without which it cannot serve
	routed   []roleEvidence // without which it is degraded
	drained  bool
	demoted  bool
}

// serviceVerdict is the outcome.
type serviceVerdict struct {
	state  ServiceState
	reason Reason
	detail string
	serves bool // apart from a drain
}

// judge is the whole verdict on a service (A07). It is pure.
func judge(e *serviceEvidence) serviceVerdict {
	v := judgeServing(e)
	v.serves = v.state.Serves()
	if e.drained {
		v.state, v.reason, v.detail = ServiceDrained, ReasonDrained, "by an operator"
	}
	return v
}

func judgeServing(e *serviceEvidence) serviceVerdict {
	undecided := false
	switch {
	case !e.open && e.ever:
		return serviceVerdict{state: ServiceDown, reason: ReasonListenerClosed, detail: "a listener is closed"}
	case e.self == selfMissing:
		return serviceVerdict{state: ServiceDown, reason: ReasonAddressMissing, detail: e.selfText}
	case e.self == selfFailed:
		return serviceVerdict{state: ServiceDown, reason: ReasonSelfProbeFailed, detail: e.selfText}
	case !e.open, e.self == selfUnknown && !e.served:
		undecided = true
	}
	for i := range e.roles {
		r := &e.roles[i]
		switch {
		case !r.down(e.served):
		case r.undecided() && !e.ever:
			undecided = true
		default:
			return serviceVerdict{state: ServiceDown, reason: ReasonNoHealthyBackend, detail: r.String()}
		}
	}
	if undecided {
		if e.ever {
			return serviceVerdict{state: ServiceDown, reason: ReasonSelfProbeFailed, detail: "not asked again yet"}
		}
		return serviceVerdict{state: ServiceStarting, reason: ReasonStarting}
	}
	return judgeDegraded(e)
}

func judgeDegraded(e *serviceEvidence) serviceVerdict {
	for i := range e.routed {
		// What is not known yet degrades nothing: a start would look like a repair.
		if r := &e.routed[i]; r.down(true) {
			return serviceVerdict{state: ServiceDegraded, reason: ReasonRoutedPoolDown, detail: r.String()}
		}
	}
	if e.demoted {
		return serviceVerdict{state: ServiceDegraded, reason: ReasonDemoted, detail: "its routes have their worse attributes"}
	}
	for i := range e.roles {
		if r := &e.roles[i]; r.thin() {
			return serviceVerdict{state: ServiceDegraded, reason: ReasonNoRedundancy, detail: r.String()}
		}
	}
	return serviceVerdict{state: ServiceUp}
}
