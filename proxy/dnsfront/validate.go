package dnsfront

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"sereno/proxy/dnswire"
)

// Validate reports everything that is wrong with the section by itself. It touches
// neither files nor the network. Whether the pools exist is for the caller.
func (c *Config) Validate(report func(key, message string)) {
	if c.Name == "" {
		report("name", "is required")
	}
	if len(c.Listen)+len(c.TLS.Listen)+len(c.HTTPS.Listen) == 0 {
		report("listen", `is required: IP:PORT, e.g. "192.0.2.53:53"`)
	}
	seen := map[netip.AddrPort]string{}
	addresses("listen", c.Listen, seen, report)
	addresses("tls.listen", c.TLS.Listen, seen, report)
	addresses("https.listen", c.HTTPS.Listen, seen, report)
	pair("tls", len(c.TLS.Listen) > 0, c.TLS.Certificate, c.TLS.Key, report)
	pair("https", len(c.HTTPS.Listen) > 0, c.HTTPS.Certificate, c.HTTPS.Key, report)
	if c.TLS.Name != "" {
		if _, ok := dnswire.ParseName(nil, c.TLS.Name); !ok {
			report("tls.name", "is not a domain name")
		}
	}
	if !strings.HasPrefix(c.HTTPS.Path, "/") {
		report("https.path", `must begin with "/"`)
	}
	if c.Pool == "" {
		report("pool", "is required: the name of a pool with protocol dns")
	}
	zones := map[string]bool{}
	for i, r := range c.Routes {
		if r.Pool == "" {
			report(fmt.Sprintf("routes[%d].pool", i), "is required")
		}
		if len(r.Zones) == 0 {
			report(fmt.Sprintf("routes[%d].zones", i), "is required")
		}
		for j, z := range r.Zones {
			key := fmt.Sprintf("routes[%d].zones[%d]", i, j)
			name, ok := dnswire.ParseName(nil, z)
			switch {
			case !ok:
				report(key, fmt.Sprintf("%q is not a domain name", z))
			case zones[string(name)]:
				report(key, fmt.Sprintf("%s is routed twice", dnswire.NameString(name)))
			default:
				zones[string(name)] = true
			}
		}
	}
	for i, p := range c.Allow {
		valid(fmt.Sprintf("allow[%d]", i), p, report)
	}
	oneOf("deny", c.Deny, report, "refuse", "drop")
	between("udp_size", c.UDPSize, dnswire.MinUDP, 4096, report)
	oneOf("any", c.Any, report, "tcp", "refuse", "pass")
	oneOf("ecs", c.ECS, report, "strip", "pass")
	c.Cache.validate(report)
	c.validateLimits(report)
	c.validatePolicy(report)
}

func (c *CacheConfig) validate(report func(key, message string)) {
	between("cache.entries", c.Entries, 1, 1_000_000_000, report)
	notNegative("cache.max_ttl", c.MaxTTL, report)
	notNegative("cache.min_ttl", c.MinTTL, report)
	notNegative("cache.negative_ttl", c.NegativeTTL, report)
	if c.MaxTTL >= 0 && c.MinTTL > c.MaxTTL {
		report("cache.min_ttl", "is longer than max_ttl")
	}
	if c.FailureTTL < 0 || c.FailureTTL > 5*time.Minute {
		report("cache.failure_ttl", "must be between 0s and 5m (RFC 9520)")
	}
	if c.NegativeShare < 0 || c.NegativeShare > 1 {
		report("cache.negative_share", "must be between 0 and 1")
	}
	notNegative("cache.stale.for", c.Stale.For, report)
	notNegative("cache.stale.after", c.Stale.After, report)
	if c.Stale.TTL < time.Second && c.Stale.For > 0 {
		report("cache.stale.ttl", "must be 1s at least, better 30s (RFC 8767)")
	}
}

func (c *Config) validateLimits(report func(key, message string)) {
	r := c.RateLimit
	between("rate_limit.queries_per_second", r.QueriesPerSecond, 0, 1_000_000_000, report)
	between("rate_limit.burst", r.Burst, 0, 1_000_000_000, report)
	between("rate_limit.ipv4_prefix", r.IPv4Prefix, 0, 32, report)
	between("rate_limit.ipv6_prefix", r.IPv6Prefix, 0, 128, report)
	for i, p := range r.Exempt {
		valid(fmt.Sprintf("rate_limit.exempt[%d]", i), p, report)
	}
	between("tcp.max_connections", c.TCP.MaxConnections, 1, 1_000_000, report)
	between("tcp.max_per_client", c.TCP.MaxPerClient, 1, 1_000_000, report)
	between("tcp.max_pipelined", c.TCP.MaxPipelined, 1, 65535, report)
	if c.TCP.IdleTimeout < time.Second || c.TCP.IdleTimeout > time.Hour {
		report("tcp.idle_timeout", "must be between 1s and 1h")
	}
}

func (c *Config) validatePolicy(report func(key, message string)) {
	if c.DNS64.Prefix != "" {
		p, err := netip.ParsePrefix(c.DNS64.Prefix)
		switch {
		case err != nil || !p.Addr().Is6() || p != p.Masked():
			report("dns64.prefix", fmt.Sprintf("%q is not an IPv6 prefix, e.g. 64:ff9b::/96", c.DNS64.Prefix))
		case p.Bits() != 32 && p.Bits() != 40 && p.Bits() != 48 && p.Bits() != 56 && p.Bits() != 64 && p.Bits() != 96:
			report("dns64.prefix", "must have 32, 40, 48, 56, 64 or 96 bits (RFC 6052)")
		}
	}
	for i, p := range c.DNS64.Exclude {
		if !p.IsValid() || !p.Addr().Is6() {
			report(fmt.Sprintf("dns64.exclude[%d]", i), "is not an IPv6 prefix")
		}
	}
	for i, b := range c.Block {
		key := func(name string) string { return fmt.Sprintf("block[%d].%s", i, name) }
		if b.File == "" {
			report(key("file"), "is required")
		}
		oneOf(key("format"), b.Format, report, "names", "hosts", "rpz")
		if _, err := netip.ParseAddr(b.Action); err != nil {
			switch b.Action {
			case "nxdomain", "refuse", "nodata", "drop":
			default:
				report(key("action"), fmt.Sprintf("%q is not one of nxdomain, refuse, nodata, drop or an IP address", b.Action))
			}
		}
		oneOf(key("reason"), b.Reason, report, "blocked", "censored", "filtered")
	}
}

// Warnings reports what is allowed and still deserves a second look.
func (c *Config) Warnings(report func(key, message string)) {
	for i, p := range c.Allow {
		if p.IsValid() && p.Bits() == 0 {
			report(fmt.Sprintf("allow[%d]", i), fmt.Sprintf("%s makes this an open resolver: everybody in the world may ask", p))
		}
	}
	if len(c.Allow) == 0 {
		report("allow", "is empty: nobody may ask")
	}
	if !c.Cache.Enabled {
		report("cache.enabled", "without a cache every query goes to a backend, and nothing can be answered while all are down")
	} else if c.Cache.Stale.For == 0 {
		report("cache.stale.for", "without stale answers nothing can be answered while every backend is down (RFC 8767)")
	}
	if c.UDPSize > 1232 {
		report("udp_size", "over 1232 answers may be fragmented, and fragments get lost (RFC 9715)")
	}
}

// SetDefaults sets the defaults of one block list.
func (c *BlockConfig) SetDefaults() {
	*c = BlockConfig{Format: "names", Action: "nxdomain", Reason: "blocked"}
}

// addresses checks a list of IP:PORT. Port 0 takes a free one, for tests.
func addresses(key string, list []string, seen map[netip.AddrPort]string, report func(key, message string)) {
	for i, s := range list {
		at := fmt.Sprintf("%s[%d]", key, i)
		a, err := netip.ParseAddrPort(s)
		if err != nil {
			report(at, fmt.Sprintf("%q is not IP:PORT, e.g. 192.0.2.53:53 or [2001:db8::53]:53", s))
			continue
		}
		if before := seen[a]; before != "" && a.Port() != 0 {
			report(at, fmt.Sprintf("%s is listed in %s already", a, before))
		}
		seen[a] = at
	}
}

func pair(key string, listens bool, certificate, private string, report func(key, message string)) {
	if listens && certificate == "" {
		report(key+".certificate", "is required with listen")
	}
	if listens && private == "" {
		report(key+".key", "is required with listen")
	}
}

func valid(key string, p netip.Prefix, report func(key, message string)) {
	if !p.IsValid() {
		report(key, "is not a prefix, e.g. 192.0.2.0/24")
	} else if p.Addr().Is4In6() {
		report(key, "is an IPv4 prefix written as IPv6: write it as IPv4")
	}
}

func oneOf(key, value string, report func(key, message string), allowed ...string) {
	for _, a := range allowed {
		if value == a {
			return
		}
	}
	report(key, fmt.Sprintf("%q is not one of %s", value, strings.Join(allowed, ", ")))
}

func between(key string, value, low, high int, report func(key, message string)) {
	if value < low || value > high {
		report(key, fmt.Sprintf("%d is not in %d..%d", value, low, high))
	}
}

func notNegative(key string, d time.Duration, report func(key, message string)) {
	if d < 0 {
		report(key, "must not be negative")
	}
}
