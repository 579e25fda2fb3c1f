package radiusfront

import (
	"encoding/binary"
	"time"

	"go.uber.org/zap"

	"sereno/health"
	"sereno/proxy/pool"
	"sereno/proxy/radwire"
	"sereno/proxy/udp"
)

const (
	// impatience is how long the current backend must have been silent for a
	// NAS's retransmission to move the request on (R20).
	impatience = int64(500 * time.Millisecond)
	// resendInterval is the least time between two copies of the same bytes to
	// the same backend (R20).
	resendInterval = int64(time.Second)
	// budgetDelay is how long a request waits for the retry budget to recover
	// before it asks again.
	budgetDelay = int64(100 * time.Millisecond)
)

// whom says which backends a request may move on to.
type whom uint8

const (
	anyBackend whom = iota // whatever the pool gives
	upBackend              // only one that is up and not on trial
)

// cost says whether a move is taken from the pool's retry budget.
type cost uint8

const (
	charged cost = iota
	free         // its backend is known to be gone: staying would be the waste
)

// forward gives a request that passed every gate to its first backend.
func (w *worker) forward(e *entry, cl *client, secret *radwire.Secret, p []byte) {
	t, strip := w.route(p)
	pl := t.roles[e.kind]
	if pl == nil {
		w.refuse(e, ReasonNoPool)
		return
	}
	f := w.newFlight()
	e.flight, f.entry = f, e
	f.client, f.secret, f.target, f.pool = cl, secret, t, pl
	cl.inFlight.Add(1)
	w.service.inFlight.Add(1)
	w.book.inFlight[e.kind]++
	w.table.insert(e)
	w.active.Store(true)
	f.request = w.buffers.keep(p)
	f.received, f.deadline = w.now, w.now+t.limits[e.kind].timeout
	w.arrived = max(w.arrived+1, w.now)
	f.arrived = w.arrived
	f.hash = w.hashKey(t, p, &e.dest)
	w.sequence++
	f.stated = w.view.addState
	copy(f.state[:], w.stateMark[:])
	binary.BigEndian.PutUint64(f.state[proxyStateMark:], w.sequence)
	if strip {
		f.userName = w.stripped(p)
	}
	if e.kind == KindAcct {
		w.service.sessions.account(e.dest.Peer.Addr(), t.name, f.userName, p, &w.ix)
	}
	if e.kind == KindAuth && w.view.survival != nil {
		user := w.ix.FirstValue(p, radwire.AttrUserName)
		if f.userName != nil {
			user = f.userName
		}
		f.login = w.service.survivors.key(t.name, user)
	}
	if f.trace = w.trace; f.trace != nil {
		f.trace.Say("route", "realm %q, pool %s, up to %d backends", realmOf(w.ix.FirstValue(p, radwire.AttrUserName)), t.name, t.limits[e.kind].attempts)
	}
	pl.Request()
	if e.kind == KindAcct && w.spoolFirst(f, p) {
		return
	}
	if reason := w.firstAttempt(f, p); reason != NumReasons {
		w.fail(e, reason)
		return
	}
	w.schedule(f)
}

// refuse ends a request that has no flight yet.
func (w *worker) refuse(e *entry, reason Reason) {
	w.entry = nil
	w.book.drops[e.kind][reason]++
	*e = entry{slot: noSlot, chain: w.freeEntry}
	w.freeEntry = e
}

// firstAttempt sends to the first backend that has an identifier. It returns
// NumReasons, or why there is none.
func (w *worker) firstAttempt(f *flight, p []byte) Reason {
	if reason, done := w.affine(f, p); done {
		return reason
	}
	reason := ReasonNoBackend
	for range MaxAttempts {
		b := f.pool.Pick(f.hash, &f.tried)
		if b == nil {
			return reason
		}
		if reason = w.attempt(f, b, p, &w.ix); reason != ReasonNoIdentifier {
			return reason
		}
	}
	return reason
}

// attempt sends the request to b, of which Pick or Take gave a slot. ix is of
// p. It returns NumReasons, or why it was not sent; the slot is then back.
func (w *worker) attempt(f *flight, b *pool.Backend, p []byte, ix *radwire.Index) Reason {
	up := w.upstream(b, f.target, f.entry.kind)
	if up == nil || f.n == MaxAttempts {
		b.Done()
		return ReasonNoIdentifier
	}
	port, id, err := up.take(w)
	if err != nil {
		b.Done()
		b.Fail(pool.SendError)
		w.logPorts(up, err)
		return ReasonNoIdentifier
	}
	a := &f.attempts[f.n]
	*a = attempt{up: up, port: port, secret: up.secret, id: id, sent: w.now, last: w.now}
	w.random(&a.auth)
	n, err := w.build(f, a, p, ix)
	if err != nil {
		port.give(id)
		b.Done()
		return ReasonTooLong
	}
	port.conn.Commit(n, udp.Dest{})
	up.occupy(port, id, f, f.n)
	f.n++
	if f.trace != nil {
		f.sent(a)
	}
	return NumReasons
}

// build writes the attempt's packet into its socket's next buffer.
func (w *worker) build(f *flight, a *attempt, p []byte, ix *radwire.Index) (int, error) {
	buf := a.port.conn.Next()
	r := &w.rewrite
	*r = radwire.RequestRewrite{Identifier: a.id, Authenticator: a.auth, From: f.secret, To: a.secret, UserName: f.userName}
	if f.entry.kind == KindCoA {
		r.StripStates = true // NASes refuse CoA that has any (R50)
	} else if f.stated {
		r.ProxyState = f.state[:]
	}
	n, err := radwire.RewriteRequest(buf, p, ix, r)
	if err == nil && f.entry.code != radwire.AccessRequest {
		a.auth = radwire.PacketAuthenticator(buf) // it is computed, not drawn
	}
	return n, err
}

// transmit sends the same bytes to the same backend again: they are built anew
// from the same parts (R21).
func (w *worker) transmit(f *flight, a *attempt) {
	p, err := radwire.Walk(f.request, &w.rix)
	if err != nil {
		return // it passed this walk before
	}
	auth := a.auth
	n, err := w.build(f, a, p, &w.rix)
	if err != nil {
		return
	}
	a.auth = auth
	a.port.conn.Commit(n, udp.Dest{})
}

// moveOn sends the request to another backend, if attempts, time, the budget
// and the pool allow it. The left one's reply is still welcome (R30).
func (w *worker) moveOn(f *flight, to whom, c cost) bool {
	if f.pinned || f.keeping != nil || f.entry.kind == KindCoA || f.n >= f.target.limits[f.entry.kind].attempts || w.now >= f.deadline {
		return false
	}
	p, err := radwire.Walk(f.request, &w.rix)
	if err != nil {
		return false
	}
	before := f.tried
	b := f.pool.Pick(f.hash, &f.tried)
	if b == nil {
		return false
	}
	if h := b.Health(); to == upBackend && (h.State() != health.Up || h.Trial() > 0) || c == charged && !f.pool.TryRetry() {
		b.Done()
		f.tried = before
		return false
	}
	if w.attempt(f, b, p, &w.rix) != NumReasons {
		return false
	}
	w.book.moved++
	w.schedule(f)
	return true
}

// hashKey is the number by which a backend is chosen: the same for the same
// subscriber on every node (R33).
func (w *worker) hashKey(t *target, p []byte, d *udp.Dest) uint64 {
	for _, typ := range t.hashKey {
		if v := w.ix.FirstValue(p, typ); len(v) > 0 {
			return hashBytes(v)
		}
	}
	a := d.Peer.Addr().As16()
	return hashBytes(a[:])
}

// hashBytes is FNV-1a with a finalizer. It must never change: nodes of
// different versions have to agree.
func hashBytes(b []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return mix(h)
}

// logPorts tells that a backend has no source port left, or that the system
// gave no socket.
func (w *worker) logPorts(up *upstream, err error) {
	w.service.repeats.Line(zap.WarnLevel, "no identifier for a request", zap.String("backend", up.name), zap.String("kind", up.kind.String())).
		Say(func() []zap.Field { return []zap.Field{zap.Error(err)} })
}
