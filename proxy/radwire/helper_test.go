package radwire

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// packet builds a packet of the given attributes with a fixed authenticator.
func packet(code Code, id byte, attrs ...[]byte) []byte {
	p := make([]byte, HeaderLen, MaxLen)
	for i := range AuthenticatorLen {
		p[4+i] = byte(0x10 + i)
	}
	for _, a := range attrs {
		p = append(p, a...)
	}
	PutHeader(p, code, id, len(p))
	return p
}

func attr(typ byte, value string) []byte {
	return append([]byte{typ, byte(len(value) + 2)}, value...)
}

func vsa(vendor uint32, sub ...[]byte) []byte {
	v := binary.BigEndian.AppendUint32(nil, vendor)
	for _, s := range sub {
		v = append(v, s...)
	}
	return attr(AttrVendorSpecific, string(v))
}

func mustWalk(tb testing.TB, p []byte) Index {
	tb.Helper()
	var ix Index
	if _, err := Walk(p, &ix); err != nil {
		tb.Fatalf("walk: %v of %x", err, p)
	}
	return ix
}

// list takes a packet apart for comparisons.
func list(p []byte) [][]byte {
	var l [][]byte
	for off := HeaderLen; off < len(p); off += int(p[off+1]) {
		l = append(l, p[off:off+int(p[off+1])])
	}
	return l
}

// randomAttrs are attributes of every type and shape except those that a
// rewrite touches.
func randomAttrs(r *rand.Rand, room int) []byte {
	var b []byte
	for n := r.IntN(20); n > 0; n-- {
		typ := byte(r.IntN(256))
		switch typ {
		case AttrUserPassword, AttrMessageAuthenticator, AttrTunnelPassword, AttrCHAPPassword:
			typ = 241 // extended attributes are opaque
		}
		l := r.IntN(254)
		if len(b)+2+l > room {
			break
		}
		b = append(b, typ, byte(l+2))
		start := len(b)
		for range l {
			b = append(b, byte(r.Uint32()))
		}
		if typ == AttrVendorSpecific && l >= 4 {
			binary.BigEndian.PutUint32(b[start:], 9) // a vendor without hidden attributes
		}
	}
	return b
}
