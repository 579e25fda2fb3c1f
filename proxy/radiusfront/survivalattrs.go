package radiusfront

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"sereno/proxy/radwire"
)

// Attributes that survival looks at (RFC 2865, 3162, 4818, 6911).
const (
	attrServiceType         = 6
	attrFramedIPNetmask     = 9
	attrFramedRoute         = 22
	attrFramedIPv6Prefix    = 97
	attrFramedIPv6Route     = 99
	attrDelegatedIPv6Prefix = 123
	attrFramedIPv6Address   = 168
	attrRouteIPv6Info       = 170
)

const (
	vendorCisco      = 9
	ciscoAVPair      = 1
	vendorMikroTik   = 14988
	mikrotikGroup    = 3
	vendorJuniper    = 2636
	juniperLocalUser = 1          // Juniper-Local-User-Name
	addressByUser    = 0xFFFFFFFF // Framed-IP-Address: the user chooses
	addressFromNAS   = 0xFFFFFFFE // and: the NAS chooses, from a pool of its own (RFC 2865 section 5.8)
)

// administrative tells whether a Service-Type is one that gives power over the NAS:
// Administrative, NAS-Prompt, and both with callback.
func administrative(v []byte) bool {
	if len(v) != 4 {
		return false
	}
	switch binary.BigEndian.Uint32(v) {
	case 6, 7, 9, 11:
		return true
	}
	return false
}

// repeatable appends the attributes of the Access-Accept p, which comes from Walk, that
// may be repeated in another packet: not what belongs to one conversation (State, Class,
// EAP, Proxy-State, Message-Authenticator) and no secret. It returns nil for a
// login that gives power over the NAS.
func repeatable(dst, p []byte) []byte {
	dst = append(dst, 0)[:0] // not nil, also when nothing is left
	for rest := p[radwire.HeaderLen:]; len(rest) > 0; {
		attr := rest[:rest[1]]
		rest = rest[rest[1]:]
		switch attr[0] {
		case radwire.AttrState, radwire.AttrClass, radwire.AttrEAPMessage, radwire.AttrProxyState, radwire.AttrMessageAuthenticator:
			continue
		case attrServiceType:
			if administrative(attr[2:]) {
				return nil
			}
		}
		if privileged(attr) {
			return nil
		}
		if !radwire.IsSecret(attr) {
			dst = append(dst, attr...)
		}
	}
	return dst
}

// fit takes out of remembered attributes, in place, the addresses that are not inside
// static_prefixes, since somebody else may have them now, and sets Session-Timeout: the
// given one, or the remembered one if that is shorter. What is too long for a packet with
// it is left to the caller to see.
func (s *survival) fit(attrs []byte, timeout uint32) []byte {
	kept, address := attrs[:0], false
	for rest := attrs; len(rest) > 0; {
		attr := rest[:rest[1]]
		rest = rest[rest[1]:]
		switch {
		case attr[0] == radwire.AttrSessionTimeout:
			if v, ok := secondsOf(attr[2:]); ok && v > 0 { // 0: no bound of the server's
				timeout = min(timeout, v)
			}
			continue
		case attr[0] == radwire.AttrFramedIPAddress:
			if !s.allows(attr) {
				continue
			}
			address = true
		case !s.allows(attr):
			continue
		}
		kept = append(kept, attr...)
	}
	if !address {
		kept = without(kept, attrFramedIPNetmask) // of an address that is not given
	}
	return radwire.AppendAttribute(kept, radwire.AttrSessionTimeout, binary.BigEndian.AppendUint32(nil, timeout))
}

func without(attrs []byte, typ byte) []byte {
	kept := attrs[:0]
	for rest := attrs; len(rest) > 0; {
		attr := rest[:rest[1]]
		rest = rest[rest[1]:]
		if attr[0] != typ {
			kept = append(kept, attr...)
		}
	}
	return kept
}

// allows tells whether an attribute names no address or prefix, or one inside
// static_prefixes.
func (s *survival) allows(attr []byte) bool {
	v := attr[2:]
	switch attr[0] {
	case radwire.AttrFramedIPAddress:
		if n, ok := secondsOf(v); ok && (n == addressByUser || n == addressFromNAS) {
			return true
		}
		a, ok := netip.AddrFromSlice(v)
		return ok && s.isStatic(netip.PrefixFrom(a, a.BitLen()))
	case attrFramedIPv6Address:
		a, ok := netip.AddrFromSlice(v)
		return ok && s.isStatic(netip.PrefixFrom(a, a.BitLen()))
	case attrRouteIPv6Info: // a route of the access link, which nobody needs to survive
		return false
	case attrFramedIPv6Prefix, attrDelegatedIPv6Prefix: // reserved, length, prefix (RFC 3162 section 2.3)
		if len(v) < 2 || len(v) > 18 || v[1] > 128 {
			return false
		}
		var a [16]byte
		copy(a[:], v[2:])
		return s.isStatic(netip.PrefixFrom(netip.AddrFrom16(a), int(v[1])))
	case attrFramedRoute, attrFramedIPv6Route: // "192.0.2.0/24 gateway metric" (RFC 2865 section 5.22)
		first, _, _ := bytes.Cut(bytes.TrimSpace(v), []byte(" "))
		p, err := netip.ParsePrefix(string(first))
		if err != nil {
			var a netip.Addr
			a, err = netip.ParseAddr(string(first))
			p = netip.PrefixFrom(a, a.BitLen())
		}
		return err == nil && s.isStatic(p)
	case radwire.AttrVendorSpecific:
		return !ciscoAddress(attr)
	}
	return true
}

// ciscoAddress tells whether an attribute is or contains a Cisco-AVPair that gives an
// address, a prefix or a route, which concentrators of several vendors understand.
func ciscoAddress(attr []byte) (found bool) {
	radwire.EachVendor(attr, func(vendor uint32, typ uint16, v []byte) {
		name, _, _ := bytes.Cut(bytes.ToLower(v), []byte("="))
		if vendor != vendorCisco || typ != ciscoAVPair || bytes.Contains(name, []byte("pool")) {
			return
		}
		for _, word := range []string{"addr", "prefix", "route"} {
			found = found || bytes.Contains(name, []byte(word))
		}
	})
	return found
}

// privileged tells whether a vendor's attribute gives power over the NAS.
func privileged(attr []byte) (found bool) {
	radwire.EachVendor(attr, func(vendor uint32, typ uint16, v []byte) {
		switch {
		case vendor == vendorCisco && typ == ciscoAVPair:
			found = found || bytes.HasPrefix(bytes.ToLower(v), []byte("shell:"))
		case vendor == vendorMikroTik && typ == mikrotikGroup, vendor == vendorJuniper && typ == juniperLocalUser:
			found = true
		}
	})
	return found
}

func (s *survival) isStatic(p netip.Prefix) bool {
	for _, static := range s.static {
		if static.Bits() <= p.Bits() && static.Contains(p.Addr().Unmap()) {
			return true
		}
	}
	return false
}
