package pool

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Bounds of what may be configured.
const (
	maxWeight      = 1000
	maxInFlight    = 1 << 20
	minAttemptTime = 10 * time.Millisecond
	maxTimeout     = time.Minute
)

// Validate checks the section by itself, for a pool of the given protocol ("dns"
// or "radius"). report is told the key, relative to the section, and what is
// wrong with its value.
func (c *Config) Validate(_ string, report func(key, message string)) {
	if !slices.Contains([]string{"dns", "radius"}, c.Protocol) {
		if c.Protocol == "" {
			report("protocol", "is needed; write dns or radius")
		} else {
			report("protocol", fmt.Sprintf("%q is not one of dns, radius", c.Protocol))
		}
	}
	if _, err := parsePolicy(c.Balance); err != nil {
		report("balance", fmt.Sprintf("%q is not one of %s", c.Balance, strings.Join(policies[:], ", ")))
	}
	if c.MinHealthy < 1 {
		report("min_healthy", "must be at least 1")
	}
	if c.Attempts < 1 || c.Attempts > MaxAttempts {
		report("attempts", fmt.Sprintf("must be from 1 to %d", MaxAttempts))
	}
	if c.Timeout < minAttemptTime || c.Timeout > maxTimeout {
		report("timeout", fmt.Sprintf("must be from %v to %v", minAttemptTime, maxTimeout))
	}
	switch {
	case c.AttemptTimeout < minAttemptTime:
		report("attempt_timeout", fmt.Sprintf("must be at least %v", minAttemptTime))
	case c.AttemptTimeout > c.Timeout && c.Timeout >= minAttemptTime:
		report("attempt_timeout", fmt.Sprintf("must not be longer than timeout, which is %v: no second backend would ever be tried", c.Timeout))
	}
	if !(c.RetryBudget >= 0 && c.RetryBudget <= 1) { // NaN too
		report("retry_budget", "is a share of the requests and must be from 0 to 1")
	}
}

// Warnings reports what works but hurts.
func (c *Config) Warnings(protocol string, report func(key, message string)) {
	if protocol == "radius" {
		for _, d := range []struct {
			key   string
			value time.Duration
		}{{"attempt_timeout", c.AttemptTimeout}, {"timeout", c.Timeout}} {
			if d.value <= time.Second {
				report(d.key, fmt.Sprintf("%v is not longer than the second by which FreeRADIUS delays an Access-Reject: each rejected user would be tried at another backend", d.value))
			}
		}
	}
}

// Validate checks the section by itself, for a backend of a pool of the given
// protocol.
func (c *BackendConfig) Validate(protocol string, report func(key, message string)) {
	if _, err := c.parseAddress(protocol); err != nil {
		report("address", err.Error())
	}
	if c.Weight < 1 || c.Weight > maxWeight {
		report("weight", fmt.Sprintf("must be from 1 to %d; to take a backend out of use, drain it", maxWeight))
	}
	if c.MaxInFlight < 1 || c.MaxInFlight > maxInFlight {
		report("max_in_flight", fmt.Sprintf("must be from 1 to %d", maxInFlight))
	}
	source, err := c.sourceAddr()
	switch {
	case err != nil:
		report("source", err.Error())
	case !source.IsValid():
	case source.IsUnspecified() || source.IsMulticast():
		report("source", fmt.Sprintf("%v cannot be sent from; write an address of this host, or leave it out", source))
	default:
		if a, err := c.parseAddress(protocol); err == nil && a.Addr().Is4() != source.Is4() {
			report("source", fmt.Sprintf("%v and the address %v are not of the same family", source, a.Addr()))
		}
	}
}

// parseAddress reads Address: for dns an IP, or IP:PORT; for radius an IP, because
// each role has a port of its own. The port is 0 where none is written.
func (c *BackendConfig) parseAddress(protocol string) (netip.AddrPort, error) {
	if c.Address == "" {
		return netip.AddrPort{}, fmt.Errorf("is needed; write an IP address")
	}
	a, err := netip.ParseAddr(c.Address)
	if err == nil {
		return checkAddress(netip.AddrPortFrom(a.Unmap(), 0))
	}
	p, err := netip.ParseAddrPort(c.Address)
	switch {
	case err != nil && protocol == "dns":
		return netip.AddrPort{}, fmt.Errorf("%q is neither an IP address nor IP:PORT; names are not looked up", c.Address)
	case err != nil:
		return netip.AddrPort{}, fmt.Errorf("%q is not an IP address; names are not looked up", c.Address)
	case protocol == "radius":
		return netip.AddrPort{}, fmt.Errorf("has a port; write %s, and the ports as auth_port and acct_port", p.Addr())
	case p.Port() == 0:
		return netip.AddrPort{}, fmt.Errorf("the port must not be 0")
	}
	return checkAddress(netip.AddrPortFrom(p.Addr().Unmap(), p.Port()))
}

func checkAddress(a netip.AddrPort) (netip.AddrPort, error) {
	if a.Addr().IsUnspecified() || a.Addr().IsMulticast() {
		return netip.AddrPort{}, fmt.Errorf("%v is not the address of one host", a.Addr())
	}
	return a, nil
}

// sourceAddr reads Source; the zero Addr if there is none.
func (c *BackendConfig) sourceAddr() (netip.Addr, error) {
	if c.Source == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(c.Source)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%q is not an IP address", c.Source)
	}
	return a.Unmap(), nil
}
