package radiusfront

import (
	"hash/maphash"
	"sync"

	"sereno/health"
	"sereno/proxy/pool"
	"sereno/proxy/radwire"
)

const (
	// affinityTime is how long an issued State leads back to its backend: longer
	// than a person takes to type a code.
	affinityTime   = int64(10 * 60 * 1e9)
	affinityWays   = 8
	affinitySets   = 1 << 8
	affinityShards = 1 << 5 // 65,536 States in all
)

// affinity remembers which backend issued which State (R32), for all workers:
// the next request of a conversation may come from another source port. It is
// of fixed size; where a set is full the oldest State is forgotten, and goes by
// hash then.
type affinity struct {
	seed   maphash.Seed
	shards [affinityShards]affinityShard
}

type affinityShard struct {
	mu   sync.Mutex
	sets [affinitySets][affinityWays]issuedState
}

type issuedState struct {
	hash    uint64 // of the State and the pool's name: a collision costs one conversation
	backend *pool.Backend
	until   int64
}

func newAffinity() *affinity { return &affinity{seed: maphash.MakeSeed()} }

func (a *affinity) set(target string, state []byte) (*affinityShard, *[affinityWays]issuedState, uint64) {
	h := maphash.Bytes(a.seed, state) ^ mix(maphash.String(a.seed, target))
	s := &a.shards[h%affinityShards]
	return s, &s.sets[h/affinityShards%affinitySets], h
}

func (a *affinity) put(target string, state []byte, b *pool.Backend, now int64) {
	s, set, h := a.set(target, state)
	s.mu.Lock()
	defer s.mu.Unlock()
	oldest := 0
	for i := range set {
		if set[i].hash == h {
			oldest = i
			break
		}
		if set[i].until < set[oldest].until {
			oldest = i
		}
	}
	set[oldest] = issuedState{hash: h, backend: b, until: now + affinityTime}
}

// get is the backend that issued the State, nil if that is not known.
func (a *affinity) get(target string, state []byte, now int64) *pool.Backend {
	s, set, h := a.set(target, state)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range set {
		if set[i].hash == h && set[i].until > now {
			return set[i].backend
		}
	}
	return nil
}

// issued notes the State of an answer that goes to a NAS. w.rix is of p.
func (w *worker) issued(f *flight, a *attempt, p []byte) {
	if state := w.rix.FirstValue(p, radwire.AttrState); state != nil && f.entry.code == radwire.AccessRequest {
		w.service.affinity.put(f.target.name, state, a.up.backend, w.now)
	}
}

// affine is the first attempt of an Access-Request whose State was issued
// through this node (R32): it goes to the issuer, which ends what it has begun
// also when it is drained. done is false where the hash decides instead; w.ix is
// of p.
func (w *worker) affine(f *flight, p []byte) (reason Reason, done bool) {
	state := w.ix.FirstValue(p, radwire.AttrState)
	if state == nil || f.entry.code != radwire.AccessRequest {
		return NumReasons, false
	}
	b := w.service.affinity.get(f.target.name, state, w.now)
	if b == nil {
		return NumReasons, false
	}
	eap, is := w.ix.Has(radwire.AttrEAPMessage), f.pool.Backend(b.Name())
	if is != nil && is != b { // it has another address now, and is perhaps the same server
		return NumReasons, false
	}
	if is == nil || b.Health().State() == health.Down {
		if eap {
			// Another server would not know the conversation and reject the user;
			// after silence the peer starts anew (RFC 5080 section 2.1.1).
			return ReasonStateLost, true
		}
		return NumReasons, false
	}
	if !b.Take() {
		return ReasonNoBackend, eap
	}
	f.tried.Add(b)
	f.pinned = eap
	reason = w.attempt(f, b, p, &w.ix)
	return reason, reason != ReasonNoIdentifier || eap
}
