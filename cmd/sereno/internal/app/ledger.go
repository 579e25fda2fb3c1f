package app

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"sereno/config"
	"sereno/health"
	"sereno/health/ledger"
)

const (
	beatEvery    = 5 * time.Second // heartbeats of the books, and samples of requests
	reopenEvery  = time.Minute     // after books that could not be opened
	closeWithin  = 3 * time.Second // for the disk to take what is left; a stop does not wait longer
	maxUnwritten = 4096            // changes and heartbeats that wait for the disk
	readWithin   = 3 * time.Second // for the disk to let the books be read; who asks does not wait longer
	maxReaders   = 4               // at once; with a disk that hangs they are those that wait for it
)

// bookkeeper keeps the books of availability. Nothing waits for it: what it is told
// is written by a goroutine of its own, so that a disk that hangs holds up no verdict.
// What finds its queue full is made good by a later heartbeat, which tells of everything.
type bookkeeper struct {
	path  string
	log   *zap.Logger
	clock ledger.Clock
	keep  atomic.Int64 // ns

	books   atomic.Pointer[ledger.Ledger] // nil while it cannot be opened
	readers chan struct{}                 // holds one for each that reads
	within  time.Duration                 // readWithin
	stop    chan struct{}
	done    sync.WaitGroup

	mu     sync.Mutex
	news   chan bookNews
	closed bool

	failing bool // the writer's: what was wrong was said
}

// bookNews is one change or one heartbeat on its way to the disk.
type bookNews struct {
	at   ledger.Moment
	beat bool
	all  []ledger.Observation // of a change, the one
}

// newBookkeeper opens the books, or goes on without them until they can be opened.
func newBookkeeper(path string, keep time.Duration, now func() time.Time, log *zap.Logger) *bookkeeper {
	b := &bookkeeper{
		path: path, log: log, clock: ledger.NewClock(now),
		news: make(chan bookNews, maxUnwritten), readers: make(chan struct{}, maxReaders), within: readWithin, stop: make(chan struct{}),
	}
	b.keep.Store(int64(keep))
	b.open()
	b.done.Go(b.write)
	return b
}

// open opens the books if it can.
func (b *bookkeeper) open() {
	l, err := ledger.Open(b.path, ledger.Options{
		Now: b.clock.Now(), Keep: time.Duration(b.keep.Load()), Every: beatEvery,
		Warn: func(message string) { b.log.Warn(message) },
	})
	b.said(err)
	if err == nil {
		b.books.Store(l)
	}
}

// said logs a failure when it begins, and its end.
func (b *bookkeeper) said(err error) {
	switch {
	case err != nil && !b.failing:
		b.log.Error("the books of availability cannot be written; the node goes on", zap.Error(err))
	case err == nil && b.failing:
		b.log.Info("the books of availability are written again")
	}
	b.failing = err != nil
}

// changed takes in a change. It never waits.
func (b *bookkeeper) changed(o ledger.Object, s ledger.State, cause string) {
	b.put(bookNews{at: b.clock.Now(), all: []ledger.Observation{{Object: o, State: s, Cause: cause}}})
}

func (b *bookkeeper) put(n bookNews) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	select {
	case b.news <- n:
	default: // the next heartbeat tells it
	}
}

// beat has observe tell of everything every few seconds, until close.
func (b *bookkeeper) beat(observe func() []ledger.Observation) {
	b.done.Go(func() {
		every := time.NewTicker(beatEvery)
		defer every.Stop()
		for {
			b.put(bookNews{at: b.clock.Now(), beat: true, all: observe()})
			select {
			case <-b.stop:
				return
			case <-every.C:
			}
		}
	})
}

// write brings what is told to the disk.
func (b *bookkeeper) write() {
	tried := time.Now()
	for n := range b.news {
		l := b.books.Load()
		if l == nil && time.Since(tried) >= reopenEvery {
			tried = time.Now()
			b.open()
			l = b.books.Load()
		}
		if l == nil {
			continue
		}
		l.SetKeep(time.Duration(b.keep.Load()))
		if n.beat {
			b.said(l.Beat(n.at, n.all))
			continue
		}
		for i := range n.all {
			b.said(l.Observe(n.at, n.all[i].Object, n.all[i].State, n.all[i].Cause))
		}
	}
}

// readBooks has f read the books, on a goroutine of its own: a disk that hangs holds up whoever writes them, and with
// him whoever reads, but nobody who asks, be it the web page that asks again and again.
func readBooks[T any](b *bookkeeper, f func(*ledger.Ledger) (T, error)) (out T, err error) {
	books := b.books.Load()
	if books == nil {
		return out, errors.New("the books of availability could not be opened: the log says why")
	}
	hangs := fmt.Errorf("the books of availability cannot be read: their disk has not answered for %v", b.within)
	select {
	case b.readers <- struct{}{}:
	default:
		return out, hangs
	}
	type answer struct {
		value T
		err   error
		fault any
	}
	ended := make(chan answer, 1)
	go func() {
		var a answer
		defer func() {
			if a.fault = recover(); a.fault != nil { // here is where it happened, and who asks may have gone
				b.log.Error("reading the books of availability", zap.Any("panic", a.fault), zap.StackSkip("stack", 1))
			}
			<-b.readers
			ended <- a
		}()
		a.value, a.err = f(books)
	}()
	wait := time.NewTimer(b.within)
	defer wait.Stop()
	select {
	case a := <-ended:
		if a.fault != nil {
			panic(a.fault) // where it costs one request
		}
		return a.value, a.err
	case <-wait.C:
		return out, hangs
	}
}

// close writes what is left; from then on nobody knows.
func (b *bookkeeper) close() {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return
	}
	b.closed = true
	close(b.stop)
	close(b.news)
	b.mu.Unlock()
	ended := make(chan error, 1)
	go func() {
		b.done.Wait()
		if l := b.books.Load(); l != nil {
			ended <- l.Close(b.clock.Now())
			return
		}
		ended <- nil
	}()
	select {
	case err := <-ended:
		if err != nil {
			b.log.Warn("closing the books of availability", zap.Error(err))
		}
	case <-time.After(closeWithin):
		b.log.Warn("the disk does not take the last of the books of availability; they end with the last heartbeat")
	}
}

// serviceStates are the states of services as the books know them.
var serviceStates = map[health.ServiceState]ledger.State{
	health.ServiceUp: ledger.Up, health.ServiceDegraded: ledger.Degraded,
	health.ServiceDown: ledger.Down, health.ServiceDrained: ledger.Drained,
}

// backendStates are those of backends: a suspect one still counts as healthy.
var backendStates = map[health.State]ledger.State{
	health.Up: ledger.Up, health.Suspect: ledger.Degraded, health.Down: ledger.Down, health.Drained: ledger.Drained,
}

func serviceObject(name string) ledger.Object {
	return ledger.Object{Kind: ledger.Service, Name: name}
}

func backendObject(k health.Key) ledger.Object {
	return ledger.Object{Kind: ledger.Backend, Name: k.Backend, Pool: k.Pool, Role: k.Role}
}

// sampler turns counters into what was counted since the last look.
type sampler struct {
	within config.GoodWithinConfig
	was    map[ledger.Object]requests
}

// requests are how many were answered well, of how many that could be.
type requests struct{ good, valid uint64 }

// since is what a counter has counted since the last look. One that has gone back is of
// a service that was made anew.
func (s *sampler) since(o ledger.Object, now requests, next map[ledger.Object]requests) requests {
	next[o] = now
	was := s.was[o]
	if now.valid < was.valid || now.good < was.good {
		was = requests{}
	}
	return requests{good: now.good - was.good, valid: now.valid - was.valid}
}

// observe is every service and backend as it is now, and its requests since the last look.
func (n *Node) observe(s *sampler) []ledger.Observation {
	shape := n.shape.Load()
	n.books.keep.Store(int64(shape.config.Availability.Keep))
	within := shape.config.Availability.GoodWithin
	changed := within != s.within
	next := map[ledger.Object]requests{}
	var out []ledger.Observation
	add := func(o ledger.Object, state ledger.State, cause string, counted requests) {
		r := s.since(o, counted, next)
		if changed { // what was counted by another rule is no basis
			r = requests{}
		}
		out = append(out, ledger.Observation{Object: o, State: state, Cause: cause, Good: r.good, Valid: r.valid})
	}
	for _, f := range shape.fronts {
		if v, ok := n.services.Status(f.name()); ok {
			add(serviceObject(f.name()), serviceStates[v.State], string(v.Reason), f.answeredWell(within))
		}
	}
	for _, p := range shape.pools {
		for _, b := range p.Backends() {
			if h := b.Health(); h != nil {
				v := h.Status()
				add(backendObject(h.Key()), backendStates[v.State], string(v.Reason), backendRequests(b))
			}
		}
	}
	s.within, s.was = within, next
	return out
}
