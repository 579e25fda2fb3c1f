package radiusfront

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"time"

	"go.uber.org/zap"

	"sereno/proxy/radwire"
)

// Survival (R60): while every backend of a pool is down, a login that a backend has
// accepted before is accepted again. What is answered is decided here; what is known
// stands in survivors.go, what of an Accept is repeated in survivalattrs.go, and how it
// is kept over a restart in survivalfile.go.
//
// It promises:
//   - A backend is asked first, whatever health says of it: a wrong verdict costs
//     attempt_timeout, and what a backend says counts.
//   - Only PAP, only a password of which the last word of a backend was an
//     Access-Accept through this node, only within max_age. Anything else is handled
//     as without survival: silence, never an Access-Reject.
//   - A Reject, a Challenge or a Disconnect makes it forget the user; an Accept with
//     another password makes it forget the old one.
//   - No password, and nothing that is hidden under a secret, is kept. Of a password
//     there is an HMAC-SHA-256, under a key of the service in a file of its own and a
//     salt of the entry: who has both files can try passwords, as who has a
//     server's database can.
//   - The workers never wait for the disk, and a login costs nothing more while it is
//     off.

// survival is the configuration of one view.
type survival struct {
	maxAge         int64           // ns
	sessionTimeout uint32          // seconds
	realms         map[string]bool // routes that it may answer for, as configured, in lower case
	static         []netip.Prefix
}

func newSurvival(c *SurvivalConfig) *survival {
	if c.Mode == "off" {
		return nil
	}
	s := &survival{
		maxAge: int64(c.MaxAge), sessionTimeout: uint32(min(int64(c.SessionTimeout.Seconds()), int64(^uint32(0)>>1))),
		realms: map[string]bool{}, static: c.StaticPrefixes,
	}
	for _, r := range c.Realms {
		s.realms[strings.ToLower(r)] = true
	}
	return s
}

// covers tells whether a user's logins may be answered from memory: those of the
// service's own pool, and of the routed realms that are listed.
func (v *view) covers(user []byte) bool {
	if v.realms.empty() {
		return true
	}
	r, routed := v.realms.find(realmOf(user))
	return !routed || v.survival.realms[strings.ToLower(r.realm)]
}

// login is a PAP login as survival sees it.
type login struct {
	key     survivorKey
	user    []byte // shares the packet's memory
	service []byte // Service-Type; likewise
	secret  []byte // shares the worker's scratch
}

// login reads an Access-Request, which comes from Walk with ix; ok is false for what
// survival has nothing to do with. Attribute State belongs to a conversation, whose
// password is an answer to a question and no password.
// The user is who the backend knows: with strip, the name without its realm.
func (w *worker) login(pool string, strip bool, secret *radwire.Secret, p []byte, ix *radwire.Index) (l login, ok bool) {
	password := ix.FirstValue(p, radwire.AttrUserPassword)
	l.user, l.service = ix.FirstValue(p, radwire.AttrUserName), ix.FirstValue(p, attrServiceType)
	if len(l.user) == 0 || len(password) == 0 || ix.UserPasswords != 1 || ix.Has(radwire.AttrState) || ix.Has(radwire.AttrEAPMessage) ||
		ix.Has(radwire.AttrCHAPPassword) || radwire.IsMSCHAP(p, ix) || administrative(l.service) || !w.view.covers(l.user) {
		return l, false
	}
	if strip {
		l.user = withoutRealm(l.user)
	}
	auth := radwire.PacketAuthenticator(p)
	w.password = secret.DecryptPassword(w.password[:0], password, &auth)
	l.secret = w.password
	l.key = w.service.survivors.key(pool, l.user)
	return l, len(l.secret) > 0
}

// witness learns from a backend's verified Access-Accept p to the request req.
func (w *worker) witness(f *flight, req, p []byte) {
	l, ok := w.login(f.target.name, f.userName != nil, f.secret, req, &w.ix)
	if !ok {
		return
	}
	defer clear(w.password)
	w.attrs = repeatable(w.attrs[:0], p)
	if w.attrs == nil { // an administrator's login is never repeated
		w.service.survivors.forget(l.key)
		return
	}
	w.service.survivors.learn(&l, w.attrs, w.clock())
}

// survive answers a login from memory if its pool has no backend left. The answer is in
// the listener's next buffer; nil if there is none. ix is of p.
func (w *worker) survive(e *entry, t *target, strip bool, secret *radwire.Secret, p []byte, ix *radwire.Index) []byte {
	if reachable(t.roles[KindAuth]) {
		return nil
	}
	l, ok := w.login(t.name, strip, secret, p, ix)
	if !ok {
		return nil
	}
	defer clear(w.password)
	s := w.view.survival
	attrs, ok := w.service.survivors.recall(&l, w.attrs[:0], w.clock(), s.maxAge)
	if !ok {
		return nil
	}
	w.attrs = s.fit(attrs, s.jittered(uint32(w.rng.Uint64())))
	buf := e.conn.Next()
	n, err := radwire.Reply(buf, radwire.AccessAccept, w.attrs, p, ix, secret)
	if err != nil {
		return nil
	}
	w.service.repeats.Line(zap.WarnLevel, "a login was answered from memory: every backend is down", zap.String("pool", t.name)).
		Say(func() []zap.Field { return []zap.Field{zap.ByteString("user", l.user)} })
	return buf[:n]
}

// outlive answers a request from memory whose backends are silent and all down. It returns
// true when the request needs nothing more.
func (w *worker) outlive(e *entry) bool {
	f := e.flight
	p, err := radwire.Walk(f.request, &w.rix)
	if err != nil {
		return false // it passed this walk before
	}
	answer := w.survive(e, f.target, f.userName != nil, f.secret, p, &w.rix)
	if answer == nil {
		return false
	}
	if f.trace != nil {
		f.trace.Say("answer", "from memory: every backend of %s is down", f.target.name)
	}
	waited := w.now - f.received
	w.land(f, -1)
	w.survived(e, answer, waited)
	return true
}

// survived sends the answer in the listener's next buffer, counts and remembers it.
func (w *worker) survived(e *entry, answer []byte, waited int64) {
	conn, dest := e.conn, e.dest
	w.book.answers[KindAuth][AnswerAccept][SourceSurvival]++
	w.book.latency[KindAuth].observe(waited)
	w.remember(e, answer, AnswerAccept)
	conn.Commit(len(answer), dest)
}

// jittered spreads session_timeout by a tenth both ways, so that those who came
// together do not come back together.
func (s *survival) jittered(random uint32) uint32 {
	tenth := s.sessionTimeout / 10
	return s.sessionTimeout - tenth + random%(2*tenth+1)
}

// disconnected forgets the user of a verified Disconnect-Request, whether it is named
// or only its session is.
func (w *worker) disconnected(nas netip.Addr, p []byte) {
	s := w.service.sessions
	k := s.keys(p, &w.ix)
	bare := s.hash(withoutRealm(w.ix.FirstValue(p, radwire.AttrUserName)))
	for _, user := range []uint64{k.user, bare, s.userOf(k, nas)} {
		for _, t := range w.view.targets {
			w.service.survivors.forget(survivorKey{pool: t.name, user: user})
		}
	}
}

// secondsOf reads the value of a four-byte attribute.
func secondsOf(v []byte) (uint32, bool) {
	if len(v) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(v), true
}

// explainSurvival says what a PAP login of the user would meet while every backend is
// down.
func (e *Explanation) explainSurvival(v *view, t *target, user string) {
	if v.survival == nil {
		return
	}
	if !v.covers([]byte(user)) {
		e.say("survival: not for realm %s, which is not in survival.realms", e.Realm)
		return
	}
	// Whether somebody has logged in lately is nobody's business who can read the API.
	e.say("survival: while every backend of %s is down, a PAP login is accepted from memory if its password was accepted within %v", t.name, time.Duration(v.survival.maxAge))
}
