//go:build !unix

package dnsfront

func mapRegion(n int) region { return region{buf: make([]byte, n)} }

func (r *region) free() { *r = region{} }
