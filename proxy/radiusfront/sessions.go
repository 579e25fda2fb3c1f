package radiusfront

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"slices"
	"sync"

	"sereno/proxy/radwire"
)

const (
	// maxSessions bounds the sessions that are known; over it the one that was
	// heard of longest ago is forgotten.
	maxSessions = 1 << 20
)

// Values of Acct-Status-Type (RFC 2866 section 5.1).
const (
	acctStart   = 1
	acctStop    = 2
	acctInterim = 3
	acctOn      = 7
	acctOff     = 8
)

// sessions are the open sessions of a service (R50), for all workers.
type sessions struct {
	seed maphash.Seed
	max  int

	mu    sync.Mutex
	known sessionTable
	pools []string                 // by number
	nases []*nasState              // by number
	open  map[netip.Addr]*nasState // by NAS
	names map[nasName]nasClaims

	freeStates *nasState // to be used again
}

// nasState is there as long as a session of the NAS is known, so that there are never more
// of them than sessions.
type nasState struct {
	addr   netip.Addr
	number uint32 // in nases
	epoch  uint32
	open   int
	known  int // those of earlier epochs too
	next   *nasState
}

func newSessions(most int) *sessions {
	return &sessions{seed: maphash.MakeSeed(), max: most, open: map[netip.Addr]*nasState{}, names: map[nasName]nasClaims{}}
}

// hash is never 0, which stands for an absent attribute.
func (s *sessions) hash(v []byte) uint64 {
	if len(v) == 0 {
		return 0
	}
	return maphash.Bytes(s.seed, v) | 1
}

// keys reads the attributes that identify a session.
func (s *sessions) keys(p []byte, ix *radwire.Index) sessionKeys {
	return sessionKeys{
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
		if old := s.find(nas, k.id); old != 0 {
			s.remove(old)
		}
	case acctOn, acctOff:
		if st := s.open[nas]; st != nil { // every session of it is over
			st.epoch++
			st.open = 0
		}
	}
}

// find is the session of that NAS; 0: there is none.
func (s *sessions) find(nas netip.Addr, id uint64) sessionRef {
	for r := s.known.first(byID, id); r != 0; r = s.known.next(byID, r) {
		if s.nas(s.known.at(r)) == nas {
			return r
		}
	}
	return 0
}

// nas is the NAS of a known session.
func (s *sessions) nas(e *session) netip.Addr { return s.nases[e.nas].addr }

// alive tells whether the NAS has not restarted since.
func (s *sessions) alive(e *session) bool { return s.nases[e.nas].epoch == e.epoch }

// pool is the number of a pool's name. There are no more of them than were ever configured.
func (s *sessions) pool(name string) uint32 {
	i := slices.Index(s.pools, name)
	if i < 0 {
		i = len(s.pools)
		s.pools = append(s.pools, name)
	}
	return uint32(i)
}

func (s *sessions) learn(nas netip.Addr, poolName string, k sessionKeys) {
	pool := s.pool(poolName)
	if r := s.find(nas, k.id); r != 0 {
		old := s.known.at(r)
		if s.alive(old) && old.user == k.user && old.caller == k.caller && old.pool == pool && (old.ip == k.ip || k.ip == 0) {
			s.known.renew(r)
			return
		}
		if k.ip == 0 { // an address that was told stays until another is
			k.ip = old.ip
		}
		s.remove(r)
	}
	if s.known.n >= s.max {
		s.remove(s.known.oldest)
	}
	st := s.state(nas)
	s.known.insert(session{sessionKeys: k, nas: st.number, pool: pool, epoch: st.epoch})
	st.open++
	st.known++
}

// state finds or makes what is known of a NAS.
func (s *sessions) state(nas netip.Addr) *nasState {
	st := s.open[nas]
	if st != nil {
		return st
	}
	if st = s.freeStates; st == nil {
		st = &nasState{number: uint32(len(s.nases))}
		s.nases = append(s.nases, st)
	} else {
		s.freeStates = st.next
	}
	*st = nasState{addr: nas, number: st.number}
	s.open[nas] = st
	return st
}

func (s *sessions) remove(r sessionRef) {
	e := s.known.at(r)
	st := s.nases[e.nas]
	if st.epoch == e.epoch {
		st.open--
	}
	if st.known--; st.known == 0 {
		delete(s.open, st.addr)
		st.next, s.freeStates = s.freeStates, st
	}
	s.known.remove(r)
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
	return s.known.n, len(s.names)
}

// locate finds the one NAS, and the pool, of the sessions that have all that
// the keys tell. With a valid nas only its sessions count. Sessions on several
// NASes, or in several pools, are none that could be meant.
func (s *sessions) locate(k sessionKeys, nas netip.Addr) (found netip.Addr, poolName string, ok bool) {
	by := byUser
	switch {
	case k.id != 0:
		by = byID
	case k.ip != 0:
		by = byIP
	case k.user == 0:
		return netip.Addr{}, "", false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fits := func(have, want uint64) bool { return want == 0 || have == 0 || have == want }
	for r := s.known.first(by, k.key(by)); r != 0; r = s.known.next(by, r) {
		e := s.known.at(r)
		at, name := s.nas(e), s.pools[e.pool]
		if !s.alive(e) || nas.IsValid() && at != nas || !fits(e.id, k.id) || !fits(e.ip, k.ip) || !fits(e.user, k.user) || !fits(e.caller, k.caller) {
			continue
		}
		if ok && (found != at || poolName != name) {
			return netip.Addr{}, "", false
		}
		found, poolName, ok = at, name, true
	}
	return found, poolName, ok
}

// userOf is the user of the sessions that have all that the keys tell, 0 if that is none
// or several users. With a valid nas only its sessions count.
func (s *sessions) userOf(k sessionKeys, nas netip.Addr) (user uint64) {
	by := byID
	if k.id == 0 {
		by = byIP
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := s.known.first(by, k.key(by)); r != 0; r = s.known.next(by, r) {
		e := s.known.at(r)
		if !s.alive(e) || nas.IsValid() && s.nas(e) != nas || k.ip != 0 && e.ip != 0 && e.ip != k.ip || e.user == 0 {
			continue
		}
		if user != 0 && user != e.user {
			return 0
		}
		user = e.user
	}
	return user
}
