package bgp

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	backoffFirst = time.Second
	backoffMax   = time.Minute
	healthyLife  = time.Minute // a child that lived this long has its predecessors' deaths forgiven
	failingCount = 3           // deaths within failingTime: an alarm
	failingTime  = time.Minute
	closeTime    = time.Second // for a child to end its session before it is killed
	marginWindow = 10 * time.Second
)

// process keeps the speaker of one neighbor alive: it starts it, feeds it,
// kills it when it is silent for a lease, and starts another.
type process struct {
	name     string
	o        *SpeakersOptions
	log      *zap.Logger
	wake     chan struct{} // something is to be sent
	released chan struct{} // a hold has ended before its time
	quit     chan struct{}
	done     chan struct{}
	once     sync.Once

	mu         sync.Mutex
	session    Session
	retuned    bool // session differs from what the child was told
	routes     []Route
	number     uint64 // of routes; 0: nothing was announced yet
	stamp      time.Duration
	speaker    string // up, starting, down
	pid        int
	report     Report
	state      string
	since      time.Time // of state
	downSince  time.Time // not established since; zero: established
	lastError  string
	deaths     []time.Time // within the last minute
	total      uint64
	bad        int // deaths since a long life
	failing    time.Time
	heldUntil  time.Time
	flooding   time.Time // more than max_received since
	flood      int       // and how many, the last time
	driftAt    time.Time
	drifts     uint64           // of the speakers before this one
	margin     [2]time.Duration // least margin of this window and the one before
	marginFrom time.Time
}

func newProcess(o *SpeakersOptions, s Session) *process {
	now := time.Now()
	return &process{name: s.Name, o: o, log: o.Log.With(zap.String("neighbor", s.Name)), session: s,
		wake: make(chan struct{}, 1), released: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
		speaker: "starting", state: Down, since: now, downSince: now, marginFrom: now,
		margin: [2]time.Duration{s.Lease, s.Lease}}
}

// retune takes what a running speaker can take; false: the session must start anew.
func (p *process) retune(s Session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.session.sameSession(s) {
		return false
	}
	if p.session != s {
		p.session, p.retuned = s, true
		p.poke()
	}
	return true
}

// announce leaves the whole set for the child; the newest wins.
func (p *process) announce(all []Route, stamp time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	routes := []Route{}
	for _, r := range all {
		if FamilyOf(r.Prefix.Addr()) == p.session.Family {
			routes = append(routes, r)
		}
	}
	if p.number == 0 || !EqualRoutes(p.routes, routes) {
		p.routes = routes
		p.number++
	}
	p.stamp = stamp
	p.poke()
}

func (p *process) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// close withdraws, ends the child and waits until it is gone.
func (p *process) close() {
	p.once.Do(func() { close(p.quit) })
	<-p.done
}

// run is the life of the neighbor's speakers, one after the other.
func (p *process) run(after <-chan struct{}) {
	defer close(p.done)
	if after != nil {
		<-after
	}
	for {
		born := time.Now()
		words, wanted := p.live()
		select {
		case <-p.quit:
			return
		default:
		}
		if !wanted {
			if !p.rest(p.buried(words, born)) {
				return
			}
			continue
		}
		for wait := p.holdTime(); wait > 0; wait = p.holdTime() {
			if !p.rest(wait) {
				return
			}
		}
	}
}

// rest waits before the next life, or until a hold is released; false: there
// is none.
func (p *process) rest(wait time.Duration) bool {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-p.quit:
		return false
	case <-p.released:
	case <-t.C:
	}
	return true
}

// live starts one child and serves it to its end. wanted is true if we ended it.
func (p *process) live() (words string, wanted bool) {
	p.setSpeaker("starting")
	c, err := p.o.launch(func(line string) { p.log.Info("speaker", zap.String("line", line)) })
	if err != nil {
		p.setSpeaker("down")
		return err.Error(), false
	}
	p.setPID(c.pid)
	defer func() {
		c.kill()
		<-c.exited
		p.setPID(0)
		p.setSpeaker("down")
	}()
	reports := make(chan Report)
	go p.read(c, reports)
	f := &feed{p: p, c: c}
	if err := f.send(); err != nil {
		return p.ended(c, err.Error()), false
	}
	lease := p.lease()
	beat := time.NewTicker(Beat(lease))
	defer beat.Stop()
	silent, heard := 0, time.Now()
	for {
		select {
		case <-p.quit:
			p.end(f)
			return "", true
		case <-c.exited:
			return c.words(), false
		case r, ok := <-reports:
			if !ok {
				return p.ended(c, "speaker closed its socket"), false
			}
			now := time.Now()
			p.take(r, lease-now.Sub(heard), now)
			silent, heard = 0, now
		case <-beat.C:
			// Beats that this process slept through are not counted: a pause of
			// ours is not the child's silence.
			if silent++; time.Duration(silent)*Beat(lease) > lease {
				return fmt.Sprintf("speaker killed: no answer for %v", lease), false
			}
		case <-p.wake:
			if p.isHeld() {
				p.end(f)
				return "", true
			}
			if err := f.send(); err != nil {
				return p.ended(c, err.Error()), false
			}
			if l := p.lease(); l != lease { // by a reload
				lease, silent = l, 0
				beat.Reset(Beat(l))
			}
		}
	}
}

func (p *process) lease() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.session.Lease
}

// ended prefers the dying child's own words to ours.
func (p *process) ended(c *child, words string) string {
	t := time.NewTimer(closeTime / 4)
	defer t.Stop()
	select {
	case <-c.exited:
		return c.words()
	case <-t.C:
		return words
	}
}

// end asks the child to withdraw and leave.
func (p *process) end(f *feed) {
	if f.write(Order{Kind: OrderClose, Stamp: int64(p.o.Uptime())}) != nil {
		return
	}
	t := time.NewTimer(closeTime)
	defer t.Stop()
	select {
	case <-f.c.exited:
	case <-t.C:
	}
}

// read passes reports on until the child's socket ends.
func (p *process) read(c *child, reports chan<- Report) {
	defer close(reports)
	for {
		var r Report
		if err := ReadFrame(c.conn, &r); err != nil {
			return
		}
		select {
		case reports <- r:
		case <-c.exited:
			return
		}
	}
}

// feed knows what one child was told.
type feed struct {
	p      *process
	c      *child
	told   bool      // the session
	number uint64    // of the last whole set
	full   time.Time // when that was sent
	stamp  time.Duration
}

// send tells the child what it does not know yet: at first the session, the
// whole set on a change and every third of a lease, else that the set stands.
func (f *feed) send() error {
	p := f.p
	now := time.Now()
	p.mu.Lock()
	s, retuned, routes, number, stamp := p.session, p.retuned, p.routes, p.number, p.stamp
	p.retuned = false
	p.mu.Unlock()
	if !f.told || retuned {
		// A session alone is no sign of the controller's life, unless it has not
		// decided anything yet.
		o := Order{Kind: OrderSession, Session: &s, Stamp: int64(stamp)}
		if number == 0 {
			o.Stamp = int64(p.o.Uptime())
		}
		if err := f.write(o); err != nil {
			return err
		}
		f.told = true
	}
	if number == 0 || (stamp == f.stamp && number == f.number) {
		return nil
	}
	o := Order{Kind: OrderBeat, Stamp: int64(stamp)}
	if number != f.number || now.Sub(f.full) >= s.Lease/3 {
		o = Order{Kind: OrderRoutes, Stamp: int64(stamp), Number: number, Routes: routes}
		f.number, f.full = number, now
	}
	f.stamp = stamp
	return f.write(o)
}

func (f *feed) write(o Order) error {
	if err := f.c.conn.SetWriteDeadline(time.Now().Add(closeTime)); err != nil {
		return fmt.Errorf("feeding speaker: %w", err)
	}
	if err := WriteFrame(f.c.conn, o); err != nil {
		return fmt.Errorf("feeding speaker: %w", err)
	}
	return nil
}

// take makes a report the neighbor's present.
func (p *process) take(r Report, margin time.Duration, now time.Time) {
	p.mu.Lock()
	old := p.report
	p.report, p.speaker = r, "up"
	p.setState(r.State, r.Since, r.LastError, now)
	if r.Drifts > old.Drifts {
		p.driftAt = now
	}
	switch {
	case r.Received <= p.session.MaxReceived:
		p.flooding = time.Time{}
	case p.flooding.IsZero():
		p.flooding = now
		fallthrough
	default:
		p.flood = r.Received
	}
	if now.Sub(p.marginFrom) >= marginWindow {
		p.margin = [2]time.Duration{p.session.Lease, p.margin[0]}
		p.marginFrom = now
	}
	p.margin[0] = max(0, min(p.margin[0], margin, r.Margin))
	p.mu.Unlock()
	if p.o.OnOtherSite != nil && len(r.OtherSites) > 0 {
		p.o.OnOtherSite(r.OtherSites)
	}
}

// setState is called with the lock held.
func (p *process) setState(state string, since time.Time, words string, now time.Time) {
	if words != "" {
		p.lastError = words
	}
	if state == p.state {
		return
	}
	p.log.Info("session", zap.String("from", p.state), zap.String("to", state), zap.String("last_error", p.lastError))
	switch {
	case state == Established:
		p.downSince = time.Time{}
	case p.downSince.IsZero():
		p.downSince = now
	}
	p.state, p.since = state, since
}

func (p *process) setSpeaker(s string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.speaker = s
	if s == "down" {
		now := time.Now()
		p.drifts += p.report.Drifts
		p.report = Report{}
		p.setState(Down, now, "", now)
	}
}

func (p *process) setPID(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pid = pid
}

// buried notes a death and returns how long to wait for the next life. The
// first death after a long life costs no wait, so that routes are back within
// 3 s; from the second on it is 1 s, doubling to 60 s (A15).
func (p *process) buried(words string, born time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Sub(born) >= healthyLife {
		p.bad, p.failing = 0, time.Time{}
	}
	p.total++
	p.bad++
	p.deaths = slices.DeleteFunc(append(p.deaths, now), func(t time.Time) bool { return now.Sub(t) > failingTime })
	if len(p.deaths) >= failingCount && p.failing.IsZero() {
		p.failing = now
	}
	p.lastError = words
	p.log.Warn("speaker is gone", zap.String("reason", words), zap.Int("deaths", p.bad))
	if p.bad == 1 {
		return 0
	}
	return min(backoffMax, backoffFirst<<min(p.bad-2, 16))
}

// hold closes the session for a while; the speaker ends by our wish.
func (p *process) hold(words string, length time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heldUntil, p.lastError = time.Now().Add(length), words
	select {
	case <-p.released: // of an earlier hold
	default:
	}
	p.log.Warn("session held closed", zap.String("reason", words))
	p.poke()
}

// release ends a hold before its time.
func (p *process) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !time.Now().Before(p.heldUntil) {
		return
	}
	p.heldUntil = time.Time{}
	p.log.Warn("session tried again: no other one is left")
	select {
	case p.released <- struct{}{}:
	default:
	}
}

func (p *process) isHeld() bool { return p.holdTime() > 0 }

func (p *process) holdTime() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Until(p.heldUntil)
}

// established tells whether the session stands, and whose routes it carries.
func (p *process) established() (Family, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.session.Family, p.state == Established
}

func (p *process) flooded() (n, limit int, flood bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, limit = p.report.Received, p.session.MaxReceived
	return n, limit, p.state == Established && n > floodFactor*limit
}
