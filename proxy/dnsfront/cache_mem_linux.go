package dnsfront

import "golang.org/x/sys/unix"

// wantHuge asks for huge pages. A system that has none, or was told to give none, goes on with small ones.
func wantHuge(b []byte) { _ = unix.Madvise(b, unix.MADV_HUGEPAGE) }
