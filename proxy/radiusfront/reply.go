package radiusfront

import (
	"time"

	"sereno/proxy/pool"
	"sereno/proxy/radiusfront/spool"
	"sereno/proxy/radwire"
)

// reply takes one datagram of a backend back to the NAS that waits for it. It
// must fit by socket, source (the socket is connected), identifier,
// authenticator and code (R11); what does not is counted and changes nothing:
// the request goes on waiting.
func (w *worker) reply(pt *port, data []byte) {
	up := pt.up
	p, err := radwire.Walk(data, &w.rix)
	if err != nil {
		if malformed(err) == ReasonMessageAuthenticators {
			w.ignore(up, ReplyMessageAuthenticator)
		} else {
			w.ignore(up, ReplyMalformed)
		}
		return
	}
	s := &pt.slots[p[1]]
	f := s.f
	if f == nil || f.entry.flight != f {
		if pt.rests(p[1]) {
			w.tooLate(up, &pt.late[p[1]], p)
		} else {
			w.ignore(up, ReplyUnmatched)
		}
		return
	}
	e, i := f.entry, s.i
	w.entry = e
	a := &f.attempts[i]
	if reason := w.verifyReply(e, a, p); reason != NumReplyReasons {
		w.ignore(up, reason)
		if f.trace != nil {
			f.trace.Say("reply", "from %s, ignored: %s", up.name, reason)
		}
		return
	}
	if up.backend != nil {
		w.heard(up, w.now-a.sent)
		up.backend.Observe(time.Duration(w.now - a.sent))
	}

	if f.login.user != 0 && radwire.PacketCode(p) != radwire.AccessAccept {
		w.service.survivors.forget(f.login) // also when it is too long to be passed on
	}
	conn, dest := e.conn, e.dest
	buf := conn.Next()
	n, err := w.buildReply(buf, f, a, p)
	if err != nil {
		w.ignore(up, ReplyTooLong)
		return
	}
	code := answerCode(radwire.PacketCode(p))
	w.book.answers[e.kind][code][SourceBackend]++
	w.book.latency[e.kind].observe(w.now - f.received)
	w.issued(f, a, p)
	if code == AnswerAccept && w.view.survival != nil {
		w.witness(f, f.request, p)
	}
	if f.trace != nil {
		w.told(f.trace, f, a, p)
	}
	w.land(f, i)
	w.remember(e, buf[:n], code)
	conn.Commit(n, dest)
}

// tooLate takes a reply to a request that is over. It is dropped (R31), but if
// it verifies the backend was not silent, only slow.
func (w *worker) tooLate(up *upstream, l *left, p []byte) {
	w.ignore(up, ReplyLate)
	if up.backend == nil || !l.secret.VerifyResponse(p, &l.auth) || !l.code.Answers(radwire.PacketCode(p)) {
		return
	}
	if l.waiting {
		l.waiting = false
		up.backend.Observe(time.Duration(w.now - l.sent))
	}
	w.heard(up, w.now-l.sent)
	if code := radwire.PacketCode(p); l.login.user != 0 && (code == radwire.AccessReject || code == radwire.AccessChallenge) {
		w.service.survivors.forget(l.login) // R60: whoever was answered meanwhile, the backend does not know this password
	}
	if sp := w.service.spool.Load(); sp != nil {
		sp.Cancel(l.spooled) // it has the record: one is enough (R42)
		l.spooled = spool.Ref{}
	}
}

// verifyReply checks a reply that has a request under its identifier. It
// returns NumReplyReasons, or why it does not count.
func (w *worker) verifyReply(e *entry, a *attempt, p []byte) ReplyReason {
	if !a.secret.VerifyResponse(p, &a.auth) {
		return ReplyAuthenticator
	}
	if !e.code.Answers(radwire.PacketCode(p)) {
		return ReplyCode
	}
	off := w.rix.First[radwire.AttrMessageAuthenticator]
	switch {
	case off != 0 && !a.secret.VerifyReplyMessageAuthenticator(p, off, &a.auth):
		return ReplyMessageAuthenticator
	case off == 0 && w.rix.Has(radwire.AttrEAPMessage):
		return ReplyUnsigned
	case off == 0 && e.code == radwire.AccessRequest && a.up.mustSign():
		return ReplyUnsigned
	case off != 0 && e.code == radwire.AccessRequest && !w.rix.Has(radwire.AttrEAPMessage):
		w.service.learnt.set(a.up.signs)
	case off == 0 && e.code == radwire.AccessRequest:
		a.up.unsigned++
	}
	return NumReplyReasons
}

// buildReply writes the answer that the NAS gets into buf.
func (w *worker) buildReply(buf []byte, f *flight, a *attempt, p []byte) (int, error) {
	req, err := radwire.Walk(f.request, &w.ix)
	if err != nil {
		return 0, err // it passed this walk before
	}
	e := f.entry
	r := &w.rewriteRep
	*r = radwire.ReplyRewrite{Identifier: e.id, Request: req, Index: &w.ix, Sent: a.auth, From: a.secret, To: f.secret}
	if f.stated {
		r.ProxyState = f.state[:]
	}
	return radwire.RewriteReply(buf, p, &w.rix, r)
}

// ignore counts a reply that is not used. Replies that do not verify say
// nothing about the backend: anybody can send them (R10).
func (w *worker) ignore(up *upstream, reason ReplyReason) {
	w.book.replies[reason]++
	up.replies[reason]++
	switch reason {
	case ReplyUnmatched, ReplyLate:
	default:
		up.fail(pool.BadReply)
	}
}

// heard notes a valid reply that took so long for health, once for each batch.
func (w *worker) heard(up *upstream, took int64) {
	if !up.replied {
		up.replied, up.took = true, took
		w.replied = append(w.replied, up)
	}
	up.took = min(up.took, took)
}

// mustSign tells whether a reply to an Access-Request without
// Message-Authenticator is refused (R13).
func (up *upstream) mustSign() bool {
	switch up.posture {
	case postureRequire:
		return true
	case postureAuto:
		return up.signs.Load()
	}
	return false
}
