package health

import (
	"sync"
	"sync/atomic"
	"time"
)

// Backend is the verdict on one backend in one role, and the place where the
// evidence meets. All methods are safe for concurrent use. State, Share and the
// fast path of Replied take no lock.
//
// A backend that a Monitor has given up (after a reload, or Close) keeps its last
// verdict and stays safe to use.
type Backend struct {
	// heard is 1 when a valid reply was noted since the last tick and nothing has
	// to be reset. It has a cache line to itself and the state, which all workers
	// read and nobody writes often.
	heard atomic.Uint32
	state atomic.Uint32
	trial atomic.Uint32 // requests that it may have at a time while on trial; 0: it is not
	_     [52]byte

	slowFrom  atomic.Int64 // start of the slow start, ns since base; 0: none
	slowFor   atomic.Int64 // its length in ns
	lastReply atomic.Int64 // ns since base
	lastGood  atomic.Int64 // when the last good probe was sent, ns since base
	tried     atomic.Int64 // when the trial began, ns since base
	silences  atomic.Int32 // requests since the last valid reply

	key  Key
	env  *environment
	kick chan struct{} // tells the prober to look again, at once

	mu       sync.Mutex // guards what follows
	m        machine
	last     LastProbe
	latency  time.Duration
	told     float64 // share that the watchers were last told of
	watchers []*watcher
}

// environment is what a backend needs of its surroundings. All functions are
// called with Backend.mu held and must not call back into the same Backend's
// locking methods.
type environment struct {
	now    func() time.Time
	base   time.Time                     // the zero of all times that are kept as numbers
	paused func(from, to time.Time) bool // this process stood still in between
	emit   func(Event)
	peers  func(b *Backend) bool // another backend of the role has answered real requests since b did
	others func(b *Backend) bool // another backend of the role is up and not on trial
}

type watcher struct{ f func(stateChanged bool) }

// NewBackend makes a verdict that no Monitor feeds: evidence comes from Probed
// and from the fronts. A target that is not probed starts Up, any other Starting.
func NewBackend(t Target, now func() time.Time) *Backend {
	return newBackend(t, &environment{
		now: now, base: now(),
		paused: func(_, _ time.Time) bool { return false },
		emit:   func(Event) {},
		peers:  func(*Backend) bool { return false },
		others: func(*Backend) bool { return false },
	})
}

func newBackend(t Target, env *environment) *Backend {
	b := &Backend{key: t.Key, env: env, told: 1, kick: make(chan struct{}, 1), m: newMachine(t.limits(), env.now())}
	b.publish()
	return b
}

// Key names the backend.
func (b *Backend) Key() Key { return b.key }

// State is the verdict now.
func (b *Backend) State() State { return State(b.state.Load()) }

// Share is the part of its weight that the backend should get at now: 1, or
// between 0.01 and 1 during the slow start after it came back. It says nothing
// about the state.
func (b *Backend) Share(now time.Time) float64 {
	from := b.slowFrom.Load()
	return slowShare(now.Sub(b.env.base)-time.Duration(from), time.Duration(b.slowFor.Load()), from == 0)
}

// Trial tells how many requests the backend may have in flight while it is on
// trial: real requests were not answered, probes are, and real requests have to show
// which counts. 0: it is not on trial. A backend on trial is Up, or, after a fall by
// real requests, Down.
func (b *Backend) Trial() int { return int(b.trial.Load()) }

// TrialSince is when the trial began; of no meaning when Trial is 0.
func (b *Backend) TrialSince() time.Time { return b.env.base.Add(time.Duration(b.tried.Load())) }

// Status is all there is to show.
func (b *Backend) Status() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Status{State: b.m.state(), Reason: b.m.reason, Detail: b.m.detail, Since: b.m.since, LastProbe: b.last, Latency: b.latency}
	if b.m.drained {
		s.Reason, s.Detail = ReasonDrained, "by an operator"
	}
	return s
}

// Replied reports a valid reply to any real request, of whatever rcode or code
// (A04). It costs one atomic load, except for the first reply after a silence
// and once in a while.
func (b *Backend) Replied() { b.RepliedAfter(0) }

// RepliedAfter is Replied for who knows how long the reply took: one that took
// attempt_timeout or longer neither ends a trial nor brings a backend up again while
// another one is up. For whoever waits, it might as well have been silent.
func (b *Backend) RepliedAfter(took time.Duration) {
	if b.heard.Load() == 1 {
		return
	}
	b.update(func(now time.Time) change {
		if took >= b.m.attempt && b.m.attempt > 0 && b.m.judged() && b.env.others(b) {
			return change{}
		}
		b.heard.Store(1)
		b.lastReply.Store(int64(now.Sub(b.env.base)))
		return b.m.reply(now)
	})
}

// Silent reports that one request has waited attempt_timeout for its answer. It
// counts when no valid reply to any request came in that time (A04).
func (b *Backend) Silent() {
	b.update(func(now time.Time) change {
		b.heard.Store(0) // the next reply has something to reset
		if b.env.paused(now.Add(-b.m.attempt), now) {
			return change{} // the answer may be waiting in our own socket (A06)
		}
		return b.m.silence(now, b.env.peers(b))
	})
}

// Unreachable reports that the kernel cannot reach the backend: a socket error
// that comes from ICMP, or an error of sending. It makes it suspect at once (A04).
// Errors that are this host's own (no buffer, a message too long) don't belong here.
func (b *Backend) Unreachable(err error) {
	reason, detail := classify(err)
	b.update(func(now time.Time) change {
		b.heard.Store(0)
		return b.m.unreachable(now, b.env.peers(b), reason, detail)
	})
}

// Probed takes the result of a probe. A bad one that this process may have
// spoilt by standing still is noted and does not count (A06); then it is false.
func (b *Backend) Probed(r Result) (counted bool) {
	counted = true
	b.update(func(now time.Time) change {
		b.last = LastProbe{At: r.Start, OK: r.OK, Error: r.Detail}
		if r.OK {
			b.latency = r.Latency
			b.lastGood.Store(max(b.lastGood.Load(), int64(r.Start.Sub(b.env.base))))
		} else if b.env.paused(r.Start, now) {
			counted = false
			b.last.Error = "does not count, this process stood still: " + r.Detail
			return change{}
		}
		return b.m.probe(now, r, b.env.others(b))
	})
	return counted
}

// Watch has f called after every change of state (stateChanged), when a trial begins
// or ends, and while the share grows in a slow start, until stop is called. f runs on the goroutine that
// made the change and must be quick; it may call State and Share. Calls may
// overlap, so f should look at what is, not count.
func (b *Backend) Watch(f func(stateChanged bool)) (stop func()) {
	w := &watcher{f}
	b.mu.Lock()
	defer b.mu.Unlock()
	// Copied on change, because they are called without the lock.
	b.watchers = append(b.watchers[:len(b.watchers):len(b.watchers)], w)
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		var rest []*watcher
		for _, other := range b.watchers {
			if other != w {
				rest = append(rest, other)
			}
		}
		b.watchers = rest
	}
}

// update puts one piece of evidence to the machine and tells the change, if any.
func (b *Backend) update(evidence func(now time.Time) change) {
	b.mu.Lock()
	now := b.env.now()
	trial := b.trial.Load()
	c := evidence(now)
	b.publish()
	changed := c.from != c.to
	var watchers []*watcher
	if b.trial.Load() != trial {
		watchers = b.watchers
		b.heard.Store(0) // the next reply ends the trial
	}
	if changed {
		watchers = b.watchers
		b.env.emit(Event{At: now, Key: b.key, From: c.from, To: c.to, Reason: c.reason, Detail: c.detail})
	}
	suspect := b.m.verdict == Suspect
	b.mu.Unlock()
	if changed && suspect {
		b.probeNow()
	}
	for _, w := range watchers {
		w.f(changed)
	}
}

// publish makes the machine's outcome visible to those who take no lock.
func (b *Backend) publish() {
	b.state.Store(uint32(b.m.state()))
	trial := 0
	if !b.m.trial.IsZero() {
		trial = b.m.suspectAfter
		b.tried.Store(int64(b.m.trial.Sub(b.env.base)))
	}
	b.trial.Store(uint32(trial))                    //nolint:gosec // 1 to 100
	b.silences.Store(int32(min(b.m.silent, 1<<30))) //nolint:gosec // bounded
	from := int64(0)
	if !b.m.recovered.IsZero() {
		from = max(1, int64(b.m.recovered.Sub(b.env.base)))
	}
	b.slowFor.Store(int64(b.m.slowStart))
	b.slowFrom.Store(from)
}

// probeNow has the prober look again without waiting for the interval.
func (b *Backend) probeNow() {
	select {
	case b.kick <- struct{}{}:
	default: // it is told already
	}
}

// tick lets time pass: the next reply is noted anew, unprobed backends move, and
// watchers hear of a share that grows.
func (b *Backend) tick(now time.Time) {
	if b.heard.Load() == 1 {
		b.heard.Store(0)
	}
	b.mu.Lock()
	probed, share, watchers := b.m.probed, b.m.share(now), b.watchers
	grown := share-b.told >= shareStep || share == 1 && b.told < 1
	if grown || share < b.told {
		b.told = share
	}
	b.mu.Unlock()
	if grown {
		for _, w := range watchers {
			w.f(false)
		}
	}
	if !probed {
		b.update(b.m.tick)
	}
}

// shareStep is how much a share grows before the watchers hear of it.
const shareStep = 0.02

func (b *Backend) drain(on bool) {
	b.update(func(now time.Time) change { return b.m.drain(now, on) })
}

// adopt takes the limits of a new configuration; the verdict stays.
func (b *Backend) adopt(l limits) {
	b.update(func(now time.Time) change {
		was := b.m.probed
		b.m.limits = l
		if was != l.probed && !l.probed && b.m.verdict == Starting {
			return b.m.to(now, Up, ReasonNotProbed, ReasonNone, "judged by real traffic from now on")
		}
		return change{}
	})
}

// answersSince tells whether the backend is up, answers real requests, and has
// done so later than the given reply.
func (b *Backend) answersSince(reply int64) bool {
	return b.State() == Up && b.silences.Load() == 0 && b.lastReply.Load() > reply
}

// suspected tells whether the verdict is Suspect, drained or not.
func (b *Backend) suspected() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.m.verdict == Suspect
}

// provenSince tells whether a good probe was sent at the given time or later; a
// backend that is not probed has nothing to prove.
func (b *Backend) provenSince(since time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.m.probed || b.lastGood.Load() >= max(1, int64(since.Sub(b.env.base)))
}
