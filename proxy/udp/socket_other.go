//go:build !unix

package udp

import "net/netip"

// plainWildcard: this package does not read on this system which address was asked.
const plainWildcard = false

const plainOOB = 0

func parseControl([]byte) (netip.Addr, uint32) { return netip.Addr{}, 0 }

func makeControl(Dest) []byte { return nil }

func kernelDrops(int) uint64 { return 0 }

func commonOptions(int, bool) error { return nil }

func probeOptions(int, bool) error { return nil }

// listenOptions: only one Group can listen on an address here.
func listenOptions(int, bool, bool) error { return nil }

// setBuffers leaves the system's default.
func (c *Conn) setBuffers(int, ListenConfig) error { return nil }
