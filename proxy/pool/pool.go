package pool

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sereno/health"
)

// Member is one backend as the configuration wants it in a pool, in one role.
type Member struct {
	Config BackendConfig
	Addr   netip.AddrPort  // where this role's requests go
	Health *health.Backend // the verdict on it; nil: nobody probes it, and it is judged by real requests alone
}

// Pool is the backends of one role that can stand in for one another. All
// methods are safe for concurrent use.
type Pool struct {
	role     string
	snapshot atomic.Pointer[snapshot]
	config   atomic.Pointer[Config]
	budget   budget
	_        [64]byte
	turn     atomic.Uint64 // of round-robin
	_        [64]byte
	moved    atomic.Uint64 // Generation

	mu      sync.Mutex // one change at a time; guards what follows
	members []*member
}

// member is a backend of the pool, and how to stop hearing of its health.
type member struct {
	backend *Backend
	backup  bool
	health  *health.Backend
	stop    func()
}

// New makes a pool of one role ("dns", "auth" or "acct"). It may have no members
// (a pool in which nobody does accounting): Pick then finds nobody. It fails on a
// configuration that Validate refuses.
func New(cfg Config, role string, members []Member) (*Pool, error) {
	p := &Pool{role: role, budget: budget{base: time.Now()}}
	if err := p.Update(cfg, members); err != nil {
		return nil, err
	}
	return p, nil
}

// Update makes cfg and members what counts from now on (a reload). Backends equal
// in name and address stay the same *Backend, with counters, requests in flight
// and tag. On an error nothing has changed.
func (p *Pool) Update(cfg Config, members []Member) error {
	if _, err := parsePolicy(cfg.Balance); err != nil {
		return fmt.Errorf("building pool %q: %w", cfg.Name, err)
	}
	names := make(map[string]bool, len(members))
	for i := range members {
		name := members[i].Config.Name
		if names[name] {
			return fmt.Errorf("building pool %q: two backends are named %q", cfg.Name, name)
		}
		names[name] = true
		if _, err := members[i].Config.sourceAddr(); err != nil {
			return fmt.Errorf("building pool %q: backend %q: source: %w", cfg.Name, name, err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.config.Store(&cfg)
	p.budget.setShare(cfg.RetryBudget)
	old := p.members
	p.members = make([]*member, len(members))
	for i := range members {
		p.members[i] = p.adopt(old, &members[i])
	}
	for _, m := range old {
		if m.stop != nil {
			m.stop() // gone; what stayed has handed its over
		}
	}
	p.rebuild()
	p.moved.Add(1)
	return nil
}

// adopt finds the member among the old ones, or makes it, and follows its health.
func (p *Pool) adopt(old []*member, m *Member) *member {
	n := &member{backup: m.Config.Backup}
	for _, o := range old {
		if o.backend.name == m.Config.Name && o.backend.addr == m.Addr {
			n.backend = o.backend
			if m.Health == nil || m.Health == o.health {
				n.health, n.stop, o.stop = o.health, o.stop, nil
			}
			break
		}
	}
	if n.backend == nil {
		n.backend = newBackend(m.Config.Name, m.Addr)
	}
	if n.health == nil {
		n.health = m.Health
		if n.health == nil {
			n.health = unprobed(m)
		}
		n.stop = n.health.Watch(p.healthChanged)
	}
	n.backend.adopt(&m.Config, n.health)
	return n
}

// healthChanged runs on the goroutine that changed a verdict.
func (p *Pool) healthChanged(stateChanged bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rebuild()
	if stateChanged {
		p.moved.Add(1)
	}
}

// rebuild makes the snapshot that Pick reads, from what is now.
func (p *Pool) rebuild() {
	p.snapshot.Store(newSnapshot(p.config.Load(), p.members, time.Now()))
}

// Pick chooses a backend for a request, takes one of its in-flight slots (give it
// back with Done) and adds it to tried. Backends in tried, drained ones and those
// with max_in_flight are left out. The best tier that has one left is used: up,
// then hot spares that are up, those on trial, suspect and starting ones, down ones. While
// any backend is up, a request that was not tried anywhere yet goes to no worse
// tier: better none than one that is likely to be silent. Among those that are not
// up, the ones that answer real requests come first: probes may be wrong, and what
// the others cost is not in the retry budget. nil: nobody is left.
//
// A backend on trial counts as up for a request that was not tried anywhere yet, as
// long as it has no more than health.Backend.Trial in flight; where none is up that is
// not on trial, it has its ordinary tier.
//
// hash is of the request's key, equal on every node; policies other than hash
// don't look at it. tried may be nil for a request that is never retried: it is
// given to no backend on trial while another is up.
func (p *Pool) Pick(hash uint64, tried *Tried) *Backend {
	return p.pickFrom(p.snapshot.Load(), hash, tried)
}

// pickFrom is Pick by a snapshot.
func (p *Pool) pickFrom(s *snapshot, hash uint64, tried *Tried) *Backend {
	retry := tried != nil && tried.n > 0
	for i := range s.tiers {
		t := &s.tiers[i]
		if len(t.entries) == 0 {
			continue
		}
		if i >= firstNotUp && s.anyUp && !retry {
			return nil
		}
		var b *Backend
		if i >= firstNotUp {
			b = p.answering(s.policy, t, hash, tried)
		}
		if b == nil {
			b = p.pick(s.policy, t, hash, tried)
		}
		if b != nil {
			if tried != nil {
				tried.Add(b)
			}
			return b
		}
	}
	return nil
}

// silentTries is the share of requests that also a silent backend gets while none is up:
// so that it is noticed when it answers again.
const silentTries = 16

// answering chooses in a tier of backends that are not up among those that are not
// silent; nil: there is none, or a silent one's turn has come.
func (p *Pool) answering(policy policy, t *tier, hash uint64, tried *Tried) *Backend {
	if rand.Uint32N(silentTries) == 0 { //nolint:gosec // balancing is no secret
		return nil
	}
	var left Tried
	if tried != nil {
		left = *tried
	}
	left.silent = true
	return p.pick(policy, t, hash, &left)
}

// Backends lists the backends in the order of the configuration. The slice is
// shared: it must not be changed.
func (p *Pool) Backends() []*Backend { return p.snapshot.Load().all }

// Backend finds a backend by name; nil if there is none.
func (p *Pool) Backend(name string) *Backend {
	for _, b := range p.Backends() {
		if b.name == name {
			return b
		}
	}
	return nil
}

// Generation changes whenever a backend's state or the membership changes, after
// Pick knows of it: requests in flight may wait at a backend that is not up any
// more (D23).
func (p *Pool) Generation() uint64 { return p.moved.Load() }

// Request counts one request into the retry budget.
func (p *Pool) Request() { p.budget.request() }

// TryRetry takes one retry out of the budget: over any 10 s, retries stay below
// the larger of 100 and retry_budget × requests. false: there is none left.
func (p *Pool) TryRetry() bool { return p.budget.try(1) }

// TryRetryOfAnswer is TryRetry for a request that was answered with a failure. A quarter of
// the budget is not for these: many such answers are about the question, and whoever asks
// many such questions would use up what a lost packet or a dead backend needs.
func (p *Pool) TryRetryOfAnswer() bool { return p.budget.try(answersShare) }

// Config is the configuration that counts now.
func (p *Pool) Config() Config { return *p.config.Load() }

// Role is the role that was given to New.
func (p *Pool) Role() string { return p.role }

// Healthy counts the backends that are up or suspect, and tells how many there
// must be (A07).
func (p *Pool) Healthy() (healthy, least int) {
	for _, b := range p.Backends() {
		if b.Health().State().Healthy() {
			healthy++
		}
	}
	return healthy, p.config.Load().MinHealthy
}

// AnyUp tells whether any backend is up, hot spares too.
func (p *Pool) AnyUp() bool { return p.snapshot.Load().anyUp }
