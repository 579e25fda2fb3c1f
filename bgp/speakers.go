package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	downAlarmAfter = 30 * time.Second // not established for this long: an alarm (A18)
	floodFactor    = 100              // times max_received at which a session is closed (A19)
	floodHold      = 5 * time.Minute  // and for how long
	driftAlarmFor  = time.Minute      // how long a mended drift is shown
)

// Beat is how often, within a lease, either side says that it lives. The
// speaker waits one beat longer than the lease, so that a pause of the node
// shorter than the lease never costs a route (A16).
func Beat(lease time.Duration) time.Duration { return min(lease/beats, 200*time.Millisecond) }

// SpeakersOptions is what Speakers is made of.
type SpeakersOptions struct {
	Command Command
	Log     *zap.Logger
	Uptime  func() time.Duration // nil: CLOCK_BOOTTIME, which the children compare with
	// OnOtherSite is told which prefixes are seen from another site that has not
	// demoted them, again and again while they are. It is called from a
	// neighbor's goroutine and must not keep the slice.
	OnOtherSite func(prefixes []netip.Prefix)

	launch launcher // nil: Command
}

// Speakers keeps one child process for each neighbor, each on a lease (A15).
// It is the Announcer of a running node.
type Speakers struct {
	o SpeakersOptions

	mu        sync.Mutex
	processes []*process // in the configuration's order
	routes    []Route
	stamp     time.Duration
	announced bool
	closed    bool
	ending    sync.WaitGroup // processes that were taken out of the configuration

	stop    chan struct{}
	stopped sync.WaitGroup
}

// NewSpeakers starts nothing but a monitor; Configure starts the children.
func NewSpeakers(o SpeakersOptions) *Speakers {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Uptime == nil {
		o.Uptime = uptime
	}
	if o.launch == nil {
		o.launch = o.Command.launch
	}
	s := &Speakers{o: o, stop: make(chan struct{})}
	s.stopped.Add(1)
	go func() { defer s.stopped.Done(); s.monitor() }()
	return s
}

// Configure makes the processes match the configuration. A session that
// differs only in what a running speaker can take is not touched (A20).
func (s *Speakers) Configure(settings Settings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	old := map[string]*process{}
	for _, p := range s.processes {
		old[p.name] = p
	}
	want := sessions(settings)
	list := make([]*process, len(want))
	for i, w := range want {
		if p := old[w.Name]; p != nil && p.retune(w) {
			list[i] = p
			delete(old, w.Name)
		}
	}
	for i, w := range want {
		if list[i] != nil {
			continue
		}
		p := newProcess(&s.o, w)
		if s.announced {
			p.announce(s.routes, s.stamp)
		}
		list[i] = p
		go p.run(leaving(old, w))
	}
	s.processes = list
	for _, p := range old {
		s.ending.Add(1)
		go func() { defer s.ending.Done(); p.close() }()
	}
}

// leaving is what a new session waits for: the end of the one that has its
// name, or its addresses by another name. A router takes only one of the two.
func leaving(old map[string]*process, w Session) <-chan struct{} {
	if p := old[w.Name]; p != nil {
		return p.done
	}
	for _, p := range old {
		if p.session.Source == w.Source && (p.session.Address == w.Address || w.Listen != "") {
			return p.done
		}
	}
	return nil
}

// Announce gives every speaker the whole desired set of its family.
func (s *Speakers) Announce(routes []Route) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.routes, s.stamp, s.announced = routes, s.o.Uptime(), true
	for _, p := range s.processes {
		p.announce(routes, s.stamp)
	}
}

// Neighbors tells about each session, in the configuration's order.
func (s *Speakers) Neighbors() []NeighborStatus {
	out := []NeighborStatus{}
	for _, p := range s.snapshot() {
		out = append(out, p.status())
	}
	return out
}

// Alarms lists what is wrong with sessions and speakers.
func (s *Speakers) Alarms() []Alarm {
	out := []Alarm{}
	for _, p := range s.snapshot() {
		out = append(out, p.alarms()...)
	}
	return out
}

func (s *Speakers) snapshot() []*process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.processes)
}

// Close ends every session and waits for the children.
func (s *Speakers) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errors.New("closing speakers: closed already")
	}
	s.closed = true
	list := s.processes
	s.mu.Unlock()
	close(s.stop)
	var all sync.WaitGroup
	for _, p := range list {
		all.Add(1)
		go func() { defer all.Done(); p.close() }()
	}
	all.Wait()
	s.ending.Wait()
	s.stopped.Wait()
	return nil
}

// monitor looks at what only the sight of all neighbors can tell.
func (s *Speakers) monitor() {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-t.C:
			s.holdFloods()
		}
	}
}

// holdFloods holds a session closed on which a neighbor sends far too many
// routes, as long as another one of its family is established: the last one
// stays up (A19). When no other one is left it is tried again before its time:
// a neighbor that sends too much is better than none.
func (s *Speakers) holdFloods() {
	list := s.snapshot()
	standing := map[Family]int{}
	for _, p := range list {
		if f, ok := p.established(); ok {
			standing[f]++
		}
	}
	for _, p := range list {
		f, ok := p.established()
		if n, limit, flood := p.flooded(); ok && flood && standing[f] > 1 {
			standing[f]--
			p.hold(fmt.Sprintf("closed for %v: it sends %d routes, more than %d times max_received (%d)", floodHold, n, floodFactor, limit), floodHold)
		}
		if standing[f] == 0 {
			p.release()
		}
	}
}
