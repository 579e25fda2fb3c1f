package radpkt

import (
	"crypto/des" //nolint:gosec // RFC 2759 says so
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"strings"
	"unicode/utf16"
)

// Microsoft's attributes (RFC 2548 §2).
const (
	VendorSpecific = 26
	microsoft      = 311

	MSCHAPChallenge = 11
	MSCHAP2Response = 25
	MSCHAP2Success  = 26
)

// AttrMicrosoft appends one of Microsoft's attributes, of at most 247 octets.
func AttrMicrosoft(dst []byte, kind byte, value ...[]byte) []byte {
	n := 0
	for _, v := range value {
		n += len(v)
	}
	dst = append(dst, VendorSpecific, byte(n+8))
	dst = binary.BigEndian.AppendUint32(dst, microsoft)
	dst = append(dst, kind, byte(n+2))
	for _, v := range value {
		dst = append(dst, v...)
	}
	return dst
}

// FindMicrosoft gives the value of the packet's first attribute of Microsoft's of that type that stands alone in its
// Vendor-Specific, as a part of the packet, or nil. The packet has passed Parse.
func FindMicrosoft(packet []byte, kind byte) []byte {
	for off := HeaderSize; off < len(packet); off += int(packet[off+1]) {
		a := packet[off : off+int(packet[off+1])]
		if a[0] == VendorSpecific && len(a) >= 8 && binary.BigEndian.Uint32(a[2:]) == microsoft && a[6] == kind && int(a[7]) == len(a)-6 {
			return a[8:]
		}
	}
	return nil
}

// MSCHAPv2 gives what the peer answers to a challenge with its own, and how the server proves that it knows the
// password too: "S=" and 40 hex digits (RFC 2759 §8.1 and §8.7). A domain in front of the name does not count.
func MSCHAPv2(user, password string, challenge, peer [16]byte) (response [24]byte, success string) {
	if _, name, ok := strings.Cut(user, `\`); ok {
		user = name
	}
	h := sha1.New()
	h.Write(peer[:])
	h.Write(challenge[:])
	h.Write([]byte(user))
	over := h.Sum(nil)[:8]

	hash := ntHash(password)
	var key [21]byte
	copy(key[:], hash[:])
	for i := range 3 {
		spread := spreadKey(key[7*i : 7*i+7])
		block, _ := des.NewCipher(spread[:]) //nolint:gosec // the key is always eight octets
		block.Encrypt(response[8*i:], over)
	}

	twice := md4(hash[:])
	h.Reset()
	h.Write(twice[:])
	h.Write(response[:])
	h.Write([]byte("Magic server to client signing constant"))
	digest := h.Sum(nil)
	h.Reset()
	h.Write(digest)
	h.Write(over)
	h.Write([]byte("Pad to make it do more than one iteration"))
	return response, "S=" + strings.ToUpper(hex.EncodeToString(h.Sum(nil)))
}

// ntHash is MD4 of the password in UTF-16.
func ntHash(password string) [16]byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(password)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return md4(b)
}

// spreadKey makes a DES key, with room for the parities, of seven octets.
func spreadKey(k []byte) (key [8]byte) {
	var v uint64
	for _, b := range k {
		v = v<<8 | uint64(b)
	}
	for i := range key {
		key[i] = byte(v>>(49-7*i)) << 1
	}
	return key
}

// md4 is RFC 1320's.
func md4(message []byte) (sum [16]byte) {
	padded := append(append([]byte(nil), message...), 0x80)
	for len(padded)%64 != 56 {
		padded = append(padded, 0)
	}
	padded = binary.LittleEndian.AppendUint64(padded, uint64(len(message))*8)
	state := [4]uint32{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}
	for ; len(padded) > 0; padded = padded[64:] {
		md4Block(&state, padded)
	}
	for i, v := range state {
		binary.LittleEndian.PutUint32(sum[4*i:], v)
	}
	return sum
}

var (
	md4Shifts = [3][4]int{{3, 7, 11, 19}, {3, 5, 9, 13}, {3, 9, 11, 15}}
	md4Order  = [3][16]int{
		{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
		{0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15},
		{0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15},
	}
	md4Add = [3]uint32{0, 0x5a827999, 0x6ed9eba1}
)

func md4Block(state *[4]uint32, block []byte) {
	s := *state
	for round := range 3 {
		for i, k := range md4Order[round] {
			var f uint32
			switch round {
			case 0:
				f = s[1]&s[2] | ^s[1]&s[3]
			case 1:
				f = s[1]&s[2] | s[1]&s[3] | s[2]&s[3]
			default:
				f = s[1] ^ s[2] ^ s[3]
			}
			v := bits.RotateLeft32(s[0]+f+binary.LittleEndian.Uint32(block[4*k:])+md4Add[round], md4Shifts[round][i%4])
			s[0], s[1], s[2], s[3] = s[3], v, s[1], s[2]
		}
	}
	for i := range state {
		state[i] += s[i]
	}
}
