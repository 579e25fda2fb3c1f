package bgp

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"
)

// maxPrepend bounds demote.prepend: longer paths are dropped by many networks.
const maxPrepend = 50

// Validate reports everything that is wrong with the `bgp` section. Keys are
// relative to it; nothing is read from files or the network.
func (c *Config) Validate(report func(key, message string)) {
	if c.Lease < 500*time.Millisecond || c.Lease > time.Minute {
		report("lease", fmt.Sprintf("%v is not between 500ms and 1m", c.Lease))
	}
	if c.Site == 0 {
		report("site", "must be from 1 to 4294967295")
	}
	if c.RouterID != "" {
		if a, err := netip.ParseAddr(c.RouterID); err != nil || !a.Is4() || a.IsUnspecified() {
			report("router_id", fmt.Sprintf("%q is not an IPv4 address, such as 10.0.0.2 (RFC 4271 §4.2)", c.RouterID))
		}
	}
	if len(c.Neighbors) > 0 {
		if c.ASN == 0 {
			report("asn", "required, because there is a neighbor")
		}
		if c.RouterID == "" {
			report("router_id", "required, because there is a neighbor: an IPv4 address of this node")
		}
	}
	if c.ASN == 23456 || c.ASN == math.MaxUint32 {
		report("asn", fmt.Sprintf("%d is reserved (RFC 6793, RFC 7300)", c.ASN))
	}
	c.validateListen(report)
	type session struct{ address, source netip.Addr }
	seen, names := map[session]int{}, map[string]int{}
	for i := range c.Neighbors {
		n := &c.Neighbors[i]
		at := func(key, message string) { report(fmt.Sprintf("neighbors[%d].%s", i, key), message) }
		n.validate(at)
		if j, ok := names[n.Name]; ok && n.Name != "" {
			at("name", fmt.Sprintf("%q is the name of neighbors[%d] already", n.Name, j))
		} else {
			names[n.Name] = i
		}
		if a, err := netip.ParseAddr(n.Address); err == nil {
			s, _ := netip.ParseAddr(n.Source)
			key := session{a.Unmap(), s.Unmap()}
			if j, ok := seen[key]; ok {
				at("address", fmt.Sprintf("neighbor twice: neighbors[%d] has %s already", j, a))
			} else {
				seen[key] = i
			}
		}
	}
}

// validateListen refuses what cannot work: each neighbor has a process of its
// own, and two processes cannot listen on one address.
func (c *Config) validateListen(report func(key, message string)) {
	if c.Listen == "" {
		return
	}
	host, _, ok := splitListen(c.Listen)
	if !ok {
		report("listen", fmt.Sprintf("%q is not ADDRESS:PORT, such as \":179\"", c.Listen))
		return
	}
	taken := map[string]string{}
	for i := range c.Neighbors {
		n := &c.Neighbors[i]
		at := n.Source
		if at == "" {
			at = string(n.transport())
			if host.IsValid() {
				at = host.String()
			}
		}
		if other, ok := taken[at]; ok {
			report(fmt.Sprintf("neighbors[%d].source", i), fmt.Sprintf("with `listen`, each neighbor needs a source address of its own; %q listens there already", other))
		}
		taken[at] = n.Name
	}
}

// splitListen reads ":179", "10.0.0.2:179" or "[2001:db8::2]:179".
func splitListen(s string) (host netip.Addr, port uint16, ok bool) {
	if rest, found := strings.CutPrefix(s, ":"); found {
		s = "0.0.0.0:" + rest
		ap, err := netip.ParseAddrPort(s)
		return netip.Addr{}, ap.Port(), err == nil && ap.Port() != 0
	}
	ap, err := netip.ParseAddrPort(s)
	return ap.Addr(), ap.Port(), err == nil && ap.Port() != 0
}

// transport is the family of the TCP connection.
func (n *NeighborConfig) transport() Family {
	a, err := netip.ParseAddr(n.Address)
	if err != nil {
		return IPv4
	}
	return FamilyOf(a)
}

// EffectiveFamily is the family of routes that the session carries: `family`,
// or else the address's own.
func (n *NeighborConfig) EffectiveFamily() Family {
	if n.Family != "" {
		return Family(n.Family)
	}
	return n.transport()
}

func (n *NeighborConfig) validate(report func(key, message string)) {
	if n.Name == "" {
		report("name", "required")
	}
	address, ok := checkAddress(n.Address, "address", report)
	if n.Address == "" {
		report("address", "required")
	}
	if n.ASN == 0 {
		report("asn", "required: the neighbor's AS number")
	}
	if n.Port < 1 || n.Port > 65535 {
		report("port", fmt.Sprintf("%d is not between 1 and 65535", n.Port))
	}
	n.validateTimers(report)
	if n.MultihopTTL < 0 || n.MultihopTTL > 255 {
		report("multihop_ttl", fmt.Sprintf("%d is not between 0 and 255", n.MultihopTTL))
	}
	if n.TTLSecurity < 0 || n.TTLSecurity > 255 {
		report("ttl_security", fmt.Sprintf("%d is not between 0 and 255; 255 accepts direct neighbors only", n.TTLSecurity))
	}
	if n.TTLSecurity > 0 && n.MultihopTTL > 0 {
		report("ttl_security", "cannot be combined with multihop_ttl: for a neighbor N hops away write ttl_security: 255-N+1 alone (RFC 5082)")
	}
	if source, valid := checkAddress(n.Source, "source", report); valid && ok && FamilyOf(source) != FamilyOf(address) {
		report("source", fmt.Sprintf("%s and the neighbor's address %s are not of one family", source, address))
	}
	n.validateFamily(address, ok, report)
	if n.MaxReceived < 1 {
		report("max_received", "must be at least 1")
	}
}

func (n *NeighborConfig) validateTimers(report func(key, message string)) {
	switch {
	case n.HoldTime == 0:
		report("hold_time", "0 means no keepalives: a dead node would keep its routes for ever; write 9s")
	case n.HoldTime < 3*time.Second:
		report("hold_time", fmt.Sprintf("%v is not allowed: at least 3s (RFC 4271 §4.2)", n.HoldTime))
	case n.HoldTime%time.Second != 0 || n.HoldTime > 65535*time.Second:
		report("hold_time", fmt.Sprintf("%v is not a whole number of seconds from 3 to 65535", n.HoldTime))
	}
	if n.ConnectRetry < time.Second || n.ConnectRetry > time.Hour || n.ConnectRetry%time.Second != 0 {
		report("connect_retry", fmt.Sprintf("%v is not a whole number of seconds from 1s to 1h", n.ConnectRetry))
	}
}

func (n *NeighborConfig) validateFamily(address netip.Addr, ok bool, report func(key, message string)) {
	if n.Family != "" && n.Family != string(IPv4) && n.Family != string(IPv6) {
		report("family", fmt.Sprintf("%q is not ipv4 or ipv6", n.Family))
		return
	}
	hop, hopOK := checkAddress(n.NextHop, "next_hop", report)
	if !ok {
		return
	}
	family := n.EffectiveFamily()
	if hopOK && FamilyOf(hop) != family {
		report("next_hop", fmt.Sprintf("%s is not an %s address", hop, family))
	}
	if family != FamilyOf(address) && n.NextHop == "" {
		report("family", fmt.Sprintf("%s over a session to %s needs next_hop: an %s address of this node", family, address, family))
	}
}

// checkAddress parses an optional unicast address without a zone.
func checkAddress(s, key string, report func(key, message string)) (netip.Addr, bool) {
	if s == "" {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		report(key, fmt.Sprintf("%q is not an IP address", s))
	case a.Is4In6():
		report(key, fmt.Sprintf("write %s instead of the mapped %s", a.Unmap(), s))
	case a.Zone() != "" || a.IsLinkLocalUnicast():
		report(key, fmt.Sprintf("%s is link-local: use a global address", s))
	case a.IsUnspecified() || a.IsMulticast():
		report(key, fmt.Sprintf("%s is not a host's address", s))
	default:
		return a, true
	}
	return netip.Addr{}, false
}

// Warnings reports what is allowed but hurts.
func (c *Config) Warnings(report func(key, message string)) {
	if c.Listen != "" {
		report("listen", "not needed, and passive MD5 and GTSM need MPTCP switched off; the speakers connect out by themselves")
	}
	for i := range c.Neighbors {
		n := &c.Neighbors[i]
		at := fmt.Sprintf("neighbors[%d].", i)
		if n.GracefulRestart {
			report(at+"graceful_restart", "keeps the routes of a dead node for the whole restart time: leave it off for anycast")
		}
		if n.HoldTime >= 3*time.Second && n.HoldTime < 9*time.Second {
			report(at+"hold_time", fmt.Sprintf("%v is short: a busy router or node may lose the session; 9s is safe", n.HoldTime))
		}
	}
}

// Validate reports everything that is wrong with one `anycast` item, with keys
// relative to it.
func (c *AnycastConfig) Validate(report func(key, message string)) {
	if c.Name == "" {
		report("name", "required")
	}
	if len(c.Prefixes) == 0 {
		report("prefixes", "required: at least one prefix, such as 192.0.2.53/32")
	}
	seen := map[netip.Prefix]int{}
	for i, p := range c.Prefixes {
		key := fmt.Sprintf("prefixes[%d]", i)
		c.validatePrefix(key, p, report)
		if j, ok := seen[p]; ok {
			report(key, fmt.Sprintf("%s is prefixes[%d] already", p, j))
		}
		seen[p] = i
	}
	if len(c.Requires) == 0 {
		report("requires", "required: the services whose health the route stands for")
	}
	required := map[string]bool{}
	for i, name := range c.Requires {
		if required[name] {
			report(fmt.Sprintf("requires[%d]", i), fmt.Sprintf("%q is named twice", name))
		}
		required[name] = true
	}
	switch c.WhenDown {
	case "withdraw", "demote", "hand-over":
	default:
		report("when_down", fmt.Sprintf("%q is not withdraw, demote or hand-over", c.WhenDown))
	}
	c.validateTimes(report)
	checkCommunities("communities", c.Communities, report)
	checkCommunities("demote.communities", c.Demote.Communities, report)
	if c.Demote.Prepend < 0 || c.Demote.Prepend > maxPrepend {
		report("demote.prepend", fmt.Sprintf("%d is not between 0 and %d", c.Demote.Prepend, maxPrepend))
	}
	if len(c.Assign) > 15 || strings.ContainsAny(c.Assign, "/ \t\n") {
		report("assign", fmt.Sprintf("%q is not the name of an interface", c.Assign))
	}
}

func (c *AnycastConfig) validateTimes(report func(key, message string)) {
	if c.AnnounceAfter < 0 || c.AnnounceAfter > 24*time.Hour {
		report("announce_after", fmt.Sprintf("%v is not between 0s and 24h", c.AnnounceAfter))
	}
	if c.MaxAnnounceDelay < c.AnnounceAfter || c.MaxAnnounceDelay > 24*time.Hour {
		report("max_announce_delay", fmt.Sprintf("%v is not between announce_after (%v) and 24h", c.MaxAnnounceDelay, c.AnnounceAfter))
	}
	if c.DrainTime < 0 || c.DrainTime > time.Hour {
		report("drain_time", fmt.Sprintf("%v is not between 0s and 1h", c.DrainTime))
	}
}

func (c *AnycastConfig) validatePrefix(key string, p netip.Prefix, report func(key, message string)) {
	switch a := p.Addr(); {
	case !p.IsValid():
		report(key, "not a prefix, such as 192.0.2.53/32")
	case a.Is4In6():
		report(key, fmt.Sprintf("%s is IPv4 in an IPv6 form: write it as IPv4", p))
	case p != p.Masked():
		report(key, fmt.Sprintf("%s has host bits set: write %s, or /%d for the single address", p, p.Masked(), a.BitLen()))
	case a.IsMulticast() || a.IsLoopback() || a.IsLinkLocalUnicast() || p.Bits() == a.BitLen() && a.IsUnspecified():
		report(key, fmt.Sprintf("%s cannot be announced", p))
	case !c.AllowCovering && a.Is4() && p.Bits() < 24:
		report(key, fmt.Sprintf("%s is shorter than /24: set allow_covering if that is meant", p))
	case !c.AllowCovering && a.Is6() && p.Bits() < 48:
		report(key, fmt.Sprintf("%s is shorter than /48: set allow_covering if that is meant", p))
	}
}

func checkCommunities(key string, list []string, report func(key, message string)) {
	for i, s := range list {
		at := fmt.Sprintf("%s[%d]", key, i)
		if p, err := ParseCommunity(s); err != nil {
			report(at, err.Error())
		} else if !p.Large && p.Standard == CommunityBlackhole {
			report(at, "65535:666 is BLACKHOLE: the routers would throw the traffic away (RFC 7999)")
		}
	}
}

// Warnings reports what is allowed but hurts in one `anycast` item.
func (c *AnycastConfig) Warnings(report func(key, message string)) {
	if !c.NoExport && len(c.Communities) == 0 {
		report("no_export", "without NO_EXPORT or a community of yours the route may leave your network")
	}
	for i, p := range c.Prefixes {
		if c.Assign != "" && p.IsValid() && !p.IsSingleIP() {
			report(fmt.Sprintf("prefixes[%d]", i), fmt.Sprintf("%s is not a single address, so nothing of it is put on %s", p, c.Assign))
		}
	}
	if c.WhenDown == "demote" && c.Demote.MED == c.MED && c.Demote.Prepend == 0 && c.Demote.LocalPref == c.LocalPref && len(c.Demote.Communities) == 0 {
		report("demote", "changes nothing: no other site would take over")
	}
}

// ValidateTogether reports what is wrong only when all anycast items and the
// `bgp` section are seen at once. Keys are paths from the root.
func ValidateTogether(c *Config, anycast []AnycastConfig, report func(key, message string)) {
	owner := map[netip.Prefix]string{}
	for i := range anycast {
		for j, p := range anycast[i].Prefixes {
			key := fmt.Sprintf("anycast[%d].prefixes[%d]", i, j)
			if other, ok := owner[p]; ok && other != anycast[i].Name {
				report(key, fmt.Sprintf("%s belongs to %q already: two entries would fight over it", p, other))
			}
			owner[p] = anycast[i].Name
		}
	}
}

// WarningsTogether reports prefixes of a family that no neighbor carries, and
// hand-over that cannot see the other sites. Keys are paths from the root.
func WarningsTogether(c *Config, anycast []AnycastConfig, report func(key, message string)) {
	if len(c.Neighbors) == 0 {
		return
	}
	carried, external := map[Family]bool{}, false
	for i := range c.Neighbors {
		carried[c.Neighbors[i].EffectiveFamily()] = true
		external = external || c.Neighbors[i].ASN != c.ASN
	}
	for i := range anycast {
		if external && anycast[i].WhenDown == "hand-over" && anycast[i].NoExport {
			report(fmt.Sprintf("anycast[%d].no_export", i), "with hand-over, routers of another AS do not show us the other sites' routes, because of NO_EXPORT: set no_export: false and a community of yours that keeps the route in")
		}
		for j, p := range anycast[i].Prefixes {
			if f := FamilyOf(p.Addr()); p.IsValid() && !carried[f] {
				report(fmt.Sprintf("anycast[%d].prefixes[%d]", i, j), fmt.Sprintf("no neighbor carries %s: %s is announced to nobody", f, p))
			}
		}
	}
}
