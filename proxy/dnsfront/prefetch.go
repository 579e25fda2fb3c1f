//go:build amd64 || arm64

package dnsfront

import "unsafe"

// prefetch has the processor fetch the cache line at p, and does not wait for it. p may be
// anything: the hint never fails.
//
//go:noescape
func prefetch(p unsafe.Pointer)
