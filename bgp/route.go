package bgp

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Well-known communities (RFC 1997, RFC 7999, RFC 8326).
const (
	CommunityNoExport         uint32 = 65535<<16 | 65281
	CommunityBlackhole        uint32 = 65535<<16 | 666
	CommunityGracefulShutdown uint32 = 65535 << 16
)

// The function field of the large communities that every announcement carries
// (RFC 8195 style ASN:FUNCTION:SITE): which site the route is from, and whether
// that site has demoted it.
const (
	SiteFunction    uint32 = 1
	DemotedFunction uint32 = 2
)

// Route is one prefix with the attributes that we announce it with. It is a
// value: nobody changes the slices of a Route that was handed over.
type Route struct {
	Prefix           netip.Prefix `json:"prefix"`     // masked; decides the family
	MED              uint32       `json:"med"`        // RFC 4271 §5.1.4; always sent
	LocalPref        uint32       `json:"local_pref"` // sent on iBGP sessions only (RFC 4271 §5.1.5)
	Prepend          int          `json:"prepend"`    // times that our ASN stands in AS_PATH besides the one of eBGP; not on iBGP, where it would be a loop
	Communities      []uint32     `json:"communities,omitempty"`
	LargeCommunities [][3]uint32  `json:"large_communities,omitempty"` // RFC 8092
}

// Equal tells whether both routes would look the same to a neighbor.
func (r Route) Equal(o Route) bool {
	return r.Prefix == o.Prefix && r.MED == o.MED && r.LocalPref == o.LocalPref && r.Prepend == o.Prepend &&
		slices.Equal(r.Communities, o.Communities) && slices.Equal(r.LargeCommunities, o.LargeCommunities)
}

// EqualRoutes compares two sets in their order.
func EqualRoutes(a, b []Route) bool { return slices.EqualFunc(a, b, Route.Equal) }

// Family is "ipv4" or "ipv6": a session carries one of them.
type Family string

// The two families.
const (
	IPv4 Family = "ipv4"
	IPv6 Family = "ipv6"
)

// FamilyOf is the family of an address.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// Community is a standard (RFC 1997) or a large (RFC 8092) community.
type Community struct {
	Large    bool
	Standard uint32
	Parts    [3]uint32 // of a large one
}

// ParseCommunity reads "64500:100" (two numbers up to 65535) or
// "64500:1:2" (three numbers up to 4294967295).
func ParseCommunity(s string) (Community, error) {
	parts := strings.Split(s, ":")
	bits := 16
	if len(parts) == 3 {
		bits = 32
	} else if len(parts) != 2 {
		return Community{}, fmt.Errorf("%q is not a community: write two numbers (64500:100) or three (64500:1:2)", s)
	}
	var n [3]uint32
	for i, p := range parts {
		v, err := strconv.ParseUint(p, 10, bits)
		if err != nil || p[0] == '+' {
			return Community{}, fmt.Errorf("%q is not a community: %q is not a number from 0 to %d", s, p, uint64(1)<<bits-1)
		}
		n[i] = uint32(v)
	}
	if len(parts) == 3 {
		return Community{Large: true, Parts: n}, nil
	}
	return Community{Standard: n[0]<<16 | n[1]}, nil
}

// FormatCommunity writes a standard community as "64500:100".
func FormatCommunity(c uint32) string { return fmt.Sprintf("%d:%d", c>>16, c&0xffff) }

// routes builds the routes of one anycast entry. Lists are sorted and without
// doubles, so that the same wish always is the same value.
func routes(c *AnycastConfig, asn, site uint32, demoted bool) []Route {
	texts := c.Communities
	base := Route{MED: c.MED, LocalPref: c.LocalPref}
	large := [][3]uint32{{asn, SiteFunction, site}}
	if demoted {
		base.MED, base.LocalPref, base.Prepend = c.Demote.MED, c.Demote.LocalPref, c.Demote.Prepend
		texts = append(slices.Clone(texts), c.Demote.Communities...)
		large = append(large, [3]uint32{asn, DemotedFunction, site})
	}
	var standard []uint32
	if c.NoExport {
		standard = append(standard, CommunityNoExport)
	}
	for _, t := range texts {
		if p, err := ParseCommunity(t); err != nil {
			continue // refused by Validate
		} else if p.Large {
			large = append(large, p.Parts)
		} else {
			standard = append(standard, p.Standard)
		}
	}
	slices.Sort(standard)
	slices.SortFunc(large, func(a, b [3]uint32) int { return slices.Compare(a[:], b[:]) })
	base.Communities, base.LargeCommunities = slices.Compact(standard), slices.Compact(large)
	out := make([]Route, 0, len(c.Prefixes))
	for _, p := range c.Prefixes {
		r := base
		r.Prefix = p
		out = append(out, r)
	}
	return out
}
