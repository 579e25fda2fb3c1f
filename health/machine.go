package health

import (
	"fmt"
	"time"
)

// limits are the numbers that the machine goes by.
type limits struct {
	fall, rise, suspectAfter int
	interval, timeout        time.Duration // of probes
	attempt                  time.Duration // a request that waited this long is silent; 0: every report counts
	slowStart                time.Duration
	probed                   bool // false: judged by real traffic alone (acct_probe: none)
}

// A backend that answers probes but not requests looks well again and again.
// When real requests refuted that, and another backend of its pool answers them,
// `fall` times are enough to believe them; where no other backend does better,
// the questions may be to blame, and it takes this many.
const refutedAlone = 10

// An unprobed backend that is down is put on trial after firstTrial; each vain
// trial doubles the wait, up to lastTrial.
const (
	firstTrial = 10 * time.Second
	lastTrial  = 2 * time.Minute
)

// cause is why a backend is down, which decides what it takes to come up again.
type cause uint8

const (
	byRun      cause = iota // fall bad probes in a row
	byShare                 // half of the last 20 probes bad
	byRequests              // real requests, against what the probes say
)

// change is what one piece of evidence did to the shown state; nothing when
// from and to are the same.
type change struct {
	from, to State
	reason   Reason
	detail   string
}

// machine is the verdict on one backend (A01, A03, A04, A06). It is pure: it has
// no clock, no lock and no goroutine, and equal lives end equally.
//
//	           good probe
//	starting ──────────────► up ◄─────────── good probe ── suspect
//	    │                    │ └─ silence, unreachable ──►   │
//	    └── bad probes ──► down ◄──────── bad probes ────────┘
//	                         └── rise good probes ──► up, with slow start
//
// What real requests said is not taken back by probes alone: a good probe that
// ends a suspicion, and the good probes that would end a fall by requests, put
// the backend on trial. It gets a few requests at a time, until one is answered.
// After such a fall it stays down meanwhile as long as another backend is up; where
// none is, it is up on trial, so that no site leaves for want of requests.
//
// A drain lies over it: the verdict goes on underneath.
type machine struct {
	limits
	verdict State // apart from a drain
	drained bool
	reason  Reason // of the verdict
	detail  string
	since   time.Time // of the shown state

	bad, good int // probes in a row
	window    window
	cause     cause
	need      int // good probes in a row to come up again

	silent    int       // requests since the last valid reply that each waited `attempt`
	refuted   int       // good probes that ended a suspicion and were not followed by a valid reply
	heard     time.Time // of the last valid reply
	cleared   time.Time // when a good probe ended the last suspicion
	suspected time.Time // when the last suspicion began
	fell      time.Time // when it went down

	recovered time.Time // start of slow start; zero: full share

	trial     time.Time     // when the trial began; zero: it is not on trial
	afterFall bool          // the trial follows a fall: a slow start follows it
	nextTrial time.Duration // how long an unprobed backend that is down waits for one
}

func newMachine(l limits, now time.Time) machine {
	m := machine{limits: l, verdict: Starting, reason: ReasonStarting, since: now, nextTrial: firstTrial}
	if !l.probed {
		// Nobody will ever ask it, so it is innocent until requests say otherwise:
		// without a route there would be no request.
		m.verdict, m.reason = Up, ReasonNone
	}
	return m
}

// state is the shown state.
func (m *machine) state() State {
	if m.drained {
		return Drained
	}
	return m.verdict
}

// to changes the verdict, and ends a trial.
func (m *machine) to(now time.Time, s State, why, reason Reason, detail string) change {
	c := change{from: m.state(), reason: why, detail: detail}
	m.verdict, m.reason, m.detail, m.trial = s, reason, detail, time.Time{}
	if s == Down {
		m.fell = now
	}
	c.to = m.state()
	if c.from != c.to {
		m.since = now
	}
	return c
}

// onTrial begins a trial.
func (m *machine) onTrial(now time.Time, afterFall bool) {
	m.trial, m.afterFall = now, afterFall
	m.silent, m.cleared = 0, now
	m.reason, m.detail = ReasonTrial, fmt.Sprintf("real requests, %d at a time, have to show whether it answers them", m.suspectAfter)
}

// probe takes the result of a probe. others tells whether another backend of the
// role is up and not on trial.
func (m *machine) probe(now time.Time, r Result, others bool) change {
	m.window.add(!r.OK)
	if r.OK {
		m.good, m.bad = m.good+1, 0
		return m.passed(now, r, others)
	}
	m.good, m.bad = 0, m.bad+1
	return m.failed(now, r)
}

func (m *machine) passed(now time.Time, r Result, others bool) change {
	switch m.verdict {
	case Starting:
		return m.to(now, Up, ReasonProbePassed, ReasonNone, "the first good probe")
	case Suspect:
		if r.Start.Before(m.suspected) {
			return change{} // it tells of the time before
		}
		m.refuted++
		c := m.to(now, Up, ReasonProbePassed, ReasonNone, "answers probes")
		m.onTrial(now, false)
		return c
	case Down:
		if m.good < m.need || m.cause == byShare && m.window.bad() > windowUp {
			return change{}
		}
		if m.cause == byRequests {
			return m.proven(now, others)
		}
		if m.cause == byRun {
			m.window = 0
		}
		m.silent, m.cleared, m.recovered = 0, now, now
		return m.to(now, Up, ReasonProbePassed, ReasonNone, fmt.Sprintf("%d good probes in a row", m.good))
	}
	return change{}
}

// proven is called when all good probes are there after a fall by requests.
func (m *machine) proven(now time.Time, others bool) change {
	var c change
	switch {
	case !others:
		c = m.to(now, Up, ReasonProbePassed, ReasonNone, fmt.Sprintf("%d good probes in a row, and no other backend is up", m.good))
	case !m.trial.IsZero():
		return c
	}
	m.recovered = time.Time{}
	m.onTrial(now, true)
	return c
}

func (m *machine) failed(now time.Time, r Result) change {
	run, share := m.bad >= m.fall, m.window.bad() >= windowDown
	switch {
	case m.verdict == Down:
		if m.cause == byRequests && run {
			m.cause, m.need, m.trial = byRun, m.rise, time.Time{} // now it does not answer probes either
		}
		if m.cause == byRun {
			m.reason, m.detail = r.Reason, r.Detail
		}
		return change{}
	case run && (!share || m.window.bad() <= m.bad):
		m.cause, m.need = byRun, m.rise
		return m.to(now, Down, r.Reason, r.Reason, r.Detail)
	case share:
		m.cause, m.need = byShare, m.rise
		return m.to(now, Down, ReasonProbeShare, ReasonProbeShare,
			fmt.Sprintf("%d of the last %d probes were bad, the last one: %s", m.window.bad(), windowSize, r.Detail))
	}
	return change{}
}

// silence takes the report that one request has waited `attempt` for its answer.
// peers tells whether another backend of the role answers real requests.
func (m *machine) silence(now time.Time, peers bool) change {
	// It counts what waited since the last valid reply: as long as the backend
	// answers anything, a dead zone is the question's fault. A good probe that
	// ended a suspicion starts the count anew too.
	if within(now, m.heard, m.attempt) || within(now, m.cleared, m.attempt) {
		return change{}
	}
	m.silent++
	if m.silent < m.suspectAfter {
		return change{}
	}
	return m.suspect(now, peers, ReasonTimeouts,
		fmt.Sprintf("%d requests since its last reply waited %v each", m.silent, m.attempt))
}

// unreachable takes the kernel's word that nothing can be sent there.
func (m *machine) unreachable(now time.Time, peers bool, reason Reason, detail string) change {
	// A probe that was answered a moment ago weighs more; it bounds how often
	// the two can contradict one another.
	if within(now, m.cleared, m.timeout) {
		return change{}
	}
	return m.suspect(now, peers, reason, detail)
}

func (m *machine) suspect(now time.Time, peers bool, reason Reason, detail string) change {
	vain := m.verdict == Down && !m.trial.IsZero() // a trial in vain
	if m.verdict != Up && !vain {
		return change{}
	}
	if vain || m.refuted >= refutedAlone || peers && m.refuted >= m.fall {
		m.cause, m.good, m.silent = byRequests, 0, 0
		m.refuted = min(m.refuted+1, windowSize)
		m.need = min(m.rise*m.refuted, max(windowSize, m.rise))
		return m.to(now, Down, reason, reason, "answers probes but not requests: "+detail)
	}
	m.suspected = now
	return m.to(now, Suspect, reason, reason, detail)
}

// reply takes a valid reply to a real request, of whatever rcode or code. It ends
// a trial well, and is the only thing that undoes a fall by requests as long as
// another backend is up.
func (m *machine) reply(now time.Time) change {
	m.silent, m.heard = 0, now
	m.nextTrial = firstTrial
	if m.verdict == Up && !m.trial.IsZero() {
		m.trial = time.Time{}
		m.reason, m.detail = ReasonNone, ""
		if m.afterFall {
			m.recovered = now
		}
	}
	down := m.verdict == Down && (m.cause == byRequests || !m.probed)
	if down {
		m.recovered = now
	}
	if now.Sub(m.recovered) >= m.slowStart {
		m.refuted = 0 // but one that falls again in its slow start has not made good
	}
	if down || m.verdict == Suspect && !m.probed {
		return m.to(now, Up, ReasonReplied, ReasonNone, "answered a request")
	}
	return change{}
}

// judged tells whether real requests were not answered and have to be before the
// verdict changes.
func (m *machine) judged() bool { return !m.trial.IsZero() || m.verdict == Down }

// tick lets time pass for a backend that nobody probes.
func (m *machine) tick(now time.Time) change {
	if m.probed {
		return change{}
	}
	switch m.verdict {
	case Suspect:
		if now.Sub(m.suspected) < 2*m.timeout {
			return change{}
		}
		return m.to(now, Down, m.reason, m.reason, "no reply since: "+m.detail)
	case Down:
		if now.Sub(m.fell) < m.nextTrial {
			return change{}
		}
		m.nextTrial = min(2*m.nextTrial, lastTrial)
		m.recovered = time.Time{}
		c := m.to(now, Up, ReasonTrial, ReasonTrial, "real requests show whether it is back")
		m.onTrial(now, true)
		return c
	}
	return change{}
}

// drain takes it out of use, or gives it back with a slow start.
func (m *machine) drain(now time.Time, on bool) change {
	if m.drained == on {
		return change{}
	}
	c := change{from: m.state(), reason: ReasonDrained, detail: "by an operator"}
	m.drained = on
	if !on {
		c.reason = ReasonUndrained
		m.recovered = now
	}
	c.to, m.since = m.state(), now
	return c
}

// share is the part of its weight that it gets: 1, or less during a slow start.
func (m *machine) share(now time.Time) float64 {
	return slowShare(now.Sub(m.recovered), m.slowStart, m.recovered.IsZero())
}

// leastShare is where a slow start begins: not 0, or nothing would show
// whether the backend bears traffic.
const leastShare = 0.01

func slowShare(since, slowStart time.Duration, full bool) float64 {
	if full || since >= slowStart {
		return 1
	}
	return max(leastShare, float64(since)/float64(slowStart))
}

// within tells whether now is less than d after t; never when t is zero.
func within(now, t time.Time, d time.Duration) bool { return !t.IsZero() && now.Sub(t) < d }
