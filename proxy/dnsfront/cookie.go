package dnsfront

import (
	"bufio"
	"bytes"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"
	"net/netip"
	"os"
	"strings"
)

// Server cookies as RFC 9018 §4 wants them, so that every node with the same secrets
// accepts them: version 1, SipHash-2-4 over client cookie, version, time and address.
const (
	clientCookie = 8
	fullCookie   = 24
	cookieOption = 4 + fullCookie // with code and length
	cookieFuture = 300            // seconds that a cookie may be ahead of our clock (RFC 9018 §4.3)
	cookieMaxAge = 3600           // seconds that it is good for
)

// cookieSecrets are the secrets of one service: the first signs, all verify.
type cookieSecrets [][16]byte

// readCookieSecrets reads a file of secrets, 32 hexadecimal digits on a line. Empty
// lines and those that begin with # are passed over. No secret appears in an error.
func readCookieSecrets(path string) (cookieSecrets, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading cookie secrets: %w", err)
	}
	var out cookieSecrets
	lines := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		var k [16]byte
		if len(text) != 32 {
			return nil, fmt.Errorf("reading cookie secrets: %s:%d is not 32 hexadecimal digits", path, n)
		}
		if _, err := hex.Decode(k[:], []byte(text)); err != nil {
			return nil, fmt.Errorf("reading cookie secrets: %s:%d is not 32 hexadecimal digits", path, n)
		}
		out = append(out, k)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading cookie secrets: %w", err)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("reading cookie secrets: %s has none", path)
	}
	return out, nil
}

// goodCookieLength tells whether an option of that length may be a cookie (RFC 7873 §5.2.2).
func goodCookieLength(n int) bool { return n == clientCookie || n >= 16 && n <= 40 }

// sign writes the cookie for a client into out, whose first octets are the client cookie.
func (c cookieSecrets) sign(out *[fullCookie]byte, client netip.Addr, unix uint32) {
	copy(out[8:], []byte{1, 0, 0, 0})
	binary.BigEndian.PutUint32(out[12:], unix)
	binary.LittleEndian.PutUint64(out[16:], cookieHash(&c[0], out[:16], client))
}

// valid tells whether a whole cookie is one of ours for this client.
func (c cookieSecrets) valid(cookie []byte, client netip.Addr, unix uint32) bool {
	if len(cookie) != fullCookie || cookie[8] != 1 {
		return false
	}
	age := int32(unix - binary.BigEndian.Uint32(cookie[12:])) // serial arithmetic (RFC 1982)
	if age < -cookieFuture || age > cookieMaxAge {
		return false
	}
	good := 0
	for i := range c {
		var want [8]byte
		binary.LittleEndian.PutUint64(want[:], cookieHash(&c[i], cookie[:16], client))
		good |= subtle.ConstantTimeCompare(want[:], cookie[16:])
	}
	return good == 1
}

func cookieHash(key *[16]byte, head []byte, client netip.Addr) uint64 {
	var room [32]byte
	m := append(room[:0], head...)
	if client.Is4() {
		a := client.As4()
		m = append(m, a[:]...)
	} else {
		a := client.As16()
		m = append(m, a[:]...)
	}
	return sipHash24(key, m)
}

// sipHash24 is SipHash-2-4 with 64 bits (Aumasson, Bernstein, 2012).
func sipHash24(key *[16]byte, m []byte) uint64 {
	k0, k1 := binary.LittleEndian.Uint64(key[:]), binary.LittleEndian.Uint64(key[8:])
	v0, v1, v2, v3 := k0^0x736f6d6570736575, k1^0x646f72616e646f6d, k0^0x6c7967656e657261, k1^0x7465646279746573
	round := func() {
		v0 += v1
		v1 = bits.RotateLeft64(v1, 13) ^ v0
		v0 = bits.RotateLeft64(v0, 32)
		v2 += v3
		v3 = bits.RotateLeft64(v3, 16) ^ v2
		v0 += v3
		v3 = bits.RotateLeft64(v3, 21) ^ v0
		v2 += v1
		v1 = bits.RotateLeft64(v1, 17) ^ v2
		v2 = bits.RotateLeft64(v2, 32)
	}
	last := uint64(len(m)) << 56
	for ; len(m) >= 8; m = m[8:] {
		w := binary.LittleEndian.Uint64(m)
		v3 ^= w
		round()
		round()
		v0 ^= w
	}
	for i, b := range m {
		last |= uint64(b) << (8 * i)
	}
	v3 ^= last
	round()
	round()
	v0 ^= last
	v2 ^= 0xff
	for range 4 {
		round()
	}
	return v0 ^ v1 ^ v2 ^ v3
}
