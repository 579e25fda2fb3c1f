//go:build !linux

package dnsfront

func wantHuge([]byte) {}
