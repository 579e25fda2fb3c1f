package radwire

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/subtle"
	"hash"
)

// Secret is a shared secret with the hash states that work for it: the HMAC's
// inner and outer pads are hashed once in its life. It belongs to one
// goroutine at a time; Clone makes another. It prints as "(secret)".
type Secret struct {
	key  []byte
	mac  hash.Hash
	md5  hash.Hash
	auth Authenticator // here, so that what goes to a hash.Hash never makes a caller's array escape
	sum  Authenticator
	prev [2]Authenticator
	salt [2]byte
}

var zeros Authenticator

// NewSecret keeps a copy of key.
func NewSecret(key []byte) *Secret {
	s := &Secret{key: append([]byte(nil), key...), mac: hmac.New(md5.New, key), md5: md5.New()}
	s.mac.Reset() // the first Reset stores the pads' states; the ones that follow allocate nothing
	return s
}

// Clone gives a Secret of the same key for another goroutine.
func (s *Secret) Clone() *Secret { return NewSecret(s.key) }

// String keeps the secret out of logs and errors.
func (s *Secret) String() string { return "(secret)" }

// GoString keeps the secret out of %#v.
func (s *Secret) GoString() string { return "(secret)" }

// Equal tells in constant time whether both are the same secret.
func (s *Secret) Equal(o *Secret) bool { return subtle.ConstantTimeCompare(s.key, o.key) == 1 }

// digest is MD5 over the packet with auth in place of its authenticator, and
// the secret after it: the form that all authenticators but the random one of
// an Access-Request have (RFC 2865 section 3, RFC 2866 section 3). The result
// is in s.sum.
func (s *Secret) digest(p []byte, auth *Authenticator) {
	s.auth = *auth
	s.md5.Reset()
	s.md5.Write(p[:4])
	s.md5.Write(s.auth[:])
	s.md5.Write(p[HeaderLen:])
	s.md5.Write(s.key)
	s.md5.Sum(s.sum[:0])
}

// VerifyRequest checks the authenticator of an Accounting-, CoA- or
// Disconnect-Request (RFC 2866 section 3, RFC 5176 section 2.3). p comes from
// Walk.
func (s *Secret) VerifyRequest(p []byte) bool {
	s.digest(p, &zeros)
	return subtle.ConstantTimeCompare(s.sum[:], p[4:HeaderLen]) == 1
}

// SignRequest writes the authenticator of an Accounting-, CoA- or
// Disconnect-Request whose other bytes are final.
func (s *Secret) SignRequest(p []byte) {
	s.digest(p, &zeros)
	copy(p[4:HeaderLen], s.sum[:])
}

// VerifyResponse checks the authenticator of a reply to a request that was
// sent with the authenticator request (RFC 2865 section 3). p comes from Walk.
func (s *Secret) VerifyResponse(p []byte, request *Authenticator) bool {
	s.digest(p, request)
	return subtle.ConstantTimeCompare(s.sum[:], p[4:HeaderLen]) == 1
}

// SignResponse writes the authenticator of a reply whose other bytes,
// Message-Authenticator included, are final.
func (s *Secret) SignResponse(p []byte, request *Authenticator) {
	s.digest(p, request)
	copy(p[4:HeaderLen], s.sum[:])
}

// messageAuth computes the HMAC of RFC 3579 section 3.2 into s.sum: auth
// stands in for the header's authenticator, zeros for the attribute's value.
func (s *Secret) messageAuth(p []byte, off uint16, auth *Authenticator) {
	s.auth = *auth
	s.mac.Reset()
	s.mac.Write(p[:4])
	s.mac.Write(s.auth[:])
	s.mac.Write(p[HeaderLen : off+2])
	s.mac.Write(zeros[:])
	s.mac.Write(p[off+messageAuthLen:])
	s.mac.Sum(s.sum[:0])
}

// VerifyMessageAuthenticator checks the Message-Authenticator at off, which
// is Index.First of its type. auth is the packet's own authenticator in an
// Access-Request or Status-Server, zeros in an Accounting-, CoA- or
// Disconnect-Request (RFC 5176 section 3.4): see MessageAuthOf. Of a reply see
// VerifyReplyMessageAuthenticator.
func (s *Secret) VerifyMessageAuthenticator(p []byte, off uint16, auth *Authenticator) bool {
	s.messageAuth(p, off, auth)
	return subtle.ConstantTimeCompare(s.sum[:], p[off+2:off+messageAuthLen]) == 1
}

// VerifyReplyMessageAuthenticator checks the Message-Authenticator at off of a
// reply to a request that was sent with the authenticator request, which is
// what stands in for the header's (RFC 3579 section 3.2). FreeRADIUS puts zeros
// there in an Accounting-Response and in its answers to CoA- and
// Disconnect-Requests: both count in these, which nothing obliges to have one.
func (s *Secret) VerifyReplyMessageAuthenticator(p []byte, off uint16, request *Authenticator) bool {
	return s.VerifyMessageAuthenticator(p, off, request) || !PacketCode(p).access() && s.VerifyMessageAuthenticator(p, off, &zeros)
}

// SignMessageAuthenticator writes the Message-Authenticator at off. It comes
// before SignRequest and SignResponse, which cover it.
func (s *Secret) SignMessageAuthenticator(p []byte, off uint16, auth *Authenticator) {
	s.messageAuth(p, off, auth)
	copy(p[off+2:off+messageAuthLen], s.sum[:])
}

// MessageAuthOf is the authenticator that a request's own
// Message-Authenticator is computed with.
func MessageAuthOf(p []byte) Authenticator {
	switch PacketCode(p) {
	case AccountingRequest, CoARequest, DisconnectRequest:
		return Authenticator{}
	}
	return PacketAuthenticator(p)
}
