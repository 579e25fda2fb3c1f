package bgp

import (
	"net/netip"
	"slices"
	"time"
)

// Settings is the part of the configuration that this package works with.
type Settings struct {
	BGP       Config
	Anycast   []AnycastConfig
	Passwords map[string]string // TCP MD5 keys (RFC 2385) by the neighbor's name, without a line end
}

// Event is one change of an anycast entry's decision.
type Event struct {
	At       time.Time
	Anycast  string
	From, To State
	Reason   Reason
	WaitsFor string
}

// engine remembers what Decide must know: it turns what happens (services,
// drains, pauses, the clock) into Decide's input. It has no goroutine, no lock
// and no clock of its own; every call is told the time.
type engine struct {
	settings Settings
	services map[string]Service
	entries  map[string]*entryState
	order    []string
	memory   *memory
	lease    time.Duration
	stopping time.Time // start of the stop; zero: not stopping
}

// entryState is the life of one anycast entry.
type entryState struct {
	config       AnycastConfig
	was          State // as decided; a pause does not change it
	decision     Decision
	since        time.Time // of decision's state and reason
	healthySince time.Time
	settled      bool // announced at least once, or lost lately: announce_after counts
	drained      time.Time
	serviceDrain time.Time
	quiet        bool
	paused       map[string]bool            // services that must prove themselves after a pause
	handedOver   bool                       // withdrawn because another site was seen, and not announced since
	otherSeen    map[netip.Prefix]time.Time // last sighting of another site's route
	demotedSince time.Time                  // zero: it is not
}

// knownAfter is how long the routers may take to tell all sites that a route was demoted.
const knownAfter = 500 * time.Millisecond

func newEngine(s Settings, m *memory, now time.Time) *engine {
	e := &engine{services: map[string]Service{}, entries: map[string]*entryState{}, memory: m}
	e.configure(s, now)
	return e
}

// configure takes a new configuration; entries that stay keep their life.
func (e *engine) configure(s Settings, now time.Time) {
	e.settings, e.lease = s, s.BGP.Lease
	e.order = e.order[:0]
	keep := map[string]bool{}
	for _, c := range s.Anycast {
		keep[c.Name] = true
		e.order = append(e.order, c.Name)
		if old := e.entries[c.Name]; old != nil {
			old.config = c
			for service := range old.paused {
				if !slices.Contains(c.Requires, service) {
					delete(old.paused, service) // its proof is not waited for any more
				}
			}
			continue
		}
		e.entries[c.Name] = &entryState{config: c, was: Withdrawn, since: now,
			settled:   !e.memory.firstStart(c.Name, now),
			otherSeen: map[netip.Prefix]time.Time{}}
	}
	for name := range e.entries {
		if !keep[name] {
			delete(e.entries, name)
			delete(e.memory.Entries, name)
		}
	}
}

func (e *engine) setServices(list []Service) {
	clear(e.services)
	for _, s := range list {
		e.services[s.Name] = s
	}
}

// drain starts or ends an operator's drain; false: no such entry.
func (e *engine) drain(name string, on bool, now time.Time) bool {
	x := e.entries[name]
	if x == nil {
		return false
	}
	switch {
	case !on:
		x.drained, x.quiet = time.Time{}, false
	case x.drained.IsZero():
		x.drained, x.quiet = now, false
	}
	return true
}

// pause notes that the node stood still for longer than the lease: the
// speakers have withdrawn everything, and each service must prove itself.
func (e *engine) pause() {
	for _, x := range e.entries {
		x.paused = map[string]bool{}
		for _, s := range x.config.Requires {
			x.paused[s] = true
		}
	}
}

// prove takes a service's proof of health after a pause.
func (e *engine) prove(service string) {
	for _, x := range e.entries {
		delete(x.paused, service)
	}
}

// see notes that other sites' routes to these prefixes, not marked as demoted,
// are seen in what a neighbor sends us. Prefixes that are not ours are ignored.
func (e *engine) see(prefixes []netip.Prefix, at time.Time) {
	for _, x := range e.entries {
		for _, p := range x.config.Prefixes {
			if slices.Contains(prefixes, p) {
				x.otherSeen[p] = at
			}
		}
	}
}

// step decides anew. It returns the changes and when the clock alone changes
// something next (zero: never).
func (e *engine) step(now time.Time) (events []Event, next time.Time) {
	in := Input{Now: now, ASN: e.settings.BGP.ASN, Site: e.settings.BGP.Site}
	for _, name := range e.order {
		in.Entries = append(in.Entries, e.input(e.entries[name], now))
	}
	for i, d := range Decide(in) {
		x := e.entries[d.Name]
		if ev, changed := e.take(x, &in.Entries[i], d, now); changed {
			events = append(events, ev)
		}
		if !d.Next.IsZero() && (next.IsZero() || d.Next.Before(next)) {
			next = d.Next
		}
	}
	return events, next
}

// input gathers what is known about one entry.
func (e *engine) input(x *entryState, now time.Time) Entry {
	in := Entry{Config: x.config, Was: x.was, Quiet: x.quiet, HandedOver: x.handedOver}
	healthy, serviceDrained := true, false
	for _, name := range x.config.Requires {
		s, ok := e.services[name]
		if !ok {
			s = Service{Name: name}
		}
		in.Services = append(in.Services, s)
		drained := s.State == "drained" // still answers: neither ill nor a break of health
		healthy = healthy && (s.Healthy() || drained)
		serviceDrained = serviceDrained || drained
		if !s.Healthy() {
			delete(x.paused, name) // a verdict younger than the pause; coming up again is proof enough
		}
	}
	in.Paused = len(x.paused) > 0
	switch {
	case !healthy:
		x.healthySince = time.Time{}
	case x.healthySince.IsZero():
		x.healthySince = now
	}
	in.HealthySince, in.Delay = x.healthySince, e.delay(x, now)
	if !serviceDrained {
		x.serviceDrain = time.Time{}
	} else if x.serviceDrain.IsZero() {
		x.serviceDrain = now
	}
	in.DrainSince, in.DrainReason = e.drainOf(x)
	in.OtherSite = len(x.config.Prefixes) > 0
	in.OtherStands = in.OtherSite && !x.demotedSince.IsZero()
	for _, p := range x.config.Prefixes {
		seen, ok := x.otherSeen[p]
		in.OtherSite = in.OtherSite && ok && now.Sub(seen) < e.lease
		in.OtherStands = in.OtherStands && in.OtherSite && seen.Sub(x.demotedSince) >= knownAfter
	}
	return in
}

// drainOf is the drain that began first: its halves are under way already.
func (e *engine) drainOf(x *entryState) (since time.Time, reason Reason) {
	for _, d := range []struct {
		since  time.Time
		reason Reason
	}{{x.drained, ReasonDrained}, {x.serviceDrain, ReasonServiceDrained}, {e.stopping, ReasonStopping}} {
		if !d.since.IsZero() && (since.IsZero() || d.since.Before(since)) {
			since, reason = d.since, d.reason
		}
	}
	return since, reason
}

// delay is announce_after, doubled for each flap within the last hour after
// the first, up to max_announce_delay; nothing at a first start (A12).
func (e *engine) delay(x *entryState, now time.Time) time.Duration {
	if !x.settled {
		return 0
	}
	d := x.config.AnnounceAfter
	for range e.memory.flaps(x.config.Name, now) - 1 {
		if d *= 2; d >= x.config.MaxAnnounceDelay {
			return x.config.MaxAnnounceDelay
		}
	}
	return min(d, x.config.MaxAnnounceDelay)
}

// take makes the decision the entry's present, and counts a flap where an
// announced route was lost for want of health.
func (e *engine) take(x *entryState, in *Entry, d Decision, now time.Time) (Event, bool) {
	m := e.memory.entry(x.config.Name)
	if d.Reason != ReasonPaused {
		lost := x.was == Announced && d.State != Announced && in.DrainSince.IsZero()
		if lost {
			e.memory.flap(x.config.Name, now)
		}
		x.settled = x.settled || lost || d.State == Announced
		x.was = d.State
		x.handedOver = d.Reason == ReasonHandedOver || x.handedOver && d.State == Withdrawn
	}
	m.Announced = d.State != Withdrawn
	switch {
	case d.State != Demoted:
		x.demotedSince = time.Time{}
	case x.demotedSince.IsZero():
		x.demotedSince = now
	}
	old := x.decision
	x.decision = d
	if old.State == d.State && old.Reason == d.Reason {
		return Event{}, false
	}
	x.since = now
	if old.State == "" {
		old.State = Withdrawn
	}
	return Event{At: now, Anycast: d.Name, From: old.State, To: d.State, Reason: d.Reason, WaitsFor: d.WaitsFor}, true
}

// desired is the whole set that every neighbor should have: never nil, sorted.
func (e *engine) desired() []Route {
	out := []Route{}
	for _, name := range e.order {
		out = append(out, e.entries[name].decision.Routes...)
	}
	slices.SortFunc(out, func(a, b Route) int {
		if c := a.Prefix.Addr().Compare(b.Prefix.Addr()); c != 0 {
			return c
		}
		return a.Prefix.Bits() - b.Prefix.Bits()
	})
	return out
}

// waiting tells whether a drain or stop still has something demoted.
func (e *engine) waiting() bool {
	return slices.ContainsFunc(e.order, func(n string) bool { return e.entries[n].decision.State != Withdrawn })
}

// hurry ends the first wait of every drain that is under way.
func (e *engine) hurry() {
	for _, x := range e.entries {
		x.quiet = true
	}
}
