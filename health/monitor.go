package health

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options are what a Monitor needs besides its targets.
type Options struct {
	// OnEvent hears every change of state of every backend, once each, in order, on
	// one goroutine. It may take its time. nil: nobody listens.
	OnEvent func(Event)
	// OnPause hears when this process stood still for 200 ms or more (A06, A16), on
	// one goroutine. By then every backend is being probed anew. nil: nobody listens.
	OnPause func(Pause)
	// Now is the clock; nil: time.Now. Its times carry a monotonic reading.
	Now func() time.Time
	// Probe makes one probe of a backend; it ends within Target.Config.Timeout, when
	// ctx does. nil: over the network.
	Probe func(ctx context.Context, t *Target) Result
}

// Monitor judges a set of backends: it probes them, takes the fronts' reports,
// and tells every change. All methods are safe for concurrent use.
type Monitor struct {
	env    environment
	pauses *pauses
	probe  func(ctx context.Context, t *Target) Result
	events *queue[Event]
	paused *queue[Pause]

	backends atomic.Pointer[map[Key]*Backend] // immutable; what lookups read
	changed  atomic.Pointer[func()]           // Services wants to look again

	mu      sync.Mutex // guards what follows, and Apply as a whole
	watched map[Key]*watched
	drained map[Key]bool
	closed  bool
	stop    chan struct{}
	ticking sync.WaitGroup
}

// watched is a backend and the prober that feeds it; nil if it is not probed.
type watched struct {
	target  Target
	backend *Backend
	prober  *prober
}

// NewMonitor starts a monitor without backends. Close ends it.
func NewMonitor(o Options) *Monitor {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Probe == nil {
		o.Probe = probe
	}
	// Times are kept as positive numbers since base, so that 0 can mean never.
	base := o.Now().Add(-time.Second)
	m := &Monitor{
		pauses: newPauses(o.Now), probe: o.Probe,
		events: newQueue(o.OnEvent), paused: newQueue(o.OnPause),
		watched: map[Key]*watched{}, drained: map[Key]bool{}, stop: make(chan struct{}),
	}
	m.env = environment{now: o.Now, base: base, paused: m.pauses.overlap, emit: m.emit, peers: m.peers, others: m.others}
	m.backends.Store(&map[Key]*Backend{})
	m.ticking.Add(1)
	go m.tick()
	return m
}

// Apply makes targets the whole set that is judged, and returns their verdicts. A
// backend that stays (same key, address and protocol) keeps its verdict and its
// *Backend, whatever else changed; one that is new starts as Starting and is
// probed at once. Of targets with the same key the last one counts.
func (m *Monitor) Apply(targets []Target) map[Key]*Backend {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := make(map[Key]*watched, len(targets))
	out := make(map[Key]*Backend, len(targets))
	for i := range targets {
		t := targets[i]
		next[t.Key] = m.desired(t)
		out[t.Key] = next[t.Key].backend
	}
	for key, old := range m.watched {
		if w := next[key]; w == nil || w.prober != old.prober {
			old.prober.end()
		}
	}
	m.watched = next
	lookup := maps.Clone(out)
	m.backends.Store(&lookup)
	if !m.closed {
		for _, w := range next {
			w.prober.begin()
		}
	}
	m.notify()
	return out
}

// desired is what stands for the target from now on.
func (m *Monitor) desired(t Target) *watched {
	old := m.watched[t.Key]
	if old != nil && old.target.sameProbe(&t) {
		return old
	}
	w := &watched{target: t}
	if old != nil && old.target.sameBackend(&t) {
		w.backend = old.backend
		w.backend.adopt(t.limits())
	} else {
		w.backend = newBackend(t, &m.env)
		if m.drained[t.Key] {
			w.backend.drain(true)
		}
	}
	if t.Probed() {
		w.prober = newProber(&w.target, w.backend, m.probe, m.notify)
	}
	return w
}

// Drain takes a backend out of use, or gives it back with a slow start. It is
// remembered for a backend that is not there yet, and while a reload changes it.
// A drained backend is still probed, so that its return is no leap in the dark.
func (m *Monitor) Drain(key Key, on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if on {
		m.drained[key] = true
	} else {
		delete(m.drained, key)
	}
	if w := m.watched[key]; w != nil {
		w.backend.drain(on)
	}
}

// Backend finds a verdict; nil if there is no such target.
func (m *Monitor) Backend(key Key) *Backend { return (*m.backends.Load())[key] }

// Backends lists all verdicts by pool, backend and role.
func (m *Monitor) Backends() []*Backend {
	return slices.SortedFunc(maps.Values(*m.backends.Load()), func(a, b *Backend) int {
		return strings.Compare(a.key.String(), b.key.String())
	})
}

// Role counts the backends of a pool in one role.
type Role struct {
	Total    int
	Healthy  int // up or suspect (A07)
	Starting int // not known yet
	Proven   int // with a good probe that was sent after the time asked for, or not probed
}

// Role counts a pool's backends in one role; Proven is by good probes sent after
// since, which may be zero.
func (m *Monitor) Role(pool, role string, since time.Time) Role {
	var r Role
	for key, b := range *m.backends.Load() {
		if key.Pool != pool || key.Role != role {
			continue
		}
		r.Total++
		switch s := b.State(); {
		case s.Healthy():
			r.Healthy++
			if b.provenSince(since) {
				r.Proven++
			}
		case s == Starting:
			r.Starting++
		}
	}
	return r
}

// Lost is how many events and pauses nobody heard, because the hearer hung.
func (m *Monitor) Lost() uint64 { return m.events.lostSoFar() + m.paused.lostSoFar() }

// Close ends all probing, waits for what is under way, and returns when every
// event has been heard.
func (m *Monitor) Close() {
	m.mu.Lock()
	if !m.closed {
		m.closed = true
		close(m.stop)
		for _, w := range m.watched {
			w.prober.end()
		}
	}
	m.mu.Unlock()
	m.ticking.Wait()
	m.events.close()
	m.paused.close()
}

// tick watches the clock, and lets time pass for the backends.
func (m *Monitor) tick() {
	defer m.ticking.Done()
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	for {
		select {
		case <-m.stop:
			return
		case <-t.C:
		}
		pause, paused := m.pauses.look()
		now := m.env.now()
		for _, b := range *m.backends.Load() {
			b.tick(now)
			if paused {
				b.probeNow()
			}
		}
		if paused {
			m.paused.put(pause)
			m.notify()
		}
	}
}

func (m *Monitor) emit(e Event) {
	m.events.put(e)
	m.notify()
}

// notify tells Services that something may have changed.
func (m *Monitor) notify() {
	if f := m.changed.Load(); f != nil {
		(*f)()
	}
}

// peers tells whether another backend of b's pool and role is up and has
// answered real requests since b last did.
func (m *Monitor) peers(b *Backend) bool {
	reply := b.lastReply.Load()
	for key, other := range *m.backends.Load() {
		if other != b && key.Pool == b.key.Pool && key.Role == b.key.Role && other.answersSince(reply) {
			return true
		}
	}
	return false
}

// others tells whether another backend of b's pool and role is up, and not on trial.
func (m *Monitor) others(b *Backend) bool {
	for key, other := range *m.backends.Load() {
		if other != b && key.Pool == b.key.Pool && key.Role == b.key.Role && other.State() == Up && other.Trial() == 0 {
			return true
		}
	}
	return false
}
