//go:build !linux

package dnsfront

// freeBind does nothing where the system has no such option: the address must be there.
func freeBind(uintptr, bool) error { return nil }
