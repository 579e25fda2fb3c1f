package load

import (
	"fmt"
	"net"
	"net/netip"
)

// checkLocal refuses an address that is not of this host: the generators must never be turned on others.
func checkLocal(addr netip.AddrPort) error {
	if !addr.IsValid() || addr.Port() == 0 {
		return fmt.Errorf("target %s: an address and a port are needed", addr)
	}
	ip := addr.Addr().Unmap()
	if ip.IsLoopback() {
		return nil
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("listing this host's addresses: %w", err)
	}
	for _, a := range own {
		if n, ok := a.(*net.IPNet); ok {
			if o, ok := netip.AddrFromSlice(n.IP); ok && o.Unmap() == ip.WithZone("") {
				return nil
			}
		}
	}
	return fmt.Errorf("target %s is not an address of this host, and load is sent to nobody else", addr)
}
