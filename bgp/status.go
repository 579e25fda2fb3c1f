package bgp

import "time"

// Status is what the status API shows of this package. Lists are never nil,
// times are in UTC.
type Status struct {
	Anycast []AnycastStatus `json:"anycast"`
	BGP     BGPStatus       `json:"bgp"`
	Alarms  []Alarm         `json:"alarms"`
}

// AnycastStatus is one anycast entry.
type AnycastStatus struct {
	Name     string    `json:"name"`
	Prefixes []string  `json:"prefixes"`
	State    State     `json:"state"`
	Reason   Reason    `json:"reason"`
	Since    time.Time `json:"since"`
	WaitsFor string    `json:"waits_for"`
}

// BGPStatus is the list of neighbors in the configuration's order.
type BGPStatus struct {
	Neighbors []NeighborStatus `json:"neighbors"`
}

// The states of a neighbor.
const (
	Established = "established"
	Connecting  = "connecting" // the speaker runs and tries
	Down        = "down"       // no speaker runs, or the session is held closed
)

// NeighborStatus is one neighbor's session and the process that keeps it.
type NeighborStatus struct {
	Name               string    `json:"name"`
	Speaker            string    `json:"speaker"`              // up, starting or down: the child process
	LeaseMarginSeconds float64   `json:"lease_margin_seconds"` // least time that was left of either lease in the last 10 s or more
	Address            string    `json:"address"`
	ASN                uint32    `json:"asn"`
	State              string    `json:"state"`
	Since              time.Time `json:"since"`
	Advertised         []string  `json:"advertised"`  // what the session really carries
	Received           int       `json:"received"`    // routes that the neighbor sends us; none is used
	LastError          string    `json:"last_error"`  // why it is not established, or why it last fell
	SpeakerPID         int       `json:"speaker_pid"` // 0: none runs
	SpeakerDeaths      uint64    `json:"speaker_deaths"`
	Drifts             uint64    `json:"drifts"` // differences between desired and sent that were mended
}

// Alarm is something that an operator should look at, until it is over.
type Alarm struct {
	Name    string    `json:"name"`
	Subject string    `json:"subject"` // a neighbor, an anycast entry; may be empty
	Since   time.Time `json:"since"`
	Text    string    `json:"text"`
}

// The names of alarms.
const (
	AlarmNeighborDown    = "neighbor-down"    // not established for 30 s
	AlarmHoldTimeZero    = "hold-time-zero"   // the neighbor proposes a hold time of 0
	AlarmSpeakerFailing  = "speaker-failing"  // three deaths of a speaker within a minute
	AlarmTooManyRoutes   = "too-many-routes"  // more than max_received
	AlarmRouteDrift      = "route-drift"      // sent and desired routes differed in the last minute
	AlarmStateUnwritable = "state-unwritable" // the flap memory cannot be kept
	AlarmNoOtherSite     = "no-other-site"    // hand-over: down, and nobody else announces the prefix
)
