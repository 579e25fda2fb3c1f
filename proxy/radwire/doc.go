// Package radwire reads, verifies, rewrites and signs RADIUS packets on raw
// bytes (RFC 2865, 2866, 2868, 2548, 3579, 5176, 5997).
//
// It promises four things. Every byte that a proxy has no reason to change
// leaves as it came and in its order: the packet is never taken apart into
// attributes and put together again. Nothing here reads past the Length field
// or past the slice it was given, whatever the bytes are. Nothing here
// allocates once a Secret exists. Comparisons of authenticators take the same
// time wherever they differ.
//
// The package is pure: no sockets, no clock, no randomness except in
// NewProbeSecret. A Secret keeps hash states and therefore belongs to one
// goroutine; everything else may be used from any number of them.
package radwire
