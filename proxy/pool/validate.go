package pool

import (
	"fmt"
	"net/netip"
	"time"
)

// sourceAddr reads Source; the zero Addr if there is none.
func (c *BackendConfig) sourceAddr() (netip.Addr, error) {
	if c.Source == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(c.Source)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("source %q is not an IP address", c.Source)
	}
	return a.Unmap(), nil
}

var _ = time.Second
