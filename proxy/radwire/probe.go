package radwire

import "crypto/rand"

// ProbeSecret proves that an address is served by this process: a
// Status-Server that is signed with it comes from ourselves, and an answer
// that is signed with it comes from our own workers. It is random for each
// process, so nobody else can ask or answer.
type ProbeSecret [32]byte

// NewProbeSecret draws a secret.
func NewProbeSecret() ProbeSecret {
	var s ProbeSecret
	_, _ = rand.Read(s[:]) // never fails (crypto/rand)
	return s
}

// Secret is the probe secret for one goroutine.
func (s ProbeSecret) Secret() *Secret { return NewSecret(s[:]) }

// String keeps the secret out of logs.
func (s ProbeSecret) String() string { return "(secret)" }

// GoString keeps the secret out of %#v.
func (s ProbeSecret) GoString() string { return "(secret)" }

// Question builds a Status-Server (RFC 5997) with a fresh random
// authenticator, which is the probe's nonce, and a Message-Authenticator.
func (s ProbeSecret) Question(id byte) []byte {
	p := make([]byte, HeaderLen+messageAuthLen)
	PutHeader(p, StatusServer, id, len(p))
	_, _ = rand.Read(p[4:HeaderLen])
	p[HeaderLen], p[HeaderLen+1] = AttrMessageAuthenticator, messageAuthLen
	auth := PacketAuthenticator(p)
	s.Secret().SignMessageAuthenticator(p, HeaderLen, &auth)
	return p
}

// Verify tells whether answer is the front's own answer to question: its
// identifier, its authenticator and its Message-Authenticator fit.
func (s ProbeSecret) Verify(question, answer []byte) bool {
	var ix Index
	p, err := Walk(answer, &ix)
	if err != nil || len(question) < HeaderLen || p[1] != question[1] || !StatusServer.Answers(PacketCode(p)) {
		return false
	}
	asked, secret := PacketAuthenticator(question), s.Secret()
	return ix.Has(AttrMessageAuthenticator) &&
		secret.VerifyMessageAuthenticator(p, ix.First[AttrMessageAuthenticator], &asked) &&
		secret.VerifyResponse(p, &asked)
}

// IsProbe tells whether p, which comes from Walk with ix, is a question that
// was signed with this secret (made by ProbeSecret.Secret).
func IsProbe(p []byte, ix *Index, secret *Secret) bool {
	if PacketCode(p) != StatusServer || !ix.Has(AttrMessageAuthenticator) {
		return false
	}
	auth := PacketAuthenticator(p)
	return secret.VerifyMessageAuthenticator(p, ix.First[AttrMessageAuthenticator], &auth)
}
