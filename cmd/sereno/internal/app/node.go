package app

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"sereno/bgp"
	"sereno/cmd/sereno/internal/admin"
	"sereno/config"
	"sereno/health"
	"sereno/health/ledger"
	"sereno/proxy/dnswire"
	"sereno/proxy/radwire"
)

// Options are what a node is started with.
type Options struct {
	Path    string // of the configuration file
	Build   admin.Build
	Speaker bgp.Command // how a BGP speaker's process is started
	Confine bool        // give away, for the whole process and for good, what the work does not need
	Cores   int         // workers of each service, and the process is the node's: GOMAXPROCS is set; 0: GOMAXPROCS as it is

	lost func() uint64 // log lines so far; nil: none
}

// Node is a running node. Methods are safe for concurrent use.
type Node struct {
	o       Options
	log     *zap.Logger
	level   zap.AtomicLevel
	now     func() time.Time
	started time.Time
	proofs  health.Proofs

	state     *stateDir
	drains    *drainBook
	books     *bookkeeper
	addresses *bgp.Addresses
	monitor   *health.Monitor
	services  *health.Services
	routes    *bgp.Controller
	door      *admin.Server

	reading  sync.Mutex     // held by a reload as a whole, and taken before change: the younger file counts
	change   sync.Mutex     // held by whoever changes something: start, reload, drain, stop
	first    *config.Config // that it was started with: keys that need a restart are as they are here
	shape    atomic.Pointer[shape]
	reloads  atomic.Pointer[reloadResult]
	stopping atomic.Bool

	telling   sync.Mutex // held while verdicts are brought to the routes
	routing   bool       // they have begun; guarded by telling
	demotedMu sync.Mutex
	demoted   map[string]bool // anycast entries that are demoted and not drained

	alarmed   alarmBook
	allowed   int64 // memory limit that was found at the start, bytes; 0: not looked for yet, or none. Under change
	shared    bool  // with the speakers
	heap      int64 // what of it is the runtime's, bytes; 0: no limit. Under change
	partingMu sync.Mutex
	parting   map[front]parting
	leaving   sync.WaitGroup // one for each of parting
	ticking   sync.WaitGroup
	done      chan struct{}   // closed when the node goes down
	alive     context.Context // ends when what is in flight is not waited for any more
	kill      context.CancelFunc
}

// shape is what runs now: one configuration, and the parts that belong to it.
// It is replaced as a whole and never changed.
type shape struct {
	config *config.Config
	loaded time.Time
	pools  poolSet
	fronts []front // in the configuration's order, DNS first
}

// front finds a service by name; nil if there is none.
func (s *shape) front(name string) front {
	for _, f := range s.fronts {
		if f.name() == name {
			return f
		}
	}
	return nil
}

// start builds and opens everything that c describes. On an error everything is
// closed again.
func start(c *config.Config, o Options, log *zap.Logger, level zap.AtomicLevel) (_ *Node, err error) {
	n := &Node{
		o: o, log: log, level: level, now: time.Now, first: c, done: make(chan struct{}),
		demoted: map[string]bool{}, parting: map[front]parting{},
		proofs: health.Proofs{DNS: dnswire.NewProbeKey(), RADIUS: radwire.NewProbeSecret()},
	}
	n.started = n.now()
	n.alive, n.kill = context.WithCancel(context.Background())
	n.change.Lock() // the API is open before all is done
	defer n.change.Unlock()
	defer func() {
		if err != nil {
			n.closeAll(context.Background())
		}
	}()
	if n.state, err = openStateDir(c.Node.StateDir); err != nil {
		return nil, err
	}
	if o.Confine {
		if err := confine(c); err != nil {
			return nil, err
		}
	}
	if n.drains, err = loadDrains(n.state.file("drains.json"), n.now()); err != nil {
		return nil, err
	}
	n.books = newBookkeeper(n.state.file("ledger.db"), c.Availability.Keep, n.now, log)
	if err := n.makeDoor(c); err != nil {
		return nil, err
	}
	if err := n.assign(c); err != nil {
		return nil, err
	}
	n.monitor = health.NewMonitor(health.Options{OnEvent: n.backendChanged})
	n.drainBackends(c)
	pools, err := poolSet{}.apply(c, n.monitor.Apply(targetsOf(c)))
	if err != nil {
		return nil, err
	}
	s := &shape{config: c, loaded: n.now(), pools: pools}
	n.shape.Store(s)
	n.processors(len(frontsOf(c)))
	n.memory(c)
	for _, d := range frontsOf(c) {
		f, err := n.open(d, c, pools)
		if err != nil {
			return nil, err
		}
		s.fronts = append(s.fronts, f)
	}
	if err := n.makeRoutes(c); err != nil {
		return nil, err
	}
	n.services = health.NewServices(health.ServicesOptions{Monitor: n.monitor, Proofs: n.proofs, OnEvent: n.serviceChanged, OnPause: n.paused})
	n.drainServices(c)
	n.judge(s, nil)
	if err := n.door.Start(); err != nil { // the last step that can fail, before others hear of us
		return nil, listeningHint(err)
	}
	n.startRoutes()
	counted := &sampler{within: c.Availability.GoodWithin}
	n.books.beat(func() []ledger.Observation { return n.observe(counted) })
	n.ticking.Add(1)
	go n.tick()
	return n, nil
}

func (n *Node) makeRoutes(c *config.Config) (err error) {
	n.routes, err = bgp.New(bgp.Options{
		Settings: routingOf(c), StateDir: n.state.path, Drained: drainedAnycasts(n.drains, c),
		Command: n.o.Speaker, Log: n.log,
		OnEvent: n.routeChanged, Requalify: n.requalify, Traffic: n.traffic,
	})
	return err
}

// makeDoor makes the API, so that events are kept from the first one on. It
// opens nothing.
func (n *Node) makeDoor(c *config.Config) error {
	registry, err := admin.NewRegistry(n.o.Build, n.snapshot)
	if err != nil {
		return err
	}
	server, err := admin.New(admin.Options{
		Node: n, Registry: registry, Snapshot: n.snapshot, Name: c.Node.Name, Logger: n.log, Doors: doorsOf(c),
	})
	if err != nil {
		return err
	}
	n.door = server
	return nil
}

// tick does what the passing of time asks for.
func (n *Node) tick() {
	defer n.ticking.Done()
	every := time.NewTicker(time.Second)
	defer every.Stop()
	was := map[subject]condition{} // so that the stream begins with what is
	for {
		select {
		case <-n.done:
			return
		case <-every.C:
			n.expireDrains()
			was = n.watch(was)
			n.alarms() // tells of what has changed
		}
	}
}

// startRoutes begins to announce; before it nothing is decided.
func (n *Node) startRoutes() {
	n.telling.Lock()
	n.routing = true
	n.telling.Unlock()
	n.routes.Start()
	n.tellRoutes()
}

// tellRoutes gives bgp the verdicts on all services. Whoever comes later has
// the younger ones.
func (n *Node) tellRoutes() {
	n.telling.Lock()
	defer n.telling.Unlock()
	if !n.routing {
		return
	}
	all := n.services.All()
	out := make([]bgp.Service, 0, len(all))
	for _, s := range all {
		v := bgp.Service{Name: s.Name, State: string(s.State), Reason: string(s.Reason), Since: s.Since}
		for _, r := range s.Needs {
			v.Pools = append(v.Pools, bgp.PoolCount{Pool: r.Pool, Role: r.Role, Total: r.Count.Total, Healthy: r.Count.Healthy,
				Starting: r.Count.Starting, Needed: r.Least})
		}
		out = append(out, v)
	}
	n.routes.SetServices(out)
}

// requalify waits, after this process stood still for longer than the lease,
// until the service has passed one self-probe and min_healthy of its backends
// one probe each (A16). A service that a reload took away proves nothing, and
// nothing waits for it.
func (n *Node) requalify(ctx context.Context, service string) error {
	since := n.now()
	every := time.NewTicker(20 * time.Millisecond)
	defer every.Stop()
	for slices.Contains(serviceNames(n.shape.Load().config), service) && !n.services.Proven(service, since) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-every.C:
		}
	}
	return nil
}

// traffic is the number of packets that the services of an anycast entry have
// read so far.
func (n *Node) traffic(anycast string) (packets uint64, ok bool) {
	s := n.shape.Load()
	for i := range s.config.Anycast {
		if a := &s.config.Anycast[i]; a.Name == anycast {
			for _, name := range a.Requires {
				if f := s.front(name); f != nil {
					packets, ok = packets+f.Packets(), true
				}
			}
		}
	}
	return packets, ok
}

func doorsOf(c *config.Config) admin.Doors {
	return admin.Doors{Socket: c.Admin.Socket, Listen: c.Admin.Listen, Token: string(c.AdminToken)}
}
