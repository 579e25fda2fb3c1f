//go:build unix

package dnsfront

import "golang.org/x/sys/unix"

// mapMemory takes n octets from the system, or from the heap if the system refuses.
func mapMemory(n int) []byte {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return make([]byte, n)
	}
	return b
}

// unmapMemory gives memory back. What came from the heap is refused by the call and
// left to the garbage collector.
func unmapMemory(b []byte) { _ = unix.Munmap(b) }
