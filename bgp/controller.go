package bgp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Announcer brings the whole desired set to the neighbors. Speakers is the real
// one. All methods are safe for concurrent use.
type Announcer interface {
	// Configure takes neighbors as they should be; sessions whose own lines did
	// not change are not touched.
	Configure(Settings)
	// Announce hands over the whole desired set; an empty one withdraws
	// everything. It is called on each change and again many times within a
	// lease: each call proves that this process lives. It never blocks, and
	// neither side changes the slice afterwards.
	Announce(routes []Route)
	// Neighbors tells about each session, in the configuration's order.
	Neighbors() []NeighborStatus
	// Alarms lists what is wrong with sessions and speakers.
	Alarms() []Alarm
	// Close withdraws everything, ends the sessions and the speakers.
	Close() error
}

// Options is what a Controller is made of.
type Options struct {
	Settings Settings
	StateDir string   // where the flap memory is kept; "": only in memory
	Drained  []string // entries that are drained from the start (a drain survives a restart)
	// Announcer is where the desired set goes; nil: Speakers that run Command.
	Announcer Announcer
	Command   Command
	Log       *zap.Logger // nil: no log

	// OnEvent is told each change of an entry's decision, in order, and logs it:
	// without the function the controller does. It is called with the
	// controller's lock held, after the routes have left: it must not block, nor
	// call the controller.
	OnEvent func(Event)
	// OnPause is told, on a goroutine of its own, that this process stood still
	// for longer than a third of the lease: a self-probe should run at once.
	OnPause func(length time.Duration)
	// Requalify waits, after a pause longer than the lease, until the service
	// has passed one self-probe and min_healthy of its backends one probe each;
	// nil then. It is called on a goroutine of its own for each required
	// service; ctx ends with the controller or with the next pause. An error is
	// tried again after a second. Without the function a pause needs no proof.
	Requalify func(ctx context.Context, service string) error
	// Traffic tells how many packets the entry's prefixes have received since
	// the start, so that a drain may end its first wait early; ok is false
	// where that is not measured. It is called many times a second with the
	// controller's lock held: it must not block, nor call the controller.
	Traffic func(anycast string) (packets uint64, ok bool)
	// Uptime is time since the host's boot, suspended time included; nil:
	// CLOCK_BOOTTIME. Tests pass their own.
	Uptime func() time.Duration
}

// beats is how many times within a lease the desired set is confirmed.
const beats = 15

// ErrUnknown is returned for an anycast entry that is not configured.
var ErrUnknown = errors.New("no such anycast entry")

// Controller decides and announces. All methods are safe for concurrent use.
type Controller struct {
	o         Options
	log       *zap.Logger
	announcer Announcer
	save      *saver
	ctx       context.Context
	cancel    context.CancelFunc
	done      sync.WaitGroup
	wake      chan struct{} // the loop's timer must be set anew

	mu        sync.Mutex
	engine    *engine
	routes    []Route
	next      time.Time     // when the clock alone changes something
	lastStep  time.Duration // uptime of the last step, the proof of life
	stepped   bool
	stored    time.Duration // uptime of the last store
	closed    bool          // nothing is announced any more
	changed   chan struct{} // closed and renewed at each event: Stop waits on it
	requalify context.CancelFunc
	traffic   map[string]*meter
}

// New reads the flap memory and prepares everything; nothing is announced and
// no process runs before Start. A memory that cannot be read is logged and
// counts as an unclean end.
func New(o Options) (*Controller, error) {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Uptime == nil {
		o.Uptime = uptime
	}
	now := time.Now()
	m, err := loadMemory(o.StateDir, now)
	if err != nil {
		o.Log.Warn("the memory of flaps cannot be read; it begins anew", zap.Error(err))
	}
	c := &Controller{o: o, log: o.Log, announcer: o.Announcer, engine: newEngine(o.Settings, m, now),
		wake: make(chan struct{}, 1), changed: make(chan struct{}), traffic: map[string]*meter{}}
	for _, name := range o.Drained {
		c.engine.drain(name, true, now)
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.save = newSaver(o.StateDir, o.Log)
	if c.announcer == nil {
		if o.Command.Path == "" {
			return nil, errors.New("starting bgp: no command for the speakers")
		}
		c.announcer = NewSpeakers(SpeakersOptions{Command: o.Command, Log: o.Log, Uptime: o.Uptime, OnOtherSite: c.seeOtherSite})
	}
	return c, nil
}

// Start starts the speakers. The first decision is made at once; until
// SetServices says otherwise every service counts as starting.
func (c *Controller) Start() {
	c.announcer.Configure(c.o.Settings)
	c.step(nil)
	c.done.Add(2)
	go func() { defer c.done.Done(); c.loop() }()
	go func() { defer c.done.Done(); c.save.run(c.ctx) }()
}

// loop confirms the desired set several times within a lease. Because the
// confirmation comes from here and goes through the same lock as a decision,
// a controller that hangs loses its routes.
func (c *Controller) loop() {
	for {
		t := time.NewTimer(c.untilNext())
		select {
		case <-c.ctx.Done():
			t.Stop()
			return
		case <-c.wake:
			t.Stop()
		case <-t.C:
			c.step(nil)
		}
	}
}

func (c *Controller) untilNext() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.engine.lease / beats
	if !c.next.IsZero() {
		d = min(d, max(0, time.Until(c.next)))
	}
	return d
}

// step takes news under the lock, decides, and hands the desired set over.
func (c *Controller) step(news func(now time.Time)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.notePause(now)
	if news != nil {
		news(now)
	}
	c.measureTraffic(now)
	c.decide(now)
}

func (c *Controller) decide(now time.Time) {
	events, next := c.engine.step(now)
	c.next = next
	if len(events) > 0 || c.routes == nil {
		c.routes = c.engine.desired()
	}
	if !c.closed {
		c.announcer.Announce(c.routes)
	}
	if len(events) == 0 {
		return
	}
	for _, ev := range events {
		if c.o.OnEvent != nil {
			c.o.OnEvent(ev) // who listens also logs it
			continue
		}
		c.log.Info("anycast", zap.String("anycast", ev.Anycast), zap.String("from", string(ev.From)), zap.String("to", string(ev.To)),
			zap.String("reason", string(ev.Reason)), zap.String("waits_for", ev.WaitsFor))
	}
	close(c.changed)
	c.changed = make(chan struct{})
	c.store(now, true)
}

func (c *Controller) store(now time.Time, running bool) {
	b, err := c.engine.memory.encode(now, running)
	if err != nil {
		c.log.Error("flap memory", zap.Error(err))
		return
	}
	c.stored = c.o.Uptime()
	c.save.put(b)
}

// SetServices takes the verdicts on all services, whole, on each change. What
// must be withdrawn has left for the speakers when it returns; it never blocks.
func (c *Controller) SetServices(list []Service) {
	c.step(func(time.Time) { c.engine.setServices(list) })
	c.poke()
}

func (c *Controller) seeOtherSite(prefixes []netip.Prefix) {
	c.step(func(now time.Time) { c.engine.see(prefixes, now) })
}

// Drain begins to take an anycast entry out of the routing: demoted for half
// of its drain_time, or until its traffic has fallen away, then withdrawn.
// Draining what is drained does nothing. The error is ErrUnknown.
func (c *Controller) Drain(anycast string) error { return c.setDrain(anycast, true) }

// Undrain ends a drain; the route is back at once if it was healthy for
// announce_after meanwhile. The error is ErrUnknown.
func (c *Controller) Undrain(anycast string) error { return c.setDrain(anycast, false) }

func (c *Controller) setDrain(anycast string, on bool) (err error) {
	c.step(func(now time.Time) {
		if !c.engine.drain(anycast, on, now) {
			err = fmt.Errorf("drain of %q: %w", anycast, ErrUnknown)
		}
	})
	c.poke()
	return err
}

// SetConfig takes a new configuration. Entries and sessions whose own lines did
// not change are not touched. It is refused, and nothing changes, if it would
// leave no anycast prefix or no neighbor where there is some now, unless
// allowEmpty (A20). Entries that are new and among drained are drained from
// their first moment.
func (c *Controller) SetConfig(s Settings, allowEmpty bool, drained ...string) error {
	c.mu.Lock()
	old := c.engine.settings
	c.mu.Unlock()
	if err := CheckReload(old, s, allowEmpty); err != nil {
		return err
	}
	c.step(func(now time.Time) {
		c.engine.configure(s, now)
		for _, name := range drained {
			c.engine.drain(name, true, now)
		}
		c.routes = nil
		c.announcer.Configure(s)
	})
	c.poke()
	return nil
}

func (c *Controller) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Status is consistent in itself: one moment's decisions and sessions.
func (c *Controller) Status() Status {
	neighbors := c.announcer.Neighbors()
	alarms := append([]Alarm{}, c.announcer.Alarms()...)
	heard := slices.ContainsFunc(neighbors, func(n NeighborStatus) bool { return n.State == Established })
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Status{Anycast: []AnycastStatus{}, BGP: BGPStatus{Neighbors: append([]NeighborStatus{}, neighbors...)}}
	for _, name := range c.engine.order {
		x := c.engine.entries[name]
		a := AnycastStatus{Name: name, Prefixes: []string{}, State: x.decision.State, Reason: x.decision.Reason,
			Since: x.since.UTC(), WaitsFor: x.decision.WaitsFor}
		if a.State == "" {
			a.State, a.Reason = Withdrawn, ReasonStarting // before Start
		}
		for _, p := range x.config.Prefixes {
			a.Prefixes = append(a.Prefixes, p.String())
		}
		if a.State != Withdrawn && a.Reason == ReasonNone {
			switch {
			case len(neighbors) == 0:
				a.Reason, a.WaitsFor = ReasonNoNeighbor, "a neighbor: none is configured"
			case !heard:
				a.Reason, a.WaitsFor = ReasonNoSession, "an established session"
			}
		}
		if a.Reason == ReasonNoOtherSite {
			alarms = append(alarms, Alarm{Name: AlarmNoOtherSite, Subject: name, Since: a.Since, Text: name + ": down, and no other site announces it: it stays demoted"})
		}
		s.Anycast = append(s.Anycast, a)
	}
	if a, bad := c.save.alarm(); bad {
		alarms = append(alarms, a)
	}
	s.Alarms = alarms
	return s
}
