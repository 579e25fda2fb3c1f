package bgp

import (
	"net"
	"sync"
	"testing"
	"time"
)

// recorder is an Announcer that keeps what it is given and fails the test on a
// broken invariant.
type recorder struct {
	t testing.TB

	mu         sync.Mutex
	configured bool
	closed     bool
	sets       [][]Route // changes only
	calls      []time.Time
	state      string // of every neighbor
	neighbors  []string
}

func (r *recorder) Configure(s Settings) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.configured = true
	r.neighbors = nil
	for _, n := range s.BGP.Neighbors {
		r.neighbors = append(r.neighbors, n.Name)
	}
}

func (r *recorder) Announce(routes []Route) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		r.t.Error("announce after close")
	case !r.configured:
		r.t.Error("announce before configure")
	case routes == nil:
		r.t.Error("a nil set")
	}
	r.calls = append(r.calls, time.Now())
	if len(r.sets) == 0 || !EqualRoutes(r.sets[len(r.sets)-1], routes) {
		r.sets = append(r.sets, routes)
	}
}

func (r *recorder) Neighbors() []NeighborStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := []NeighborStatus{}
	for _, n := range r.neighbors {
		out = append(out, NeighborStatus{Name: n, State: r.state})
	}
	return out
}

func (r *recorder) Alarms() []Alarm { return nil }

func (r *recorder) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		r.t.Error("closed twice")
	}
	r.closed = true
	return nil
}

// last is the newest set, in words: "none", "good" or "demoted".
func (r *recorder) last() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case len(r.sets) == 0 || len(r.sets[len(r.sets)-1]) == 0:
		return "none"
	case r.sets[len(r.sets)-1][0].MED == 1000:
		return "demoted"
	}
	return "good"
}

// fakeSpeaker is the other end of a speaker's socket. It checks what the node
// promises to every speaker.
type fakeSpeaker struct {
	t      testing.TB
	conn   net.Conn
	exit   chan struct{}
	once   sync.Once
	mute   chan struct{} // closed: it is frozen, and neither reads nor reports
	muted  sync.Once
	killed bool

	mu       sync.Mutex
	session  Session
	sets     [][]Route
	lastFull time.Time
	stamp    int64
	closed   bool
	report   Report
	every    time.Duration // between two reports
}

// speakers is a launcher of fakes.
type fakeSpeakers struct {
	t      testing.TB
	mu     sync.Mutex
	all    []*fakeSpeaker
	births []time.Time
	dead   bool // each new one dies at once
}

func (f *fakeSpeakers) launch(func(string)) (*child, error) {
	ours, theirs := net.Pipe()
	s := &fakeSpeaker{t: f.t, conn: theirs, exit: make(chan struct{}), mute: make(chan struct{}),
		every: 100 * time.Millisecond, report: Report{State: Established, Since: time.Now()}}
	f.mu.Lock()
	f.all = append(f.all, s)
	f.births = append(f.births, time.Now())
	dead, pid := f.dead, len(f.all)
	f.mu.Unlock()
	go s.listen()
	go s.talk()
	if dead {
		s.die()
	}
	return &child{pid: pid, conn: ours, exited: s.exit, words: func() string { return "speaker died: test" }, kill: func() { s.killed = true; s.die(); ours.Close() }}, nil
}

func (f *fakeSpeakers) get(i int) *fakeSpeaker {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i >= len(f.all) {
		return nil
	}
	return f.all[i]
}

func (f *fakeSpeakers) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.all)
}

func (s *fakeSpeaker) die() { s.once.Do(func() { s.conn.Close(); close(s.exit) }) }

func (s *fakeSpeaker) freeze() { s.muted.Do(func() { close(s.mute) }) }

func (s *fakeSpeaker) listen() {
	for {
		var o Order
		if ReadFrame(s.conn, &o) != nil {
			return
		}
		select {
		case <-s.mute: // the socket's buffer takes it
			continue
		default:
		}
		if s.take(o) {
			s.die()
			return
		}
	}
}

// take checks one order; true: the speaker was asked to end.
func (s *fakeSpeaker) take(o Order) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		s.t.Error("an order after close")
	}
	if o.Stamp < s.stamp {
		s.t.Errorf("stamps go back: %d after %d", o.Stamp, s.stamp)
	}
	s.stamp = o.Stamp
	if (s.session.Name == "") != (o.Kind == OrderSession) && s.session.Name == "" {
		s.t.Errorf("the first order is %q", o.Kind)
	}
	switch o.Kind {
	case OrderSession:
		s.session = *o.Session
	case OrderRoutes:
		if o.Routes == nil {
			s.t.Error("a set of routes that is null")
		}
		for _, r := range o.Routes {
			if FamilyOf(r.Prefix.Addr()) != s.session.Family {
				s.t.Errorf("%s on an %s session", r.Prefix, s.session.Family)
			}
		}
		if n := len(s.sets); n > 0 && EqualRoutes(s.sets[n-1], o.Routes) && time.Since(s.lastFull) < s.session.Lease/3 {
			s.t.Error("an unchanged set before a third of the lease has passed")
		} else if n == 0 || !EqualRoutes(s.sets[n-1], o.Routes) {
			s.sets = append(s.sets, o.Routes)
		}
		s.lastFull = time.Now()
		s.report.Number = o.Number
	case OrderBeat:
		if len(s.sets) == 0 {
			s.t.Error("a beat before any set")
		}
		if since := time.Since(s.lastFull); since > s.session.Lease/3+Beat(s.session.Lease) {
			s.t.Errorf("no whole set for %v", since)
		}
	case OrderClose:
		s.closed = true
		return true
	default:
		s.t.Errorf("order %q", o.Kind)
	}
	return false
}

func (s *fakeSpeaker) talk() {
	for {
		s.mu.Lock()
		r, every := s.report, s.every
		s.mu.Unlock()
		r.Margin = time.Hour
		if WriteFrame(s.conn, r) != nil {
			return
		}
		select {
		case <-s.exit:
			return
		case <-s.mute:
			return
		case <-time.After(every):
		}
	}
}

// starve lets it report only so often.
func (s *fakeSpeaker) starve(every time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.every = every
}

// set changes what the fake reports.
func (s *fakeSpeaker) set(f func(*Report)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.report)
}

func (s *fakeSpeaker) routes() (prefixes []string, told bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sets) == 0 {
		return nil, false
	}
	for _, r := range s.sets[len(s.sets)-1] {
		prefixes = append(prefixes, r.Prefix.String())
	}
	return prefixes, true
}

// get0 waits for the first speaker.
func (f *fakeSpeakers) get0(t testing.TB) *fakeSpeaker {
	t.Helper()
	for range 100 {
		if s := f.get(0); s != nil {
			return s
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("no speaker was started")
	return nil
}
