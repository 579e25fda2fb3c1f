package dnsfront

import (
	"net/netip"
	"syscall"
	"time"

	"sereno/health"
	"sereno/proxy/dnswire"
	"sereno/proxy/pool"
	"sereno/proxy/udp"
)

const (
	// minPorts is how many source ports one backend sees at least, over all workers (D21).
	minPorts = 16
	// minSockets is how many of them one worker has at least.
	minSockets = 2
	// maxPerSocket bounds the queries in flight on one socket, so that a free random ID
	// is found at once.
	maxPerSocket = 1 << 14
	// renewEvery is how often one of the sockets towards a backend is replaced.
	renewEvery = int64(5 * time.Second)
	// idleUpstream is how long the sockets towards a backend are renewed without being used.
	idleUpstream = 10 * renewEvery
	// upkeepEvery is how often a worker looks after its sockets.
	upkeepEvery = int64(time.Second)
	// upstreamBuffer is the kernel's buffer for each upstream socket, in bytes.
	upstreamBuffer = 1 << 20
)

// upstream is one worker's way to one backend over UDP.
type upstream struct {
	backend *pool.Backend
	source  netip.Addr // that the sockets are bound to
	sockets []*socket
	round   uint64  // of current
	current *socket // taken at random for this turn of the loop, so that a batch leaves together
	renewed int64
	used    int64
	wasUp   bool // the backend was, when tend looked
	silence bool // an attempt was silent since tend looked
}

// socket is one source port.
type socket struct {
	up      *upstream
	conn    *udp.Conn
	ids     map[uint32]*attempt // of 16 bits; maps with keys of 32 are quicker by a third
	retired bool                // takes no new queries; closed when the last has ended
}

// attempt is one query at one backend.
type attempt struct {
	f       *flight // nil: its question has been answered
	backend *pool.Backend
	sock    *socket // nil: over TCP
	id      uint16
	sent    int64
	due     int64 // when it has been silent for too long
	expire  int64 // when it is given up altogether
	qhash   uint64
	wasUp   bool // the backend was up, and not on trial, when it was asked
	silent  bool // attempt_timeout has passed
	moved   bool // another backend has been asked because of this one's state
	over    bool // of TCP: ended, a letter may still come

	in         *attemptList
	prev, next *attempt
}

// lost tells whether the backend was up when it was asked and is not any more, or on trial.
func (a *attempt) lost() bool { return a.wasUp && !isUp(a.backend) }

// attemptList is a list of attempts by the time they were sent. All may take equally long:
// one that waits long would keep those behind it, and their backends' slots.
type attemptList struct {
	timeout     int64 // of their pools, ns
	first, last *attempt
}

// attemptsOf is the list of attempts whose pool has this timeout.
func (w *worker) attemptsOf(timeout int64) *attemptList {
	for _, l := range w.oldest {
		if l.timeout == timeout {
			return l
		}
	}
	l := &attemptList{timeout: timeout}
	w.oldest = append(w.oldest, l)
	return l
}

func (l *attemptList) push(a *attempt) {
	a.in, a.prev, a.next = l, l.last, nil
	if l.last != nil {
		l.last.next = a
	} else {
		l.first = a
	}
	l.last = a
}

func (l *attemptList) remove(a *attempt) {
	if a.prev != nil {
		a.prev.next = a.next
	} else {
		l.first = a.next
	}
	if a.next != nil {
		a.next.prev = a.prev
	} else {
		l.last = a.prev
	}
	a.prev, a.next = nil, nil
}

// pick chooses the next backend and takes a slot of it. again begins anew with those that
// were asked before when no other is left: a datagram may just have been lost. nil: nobody
// is left.
func (w *worker) pick(f *flight, again bool) (b *pool.Backend) {
	if f.attempts == 0 {
		b = f.pool.PickIn(&w.run, nameHash(f.name()), &f.tried)
	} else {
		b = f.pool.Pick(nameHash(f.name()), &f.tried)
	}
	if b == nil && again {
		f.tried.Reset()
		b = f.pool.Pick(nameHash(f.name()), &f.tried)
	}
	if b == nil {
		if r := f.trace.Load(); r != nil {
			r.Say("backend", "no backend of the pool is left to ask")
		}
		if f.attempts == 0 {
			w.t.book.Upstream.NoBackend++
			f.verdict = failNoBackend
		}
	}
	return b
}

// try asks b, which was picked. Those that cannot be sent to are passed over at once. false:
// nobody could be asked.
func (w *worker) try(f *flight, b *pool.Backend, again bool) bool {
	for b != nil {
		f.attempts++
		if w.ask(f, b) {
			return true
		}
		f.verdict = failNetwork
		if f.attempts >= f.most {
			return false
		}
		b = w.pick(f, again)
	}
	return false
}

// nameHash is the hash of a name for the policy `hash`: the same on every node
// (FNV-1a, 64 bits).
func nameHash(name []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range name {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

// ask sends a flight's question to b, of which it has a slot. On false the slot has
// been given back.
func (w *worker) ask(f *flight, b *pool.Backend) bool {
	a := w.newAttempt(f, b)
	if r := f.trace.Load(); r != nil {
		r.Say("backend", "asks %s (%s, %s), number %d", b.Name(), b.Addr(), b.Health().State(), f.attempts)
	}
	if f.tcp {
		return w.askTCP(a)
	}
	sock := w.socket(b)
	if sock == nil {
		b.Fail(pool.SendError)
		w.closeAttempt(a)
		return false
	}
	id := w.freeID(sock)
	a.sock, a.id = sock, id
	sock.ids[uint32(id)] = a
	var room [4 + maxSubnet]byte
	msg := dnswire.AppendUpstream(sock.conn.Next()[:0], f.question(), id, f.wireFlags(), upstreamSize, f.flags()&keyDO != 0, f.options(room[:0]))
	sock.conn.Commit(len(msg), udp.Dest{})
	w.t.book.Upstream.Asked++
	return true
}

// options appends the EDNS options that go to the backend with the question.
func (f *flight) options(dst []byte) []byte {
	if len(f.subnet()) == 0 {
		return dst
	}
	return dnswire.AppendOption(dst, dnswire.OptionECS, f.subnet())
}

// wireFlags are the flags that the question takes to the backend.
func (f *flight) wireFlags() (flags uint16) {
	if f.flags()&keyRD != 0 {
		flags |= dnswire.FlagRD
	}
	if f.flags()&keyCD != 0 {
		flags |= dnswire.FlagCD
	}
	return flags
}

// freeID draws an ID that is free on the socket, from a cryptographic source.
func (w *worker) freeID(sock *socket) uint16 {
	for {
		id := uint16(w.rng.Uint64())
		if _, taken := sock.ids[uint32(id)]; !taken {
			return id
		}
	}
}

func (w *worker) newAttempt(f *flight, b *pool.Backend) *attempt {
	var a *attempt
	if n := len(w.spare); n > 0 {
		a = w.spare[n-1]
		w.spare = w.spare[:n-1]
	} else {
		a = new(attempt)
	}
	now := w.t.now
	*a = attempt{f: f, backend: b, sent: now, due: now + f.attemptTime, expire: now + max(f.deadline-now, f.attemptTime),
		qhash: w.s.hash(f.question()), wasUp: isUp(b)}
	f.open = append(f.open, a)
	w.attemptsOf(f.timeout).push(a)
	w.fly()
	return a
}

// closeAttempt ends an attempt: it leaves its flight, its socket and the backend's slots.
func (w *worker) closeAttempt(a *attempt) {
	if f := a.f; f != nil {
		for i, other := range f.open {
			if other == a {
				f.open = append(f.open[:i], f.open[i+1:]...)
				break
			}
		}
		a.f = nil
	}
	a.in.remove(a)
	w.flying.Add(-1)
	a.backend.Done()
	if a.sock == nil {
		a.over = true // a letter may still bring it
		return
	}
	delete(a.sock.ids, uint32(a.id))
	if len(w.spare) < 4096 {
		w.spare = append(w.spare, a)
	}
}

// forget gives up attempts whose time is over; their flights have ended before.
func (w *worker) forget() {
	for _, l := range w.oldest {
		for a := l.first; a != nil && w.t.now >= a.expire; a = l.first {
			if a.f != nil { // the deadline and the expiry are the same moment
				a.f.verdict = failTimeout
				w.flight = a.f
				w.fail(a.f)
				w.flight = nil
			}
			w.closeAttempt(a)
		}
	}
}

// socket chooses a source port towards b for this turn, opening all of them first if
// there are none. nil: none can be opened.
func (w *worker) socket(b *pool.Backend) *socket {
	up := w.upstreams[b]
	if up == nil {
		up = &upstream{backend: b, source: b.Source(), renewed: w.t.now, used: w.t.now, wasUp: isUp(b)}
		w.upstreams[b] = up
	}
	// After a reload it may have another source; and nobody looks after sockets that are not used.
	if source := b.Source(); source != up.source || w.t.now-up.used >= idleUpstream {
		up.retire(w)
		up.source, up.renewed = source, w.t.now
	}
	up.used = w.t.now
	want := max(minSockets, (minPorts+len(w.s.workers)-1)/len(w.s.workers))
	for len(up.sockets) < want {
		if !w.dial(up) {
			break
		}
	}
	if up.round != w.round || up.current == nil || up.current.retired {
		up.round, up.current = w.round, nil
		if n := len(up.sockets); n > 0 {
			up.current = up.sockets[int(w.rng.Uint64()>>33)%n]
		}
	}
	if s := up.current; s != nil && len(s.ids) < maxPerSocket {
		return s
	}
	for _, s := range up.sockets {
		if len(s.ids) < maxPerSocket {
			return s
		}
	}
	return nil
}

func (w *worker) dial(up *upstream) bool {
	sock := &socket{up: up, ids: map[uint32]*attempt{}}
	c, err := w.group.Dial(up.backend.Addr(), up.backend.Source(),
		udp.ListenConfig{RecvBuffer: upstreamBuffer, SendBuffer: upstreamBuffer, Tag: sock})
	if err != nil {
		w.s.log.dialFailed(up.backend, err)
		if errno, ok := errnoOf(err); ok && errno != syscall.EMFILE && errno != syscall.ENFILE {
			up.backend.Health().Unreachable(errno)
		}
		return false
	}
	sock.conn = c
	up.sockets = append(up.sockets, sock)
	return true
}

// socketError ends what waits on a socket: the kernel says that nobody is there.
func (w *worker) socketError(sock *socket, err error) {
	b := sock.up.backend
	b.Health().Unreachable(err)
	for len(sock.ids) > 0 {
		for _, a := range sock.ids {
			f := a.f
			w.flight = f
			w.t.book.Upstream.Refused++
			b.Fail(pool.Unreachable)
			lost := a.lost()
			w.closeAttempt(a)
			if f != nil {
				if r := f.trace.Load(); r != nil {
					r.Say("refused", "%s: %v", b.Name(), err)
				}
				w.attemptFailed(f, lost, false)
			}
			w.flight = nil
			break // the map has changed
		}
	}
}

// attemptFailed goes on with a flight one of whose attempts has just ended without a
// usable answer. again allows the same backend: a kept connection may be closed at any
// time, which says nothing (RFC 7766 §6.2.4).
func (w *worker) attemptFailed(f *flight, lost, again bool) {
	f.verdict = failNetwork
	c := full
	if lost {
		c = free
	}
	if !w.retry(f, c, again) && len(f.open) == 0 {
		w.fail(f)
		return
	}
	w.schedule(f)
}

// upkeepDue tells whether tend has something to look at.
func (w *worker) upkeepDue() bool {
	return len(w.upstreams) > 0 && w.s.clock()-w.upkeep >= upkeepEvery
}

// tend renews source ports over time, closes those that are not used any more, and
// forgets backends that are in no pool.
func (w *worker) tend() {
	for b, up := range w.upstreams {
		if !w.wanted(b) {
			up.retire(w)
			delete(w.upstreams, b)
			continue
		}
		wasUp := up.wasUp
		if up.wasUp = isUp(b); up.wasUp && !wasUp {
			up.renewed -= renewEvery // the way there may be another one
		}
		if due := w.t.now-up.renewed >= renewEvery || up.silence; due && len(up.sockets) > 0 && w.t.now-up.used < idleUpstream && w.dial(up) {
			up.renewed, up.silence = w.t.now, false
			w.replace(up)
		}
	}
	kept := w.retired[:0]
	for _, s := range w.retired {
		if len(s.ids) > 0 {
			kept = append(kept, s)
			continue
		}
		if err := s.conn.Close(); err != nil {
			w.s.log.closeFailed(err)
		}
	}
	clear(w.retired[len(kept):])
	w.retired = kept
}

// replace takes the oldest socket out of use, for the one that was just opened, and those
// that the newest does not have the address of: a socket keeps the address of the way that
// was the right one when it was opened, perhaps while a link was down. Answers to another
// address may find no way, and its queries would be silent for as long as it is used.
func (w *worker) replace(up *upstream) {
	right := up.sockets[len(up.sockets)-1].conn.LocalAddr().Addr()
	kept := up.sockets[:0]
	for i, s := range up.sockets {
		if i > 0 && s.conn.LocalAddr().Addr() == right {
			kept = append(kept, s)
			continue
		}
		s.retired = true
		w.retired = append(w.retired, s)
	}
	clear(up.sockets[len(kept):])
	up.sockets = kept
}

// retire takes all sockets out of use.
func (up *upstream) retire(w *worker) {
	for _, s := range up.sockets {
		s.retired = true
	}
	w.retired = append(w.retired, up.sockets...)
	up.sockets, up.current = nil, nil
}

// wanted tells whether a backend is in one of the pools now.
func (w *worker) wanted(b *pool.Backend) bool {
	for _, p := range w.t.set.allPools {
		for _, x := range p.Backends() {
			if x == b {
				return true
			}
		}
	}
	return false
}

func isUp(b *pool.Backend) bool {
	h := b.Health()
	return h.State() == health.Up && h.Trial() == 0
}
