package radwire

import (
	"bytes"
	"encoding/binary"
)

// How a value is hidden under the secret and the request's authenticator.
type cipher uint8

const (
	cipherNone     cipher = iota
	cipherSalted          // salt and blocks: RFC 2868 section 3.5; the dictionaries' encrypt=2
	cipherTagged          // a tag in front of the salt
	cipherPassword        // like User-Password: encrypt=1
	cipherAscend          // one masked block: encrypt=3
	cipherTLV             // attributes inside the attribute
)

const (
	vendorMotorola  = 161
	vendorAscend    = 529
	vendorALUAAA    = 831
	vendorLancom    = 2356
	vendorLucent    = 4846
	vendorERX       = 4874
	vendor3GPP2     = 5535
	vendorNokiaSR   = 6527
	vendorAlphion   = 8742
	vendorAruba     = 14823
	vendorWiMAX     = 24757
	vendorAerohive  = 26928
	vendorUbiquiti  = 41112
	vendorRtBrick   = 50058
	wimaxContinued  = 0x80 // "more" bit of WiMAX's continuation byte
	lucentTypeBytes = 2    // Lucent's vendor types take two bytes
)

// hidden is a vendor's attribute that is hidden under the secret.
type hidden struct {
	vendor uint32
	typ    uint16
}

// vendorCiphers is every encrypt= flag of FreeRADIUS's dictionaries (v3.2 and
// v4) on vendors' attributes. It is never changed.
var vendorCiphers = map[hidden]cipher{
	{vendorMicrosoft, 12}: cipherPassword, // MS-CHAP-MPPE-Keys
	{vendorMicrosoft, 16}: cipherSalted,   // MS-MPPE-Send-Key
	{vendorMicrosoft, 17}: cipherSalted,   // MS-MPPE-Recv-Key

	{vendorERX, 58}: cipherSalted, // LI-Action
	{vendorERX, 59}: cipherSalted, // Med-Dev-Handle
	{vendorERX, 60}: cipherSalted, // Med-Ip-Address
	{vendorERX, 61}: cipherSalted, // Med-Port-Number

	{vendorNokiaSR, 122}: cipherSalted, // LI-Action
	{vendorNokiaSR, 123}: cipherSalted, // LI-Destination
	{vendorNokiaSR, 124}: cipherSalted, // LI-FC
	{vendorNokiaSR, 125}: cipherSalted, // LI-Direction
	{vendorNokiaSR, 138}: cipherSalted, // LI-Intercept-Id
	{vendorNokiaSR, 139}: cipherSalted, // LI-Session-Id
	{vendorNokiaSR, 142}: cipherSalted, // APN-Password

	{vendorRtBrick, 140}: cipherSalted, // LI-Action
	{vendorRtBrick, 141}: cipherSalted, // LI-Identifier
	{vendorRtBrick, 142}: cipherSalted, // LI-Direction
	{vendorRtBrick, 143}: cipherSalted, // LI-MED-Instance
	{vendorRtBrick, 144}: cipherSalted, // LI-MED-IP
	{vendorRtBrick, 145}: cipherSalted, // LI-MED-Port

	{vendorLancom, 19}: cipherTagged, // IKEv2-Local-Password
	{vendorLancom, 20}: cipherTagged, // IKEv2-Remote-Password
	{vendorLancom, 33}: cipherTagged, // IKEv2-PPK

	{vendorALUAAA, 116}: cipherSalted, // Key-0
	{vendorALUAAA, 117}: cipherSalted, // Key-1
	{vendorALUAAA, 118}: cipherSalted, // Key-2
	{vendorALUAAA, 119}: cipherSalted, // Key-3

	{vendorAruba, 44}: cipherSalted,   // MPSK-Passphrase
	{vendorAruba, 66}: cipherPassword, // MPSK-Lookup-Info
	{vendorAruba, 72}: cipherSalted,   // DPP-Passphrase

	{vendorAlphion, 44}: cipherSalted, // MPSK-Passphrase

	{vendorAerohive, 3}: cipherSalted, // Libsip-Patron-Info

	{vendor3GPP2, 58}: cipherSalted, // MN-HA-Shared-Key

	{vendorMotorola, 11}: cipherSalted, // WiMAX-MIP-KEY

	{vendorWiMAX, 5}:   cipherSalted, // MSK
	{vendorWiMAX, 10}:  cipherSalted, // MN-hHA-MIP4-Key
	{vendorWiMAX, 12}:  cipherSalted, // MN-hHA-MIP6-Key
	{vendorWiMAX, 14}:  cipherSalted, // FA-RK-Key
	{vendorWiMAX, 15}:  cipherSalted, // HA-RK-Key
	{vendorWiMAX, 19}:  cipherSalted, // RRQ-MN-HA-Key
	{vendorWiMAX, 40}:  cipherSalted, // DHCP-RK
	{vendorWiMAX, 66}:  cipherSalted, // vHA-MIP4-Key
	{vendorWiMAX, 67}:  cipherSalted, // vHA-RK-Key
	{vendorWiMAX, 70}:  cipherSalted, // MN-vHA-MIP6-Key
	{vendorWiMAX, 75}:  cipherSalted, // vDHCP-RK
	{vendorWiMAX, 86}:  cipherTLV,    // hDHCP-Server-Parameters
	{vendorWiMAX, 87}:  cipherTLV,    // vDHCP-Server-Parameters
	{vendorWiMAX, 131}: cipherSalted, // PMIP6-RK-Key

	{vendorUbiquiti, 5}: cipherTLV,    // Tunnel-Password-Entry
	{vendorUbiquiti, 6}: cipherSalted, // Station-Keyid

	{vendorAscend, 214}: cipherAscend, // Send-Secret
	{vendorAscend, 215}: cipherAscend, // Receive-Secret

	{vendorLucent, 214}: cipherAscend, // Send-Secret
	{vendorLucent, 215}: cipherAscend, // Receive-Secret
}

// nestedCipher is the same table for attributes inside a TLV.
func nestedCipher(vendor uint32, typ byte) cipher {
	switch {
	case vendor == vendorWiMAX && typ == 3: // DHCP-RK
		return cipherSalted
	case vendor == vendorUbiquiti && (typ == 2 || typ == 3): // Tunnel-Password, -Keyid
		return cipherSalted
	}
	return cipherNone
}

// keys is one change of keys: how a value was hidden and how it is to be.
type keys struct {
	from, to         *Secret
	fromAuth, toAuth Authenticator // by value: behind a pointer they would escape with the secrets
}

func (k *keys) value(c cipher, v []byte) {
	switch c {
	case cipherSalted:
		RecryptSalted(v, k.from, &k.fromAuth, k.to, &k.toAuth)
	case cipherTagged:
		// The tag is there by the RFC, but not by every server: the length
		// tells, since salt and blocks are 2 bytes over a multiple of 16.
		if len(v)%AuthenticatorLen == saltLen+1 {
			v = v[1:]
		}
		RecryptSalted(v, k.from, &k.fromAuth, k.to, &k.toAuth)
	case cipherPassword:
		recryptPassword(v, k.from, &k.fromAuth, k.to, &k.toAuth)
	case cipherAscend:
		recryptAscend(v, k.from, &k.fromAuth, k.to, &k.toAuth)
	}
}

// attributes changes the keys of every hidden attribute in attrs, which is
// well-formed, except User-Password. A VSA in a shape that the vendor does
// not use is data and stays as it is (RFC 2865 section 5.26).
func (k *keys) attributes(attrs []byte) {
	for len(attrs) > 0 {
		l := int(attrs[1])
		switch attrs[0] {
		case AttrTunnelPassword:
			k.value(cipherTagged, attrs[2:l])
		case AttrVendorSpecific:
			if l >= vendorSpecificMinLen {
				k.vendor(binary.BigEndian.Uint32(attrs[2:]), attrs[vendorHeaderLen:l])
			}
		}
		attrs = attrs[l:]
	}
}

func (k *keys) vendor(vendor uint32, data []byte) {
	typeBytes := 1
	if vendor == vendorLucent {
		typeBytes = lucentTypeBytes
	}
	for len(data) > typeBytes {
		l := int(data[typeBytes])
		if l <= typeBytes || l > len(data) {
			return
		}
		typ, v := uint16(data[0]), data[typeBytes+1:l]
		if typeBytes == lucentTypeBytes {
			typ = binary.BigEndian.Uint16(data)
		}
		if vendor == vendorWiMAX {
			if len(v) == 0 || v[0]&wimaxContinued != 0 {
				return // a fragment: its blocks are not whole here
			}
			v = v[1:]
		}
		if c := vendorCiphers[hidden{vendor, typ}]; c == cipherTLV {
			k.nested(vendor, v)
		} else if c != cipherNone {
			k.value(c, v)
		}
		data = data[l:]
	}
}

func (k *keys) nested(vendor uint32, data []byte) {
	for len(data) >= 2 {
		l := int(data[1])
		if l < 2 || l > len(data) {
			return
		}
		k.value(nestedCipher(vendor, data[0]), data[2:l])
		data = data[l:]
	}
}

// isHidden tells whether one whole attribute, type and length first, is or contains a
// value that is hidden under the secret and the request's authenticator, so that it
// means nothing in another packet. It is well-formed, as Walk leaves it.
func isHidden(attr []byte) bool {
	switch attr[0] {
	case AttrUserPassword, AttrTunnelPassword:
		return true
	case AttrVendorSpecific:
		if len(attr) < vendorSpecificMinLen {
			return false
		}
	default:
		return false
	}
	vendor, data := binary.BigEndian.Uint32(attr[2:]), attr[vendorHeaderLen:]
	typeBytes := 1
	if vendor == vendorLucent {
		typeBytes = lucentTypeBytes
	}
	for len(data) > typeBytes {
		l := int(data[typeBytes])
		typ := uint16(data[0])
		if typeBytes == lucentTypeBytes {
			typ = binary.BigEndian.Uint16(data)
		}
		if vendorCiphers[hidden{vendor, typ}] != cipherNone {
			return true
		}
		if l <= typeBytes || l > len(data) {
			return hides(vendor) // in a shape that nobody can judge
		}
		data = data[l:]
	}
	return false
}

// hides tells whether the vendor has hidden attributes.
func hides(vendor uint32) bool {
	for h := range vendorCiphers {
		if h.vendor == vendor {
			return true
		}
	}
	return false
}

// Rehide changes, in place, the secret of everything hidden in the attributes of p, an
// Accounting-, CoA- or Disconnect-Request that comes from Walk: there the authenticator
// that hides is zeros (RFC 5176 section 2.3). The header is left, so that the
// authenticator there no longer fits. It tells whether there was anything.
func Rehide(p []byte, from, to *Secret) bool {
	found := false
	for rest := p[HeaderLen:]; len(rest) > 0 && !found; rest = rest[rest[1]:] {
		found = isHidden(rest[:rest[1]])
	}
	if !found {
		return false
	}
	k := keys{from: from, to: to}
	k.passwords(p[HeaderLen:])
	k.attributes(p[HeaderLen:])
	return true
}

const (
	vendorMikroTik = 14988
	ciscoAVPair    = 1
)

// plainSecrets are vendors' attributes that carry a key or a password in the plain. It is
// never changed.
var plainSecrets = map[hidden]bool{
	{vendorMikroTik, 7}:  true, // Mikrotik-Wireless-Enc-Key
	{vendorMikroTik, 16}: true, // Mikrotik-Wireless-PSK
}

// plainSecret tells whether a vendor's attribute carries a key or a password in the plain,
// as some Cisco-AVPairs do ("vpdn:l2tp-tunnel-password=...").
func plainSecret(vendor uint32, typ uint16, v []byte) bool {
	if plainSecrets[hidden{vendor, typ}] {
		return true
	}
	if vendor != vendorCisco || typ != ciscoAVPair {
		return false
	}
	name, _, _ := bytes.Cut(bytes.ToLower(v), []byte("="))
	for _, word := range []string{"password", "passwd", "psk", "secret", "key"} {
		if bytes.Contains(name, []byte(word)) {
			return true
		}
	}
	return false
}

// IsSecret tells whether one whole attribute is or contains something that must not be
// shown or kept: what isHidden tells, and keys and passwords in the plain.
func IsSecret(attr []byte) bool {
	if isHidden(attr) {
		return true
	}
	secret := false
	EachVendor(attr, func(vendor uint32, typ uint16, v []byte) { secret = secret || plainSecret(vendor, typ, v) })
	return secret
}

// EachVendor calls f for each attribute inside a well-formed Vendor-Specific one whose
// vendor uses one byte of type and one of length (RFC 2865 section 5.26).
func EachVendor(attr []byte, f func(vendor uint32, typ uint16, v []byte)) {
	if attr[0] != AttrVendorSpecific || len(attr) < vendorSpecificMinLen {
		return
	}
	vendor := binary.BigEndian.Uint32(attr[2:])
	for data := attr[vendorHeaderLen:]; len(data) >= 2 && data[1] >= 2 && int(data[1]) <= len(data); data = data[data[1]:] {
		f(vendor, uint16(data[0]), data[2:data[1]])
	}
}
