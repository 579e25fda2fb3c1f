package udp

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// scopeOf is the index of the interface that a link-local address names in its zone, else 0.
func scopeOf(addr netip.Addr) (uint32, error) {
	zone := addr.Zone()
	if zone == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n), nil
	}
	ifi, err := net.InterfaceByName(zone)
	if err != nil {
		return 0, fmt.Errorf("finding interface %q: %w", zone, err)
	}
	return uint32(ifi.Index), nil
}
