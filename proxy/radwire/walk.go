package radwire

import (
	"encoding/binary"
	"errors"
)

// What Walk refuses. Each is a drop of its own in the books.
var (
	ErrLength                   = errors.New("length field below 20, above 4096 or above the datagram")
	ErrAttribute                = errors.New("attribute length below 2 or past the end")
	ErrTwoMessageAuthenticators = errors.New("two message-authenticators")
	ErrMessageAuthenticator     = errors.New("message-authenticator is not 16 bytes")
)

// Index is what one walk finds out about a packet. It is valid for the bytes
// that Walk returned, as long as they are not changed, and holds no pointer
// to them.
type Index struct {
	// First is the offset of the first attribute of each type, 0 if there is
	// none: no attribute can stand inside the header.
	First [256]uint16
	// LastProxyState is the offset of the last Proxy-State, 0 if there is none.
	LastProxyState uint16
	ProxyStates    uint16 // how many
	UserPasswords  uint16 // how many; more than one is outside RFC 2865 but forwarded
}

// Walk checks the header and every attribute of b in one pass and fills ix.
// It returns the packet without padding: bytes after Length are not part of
// it (RFC 2865 section 3). Message-Authenticator counts at the top level
// only: what a vendor keeps under the same number inside a VSA is data.
func Walk(b []byte, ix *Index) ([]byte, error) {
	if len(b) < HeaderLen {
		return nil, ErrLength
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if n < HeaderLen || n > MaxLen || n > len(b) {
		return nil, ErrLength
	}
	*ix = Index{}
	p := b[:n]
	for off := HeaderLen; off < n; {
		if n-off < 2 {
			return nil, ErrAttribute
		}
		typ, l := p[off], int(p[off+1])
		if l < 2 || l > n-off {
			return nil, ErrAttribute
		}
		first := ix.First[typ] == 0
		if first {
			ix.First[typ] = uint16(off)
		}
		switch typ {
		case AttrMessageAuthenticator:
			if !first {
				return nil, ErrTwoMessageAuthenticators
			}
			if l != messageAuthLen {
				return nil, ErrMessageAuthenticator
			}
		case AttrProxyState:
			ix.LastProxyState = uint16(off)
			ix.ProxyStates++
		case AttrUserPassword:
			ix.UserPasswords++
		}
		off += l
	}
	return p, nil
}

// Has tells whether the packet has an attribute of this type.
func (ix *Index) Has(typ byte) bool { return ix.First[typ] != 0 }

// FirstValue is the value of the first attribute of this type in p, nil if
// there is none.
func (ix *Index) FirstValue(p []byte, typ byte) []byte { return Value(p, ix.First[typ]) }

// Microsoft's vendor number and the attributes that make a request MS-CHAP
// (RFC 2548 sections 2.1 and 2.3).
const (
	vendorMicrosoft  = 311
	msCHAPResponse   = 1
	msCHAPChallenge  = 11
	msCHAP2Response  = 25
	vendorTypeOffset = vendorHeaderLen
)

// IsMSCHAP tells whether the request authenticates by MS-CHAP, whose hash
// covers the user's name: such a name must not be rewritten.
func IsMSCHAP(p []byte, ix *Index) bool {
	if !ix.Has(AttrVendorSpecific) {
		return false
	}
	for off := int(ix.First[AttrVendorSpecific]); off < len(p); off += int(p[off+1]) {
		l := int(p[off+1])
		if p[off] != AttrVendorSpecific || l < vendorSpecificMinLen || binary.BigEndian.Uint32(p[off+2:]) != vendorMicrosoft {
			continue
		}
		for sub := off + vendorTypeOffset; sub+2 <= off+l; {
			switch p[sub] {
			case msCHAPResponse, msCHAPChallenge, msCHAP2Response:
				return true
			}
			if p[sub+1] < 2 {
				break
			}
			sub += int(p[sub+1])
		}
	}
	return false
}
