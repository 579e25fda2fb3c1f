//go:build !unix

package dnsfront

func mapMemory(n int) []byte { return make([]byte, n) }

func unmapMemory([]byte) {}
