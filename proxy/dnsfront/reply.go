package dnsfront

import (
	"time"
	"unicode/utf8"

	"sereno/proxy/dnswire"
	"sereno/proxy/pool"
)

// tooManyWrong is how many replies that do not fit one question may get before it is
// asked over TCP, where guessing is in vain (D22; RFC 5452 §9.3).
const tooManyWrong = 3

// receive takes a datagram from a backend. It counts only if socket (and with it the
// address), ID, QR, opcode and question fit; anything else is counted, and the wait
// goes on. data may be changed.
func (w *worker) receive(sock *socket, data []byte) {
	r := &w.reply
	err := dnswire.ParseReply(data, r)
	if err != nil && len(data) < dnswire.HeaderLen {
		w.wrongReply(sock, nil, nil)
		return
	}
	a := sock.ids[uint32(dnswire.ID(data))]
	if err != nil {
		w.wrongReply(sock, a, nil)
		return
	}
	question := r.Key(w.kbuf[:0], data)
	if a == nil || w.s.hash(question) != a.qhash || a.f != nil && string(question) != string(a.f.question()) {
		w.wrongReply(sock, a, question)
		return
	}
	b, took := a.backend, time.Duration(w.t.now-a.sent)
	b.Health().RepliedAfter(took)
	b.Observe(took)
	f := a.f
	w.flight = f
	w.closeAttempt(a)
	w.t.book.Upstream.Replies++
	if f != nil {
		if t := f.trace.Load(); t != nil {
			t.Say("reply", "%s from %s after %v, %d octets%s", rcodeText(r.Rcode), b.Name(), took, len(data), truncatedText(r))
		}
	}
	switch {
	case f == nil:
		w.t.book.Upstream.Late++
	case r.TC():
		w.truncated(f, b)
	default:
		w.got(f, b, data)
	}
	w.flight = nil
}

func truncatedText(r *dnswire.Reply) string {
	if r.TC() {
		return ", truncated: asks again over TCP"
	}
	return ""
}

// wrongReply counts a reply that does not fit, and finds out whose question it is
// aimed at: by its ID, or by its question.
func (w *worker) wrongReply(sock *socket, a *attempt, question []byte) {
	w.t.book.Upstream.Wrong++
	sock.up.backend.Fail(pool.BadReply)
	var f *flight
	if a != nil {
		f = a.f
	} else if question != nil {
		f = w.flightOn(sock, question)
	}
	if f == nil || f.tcp {
		return
	}
	f.wrong++
	if r := f.trace.Load(); r != nil {
		r.Say("wrong", "a reply from %s does not fit the question: ignored", sock.up.backend.Name())
	}
	if f.wrong < tooManyWrong {
		return
	}
	// What comes over UDP is not believed any more: its attempts go on without it.
	w.t.book.Upstream.WrongToTCP++
	w.s.log.guessing(sock.up.backend, f)
	f.tcp = true
	for _, open := range f.open {
		open.f = nil
	}
	f.open = f.open[:0]
	if !sock.up.backend.Take() {
		w.attemptFailed(f, false, false)
		return
	}
	if !w.ask(f, sock.up.backend) {
		w.attemptFailed(f, false, false)
		return
	}
	w.schedule(f)
}

// flightOn finds this worker's flight for a question that has an attempt on sock.
func (w *worker) flightOn(sock *socket, question []byte) *flight {
	for flags := range byte(8) {
		key := append(question, flags)
		f := w.s.table.find(key, w.s.hash(key), w)
		if f == nil {
			continue
		}
		for _, a := range f.open {
			if a.sock == sock {
				return f
			}
		}
	}
	return nil
}

// truncated asks the same backend again over TCP: half an answer is of no use to
// anybody (D08). It is no further attempt.
func (w *worker) truncated(f *flight, b *pool.Backend) {
	w.t.book.Upstream.Truncated++
	f.tcp = true
	if !b.Take() {
		w.attemptFailed(f, false, false)
		return
	}
	if !w.ask(f, b) {
		w.attemptFailed(f, false, false)
		return
	}
	w.schedule(f)
}

// got handles a whole reply to a flight's question, parsed in w.reply. A failure is not
// taken from one backend alone: one other is asked (D24).
func (w *worker) got(f *flight, b *pool.Backend, data []byte) {
	why, failed := failureOf(w.reply.Rcode)
	if !failed {
		w.answer(f, data)
		return
	}
	b.Fail(why)
	if f.flags()&keyRD != 0 { // RD=0 asks for what a resolver may well refuse
		b.Penalize(w.s.nowFunc())
	}
	if !f.second {
		f.second = true
		f.saved = append(f.saved[:0], data...)
		// One of whom an answer may still be expected is waited for; a silent one is not.
		if !w.allSilent(f) || w.retry(f, modest, false) || len(f.open) > 0 {
			w.t.book.Upstream.FailureRcode++
			w.schedule(f)
			return
		}
	}
	w.final(f, data)
}

// failureOf tells whether an rcode says something about the backend, not about the name.
func failureOf(rcode int) (pool.Failure, bool) {
	switch rcode {
	case dnswire.ServFail:
		return pool.Servfail, true
	case dnswire.Refused:
		return pool.Refused, true
	case dnswire.NotImp, dnswire.FormErr:
		return pool.BadRcode, true
	}
	return 0, false
}

// final ends a flight with a failure of the backends', parsed in w.reply; but an expired
// answer goes before a SERVFAIL or REFUSED (D35).
func (w *worker) final(f *flight, data []byte) {
	if r := w.reply.Rcode; (r == dnswire.ServFail || r == dnswire.Refused) && w.t.set.stale && f.cacheable() && w.hasStale(f) {
		w.giveUp(f)
		return
	}
	w.answer(f, data)
}

// answer ends a flight with a backend's reply: into the cache, and to everybody who waits.
func (w *worker) answer(f *flight, data []byte) {
	r := &w.reply
	var ans answer
	ans.ede = keptOptions(data, r, len(f.subnet()) > 0)
	ans.extRcode = uint8(r.Rcode >> 4) //nolint:gosec // twelve bits
	msg, err := dnswire.StripOPT(data, r)
	if err != nil { // a record behind OPT is broken
		w.attemptFailed(f, false, false)
		return
	}
	ans.msg = msg
	w.store(f, r, &ans)
	// Waiters that go on to another question reuse the reply's memory.
	none64 := w.t.set.dns64 != nil && r.Type == dnswire.TypeAAAA && w.t.set.dns64.none(msg, r)
	life, rcode, qlen := negativeTTL(r), r.Rcode, r.QuestionLen()
	for rest := w.owe(w.end(f)); len(w.owed) > rest; {
		switch wt := w.next(); {
		case wt.six && none64:
			wt.due = wt.came + f.timeout // both questions together have the time of one (D20)
			w.toA(wt, f.key, f.qlen, life)
		case wt.rewrite != rewriteNone:
			w.giveMade(wt, ans.msg, FromBackend, extra{rcode: rcode, ede: ans.ede}, true)
		default:
			w.giveAnswer(wt, &ans, rcode, qlen)
		}
	}
	w.freeFlight(f)
}

// keptOptions are the backend's extended errors, which are passed on to clients
// (RFC 8914 §3), as far as they fit, their texts cut if need be; and the scope of a subnet
// that was forwarded (RFC 7871 §7.2.1). Most replies have none, and cost no memory.
func keptOptions(m []byte, r *dnswire.Reply, subnet bool) (kept []byte) {
	if r.OPT.Data.Len == 0 {
		return nil
	}
	dnswire.EachOption(r.OPT.Data.In(m), func(code uint16, data []byte) bool {
		left := maxEDE - len(kept) - 4
		if code == dnswire.OptionEDE && left >= 2 {
			data = cutText(data, left)
		}
		if (code == dnswire.OptionEDE && len(data) >= 2 || subnet && code == dnswire.OptionECS) && len(data) <= left {
			kept = dnswire.AppendOption(kept, code, data)
		}
		return true
	})
	return kept
}

// cutText leaves at most n octets of an extended error, n 2 at least, and no part of a character.
func cutText(data []byte, n int) []byte {
	if len(data) <= n {
		return data
	}
	for n > 2 && !utf8.RuneStart(data[n]) {
		n--
	}
	return data[:n]
}

// store sets the answer's TTLs as the configuration wants them and puts it into the
// cache if it may live there.
func (w *worker) store(f *flight, r *dnswire.Reply, ans *answer) {
	set := w.t.set
	ans.ttls = r.TTLs
	life := uint32(0)
	switch {
	case r.Rcode == dnswire.ServFail:
		ans.kind, life = kindFailure, set.failureTTL
		dnswire.ClampTTLs(ans.msg, r.TTLs, 0, set.maxTTL)
	case r.Negative():
		ans.kind = kindNoData
		if r.Rcode == dnswire.NXDomain {
			ans.kind = kindNXDomain
		}
		// RFC 2308 §5; without a SOA nobody knows how long, so it is not stored.
		if r.SOA {
			life = min(r.MinTTL, r.SOAMin, set.negTTL, set.maxTTL)
			dnswire.ClampTTLs(ans.msg, r.TTLs, 0, life)
		} else {
			dnswire.ClampTTLs(ans.msg, r.TTLs, 0, set.maxTTL)
		}
	case r.Rcode == dnswire.NoError:
		dnswire.ClampTTLs(ans.msg, r.TTLs, set.minTTL, set.maxTTL)
		life = min(max(r.MinTTL, set.minTTL), set.maxTTL)
	default: // REFUSED and the rest say something about the backend, not about the name
		dnswire.ClampTTLs(ans.msg, r.TTLs, 0, set.maxTTL)
	}
	ans.life = life
	switch {
	case set.cache == nil, !f.cacheable(), set.route(f.name()) != f.pool: // the last: a reload has moved its zone meanwhile
	case life > 0:
		set.cache.put(f.key, f.hash, w.t.tick, ans)
	case r.Negative(): // what it says replaces what there was all the same (D35)
		set.cache.forget(f.key, f.hash)
	}
}

// giveAnswer sends a waiter a backend's answer, cut to what fits it (D07).
func (w *worker) giveAnswer(wt *waiter, ans *answer, rcode, qlen int) {
	buf := w.buffer(wt)
	n := len(ans.msg)
	whole := n <= wt.room() && n <= len(buf)
	if !whole {
		n = dnswire.HeaderLen + qlen
	}
	copy(buf, ans.msg[:n])
	n = w.s.finish(w.t.set, buf, n, &wt.ask, wt.question(), whole, true, extra{rcode: rcode, ede: ans.ede})
	w.give(wt, buf, n, FromBackend, rcode)
}
