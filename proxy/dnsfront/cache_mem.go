package dnsfront

import (
	"sync"
	"unsafe"
)

// hugePage is the size in bytes of the pages on which the cache should lie: with small ones, most of the time of a
// lookup among a million answers goes into finding out where its index and its entry are.
const hugePage = 2 << 20

// cacheLine is the size in bytes of what a processor fetches at once.
const cacheLine = 64

// smallPage is the size in bytes of the smallest page that there is.
const smallPage = 4 << 10

// arenaStep is how much memory is taken from the system at once, in bytes.
const arenaStep = hugePage

// region is memory outside the heap: the garbage collector neither scans it nor lets the heap grow in proportion to it.
type region struct {
	buf    []byte
	mapped []byte // as the system gave it; nil: from the heap
}

// arena hands out blocks of blockSize octets. Blocks that come back are used again; the system gets its memory back in
// close.
//
// Who takes a block holds the lock of a shard, and the system clears a page when it is first written to: a huge one
// takes it a tenth of a millisecond and more. So prepare keeps blocks ready that were written to before.
type arena struct {
	mu      sync.Mutex
	free    [][]byte
	regions []region
	limit   int // regions that prepare may bring it to
	closed  bool
}

func (a *arena) get() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.free) == 0 {
		a.add(mapRegion(arenaStep))
	}
	b := a.free[len(a.free)-1]
	a.free = a.free[:len(a.free)-1]
	return b
}

// add cuts a region into blocks.
func (a *arena) add(r region) {
	a.regions = append(a.regions, r)
	for off := arenaStep - blockSize; off >= 0; off -= blockSize {
		a.free = append(a.free, r.buf[off:off+blockSize:off+blockSize])
	}
}

// prepare has blocks ready for what may be stored until it is called again.
func (a *arena) prepare() {
	for a.short() {
		r := mapRegion(arenaStep)
		r.touch()
		a.mu.Lock()
		if a.closed {
			r.free()
		} else {
			a.add(r)
		}
		a.mu.Unlock()
	}
}

// short tells whether less than half of a region is free and there may be another.
func (a *arena) short() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.closed && len(a.free) < arenaStep/blockSize/2 && len(a.regions) < a.limit
}

// bound sets how many octets the blocks may take.
func (a *arena) bound(octets int) {
	a.mu.Lock()
	a.limit = (octets + arenaStep - 1) / arenaStep
	a.mu.Unlock()
}

// touch writes to all of a region that was never written to.
func (r *region) touch() {
	for off := 0; off < len(r.buf); off += smallPage {
		r.buf[off] = 0
	}
}

func (a *arena) put(b []byte) {
	a.mu.Lock()
	a.free = append(a.free, b)
	a.mu.Unlock()
}

func (a *arena) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.regions {
		a.regions[i].free()
	}
	a.free, a.regions, a.closed = nil, nil, true
}

// carve cuts n values of a type without pointers off the front of b.
func carve[T slot | uint32](b *[]byte, n int) []T {
	var zero T
	size := n * int(unsafe.Sizeof(zero))
	part := (*b)[:size]
	*b = (*b)[size:]
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(part))), n)
}
