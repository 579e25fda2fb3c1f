package dnsfront

import (
	"bytes"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"unsafe"

	"sereno/proxy/dnswire"
)

// An entry in a block: a header of entryHeader octets, the places of the TTLs (two
// octets each), the EDE options, the message; the whole padded to entryAlign. Numbers
// are little-endian.
const (
	entrySize    = 0  // uint16: units of entryAlign that the entry takes
	entryMsg     = 2  // uint16: length of the message
	entryPlaces  = 4  // uint16: number of places
	entryFlags   = 6  // uint8: bits below
	entryRcode   = 7  // uint8: upper bits of the rcode
	entryStored  = 8  // uint32: tick at which it was stored
	entryLife    = 12 // uint32: seconds
	entryHash    = 16 // uint32: lower half of the hash
	entryRecheck = 20 // uint32: tick until which a refresh is known to fail
	entryEDE     = 24 // uint16: length of the EDE options
	entryName    = 26 // uint8: length of the question's name
	entryHeader  = 28
	entryAlign   = 8
)

// Bits of entryFlags: the key's, the kind of answer, the queue.
const (
	flagKeyMask   = keyDO | keyCD
	flagKindShift = 2
	flagKindMask  = 3 << flagKindShift
	flagQueue     = 4
	flagQueueMask = 3 << flagQueue
)

// slot is one place of the index. loc holds the entry's place in its lower locBits and
// how often it was asked, 0..3, above; 0 is an empty slot. Under the read lock loc is
// only used atomically.
type slot struct{ hash, loc uint32 }

const (
	locBits  = 30
	locMask  = 1<<locBits - 1
	askedOne = 1 << locBits
	askedMax = 3 << locBits
)

type shard struct {
	mu    sync.RWMutex
	table []slot // a power of two, at most three quarters full
	mask  uint32
	count int // live entries

	blocks  []block // by number; number 0 is not used, so that loc 0 is free
	freeIDs []uint32
	bytes   int // of all blocks in use
	queues  [numQueues]fifo
	ghost   []uint32 // hashes of what left `small`, by their lower bits
	mem     *arena

	maxEntries, maxBytes int
	maxNegative          int // entries
	maxNegativeBytes     int
	staleFor             tick
}

// indexSlots is how many slots the index of a shard of so many entries has.
func indexSlots(entries int) int {
	size := 8
	for size*3 < (entries+1)*4 {
		size *= 2
	}
	return size
}

// indexBytes is what such an index takes: slots, and half as many ghosts.
func indexBytes(entries int) int {
	return indexSlots(entries) * (int(unsafe.Sizeof(slot{})) + int(unsafe.Sizeof(uint32(0)))/2)
}

// resize sets the bounds and, if room is not nil, moves the index there: indexBytes of zeros.
func (s *shard) resize(entries, bytes int, negativeShare float64, staleFor tick, room []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.staleFor = staleFor
	s.maxNegative = max(1, int(float64(entries)*negativeShare))
	s.maxNegativeBytes = max(2*blockSize, int(float64(bytes)*negativeShare))
	s.maxBytes = bytes
	s.maxEntries = entries
	if room == nil {
		return
	}
	s.shrink()
	size := indexSlots(entries)
	old := s.table
	s.table, s.mask = carve[slot](&room, size), uint32(size-1)
	for _, e := range old {
		if e.loc != 0 {
			s.addSlot(e.hash, e.loc)
		}
	}
	s.ghost = carve[uint32](&room, size/2)
}

// entry returns the entry at a place, header and all.
func (s *shard) entry(loc uint32) []byte {
	loc &= locMask
	b := s.blocks[loc>>blockShift].buf
	off := int(loc&blockMask) * entryAlign
	return b[off : off+int(binary.LittleEndian.Uint16(b[off:]))*entryAlign]
}

// message returns where the message of an entry starts and how long it is.
func message(e []byte) (off, n int) {
	off = entryHeader + 2*int(binary.LittleEndian.Uint16(e[entryPlaces:])) + int(binary.LittleEndian.Uint16(e[entryEDE:]))
	return off, int(binary.LittleEndian.Uint16(e[entryMsg:]))
}

// question returns the question in the entry's message: name, type and class.
func question(e []byte) []byte {
	off, _ := message(e)
	off += dnswire.HeaderLen
	return e[off : off+int(e[entryName])+4]
}

// find returns the index of the slot of key, or -1. The lock is held.
func (s *shard) find(key []byte, hash uint32) int {
	q := key[:len(key)-1]
	flags := key[len(key)-1] & flagKeyMask
	for i := hash & s.mask; ; i = (i + 1) & s.mask {
		loc := atomic.LoadUint32(&s.table[i].loc)
		if loc == 0 {
			return -1
		}
		if s.table[i].hash != hash {
			continue
		}
		// Equal hashes are told apart by the whole key (D40).
		if e := s.entry(loc); e[entryFlags]&flagKeyMask == flags && bytes.Equal(question(e), q) {
			return int(i)
		}
	}
}

// fetch has the processor fetch the entry that find will look at first.
func (s *shard) fetch(hash uint32) {
	var e []byte
	s.mu.RLock()
	for i := hash & s.mask; ; i = (i + 1) & s.mask {
		loc := atomic.LoadUint32(&s.table[i].loc)
		if loc == 0 {
			break
		}
		if s.table[i].hash == hash {
			e = s.blocks[loc&locMask>>blockShift].buf[int(loc&blockMask)*entryAlign:]
			break
		}
	}
	s.mu.RUnlock()
	if len(e) > 0 {
		prefetch(unsafe.Pointer(&e[0]))
		prefetch(unsafe.Pointer(&e[min(cacheLine, len(e)-1)]))
	}
}

// asked counts a use of the entry in slot i, up to three. Readers do it at the same
// time; a lost count does no harm.
func (s *shard) asked(i int) {
	if loc := atomic.LoadUint32(&s.table[i].loc); loc < askedMax {
		atomic.CompareAndSwapUint32(&s.table[i].loc, loc, loc+askedOne)
	}
}

func (s *shard) get(key []byte, hash uint32, now tick, dst []byte, limit int, stale bool, staleTTL uint32, h *hit) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	i := s.find(key, hash)
	if i < 0 {
		return false
	}
	e := s.entry(atomic.LoadUint32(&s.table[i].loc))
	var age tick
	if stored := tick(binary.LittleEndian.Uint32(e[entryStored:])); now > stored {
		age = now - stored
	}
	life := binary.LittleEndian.Uint32(e[entryLife:])
	h.kind = answerKind(e[entryFlags] & flagKindMask >> flagKindShift)
	h.stale = uint64(age) >= uint64(life)*ticksPerSecond
	h.left, h.recheck = 0, false
	if h.stale {
		if !stale || h.kind == kindFailure || uint64(age)-uint64(life)*ticksPerSecond > uint64(s.staleFor) {
			return false
		}
		h.recheck = now < tick(binary.LittleEndian.Uint32(e[entryRecheck:]))
	} else {
		h.left = life - uint32(age/ticksPerSecond)
	}
	s.asked(i)

	off, n := message(e)
	h.extRcode = e[entryRcode]
	places := int(binary.LittleEndian.Uint16(e[entryPlaces:]))
	h.edeLen = copy(h.ede[:], e[entryHeader+2*places:off])
	h.whole = n <= limit && n <= len(dst)
	if !h.whole {
		n = dnswire.HeaderLen + int(e[entryName]) + 4
		if n > len(dst) {
			return false
		}
		h.n = copy(dst, e[off:off+n])
		return true
	}
	h.n = copy(dst, e[off:off+n])
	seconds := uint32(age / ticksPerSecond)
	for p := range places {
		at := binary.LittleEndian.Uint16(e[entryHeader+2*p:])
		ttl := staleTTL
		if !h.stale {
			ttl = binary.BigEndian.Uint32(dst[at:])
			ttl -= min(ttl, seconds)
		}
		binary.BigEndian.PutUint32(dst[at:], ttl)
	}
	return true
}

func (s *shard) put(key []byte, hash uint32, now tick, a *answer) bool {
	size := (entryHeader + 2*len(a.ttls) + len(a.ede) + len(a.msg) + entryAlign - 1) / entryAlign
	queue := queueSmall
	if a.kind != kindPositive {
		queue = queueNegative
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.maxEntries == 0 || size*entryAlign > s.maxBytes/4 {
		return false
	}
	if i := s.find(key, hash); i >= 0 {
		loc := s.table[i].loc
		old := s.entry(loc)
		was := queueOf(old)
		if a.kind == kindFailure && s.stillUseful(old, now) {
			return false
		}
		if (was == queueNegative) == (queue == queueNegative) && int(binary.LittleEndian.Uint16(old)) == size {
			// An answer that comes again is mostly as long as it was.
			writeEntry(old, key, hash, now, a, size, was)
			s.asked(i)
			return true
		}
		// It moves to the end of its queue; a name that is asked again after its
		// answer has expired has been asked twice.
		if queue != queueNegative && was != queueNegative && (was == queueMain || loc > locMask) {
			queue = queueMain
		}
		s.drop(i)
	} else if queue == queueSmall && s.ghost[hash&uint32(len(s.ghost)-1)] == hash {
		queue = queueMain
	}
	loc, e := s.alloc(queue, size*entryAlign)
	writeEntry(e, key, hash, now, a, size, queue)
	s.addSlot(hash, loc)
	s.count++
	s.queues[queue].count++
	s.shrink()
	return true
}

// stillUseful tells whether an old entry is an answer that is fresh or may be given stale.
func (s *shard) stillUseful(e []byte, now tick) bool {
	if answerKind(e[entryFlags]&flagKindMask>>flagKindShift) == kindFailure {
		return false
	}
	life := uint64(binary.LittleEndian.Uint32(e[entryLife:]))*ticksPerSecond + uint64(s.staleFor)
	return uint64(now) <= uint64(binary.LittleEndian.Uint32(e[entryStored:]))+life
}

func writeEntry(e, key []byte, hash uint32, now tick, a *answer, size, queue int) {
	binary.LittleEndian.PutUint16(e[entrySize:], uint16(size))
	binary.LittleEndian.PutUint16(e[entryMsg:], uint16(len(a.msg)))
	binary.LittleEndian.PutUint16(e[entryPlaces:], uint16(len(a.ttls)))
	e[entryFlags] = key[len(key)-1]&flagKeyMask | byte(a.kind)<<flagKindShift | byte(queue)<<flagQueue
	e[entryRcode] = a.extRcode
	binary.LittleEndian.PutUint32(e[entryStored:], uint32(now))
	binary.LittleEndian.PutUint32(e[entryLife:], a.life)
	binary.LittleEndian.PutUint32(e[entryHash:], hash)
	binary.LittleEndian.PutUint32(e[entryRecheck:], 0)
	binary.LittleEndian.PutUint16(e[entryEDE:], uint16(len(a.ede)))
	e[entryName] = byte(len(key) - 5)
	off := entryHeader
	for _, at := range a.ttls {
		binary.LittleEndian.PutUint16(e[off:], at)
		off += 2
	}
	off += copy(e[off:], a.ede)
	copy(e[off:], a.msg)
	copy(e[off+dnswire.HeaderLen:], key[:len(key)-1]) // in lower case, whatever the backend wrote
}

func (s *shard) failed(key []byte, hash uint32, until tick) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.find(key, hash); i >= 0 {
		binary.LittleEndian.PutUint32(s.entry(s.table[i].loc)[entryRecheck:], uint32(until))
	}
}

func (s *shard) forget(key []byte, hash uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.find(key, hash); i >= 0 {
		s.drop(i)
	}
}

func (s *shard) flush(match func(name []byte) bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for i := 0; i < len(s.table); {
		if loc := s.table[i].loc; loc == 0 || !match(nameOf(s.entry(loc))) {
			i++
			continue
		}
		s.drop(i) // moves another entry into this slot, or empties it
		n++
	}
	return n
}

// nameOf returns the name of the question in the entry's message.
func nameOf(e []byte) []byte {
	q := question(e)
	return q[:len(q)-4]
}

// nameMatches tells whether a name is name or, with subtree, lies below it; an empty name
// matches all.
func nameMatches(have, name []byte, subtree bool) bool {
	if len(name) == 0 {
		return true
	}
	if !subtree {
		return bytes.Equal(have, name)
	}
	for len(have) > len(name) {
		have = have[int(have[0])+1:]
	}
	return bytes.Equal(have, name)
}

func (s *shard) size() (entries, bytes int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.count, s.bytes + 8*len(s.table) + 4*len(s.ghost)
}

// addSlot puts a place into the index.
func (s *shard) addSlot(hash, loc uint32) {
	i := hash & s.mask
	for s.table[i].loc != 0 {
		i = (i + 1) & s.mask
	}
	s.table[i] = slot{hash, loc}
}

// drop takes the entry in slot i out of the index; its octets are reused when its
// block is. Slots behind it move up, so that a probe never meets a hole.
func (s *shard) drop(i int) {
	s.queues[queueOf(s.entry(s.table[i].loc))].count--
	s.count--
	hole := uint32(i)
	for j := (hole + 1) & s.mask; s.table[j].loc != 0; j = (j + 1) & s.mask {
		if home := s.table[j].hash & s.mask; (j-home)&s.mask >= (j-hole)&s.mask {
			s.table[hole] = s.table[j]
			hole = j
		}
	}
	s.table[hole] = slot{}
}
