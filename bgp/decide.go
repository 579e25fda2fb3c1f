package bgp

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// State is what is done with the prefixes of an anycast entry.
type State string

// The states of an anycast entry.
const (
	Announced State = "announced" // with its own attributes
	Demoted   State = "demoted"   // with its worse attributes (A13)
	Withdrawn State = "withdrawn"
)

// Reason says in one word why an entry is not simply announced. The same word
// stands in the log, in the metrics, in the status and in the tests.
type Reason string

// The closed list of reasons.
const (
	ReasonNone           Reason = ""                // announced, nothing to explain
	ReasonStarting       Reason = "starting"        // a required service has not been healthy yet
	ReasonServiceDown    Reason = "service-down"    // a required service is down
	ReasonHoldDown       Reason = "hold-down"       // healthy again, but not for announce_after yet
	ReasonDrained        Reason = "drained"         // by an operator
	ReasonServiceDrained Reason = "service-drained" // a required service is drained
	ReasonStopping       Reason = "stopping"        // the node stops
	ReasonPaused         Reason = "paused"          // the node stood still for longer than the lease, and proves itself anew
	ReasonHandedOver     Reason = "handed-over"     // another site announces the same prefixes
	ReasonNoOtherSite    Reason = "no-other-site"   // down, but the last site never withdraws itself
	ReasonNoNeighbor     Reason = "no-neighbor"     // decided, but no neighbor is configured
	ReasonNoSession      Reason = "no-session"      // decided, but no session is established
)

// Reasons lists the whole vocabulary.
func Reasons() []Reason {
	return []Reason{ReasonNone, ReasonStarting, ReasonServiceDown, ReasonHoldDown, ReasonDrained, ReasonServiceDrained,
		ReasonStopping, ReasonPaused, ReasonHandedOver, ReasonNoOtherSite, ReasonNoNeighbor, ReasonNoSession}
}

// Service is the verdict on a DNS or RADIUS service.
type Service struct {
	Name   string
	State  string // starting, up, degraded, down, drained; degraded is healthy
	Reason string // health's word for it
	Since  time.Time
	Pools  []PoolCount // what it cannot serve without
}

// PoolCount is how many backends a service has in one role of one pool.
type PoolCount struct {
	Pool     string `json:"pool"`
	Role     string `json:"role"`
	Total    int    `json:"total"`
	Healthy  int    `json:"healthy"`
	Starting int    `json:"starting"` // not known yet
	Needed   int    `json:"needed"`
}

// critical tells whether a service that serves ends to when one more backend is lost.
func (p PoolCount) critical() bool { return p.Healthy+p.Starting <= p.Needed }

// Healthy tells whether routes may rest on the service.
func (s Service) Healthy() bool { return s.State == "up" || s.State == "degraded" }

// Entry is all that is known about one anycast entry when it is decided on.
type Entry struct {
	Config       AnycastConfig
	Services     []Service     // the required ones, in the order of Config.Requires; one that is not known has no State
	Was          State         // the last decision's state; Withdrawn at the start
	HealthySince time.Time     // since when all of Services are healthy without a break; zero: they are not
	Delay        time.Duration // how long that must last before the route comes back
	DrainSince   time.Time     // start of a drain; zero: none
	DrainReason  Reason        // drained, service-drained or stopping
	Quiet        bool          // the drain has seen the traffic fall away
	Paused       bool          // proof of health is wanted after a pause of the node
	HandedOver   bool          // withdrawn because another site was seen, and not announced since
	OtherSite    bool          // every prefix is announced by another site that is not demoted, as of less than a lease ago
	OtherStands  bool          // and was so after our own demotion had become known
}

// Input is everything that a decision depends on.
type Input struct {
	Now     time.Time
	ASN     uint32
	Site    uint32
	Entries []Entry
}

// Decision is what is done with one anycast entry, and why.
type Decision struct {
	Name     string
	State    State
	Reason   Reason
	WaitsFor string    // in words, what would change it; "" when there is nothing to wait for
	Routes   []Route   // what to announce; empty when withdrawn
	Next     time.Time // when it changes by the clock alone; zero: not before something happens
}

// Decide is the whole policy of when a route stands (A10). It is pure: equal
// inputs give equal outputs, and it keeps nothing.
func Decide(in Input) []Decision {
	out := make([]Decision, 0, len(in.Entries))
	for i := range in.Entries {
		e := &in.Entries[i]
		d := decideEntry(in.Now, e)
		d.Name = e.Config.Name
		if d.State != Withdrawn {
			d.Routes = routes(&e.Config, in.ASN, in.Site, d.State == Demoted)
		}
		out = append(out, d)
	}
	return out
}

func decideEntry(now time.Time, e *Entry) Decision {
	switch {
	case !e.DrainSince.IsZero():
		return decideDrain(now, e)
	case e.Paused && !e.HealthySince.IsZero():
		return Decision{State: Withdrawn, Reason: ReasonPaused,
			WaitsFor: "one self-probe and one good probe of enough backends for " + strings.Join(e.Config.Requires, ", ")}
	case !e.HealthySince.IsZero():
		return decideHealthy(now, e)
	default:
		return decideDown(e)
	}
}

// decideDrain demotes for the first half of drain_time and withdraws after it
// (A14). What was not announced is not announced for the sake of a drain.
func decideDrain(now time.Time, e *Entry) Decision {
	d := Decision{State: Withdrawn, Reason: e.DrainReason}
	switch e.DrainReason {
	case ReasonDrained:
		d.WaitsFor = "undrain"
	case ReasonServiceDrained:
		d.WaitsFor = "undrain of a required service"
	}
	until := e.DrainSince.Add(e.Config.DrainTime / 2)
	if e.Was != Withdrawn && !e.Quiet && now.Before(until) {
		d.State, d.Next = Demoted, until
		d.WaitsFor = "the traffic to fall away, at most until " + clock(until) + ", then it is withdrawn"
	}
	return d
}

func decideHealthy(now time.Time, e *Entry) Decision {
	ready := e.HealthySince.Add(e.Delay)
	if e.Was == Announced || !now.Before(ready) {
		return Decision{State: Announced}
	}
	state := e.Was
	if e.HandedOver && !e.OtherSite {
		state = Demoted // nobody else is there any more, so the hold-down would cost the service
	}
	return Decision{State: state, Reason: ReasonHoldDown, Next: ready,
		WaitsFor: fmt.Sprintf("%v of unbroken health, until %s", e.Delay, clock(ready))}
}

func decideDown(e *Entry) Decision {
	d := Decision{State: Withdrawn, Reason: ReasonServiceDown, WaitsFor: waitsFor(e.Services)}
	starting := !slices.ContainsFunc(e.Services, func(s Service) bool { return !s.Healthy() && s.State != "" && s.State != "starting" })
	if e.Was == Withdrawn && !e.HandedOver {
		if starting {
			d.Reason = ReasonStarting
		}
		return d // never announced before it was healthy, whatever when_down says
	}
	switch e.Config.WhenDown {
	case "demote":
		d.State = Demoted
	case "hand-over":
		// Sites that fall ill at the same moment must not hand over to one another: each is demoted first, and looks again.
		if e.OtherSite && (e.Was == Withdrawn || e.OtherStands) {
			d.Reason = ReasonHandedOver
		} else {
			d.State, d.Reason = Demoted, ReasonNoOtherSite
			d.WaitsFor += ", or another site's route"
		}
	}
	return d
}

// waitsFor names the services that are not healthy, each with health's reason.
func waitsFor(services []Service) string {
	var parts []string
	for _, s := range services {
		switch {
		case s.Healthy():
		case s.State == "":
			parts = append(parts, s.Name+": unknown")
		case s.Reason == "":
			parts = append(parts, s.Name+": "+s.State)
		default:
			parts = append(parts, s.Name+": "+s.Reason)
		}
	}
	return strings.Join(parts, ", ")
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05.0Z") }
