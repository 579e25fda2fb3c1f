package speaker

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/apiutil"
	wire "github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"sereno/bgp"
)

// family is GoBGP's name of a family, unicast.
func family(f bgp.Family) *api.Family {
	if f == bgp.IPv6 {
		return &api.Family{Afi: api.Family_AFI_IP6, Safi: api.Family_SAFI_UNICAST}
	}
	return &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST}
}

// newPath renders a route for GoBGP. An unspecified next hop becomes the
// session's local address, which is right because a session carries its own
// family unless next_hop says what to send.
func newPath(s *bgp.Session, r bgp.Route) (*api.Path, error) {
	v6, hop := bgp.FamilyOf(r.Prefix.Addr()) == bgp.IPv6, s.NextHop
	attrs := []wire.PathAttributeInterface{wire.NewPathAttributeOrigin(wire.BGP_ORIGIN_ATTR_TYPE_IGP)}
	internal := s.ASN == s.LocalASN
	if r.Prepend > 0 && !internal {
		numbers := slices.Repeat([]uint32{s.LocalASN}, r.Prepend)
		attrs = append(attrs, wire.NewPathAttributeAsPath([]wire.AsPathParamInterface{
			wire.NewAs4PathParam(wire.BGP_ASPATH_ATTR_TYPE_SEQ, numbers)}))
	}
	var nlri wire.AddrPrefixInterface
	if v6 {
		if hop == "" {
			hop = "::"
		}
		nlri = wire.NewIPv6AddrPrefix(uint8(r.Prefix.Bits()), r.Prefix.Addr().String())
		attrs = append(attrs, wire.NewPathAttributeMpReachNLRI(hop, []wire.AddrPrefixInterface{nlri}))
	} else {
		if hop == "" {
			hop = "0.0.0.0"
		}
		nlri = wire.NewIPAddrPrefix(uint8(r.Prefix.Bits()), r.Prefix.Addr().String())
		attrs = append(attrs, wire.NewPathAttributeNextHop(hop))
	}
	attrs = append(attrs, wire.NewPathAttributeMultiExitDisc(r.MED))
	if internal {
		attrs = append(attrs, wire.NewPathAttributeLocalPref(r.LocalPref))
	}
	if len(r.Communities) > 0 {
		attrs = append(attrs, wire.NewPathAttributeCommunities(slices.Clone(r.Communities)))
	}
	if len(r.LargeCommunities) > 0 {
		var large []*wire.LargeCommunity
		for _, c := range r.LargeCommunities {
			large = append(large, wire.NewLargeCommunity(c[0], c[1], c[2]))
		}
		attrs = append(attrs, wire.NewPathAttributeLargeCommunities(large))
	}
	p, err := apiutil.NewPath(nlri, false, attrs, time.Now())
	if err != nil {
		return nil, fmt.Errorf("rendering %s: %w", r.Prefix, err)
	}
	return p, nil
}

// readPath reads a path of a GoBGP table back. asns is AS_PATH, flattened.
func readPath(prefix string, p *api.Path) (r bgp.Route, asns []uint32, err error) {
	if r.Prefix, err = netip.ParsePrefix(prefix); err != nil {
		return r, nil, fmt.Errorf("reading path: %w", err)
	}
	attrs, err := apiutil.GetNativePathAttributes(p)
	if err != nil {
		return r, nil, fmt.Errorf("reading path of %s: %w", prefix, err)
	}
	for _, a := range attrs {
		switch a := a.(type) {
		case *wire.PathAttributeMultiExitDisc:
			r.MED = a.Value
		case *wire.PathAttributeLocalPref:
			r.LocalPref = a.Value
		case *wire.PathAttributeAsPath:
			for _, s := range a.Value {
				asns = append(asns, s.GetAS()...)
			}
		case *wire.PathAttributeCommunities:
			r.Communities = a.Value
		case *wire.PathAttributeLargeCommunities:
			for _, c := range a.Values {
				r.LargeCommunities = append(r.LargeCommunities, [3]uint32{c.ASN, c.LocalData1, c.LocalData2})
			}
		}
	}
	return r, asns, nil
}

// wanted is a route as it must be found in adj-out: what the kind of session
// does not carry is not compared.
func wanted(s *bgp.Session, r bgp.Route) bgp.Route {
	if s.ASN == s.LocalASN {
		r.Prepend = 0
	} else {
		r.LocalPref = 0
	}
	return r
}

// sent is a route of adj-out, brought to the same form.
func sent(s *bgp.Session, r bgp.Route, asns []uint32) bgp.Route {
	r.Prepend = len(asns)
	if s.ASN != s.LocalASN {
		r.Prepend-- // the one that every eBGP session adds
		r.LocalPref = 0
	}
	slices.Sort(r.Communities)
	slices.SortFunc(r.LargeCommunities, func(a, b [3]uint32) int { return slices.Compare(a[:], b[:]) })
	return r
}
