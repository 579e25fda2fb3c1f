package radwire

import "encoding/binary"

// Lengths of a packet and of its parts in bytes (RFC 2865 section 3).
const (
	HeaderLen            = 20   // code, identifier, length, authenticator
	MaxLen               = 4096 // over UDP nothing longer is valid
	AuthenticatorLen     = 16
	messageAuthLen       = 18 // Message-Authenticator with its type and length
	maxAttributeLen      = 255
	vendorHeaderLen      = 6 // type, length, vendor
	vendorSpecificMinLen = vendorHeaderLen + 2
)

// Authenticator is the 16 bytes of a header that vouch for the packet, or, in
// an Access-Request, that are random.
type Authenticator [AuthenticatorLen]byte

// Code says what a packet is.
type Code uint8

// Codes that a proxy meets (RFC 2865, 2866, 5176, 5997).
const (
	AccessRequest      Code = 1
	AccessAccept       Code = 2
	AccessReject       Code = 3
	AccountingRequest  Code = 4
	AccountingResponse Code = 5
	AccessChallenge    Code = 11
	StatusServer       Code = 12
	DisconnectRequest  Code = 40
	DisconnectACK      Code = 41
	DisconnectNAK      Code = 42
	CoARequest         Code = 43
	CoAACK             Code = 44
	CoANAK             Code = 45
)

// String gives the name that the RFCs use, or "other".
func (c Code) String() string {
	switch c {
	case AccessRequest:
		return "Access-Request"
	case AccessAccept:
		return "Access-Accept"
	case AccessReject:
		return "Access-Reject"
	case AccountingRequest:
		return "Accounting-Request"
	case AccountingResponse:
		return "Accounting-Response"
	case AccessChallenge:
		return "Access-Challenge"
	case StatusServer:
		return "Status-Server"
	case DisconnectRequest:
		return "Disconnect-Request"
	case DisconnectACK:
		return "Disconnect-ACK"
	case DisconnectNAK:
		return "Disconnect-NAK"
	case CoARequest:
		return "CoA-Request"
	case CoAACK:
		return "CoA-ACK"
	case CoANAK:
		return "CoA-NAK"
	}
	return "other"
}

// Answers tells whether a reply of code reply fits a request of this code: an
// Accounting-Response to an Access-Request is not an answer, whoever signed it.
func (c Code) Answers(reply Code) bool {
	switch c {
	case AccessRequest:
		return reply == AccessAccept || reply == AccessReject || reply == AccessChallenge
	case AccountingRequest:
		return reply == AccountingResponse
	case StatusServer:
		return reply == AccessAccept || reply == AccountingResponse
	case DisconnectRequest:
		return reply == DisconnectACK || reply == DisconnectNAK
	case CoARequest:
		return reply == CoAACK || reply == CoANAK
	}
	return false
}

// access tells whether RFC 3579 section 3.2 and CVE-2024-3596 want a
// Message-Authenticator as the first attribute of this code.
func (c Code) access() bool {
	return c == AccessRequest || c == AccessAccept || c == AccessReject || c == AccessChallenge
}

// Attribute types that a proxy looks at.
const (
	AttrUserName             = 1
	AttrUserPassword         = 2
	AttrCHAPPassword         = 3
	AttrNASIPAddress         = 4
	AttrNASPort              = 5
	AttrFramedIPAddress      = 8
	AttrReplyMessage         = 18
	AttrState                = 24
	AttrClass                = 25
	AttrVendorSpecific       = 26
	AttrSessionTimeout       = 27
	AttrCalledStationID      = 30
	AttrCallingStationID     = 31
	AttrNASIdentifier        = 32
	AttrProxyState           = 33
	AttrAcctStatusType       = 40
	AttrAcctDelayTime        = 41
	AttrAcctSessionID        = 44
	AttrAcctMultiSessionID   = 50
	AttrEventTimestamp       = 55
	AttrCHAPChallenge        = 60
	AttrTunnelPassword       = 69
	AttrEAPMessage           = 79
	AttrMessageAuthenticator = 80
	AttrNASPortID            = 87
	AttrChargeableUser       = 89
	AttrNASIPv6Address       = 95
	AttrErrorCause           = 101
)

// PacketCode is the code of a packet of at least one byte.
func PacketCode(p []byte) Code { return Code(p[0]) }

// PacketAuthenticator is a copy of the authenticator of a packet of at least
// HeaderLen bytes.
func PacketAuthenticator(p []byte) Authenticator { return Authenticator(p[4:HeaderLen]) }

// Value is the value of the attribute whose type byte stands at off, as found
// by Walk in the same packet. It shares the packet's memory. Off 0 (absent)
// gives nil.
func Value(p []byte, off uint16) []byte {
	if off == 0 {
		return nil
	}
	o := int(off)
	return p[o+2 : o+int(p[o+1])]
}

// PutHeader writes code, identifier and length; the authenticator is left.
func PutHeader(p []byte, c Code, id byte, length int) {
	p[0], p[1] = byte(c), id
	binary.BigEndian.PutUint16(p[2:], uint16(length))
}

// AppendAttribute appends one attribute; value is at most 253 bytes, what is
// longer is refused by returning p as it was.
func AppendAttribute(p []byte, typ byte, value []byte) []byte {
	if len(value) > maxAttributeLen-2 {
		return p
	}
	p = append(p, typ, byte(len(value)+2))
	return append(p, value...)
}
