package health

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// lookEvery is how often Services looks at what nobody tells it (spools,
// listeners, counts that a drain changed): the bound of A11 is 50 ms.
const lookEvery = 25 * time.Millisecond

// Defaults of the self-probe.
const (
	selfProbeEvery   = time.Second
	selfProbeTimeout = 800 * time.Millisecond
	selfProbeFall    = 3 // failures in a row (A07)
)

// ServicesOptions are what Services needs besides the services. The functions
// are called in order, on one goroutine; nil ones are left out.
type ServicesOptions struct {
	Monitor *Monitor
	Proofs  Proofs
	// OnEvent hears every change of state of every service, once each.
	OnEvent func(ServiceEvent)
	// OnPause hears of every pause of this process of 200 ms or more. By then every
	// backend and every listener is being asked anew.
	OnPause func(Pause)
	// SelfProbeEvery and SelfProbeTimeout; 0: 1 s and 800 ms.
	SelfProbeEvery, SelfProbeTimeout time.Duration
}

// Services judges the node's services from their backends, their listeners and
// the self-probe (A07), and tells every change within 50 ms of its cause. All
// methods are safe for concurrent use.
type Services struct {
	o      ServicesOptions
	self   func(ctx context.Context, kind string, l Listener) (selfOutcome, error)
	said   *queue[any] // ServiceEvent or Pause
	wake   chan struct{}
	stop   chan struct{}
	done   chan struct{}
	closed atomic.Bool

	mu       sync.Mutex // guards what follows, and Apply as a whole
	services map[string]*service
	least    map[string]int // min_healthy by pool
	drained  map[string]bool
	demoted  map[string]bool
}

// service is a service, its verdict and the goroutine that asks its listeners.
type service struct {
	Service
	self    *selfProber
	verdict serviceVerdict
	since   time.Time
	ever    bool
	open    bool
}

// NewServices starts judging; Close ends it. A Monitor serves one Services, and is
// closed after it.
func NewServices(o ServicesOptions) *Services { return newServices(o, o.Proofs.selfProbe) }

func newServices(o ServicesOptions, self func(context.Context, string, Listener) (selfOutcome, error)) *Services {
	if o.SelfProbeEvery <= 0 {
		o.SelfProbeEvery = selfProbeEvery
	}
	if o.SelfProbeTimeout <= 0 {
		o.SelfProbeTimeout = selfProbeTimeout
	}
	s := &Services{
		o: o, self: self, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
		services: map[string]*service{}, drained: map[string]bool{}, demoted: map[string]bool{},
	}
	s.said = newQueue(s.say)
	changed := s.Changed
	o.Monitor.changed.Store(&changed)
	go s.run()
	return s
}

// say hands on what the queue brings.
func (s *Services) say(v any) {
	switch v := v.(type) {
	case ServiceEvent:
		if s.o.OnEvent != nil {
			s.o.OnEvent(v)
		}
	case Pause:
		if s.o.OnPause != nil {
			s.o.OnPause(v)
		}
	}
}

// Apply makes services the whole set that is judged; minHealthy is by pool. A
// service that stays (same name and kind) keeps its verdict, and listeners that
// stay keep what the self-probe found. Names are unique.
func (s *Services) Apply(minHealthy map[string]int, services []Service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.least = minHealthy
	next := make(map[string]*service, len(services))
	now := s.o.Monitor.env.now()
	for _, want := range services {
		old := s.services[want.Name]
		if old == nil || old.Kind != want.Kind {
			old = &service{since: now, verdict: serviceVerdict{state: ServiceStarting, reason: ReasonStarting}}
			old.self = newSelfProber(s)
		}
		old.Service = want
		next[want.Name] = old
		old.self.ask(want)
	}
	for name, old := range s.services {
		if next[name] == nil || next[name].self != old.self {
			old.self.end()
		}
	}
	s.services = next
	s.Changed()
}

// Drain marks a service as drained by an operator, or ends that. It is remembered
// for a service that is not there yet.
func (s *Services) Drain(service string, on bool) { s.mark(s.drained, service, on) }

// Demote marks a service as one whose routes have their worse attributes.
func (s *Services) Demote(service string, on bool) { s.mark(s.demoted, service, on) }

// mark sets a mark, which is judged by when it returns.
func (s *Services) mark(marks map[string]bool, service string, on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if on {
		marks[service] = true
	} else {
		delete(marks, service)
	}
	s.look()
}

// Changed makes it look again, at once: to be called by who knows that a
// listener was opened or closed, or that a spool began or ceased to accept.
func (s *Services) Changed() {
	select {
	case s.wake <- struct{}{}:
	default: // it is told already
	}
}

// Status tells about one service; false: there is none of that name.
func (s *Services) Status(name string) (ServiceStatus, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.services[name]
	if v == nil {
		return ServiceStatus{}, false
	}
	return s.status(v), true
}

// All tells about all services, by name.
func (s *Services) All() []ServiceStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]ServiceStatus, 0, len(s.services))
	for _, v := range s.services {
		out = append(out, s.status(v))
	}
	slices.SortFunc(out, func(a, b ServiceStatus) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (s *Services) status(v *service) ServiceStatus {
	out := ServiceStatus{
		Name: v.Name, Kind: v.Kind, State: v.verdict.state, Reason: v.verdict.reason, Detail: v.verdict.detail,
		Since: v.since, SelfProbe: v.self.lastPassed(),
	}
	for _, role := range v.needs() {
		r := s.role(v.Pool, role)
		out.Needs = append(out.Needs, Need{Pool: r.pool, Role: r.role, Count: r.count, Least: r.least})
	}
	return out
}

// Lost is how many events and pauses nobody heard, because the hearer hung.
func (s *Services) Lost() uint64 { return s.said.lostSoFar() }

// Close ends all asking and returns when every event has been heard.
func (s *Services) Close() {
	if !s.closed.CompareAndSwap(false, true) {
		return
	}
	s.o.Monitor.changed.Store(nil)
	close(s.stop)
	<-s.done
	s.mu.Lock()
	for _, v := range s.services {
		v.self.end()
	}
	s.mu.Unlock()
	s.said.close()
}

// run looks whenever something may have changed.
func (s *Services) run() {
	defer close(s.done)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	paused := s.o.Monitor.pauses.latest()
	for {
		select {
		case <-s.stop:
			return
		case <-s.wake:
		case <-tick.C:
		}
		s.mu.Lock()
		if p := s.o.Monitor.pauses.latest(); p != paused {
			paused = p
			s.pause(p)
		}
		s.look()
		s.mu.Unlock()
	}
}

// pause has everything asked anew after this process stood still.
func (s *Services) pause(p Pause) {
	s.said.put(p)
	for _, v := range s.services {
		v.self.again()
	}
}

// look judges all services by what is known now, and tells what changed.
func (s *Services) look() {
	now := s.o.Monitor.env.now()
	for _, v := range s.services {
		e := s.evidence(v)
		if e.open && !v.open {
			v.self.again()
		}
		v.open = e.open
		next := judge(&e)
		if next.state != v.verdict.state {
			event := ServiceEvent{At: now, Service: v.Name, Kind: v.Kind, From: v.verdict.state, To: next.state, Reason: next.reason, Detail: next.detail}
			switch {
			case v.verdict.state == ServiceDrained:
				event.Reason, event.Detail = ReasonUndrained, strings.TrimSpace("undrained; "+next.detail)
			case next.state == ServiceUp:
				event.Reason = ReasonHealthy
			}
			v.since = now
			s.said.put(event)
		}
		v.verdict = next
		v.ever = v.ever || next.serves
	}
}

// Proven tells whether, since then, every listener of the service has passed the
// self-probe and min_healthy backends of each role that it needs have answered a
// probe: what is asked for after a pause longer than the speakers' lease (A16).
func (s *Services) Proven(name string, since time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.services[name]
	if v == nil || !v.self.passedSince(since) {
		return false
	}
	for _, role := range v.needs() {
		r := s.role(v.Pool, role)
		if s.o.Monitor.Role(r.pool, r.role, since).Proven < r.least {
			return false
		}
	}
	return true
}

// SelfProbeFails names a service whose listeners did not answer the last self-probes,
// and why; "" if there is none. Addresses that the host does not have don't count here,
// nor do backends: it is about this process alone.
func (s *Services) SelfProbeFails() (service, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, v := range s.services {
		if verdict, text := v.self.verdict(); verdict == selfFailed {
			return name, text
		}
	}
	return "", ""
}

// evidence gathers what the verdict on a service depends on.
func (s *Services) evidence(v *service) serviceEvidence {
	e := serviceEvidence{
		served: v.verdict.serves, ever: v.ever, open: v.Open == nil || v.Open(),
		drained: s.drained[v.Name], demoted: s.demoted[v.Name],
	}
	e.self, e.selfText = v.self.verdict()
	for _, role := range v.needs() {
		e.roles = append(e.roles, s.role(v.Pool, role))
		for _, pool := range v.Routes {
			if pool != v.Pool {
				e.routed = append(e.routed, s.role(pool, role))
			}
		}
	}
	return e
}

// needs are the roles without which the service cannot serve: accounting only
// where records would be lost without it.
func (v *Service) needs() []string {
	if v.Kind == "dns" {
		return []string{"dns"}
	}
	var roles []string
	if v.Auth {
		roles = append(roles, "auth")
	}
	if v.Acct && (v.SpoolAccepts == nil || !v.SpoolAccepts()) {
		roles = append(roles, "acct")
	}
	return roles
}

func (s *Services) role(pool, role string) roleEvidence {
	return roleEvidence{pool: pool, role: role, count: s.o.Monitor.Role(pool, role, time.Time{}), least: max(1, s.least[pool])}
}
