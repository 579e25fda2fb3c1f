package radiusfront

// sessionRef is the number of a session in its table; 0: none.
type sessionRef uint32

// sessionKeys are hashes of what identifies a session, 0 where it was not told.
type sessionKeys struct {
	id, user   uint64 // of Acct-Session-Id and User-Name
	caller, ip uint64 // of Calling-Station-Id and Framed-IP-Address
}

// sessionBy is a key that sessions are found by.
type sessionBy uint8

const (
	byID sessionBy = iota
	byUser
	byIP
	sessionIndexes
)

func (k *sessionKeys) key(by sessionBy) uint64 {
	switch by {
	case byUser:
		return k.user
	case byIP:
		return k.ip
	}
	return k.id
}

// session is one session that accounting told of. There is no pointer in it: the garbage
// collector does not look at a million of them.
type session struct {
	sessionKeys
	nas, pool    uint32 // numbers
	epoch        uint32 // of the NAS: it ends with Accounting-On and -Off
	links        [sessionIndexes]sessionLink
	newer, older sessionRef
}

// sessionLink is a session's place among those whose key falls into the same bucket.
type sessionLink struct{ next, prev sessionRef }

const (
	sessionChunk  = 1 << 10
	sessionShards = 1 << 8
)

// sessionTable holds sessions by three keys and by age. Whatever is done to one takes the
// same time however many there are, also of one user. The zero value is empty.
type sessionTable struct {
	chunks         [][]session // number 0 is never given
	made           sessionRef
	free           sessionRef // through newer
	n              int
	newest, oldest sessionRef
	indexes        [sessionIndexes][sessionShards]sessionShard
}

// sessionShard is a part of an index that grows by itself, so that growing never takes
// long.
type sessionShard struct {
	buckets []sessionRef
	n       int
}

func (t *sessionTable) at(r sessionRef) *session {
	return &t.chunks[r/sessionChunk][r%sessionChunk]
}

func (t *sessionTable) shard(by sessionBy, key uint64) *sessionShard {
	return &t.indexes[by][key>>56]
}

// bucket is where the chain of a key begins; the lowest bit of a hash says nothing. There
// must be buckets.
func (s *sessionShard) bucket(key uint64) *sessionRef {
	return &s.buckets[key>>1&uint64(len(s.buckets)-1)]
}

// first is a session with that key; 0: there is none.
func (t *sessionTable) first(by sessionBy, key uint64) sessionRef {
	s := t.shard(by, key)
	if key == 0 || s.n == 0 {
		return 0
	}
	return t.equal(by, key, *s.bucket(key))
}

// next is another session with the same key as r.
func (t *sessionTable) next(by sessionBy, r sessionRef) sessionRef {
	e := t.at(r)
	return t.equal(by, e.key(by), e.links[by].next)
}

// equal is the first session from r on that has the key.
func (t *sessionTable) equal(by sessionBy, key uint64, r sessionRef) sessionRef {
	for r != 0 {
		e := t.at(r)
		if e.key(by) == key {
			return r
		}
		r = e.links[by].next
	}
	return 0
}

// insert adds a session, the newest.
func (t *sessionTable) insert(e session) {
	r := t.free
	if r != 0 {
		t.free = t.at(r).newer
	} else {
		t.made++
		r = t.made
		if int(r/sessionChunk) == len(t.chunks) {
			t.chunks = append(t.chunks, make([]session, sessionChunk))
		}
	}
	p := t.at(r)
	*p = e
	for by := range sessionIndexes {
		if key := p.key(by); key != 0 {
			s := t.shard(by, key)
			if s.n++; s.n > len(s.buckets) {
				t.grow(by, s)
			}
			t.link(by, s, r)
		}
	}
	t.linkAge(r)
	t.n++
}

func (t *sessionTable) link(by sessionBy, s *sessionShard, r sessionRef) {
	e := t.at(r)
	head := s.bucket(e.key(by))
	e.links[by] = sessionLink{next: *head}
	if *head != 0 {
		t.at(*head).links[by].prev = r
	}
	*head = r
}

func (t *sessionTable) grow(by sessionBy, s *sessionShard) {
	old := s.buckets
	s.buckets = make([]sessionRef, max(8, 2*len(old)))
	for _, r := range old {
		for r != 0 {
			next := t.at(r).links[by].next
			t.link(by, s, r)
			r = next
		}
	}
}

// remove takes a session out.
func (t *sessionTable) remove(r sessionRef) {
	e := t.at(r)
	for by := range sessionIndexes {
		key := e.key(by)
		if key == 0 {
			continue
		}
		s, l := t.shard(by, key), e.links[by]
		s.n--
		if l.prev != 0 {
			t.at(l.prev).links[by].next = l.next
		} else {
			*s.bucket(key) = l.next
		}
		if l.next != 0 {
			t.at(l.next).links[by].prev = l.prev
		}
	}
	t.unlinkAge(r)
	*e = session{newer: t.free}
	t.free = r
	t.n--
}

// renew makes a session the newest.
func (t *sessionTable) renew(r sessionRef) {
	t.unlinkAge(r)
	t.linkAge(r)
}

func (t *sessionTable) linkAge(r sessionRef) {
	e := t.at(r)
	e.newer, e.older = 0, t.newest
	if t.newest != 0 {
		t.at(t.newest).newer = r
	}
	t.newest = r
	if t.oldest == 0 {
		t.oldest = r
	}
}

func (t *sessionTable) unlinkAge(r sessionRef) {
	e := t.at(r)
	if e.newer != 0 {
		t.at(e.newer).older = e.older
	} else {
		t.newest = e.older
	}
	if e.older != 0 {
		t.at(e.older).newer = e.newer
	} else {
		t.oldest = e.newer
	}
}
