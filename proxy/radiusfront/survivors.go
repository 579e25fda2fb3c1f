package radiusfront

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"
)

const (
	// maxSurvivors bounds the users that are known, and maxSurvivorBytes what their
	// names and attributes take; at a bound the oldest of some makes room.
	maxSurvivors     = 131072
	maxSurvivorBytes = 64 << 20
	survivorTries    = 16
	saltLen          = 8
	// survivorParts is in how many parts all that is known is gone through: logins wait for one of them.
	survivorParts = 256
)

// survivorKey is a user of a pool. Where two names have the same hash, the later one is
// known.
type survivorKey struct {
	pool string
	user uint64 // sessions.hash
}

// survivor is a user whose password a backend has accepted.
type survivor struct {
	user    []byte
	salt    [saltLen]byte
	mac     [sha256.Size]byte // macOf
	learned int64             // ns since the store was made, by the monotonic clock; below 0: before
	attrs   []byte
}

func (s *survivor) bytes() int { return len(s.user) + len(s.attrs) }

// survivors are the known users of a service, for all workers.
type survivors struct {
	hash func([]byte) uint64 // of sessions, so that a session leads to its user
	base time.Time

	mu      sync.Mutex
	secret  []byte                                   // of the MACs; nil: the store is off and nothing is learnt
	known   [survivorParts]map[survivorKey]*survivor // by the key's last bits
	count   int
	bytes   int
	changed map[survivorKey][]byte // not on disk yet: the user of each
	hurry   chan struct{}          // somebody was forgotten: that must not wait
	saving  sync.Mutex             // held while the disk is at work; taken before mu
	stale   bool                   // what is on disk must not be believed: nobody noted who was rejected; guarded by saving
	file    *survivorFile          // nil: memory only; guarded by saving
}

func newSurvivors(hash func([]byte) uint64, now time.Time) *survivors {
	s := &survivors{hash: hash, base: now, hurry: make(chan struct{}, 1)}
	s.clear()
	return s
}

// clear forgets everything. mu is held.
func (s *survivors) clear() {
	for i := range s.known {
		s.known[i] = map[survivorKey]*survivor{}
	}
	s.changed = map[survivorKey][]byte{}
	s.count, s.bytes = 0, 0
}

// part is where a user is known. mu is held.
func (s *survivors) part(k survivorKey) map[survivorKey]*survivor {
	return s.known[k.user%survivorParts]
}

func (s *survivors) key(pool string, user []byte) survivorKey {
	return survivorKey{pool: pool, user: s.hash(user)}
}

// macOf is the keyed hash of a login: another password is another login, and so is another
// service, whose Accept says other things.
func macOf(secret []byte, salt *[saltLen]byte, l *login) (out [sha256.Size]byte) {
	h := hmac.New(sha256.New, secret)
	var n [8]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(l.user)))
	binary.BigEndian.PutUint32(n[4:], uint32(len(l.service)))
	for _, part := range [][]byte{salt[:], n[:], l.user, l.service, l.secret} {
		_, _ = h.Write(part) // never fails (hash.Hash)
	}
	h.Sum(out[:0])
	return out
}

// learn notes that a backend accepted a login with these attributes, which are copied.
func (s *survivors) learn(l *login, attrs []byte, now time.Time) {
	s.mu.Lock()
	secret := s.secret
	s.mu.Unlock()
	if secret == nil {
		return
	}
	v := &survivor{user: append([]byte(nil), l.user...), attrs: append([]byte(nil), attrs...), learned: int64(now.Sub(s.base))}
	_, _ = rand.Read(v.salt[:]) // never fails (crypto/rand)
	v.mac = macOf(secret, &v.salt, l)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.secret != nil {
		s.put(l.key, v)
		s.changed[l.key] = v.user
	}
}

// put is called with mu held, like drop and evict.
func (s *survivors) put(k survivorKey, v *survivor) {
	s.drop(k)
	for s.count > 0 && (s.count >= maxSurvivors || s.bytes+v.bytes() > maxSurvivorBytes) {
		s.evict(k)
	}
	s.part(k)[k] = v
	s.count++
	s.bytes += v.bytes()
}

func (s *survivors) drop(k survivorKey) {
	if old := s.part(k)[k]; old != nil {
		s.bytes -= old.bytes()
		s.count--
		delete(s.part(k), k)
		s.changed[k] = old.user
	}
}

// evict makes room for a user: the oldest of some in its part goes, or of the next part where somebody is.
func (s *survivors) evict(room survivorKey) {
	at := room.user
	for len(s.known[at%survivorParts]) == 0 {
		at++
	}
	var oldest survivorKey
	var found *survivor
	tries := 0
	for k, v := range s.known[at%survivorParts] {
		if found == nil || v.learned < found.learned {
			oldest, found = k, v
		}
		if tries++; tries == survivorTries {
			break
		}
	}
	s.drop(oldest)
}

// forget removes a user, if it is known.
func (s *survivors) forget(k survivorKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.part(k)[k] == nil {
		return
	}
	s.drop(k)
	select {
	case s.hurry <- struct{}{}:
	default:
	}
}

// recall appends the attributes of a login whose password was accepted at most maxAge
// ago; ok is false if there was none.
func (s *survivors) recall(l *login, dst []byte, now time.Time, maxAge int64) (attrs []byte, ok bool) {
	s.mu.Lock()
	v, secret := s.part(l.key)[l.key], s.secret
	s.mu.Unlock() // what a survivor holds never changes
	if v == nil || secret == nil || int64(now.Sub(s.base))-v.learned > maxAge || string(v.user) != string(l.user) {
		return dst, false
	}
	mac := macOf(secret, &v.salt, l)
	if !hmac.Equal(mac[:], v.mac[:]) {
		return dst, false
	}
	return append(dst, v.attrs...), true
}

// prune forgets what is older than maxAge.
func (s *survivors) prune(now time.Time, maxAge int64) {
	for i := range s.known {
		s.mu.Lock()
		for k, v := range s.known[i] {
			if int64(now.Sub(s.base))-v.learned > maxAge {
				s.drop(k)
			}
		}
		s.mu.Unlock()
	}
}

// SurvivalStats are the figures of survival.
type SurvivalStats struct {
	Known int // users whose login would be answered from memory
	Bytes int // their names and attributes
}

// stats is nil while survival is off.
func (s *survivors) stats() *SurvivalStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.secret == nil {
		return nil
	}
	return &SurvivalStats{Known: s.count, Bytes: s.bytes}
}
