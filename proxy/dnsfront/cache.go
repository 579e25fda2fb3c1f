package dnsfront

import (
	"hash/maphash"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// The cache holds whole answers as bytes, without OPT, with the places of their TTLs
// found when they were stored. A hit copies the bytes, lowers the TTLs and is done.
//
// Eviction is S3-FIFO (Yang et al., SOSP 2023), written here and not golang-lru's 2Q:
// 2Q keeps pointers, list elements and a map entry for each answer (over 250 bytes on
// top of the answer, a million objects for the garbage collector) and takes a write
// lock and allocates when a hit moves an element between its lists. Three FIFO queues
// of blocks outside the heap need neither: a hit only sets two bits in a slot of the
// index. New answers wait in `small`, a tenth of the cache; only what is asked again
// while it is there, or soon after it left (ghost), comes into `main`. So names asked
// once pass through without touching what people ask for (D36). Negative answers and
// failures have a queue of their own, which never grows over its share.
//
// It is split into shards by the upper bits of a hash that is seeded for each process
// (D40), each with its own lock; readers of one shard do not wait for one another.

const (
	maxShards      = 128
	shardEntries   = 4096 // entries below which a shard is not worth its fixed costs
	bytesPerEntry  = 256  // what an entry may take on average before bytes are the bound
	ticksPerSecond = 16   // resolution of the age of entries
)

// tick is a moment of the cache's clock: sixteenths of a second, by the monotonic clock.
// It lasts for eight years.
type tick uint32

// firstTick is when a service begins. What a snapshot brings may have expired before that
// (half a year at most).
const firstTick tick = 1 << 28

// seconds after t, saturating.
func (t tick) add(d time.Duration) tick {
	n := uint64(t) + uint64(d*ticksPerSecond/time.Second)
	return tick(min(n, math.MaxUint32))
}

// Bits of the last octet of a key. The first two are part of the cache's key, all
// three of the in-flight table's.
const (
	keyDO byte = 1 << iota
	keyCD
	keyRD
)

// answerKind is what an answer says, as far as its life in the cache goes.
type answerKind uint8

const (
	kindPositive answerKind = iota
	kindNXDomain
	kindNoData
	kindFailure // SERVFAIL of a backend (RFC 9520)
)

// answer is one whole answer as it is stored: no OPT, the question in lower case.
type answer struct {
	msg      []byte
	ttls     []uint16 // places of TTLs
	ede      []byte   // encoded EDE options of the backend, at most maxEDE octets
	extRcode uint8    // upper bits of the rcode
	kind     answerKind
	life     uint32 // seconds
}

// maxEDE bounds the extended errors kept with an answer, in octets.
const maxEDE = 128

// hit is what a lookup found. It is reused and holds no pointers.
type hit struct {
	n        int // octets copied
	whole    bool
	stale    bool
	recheck  bool // stale, and a refresh failed less than staleRetry ago
	kind     answerKind
	extRcode uint8
	left     uint32 // seconds that it still lives; 0 when stale
	edeLen   int
	ede      [maxEDE]byte
}

// cacheLimits bounds a cache; all of it may change while it is in use.
type cacheLimits struct {
	entries       int
	bytes         int
	negativeShare float64
	staleFor      time.Duration
}

// CacheMemory is what the cache of a configuration takes at most, in bytes. It lies outside Go's heap.
func CacheMemory(c *CacheConfig) int64 {
	if !c.Enabled {
		return 0
	}
	return int64(c.Entries)*bytesPerEntry + int64(indexBytes(c.Entries))
}

// cache is the answers of one service. All methods are safe for concurrent use.
type cache struct {
	seed   maphash.Seed
	shift  uint
	shards []shard
	mem    arena

	mu     sync.Mutex // limits
	limits cacheLimits
	index  region // of all shards
	layout atomic.Pointer[layout]
}

// layout tells where the slots of the index are, for fetchSlot alone.
type layout struct {
	index []byte
	each  uint64 // octets of a shard's part, which begins with its slots
	mask  uint32
}

// newCache makes a cache. Its clock is its users': ticks only ever grow.
func newCache(l cacheLimits) *cache {
	n := 1
	for n < maxShards && l.entries/(2*n) >= shardEntries {
		n *= 2
	}
	c := &cache{seed: maphash.MakeSeed(), shift: uint(64 - bits.TrailingZeros(uint(n))), shards: make([]shard, n)}
	for i := range c.shards {
		c.shards[i].mem = &c.mem
	}
	c.setLimits(l)
	return c
}

// setLimits takes up other limits; entries over them are evicted as new ones come.
func (c *cache) setLimits(l cacheLimits) {
	if l.bytes == 0 {
		l.bytes = l.entries * bytesPerEntry
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.shards)
	entries := max(1, (l.entries+n-1)/n)
	bytes := max((l.bytes+n-1)/n, minShardBlocks*blockSize)
	each, old := 0, c.index
	if c.index.buf == nil || l.entries != c.limits.entries {
		each = indexBytes(entries)
		c.index = mapRegion(n * each)
		c.index.touch()
	}
	c.limits = l
	c.mem.bound(n * bytes)
	for i := range c.shards {
		var room []byte
		if each > 0 {
			room = c.index.buf[i*each : (i+1)*each]
		}
		c.shards[i].resize(entries, bytes, l.negativeShare, tick(0).add(l.staleFor), room)
	}
	if each > 0 {
		c.layout.Store(&layout{c.index.buf, uint64(each), uint32(indexSlots(entries) - 1)}) //nolint:gosec // entries are bounded
		old.free()
	}
}

// hash is the seeded hash of a key.
func (c *cache) hash(key []byte) uint64 { return maphash.Bytes(c.seed, key) }

func (c *cache) shard(hash uint64) *shard {
	if c.shift >= 64 {
		return &c.shards[0]
	}
	return &c.shards[hash>>c.shift]
}

// get copies the answer to key (question and the octet of flags) into dst and fills h;
// false: there is none. If the answer is longer than limit, or dst, it copies the
// header and the question alone and leaves h.whole false. TTLs are lowered by the age.
//
// An expired answer no older than staleFor is found too if stale is true: then TTLs
// are set to staleTTL seconds.
func (c *cache) get(key []byte, hash uint64, now tick, dst []byte, limit int, stale bool, staleTTL uint32, h *hit) bool {
	return c.shard(hash).get(key, uint32(hash), now, dst, limit, stale, staleTTL, h)
}

// fetchSlot has the processor fetch the part of the index where the answer with that
// hash is looked for, and fetchEntry the answer itself; neither waits for it. A lookup
// waits for one after the other: a tenth of all that a hit costs, and more among many
// names. For several, the waiting is shared.
func (c *cache) fetchSlot(hash uint64) {
	l := c.layout.Load()
	at := uint64(uint32(hash)&l.mask) * uint64(unsafe.Sizeof(slot{}))
	if c.shift < 64 {
		at += hash >> c.shift * l.each
	}
	prefetch(unsafe.Pointer(&l.index[at]))
}

func (c *cache) fetchEntry(hash uint64) { c.shard(hash).fetch(uint32(hash)) }

// put stores a copy of an answer. A failure never replaces an answer that could still
// be given stale; it reports whether it was stored.
func (c *cache) put(key []byte, hash uint64, now tick, a *answer) bool {
	return c.shard(hash).put(key, uint32(hash), now, a)
}

// forget drops the answer to key.
func (c *cache) forget(key []byte, hash uint64) { c.shard(hash).forget(key, uint32(hash)) }

// failed notes that a refresh of a stale answer failed: until then it is given at once
// (RFC 8767 §5, "failure recheck timer").
func (c *cache) failed(key []byte, hash uint64, until tick) {
	c.shard(hash).failed(key, uint32(hash), until)
}

// flush forgets the answers whose name is name, or also lies below it; an empty name
// means all. It returns how many. Shards are locked one after the other.
func (c *cache) flush(name []byte, subtree bool) int {
	return c.flushIf(func(have []byte) bool { return nameMatches(have, name, subtree) })
}

// flushIf forgets the answers whose name, in lower case, matches. match is called with a
// shard's lock held.
func (c *cache) flushIf(match func(name []byte) bool) int {
	n := 0
	for i := range c.shards {
		n += c.shards[i].flush(match)
	}
	return n
}

// size is the number of entries and the bytes they take, blocks and index together.
func (c *cache) size() (entries, bytes int) {
	for i := range c.shards {
		e, b := c.shards[i].size()
		entries, bytes = entries+e, bytes+b
	}
	return entries, bytes
}

// close gives the memory back. Nobody may use the cache any more.
func (c *cache) close() {
	c.mem.close()
	c.index.free()
}
