//go:build unix

package dnsfront

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapRegion takes n octets from the system, or from the heap if the system refuses. From hugePage octets on they begin
// where a huge page can.
func mapRegion(n int) region {
	extra := 0
	if n >= hugePage {
		extra = hugePage
	}
	b, err := unix.Mmap(-1, 0, n+extra, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return region{buf: make([]byte, n)}
	}
	off := 0
	if extra > 0 {
		off = int(-uintptr(unsafe.Pointer(&b[0])) % hugePage) //nolint:gosec // below hugePage
		wantHuge(b[off : off+n])
	}
	return region{buf: b[off : off+n : off+n], mapped: b}
}

// free gives the memory back; what came from the heap is left to the garbage collector.
func (r *region) free() {
	if r.mapped != nil {
		_ = unix.Munmap(r.mapped)
	}
	*r = region{}
}
