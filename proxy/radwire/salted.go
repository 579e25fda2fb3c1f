package radwire

import "encoding/binary"

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

// vendorCipher is the table of vendors' attributes that are hidden under the
// secret: every encrypt= flag of FreeRADIUS's dictionaries (v3.2 and v4).
func vendorCipher(vendor uint32, typ uint16) cipher {
	switch vendor {
	case vendorMicrosoft:
		switch typ {
		case 12: // MS-CHAP-MPPE-Keys
			return cipherPassword
		case 16, 17: // MS-MPPE-Send-Key, MS-MPPE-Recv-Key
			return cipherSalted
		}
	case vendorERX:
		if typ >= 58 && typ <= 61 { // LI-Action, Med-Dev-Handle, Med-Ip-Address, Med-Port-Number
			return cipherSalted
		}
	case vendorNokiaSR:
		switch typ {
		case 122, 123, 124, 125, 138, 139, 142: // Alc-LI-*, Alc-APN-Password
			return cipherSalted
		}
	case vendorRtBrick:
		if typ >= 140 && typ <= 145 { // LI-*
			return cipherSalted
		}
	case vendorLancom:
		switch typ {
		case 19, 20, 33: // IKEv2-Local-Password, IKEv2-Remote-Password, IKEv2-PPK
			return cipherTagged
		}
	case vendorALUAAA:
		if typ >= 116 && typ <= 119 { // Key-0 to Key-3
			return cipherSalted
		}
	case vendorAruba:
		switch typ {
		case 44, 72: // MPSK-Passphrase, DPP-Passphrase
			return cipherSalted
		case 66: // MPSK-Lookup-Info
			return cipherPassword
		}
	case vendorAlphion:
		if typ == 44 { // MPSK-Passphrase
			return cipherSalted
		}
	case vendorAerohive:
		if typ == 3 { // Libsip-Patron-Info
			return cipherSalted
		}
	case vendor3GPP2:
		if typ == 58 { // MN-HA-Shared-Key
			return cipherSalted
		}
	case vendorMotorola:
		if typ == 11 { // WiMAX-MIP-KEY
			return cipherSalted
		}
	case vendorWiMAX:
		switch typ {
		case 5, 10, 12, 14, 15, 19, 40, 66, 67, 70, 75, 131: // MSK and the mobility keys
			return cipherSalted
		case 86, 87: // hDHCP- and vDHCP-Server-Parameters
			return cipherTLV
		}
	case vendorUbiquiti:
		switch typ {
		case 5: // Tunnel-Password-Entry
			return cipherTLV
		case 6: // Station-Keyid
			return cipherSalted
		}
	case vendorAscend, vendorLucent:
		if typ == 214 || typ == 215 { // Send-Secret, Receive-Secret
			return cipherAscend
		}
	}
	return cipherNone
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
		RecryptPassword(v, k.from, &k.fromAuth, k.to, &k.toAuth)
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
		if c := vendorCipher(vendor, typ); c == cipherTLV {
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
