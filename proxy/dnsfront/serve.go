package dnsfront

import (
	"net/netip"

	"sereno/proxy/dnswire"
	"sereno/proxy/insight"
	"sereno/proxy/udp"
)

// turn is what one goroutine needs to handle queries one after the other. It is reused
// and belongs to that goroutine.
type turn struct {
	set  *settings
	book *book
	now  int64 // ns since the service was made, monotonic
	unix uint32
	tick tick

	*query // the one at hand
	a      ask
	h      hit
	r      dnswire.Reply

	subnet bool   // the question goes with its client's subnet, past the cache
	target []byte // a block list sends the question to this name
	tbuf   [dnswire.MaxName]byte

	lens  *insight.Lens[TraceFilter] // nil: nobody looks
	trace *insight.Request           // of the query at hand; nil: nobody follows it
	look  look

	hits uint64 // answered from the cache in this batch
	own  uint64 // answered by ourselves

	single query
}

// begin takes the time and the settings that count until the book is unlocked.
func (t *turn) begin(s *Service, b *book) {
	t.set, t.book = s.settings.Load(), b
	t.lens, t.trace = s.lenses.Load(), nil
	t.query = &t.single
	now := s.nowFunc()
	t.now = int64(now.Sub(s.base))
	t.unix = uint32(now.Unix()) //nolint:gosec // cookies count modulo 2^32
	t.tick = tickOf(t.now)
}

// latencies counts how long the answers took that were given at once: as long as the
// batch until now.
func (t *turn) latencies(s *Service) {
	if t.hits+t.own == 0 {
		return
	}
	took := s.since(t.now)
	t.book.Latency[FromCache].observe(took, t.hits)
	t.book.Latency[FromSelf].observe(took, t.own)
	t.hits, t.own = 0, 0
}

// result says what became of a query.
type result uint8

const (
	dropped  result = iota // counted, no answer
	answered               // the answer is in the buffer, counted
	exempt                 // the answer is in the buffer; the self-probe's, which nobody counts
	missed                 // counted as in flight by nobody yet: a backend must be asked
	faulted                // it made us panic; counted, no answer (connections only)
)

// serve reads a query and decides about it.
func (s *Service) serve(t *turn, transport Transport, peer *udp.Dest, m, out []byte) (n int, r result) {
	t.query = &t.single
	s.read(t.query, m)
	return s.decide(t, transport, peer, m, out)
}

// decide takes the query at hand through the gates, the policy and the cache. If an
// answer comes out of it, it is in out[:n]; out must hold an answer of the transport's
// size. After missed, t.q, t.a, t.key and t.hash describe the question.
//
// The book is locked.
func (s *Service) decide(t *turn, transport Transport, peer *udp.Dest, m, out []byte) (n int, r result) {
	q := &t.q
	if t.problem == dnswire.OK && q.Class == dnswire.ClassCH && dnswire.IsProbe(m, q) {
		// A07: exempt from everything that follows, the counters too.
		if msg, ok := s.probe.Answer(m); ok {
			return copy(out, msg), exempt
		}
	}
	t.book.came(transport)
	if why, drop := t.undesired(transport, peer); drop {
		t.book.dropped(transport, why)
		return 0, dropped
	}
	t.a.take(q, transport, t.set.cfg.UDPSize)
	if n, r, done := s.gate(t, peer.Peer.Addr(), m, out); done {
		return n, r
	}
	if n, r, done := s.special(t, m, out); done {
		return n, r
	}
	if n, r, done := s.canonical(t, m, out); done {
		return n, r
	}
	return s.lookUp(t, m, out)
}

// undesired tells what is never answered: it is no query, or an answer would go nowhere
// or in a circle (D02).
func (t *turn) undesired(transport Transport, peer *udp.Dest) (Drop, bool) {
	switch {
	case t.problem == dnswire.Short:
		return DropShort, true
	case t.problem == dnswire.Response:
		return DropResponse, true
	case peer.Peer.Port() == 0:
		return DropPort, true
	case transport == UDP && t.set.isOwn(peer):
		return DropLoop, true
	}
	return 0, false
}

// gate asks who may ask, how much, and whether the message is well-formed.
func (s *Service) gate(t *turn, client netip.Addr, m, out []byte) (n int, r result, done bool) {
	set, q, transport, problem := t.set, &t.q, t.a.transport, t.problem
	allowed := set.allow.contains(client)
	if !allowed && set.denyDrop { // before the limit, which answers every second query
		t.book.dropped(transport, DropNotAllowed)
		return 0, dropped, true
	}
	proven := s.cookie(t, m, client)
	if set.limiter != nil && transport == UDP && !proven {
		switch set.limiter.take(client, t.now) {
		case overDrop:
			t.book.dropped(transport, DropRateLimit)
			return 0, dropped, true
		case overTruncate:
			return s.truncate(t, m, out), answered, true
		case within:
		}
	}
	rcode, ede := -1, noEDE
	switch {
	case !allowed:
		rcode, ede = dnswire.Refused, dnswire.EDEProhibited
	case q.OPT.HasCookie && !goodCookieLength(q.OPT.Cookie.Len):
		rcode = dnswire.FormErr
	case problem == dnswire.BadCount && t.a.cookieOK && dnswire.QDCount(m) == 0:
		rcode = dnswire.NoError // only the cookie was asked for (RFC 7873 §5.4)
	case problem != dnswire.OK:
		rcode = problem.Rcode()
	default:
		return 0, 0, false
	}
	n, r = s.self(t, m, out, rcode, ede)
	return n, r, true
}

// canonical completes the question's key, and obeys the block lists, which look names up
// in that form.
func (s *Service) canonical(t *turn, m, out []byte) (n int, r result, done bool) {
	set, q := t.set, &t.q
	t.target, t.subnet = nil, set.ecsPass && q.OPT.HasECS
	if t.subnet {
		if !goodSubnet(q.OPT.ECS.In(m)) {
			n, r = s.self(t, m, out, dnswire.FormErr, noEDE)
			return n, r, true
		}
		t.key = append(append(t.key[:q.QuestionLen()], q.OPT.ECS.In(m)...), keyFlags(q))
		t.hash = s.hash(t.key)
	}
	if len(set.block) > 0 {
		if b, rule := set.blocked(t.key[:q.NameLen]); rule != nil {
			if n, r, done = s.obey(t, b, rule, m, out); done {
				return n, r, true
			}
		}
	}
	if t.target != nil {
		t.key = append(append(append(t.key[:0], t.target...), q.Question(m)[q.NameLen:]...), keyFlags(q))
		t.hash = s.hash(t.key)
		return 0, missed, true // a worker puts the CNAME in front of the target's answer
	}
	return 0, 0, false
}

// lookUp answers from the cache, if it can.
func (s *Service) lookUp(t *turn, m, out []byte) (n int, r result) {
	set := t.set
	if set.cache == nil || !t.q.RD() || t.subnet {
		return 0, missed
	}
	if set.cache.get(t.key, t.hash, t.tick, out, t.a.room(), false, 0, &t.h) && !t.needs64(out) {
		t.book.Hits++
		t.hits++
		return s.fromCache(t, m, out, FromCache, noEDE), answered
	}
	t.book.Misses++
	return 0, missed
}

// needs64 tells whether a hit must give way to an answer made from A (D63): it says that
// there is no AAAA, or has none that counts.
func (t *turn) needs64(out []byte) bool {
	d := t.set.dns64
	if d == nil || !d.wants(&t.q) {
		return false
	}
	if t.h.kind != kindPositive {
		return t.h.kind != kindNXDomain
	}
	return t.h.whole && dnswire.ParseReply(out[:t.h.n], &t.r) == nil && !d.usable(out, &t.r)
}

// fromCache finishes what a lookup copied into out and counts the answer.
func (s *Service) fromCache(t *turn, m, out []byte, source Source, ede int) int {
	rcode := int(out[3]&dnswire.RcodeMask) | int(t.h.extRcode)<<4
	x := extra{rcode: rcode, ede: t.h.ede[:t.h.edeLen]}
	var room [maxEDE]byte
	if ede != noEDE {
		x.ede = dnswire.AppendEDE(room[:0], uint16(ede), "") //nolint:gosec // a code of RFC 8914
	}
	n := s.finish(t.set, out, t.h.n, &t.a, t.q.Question(m), t.h.whole, false, x)
	t.book.answered(t.a.transport, source, rcode)
	return n
}

// self answers without records and counts it.
func (s *Service) self(t *turn, m, out []byte, rcode, ede int) (int, result) {
	t.own++
	t.book.answered(t.a.transport, FromSelf, rcode)
	return s.refuse(t.set, out, &t.a, t.q.Question(m), rcode, ede, ""), answered
}
