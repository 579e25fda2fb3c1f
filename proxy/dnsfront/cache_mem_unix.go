//go:build unix

package dnsfront

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapRegion takes n octets from the system, or from the heap if the system refuses. From hugePage octets on they begin
// where a huge page can.
func mapRegion(n int) region {
	used, page := n, os.Getpagesize()
	n = (n + page - 1) / page * page
	extra := 0
	if n >= hugePage {
		extra = hugePage
	}
	at, err := unix.MmapPtr(-1, 0, nil, uintptr(n+extra), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return region{buf: make([]byte, used)}
	}
	if extra > 0 {
		// What stands before and behind would count against the system's limits.
		head := -uintptr(at) % hugePage
		unmap(at, head)
		at = unsafe.Add(at, head)
		unmap(unsafe.Add(at, n), uintptr(extra)-head)
	}
	b := unsafe.Slice((*byte)(at), n)
	if extra > 0 {
		wantHuge(b)
	}
	return region{buf: b[:used:used], mapped: b}
}

func unmap(at unsafe.Pointer, n uintptr) {
	if n > 0 {
		_ = unix.MunmapPtr(at, n) // only refused for what was not mapped
	}
}

// free gives the memory back; what came from the heap is left to the garbage collector.
func (r *region) free() {
	if r.mapped != nil {
		unmap(unsafe.Pointer(&r.mapped[0]), uintptr(len(r.mapped)))
	}
	*r = region{}
}
