package radiusfront

import (
	"encoding/binary"
	"net/netip"
	"time"

	"sereno/proxy/radwire"
	"sereno/proxy/udp"
)

const (
	// coaWindow is how old an Event-Timestamp may be, and how far ahead, and for
	// how long a duplicate gets the first answer again (RFC 5176 section 6.3);
	// of a request that was dated ahead so much longer.
	coaWindow = int64(300 * time.Second)
	// coaFirstResend is the time to the first retransmission to a NAS; each next
	// one comes after twice the time (RFC 5080 section 2.2.1).
	coaFirstResend = int64(2 * time.Second)
	// coaTimeout is when a NAS that did not answer is given up.
	coaTimeout = int64(15 * time.Second)
	// nasIdle is for how long the sockets to a NAS without CoA stay open.
	nasIdle = int64(10 * time.Minute)
)

// Error-Cause values (RFC 5176 section 3.5).
const (
	causeNotRoutable     = 502
	causeSessionNotFound = 503
)

// coaPeer is a pool's backend as the sender of CoA.
type coaPeer struct {
	target *target
	secret *radwire.Secret
}

// isCoA tells whether requests of this code belong to a CoA port.
func isCoA(c radwire.Code) bool { return c == radwire.CoARequest || c == radwire.DisconnectRequest }

// coaRequest takes a CoA- or Disconnect-Request of a backend to its NAS (R50).
func (w *worker) coaRequest(l *listener, c *udp.Conn, p []byte, d *udp.Dest) {
	w.book.requests[KindCoA]++
	code := radwire.PacketCode(p)
	if !isCoA(code) {
		w.book.drops[KindCoA][ReasonCode]++
		return
	}
	peers := w.view.coaPeers[d.Peer.Addr()]
	if len(peers) == 0 {
		w.book.drops[KindCoA][ReasonUnknownClient]++
		w.logUnknown(d.Peer)
		return
	}
	auth := radwire.PacketAuthenticator(p)
	hash := w.table.hashOf(d, code, p[1]) ^ mix(binary.LittleEndian.Uint64(auth[:8]))
	// The authenticator is part of the hash: a replayed packet must meet its
	// first even after the identifier was used for others.
	if old := w.table.find(hash, c, d, code, p[1], &auth); old != nil {
		w.duplicate(old, c)
		return
	}
	secret, reason := w.verifyCoA(peers, p)
	ahead := w.eventAhead(p)
	if reason == NumReasons && max(ahead, -ahead) > coaWindow/int64(time.Second) {
		reason = ReasonStale // somebody may be sending it again, or could until then
	}
	switch {
	case reason != NumReasons:
	case w.closing || l.retired.Load():
		reason = ReasonClosing
	case w.service.inFlight.Load() >= w.view.mayFlight || w.service.full():
		reason = ReasonServiceLimit
	}
	if reason != NumReasons {
		w.book.drops[KindCoA][reason]++
		return
	}
	e := w.newEntry()
	w.entry = e
	e.hash, e.dest, e.conn, e.auth = hash, *d, c, auth
	e.code, e.id, e.kind, e.signed, e.ahead = code, p[1], KindCoA, true, uint16(max(ahead, 0))
	nas, cause, reason := w.routeCoA(peers, secret, p)
	if reason == NumReasons && code == radwire.DisconnectRequest && w.view.survival != nil {
		w.disconnected(nas, p)
	}
	switch {
	case reason != NumReasons:
		w.refuse(e, reason)
	case cause != 0:
		w.nak(e, secret, p, cause)
	default:
		w.forwardCoA(e, secret, nas, p)
	}
}

// verifyCoA finds the backend's secret that fits the request (RFC 5176
// section 2.3); a Message-Authenticator is verified where there is one (R12).
func (w *worker) verifyCoA(peers []coaPeer, p []byte) (*radwire.Secret, Reason) {
	off, reason := w.ix.First[radwire.AttrMessageAuthenticator], ReasonAuthenticator
	if off == 0 && w.ix.Has(radwire.AttrEAPMessage) {
		return nil, ReasonUnsigned
	}
	auth := radwire.MessageAuthOf(p)
	for _, peer := range peers {
		if !peer.secret.VerifyRequest(p) {
			continue
		}
		if off == 0 || peer.secret.VerifyMessageAuthenticator(p, off, &auth) {
			return peer.secret, NumReasons
		}
		reason = ReasonMessageAuthenticator
	}
	return nil, reason
}

// eventAhead is by how many seconds the request's Event-Timestamp is ahead of the
// wall clock, which may have been set since the start; 0 if it has none.
func (w *worker) eventAhead(p []byte) int64 {
	v := w.ix.FirstValue(p, radwire.AttrEventTimestamp)
	if len(v) != 4 {
		return 0
	}
	return int64(binary.BigEndian.Uint32(v)) - w.clock().Unix()
}

// routeCoA finds the NAS that a request is for, by what it calls itself, else
// by its session. cause is the Error-Cause of the NAK when there is none;
// reason the one to drop the request when the backend does not serve it.
func (w *worker) routeCoA(peers []coaPeer, secret *radwire.Secret, p []byte) (nas netip.Addr, cause uint32, reason Reason) {
	s := w.service.sessions
	keys := s.keys(p, &w.ix)
	nas, named := w.nasNamed(keys, p)
	if named && !nas.IsValid() {
		return nas, causeNotRoutable, NumReasons
	}
	where, poolName, ok := s.locate(keys, nas)
	if !named {
		if !ok {
			return nas, causeSessionNotFound, NumReasons
		}
		nas = where
	}
	if w.view.clients.lookup(nas) == nil {
		return nas, causeNotRoutable, NumReasons
	}
	if !ok {
		t, _ := w.route(p)
		poolName = t.name
	}
	// Only a backend of the pool that serves the session, or else the user's
	// realm, may change it (RFC 5176 section 6.1).
	for _, peer := range peers {
		if peer.target.name == poolName && peer.secret.Equal(secret) {
			return nas, 0, NumReasons
		}
	}
	return nas, 0, ReasonForbidden
}

// address is that of the client of this name, if it is a single one.
func (t *clientTable) address(name []byte) netip.Addr {
	for _, c := range t.all {
		if c.name == string(name) && c.prefix.IsSingleIP() {
			return c.prefix.Addr()
		}
	}
	return netip.Addr{}
}

// nak answers a request that has no NAS.
func (w *worker) nak(e *entry, secret *radwire.Secret, p []byte, cause uint32) {
	code := radwire.CoANAK
	if e.code == radwire.DisconnectRequest {
		code = radwire.DisconnectNAK
	}
	attr := [6]byte{radwire.AttrErrorCause, 6}
	binary.BigEndian.PutUint32(attr[2:], cause)
	conn, dest, buf := e.conn, e.dest, e.conn.Next()
	n, err := radwire.Reply(buf, code, attr[:], p, &w.ix, secret)
	if err != nil {
		w.refuse(e, ReasonTooLong)
		return
	}
	w.table.insert(e)
	w.book.answers[KindCoA][answerCode(code)][SourceSelf]++
	w.remember(e, buf[:n], answerCode(code))
	conn.Commit(n, dest)
}

// forwardCoA sends a request on to its NAS.
func (w *worker) forwardCoA(e *entry, secret *radwire.Secret, nas netip.Addr, p []byte) {
	cl := w.view.clients.lookup(nas)
	up := w.nas(nas, cl)
	port, id, err := up.take(w)
	if err != nil {
		w.logPorts(up, err)
		w.refuse(e, ReasonNoIdentifier)
		return
	}
	f := w.newFlight()
	e.flight, f.entry = f, e
	f.client, f.secret, f.pinned = cl, secret, true
	f.received, f.deadline = w.now, w.now+coaTimeout
	f.request = w.buffers.keep(p)
	a := &f.attempts[0]
	*a = attempt{up: up, port: port, secret: cl.secrets[cl.likely(nas)], id: id, sent: w.now, last: w.now}
	up.occupy(port, id, f, 0)
	f.n = 1
	cl.inFlight.Add(1)
	w.service.inFlight.Add(1)
	w.book.inFlight[KindCoA]++
	w.table.insert(e)
	w.active.Store(true)
	n, err := w.build(f, a, p, &w.ix)
	if err != nil {
		w.fail(e, ReasonTooLong)
		return
	}
	port.conn.Commit(n, udp.Dest{})
	if f.trace = w.trace; f.trace != nil {
		f.sent(a)
	}
	w.wheel.move(e, w.now+coaFirstResend)
}

// nas finds or makes the worker's side of a NAS.
func (w *worker) nas(a netip.Addr, cl *client) *upstream {
	addr := netip.AddrPortFrom(a, cl.coaPort)
	var source netip.Addr
	if s := w.view.coaSource; s.IsValid() && s.Is4() == a.Is4() {
		source = s
	}
	up := w.nases[addr]
	if up != nil && up.source == source {
		up.used = w.now
		return up
	}
	if up != nil { // coa_source is another now; what is in flight ends on its own
		w.retired = append(w.retired, up)
	}
	up = &upstream{name: cl.name, kind: KindCoA, addr: addr, source: source, used: w.now}
	w.nases[addr] = up
	return up
}

// dueCoA sends the same bytes again, after twice the time each, until the NAS
// is given up.
func (w *worker) dueCoA(e *entry) {
	f := e.flight
	if w.now >= f.deadline {
		w.fail(e, ReasonTimeout)
		return
	}
	f.attempts[0].up.silence = true
	w.repeat(f, &f.attempts[0])
	waited := max(w.now-f.received, coaFirstResend)
	w.wheel.move(e, min(w.now+2*waited, f.deadline))
}

// sweepNASes closes the sockets to NASes that got no CoA for a while, and those
// of others that a peak has left or that have strayed.
func (w *worker) sweepNASes() {
	for addr, up := range w.nases {
		up.tidy(w.now)
		if up.inUse == 0 && w.now-up.used >= nasIdle {
			up.closePorts()
			delete(w.nases, addr)
		}
	}
}
