package health

import "time"

// State is the verdict on one backend in one role (A01).
type State uint8

// The states of a backend.
const (
	Starting State = iota // not known yet: tried like Suspect, not counted as healthy
	Up
	Suspect // real requests got no answer: no new ones while another is up, probed at once and repeatedly
	Down
	Drained // by an operator: never tried
)

// String is the state as the API, the metrics and the log write it.
func (s State) String() string {
	switch s {
	case Starting:
		return "starting"
	case Up:
		return "up"
	case Suspect:
		return "suspect"
	case Down:
		return "down"
	case Drained:
		return "drained"
	}
	return "unknown"
}

// Healthy tells whether a pool's role may count on the backend (A07).
func (s State) Healthy() bool { return s == Up || s == Suspect }

// Reason says in one word why a backend or a service is in the state it is in,
// or, in an event, why it changed. The same word stands in the log, the metrics,
// the status and the tests.
type Reason string

// The closed list of reasons.
const (
	ReasonNone Reason = "" // nothing to explain

	// Of backends.
	ReasonStarting    Reason = "starting"     // no probe has ended yet
	ReasonNotProbed   Reason = "not-probed"   // judged by real traffic alone
	ReasonProbeFailed Reason = "probe-failed" // fall probes in a row
	ReasonProbeShare  Reason = "probe-share"  // half of the last 20 probes
	ReasonRefused     Reason = "refused"      // the port is closed (ICMP)
	ReasonUnreachable Reason = "unreachable"  // the kernel cannot send there
	ReasonTimeouts    Reason = "timeouts"     // requests that were not answered
	ReasonProbePassed Reason = "probe-passed" // came up
	ReasonReplied     Reason = "replied"      // came up by a real reply
	ReasonTrial       Reason = "trial"        // real requests have to show whether it answers them
	ReasonDrained     Reason = "drained"      // also of services
	ReasonUndrained   Reason = "undrained"    // also of services

	// Of services.
	ReasonHealthy          Reason = "healthy" // came up
	ReasonNoHealthyBackend Reason = "no-healthy-backend"
	ReasonListenerClosed   Reason = "listener-closed"
	ReasonAddressMissing   Reason = "address-missing" // a listening address is not on this host
	ReasonSelfProbeFailed  Reason = "self-probe-failed"
	ReasonNoRedundancy     Reason = "no-redundancy"    // one more lost backend, and the pool is down
	ReasonRoutedPoolDown   Reason = "routed-pool-down" // a pool that only `routes` lead to
	ReasonDemoted          Reason = "demoted"          // its routes have their worse attributes
)

// Reasons lists the whole vocabulary.
func Reasons() []Reason {
	return []Reason{
		ReasonNone, ReasonStarting, ReasonNotProbed, ReasonProbeFailed, ReasonProbeShare, ReasonRefused, ReasonUnreachable,
		ReasonTimeouts, ReasonProbePassed, ReasonReplied, ReasonTrial, ReasonDrained, ReasonUndrained,
		ReasonHealthy, ReasonNoHealthyBackend, ReasonListenerClosed, ReasonAddressMissing, ReasonSelfProbeFailed,
		ReasonNoRedundancy, ReasonRoutedPoolDown, ReasonDemoted,
	}
}

// Key names the verdict on one backend in one role. Comparable.
type Key struct {
	Pool    string
	Backend string
	Role    string // "dns", "auth" or "acct"
}

// String is pool/backend/role.
func (k Key) String() string { return k.Pool + "/" + k.Backend + "/" + k.Role }

// Event is one change of state of one backend. Reason says why it changed, in
// one word and never empty; Detail the same in words, for the log.
type Event struct {
	At time.Time
	Key
	From, To State
	Reason   Reason
	Detail   string
}

// Result is how one probe ended.
type Result struct {
	Start   time.Time // when it was sent
	End     time.Time // when it was answered or given up
	OK      bool
	Reason  Reason        // of a bad one: ReasonProbeFailed, ReasonRefused or ReasonUnreachable
	Detail  string        // of a bad one, in words; never a secret
	Latency time.Duration // of a good one: until the answer
}

// Status is all there is to show about one backend.
type Status struct {
	State     State
	Reason    Reason // empty when it is up and there is nothing to explain
	Detail    string
	Since     time.Time // of the state
	LastProbe LastProbe
	Latency   time.Duration // of the last good probe; 0: there was none
}

// LastProbe is how the last probe ended. At is zero when there was none.
type LastProbe struct {
	At    time.Time
	OK    bool
	Error string
}
