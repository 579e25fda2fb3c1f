package health

import (
	"context"
	"sync"
	"time"
)

// selfProber asks the listeners of one service, all at once, again and again.
type selfProber struct {
	services *Services
	kick     chan struct{}
	ctx      context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mu        sync.Mutex // guards what follows
	service   Service
	listeners map[Listener]*listenerState
	activity  uint64    // as of the start of the last round
	passed    time.Time // start of the last round in which every listener passed
	rounds    int
}

// listenerState is what the self-probe found out about one listener.
type listenerState struct {
	asked  bool // it has passed, or failed for good: before that nothing is known
	absent bool
	fails  int // in a row, with idle workers
	text   string
}

func newSelfProber(s *Services) *selfProber {
	p := &selfProber{services: s, kick: make(chan struct{}, 1), listeners: map[Listener]*listenerState{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.running.Add(1)
	go p.run()
	return p
}

// ask sets the service whose listeners are asked from now on, and asks at once.
func (p *selfProber) ask(v Service) {
	p.mu.Lock()
	next := make(map[Listener]*listenerState, len(v.Listeners))
	for _, l := range v.Listeners {
		if next[l] = p.listeners[l]; next[l] == nil {
			next[l] = &listenerState{}
		}
	}
	p.service, p.listeners = v, next
	p.mu.Unlock()
	p.again()
}

// again starts a round without waiting.
func (p *selfProber) again() {
	select {
	case p.kick <- struct{}{}:
	default: // it is told already
	}
}

func (p *selfProber) end() {
	p.cancel()
	p.running.Wait()
}

func (p *selfProber) run() {
	defer p.running.Done()
	timer := time.NewTimer(p.services.o.SelfProbeEvery)
	defer timer.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-p.kick:
		case <-timer.C:
		}
		timer.Reset(p.pace())
		p.round()
		p.services.Changed()
	}
}

// pace is how long after the start of a round the next one starts: sooner until
// the first that passed, so that a node that starts is not late for it.
func (p *selfProber) pace() time.Duration {
	if p.lastPassed().IsZero() {
		return p.services.o.SelfProbeEvery / 5
	}
	return p.services.o.SelfProbeEvery
}

// round asks every listener once.
func (p *selfProber) round() {
	p.mu.Lock()
	service := p.service
	p.mu.Unlock()
	if service.Open != nil && !service.Open() {
		return // the verdict does not need the question
	}
	ctx, cancel := context.WithTimeout(p.ctx, p.services.o.SelfProbeTimeout)
	defer cancel()
	start := p.services.o.Monitor.env.now()
	type answer struct {
		outcome selfOutcome
		err     error
	}
	answers := make([]answer, len(service.Listeners))
	var asking sync.WaitGroup
	for i, l := range service.Listeners {
		asking.Go(func() { answers[i].outcome, answers[i].err = p.services.self(ctx, service.Kind, l) })
	}
	asking.Wait()
	if p.ctx.Err() != nil {
		return
	}
	spoilt := p.services.o.Monitor.pauses.overlap(start, p.services.o.Monitor.env.now())
	p.mu.Lock()
	defer p.mu.Unlock()
	busy := p.busy(service)
	all := true
	for i, l := range service.Listeners {
		if state := p.listeners[l]; state != nil {
			all = state.note(answers[i].outcome, answers[i].err, busy, spoilt) && all
		}
	}
	if all {
		p.passed = start
	}
}

// busy tells whether the workers have read datagrams since the last round, apart
// from the self-probes themselves.
func (p *selfProber) busy(v Service) bool {
	if v.Activity == nil {
		return false
	}
	own := uint64(0)
	for _, l := range v.Listeners {
		if l.Network == "udp" {
			own++
		}
	}
	// One more round's worth: those of the last one may have been read late.
	was := p.activity
	p.activity = v.Activity()
	p.rounds++
	return p.rounds > 1 && p.activity-was > 2*own
}

// note takes the outcome of one question; true: the listener is ours and answers.
func (l *listenerState) note(o selfOutcome, err error, busy, spoilt bool) bool {
	switch {
	case o == selfGood:
		*l = listenerState{asked: true}
		return true
	case spoilt:
		return false // this process stood still: no verdict (A06)
	case o == selfAbsent:
		l.asked, l.absent, l.text = true, true, err.Error()
	case o == selfSilent && busy:
		l.absent, l.fails = false, 0 // overload is not ill health (A22)
		return l.asked
	default:
		l.absent, l.text = false, err.Error()
		l.fails++
		l.asked = l.asked || l.fails >= selfProbeFall
	}
	return false
}

// verdict sums up all listeners.
func (p *selfProber) verdict() (selfVerdict, string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	v, text := selfPassed, ""
	for _, l := range p.service.Listeners {
		state := p.listeners[l]
		switch {
		case state.absent:
			return selfMissing, state.text
		case state.fails >= selfProbeFall:
			v, text = selfFailed, state.text
		case !state.asked && v == selfPassed:
			v = selfUnknown
		}
	}
	return v, text
}

// passedSince tells whether a round that began at t or later found every listener well.
func (p *selfProber) passedSince(t time.Time) bool { return !p.lastPassed().Before(t) }

func (p *selfProber) lastPassed() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.passed
}
