package dnsfront

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"sereno/proxy/dnswire"
	"sereno/proxy/insight"
	"sereno/proxy/pool"
	"sereno/proxy/udp"
)

// Options is what a service is made of.
type Options struct {
	Config   Config
	Pools    map[string]*pool.Pool // every pool that Config names
	Node     string                // the node's name: NSID, id.server.
	StateDir string                // where the cache's snapshot is kept; "": nowhere
	Workers  int                   // 0: GOMAXPROCS
	Plain    bool                  // one system call for each datagram
	Logger   *zap.Logger           // nil: no log
	ProbeKey *dnswire.ProbeKey     // of the self-probe; nil: it is not answered
	Now      func() time.Time      // nil: time.Now; must have a monotonic reading
	// MaxInFlight bounds the clients' queries and the questions in flight in sum, and MaxQueued the bytes of answers
	// that clients over connections have not taken. 0: the defaults.
	MaxInFlight, MaxQueued int64
	// MaxUnsent bounds the bytes of datagrams that wait to be sent, of each worker (udp.GroupConfig). 0: its default.
	MaxUnsent int
}

// Defaults of Options.
const (
	// DefaultMaxInFlight is that of MaxInFlight: each takes less than 1 KiB.
	DefaultMaxInFlight = 1 << 17
	// DefaultMaxQueued is that of MaxQueued.
	DefaultMaxQueued = 256 << 20
)

// Service is one DNS service. New, Start, any number of Update, Close. Stats,
// Listeners and Packets may be called at any time from any goroutine.
type Service struct {
	node     string
	nsid     []byte
	stateDir string
	plain    bool
	probe    *dnswire.ProbeKey
	nowFunc  func() time.Time
	base     time.Time
	seed     maphash.Seed
	log      logger
	faults   *insight.Faults
	lenses   insight.Lenses[TraceFilter]

	settings atomic.Pointer[settings]
	table    *flights
	load     atomic.Int64 // waiting queries and flights
	maxLoad  int64
	// maxQueued is Options.MaxQueued.
	maxQueued int64
	workers   []*worker
	async     [seats]seat // of connections
	streams   streams
	tcpUp     tcpUpstreams
	closing   atomic.Bool
	resting   atomic.Bool   // the janitor sleeps until something flies
	rouse     chan struct{} // wakes it

	mu      sync.Mutex // Start, Update, Close
	started bool
	closed  bool
	stop    chan struct{}
	done    sync.WaitGroup
}

// New checks the options and prepares a service. It opens nothing.
func New(o Options) (*Service, error) {
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.ProbeKey == nil {
		k := dnswire.NewProbeKey()
		o.ProbeKey = &k
	}
	if o.MaxInFlight <= 0 {
		o.MaxInFlight = DefaultMaxInFlight
	}
	if o.MaxQueued <= 0 {
		o.MaxQueued = DefaultMaxQueued
	}
	s := &Service{
		maxLoad: o.MaxInFlight, maxQueued: o.MaxQueued, node: o.Node, nsid: []byte(o.Node), stateDir: o.StateDir, plain: o.Plain, probe: o.ProbeKey,
		nowFunc: o.Now, base: o.Now(), seed: maphash.MakeSeed(), log: newLogger(o.Logger, o.Config.Name), table: newFlights(), stop: make(chan struct{}),
		rouse: make(chan struct{}, 1),
	}
	s.faults = insight.NewFaults(s.log.repeats)
	set, err := compile(&o)
	if err != nil {
		return nil, fmt.Errorf("preparing DNS %w", err)
	}
	if err := set.certificates(nil); err != nil {
		return nil, fmt.Errorf("preparing DNS service %q: %w", o.Config.Name, err)
	}
	if o.Config.Cache.Enabled {
		set.cache = s.newCache(&o.Config)
	}
	set.limiter = newLimiter(&o.Config.RateLimit, s.seed, nil)
	s.log.blockLists(set.blockSaid)
	s.settings.Store(set)
	s.streams.init(s, o.Workers)
	s.tcpUp.init(s)
	for i := range o.Workers {
		g, err := udp.NewGroup(udp.GroupConfig{Plain: o.Plain, MaxUnsent: o.MaxUnsent})
		if err != nil {
			set.freeCache()
			return nil, errors.Join(fmt.Errorf("preparing DNS service %q: %w", o.Config.Name, err), s.closeGroups())
		}
		s.workers = append(s.workers, newWorker(s, i, g))
	}
	return s, nil
}

func (s *Service) newCache(c *Config) *cache {
	x := newCache(c.Cache.limits())
	x.seed = s.seed
	return x
}

// freeCache gives the memory of a cache back that nobody uses.
func (set *settings) freeCache() {
	if set.cache != nil {
		set.cache.close()
		set.cache = nil
	}
}

// Start opens every socket and begins to serve. On an error everything is closed
// again, and the service is of no further use.
func (s *Service) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started || s.closed {
		return fmt.Errorf("starting DNS service %q: it was started or closed before", s.Name())
	}
	set := *s.settings.Load()
	if err := s.openAll(&set, nil); err != nil {
		s.closed = true
		set.freeCache()
		s.settings.Store(&set)
		return errors.Join(fmt.Errorf("starting DNS service %q: %w", s.Name(), err), closeListeners(set.listeners), s.closeGroups())
	}
	s.started = true
	s.loadSnapshot(&set)
	s.settings.Store(&set)
	for _, w := range s.workers {
		s.done.Go(func() {
			if err := w.group.Run(w); err != nil {
				s.log.workerFailed(w.id, err)
			}
		})
	}
	s.done.Go(s.janitor)
	s.done.Go(s.followCertificates)
	for _, l := range set.listeners {
		l.serve()
	}
	return nil
}

// Update takes up other options as one swap: listeners that stay are not closed, the
// cache is kept, also under another name, and what is in flight is answered. On an
// error nothing has changed; its log lines bear the first name. Workers, Plain and ProbeKey cannot change.
func (s *Service) Update(o Options) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.started || s.closed {
		return fmt.Errorf("updating DNS service %q: it does not run", s.Name())
	}
	set, err := compile(&o)
	if err != nil {
		return fmt.Errorf("updating DNS %w", err)
	}
	old := s.settings.Load()
	if err := set.certificates(old); err != nil {
		return fmt.Errorf("updating DNS service %q: %w", s.Name(), err)
	}
	if err := s.openAll(set, old.listeners); err != nil {
		return errors.Join(fmt.Errorf("updating DNS service %q: %w", s.Name(), err), closeListeners(without(set.listeners, old.listeners)))
	}
	set.limiter = newLimiter(&o.Config.RateLimit, s.seed, old.limiter)
	var unused *cache
	switch {
	case !o.Config.Cache.Enabled:
		unused = old.cache
	case old.cache == nil:
		set.cache = s.newCache(&o.Config)
	default:
		set.cache = old.cache
		if o.Config.Cache.limits() != old.cfg.Cache.limits() {
			set.cache.setLimits(o.Config.Cache.limits())
		}
	}
	if o.Config.Name != old.cfg.Name {
		s.renameSnapshot(&old.cfg, &o.Config)
	}
	s.log.blockLists(set.blockSaid)
	s.settings.Store(set)
	for _, l := range without(set.listeners, old.listeners) {
		l.serve()
	}
	s.barrier()
	set.flushMoved(old)
	err = closeListeners(without(old.listeners, set.listeners))
	if err != nil {
		s.log.closeFailed(err)
	}
	if unused != nil {
		unused.close()
	}
	return nil
}

// Name is the service's name, which an Update may change.
func (s *Service) Name() string { return s.settings.Load().cfg.Name }

// barrier returns when nobody uses settings any more that were replaced before.
func (s *Service) barrier() {
	s.lockBooks()
	s.unlockBooks()
}

// Close stops taking queries, answers what is in flight until ctx ends, and closes
// everything. What is left then is counted as dropped.
func (s *Service) Close(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	defer s.log.repeats.Close()
	if !s.started {
		set := s.settings.Load()
		if set.cache != nil {
			set.cache.close()
		}
		return s.closeGroups()
	}
	s.closing.Store(true)
	set := s.settings.Load()
	errs := []error{closeStreamListeners(set.listeners)}
	for s.load.Load() > 0 && ctx.Err() == nil {
		wait := time.NewTimer(5 * time.Millisecond)
		select {
		case <-ctx.Done():
		case <-wait.C:
		}
		wait.Stop()
	}
	finishHTTPS(ctx, set.listeners)
	s.streams.close(ctx)
	close(s.stop)
	errs = append(errs, closeListeners(set.listeners), s.closeGroups())
	s.tcpUp.close()
	s.done.Wait()
	s.abandon()
	errs = append(errs, s.saveSnapshot(set))
	without := *set
	without.cache, without.listeners = nil, nil
	s.settings.Store(&without)
	s.barrier() // for a request over HTTPS that was not waited for
	if set.cache != nil {
		set.cache.close()
	}
	return errors.Join(errs...)
}

// abandon counts what was not answered in time as dropped. Nothing runs any more.
func (s *Service) abandon() {
	s.lockBooks()
	defer s.unlockBooks()
	for t := range NumTransports {
		var left int64
		for _, b := range s.books() {
			left += b.InFlight[t]
		}
		s.async[0].InFlight[t] -= left
		s.async[0].Drops[t][DropUnanswered] += uint64(max(0, left)) //nolint:gosec // not negative
	}
	for _, w := range s.workers {
		for _, l := range w.oldest {
			for ; l.first != nil; l.remove(l.first) {
				l.first.backend.Done()
			}
		}
	}
}

func (s *Service) closeGroups() error {
	var errs []error
	for _, w := range s.workers {
		errs = append(errs, w.group.Close())
	}
	return errors.Join(errs...)
}

// clock is the time since the service was made, in ns, monotonic.
func (s *Service) clock() int64 { return int64(s.nowFunc().Sub(s.base)) }

// since is the time that has passed since a reading of clock.
func (s *Service) since(then int64) time.Duration { return time.Duration(s.clock() - then) }

// tickOf turns a reading of clock into the cache's clock.
func tickOf(ns int64) tick { return firstTick.add(time.Duration(ns)) }

func (s *Service) hash(key []byte) uint64 { return maphash.Bytes(s.seed, key) }

// books are all blocks of counters.
func (s *Service) books() []*book {
	out := make([]*book, 0, len(s.workers)+len(s.async))
	for _, w := range s.workers {
		out = append(out, &w.book)
	}
	for i := range s.async {
		out = append(out, &s.async[i].book)
	}
	return out
}

func (s *Service) lockBooks() {
	for _, b := range s.books() {
		b.mu.Lock()
	}
}

func (s *Service) unlockBooks() {
	for _, b := range s.books() {
		b.mu.Unlock()
	}
}

// Stats is a snapshot in which the counters balance exactly.
func (s *Service) Stats() Stats {
	var out Stats
	s.lockBooks()
	for _, b := range s.books() {
		out.Counts.add(&b.Counts)
	}
	set := s.settings.Load()
	if c := set.cache; c != nil {
		out.Cache.Entries, out.Cache.Bytes = c.size()
	}
	s.unlockBooks()
	out.CertificateExpires[TLS], out.CertificateExpires[HTTPS] = set.tls.expires(), set.https.expires()
	out.Connections, out.Panics = s.streams.open.Load(), s.faults.Total()
	for r := range out.Refused {
		out.Refused[r] = s.streams.refused[r].Load()
	}
	out.Tables = s.tables(set, &out)
	return out
}

// tables is how full everything is that clients can fill (O30).
func (s *Service) tables(set *settings, st *Stats) []insight.Table {
	var names int64
	for _, b := range set.block {
		names += int64(b.exact.count)
	}
	tables := []insight.Table{
		{Name: insight.TableConnections, Entries: st.Connections, Limit: int64(set.cfg.TCP.MaxConnections)},
		{Name: insight.TableQueued, Entries: s.streams.queued.Load(), Limit: s.maxQueued},
		{Name: insight.TableHandshakes, Entries: s.streams.handshakes.now(), Limit: int64(s.streams.handshakes.limit)},
		{Name: insight.TableHTTPS, Entries: s.streams.requests.Load(), Limit: s.streams.maxRequests},
		{Name: insight.TableInFlight, Entries: s.load.Load(), Limit: s.maxLoad},
	}
	if set.cache != nil {
		tables = append(tables, insight.Table{Name: insight.TableCache, Entries: int64(st.Cache.Entries), Limit: int64(set.cfg.Cache.Entries)})
	}
	if len(set.block) > 0 {
		tables = append(tables, insight.Table{Name: insight.TableBlocked, Entries: names, Limit: maxBlockNames * int64(len(set.block))})
	}
	return tables
}

// Turns is how many turns each worker's loop has finished. An idle worker turns at least
// once a second.
func (s *Service) Turns() []uint64 {
	out := make([]uint64, 0, len(s.workers))
	for _, w := range s.workers {
		out = append(out, w.group.Turns())
	}
	return out
}

// Packets is how many datagrams the workers have read so far, from clients and
// backends: a self-probe that fails while this moves met busy workers.
func (s *Service) Packets() (n uint64) {
	for _, w := range s.workers {
		n += w.packets.Load()
	}
	return n
}

// Listener is one listening address.
type Listener struct {
	Address     netip.AddrPort
	Transport   Transport
	KernelDrops uint64 // datagrams that the kernel dropped, over all workers' sockets
	Drops       [udp.NumDrops]uint64
	Warning     string // of the socket buffers; empty if they are as wanted
}

// Listeners lists what the service listens on, in the order of the configuration.
func (s *Service) Listeners() []Listener {
	var out []Listener
	for _, l := range s.settings.Load().listeners {
		x := Listener{Address: l.addr, Transport: l.transport}
		for i := range s.workers {
			if c := l.conn(i); c != nil {
				x.KernelDrops += c.KernelDrops()
				for d, n := range c.Stats().Drops {
					x.Drops[d] += n
				}
				if x.Warning == "" {
					x.Warning = c.BufferWarning()
				}
			}
		}
		out = append(out, x)
	}
	return out
}
