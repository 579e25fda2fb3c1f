package radwire

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Attribute is one attribute in words, as FreeRADIUS writes it into a detail
// file: text in quotes, octets as 0x and hexadecimal digits, what has no name as
// Attr-N or, of a vendor, Attr-26.VENDOR.TYPE.
type Attribute struct {
	Name   string
	Value  string // "" if it is secret
	Secret bool   // it may be a password, a response computed from one, or a key
}

// Text decodes the attributes of a packet in their order. p may be anything: what
// is behind the first attribute that does not fit is left out.
func Text(p []byte) []Attribute {
	var out []Attribute
	for at := HeaderLen; at+2 <= len(p); {
		n := int(p[at+1])
		if n < 2 || at+n > len(p) {
			break
		}
		typ, v := p[at], p[at+2:at+n]
		at += n
		if typ == AttrVendorSpecific && len(v) > 4 {
			out = vendorText(out, v)
			continue
		}
		a := Attribute{Name: names[typ].name, Secret: secretAttribute(typ)}
		if a.Name == "" {
			a.Name = fmt.Sprintf("Attr-%d", typ)
		}
		if !a.Secret {
			a.write(typ, v)
		}
		out = append(out, a)
	}
	return out
}

// write writes the value as its type asks for, or, where it has a length that
// none of them has, as octets without a name.
func (a *Attribute) write(typ byte, v []byte) {
	f := names[typ].format
	if f == taggedText || f == taggedNumber {
		tag := byte(0)
		switch {
		case f == taggedNumber && len(v) == 4:
			tag, v = v[0], []byte{0, v[1], v[2], v[3]}
			f = number
		case f == taggedText && len(v) > 0 && v[0] <= 0x1f:
			tag, v = v[0], v[1:]
			f = text
		case f == taggedText:
			f = text
		}
		a.Name += fmt.Sprintf(":%d", tag)
	}
	words, ok := formatted(f, typ, v)
	if !ok {
		a.Name = fmt.Sprintf("Attr-%d", typ)
	}
	a.Value = words
}

// ValueName is a number as the value of an attribute: its name, or the number
// where it has none.
func ValueName(typ byte, n uint32) string {
	if known := valueNames[typ][n]; known != "" {
		return known
	}
	return strconv.FormatUint(uint64(n), 10)
}

func formatted(f format, typ byte, v []byte) (words string, ok bool) {
	switch {
	case f == text:
		return quoted(v), true
	case f == number && len(v) == 4:
		return ValueName(typ, binary.BigEndian.Uint32(v)), true
	case f == ip4 && len(v) == 4, f == ip6 && len(v) == 16:
		a, _ := netip.AddrFromSlice(v) // of a length that it takes
		return a.String(), true
	case f == prefix6 && len(v) >= 2 && len(v) <= 18 && v[1] <= 128: // RFC 3162 section 2.3
		var b [16]byte
		copy(b[:], v[2:])
		return netip.PrefixFrom(netip.AddrFrom16(b), int(v[1])).String(), true
	case f == interfaceID && len(v) == 8:
		return fmt.Sprintf("%x:%x:%x:%x", v[0:2], v[2:4], v[4:6], v[6:8]), true
	case f == date && len(v) == 4:
		at := time.Unix(int64(binary.BigEndian.Uint32(v)), 0).UTC()
		return at.Format(`"Jan _2 2006 15:04:05 UTC"`), true
	}
	return fmt.Sprintf("0x%x", v), f == octets
}

// quoted writes text in quotes. What could end the line or leave the quotes is
// escaped.
func quoted(v []byte) string {
	var b strings.Builder
	b.WriteByte('"')
	for len(v) > 0 {
		r, n := utf8.DecodeRune(v)
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == utf8.RuneError && n == 1, !strconv.IsPrint(r):
			for _, c := range v[:n] {
				fmt.Fprintf(&b, "\\%03o", c)
			}
		default:
			b.Write(v[:n])
		}
		v = v[n:]
	}
	b.WriteByte('"')
	return b.String()
}

// vendorText decodes the attributes inside a Vendor-Specific one, or gives it as
// a whole where the vendor has another shape for it.
func vendorText(out []Attribute, v []byte) []Attribute {
	vendor, data, whole := binary.BigEndian.Uint32(v), v[4:], out
	typeBytes := 1
	if vendor == vendorLucent {
		typeBytes = lucentTypeBytes
	}
	for len(data) > 0 {
		l := 0
		if len(data) > typeBytes {
			l = int(data[typeBytes])
		}
		if l <= typeBytes || l > len(data) {
			return append(whole, Attribute{Name: "Attr-26", Value: fmt.Sprintf("0x%x", v)}.maskedIf(secretVendors[vendor]))
		}
		typ := uint16(data[0])
		if typeBytes == lucentTypeBytes {
			typ = binary.BigEndian.Uint16(data)
		}
		a := Attribute{Name: fmt.Sprintf("Attr-26.%d.%d", vendor, typ), Value: fmt.Sprintf("0x%x", data[typeBytes+1:l])}
		if vendor == vendorCisco && typ == 1 {
			a = Attribute{Name: "Cisco-AVPair", Value: quoted(data[typeBytes+1 : l])}
		}
		out = append(out, a.maskedIf(plainSecret(vendor, typ, data[typeBytes+1:l]) || vendor == vendorMicrosoft || vendorCiphers[hidden{vendor, typ}] != cipherNone))
		data = data[l:]
	}
	return out
}

const vendorCisco = 9

// secretVendors are those that have a secret attribute. It is never changed.
var secretVendors = func() map[uint32]bool {
	out := map[uint32]bool{vendorMicrosoft: true}
	for h := range vendorCiphers {
		out[h.vendor] = true
	}
	return out
}()

func (a Attribute) maskedIf(secret bool) Attribute {
	if secret {
		a.Value, a.Secret = "", true
	}
	return a
}
