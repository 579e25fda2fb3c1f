package udp

import (
	"net/netip"
	"unsafe"
)

// plainWildcard: this system tells which address was asked.
const plainWildcard = true

// plainOOB is the room for control messages.
const plainOOB = controlSize

func parseControl(oob []byte) (netip.Addr, uint32) {
	var c control
	copy(unsafe.Slice(c.base(), controlSize), oob)
	return c.decode()
}

func makeControl(d Dest) []byte {
	c := new(control)
	return unsafe.Slice(c.base(), controlSize)[:c.encode(d)]
}
