package radiusfront

import (
	"bytes"
	"errors"
	"net/netip"

	"sereno/proxy/radwire"
	"sereno/proxy/udp"
)

// request takes one datagram of a NAS through the gates.
func (w *worker) request(l *listener, c *udp.Conn, pkt *udp.Packet) {
	k := l.kind
	p, err := radwire.Walk(pkt.Data, &w.ix)
	if err != nil {
		w.book.requests[k]++
		w.book.drops[k][malformed(err)]++
		return
	}
	code := radwire.PacketCode(p)
	if code == radwire.StatusServer {
		w.status(l, c, p, &pkt.Dest)
		return
	}
	if k == KindCoA {
		w.coaRequest(l, c, p, &pkt.Dest)
		return
	}
	w.book.requests[k]++
	if code != l.code {
		w.book.drops[k][ReasonCode]++
		return
	}
	cl := w.view.clients.lookup(pkt.Peer.Addr())
	if cl == nil {
		w.book.drops[k][ReasonUnknownClient]++
		w.logUnknown(pkt.Peer)
		return
	}
	cl.requests.Add(1)

	hash := w.table.hashOf(&pkt.Dest, code, p[1])
	auth := radwire.PacketAuthenticator(p)
	if first := w.table.find(hash, c, &pkt.Dest, code, p[1], &auth); first != nil {
		w.duplicate(first, c)
		return
	}
	secret, signed, reason := w.verify(cl, pkt.Peer.Addr(), code, p)
	if reason == NumReasons {
		reason = w.admit(l, cl, pkt.Peer.Addr(), signed, p)
	}
	if reason != NumReasons {
		w.book.drops[k][reason]++
		return
	}
	for old := w.table.replaceable(hash, c, &pkt.Dest, code, p[1], signed); old != nil; {
		w.replace(old, p)
		old = w.table.replaceable(hash, c, &pkt.Dest, code, p[1], signed)
	}

	e := w.newEntry()
	w.entry = e
	e.hash, e.dest, e.conn, e.auth = hash, pkt.Dest, c, auth
	e.code, e.id, e.kind, e.signed = code, p[1], k, signed
	if len(w.view.coaPeers) > 0 {
		w.learnName(pkt.Peer.Addr(), signed || k == KindAcct, p)
	}
	w.forward(e, cl, secret, p)
}

// malformed is the reason that fits what the walk refused.
func malformed(err error) Reason {
	if errors.Is(err, radwire.ErrTwoMessageAuthenticators) || errors.Is(err, radwire.ErrMessageAuthenticator) {
		return ReasonMessageAuthenticators
	}
	return ReasonMalformed
}

// verify checks a request with each secret of its client and returns the one
// that fitted, whether its Message-Authenticator was verified with it, and
// NumReasons, or the reason to drop it (R10, R12, R15).
func (w *worker) verify(cl *client, from netip.Addr, code radwire.Code, p []byte) (secret *radwire.Secret, signed bool, reason Reason) {
	off := w.ix.First[radwire.AttrMessageAuthenticator]
	if off == 0 && w.ix.Has(radwire.AttrEAPMessage) {
		return nil, false, ReasonUnsigned // RFC 3579 section 3.1
	}
	if code == radwire.AccessRequest && off == 0 {
		return cl.secrets[cl.likely(from)], false, NumReasons // nothing to verify; admit judges it
	}
	auth := radwire.MessageAuthOf(p)
	reason = ReasonMessageAuthenticator
	likely := cl.likely(from)
	for i := range cl.secrets {
		n := (likely + i) % len(cl.secrets)
		s := cl.secrets[n]
		switch {
		case code != radwire.AccessRequest && !s.VerifyRequest(p):
			reason = ReasonAuthenticator
		case off != 0 && !s.VerifyMessageAuthenticator(p, off, &auth):
			reason = ReasonMessageAuthenticator
		default:
			if i > 0 {
				cl.fits(from, n)
			}
			return s, off != 0, NumReasons
		}
	}
	cl.badAuth.Add(1)
	w.logUnverified(cl, reason)
	return nil, false, reason
}

// admit decides whether a request that verified, or had nothing to verify, is
// taken on. It returns NumReasons, or the reason against it.
func (w *worker) admit(l *listener, cl *client, from netip.Addr, signed bool, p []byte) Reason {
	k := l.kind
	if k == KindAuth {
		if reason := w.judge(cl, from, signed); reason != NumReasons {
			return reason
		}
	}
	if w.ix.ProxyStates > 0 && w.ours(p) {
		return ReasonLoop
	}
	switch {
	case w.closing || l.retired.Load():
		return ReasonClosing
	case cl.inFlight.Load() >= w.limit(k, cl.maxInFlight):
		return ReasonClientLimit
	case w.service.inFlight.Load() >= w.limit(k, w.view.mayFlight) || w.service.full():
		return ReasonServiceLimit
	}
	return NumReasons
}

// limit is the part of a bound that this request may fill: a tenth is kept for
// accounting and for conversations that have begun (R37).
func (w *worker) limit(k Kind, bound int64) int64 {
	if k == KindAuth && !w.ix.Has(radwire.AttrState) {
		return bound - bound/10
	}
	return bound
}

// ours tells whether a Proxy-State of p is one that this service made: the
// request went in a circle.
func (w *worker) ours(p []byte) bool {
	for off := int(w.ix.First[radwire.AttrProxyState]); off < len(p); off += int(p[off+1]) {
		if p[off] != radwire.AttrProxyState {
			continue
		}
		if v := radwire.Value(p, uint16(off)); len(v) == proxyStateLen && bytes.Equal(v[:proxyStateMark], w.stateMark[:]) {
			return true
		}
	}
	return false
}

// replace ends what had the identifier of p before: a NAS that reuses one has given
// the old request up (RFC 5080 section 2.2.2). Accounting of something else is
// spooled: nobody else may have it. w.ix is of p.
func (w *worker) replace(old *entry, p []byte) {
	f := old.flight
	if f == nil {
		w.forget(old)
		return
	}
	if old.kind == KindAcct && !w.sameRecord(f, p) {
		w.rescue(f, ReasonTimeout)
	}
	w.drop(old, ReasonReplaced)
}

// sameRecord tells whether p is the record of f once more, with another delay perhaps. w.ix is of p.
func (w *worker) sameRecord(f *flight, p []byte) bool {
	was, err := radwire.Walk(f.request, &w.rix)
	if err != nil {
		return true // it passed this walk before
	}
	for _, typ := range [...]byte{radwire.AttrAcctSessionID, radwire.AttrAcctStatusType} {
		if !bytes.Equal(w.rix.FirstValue(was, typ), w.ix.FirstValue(p, typ)) {
			return false
		}
	}
	return true
}

// duplicate answers a retransmission from memory, or uses it as a sign that
// the NAS is waiting (R20).
func (w *worker) duplicate(e *entry, c *udp.Conn) {
	f := e.flight
	if f == nil {
		c.Commit(copy(c.Next(), e.reply), e.dest)
		w.book.answers[e.kind][e.answer][SourceDuplicate]++
		return
	}
	w.book.drops[e.kind][ReasonDuplicate]++
	if f.keeping != nil {
		return // the disk answers in a moment
	}
	a := &f.attempts[f.n-1]
	if w.now-a.sent >= impatience && w.moveOn(f, upBackend, charged) {
		return
	}
	if w.now-a.last >= resendInterval {
		w.repeat(f, a)
	}
}

// status answers a Status-Server: the self-probe's always and off the books,
// a NAS's when its Message-Authenticator verifies and the service can serve
// (R35). It is never forwarded.
func (w *worker) status(l *listener, c *udp.Conn, p []byte, d *udp.Dest) {
	if radwire.IsProbe(p, &w.ix, w.probe) {
		w.answerStatus(l, c, p, d, w.probe)
		return
	}
	if l.kind == KindCoA {
		w.book.requests[KindCoA]++
		w.book.drops[KindCoA][ReasonCode]++
		return
	}
	w.book.requests[KindStatus]++
	cl := w.view.clients.lookup(d.Peer.Addr())
	if cl == nil {
		w.book.drops[KindStatus][ReasonUnknownClient]++
		w.logUnknown(d.Peer)
		return
	}
	cl.requests.Add(1)
	off := w.ix.First[radwire.AttrMessageAuthenticator]
	if off == 0 {
		w.book.drops[KindStatus][ReasonUnsigned]++
		return
	}
	auth := radwire.MessageAuthOf(p)
	for _, s := range cl.secrets {
		if !s.VerifyMessageAuthenticator(p, off, &auth) {
			continue
		}
		switch {
		case w.closing || l.retired.Load():
			w.book.drops[KindStatus][ReasonClosing]++
			return
		case !w.serves(l.kind):
			w.book.drops[KindStatus][ReasonNoBackend]++
			return
		}
		if code, ok := w.answerStatus(l, c, p, d, s); ok {
			w.book.answers[KindStatus][code][SourceSelf]++
		} else {
			w.book.drops[KindStatus][ReasonTooLong]++
		}
		return
	}
	cl.badAuth.Add(1)
	w.logUnverified(cl, ReasonMessageAuthenticator)
	w.book.drops[KindStatus][ReasonMessageAuthenticator]++
}

// serves tells whether the service's own pool is healthy in the role of a
// listener.
func (w *worker) serves(k Kind) bool {
	if k != KindAuth && k != KindAcct {
		return true
	}
	p := w.view.fallback.roles[k]
	if p == nil {
		return false
	}
	healthy, least := p.Healthy()
	return healthy >= least
}

// answerStatus writes the answer that RFC 5997 section 4.2 wants on the port.
func (w *worker) answerStatus(l *listener, c *udp.Conn, p []byte, d *udp.Dest, s *radwire.Secret) (AnswerCode, bool) {
	code, answer := radwire.AccessAccept, AnswerAccept
	if l.kind == KindAcct {
		code, answer = radwire.AccountingResponse, AnswerAccounting
	}
	n, err := radwire.Reply(c.Next(), code, nil, p, &w.ix, s)
	if err != nil {
		return answer, false
	}
	c.Commit(n, *d)
	return answer, true
}
