package bgp

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Explanation says why an anycast entry's prefixes are or are not announced,
// on what evidence, what it waits for and what would change it (A25).
type Explanation struct {
	AnycastStatus
	Services []ServiceEvidence `json:"services"`
	// FlapsLastHour is how often an announced route was lost within the last
	// hour; AnnounceDelaySeconds is what that makes of announce_after now.
	FlapsLastHour        int     `json:"flaps_last_hour"`
	AnnounceDelaySeconds float64 `json:"announce_delay_seconds"`
	// HealthySince is nil while a required service is not healthy.
	HealthySince *time.Time `json:"healthy_since"`
	// Changes is when the clock alone changes the decision; nil: it does not.
	Changes   *time.Time     `json:"changes"`
	Routes    []string       `json:"routes"` // with their attributes
	Sessions  []RouteSession `json:"sessions"`
	OtherSite bool           `json:"other_site"` // every prefix was seen from another site within the last lease
	Words     []string       `json:"words"`      // the whole in sentences
}

// ServiceEvidence is what is known of one required service.
type ServiceEvidence struct {
	Name    string    `json:"name"`
	State   string    `json:"state"`
	Reason  string    `json:"reason"`
	Since   time.Time `json:"since"`
	Healthy bool      `json:"healthy"`
	// IfDown is what would be done at once if this service went down now.
	IfDown       State  `json:"if_down"`
	IfDownReason Reason `json:"if_down_reason"`
	// Pools are those that it cannot serve without.
	Pools []PoolEvidence `json:"pools"`
}

// PoolEvidence is what one role of a pool has, and what one more lost backend
// would change: whether services go down with it, and what would be done at once.
type PoolEvidence struct {
	PoolCount
	LossTakesDown bool   `json:"loss_takes_down"`
	IfLost        State  `json:"if_lost"`
	IfLostReason  Reason `json:"if_lost_reason"`
}

// RouteSession tells whether one neighbor has the entry's routes.
type RouteSession struct {
	Neighbor   string   `json:"neighbor"`
	State      string   `json:"state"`
	Advertised []string `json:"advertised"` // of this entry's prefixes
	LastError  string   `json:"last_error"`
}

// Explain tells everything about one entry; the error is ErrUnknown.
func (c *Controller) Explain(anycast string) (Explanation, error) {
	status := c.Status()
	i := slices.IndexFunc(status.Anycast, func(a AnycastStatus) bool { return a.Name == anycast })
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.engine.entries[anycast]
	if i < 0 || x == nil {
		return Explanation{}, fmt.Errorf("explaining %q: %w", anycast, ErrUnknown)
	}
	now := time.Now()
	in := c.engine.input(x, now)
	e := Explanation{AnycastStatus: status.Anycast[i], Services: []ServiceEvidence{}, Routes: []string{}, Sessions: []RouteSession{},
		FlapsLastHour: c.engine.memory.flaps(anycast, now), AnnounceDelaySeconds: in.Delay.Seconds(), OtherSite: in.OtherSite}
	if !in.HealthySince.IsZero() {
		t := in.HealthySince.UTC()
		e.HealthySince = &t
	}
	if !x.decision.Next.IsZero() {
		t := x.decision.Next.UTC()
		e.Changes = &t
	}
	for j, s := range in.Services {
		d := ifDown(now, in, func(i int) bool { return i == j })
		v := ServiceEvidence{Name: s.Name, State: s.State, Reason: s.Reason, Since: s.Since.UTC(), Healthy: s.Healthy(),
			IfDown: d.State, IfDownReason: d.Reason, Pools: []PoolEvidence{}}
		for _, p := range s.Pools {
			lost := PoolEvidence{PoolCount: p, LossTakesDown: s.Healthy() && p.critical(), IfLost: x.decision.State, IfLostReason: x.decision.Reason}
			if lost.LossTakesDown {
				d := ifDown(now, in, func(i int) bool { return in.Services[i].restsOn(p) })
				lost.IfLost, lost.IfLostReason = d.State, d.Reason
			}
			v.Pools = append(v.Pools, lost)
		}
		e.Services = append(e.Services, v)
	}
	for _, r := range x.decision.Routes {
		e.Routes = append(e.Routes, r.String())
	}
	for _, n := range status.BGP.Neighbors {
		s := RouteSession{Neighbor: n.Name, State: n.State, LastError: n.LastError, Advertised: []string{}}
		for _, p := range n.Advertised {
			if slices.Contains(e.Prefixes, p) {
				s.Advertised = append(s.Advertised, p)
			}
		}
		e.Sessions = append(e.Sessions, s)
	}
	e.Words = e.sentences()
	return e, nil
}

// ifDown asks Decide what it would do if some services went down.
func ifDown(now time.Time, in Entry, down func(service int) bool) Decision {
	in.Services = slices.Clone(in.Services)
	for i := range in.Services {
		if down(i) {
			in.Services[i].State = "down"
		}
	}
	in.HealthySince = time.Time{}
	return Decide(Input{Now: now, Entries: []Entry{in}})[0]
}

// restsOn tells whether a role of a pool is one that the service cannot serve without.
func (s Service) restsOn(p PoolCount) bool {
	return slices.ContainsFunc(s.Pools, func(q PoolCount) bool { return q.Pool == p.Pool && q.Role == p.Role })
}

// String is the route with its attributes on one line.
func (r Route) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s med %d local-pref %d", r.Prefix, r.MED, r.LocalPref)
	if r.Prepend > 0 {
		fmt.Fprintf(&b, " prepend %d", r.Prepend)
	}
	for _, c := range r.Communities {
		b.WriteString(" " + FormatCommunity(c))
	}
	for _, c := range r.LargeCommunities {
		fmt.Fprintf(&b, " %d:%d:%d", c[0], c[1], c[2])
	}
	return b.String()
}

func (e *Explanation) sentences() []string {
	prefixes := strings.Join(e.Prefixes, ", ")
	first := fmt.Sprintf("%s is %s since %s", prefixes, e.State, e.Since.Format(time.RFC3339))
	if e.Reason != ReasonNone {
		first += ": " + string(e.Reason)
	}
	words := []string{first + "."}
	for _, s := range e.Services {
		state := s.State
		if state == "" {
			state = "unknown"
		}
		text := fmt.Sprintf("Service %s is %s", s.Name, state)
		if s.Reason != "" {
			text += " (" + s.Reason + ")"
		}
		if !s.Since.IsZero() {
			text += " since " + s.Since.Format(time.RFC3339)
		}
		if s.Healthy && s.IfDown != e.State {
			text += fmt.Sprintf("; if it went down, the route would be %s at once", s.IfDown)
		} else if s.Healthy && s.IfDownReason != e.Reason {
			text += fmt.Sprintf("; if it went down, the route would stay %s", s.IfDown)
		}
		words = append(words, text+".")
		for _, p := range s.Pools {
			words = append(words, p.sentence(s.Name, e.State))
		}
	}
	if e.WaitsFor != "" {
		words = append(words, "It waits for "+e.WaitsFor+".")
	}
	if e.FlapsLastHour > 0 {
		words = append(words, fmt.Sprintf("The route was lost %d times within the last hour: after the next loss it comes back only after longer health (now %gs).",
			e.FlapsLastHour, e.AnnounceDelaySeconds))
	}
	for _, s := range e.Sessions {
		text := fmt.Sprintf("Neighbor %s is %s and has %s", s.Neighbor, s.State, strings.Join(s.Advertised, ", "))
		if len(s.Advertised) == 0 {
			text = fmt.Sprintf("Neighbor %s is %s and has none of it", s.Neighbor, s.State)
		}
		if s.LastError != "" && s.State != Established {
			text += " (" + s.LastError + ")"
		}
		words = append(words, text+".")
	}
	return words
}

// sentence says what one more lost backend would change for a service and for
// a route that is in that state now.
func (p *PoolEvidence) sentence(service string, now State) string {
	text := fmt.Sprintf("Pool %s (%s): %d of %d backends healthy, %d needed; one more lost backend ", p.Pool, p.Role, p.Healthy, p.Total, p.Needed)
	switch {
	case !p.LossTakesDown:
		return text + "changes nothing."
	case p.IfLost == now:
		return text + fmt.Sprintf("takes %s down, and the route would stay %s.", service, now)
	default:
		return text + fmt.Sprintf("takes %s down, and the route would be %s at once.", service, p.IfLost)
	}
}
