package dnsfront

import "sync"

// arenaStep is how much memory is taken from the system at once, in bytes.
const arenaStep = 32 * blockSize

// arena hands out blocks of blockSize octets from memory outside the heap: the garbage
// collector neither scans it nor lets the heap grow in proportion to it. Blocks that
// come back are used again; the system gets its memory back in close.
type arena struct {
	mu      sync.Mutex
	free    [][]byte
	regions [][]byte
}

func (a *arena) get() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.free) == 0 {
		r := mapMemory(arenaStep)
		a.regions = append(a.regions, r)
		for off := 0; off < arenaStep; off += blockSize {
			a.free = append(a.free, r[off:off+blockSize:off+blockSize])
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
	for _, r := range a.regions {
		unmapMemory(r)
	}
	a.free, a.regions = nil, nil
}
