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

// sessionLink is a session's place among those with the same key.
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
// long: a hash table with linear probing, of which each key has one slot. To look for a
// session, or to make room for more, hardly ever takes a look at another one: in a million
// of them, each would have to be fetched from memory.
type sessionShard struct {
	slots []sessionSlot // a power of two, a quarter of them empty
	n     int
}

// sessionSlot leads to the first session with a key; ref 0: it is empty.
type sessionSlot struct {
	tag uint32 // of the key; it also says where the slot should be
	ref sessionRef
}

func sessionTag(key uint64) uint32 { return uint32(key >> 24) }

func (t *sessionTable) at(r sessionRef) *session {
	return &t.chunks[r/sessionChunk][r%sessionChunk]
}

func (t *sessionTable) shard(by sessionBy, key uint64) *sessionShard {
	return &t.indexes[by][key>>56]
}

// slot is where a key's sessions are found, or the empty slot that it would take; nil if
// there is none. There is an empty slot if there are any.
func (t *sessionTable) slot(by sessionBy, key uint64) *sessionSlot {
	s, tag := t.shard(by, key), sessionTag(key)
	mask := uint32(len(s.slots) - 1)
	for i := tag & mask; s.slots != nil; i = (i + 1) & mask {
		if p := &s.slots[i]; p.ref == 0 || p.tag == tag && t.at(p.ref).key(by) == key {
			return p
		}
	}
	return nil
}

// first is a session with that key; 0: there is none.
func (t *sessionTable) first(by sessionBy, key uint64) sessionRef {
	if key == 0 {
		return 0
	}
	p := t.slot(by, key)
	if p == nil {
		return 0
	}
	return p.ref
}

// next is another session with the same key as r.
func (t *sessionTable) next(by sessionBy, r sessionRef) sessionRef { return t.at(r).links[by].next }

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
			t.link(by, key, r)
		}
	}
	t.linkAge(r)
	t.n++
}

// link makes r the first with its key.
func (t *sessionTable) link(by sessionBy, key uint64, r sessionRef) {
	p := t.slot(by, key)
	if p == nil || p.ref == 0 {
		s := t.shard(by, key)
		s.n++
		if s.n > len(s.slots)/4*3 {
			s.grow()
			p = t.slot(by, key)
		}
		p.tag = sessionTag(key)
	} else {
		t.at(p.ref).links[by].prev = r
	}
	t.at(r).links[by] = sessionLink{next: p.ref}
	p.ref = r
}

func (s *sessionShard) grow() {
	old := s.slots
	s.slots = make([]sessionSlot, max(8, 2*len(old)))
	mask := uint32(len(s.slots) - 1)
	for _, o := range old {
		if o.ref == 0 {
			continue
		}
		i := o.tag & mask
		for s.slots[i].ref != 0 {
			i = (i + 1) & mask
		}
		s.slots[i] = o
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
		l := e.links[by]
		if l.next != 0 {
			t.at(l.next).links[by].prev = l.prev
		}
		if l.prev != 0 {
			t.at(l.prev).links[by].next = l.next
		} else {
			t.shard(by, key).replace(sessionTag(key), r, l.next)
		}
	}
	t.unlinkAge(r)
	*e = session{newer: t.free}
	t.free = r
	t.n--
}

// replace has the slot of the session old lead to next, or empties it when that is 0.
func (s *sessionShard) replace(tag uint32, old, next sessionRef) {
	mask := uint32(len(s.slots) - 1)
	i := tag & mask
	for s.slots[i].ref != old {
		i = (i + 1) & mask
	}
	if s.slots[i].ref = next; next != 0 {
		return
	}
	s.n--
	// What stands behind the gap and was to stand in it or before it moves up.
	for j := (i + 1) & mask; s.slots[j].ref != 0; j = (j + 1) & mask {
		if home := s.slots[j].tag & mask; (j-home)&mask >= (j-i)&mask {
			s.slots[i] = s.slots[j]
			s.slots[j] = sessionSlot{}
			i = j
		}
	}
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
