package drive

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

// DNS asks for A records over UDP with EDNS. Every name is as long as the others.
type DNS struct {
	// Names is how many different names are asked, in random order; 0: every name is new.
	Names int
	// InOrder asks for one name after the other.
	InOrder bool
	// Echo takes what was asked back for an answer.
	Echo bool

	base uint64 // of names never asked before
}

// NewDNS makes a DNS with that many names.
func NewDNS(names int) *DNS { return &DNS{Names: names, base: rand.Uint64N(1e12)} }

const nameDigits = 14

var dnsTail = []byte("\x05drive\x04test\x00\x00\x01\x00\x01\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00")

// questionEnd is where the question ends in query and reply.
const questionEnd = 12 + 1 + 1 + nameDigits + 6 + 5 + 1 + 4

// Request implements Protocol.
func (d *DNS) Request(dst []byte, n uint64, id uint16, _ int) []byte {
	dst = append(dst, byte(id>>8), byte(id), 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 1)
	return append(d.name(dst, n), dnsTail...)
}

// name appends the first label of request n's name.
func (d *DNS) name(dst []byte, n uint64) []byte {
	kind, k := byte('n'), d.base+n
	if d.Names > 0 {
		kind, k = 'h', mix(n)%uint64(d.Names)
		if d.InOrder {
			k = n % uint64(d.Names)
		}
	}
	dst = append(dst, 1+nameDigits, kind)
	var digits [nameDigits]byte
	for i := nameDigits - 1; i >= 0; i-- {
		digits[i] = '0' + byte(k%10)
		k /= 10
	}
	return append(dst, digits[:]...)
}

// mix is SplitMix64's output function: n's own random number.
func mix(n uint64) uint64 {
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

// Identifier implements Protocol.
func (*DNS) Identifier(reply []byte) (uint16, bool) {
	if len(reply) < 12 {
		return 0, false
	}
	return binary.BigEndian.Uint16(reply), true
}

// Identifiers implements Protocol.
func (*DNS) Identifiers() int { return 1 << 16 }

// Check implements Protocol: the question is request n's, there is no error, and the first record is the one that
// Answer gives for this name.
func (d *DNS) Check(b []byte, n uint64, _ uint16, _ int) string {
	if d.Echo {
		return ""
	}
	var room [2 + nameDigits]byte
	name := d.name(room[:0], n)
	data := questionEnd + 12 // of the first record, whose owner is a pointer or, in a reply without compression, the name again
	if len(b) > questionEnd && b[questionEnd] == 1+nameDigits {
		data = questionEnd + questionEnd - 12 - 4 + 10
	}
	switch {
	case len(b) < 12 || b[2]&0x80 == 0:
		return "malformed"
	case b[2]&0x02 != 0:
		return "truncated"
	case b[3]&0x0f != 0:
		return fmt.Sprintf("rcode %d", b[3]&0x0f)
	case len(b) < data+4 || !bytes.Equal(b[12:12+len(name)], name):
		return "another question"
	case binary.BigEndian.Uint16(b[6:]) != 1 || [4]byte(b[data:]) != address(name):
		return "another record"
	}
	return ""
}

// address is what the name stands for: 198.18.0.0/15 (RFC 2544).
func address(label []byte) [4]byte {
	return [4]byte{198, 18, label[len(label)-2], label[len(label)-1]}
}

// AnswerDNS is a resolver that knows every name, for Port.
func AnswerDNS(dst, q []byte) []byte {
	if len(q) < questionEnd || q[2]&0x80 != 0 || q[12] != 1+nameDigits {
		return probed(dst, q)
	}
	arcount := byte(0)
	if len(q) > questionEnd {
		arcount = 1
	}
	dst = append(dst, q[0], q[1], 0x80|q[2]&0x01, 0x80|q[3]&0x10, 0, 1, 0, 1, 0, 0, 0, arcount)
	dst = append(dst, q[12:questionEnd]...)
	dst = append(dst, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0x0e, 0x10, 0, 4)
	a := address(q[12 : 12+2+nameDigits])
	dst = append(dst, a[:]...)
	if arcount == 1 {
		dst = append(dst, 0, 0, 0x29, 0x04, 0xd0, 0, 0, 0, 0, 0, 0)
	}
	return dst
}

// FailDNS is a resolver that answers everything with SERVFAIL, for Port.
func FailDNS(dst, q []byte) []byte {
	at := len(dst)
	if dst = probed(dst, q); len(dst) > at {
		dst[at+3] |= 2
	}
	return dst
}

// probed answers what servers ask to know whether a backend lives, the root's NS or some A, with one record.
func probed(dst, q []byte) []byte {
	if len(q) < 12 || q[2]&0x80 != 0 {
		return dst
	}
	end := 12
	for end < len(q) && q[end] != 0 {
		end += 1 + int(q[end])
	}
	end += 5
	if end > len(q) {
		return dst
	}
	dst = append(dst, q[0], q[1], 0x80|q[2]&0x01, 0x80, 0, 1, 0, 1, 0, 0, 0, 0)
	dst = append(dst, q[12:end]...)
	dst = append(dst, 0xc0, 12, q[end-4], q[end-3], 0, 1, 0, 0, 0, 60)
	if q[end-3] == 1 {
		return append(dst, 0, 4, 198, 18, 0, 1)
	}
	return append(dst, 0, 1, 0)
}
