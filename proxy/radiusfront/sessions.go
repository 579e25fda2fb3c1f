package radiusfront

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"sync"

	"sereno/proxy/radwire"
)

const (
	// maxSessions bounds the sessions that are known; over it the one that was
	// heard of longest ago is forgotten.
	maxSessions = 1 << 20
	// maxNames bounds the NAS names that are known.
	maxNames = 65536
	// maxNameLen is the longest NAS-Identifier that is remembered.
	maxNameLen = 64
)

// Values of Acct-Status-Type (RFC 2866 section 5.1).
const (
	acctStart   = 1
	acctStop    = 2
	acctInterim = 3
	acctOn      = 7
	acctOff     = 8
)

// nasName is what a NAS calls itself: NAS-Identifier, NAS-IP-Address or
// NAS-IPv6-Address with its value.
type nasName struct {
	typ byte
	len byte
	val [maxNameLen]byte
}

func makeNASName(typ byte, v []byte) (nasName, bool) {
	if len(v) == 0 || len(v) > maxNameLen {
		return nasName{}, false
	}
	n := nasName{typ: typ, len: byte(len(v))}
	copy(n.val[:], v)
	return n, true
}

// nasAttrs are the attributes by which a NAS names itself, in the order in
// which they are believed.
var nasAttrs = [...]byte{radwire.AttrNASIdentifier, radwire.AttrNASIPAddress, radwire.AttrNASIPv6Address}

// session is one session that accounting told of.
type session struct {
	nas          netip.Addr
	pool         string
	epoch        uint32 // of the NAS: it ends with Accounting-On and -Off
	id, user     uint64 // hashes of Acct-Session-Id and User-Name
	caller, ip   uint64 // hashes of Calling-Station-Id and Framed-IP-Address; 0: not told
	byID, byUser *session
	byIP         *session
	newer, older *session
}

// sessions are the open sessions of a service (R50), for all workers.
type sessions struct {
	seed maphash.Seed
	max  int

	mu     sync.Mutex
	ids    map[uint64]*session // chained through byID
	users  map[uint64]*session
	ips    map[uint64]*session
	newest *session
	oldest *session
	total  int
	free   *session                 // chained through byID
	open   map[netip.Addr]*nasState // by NAS
	names  map[nasName]netip.Addr

	freeStates *nasState // to be used again
}

// nasState is there as long as a session of the NAS is known, so that there are never more
// of them than sessions.
type nasState struct {
	epoch uint32
	open  int
	known int // those of earlier epochs too
	next  *nasState
}

func newSessions(most int) *sessions {
	return &sessions{seed: maphash.MakeSeed(), max: most, ids: map[uint64]*session{}, users: map[uint64]*session{}, ips: map[uint64]*session{},
		open: map[netip.Addr]*nasState{}, names: map[nasName]netip.Addr{}}
}

// hash is never 0, which stands for an absent attribute.
func (s *sessions) hash(v []byte) uint64 {
	if len(v) == 0 {
		return 0
	}
	return maphash.Bytes(s.seed, v) | 1
}

// keys reads the attributes that identify a session.
func (s *sessions) keys(p []byte, ix *radwire.Index) session {
	return session{
		id: s.hash(ix.FirstValue(p, radwire.AttrAcctSessionID)), user: s.hash(ix.FirstValue(p, radwire.AttrUserName)),
		caller: s.hash(ix.FirstValue(p, radwire.AttrCallingStationID)), ip: s.hash(ix.FirstValue(p, radwire.AttrFramedIPAddress)),
	}
}

// account learns from a verified Accounting-Request. userName is what the backend, and so
// its CoA, calls the user where that is not User-Name (strip_realm); else nil.
func (s *sessions) account(nas netip.Addr, poolName string, userName, p []byte, ix *radwire.Index) {
	v := ix.FirstValue(p, radwire.AttrAcctStatusType)
	if len(v) != 4 {
		return
	}
	k := s.keys(p, ix)
	if userName != nil {
		k.user = s.hash(userName)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch binary.BigEndian.Uint32(v) {
	case acctStart, acctInterim:
		if k.id != 0 {
			s.learn(nas, poolName, k)
		}
	case acctStop:
		if old := s.find(nas, k.id); old != nil {
			s.remove(old)
		}
	case acctOn, acctOff:
		if st := s.open[nas]; st != nil { // every session of it is over
			st.epoch++
			st.open = 0
		}
	}
}

func (s *sessions) find(nas netip.Addr, id uint64) *session {
	for e := s.ids[id]; e != nil; e = e.byID {
		if e.id == id && e.nas == nas {
			return e
		}
	}
	return nil
}

// alive tells whether the NAS has not restarted since.
func (s *sessions) alive(e *session) bool {
	st := s.open[e.nas]
	return st != nil && st.epoch == e.epoch
}

func (s *sessions) learn(nas netip.Addr, poolName string, k session) {
	if old := s.find(nas, k.id); old != nil {
		if s.alive(old) && old.user == k.user && old.caller == k.caller && old.pool == poolName && (old.ip == k.ip || k.ip == 0) {
			s.unlinkAge(old)
			s.linkAge(old)
			return
		}
		if k.ip == 0 { // an address that was told stays until another is
			k.ip = old.ip
		}
		s.remove(old)
	}
	if s.total >= s.max {
		s.remove(s.oldest)
	}
	e := s.free
	if e == nil {
		e = &session{}
	} else {
		s.free = e.byID
	}
	st := s.open[nas]
	if st == nil {
		if st = s.freeStates; st == nil {
			st = &nasState{}
		} else {
			s.freeStates = st.next
			*st = nasState{}
		}
		s.open[nas] = st
	}
	*e = session{nas: nas, pool: poolName, epoch: st.epoch, id: k.id, user: k.user, caller: k.caller, ip: k.ip}
	st.open++
	st.known++
	s.total++
	e.byID, s.ids[e.id] = s.ids[e.id], e
	if e.user != 0 {
		e.byUser, s.users[e.user] = s.users[e.user], e
	}
	if e.ip != 0 {
		e.byIP, s.ips[e.ip] = s.ips[e.ip], e
	}
	s.linkAge(e)
}

func (s *sessions) remove(e *session) {
	unlink(s.ids, e.id, e, func(e *session) **session { return &e.byID })
	unlink(s.users, e.user, e, func(e *session) **session { return &e.byUser })
	unlink(s.ips, e.ip, e, func(e *session) **session { return &e.byIP })
	s.unlinkAge(e)
	if st := s.open[e.nas]; st != nil {
		if st.epoch == e.epoch {
			st.open--
		}
		if st.known--; st.known == 0 {
			delete(s.open, e.nas)
			st.next, s.freeStates = s.freeStates, st
		}
	}
	s.total--
	*e = session{byID: s.free}
	s.free = e
}

// unlink takes e out of the chain of a key.
func unlink(m map[uint64]*session, key uint64, e *session, next func(*session) **session) {
	head := m[key]
	if head == e {
		if *next(e) == nil {
			delete(m, key)
		} else {
			m[key] = *next(e)
		}
		return
	}
	for at := head; at != nil; at = *next(at) {
		if *next(at) == e {
			*next(at) = *next(e)
			return
		}
	}
}

func (s *sessions) linkAge(e *session) {
	e.newer, e.older = nil, s.newest
	if s.newest != nil {
		s.newest.newer = e
	}
	s.newest = e
	if s.oldest == nil {
		s.oldest = e
	}
}

func (s *sessions) unlinkAge(e *session) {
	if e.newer != nil {
		e.newer.older = e.older
	} else {
		s.newest = e.older
	}
	if e.older != nil {
		e.older.newer = e.newer
	} else {
		s.oldest = e.newer
	}
	e.newer, e.older = nil, nil
}

// count is how many sessions are open.
func (s *sessions) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, st := range s.open {
		n += st.open
	}
	return n
}

// sizes is how many sessions and NAS names are known.
func (s *sessions) sizes() (known, names int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total, len(s.names)
}

// locate finds the one NAS, and the pool, of the sessions that have all that
// the keys tell. With a valid nas only its sessions count. Sessions on several
// NASes, or in several pools, are none that could be meant.
func (s *sessions) locate(k session, nas netip.Addr) (found netip.Addr, poolName string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var e *session
	var next func(*session) *session
	switch {
	case k.id != 0:
		e, next = s.ids[k.id], func(e *session) *session { return e.byID }
	case k.ip != 0:
		e, next = s.ips[k.ip], func(e *session) *session { return e.byIP }
	case k.user != 0:
		e, next = s.users[k.user], func(e *session) *session { return e.byUser }
	default:
		return netip.Addr{}, "", false
	}
	fits := func(have, want uint64) bool { return want == 0 || have == 0 || have == want }
	for ; e != nil; e = next(e) {
		if !s.alive(e) || nas.IsValid() && e.nas != nas || !fits(e.id, k.id) || !fits(e.ip, k.ip) || !fits(e.user, k.user) || !fits(e.caller, k.caller) {
			continue
		}
		if ok && (found != e.nas || poolName != e.pool) {
			return netip.Addr{}, "", false
		}
		found, poolName, ok = e.nas, e.pool, true
	}
	return found, poolName, ok
}

// userOf is the user of the sessions that have all that the keys tell, 0 if that is none
// or several users. With a valid nas only its sessions count.
func (s *sessions) userOf(k session, nas netip.Addr) (user uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, next := s.ids[k.id], func(e *session) *session { return e.byID }
	if k.id == 0 {
		e, next = s.ips[k.ip], func(e *session) *session { return e.byIP }
	}
	for ; e != nil; e = next(e) {
		if !s.alive(e) || nas.IsValid() && e.nas != nas || k.ip != 0 && e.ip != 0 && e.ip != k.ip || e.user == 0 {
			continue
		}
		if user != 0 && user != e.user {
			return 0
		}
		user = e.user
	}
	return user
}

// learnName notes what the NAS at an address calls itself, once for each
// worker and change.
func (w *worker) learnName(nas netip.Addr, p []byte) {
	for _, typ := range nasAttrs {
		n, ok := makeNASName(typ, w.ix.FirstValue(p, typ))
		if !ok || w.names[n] == nas {
			continue
		}
		if len(w.names) >= maxNames {
			clear(w.names)
		}
		w.names[n] = nas
		w.service.sessions.name(n, nas)
	}
}

func (s *sessions) name(n nasName, nas netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.names[n]; !known && len(s.names) >= maxNames {
		for old := range s.names { // any: who is still there tells its name again
			delete(s.names, old)
			break
		}
	}
	s.names[n] = nas
}

// named is the address of the NAS that calls itself so.
func (s *sessions) named(n nasName) (netip.Addr, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.names[n]
	return a, ok
}
