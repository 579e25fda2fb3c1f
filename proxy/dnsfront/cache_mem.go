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

// arenaStep is how much memory is taken from the system at once, in bytes.
const arenaStep = hugePage

// region is memory outside the heap: the garbage collector neither scans it nor lets the heap grow in proportion to it.
type region struct {
	buf    []byte
	mapped []byte // as the system gave it; nil: from the heap
}

// arena hands out blocks of blockSize octets. Blocks that come back are used again; the system gets its memory back in
// close.
type arena struct {
	mu      sync.Mutex
	free    [][]byte
	regions []region
}

func (a *arena) get() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.free) == 0 {
		r := mapRegion(arenaStep)
		a.regions = append(a.regions, r)
		for off := arenaStep - blockSize; off >= 0; off -= blockSize {
			a.free = append(a.free, r.buf[off:off+blockSize:off+blockSize])
		}
	}
	b := a.free[len(a.free)-1]
	a.free = a.free[:len(a.free)-1]
	return b
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
	a.free, a.regions = nil, nil
}

// carve cuts n values of a type without pointers off the front of b.
func carve[T slot | uint32](b *[]byte, n int) []T {
	var zero T
	size := n * int(unsafe.Sizeof(zero))
	part := (*b)[:size]
	*b = (*b)[size:]
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(part))), n)
}
