package radiusfront

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"sereno/proxy/insight"
	"sereno/proxy/radiusfront/spool"
	"sereno/proxy/radwire"
	"sereno/proxy/udp"
)

// drainPoll is how often Close looks whether what was in flight is answered.
const drainPoll = 10 * time.Millisecond

// Service is one RADIUS service. Its methods are safe for concurrent use.
type Service struct {
	logger        *zap.Logger
	repeats       *insight.Repeats
	unknown       *insight.Line
	faults        *insight.Faults
	lenses        insight.Lenses[TraceFilter]
	now           func() time.Time
	base          time.Time // of all times of workers and of the deliverer
	probe         radwire.ProbeSecret
	stateMark     [proxyStateMark]byte
	inFlight      atomic.Int64
	remembered    atomic.Int64
	maxRemembered atomic.Int64
	held          atomic.Int64 // bytes of requests in flight and remembered answers
	maxBytes      atomic.Int64
	affinity      *affinity
	learnt        *learnt
	survivors     *survivors // of survival (R60)
	sessions      *sessions
	acks          acks
	spool         atomic.Pointer[spool.Spool] // nil: none, or it could not be opened
	seal          atomic.Pointer[[]byte]      // key of what is hidden in the spool; nil: none
	spoolOn       atomic.Bool                 // the configuration wants it

	mu         sync.Mutex // reload, start and close, and what they change
	options    Options
	clients    map[netip.Prefix]*clientState
	workers    []*worker
	listeners  []*listener
	retired    []*listener   // left the configuration; open until what came by them is answered
	deliverer  *deliverer    // of the spool
	spoolError error         // why it could not be opened
	spoolTried time.Time     // when that was tried last
	reopening  bool          // it is tried at this moment
	askedLive  atomic.Uint64 // records that were stored after backends had been asked in vain
	state      lifecycle
	stop       chan struct{}
	running    sync.WaitGroup
}

type lifecycle uint8

const (
	created lifecycle = iota
	serving
	closed
)

// listener is one listening address, with one socket for each worker.
type listener struct {
	addr  netip.AddrPort
	kind  Kind
	code  radwire.Code // of the requests that belong to it; of CoA also Disconnect-Request
	conns []*udp.Conn  // by worker

	retired atomic.Bool // takes nothing new
	until   time.Time   // when it is closed; guarded by Service.mu
}

// New builds a service and opens nothing. It fails for a configuration that
// Validate would have refused and for a pool that is not there.
func New(o Options) (*Service, error) {
	o, err := o.withDefaults(runtime.GOMAXPROCS(0))
	if err != nil {
		return nil, fmt.Errorf("building radius service %q: %w", o.Config.Name, err)
	}
	s := &Service{
		logger: o.Logger.With(zap.String("service", o.Config.Name)), now: o.Now, probe: o.ProbeSecret,
		options: o, clients: map[netip.Prefix]*clientState{}, stop: make(chan struct{}), affinity: newAffinity(), sessions: newSessions(maxSessions),
	}
	s.base = s.now()
	s.repeats = insight.NewRepeats(s.logger)
	s.unknown, s.faults = s.repeats.Line(zap.WarnLevel, "packet from an unknown client"), insight.NewFaults(s.repeats)
	s.bound(&o)
	s.survivors = newSurvivors(s.sessions.hash, s.now())
	s.learnt = newLearnt(o.StateDir, o.Config.Name, s.logger, s.repeats)
	mark := radwire.NewProbeSecret() // any random bytes will do
	copy(s.stateMark[:], mark[:])
	if _, err := listenAddrs(&o.Config); err != nil {
		return nil, fmt.Errorf("building radius service %q: %w", o.Config.Name, err)
	}
	if err := s.adoptClients(&o); err != nil {
		return nil, fmt.Errorf("building radius service %q: %w", o.Config.Name, err)
	}
	for range o.Workers {
		v, err := newView(&o, s.clients)
		if err != nil {
			return nil, fmt.Errorf("building radius service %q: %w", o.Config.Name, err)
		}
		s.workers = append(s.workers, newWorker(s, v))
	}
	return s, nil
}

// bound takes over what workers read of the options without a view.
func (s *Service) bound(o *Options) {
	s.maxRemembered.Store(int64(o.MaxRemembered))
	s.maxBytes.Store(o.MaxBytes)
	s.spoolOn.Store(o.Config.Accounting.Spool)
}

// full tells that requests and answers may take no more memory: nothing new is taken in. What one packet of each
// worker takes, as it came and as it goes on, is kept free.
func (s *Service) full() bool {
	return s.held.Load()+int64(2*radwire.MaxLen*len(s.workers)) > s.maxBytes.Load()
}

// adoptClients makes the shared state of clients that are new; those that stay
// keep theirs.
func (s *Service) adoptClients(o *Options) error {
	for i := range o.Config.Clients {
		c := &o.Config.Clients[i]
		prefix, err := parseClientAddress(c.Address)
		if err != nil {
			return fmt.Errorf("client %q: %w", c.Name, err)
		}
		if s.clients[prefix] == nil {
			s.clients[prefix] = &clientState{}
		}
	}
	return nil
}

// listenAddrs reads a configuration's listening addresses, as listeners
// without sockets.
func listenAddrs(c *Config) ([]*listener, error) {
	var out []*listener
	for _, set := range []struct {
		kind  Kind
		code  radwire.Code
		addrs []string
	}{{KindAuth, radwire.AccessRequest, c.Auth}, {KindAcct, radwire.AccountingRequest, c.Acct}, {KindCoA, radwire.CoARequest, c.CoA}} {
		for _, a := range set.addrs {
			addr, err := netip.ParseAddrPort(a)
			if err != nil {
				return nil, fmt.Errorf("listening address %q is not IP:PORT", a)
			}
			out = append(out, &listener{addr: netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()), kind: set.kind, code: set.code})
		}
	}
	return out, nil
}

// Start opens every socket and starts the workers. When one cannot be opened
// all are closed again, and the error names the address.
func (s *Service) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != created {
		return errors.New("starting a radius service: it was started before")
	}
	s.learnt.load()
	s.updateSurvival()
	s.openSpool()
	if err := s.open(); err != nil {
		s.closeGroups()
		s.closeSpool()
		s.state = closed
		close(s.stop)
		return fmt.Errorf("starting radius service %q: %w", s.options.Config.Name, err)
	}
	s.state = serving
	for _, w := range s.workers {
		s.running.Go(func() {
			if err := w.group.Run(w); err != nil {
				s.logger.Error("a worker stopped", zap.Error(err))
			}
		})
	}
	if err := s.startDelivery(); err != nil {
		s.logger.Error("spooled accounting is not delivered", zap.Error(err)) // New built the same view
	}
	s.running.Add(3)
	go s.janitor()
	go s.keepSurvivors()
	go s.learnt.keep(s.stop, s.running.Done)
	return nil
}

func (s *Service) open() error {
	for _, w := range s.workers {
		g, err := udp.NewGroup(udp.GroupConfig{Batch: batch, MaxPacket: maxPacket, Plain: s.options.Plain, MaxUnsent: s.options.MaxUnsent})
		if err != nil {
			return err
		}
		w.group = g
	}
	listeners, err := listenAddrs(&s.options.Config)
	if err != nil {
		return err
	}
	for _, l := range listeners {
		if err := s.listen(l); err != nil {
			return err
		}
		s.listeners = append(s.listeners, l)
	}
	return nil
}

// listen opens a listener's sockets, one for each worker; on error none is
// left open. Port 0 takes a free one, the same for every worker.
func (s *Service) listen(l *listener) error {
	if l.addr.Port() == 0 {
		if err := l.choosePort(); err != nil {
			return err
		}
	} else if err := udp.Probe(l.addr); err != nil {
		return err
	}
	for _, w := range s.workers {
		c, err := w.group.Listen(l.addr, udp.ListenConfig{Tag: l, Segment: true})
		if err != nil {
			l.close()
			return err
		}
		l.conns = append(l.conns, c)
		if warning := c.BufferWarning(); warning != "" && len(l.conns) == 1 {
			s.logger.Warn("socket buffer", zap.Stringer("address", l.addr), zap.String("warning", warning))
		}
	}
	return nil
}

// choosePort takes a free port. Leaving the choice to a socket with
// SO_REUSEPORT could give one that another process listens on in the same way,
// and the kernel would share the datagrams out between both.
func (l *listener) choosePort() error {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(l.addr))
	if err != nil {
		return err
	}
	l.addr = netip.AddrPortFrom(l.addr.Addr(), c.LocalAddr().(*net.UDPAddr).AddrPort().Port())
	return c.Close()
}

func (l *listener) close() {
	for _, c := range l.conns {
		_ = c.Close() // being given up: nothing to do about an error
	}
}

func (s *Service) closeGroups() {
	for _, w := range s.workers {
		if w.group != nil {
			_ = w.group.Close() // likewise
		}
	}
}

// Update changes the configuration as one swap: clients, secrets, routes,
// pools and listening addresses. Requests in flight keep what they began
// with. On error nothing is changed. Workers, Plain, ProbeSecret, Now and
// StateDir stay what they were at New.
func (s *Service) Update(o Options) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == closed {
		return errors.New("updating a radius service: it is closed")
	}
	o.Workers, o.Plain, o.ProbeSecret, o.Now, o.StateDir = s.options.Workers, s.options.Plain, s.options.ProbeSecret, s.options.Now, s.options.StateDir
	o, err := o.withDefaults(s.options.Workers)
	if err != nil {
		return fmt.Errorf("updating radius service: %w", err)
	}
	wanted, err := listenAddrs(&o.Config)
	if err != nil {
		return fmt.Errorf("updating radius service %q: %w", o.Config.Name, err)
	}
	if err := s.adoptClients(&o); err != nil {
		return fmt.Errorf("updating radius service %q: %w", o.Config.Name, err)
	}
	views := make([]*view, len(s.workers))
	for i := range s.workers {
		if views[i], err = newView(&o, s.clients); err != nil {
			return fmt.Errorf("updating radius service %q: %w", o.Config.Name, err)
		}
	}
	name := s.options.Config.Name
	if err := s.renameSpool(name, o.Config.Name); err != nil {
		return fmt.Errorf("updating radius service %q to %q: %w", name, o.Config.Name, err)
	}
	next, err := s.openNew(wanted)
	if err != nil {
		return errors.Join(fmt.Errorf("updating radius service %q: %w", o.Config.Name, err), s.renameSpool(o.Config.Name, name))
	}
	longest := s.workers[0].view.longest() // what is under way keeps its times
	s.rename(name, o.Config.Name)
	was := s.options.Config.Clients
	s.options = o
	s.bound(&o)
	if err := s.updateSpool(); err != nil {
		s.logger.Error("spooled accounting is not delivered", zap.Error(err)) // the workers' views were built from the same
	}
	s.renumberSecrets(was)
	for i, w := range s.workers {
		w.adopt(views[i])
	}
	if s.state == serving {
		s.updateSurvival()
	}
	s.retire(next, longest)
	s.listeners = next
	s.forgetClients()
	return nil
}

// openNew opens the wanted listeners that are not there yet and gives all that
// are wanted in their order. On error it opened none. Before Start there are none.
func (s *Service) openNew(wanted []*listener) ([]*listener, error) {
	if s.state != serving {
		return nil, nil
	}
	var next, opened, revived []*listener
	for _, l := range wanted {
		if old := findListener(s.listeners, l); old != nil {
			next = append(next, old)
			continue
		}
		if old := findListener(s.retired, l); old != nil {
			next, revived = append(next, old), append(revived, old)
			continue
		}
		if err := s.listen(l); err != nil {
			for _, o := range opened {
				o.close()
			}
			return nil, err
		}
		next, opened = append(next, l), append(opened, l)
	}
	for _, l := range revived {
		l.retired.Store(false)
	}
	s.retired = slices.DeleteFunc(s.retired, func(l *listener) bool { return slices.Contains(revived, l) })
	return next, nil
}

func findListener(list []*listener, like *listener) *listener {
	for _, l := range list {
		if l.kind == like.kind && l.addr == like.addr {
			return l
		}
	}
	return nil
}

// retire takes the listeners that are not kept out of service. They stay open
// until every request that came by them is answered or has timed out: longest.
func (s *Service) retire(kept []*listener, longest [NumKinds]time.Duration) {
	for _, l := range s.listeners {
		if !slices.Contains(kept, l) {
			l.retired.Store(true)
			l.until = s.now().Add(longest[l.kind])
			s.retired = append(s.retired, l)
		}
	}
}

// tidy does what is due of what mu guards; if somebody holds it, another time: requests wait for who calls this.
func (s *Service) tidy() {
	if !s.mu.TryLock() {
		return
	}
	defer s.mu.Unlock()
	now := s.now()
	s.closeRetired(now)
	s.reopenSpool(now)
}

// closeRetired closes the retired listeners whose time has come. mu is held.
func (s *Service) closeRetired(now time.Time) {
	s.retired = slices.DeleteFunc(s.retired, func(l *listener) bool {
		if now.Before(l.until) {
			return false
		}
		l.close()
		return true
	})
}

// renumberSecrets makes what is known of clients' secrets fit their new lists.
func (s *Service) renumberSecrets(was []ClientConfig) {
	old := map[netip.Prefix][]string{}
	for _, c := range was {
		if p, err := parseClientAddress(c.Address); err == nil {
			old[p] = c.Secret
		}
	}
	for _, c := range s.options.Config.Clients {
		if p, err := parseClientAddress(c.Address); err == nil && old[p] != nil {
			s.clients[p].fitting.renumber(old[p], c.Secret)
		}
	}
}

// forgetClients drops the shared state of clients that left the configuration.
func (s *Service) forgetClients() {
	stay := map[netip.Prefix]bool{}
	for _, c := range s.options.Config.Clients {
		if p, err := parseClientAddress(c.Address); err == nil {
			stay[p] = true
		}
	}
	for p := range s.clients {
		if !stay[p] {
			delete(s.clients, p)
		}
	}
}

// adopt puts another configuration in place.
func (w *worker) adopt(v *view) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.view = v
	for b, up := range w.upstreams {
		if up.source != b.Source() { // new sockets; what is in flight ends on the old ones
			w.retired = append(w.retired, up)
			delete(w.upstreams, b)
			continue
		}
		up.gone = true
		t := v.byPool[up.pool]
		if t == nil || t.roles[up.kind] == nil || !slices.Contains(t.roles[up.kind].Backends(), b) {
			continue
		}
		if p := t.backends[b.Name()]; p != nil {
			up.gone, up.secret, up.posture = false, p.secret, p.posture
		}
	}
}

// Listener is one open listening address.
type Listener struct {
	Address     netip.AddrPort
	Kind        Kind
	KernelDrops uint64 // datagrams that the kernel dropped because a socket's buffer was full
	Drops       [udp.NumDrops]uint64
	Warning     string // a buffer that is smaller than wanted, and the sysctl to raise
}

// Listeners are the open listening addresses, in the configuration's order.
func (s *Service) Listeners() []Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Listener, 0, len(s.listeners))
	for _, l := range s.listeners {
		item := Listener{Address: l.addr, Kind: l.kind}
		for _, c := range l.conns {
			item.KernelDrops += c.KernelDrops()
			for d, n := range c.Stats().Drops {
				item.Drops[d] += n
			}
			if item.Warning == "" {
				item.Warning = c.BufferWarning()
			}
		}
		out = append(out, item)
	}
	return out
}

// Retired are listening addresses that an Update took away and that are still
// open for the answers to what came by them. An Update that wants one again takes
// it back.
func (s *Service) Retired() []netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]netip.AddrPort, 0, len(s.retired))
	for _, l := range s.retired {
		out = append(out, l.addr)
	}
	return out
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

// Packets is how many datagrams of NASes the workers have read.
func (s *Service) Packets() uint64 {
	var n uint64
	for _, w := range s.workers {
		n += w.packets.Load()
	}
	return n
}

// Close takes no new request, answers what is in flight until that is done or
// ctx ends, and closes every socket. It returns ctx's error when requests were
// left unanswered. Calling it again does nothing.
func (s *Service) Close(ctx context.Context) error {
	defer s.repeats.Close()
	s.mu.Lock()
	if s.state != serving {
		if s.state == created {
			close(s.stop)
		}
		s.state = closed
		s.mu.Unlock()
		return nil
	}
	s.state = closed
	s.mu.Unlock()

	for _, w := range s.workers {
		w.mu.Lock()
		w.closing = true
		w.mu.Unlock()
	}
	err := s.drain(ctx)
	close(s.stop)
	s.closeGroups()
	s.running.Wait()
	s.flushSurvivors()
	s.survivors.shut()
	s.closeSpool()
	return err
}

// drain waits until nothing is in flight.
func (s *Service) drain(ctx context.Context) error {
	t := time.NewTicker(drainPoll)
	defer t.Stop()
	for s.inFlight.Load() > 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("closing radius service %q: %d requests left unanswered: %w", s.options.Config.Name, s.inFlight.Load(), ctx.Err())
		case <-t.C:
		}
	}
	return nil
}

// logUnknown tells of a packet from an address that no client has (R05).
func (w *worker) logUnknown(peer netip.AddrPort) {
	w.service.unknown.Say(func() []zap.Field { return []zap.Field{zap.Stringer("address", peer)} })
}

// logUnverified tells of a request that fits none of its client's secrets.
func (w *worker) logUnverified(cl *client, reason Reason) {
	w.service.repeats.Line(zap.WarnLevel, "a request does not fit the client's secret", zap.String("client", cl.name)).
		Say(func() []zap.Field { return []zap.Field{zap.Stringer("reason", reason)} })
}
