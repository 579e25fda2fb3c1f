package radiusfront

import (
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"sereno/health"
	"sereno/proxy/insight"
	"sereno/proxy/pool"
	"sereno/proxy/radwire"
	"sereno/proxy/udp"
)

// maxPacket is the size of receive buffers: a datagram may carry padding
// beyond the 4096 bytes that a packet can have.
const maxPacket = 2 * radwire.MaxLen

// batch is how many packets are read, handled and sent together at most. More of
// them have more to one peer among them, which leave as one message.
const batch = 2 * udp.DefaultBatch

// BufferMemory is how many bytes the buffers of one service with so many workers take outside Go's heap at most.
func BufferMemory(workers int) int64 { return int64(workers) * int64(udp.JoinedMemory(batch)) }

// worker serves one core's sockets. The group's goroutine does all the work;
// mu lets others look (Stats), change the configuration (Update) and is held
// by it for each batch, never while it calls out to health.
type worker struct {
	service *Service
	group   *udp.Group
	logger  *zap.Logger
	started time.Time // Service.base
	clock   func() time.Time
	active  atomic.Bool // has entries: time matters
	packets atomic.Uint64
	counted uint64 // packets not yet in the atomic

	mu           sync.Mutex
	now          int64 // ns since started, read once for each batch
	view         *view
	table        table
	wheel        wheel
	buffers      buffers
	upstreams    map[*pool.Backend]*upstream
	nases        map[netip.AddrPort]*upstream
	retired      []*upstream          // take nothing new; closed when nothing is in use
	names        map[nasName]toldName // part of the service's sessions
	generation   uint64
	savedAt      uint64    // generation that saveFallen has seen
	fallen       []*flight // scratch of saveFallen
	arrived      int64     // flight.arrived of the last request
	leaving      bool      // requests of a fallen backend wait for their turn to move
	closing      bool
	book         book
	rng          *rand.ChaCha8
	probe        *radwire.Secret
	sequence     uint64
	stateMark    [proxyStateMark]byte
	ix, rix      radwire.Index // of the request and of the reply at hand
	rewrite      radwire.RequestRewrite
	rewriteRep   radwire.ReplyRewrite
	freeEntry    *entry
	freeFlight   *flight
	dueFn        func(*entry)
	passFn       func()
	sources      map[netip.Addr]*source // part of the service's learnt
	sourcesEpoch uint64
	lastSweep    int64

	letters letters // of the spool; has its own lock
	taken   []*keeping
	read    int    // of taken
	parcel  []byte // scratch

	seal *radwire.Secret // of service.seal

	password, attrs []byte // scratch of survival and of sealed

	lens  *insight.Lens[TraceFilter] // nil: nobody looks
	trace *insight.Request           // of the packet at hand; nil: nobody follows it
	look  look

	// What is at hand, for when it makes us panic (fault.go).
	at    int    // index of the packet in its batch
	entry *entry // nil: none, or it was forgotten

	reports []report    // for health, told after mu is released
	replied []*upstream // likewise
}

// Our Proxy-State: a mark that is random for each service and process, and
// the request's number. It is compared as a whole and trusted for nothing
// (R24).
const (
	proxyStateMark = 8
	proxyStateLen  = proxyStateMark + 8
)

// report is what health has to be told about a backend.
type report struct {
	backend *health.Backend
	err     error // nil: silent
}

func newWorker(s *Service, v *view) *worker {
	var seed [32]byte
	_, _ = crand.Read(seed[:]) // never fails (crypto/rand)
	w := &worker{
		service: s, logger: s.logger, clock: s.now, started: s.base, view: v,
		upstreams: map[*pool.Backend]*upstream{}, nases: map[netip.AddrPort]*upstream{}, names: map[nasName]toldName{},
		sources: map[netip.Addr]*source{}, rng: rand.NewChaCha8(seed), probe: s.probe.Secret(), stateMark: s.stateMark,
		generation: v.generation(), arrived: -1,
	}
	w.buffers.held = &s.held
	w.table = newTable(w.rng.Uint64())
	w.sequence = w.rng.Uint64()
	w.dueFn, w.passFn = w.fire, w.pass
	return w
}

// begin takes the worker's mutex and reads the clock: once for each batch.
func (w *worker) begin() {
	w.mu.Lock()
	w.now = int64(w.clock().Sub(w.started))
	w.lens, w.trace = w.service.lenses.Load(), nil
}

// end releases the mutex and then tells health what happened. Health may call
// back into who owns the service, who may ask for Stats.
func (w *worker) end() {
	w.mu.Unlock()
	for i, r := range w.reports {
		if r.err != nil {
			r.backend.Unreachable(r.err)
		} else {
			r.backend.Silent()
		}
		w.reports[i] = report{}
	}
	w.reports = w.reports[:0]
	for i, up := range w.replied {
		up.replied = false
		if up.acked != nil {
			up.acked.Store(w.now)
		}
		up.backend.Health().RepliedAfter(time.Duration(up.took))
		w.replied[i] = nil
	}
	w.replied = w.replied[:0]
}

// Receive implements udp.Handler. A packet that makes us panic is left out, and
// the batch goes on behind it.
func (w *worker) Receive(c *udp.Conn, batch []udp.Packet) {
	if _, ok := c.Tag().(*listener); ok {
		w.counted += uint64(len(batch))
	}
	for len(batch) > 0 {
		batch = batch[w.receive(c, batch):]
	}
}

// receive handles a batch to its end, or to the first packet that makes us
// panic, and returns how many packets are done. There is one deferred call for
// the batch, none for a packet.
func (w *worker) receive(c *udp.Conn, batch []udp.Packet) (n int) {
	w.begin()
	defer func() {
		if fault := recover(); fault != nil {
			w.service.faults.Caught(fault, radwire.Mask(nil, batch[w.at].Data))
			w.mend()
			n = w.at + 1
		}
		w.end()
	}()
	w.at = 0
	switch tag := c.Tag().(type) {
	case *listener:
		for i := range batch {
			w.at, w.entry = i, nil
			if w.lens != nil {
				w.regard(tag, &batch[i], i, len(batch))
			}
			w.request(tag, c, &batch[i])
			if w.trace != nil {
				w.after()
			}
		}
	case *port:
		for i := range batch {
			w.at, w.entry = i, nil
			w.reply(tag, batch[i].Data)
		}
	}
	w.entry = nil
	return len(batch)
}

// Flush implements udp.Handler: time passes here.
func (w *worker) Flush() {
	w.packets.Store(w.counted)
	for range maxFaults {
		if w.protected(w.passFn) {
			return
		}
	}
}

func (w *worker) pass() {
	w.tick()
	w.active.Store(w.table.n > 0)
}

// SocketError implements udp.ErrorHandler: the kernel says that a backend's
// port is closed or that it cannot be reached (R30).
func (w *worker) SocketError(c *udp.Conn, err error) {
	p, ok := c.Tag().(*port)
	if !ok {
		return
	}
	if !unreachable(err) {
		return
	}
	b := p.up.backend
	if b == nil {
		return // a NAS: it may come back before its request is given up
	}
	w.protected(func() {
		b.Fail(pool.Unreachable)
		w.reports = append(w.reports, report{backend: b.Health(), err: err})
		w.leave(p.up, anyBackend, math.MaxInt64, w.moveShare())
	})
}

// unreachable tells whether a socket's error is about the backend; others (no
// buffer, a packet too long for the path) are this host's own.
func unreachable(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) ||
		errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTDOWN)
}

// random fills b with random bytes that nobody can foretell.
func (w *worker) random(b *radwire.Authenticator) {
	binary.LittleEndian.PutUint64(b[:8], w.rng.Uint64())
	binary.LittleEndian.PutUint64(b[8:], w.rng.Uint64())
}

// newEntry takes an entry from the free list.
func (w *worker) newEntry() *entry {
	e := w.freeEntry
	if e == nil {
		return &entry{slot: noSlot}
	}
	w.freeEntry = e.chain
	e.chain = nil
	return e
}

// forget takes an entry out of every table; what it held goes back.
func (w *worker) forget(e *entry) {
	if w.entry == e {
		w.entry = nil
	}
	w.table.remove(e)
	w.wheel.remove(e)
	if e.reply != nil {
		w.buffers.release(e.reply)
		w.service.remembered.Add(-1)
	}
	*e = entry{slot: noSlot, chain: w.freeEntry}
	w.freeEntry = e
}

func (w *worker) newFlight() *flight {
	f := w.freeFlight
	if f == nil {
		return &flight{}
	}
	w.freeFlight = f.free
	f.free = nil
	return f
}

// land gives back what a flight held: identifiers, in-flight slots of its
// backends, buffers. answered is the attempt whose reply is used, or -1.
func (w *worker) land(f *flight, answered int) {
	for i := range f.n {
		a := &f.attempts[i]
		a.up.vacate(a, f.entry.code, i != answered || a.resent, w.now)
		a.port.late[a.id].login = f.login
		if i != answered && !a.silent && a.up.backend != nil {
			a.up.await(a, a.sent+f.target.limits[f.entry.kind].attemptTimeout)
		}
		a.up.done()
	}
	if f.keeping != nil {
		f.keeping.entry, f.keeping.answered = nil, answered >= 0
	}
	f.client.inFlight.Add(-1)
	w.service.inFlight.Add(-1)
	w.book.inFlight[f.entry.kind]--
	f.entry.flight = nil
	w.buffers.release(f.request)
	w.buffers.release(f.userName)
	clear(f.attempts[:f.n])
	*f = flight{attempts: f.attempts, free: w.freeFlight}
	w.freeFlight = f
}

// fail ends a request that no backend answers: the NAS hears nothing (R30),
// unless the spool takes its record.
func (w *worker) fail(e *entry, reason Reason) {
	if e.kind == KindAcct {
		if reason = w.rescue(e.flight, reason); reason == NumReasons {
			return
		}
	}
	if e.kind == KindAuth && w.view.survival != nil && reason.ofBackends() && w.outlive(e) {
		return
	}
	w.drop(e, reason)
}

// drop ends a request without an answer.
func (w *worker) drop(e *entry, reason Reason) {
	w.book.drops[e.kind][reason]++
	if r := e.flight.trace; r != nil && r != w.trace {
		r.Say("drop", "%s", reason)
	}
	w.land(e.flight, -1)
	w.forget(e)
}

// remember keeps the answer for duplicates (R20).
func (w *worker) remember(e *entry, signed []byte, code AnswerCode) {
	if w.view.window <= 0 && e.kind != KindCoA || w.service.remembered.Load() >= w.service.maxRemembered.Load() || w.service.full() {
		w.forget(e)
		return
	}
	e.reply, e.answer = w.buffers.keep(signed), code
	w.service.remembered.Add(1)
	window := w.view.window
	if e.kind == KindCoA {
		window = coaWindow + int64(e.ahead)*int64(time.Second)
	}
	w.wheel.move(e, w.now+window)
}
