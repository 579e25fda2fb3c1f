// Package radpkt builds and checks RADIUS packets for the simulated servers
// and NASes (RFC 2865, 2866, 3579, 5997).
//
// It shares nothing with the code of the front on purpose: a mistake in one of
// them shows as a packet that the other refuses.
package radpkt

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"hash"
)

// Packet codes (RFC 2865 §3, 5997).
const (
	AccessRequest      = 1
	AccessAccept       = 2
	AccessReject       = 3
	AccountingRequest  = 4
	AccountingResponse = 5
	AccessChallenge    = 11
	StatusServer       = 12
)

// Attribute types.
const (
	UserName             = 1
	UserPassword         = 2
	CHAPPassword         = 3
	NASIPAddress         = 4
	NASPort              = 5
	FramedIPAddress      = 8
	ReplyMessage         = 18
	State                = 24
	Class                = 25
	SessionTimeout       = 27
	CallingStationID     = 31
	NASIdentifier        = 32
	ProxyState           = 33
	AcctStatusType       = 40
	AcctDelayTime        = 41
	AcctSessionID        = 44
	AcctSessionTime      = 46
	CHAPChallenge        = 60
	MessageAuthenticator = 80
)

// HeaderSize and MaxSize bound a packet in octets (RFC 2865 §3).
const (
	HeaderSize = 20
	MaxSize    = 4096
)

// What can be wrong with a packet.
var (
	ErrMalformed            = errors.New("malformed packet")
	ErrAuthenticator        = errors.New("wrong authenticator")
	ErrMessageAuthenticator = errors.New("wrong or missing Message-Authenticator")
)

// Parse cuts the padding off a datagram and checks that its attributes fill it
// exactly (RFC 2865 §3 and §5). The packet is a part of b.
func Parse(b []byte) ([]byte, error) {
	if len(b) < HeaderSize {
		return nil, ErrMalformed
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if n < HeaderSize || n > MaxSize || n > len(b) {
		return nil, ErrMalformed
	}
	b = b[:n]
	for off := HeaderSize; off < n; off += int(b[off+1]) {
		if off+2 > n || b[off+1] < 2 || off+int(b[off+1]) > n {
			return nil, ErrMalformed
		}
	}
	return b, nil
}

// Find gives the value of the packet's first attribute of that type, as a part
// of the packet, or nil. The packet has passed Parse.
func Find(packet []byte, kind byte) []byte {
	for off := HeaderSize; off < len(packet); off += int(packet[off+1]) {
		if packet[off] == kind {
			return packet[off+2 : off+int(packet[off+1])]
		}
	}
	return nil
}

// Count says how many attributes of that type the packet has.
func Count(packet []byte, kind byte) int {
	n := 0
	for off := HeaderSize; off < len(packet); off += int(packet[off+1]) {
		if packet[off] == kind {
			n++
		}
	}
	return n
}

// Start appends the head of a packet, with a zero authenticator, to dst.
func Start(dst []byte, code, id byte) []byte {
	dst = append(dst, code, id, 0, HeaderSize)
	var zero [16]byte
	return append(dst, zero[:]...)
}

// Attr appends an attribute of at most 253 octets; more is cut off.
func Attr(dst []byte, kind byte, value []byte) []byte {
	value = value[:min(len(value), 253)]
	dst = append(dst, kind, byte(len(value)+2))
	return append(dst, value...)
}

// AttrString is Attr of a string.
func AttrString(dst []byte, kind byte, value string) []byte {
	value = value[:min(len(value), 253)]
	dst = append(dst, kind, byte(len(value)+2))
	return append(dst, value...)
}

// AttrUint32 is Attr of a number.
func AttrUint32(dst []byte, kind byte, value uint32) []byte {
	dst = append(dst, kind, 6)
	return binary.BigEndian.AppendUint32(dst, value)
}

// Keyer signs and checks with one shared secret. It is not safe for concurrent
// use: every goroutine has its own.
type Keyer struct {
	secret []byte
	mac    hash.Hash
	md     hash.Hash
	sum    [16]byte
	over   [16]byte // a caller's authenticator, where the hashes may see it without an allocation
}

// NewKeyer makes a Keyer. The secret is kept and must not change.
func NewKeyer(secret []byte) *Keyer {
	return &Keyer{secret: secret, mac: hmac.New(md5.New, secret), md: md5.New()}
}

var zero16 [16]byte

// setLength writes the packet's Length field.
func setLength(packet []byte) { binary.BigEndian.PutUint16(packet[2:], uint16(len(packet))) }

// SignRequest completes a request whose attributes are all there: length,
// Request Authenticator (the given one for Access-Request and Status-Server,
// computed for Accounting-Request, RFC 2866 §3) and the value of its
// Message-Authenticator if it has one (RFC 3579 §3.2).
func (k *Keyer) SignRequest(packet []byte, authenticator [16]byte) {
	setLength(packet)
	if packet[0] != AccountingRequest {
		copy(packet[4:HeaderSize], authenticator[:])
		k.putMessageAuthenticator(packet, packet[4:HeaderSize])
		return
	}
	k.putMessageAuthenticator(packet, zero16[:])
	copy(packet[4:HeaderSize], k.authenticator(packet, zero16[:]))
}

// SignReply completes a reply to a request with the given authenticator: length, Message-Authenticator if there
// is one, Response Authenticator.
func (k *Keyer) SignReply(packet []byte, request [16]byte) {
	setLength(packet)
	k.over = request
	k.putMessageAuthenticator(packet, k.over[:])
	copy(packet[4:HeaderSize], k.authenticator(packet, k.over[:]))
}

// CheckRequest verifies what a request carries: the Request Authenticator of an Accounting-Request, and the
// Message-Authenticator where there is one, or where need says that there must be one.
func (k *Keyer) CheckRequest(packet []byte, need bool) error {
	over := packet[4:HeaderSize]
	if packet[0] == AccountingRequest {
		if !bytes.Equal(over, k.authenticator(packet, zero16[:])) {
			return ErrAuthenticator
		}
		over = zero16[:]
	}
	return k.checkMessageAuthenticator(packet, over, need)
}

// CheckReply verifies a reply to a request with the given authenticator, and its Message-Authenticator as
// CheckRequest does.
func (k *Keyer) CheckReply(packet []byte, request [16]byte, need bool) error {
	k.over = request
	if !bytes.Equal(packet[4:HeaderSize], k.authenticator(packet, k.over[:])) {
		return ErrAuthenticator
	}
	return k.checkMessageAuthenticator(packet, k.over[:], need)
}

// authenticator is MD5(head with that authenticator + attributes + secret). The result is valid until the next call.
func (k *Keyer) authenticator(packet, over []byte) []byte {
	k.md.Reset()
	k.md.Write(packet[:4])
	k.md.Write(over)
	k.md.Write(packet[HeaderSize:])
	k.md.Write(k.secret)
	return k.md.Sum(k.sum[:0])
}

// messageAuthenticator is HMAC-MD5 over the packet with that authenticator and with the value at off as zeros.
func (k *Keyer) messageAuthenticator(packet, over []byte, off int) []byte {
	k.mac.Reset()
	k.mac.Write(packet[:4])
	k.mac.Write(over)
	k.mac.Write(packet[HeaderSize:off])
	k.mac.Write(zero16[:])
	k.mac.Write(packet[off+16:])
	return k.mac.Sum(k.sum[:0])
}

func (k *Keyer) putMessageAuthenticator(packet, over []byte) {
	if off := messageAuthenticatorAt(packet); off > 0 {
		copy(packet[off:off+16], k.messageAuthenticator(packet, over, off))
	}
}

func (k *Keyer) checkMessageAuthenticator(packet, over []byte, need bool) error {
	off := messageAuthenticatorAt(packet)
	switch {
	case off == 0 && !need && Count(packet, MessageAuthenticator) == 0:
		return nil
	case off == 0 || Count(packet, MessageAuthenticator) != 1:
		return ErrMessageAuthenticator
	case !hmac.Equal(packet[off:off+16], k.messageAuthenticator(packet, over, off)):
		return ErrMessageAuthenticator
	}
	return nil
}

// messageAuthenticatorAt is the offset of the value of the first well-formed Message-Authenticator, or 0.
func messageAuthenticatorAt(packet []byte) int {
	for off := HeaderSize; off < len(packet); off += int(packet[off+1]) {
		if packet[off] == MessageAuthenticator && packet[off+1] == 18 {
			return off + 2
		}
	}
	return 0
}

// HidePassword appends a User-Password attribute (RFC 2865 §5.2). Passwords beyond 128 octets are cut off.
func (k *Keyer) HidePassword(dst []byte, password string, authenticator [16]byte) []byte {
	var plain [128]byte
	n := copy(plain[:], password)
	blocks := max((n+15)/16, 1)
	dst = append(dst, UserPassword, byte(2+16*blocks))
	k.over = authenticator
	previous := k.over[:]
	for i := range blocks {
		pad := k.passwordPad(previous)
		for j := range 16 {
			dst = append(dst, plain[16*i+j]^pad[j])
		}
		previous = dst[len(dst)-16:]
	}
	return dst
}

// ShowPassword appends the password that a User-Password's value hides, without its padding, to dst.
func (k *Keyer) ShowPassword(dst, value []byte, authenticator []byte) ([]byte, bool) {
	if len(value) < 16 || len(value) > 128 || len(value)%16 != 0 {
		return dst, false
	}
	start := len(dst)
	previous := authenticator
	for i := 0; i < len(value); i += 16 {
		pad := k.passwordPad(previous)
		for j := range 16 {
			dst = append(dst, value[i+j]^pad[j])
		}
		previous = value[i : i+16]
	}
	return append(dst[:start], bytes.TrimRight(dst[start:], "\x00")...), true
}

// passwordPad is MD5(secret + previous block).
func (k *Keyer) passwordPad(previous []byte) []byte {
	k.md.Reset()
	k.md.Write(k.secret)
	k.md.Write(previous)
	return k.md.Sum(k.sum[:0])
}

// CHAP is the response to a CHAP challenge: MD5(ident + password + challenge) (RFC 1994 §4.1).
func CHAP(ident byte, password string, challenge []byte) [16]byte {
	b := make([]byte, 0, 128)
	b = append(b, ident)
	b = append(b, password...)
	b = append(b, challenge...)
	return md5.Sum(b)
}
