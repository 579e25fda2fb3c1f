package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"sereno/proxy/insight"
)

// Options are what a Server needs.
type Options struct {
	Node     Node
	Registry *prometheus.Registry // NewRegistry's: what /metrics shows; New adds the API's own
	Snapshot func() Snapshot      // NewRegistry's: what the history is made of; nil: none is kept
	Name     string               // of the node: a name under which `listen` may be asked
	Logger   *zap.Logger          // nil: silent
	Now      func() time.Time     // nil: time.Now
	Doors    Doors
}

// Doors are the ways in. An empty Socket or Listen is turned off. An empty Token lets
// nobody change anything over Listen.
type Doors struct {
	Socket string // path of the Unix socket
	Listen string // HOST:PORT
	Token  string
}

// Server serves the API. Its methods are safe for concurrent use.
type Server struct {
	node     Node
	registry *prometheus.Registry
	name     string
	log      *zap.Logger
	now      func() time.Time
	limits   limits

	token    atomic.Pointer[token]
	hub      *hub
	snapshot func() Snapshot
	recorder recorder
	feed     feed
	changed  chan struct{}    // an event was published
	repeats  *insight.Repeats // lines that somebody can cause again and again
	refusals *refusals
	panics   atomic.Uint64
	reads    chan struct{}   // holds one for each answer that is being made
	exports  chan struct{}   // holds one for each export
	looks    chan struct{}   // holds one for each trace and count that runs
	alive    context.Context // until Close
	end      context.CancelFunc
	descs    *serverDescs

	mu      sync.Mutex
	wanted  Doors
	open    map[string]*door // by kind
	closed  bool
	leaving sync.WaitGroup // doors that a reload has closed
	stop    chan struct{}  // closed to end the recording; nil before it has begun
	ended   sync.WaitGroup // of the recording
}

// New is a Server that is not open yet. It registers its own metrics with o.Registry.
func New(o Options) (*Server, error) { return newServer(o, defaultLimits()) }

func newServer(o Options, l limits) (*Server, error) {
	s := &Server{
		node: o.Node, registry: o.Registry, name: o.Name, log: o.Logger, now: o.Now, limits: l,
		hub: newHub(l.subscribers), reads: make(chan struct{}, l.reads), exports: make(chan struct{}, l.exports), descs: newServerDescs(),
		wanted: o.Doors, open: map[string]*door{},
		snapshot: o.Snapshot, feed: feed{subs: map[chan []byte]struct{}{}}, changed: make(chan struct{}, 1),
	}
	s.looks = make(chan struct{}, l.looks)
	s.alive, s.end = context.WithCancel(context.Background())
	if s.log == nil {
		s.log = zap.NewNop()
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.repeats = insight.NewRepeats(s.log)
	s.refusals = newRefusals(s.repeats)
	if err := o.Registry.Register(s); err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	return s, nil
}

// Start opens every door and begins to keep the history; on an error none is open.
func (s *Server) Start() error {
	if err := s.Update(s.wanted); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.snapshot != nil && s.stop == nil {
		stop := make(chan struct{})
		s.stop = stop
		s.ended.Go(func() { s.record(stop) })
	}
	return nil
}

// Update opens, closes and keeps doors until they are as d says; on an error nothing has
// changed. Requests that are being answered at a door that closes are finished. It is the
// reload of the `admin` section, and its own undo.
func (s *Server) Update(d Doors) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.New("opening the admin API: it is closed")
	}
	socket, err := s.replace(doorSocket, d.Socket)
	if err != nil {
		return err
	}
	listen, err := s.replace(doorListen, d.Listen)
	if err != nil {
		if socket != nil && socket != s.open[doorSocket] {
			s.leave(socket)
		}
		return err
	}
	s.settle(doorSocket, socket)
	s.settle(doorListen, listen)
	s.token.Store(newToken(d.Token))
	s.wanted = d
	return nil
}

// replace returns the door that shall be open now: the one that is, a new one, or none.
func (s *Server) replace(kind, address string) (*door, error) {
	old := s.open[kind]
	if address == "" {
		return nil, nil
	}
	if old != nil && old.address == address {
		return s.restored(old), nil
	}
	d, err := s.openDoor(kind, address)
	if old == nil || kind != doorListen || !errors.Is(err, syscall.EADDRINUSE) || !samePort(address, old.listener.Addr().String()) {
		return d, err
	}
	// The new address may overlap with our own old one (127.0.0.1:8053 and :8053): that one
	// makes room, and comes back if this was not the reason.
	s.leave(old)
	delete(s.open, kind)
	if d, err = s.openDoor(kind, address); err == nil {
		return d, nil
	}
	again, reopenErr := s.openDoor(kind, old.address)
	if reopenErr == nil {
		s.open[kind] = again
	}
	return nil, errors.Join(err, reopenErr)
}

// restored is the door again, or a new one in its place where somebody has deleted the file of its socket: nobody could
// come in any more.
func (s *Server) restored(old *door) *door {
	if old.kind != doorSocket {
		return old
	}
	if _, err := os.Lstat(old.address); !errors.Is(err, fs.ErrNotExist) {
		return old
	}
	d, err := s.openDoor(doorSocket, old.address)
	if err != nil {
		s.log.Warn("admin: the socket's file is gone and cannot be made anew", zap.Error(err))
		return old
	}
	return d
}

func samePort(a, b string) bool {
	_, portA, _ := net.SplitHostPort(a)
	_, portB, _ := net.SplitHostPort(b)
	return portA == portB
}

// settle makes d the open door of its kind.
func (s *Server) settle(kind string, d *door) {
	old := s.open[kind]
	if old == d {
		return
	}
	delete(s.open, kind)
	if d != nil {
		s.open[kind] = d
		s.log.Info("admin: listening", zap.String("door", kind), zap.String("address", d.listener.Addr().String()))
	}
	if old != nil {
		s.leave(old)
	}
}

// leave closes a door while its requests are finished: its listener before leave returns,
// its connections later.
func (s *Server) leave(d *door) {
	_ = d.listener.Close()
	s.leaving.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), s.limits.close)
		defer cancel()
		if err := d.close(ctx); err != nil {
			s.log.Warn("admin: a closed door had unfinished requests", zap.String("door", d.kind), zap.Error(err))
		}
	})
}

// Publish gives an event to the subscribers of /api/v1/events. It never blocks on them.
func (s *Server) Publish(e Event) {
	if err := s.hub.publish(e); err != nil {
		s.log.Error("admin: an event was lost", zap.Error(err))
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Addresses are the addresses of the open doors as they are, for where a port was 0: the
// socket's path and HOST:PORT, "" where none is open.
func (s *Server) Addresses() (socket, listen string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.open[doorSocket]; d != nil {
		socket = d.address
	}
	if d := s.open[doorListen]; d != nil {
		listen = d.listener.Addr().String()
	}
	return socket, listen
}

// Close ends the event streams, finishes the requests that are being answered until ctx
// ends, and closes every door. The socket's file is removed if it is still ours. A second
// Close does nothing.
func (s *Server) Close(ctx context.Context) error {
	defer s.repeats.Close()
	s.mu.Lock()
	doors := s.open
	s.open, s.closed = map[string]*door{}, true
	if s.stop != nil {
		close(s.stop)
		s.stop = nil
	}
	s.mu.Unlock()
	s.ended.Wait()
	s.hub.close()
	s.end()
	errs := make(chan error, len(doors))
	for _, d := range doors {
		go func() { errs <- d.close(ctx) }()
	}
	var all error
	for range doors {
		all = errors.Join(all, <-errs)
	}
	s.leaving.Wait()
	return all
}

// Describe describes the API's own metrics (prometheus.Collector).
func (s *Server) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{s.descs.connections, s.descs.subscribers, s.descs.refused, s.descs.panics} {
		ch <- d
	}
}

// Collect sends the API's own metrics (prometheus.Collector).
func (s *Server) Collect(ch chan<- prometheus.Metric) {
	e := emitter{ch}
	s.mu.Lock()
	open := map[string]int64{}
	for kind, d := range s.open {
		open[kind] = d.listener.open.Load()
	}
	s.mu.Unlock()
	for kind, n := range open {
		e.gauge(s.descs.connections, float64(n), kind)
	}
	e.gauge(s.descs.subscribers, float64(s.hub.subscribers()))
	for _, reason := range RefusalReasons() {
		e.counter(s.descs.refused, s.refusals.total(reason), reason)
	}
	e.counter(s.descs.panics, s.panics.Load())
}
