package radiusfront

import (
	"cmp"
	"errors"
	"net/url"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"sereno/health"
	"sereno/proxy/pool"
	"sereno/proxy/radiusfront/spool"
	"sereno/proxy/radwire"
)

// acctPatience is how long a record waits for a backend before it is spooled,
// or for the spool's disk: less than any NAS waits before it retransmits.
const acctPatience = int64(2500 * time.Millisecond)

// reopenTime is how often a spool that could not be opened is tried again.
const reopenTime = 10 * time.Second

// keeping is a record on its way to the disk. The worker goes on meanwhile; the
// spool's goroutine puts it into the worker's letter box.
type keeping struct {
	entry    *entry // nil: its request ended before; guarded by worker.mu
	answered bool   // by a backend; guarded by worker.mu
	ref      spool.Ref
	err      error
}

// letters are what the spool has to tell a worker.
type letters struct {
	mu   sync.Mutex
	list []*keeping
}

// spoolFirst decides over an accounting request before any backend is asked: it
// goes to the spool when `ack: after-spool` says so, when its session has records
// there (R41), or when no backend can be expected to answer. It returns true when
// the request needs nothing more. w.ix is of p.
func (w *worker) spoolFirst(f *flight, p []byte) bool {
	sp := w.service.spool.Load()
	if sp == nil {
		return false
	}
	joins := !sp.Empty() && sp.Has(acctSession(f.entry.dest.Peer.Addr(), p, &w.ix))
	if !joins && (!w.view.spool || !w.view.spoolAcks && reachable(f.pool)) {
		return false
	}
	w.saveFallen() // what came before comes first
	reason := w.rescue(f, ReasonNoBackend)
	if reason != NumReasons && joins {
		w.drop(f.entry, reason) // it must not overtake
		return true
	}
	return reason == NumReasons
}

// reachable tells whether a backend of a pool may answer.
func reachable(p *pool.Pool) bool {
	for _, b := range p.Backends() {
		switch b.Health().State() {
		case health.Up, health.Suspect, health.Starting:
			return true
		}
	}
	return false
}

// saveFallen spools accounting on its way to a backend that is down where none is left that could be expected to take it: at
// once, as those that come after it, and before them (R41).
func (w *worker) saveFallen() {
	g := w.view.generation()
	if g == w.savedAt || !w.view.spool {
		return
	}
	w.fallen = w.fallen[:0]
	for _, up := range w.upstreams {
		if up.kind != KindAcct || up.inUse == 0 || up.backend.Health().State() != health.Down {
			continue
		}
		for _, p := range up.all() {
			for id := range p.slots {
				if s := &p.slots[id]; s.f != nil && s.i == s.f.n-1 && s.f.keeping == nil && !reachable(s.f.pool) {
					w.fallen = append(w.fallen, s.f)
				}
			}
		}
	}
	slices.SortFunc(w.fallen, func(a, b *flight) int { return cmp.Compare(a.arrived, b.arrived) })
	at := w.entry
	for _, f := range w.fallen {
		w.entry = f.entry
		w.rescue(f, ReasonTimeout) // if that fails its time goes on
	}
	w.entry = at
	clear(w.fallen)
	w.savedAt = g
}

// saved is called for an accounting request whose current backend is silent or
// whose patience is over: it moves it on while there is time for another
// backend, else it spools it.
func (w *worker) saved(f *flight, silent bool) bool {
	late := w.now-f.received >= acctPatience
	if !w.view.spool || !silent && !late {
		return false
	}
	return !late && w.moveOn(f, anyBackend, charged) || w.rescue(f, ReasonTimeout) == NumReasons
}

// rescue hands a request that no backend answers to the spool. It returns
// NumReasons when that will answer it, else why it gets no answer.
func (w *worker) rescue(f *flight, reason Reason) Reason {
	switch reason {
	case ReasonNoBackend, ReasonNoIdentifier, ReasonTimeout:
	default:
		return reason
	}
	sp := w.service.spool.Load()
	if sp == nil || f.keeping != nil {
		return reason
	}
	p, err := radwire.Walk(f.request, &w.rix)
	if err != nil {
		return reason // it passed this walk before
	}
	session := acctSession(f.entry.dest.Peer.Addr(), p, &w.rix)
	if !w.view.spool && !sp.Has(session) {
		return reason
	}
	packet, sealed := w.sealed(f, p)
	w.parcel = appendParcel(w.parcel[:0], &parcel{nas: f.entry.dest.Peer.Addr(), pool: f.target.name, userName: f.userName, sealed: sealed, packet: packet})
	k := &keeping{entry: f.entry}
	err = sp.Submit(spool.Record{Session: session, Queue: queueOf(f.target.name), Class: acctClass(p, &w.rix), Data: w.parcel, Came: w.started.Add(time.Duration(f.arrived))}, func(ref spool.Ref, err error) {
		k.ref, k.err = ref, err
		w.post(k)
	})
	switch {
	case err == nil:
		if f.n > 0 {
			w.service.askedLive.Add(1)
		}
		f.keeping = k
		if f.trace != nil {
			f.trace.Say("spool", "no backend answers (%s): the record goes to disk", reason)
		}
		w.wheel.move(f.entry, w.now+acctPatience)
		return NumReasons
	case errors.Is(err, spool.ErrFull) || errors.Is(err, spool.ErrClass):
		return ReasonSpoolFull
	}
	return ReasonSpoolFailed
}

// post puts a letter into the box; it is called on the spool's goroutine.
func (w *worker) post(k *keeping) {
	w.letters.mu.Lock()
	w.letters.list = append(w.letters.list, k)
	w.letters.mu.Unlock()
	w.active.Store(true)
	w.group.Wake()
}

// readLetters answers what is on disk now.
func (w *worker) readLetters() {
	if w.read == len(w.taken) {
		w.letters.mu.Lock()
		w.taken, w.letters.list = w.letters.list, w.taken[:0]
		w.letters.mu.Unlock()
		w.read = 0
	}
	for w.read < len(w.taken) {
		k := w.taken[w.read]
		w.taken[w.read] = nil
		w.read++
		w.entry = k.entry
		switch {
		case k.entry != nil && k.err != nil:
			k.entry.flight.keeping = nil
			w.drop(k.entry, ReasonSpoolFailed) // what is not stored is not acknowledged (R40)
		case k.entry != nil:
			w.acknowledge(k)
		case k.answered && k.err == nil:
			w.service.spool.Load().Cancel(k.ref) // a backend was quicker than the disk
		}
		w.entry = nil
	}
}

// acknowledge answers a record that is on disk, synced (R40).
func (w *worker) acknowledge(k *keeping) {
	e := k.entry
	f := e.flight
	p, err := radwire.Walk(f.request, &w.ix)
	conn, dest := e.conn, e.dest
	buf := conn.Next()
	n := 0
	if err == nil {
		n, err = radwire.Reply(buf, radwire.AccountingResponse, nil, p, &w.ix, f.secret)
	}
	if err != nil {
		w.drop(e, ReasonTooLong)
		return
	}
	w.book.answers[e.kind][AnswerAccounting][SourceSpool]++
	attempts, made := f.attempts, f.n
	if f.trace != nil {
		f.trace.Say("answer", "%s, source %s, after %v", AnswerAccounting, SourceSpool, time.Duration(w.now-f.received))
	}
	w.land(f, -1)
	for i := range made {
		// A valid answer that still comes takes the record back (R42).
		attempts[i].port.late[attempts[i].id].spooled = k.ref
	}
	w.remember(e, buf[:n], AnswerAccounting)
	conn.Commit(n, dest)
}

// spoolDir is where the service of that name has its spool.
func spoolDir(stateDir, service string) string {
	return filepath.Join(stateDir, "spool", url.PathEscape(service))
}

// openSpool opens the service's spool when it is wanted, or was and is not empty, and
// not open. A service without its spool still serves; mu is held.
func (s *Service) openSpool() {
	if o, wanted := s.spoolOptions(); wanted {
		sp, err := spool.Open(o)
		s.adoptSpool(sp, o.Dir, err)
	}
}

// spoolOptions are those of the service's spool; wanted is false where there is nothing to open. mu is held.
func (s *Service) spoolOptions() (o spool.Options, wanted bool) {
	c := &s.options.Config.Accounting
	if s.options.StateDir == "" || s.spool.Load() != nil {
		return o, false
	}
	dir := spoolDir(s.options.StateDir, s.options.Config.Name)
	if (len(s.options.Config.Acct) == 0 || !c.Spool) && !spool.Exists(dir) {
		s.spoolError = nil
		return o, false
	}
	return spool.Options{
		Dir: dir, Node: s.options.Node, MaxBytes: int64(c.SpoolMax), Coalesce: c.CoalesceInterim, Now: s.now,
		OnState: func(err error) {
			if err != nil {
				s.logger.Error("accounting cannot be stored: records that no backend answers are not acknowledged", zap.Error(err))
			} else {
				s.logger.Info("accounting can be stored again")
			}
		},
	}, true
}

// adoptSpool takes what opening the spool gave. mu is held.
func (s *Service) adoptSpool(sp *spool.Spool, dir string, err error) {
	before := s.spoolError
	s.spoolError, s.spoolTried = err, s.now()
	if err != nil {
		if before == nil || before.Error() != err.Error() {
			s.logger.Error("serving without the spool: accounting that no backend answers is not acknowledged; it is tried again", zap.Duration("each", reopenTime), zap.Error(err))
		}
		return
	}
	if before != nil {
		s.logger.Info("the spool is open: accounting can be stored")
	}
	st := sp.Stats()
	if st.Records+st.Aside > 0 || st.Damaged > 0 {
		s.logger.Info("spooled accounting", zap.Int64("records", st.Records), zap.Int64("set_aside", st.Aside), zap.Uint64("damaged", st.Damaged))
	}
	key, err := readSeal(dir)
	if err != nil {
		s.logger.Error("what is hidden in spooled accounting is delivered only while its NAS keeps its secret: the spool's key", zap.Error(err))
	} else {
		s.seal.Store(&key)
	}
	s.spool.Store(sp)
}

// reopenSpool tries a spool that could not be opened again, now and then: who had its directory may have let go of it, as
// a service of that name does that a reload took away; or its disk was mended. mu is held, but not while the disk is at work.
func (s *Service) reopenSpool(now time.Time) {
	if s.spoolError == nil || s.reopening || s.state != serving || now.Sub(s.spoolTried) < reopenTime {
		return
	}
	o, wanted := s.spoolOptions()
	if !wanted {
		return
	}
	s.reopening = true
	s.running.Go(func() {
		sp, err := spool.Open(o)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reopening = false
		if s.state != serving || s.spool.Load() != nil || o.Dir != spoolDir(s.options.StateDir, s.options.Config.Name) {
			if err == nil {
				_ = sp.Close() // nothing was stored in it
			}
			return // what happened meanwhile counts
		}
		if s.adoptSpool(sp, o.Dir, err); err != nil {
			return
		}
		if err := s.updateSpool(); err != nil {
			s.logger.Error("spooled accounting is not delivered", zap.Error(err)) // the workers' views were built from the same
		}
	})
}

// startDelivery starts the deliverer of an open spool once. mu is held.
func (s *Service) startDelivery() error {
	sp := s.spool.Load()
	if sp == nil || s.deliverer != nil {
		return nil
	}
	v, err := newView(&s.options, s.clients)
	if err != nil {
		return err
	}
	s.deliverer = newDeliverer(s, sp, v)
	s.running.Go(s.deliverer.run)
	return nil
}

// updateSpool makes the spool and its deliverer what a reload wants. mu is held.
func (s *Service) updateSpool() error {
	c := &s.options.Config.Accounting
	if sp := s.spool.Load(); sp != nil {
		sp.Update(int64(c.SpoolMax), c.CoalesceInterim)
	}
	if s.state != serving {
		return nil
	}
	s.openSpool()
	if s.deliverer == nil {
		return s.startDelivery()
	}
	v, err := newView(&s.options, s.clients)
	if err != nil {
		return err
	}
	s.deliverer.adopt(v)
	return nil
}

// closeSpool ends the delivery and closes the spool; what is under way is
// delivered again after the next start. The deliverer has ended.
func (s *Service) closeSpool() {
	if sp := s.spool.Load(); sp != nil {
		if err := sp.Close(); err != nil {
			s.logger.Error("closing the spool", zap.Error(err))
		}
	}
}

// SpoolAccepts tells whether accounting is stored while no backend answers:
// false without a spool, when it is full and when its disk fails. It is cheap.
func (s *Service) SpoolAccepts() bool {
	sp := s.spool.Load()
	return sp != nil && s.spoolOn.Load() && sp.Accepts()
}

// Spool is the service's spool, nil when there is none: for looking at its
// records, and for putting them back or dropping them.
func (s *Service) Spool() *spool.Spool { return s.spool.Load() }
