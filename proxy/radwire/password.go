package radwire

import "crypto/subtle"

// maxPasswordLen is the longest User-Password (RFC 2865 section 5.2).
const maxPasswordLen = 128

// keystream hashes the secret and what was hashed in front of the block:
// MD5(secret + prev), of which salt is a part in the first salted block.
func (s *Secret) keystream(prev *Authenticator, salt []byte) *Authenticator {
	s.prev[0] = *prev
	s.md5.Reset()
	s.md5.Write(s.key)
	s.md5.Write(s.prev[0][:])
	if salt != nil {
		copy(s.salt[:], salt)
		s.md5.Write(s.salt[:])
	}
	s.md5.Sum(s.sum[:0])
	return &s.sum
}

// recrypt changes data from one chain of blocks to another in place: each
// block is opened with the old chain and closed with the new one, so that no
// plaintext of more than a block ever stands anywhere. A last block that is
// short is treated like the beginning of a whole one, which loses nothing.
func recrypt(data, fromSalt, toSalt []byte, from *Secret, fromAuth *Authenticator, to *Secret, toAuth *Authenticator) {
	fromPrev, toPrev := *fromAuth, *toAuth
	for len(data) > 0 {
		block := data[:min(len(data), AuthenticatorLen)]
		// from and to may be one Secret: the first keystream is used up
		// before the second is made.
		var was Authenticator
		copy(was[:], block)
		xor(block, from.keystream(&fromPrev, fromSalt))
		xor(block, to.keystream(&toPrev, toSalt))
		fromPrev = was
		copy(toPrev[:], block)
		fromSalt, toSalt = nil, nil
		data = data[len(block):]
	}
}

func xor(block []byte, key *Authenticator) { subtle.XORBytes(block, block, key[:len(block)]) }

// recryptPassword changes the value of a User-Password in place from (from,
// fromAuth) to (to, toAuth), block by block (RFC 2865 section 5.2). The
// authenticators are those of the packets' headers. The plaintext is not
// looked at: neither its padding nor its length has a meaning here.
func recryptPassword(value []byte, from *Secret, fromAuth *Authenticator, to *Secret, toAuth *Authenticator) {
	recrypt(value, nil, nil, from, fromAuth, to, toAuth)
}

// saltLen is the length of the salt in front of a salted value.
const saltLen = 2

// RecryptSalted changes a salted value (salt and blocks, RFC 2548 section
// 2.4.2, RFC 2868 section 3.5, without the tag) in place. The salt is kept,
// so that a retransmission is byte-identical and salts stay as distinct as
// they were; its top bit, which the RFCs demand and some servers forget, is
// set. A value that cannot be one (no whole number of blocks) is left alone
// and false returned.
func RecryptSalted(value []byte, from *Secret, fromAuth *Authenticator, to *Secret, toAuth *Authenticator) bool {
	if len(value) < saltLen+AuthenticatorLen || (len(value)-saltLen)%AuthenticatorLen != 0 {
		return false
	}
	old := [saltLen]byte{value[0], value[1]}
	value[0] |= 0x80
	recrypt(value[saltLen:], old[:], value[:saltLen], from, fromAuth, to, toAuth)
	return true
}

// recryptAscend changes the value of an Ascend secret in place: one block,
// masked with MD5(authenticator + secret), cut to the value's length. Values
// that are longer than a block are not of this form and left alone.
func recryptAscend(value []byte, from *Secret, fromAuth *Authenticator, to *Secret, toAuth *Authenticator) bool {
	if len(value) > AuthenticatorLen {
		return false
	}
	xor(value, from.ascendKey(fromAuth))
	xor(value, to.ascendKey(toAuth))
	return true
}

func (s *Secret) ascendKey(auth *Authenticator) *Authenticator {
	s.auth = *auth
	s.md5.Reset()
	s.md5.Write(s.auth[:])
	s.md5.Write(s.key)
	s.md5.Sum(s.sum[:0])
	return &s.sum
}

// EncryptPassword appends the value of a User-Password for a request with the
// authenticator auth: password padded with zeros to whole blocks. A password
// of more than 128 bytes is cut there, as RFC 2865 section 5.2 bounds it.
func (s *Secret) EncryptPassword(dst, password []byte, auth *Authenticator) []byte {
	password = password[:min(len(password), maxPasswordLen)]
	start := len(dst)
	dst = append(dst, password...)
	for len(dst) == start || (len(dst)-start)%AuthenticatorLen != 0 {
		dst = append(dst, 0)
	}
	prev := *auth
	for b := dst[start:]; len(b) > 0; b = b[AuthenticatorLen:] {
		xor(b[:AuthenticatorLen], s.keystream(&prev, nil))
		copy(prev[:], b)
	}
	return dst
}

// DecryptPassword appends the plaintext of a User-Password's value, without
// the zeros that pad its end.
func (s *Secret) DecryptPassword(dst, value []byte, auth *Authenticator) []byte {
	start := len(dst)
	prev := *auth
	for len(value) > 0 {
		n := min(len(value), AuthenticatorLen)
		at := len(dst)
		dst = append(dst, value[:n]...)
		xor(dst[at:], s.keystream(&prev, nil))
		copy(prev[:], value[:n])
		value = value[n:]
	}
	for len(dst) > start && dst[len(dst)-1] == 0 {
		dst = dst[:len(dst)-1]
	}
	return dst
}
