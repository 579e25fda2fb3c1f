package load

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// documentation are the networks that are never routed (RFC 5737, RFC 3849).
var documentation = []netip.Prefix{
	netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32"),
}

// checkLaboratory refuses a laboratory's address that anybody else could have.
func checkLaboratory(addr netip.Addr) error {
	for _, p := range documentation {
		if p.Contains(addr) {
			return nil
		}
	}
	return fmt.Errorf("%s cannot be a laboratory's address: it is not one of those kept for documentation, which are routed nowhere", addr)
}

// checkTarget refuses what cannot be asked, and addresses of other hosts unless they may be.
func (c *Common) checkTarget(addr netip.AddrPort) error {
	if c.Anywhere && addr.IsValid() && addr.Port() != 0 {
		return nil
	}
	return checkLocal(addr, c.Laboratory)
}

// ErrElsewhere says that a target is not an address of this host.
var ErrElsewhere = errors.New("not an address of this host")

// checkLocal refuses an address that is neither of this host nor of the laboratory: the generators must never be
// turned on others.
func checkLocal(addr netip.AddrPort, laboratory []netip.Addr) error {
	if !addr.IsValid() || addr.Port() == 0 {
		return fmt.Errorf("target %s: an address and a port are needed", addr)
	}
	ip := addr.Addr().Unmap()
	if ip.IsLoopback() {
		return nil
	}
	if slices.Contains(laboratory, ip) {
		return checkLaboratory(ip)
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
	return fmt.Errorf("target %s: %w, and load is sent to nobody else", addr, ErrElsewhere)
}
