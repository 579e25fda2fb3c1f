package dnsfront

import (
	"time"

	"sereno/health"
	"sereno/proxy/dnswire"
	"sereno/proxy/pool"
	"sereno/proxy/udp"
)

// staleRetry is how long a name is answered stale at once after its refresh failed
// (RFC 8767 §5: not more often than every 30 s).
const staleRetry = 30 * time.Second

// miss sends the turn's query to a backend, or to a flight that is under way.
func (w *worker) miss(m []byte, l *listener, d udp.Dest) {
	wt := newWaiter(&w.t, m, l, d, nil)
	w.t.book.InFlight[wt.transport]++
	w.given = wt
	w.begun(wt, w.t.key, w.t.keyLen(), w.t.hash)
	w.given = nil
}

// begun takes a waiter that has been counted as in flight, with its own question.
func (w *worker) begun(wt *waiter, key []byte, qlen int, hash uint64) {
	if wt.rewrite == rewriteCNAME {
		w.again(wt, key, qlen)
		return
	}
	if d := w.t.set.dns64; d != nil {
		// A name inside the prefix stands for one of IPv4 (RFC 6147 §5.3.1).
		if name := key[:qlen-4]; key[qlen-3] == dnswire.TypePTR && key[qlen-4] == 0 && len(name) > 64 {
			if other, ok := d.mapped(name); ok {
				wt.rewrite = rewriteCNAME
				k := append(other, key[qlen-4:]...)
				w.again(wt, k, len(other)+4)
				return
			}
		}
		if w.knownNone(wt, key, qlen, hash) {
			return
		}
	}
	w.missOf(wt, key, qlen, hash)
}

// missOf asks for a waiter: in an equal flight that is under way, or in a new one.
func (w *worker) missOf(wt *waiter, key []byte, qlen int, hash uint64) {
	s, set := w.s, w.t.set
	f := w.newFlight(key, qlen, hash)
	stale := set.stale && f.cacheable()
	if s.load.Load() >= s.maxLoad { // answered at once: stale, or SERVFAIL (D26)
		w.t.book.Upstream.Overload++
		if !stale || !w.giveStale(f, wt) {
			w.giveFailure(wt, failOverload)
		}
		w.freeFlight(f)
		return
	}
	joining, due := wt, wt.due
	if stale && w.hasStale(f) {
		// Stale at once where asking is known to be vain.
		if w.t.h.recheck {
			if !w.giveStale(f, wt) {
				w.giveFailure(wt, failTimeout)
			}
			w.freeFlight(f)
			return
		}
		if allDown(f.pool) && w.giveStale(f, wt) {
			joining, f.staleGiven = nil, true // but ask, so that the first answer ends it
		}
	}
	for passed := stale && joining != nil; ; passed = false {
		switch what, owner := s.table.join(f, joining, passed); what {
		case joinedNew:
			w.entered, w.given = f, nil
			if joining != nil {
				s.load.Add(1)
				if w.answeredMeanwhile(f) {
					return
				}
				f.early = due
			}
			w.start(f, stale)
			return
		case joinedOther:
			w.given = nil
			if joining != nil {
				w.t.book.Upstream.Coalesced++
				s.load.Add(1)
				if due > 0 {
					owner.post(letter{key: append([]byte(nil), f.key...), hash: f.hash, due: due})
				}
			}
			w.freeFlight(f)
			return
		case joinedPassed:
			if w.giveStale(f, wt) {
				w.freeFlight(f)
				return
			}
		}
	}
}

// answeredMeanwhile looks into the cache once more for a flight that has just entered the
// table: an equal one may have ended after the first look. Then everybody gets its
// answer, and no backend is asked again.
func (w *worker) answeredMeanwhile(f *flight) bool {
	if w.t.set.cache == nil || !f.cacheable() {
		return false
	}
	var none [dnswire.HeaderLen + dnswire.MaxName + 4]byte
	if !w.t.set.cache.get(f.key, f.hash, w.t.tick, none[:], 0, false, 0, &w.t.h) {
		return false
	}
	waiters := w.s.table.remove(f)
	w.entered = nil
	w.s.load.Add(-int64(len(waiters)))
	for rest := w.owe(waiters); len(w.owed) > rest; {
		if wt := w.next(); !w.knownNone(wt, f.key, f.qlen, f.hash) && !w.giveCached(f, wt, true) {
			w.giveFailure(wt, failTimeout)
		}
	}
	w.freeFlight(f)
	return true
}

// hasStale looks whether there is an expired answer that could be given, and leaves what
// is known of it in the turn's hit.
func (w *worker) hasStale(f *flight) bool {
	var none [dnswire.HeaderLen + dnswire.MaxName + 4]byte
	return w.t.set.cache.get(f.key, f.hash, w.t.tick, none[:], 0, true, 0, &w.t.h) && w.t.h.stale
}

// allDown tells whether no backend is worth waiting for (D35: stale at once).
func allDown(p *pool.Pool) bool {
	for _, b := range p.Backends() {
		if s := b.Health().State(); s != health.Down && s != health.Drained {
			return false
		}
	}
	return true
}

// newFlight prepares a flight for a question; it is in no table yet.
func (w *worker) newFlight(key []byte, qlen int, hash uint64) *flight {
	var f *flight
	if n := len(w.fresh); n > 0 {
		f = w.fresh[n-1]
		w.fresh = w.fresh[:n-1]
	} else {
		f = &flight{owner: w}
	}
	f.key = append(f.kbuf[:0], key...)
	f.qlen, f.hash = qlen, hash
	f.pool = w.t.set.route(f.name())
	return f
}

func (w *worker) freeFlight(f *flight) {
	*f = flight{owner: w, open: f.open[:0], saved: f.saved[:0]}
	if cap(f.saved) > 4096 {
		f.saved = nil
	}
	if len(w.fresh) < 4096 {
		w.fresh = append(w.fresh, f)
	}
}

// start begins to ask for a flight that has just entered the table.
func (w *worker) start(f *flight, stale bool) {
	cfg := f.pool.Config()
	now := w.t.now
	w.s.load.Add(1)
	w.fly()
	f.timeout = int64(cfg.Timeout)
	f.deadline = now + f.timeout
	f.attemptTime = int64(cfg.AttemptTimeout)
	f.most = min(cfg.Attempts, pool.MaxAttempts)
	if stale && w.t.set.staleAfter > 0 {
		f.staleAt = now + w.t.set.staleAfter
	}
	f.due = f.deadline
	w.wheel.add(f)
	w.entered, w.flight = nil, f
	f.pool.Request()
	if r := f.trace.Load(); r != nil {
		r.Say("route", "pool %s, up to %d backends, %v each, %v in all", cfg.Name, f.most, cfg.AttemptTimeout, cfg.Timeout)
	}
	if !w.try(f, w.pick(f, false), false) {
		w.fail(f)
		w.flight = nil
		return
	}
	w.schedule(f)
	w.flight = nil
}

// schedule sets the flight's timer to whatever comes first.
func (w *worker) schedule(f *flight) {
	due := f.deadline
	if f.staleAt > 0 {
		due = min(due, f.staleAt)
	}
	if f.early > 0 {
		due = min(due, f.early)
	}
	for _, a := range f.open {
		if !a.silent {
			due = min(due, a.due)
		}
	}
	w.wheel.remove(f)
	f.due = due
	w.wheel.add(f)
}

// fire is called when a flight's timer has come.
func (w *worker) fire(f *flight) {
	w.flight = f
	w.expire(f)
	w.flight = nil
}

// expire does what a flight's timer was set for.
func (w *worker) expire(f *flight) {
	now := w.t.now
	if now >= f.deadline {
		f.verdict = failTimeout
		w.fail(f)
		return
	}
	if f.staleAt > 0 && now >= f.staleAt {
		// The client has waited long enough; the asking goes on (RFC 8767 §5).
		f.staleAt = 0
		w.staleToAll(f)
	}
	if f.early > 0 && now >= f.early {
		w.answerDue(f)
	}
	silent := false
	for _, a := range f.open {
		if !a.silent && now >= a.due {
			a.silent, silent = true, true
			if a.sock != nil {
				a.sock.up.silence = true
			}
			w.t.book.Upstream.Silent++
			a.backend.Fail(pool.Timeout)
			if r := f.trace.Load(); r != nil {
				r.Say("silent", "%s has not answered for %v", a.backend.Name(), time.Duration(now-a.sent))
			}
			if a.sock != nil { // a closed TCP port says nothing about a backend's UDP
				a.backend.Health().Silent()
			}
		}
	}
	if silent && !w.retry(f, full, true) && w.allSilent(f) {
		// Every attempt has failed: stale now. But go on waiting, for a late answer
		// still counts.
		w.staleToAll(f)
	}
	w.schedule(f)
}

func (w *worker) allSilent(f *flight) bool {
	for _, a := range f.open {
		if !a.silent {
			return false
		}
	}
	return true
}

// cost is what a further attempt costs of the retry budget.
type cost uint8

const (
	free   cost = iota // its backend is not up any more
	full               // silence, or an error of the network
	modest             // an answer, which another backend may well give too: a part of the budget is not for these
)

// pay takes a further attempt out of the budget; false: there is none left.
func (c cost) pay(p *pool.Pool) bool {
	switch c {
	case full:
		return p.TryRetry()
	case modest:
		return p.TryRetryOfAnswer()
	case free:
	}
	return true
}

// retry makes a further attempt if attempts, the pool and the budget allow it. again
// allows a backend that has been asked before, when no other is left.
func (w *worker) retry(f *flight, c cost, again bool) bool {
	if f.attempts >= f.most {
		return false
	}
	before := f.tried
	b := w.pick(f, again)
	if b == nil {
		return false
	}
	if !c.pay(f.pool) {
		b.Done()
		f.tried = before
		w.t.book.Upstream.NoBudget++
		if r := f.trace.Load(); r != nil {
			r.Say("budget", "no other backend is asked: the retry budget of pool %s is used up", f.pool.Config().Name)
		}
		return false
	}
	if !w.try(f, b, again) {
		return false
	}
	if c == free {
		w.t.book.Upstream.Moved++
	} else {
		w.t.book.Upstream.Retries++
	}
	return true
}

// moveAway asks another backend at once if those that the flight waits for have become
// suspect or down since they were asked (D23). That is not charged to the budget.
func (w *worker) moveAway(f *flight) {
	moved := false
	for _, a := range f.open {
		lost := a.lost()
		if !lost && !a.silent {
			return // one is still worth waiting for
		}
		moved = moved || lost && !a.moved
	}
	if !moved {
		return
	}
	if r := f.trace.Load(); r != nil {
		r.Say("moved", "the backend is not up any more")
	}
	for _, a := range f.open {
		a.moved = true
	}
	if w.retry(f, free, false) {
		w.schedule(f)
	}
}

// staleToAll answers everybody who waits with the expired answer, if there is one.
func (w *worker) staleToAll(f *flight) {
	if !w.t.set.stale || !f.cacheable() || !w.hasStale(f) {
		return
	}
	f.staleAt = 0
	if r := f.trace.Load(); r != nil {
		r.Say("stale", "an expired answer is given, and the asking goes on")
	}
	waiters := w.s.table.takeStale(f)
	w.s.load.Add(-int64(len(waiters)))
	for rest := w.owe(waiters); len(w.owed) > rest; {
		if wt := w.next(); !w.giveStale(f, wt) {
			w.giveFailure(wt, f.verdict)
		}
	}
}

// hurry has a flight look after somebody who waits for it at his due, if it is not over.
func (w *worker) hurry(key []byte, hash uint64, due int64) {
	if f := w.s.table.find(key, hash, w); f != nil && (f.early == 0 || due < f.early) {
		f.early = due
		w.schedule(f)
	}
}

// answerDue answers those whose own time is over with what there is: the flight was begun
// after they had asked, and goes on for the others.
func (w *worker) answerDue(f *flight) {
	waiters, next := w.s.table.takeDue(f, w.t.now)
	f.early = next
	w.s.load.Add(-int64(len(waiters)))
	for rest := w.owe(waiters); len(w.owed) > rest; {
		if wt := w.next(); !w.t.set.stale || !f.cacheable() || !w.giveStale(f, wt) {
			w.giveFailure(wt, failTimeout)
		}
	}
}

// fail ends a flight that no further backend can be asked for.
func (w *worker) fail(f *flight) {
	if len(f.saved) > 0 && dnswire.ParseReply(f.saved, &w.reply) == nil {
		w.final(f, f.saved)
		return
	}
	w.giveUp(f)
}

// giveUp ends a flight without a backend's answer: stale for those who wait, or SERVFAIL.
// For a while the name is answered stale at once.
func (w *worker) giveUp(f *flight) {
	waiters := w.end(f)
	stale := w.t.set.stale && f.cacheable()
	if stale {
		w.t.set.cache.failed(f.key, f.hash, w.t.tick.add(staleRetry))
	}
	for rest := w.owe(waiters); len(w.owed) > rest; {
		if wt := w.next(); !stale || !w.giveStale(f, wt) {
			w.giveFailure(wt, f.verdict)
		}
	}
	w.freeFlight(f)
}

// end takes a flight out of the table and the wheel; its attempts live on without it
// until their replies come or their time is over. The flight is the caller's to free.
func (w *worker) end(f *flight) []*waiter {
	waiters := w.s.table.remove(f)
	w.s.load.Add(-1 - int64(len(waiters)))
	w.wheel.remove(f)
	w.flying.Add(-1)
	f.ended = true
	for _, a := range f.open {
		a.f = nil
	}
	f.open = f.open[:0]
	return waiters
}

// buffer is where a waiter's answer is written.
func (w *worker) buffer(wt *waiter) []byte {
	if wt.sink == nil {
		if c := wt.listener.conn(w.id); c != nil {
			return c.Next()
		}
	}
	return w.big[:]
}

// give sends a waiter its answer, which is in buf[:n], counts it and frees the waiter.
func (w *worker) give(wt *waiter, buf []byte, n int, source Source, rcode int) {
	b := w.t.book
	b.InFlight[wt.transport]--
	w.given = nil
	if wt.trace != nil {
		wt.trace.Say("answer", "%s", answerText(buf[:n], source))
	}
	if why, ok := w.hand(wt, buf[:n]); !ok {
		b.dropped(wt.transport, why)
		wt.trace.Say("drop", "%s", why)
	} else {
		b.answered(wt.transport, source, rcode)
		b.Latency[source].observe(time.Duration(w.t.now-wt.came), 1)
	}
	wt.free()
}

// hand gives an answer to the socket or the connection that it belongs to.
func (w *worker) hand(wt *waiter, msg []byte) (why Drop, ok bool) {
	if wt.sink != nil {
		return DropClientGone, wt.sink.deliver(msg)
	}
	c := wt.listener.conn(w.id)
	if c == nil {
		return DropNoListener, false
	}
	c.Commit(len(msg), wt.dest)
	return 0, true
}

// giveStale answers a waiter with the expired answer and says so (RFC 8914 §4.4, 4.20).
// false: there is none any more.
func (w *worker) giveStale(f *flight, wt *waiter) bool { return w.giveCached(f, wt, true) }

// giveCached answers a waiter from the cache, with an expired answer only if stale.
func (w *worker) giveCached(f *flight, wt *waiter, stale bool) bool {
	buf := w.buffer(wt)
	h, set := &w.t.h, w.t.set
	limit := wt.room()
	if wt.rewrite != rewriteNone {
		buf, limit = w.big[:], len(w.big) // it has other octets in the end
	}
	if !set.cache.get(f.key, f.hash, w.t.tick, buf, limit, stale, set.staleTTL, h) {
		return false
	}
	if wt.six && h.kind == kindNoData {
		// Rather old addresses than none: as if the fresh answer had said so.
		wt.six, wt.rewrite, wt.most = false, rewriteA, no64TTL
		var room [maxKey]byte
		key := append(room[:0], f.key...)
		key[f.qlen-3] = dnswire.TypeA
		other := w.newFlight(key, f.qlen, w.s.hash(key))
		found := w.giveCached(other, wt, stale)
		w.freeFlight(other)
		if found {
			return true
		}
		wt.rewrite = rewriteNone
		if !set.cache.get(f.key, f.hash, w.t.tick, buf, limit, stale, set.staleTTL, h) {
			return false
		}
	}
	source, ede := FromCache, noEDE
	if h.stale {
		source, ede = FromStale, dnswire.EDEStaleAnswer
		if h.kind == kindNXDomain {
			ede = dnswire.EDEStaleNXDomain
		}
	}
	rcode := int(buf[3]&dnswire.RcodeMask) | int(h.extRcode)<<4
	x := extra{rcode: rcode, ede: h.ede[:h.edeLen]}
	var room [maxEDE]byte
	if ede != noEDE {
		x.ede = dnswire.AppendEDE(room[:0], uint16(ede), "") //nolint:gosec // a code of RFC 8914
	}
	if wt.rewrite != rewriteNone {
		return w.giveMade(wt, buf[:h.n], source, x, false)
	}
	n := w.s.finish(set, buf, h.n, &wt.ask, wt.question(), h.whole, false, x)
	w.give(wt, buf, n, source, rcode)
	return true
}

// giveMade answers a waiter whose answer is made from the answer to another question.
func (w *worker) giveMade(wt *waiter, msg []byte, source Source, x extra, keepAA bool) bool {
	head := dnswire.HeaderLen + wt.qlen
	buf, n, whole := w.buffer(wt), head, false
	if wt.transport == UDP && outgrows(wt.rewrite, msg, &w.reply, wt.room()) {
		copy(buf, msg[:dnswire.HeaderLen])
		dnswire.SetFlags(buf, dnswire.Flags(buf)&^dnswire.FlagAD)
	} else {
		made := made(w.t.set.dns64, wt.rewrite, wt.question(), first(msg, &w.reply, maxMade), wt.most)
		if made == nil {
			w.giveFailure(wt, failTimeout)
			return true
		}
		if whole = len(made) <= wt.room() && len(made) <= len(buf); whole {
			n = len(made)
		}
		copy(buf, made[:n])
	}
	n = w.s.finish(w.t.set, buf, n, &wt.ask, wt.question(), whole, keepAA, x)
	w.give(wt, buf, n, source, x.rcode)
	return true
}

// giveFailure answers a waiter with SERVFAIL and why (RFC 8914 §4.23, 4.24).
func (w *worker) giveFailure(wt *waiter, why failure) {
	ede, text := dnswire.EDENoReachable, "no backend answered in time"
	switch why {
	case failTimeout:
	case failNoBackend:
		text = "no backend is available"
	case failNetwork:
		ede, text = dnswire.EDENetworkError, "no backend could be reached"
	case failOverload:
		ede, text = dnswire.EDEOther, "too many queries in flight"
	case failFault:
		ede, text = dnswire.EDEOther, "a fault in the resolver"
	}
	buf := w.buffer(wt)
	n := w.s.refuse(w.t.set, buf, &wt.ask, wt.question(), dnswire.ServFail, ede, text)
	w.give(wt, buf, n, FromSelf, dnswire.ServFail)
}
