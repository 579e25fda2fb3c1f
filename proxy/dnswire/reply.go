package dnswire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
)

// Errors of ParseReply. They are values, so that a flood of bad replies costs no memory.
var (
	ErrShort     = errors.New("message is shorter than a header")
	ErrNotReply  = errors.New("not a reply to a standard query")
	ErrQuestion  = errors.New("not exactly one well-formed question")
	ErrRecord    = errors.New("a record does not fit the message")
	ErrOPT       = errors.New("malformed or second OPT record")
	ErrLeftOver  = errors.New("octets left over after the last record")
	errBehindOPT = errors.New("broken name behind the OPT record")
)

// Reply is what a proxy must know of a backend's reply. It may be reused: ParseReply
// keeps only the memory of TTLs.
type Reply struct {
	ID, Flags   uint16
	Type, Class uint16
	NameLen     int // octets of the question's name at HeaderLen
	Rcode       int // with the upper bits from OPT (RFC 6891 §6.1.3)
	OPT         OPT

	TTLs   []uint16 // where the TTL of every record but OPT stands, ascending
	MinTTL uint32   // the least of them, seconds; MaxUint32 without records. Top bit set counts as 0 (RFC 2181 §8)

	Matching int // records in the answer section that have the asked type (any, if ANY was asked)
	SOA      bool
	SOATTL   uint32 // TTL of the SOA in the authority section, seconds
	SOAMin   uint32 // its MINIMUM field, seconds (RFC 2308 §4)
}

// QuestionLen is the length of the question: name, type and class.
func (r *Reply) QuestionLen() int { return r.NameLen + questionTail }

// TC tells whether the reply was truncated.
func (r *Reply) TC() bool { return r.Flags&FlagTC != 0 }

// Negative tells whether the reply says that the name or its data do not exist
// (RFC 2308 §2): NXDOMAIN, or NOERROR without a record of the asked type.
func (r *Reply) Negative() bool {
	return r.Rcode == NXDomain || r.Rcode == NoError && r.Matching == 0
}

// Key appends the question in its canonical form to dst, as Query.AppendKey does.
func (r *Reply) Key(dst, m []byte) []byte {
	dst = appendLower(dst, m[HeaderLen:HeaderLen+r.NameLen])
	return append(dst, byte(r.Type>>8), byte(r.Type), byte(r.Class>>8), byte(r.Class))
}

// ParseReply walks a whole reply and fills r. RDATA is not looked into, but for the
// SOA's MINIMUM.
func ParseReply(m []byte, r *Reply) error {
	*r = Reply{TTLs: r.TTLs[:0], MinTTL: math.MaxUint32}
	if len(m) < HeaderLen {
		return ErrShort
	}
	r.ID, r.Flags = ID(m), Flags(m)
	if r.Flags&FlagQR == 0 || r.Flags&OpcodeMask != 0 {
		return ErrNotReply
	}
	r.NameLen = plainName(m, HeaderLen)
	off := HeaderLen + r.NameLen
	if QDCount(m) != 1 || r.NameLen == 0 || off+questionTail > len(m) {
		return ErrQuestion
	}
	r.Type = binary.BigEndian.Uint16(m[off:])
	r.Class = binary.BigEndian.Uint16(m[off+2:])
	r.Rcode = int(r.Flags & RcodeMask)
	off += questionTail

	an, ns, ar := ANCount(m), NSCount(m), ARCount(m)
	for i := range an + ns + ar {
		name := off
		off = SkipName(m, off)
		if off < 0 || off+rrFixedLen > len(m) {
			return ErrRecord
		}
		typ := binary.BigEndian.Uint16(m[off:])
		length := int(binary.BigEndian.Uint16(m[off+8:]))
		data := off + rrFixedLen
		if data+length > len(m) {
			return ErrRecord
		}
		if typ == TypeOPT {
			if i < an+ns || r.OPT.Present || m[name] != 0 || !parseOPT(m, name, data, length, &r.OPT) {
				return ErrOPT
			}
			r.Rcode |= int(r.OPT.ExtRcode) << 4
			off = data + length
			continue
		}
		ttl := TTL(m, off+4)
		r.TTLs = append(r.TTLs, uint16(off+4))
		r.MinTTL = min(r.MinTTL, ttl)
		switch {
		case i < an:
			if typ == r.Type || r.Type == TypeANY {
				r.Matching++
			}
		case i < an+ns && typ == TypeSOA && length >= 22 && !r.SOA:
			r.SOA, r.SOATTL = true, ttl
			r.SOAMin = binary.BigEndian.Uint32(m[data+length-4:])
		}
		off = data + length
	}
	if off != len(m) {
		return ErrLeftOver
	}
	return nil
}

// TTL reads the TTL at off. A TTL with the top bit set is 0 (RFC 2181 §8).
func TTL(m []byte, off int) uint32 {
	ttl := binary.BigEndian.Uint32(m[off:])
	if ttl > math.MaxInt32 {
		return 0
	}
	return ttl
}

// AgeTTLs lowers the TTLs at the given places by age seconds, to 0 at least.
func AgeTTLs(m []byte, places []uint16, age uint32) {
	for _, at := range places {
		ttl := TTL(m, int(at))
		binary.BigEndian.PutUint32(m[at:], ttl-min(age, ttl))
	}
}

// ClampTTLs brings the TTLs at the given places between low and high, seconds. A TTL
// with the top bit set becomes max(0, low).
func ClampTTLs(m []byte, places []uint16, low, high uint32) {
	for _, at := range places {
		binary.BigEndian.PutUint32(m[at:], min(max(TTL(m, int(at)), low), high))
	}
}

// StripOPT takes the OPT record out of a reply that ParseReply accepted and returns
// the shorter message; m's memory is reused. EDNS belongs to one hop, so the stored
// answer has none (RFC 6891 §6.2.6). Records behind OPT move, and their compression
// pointers and places of TTLs with them. On error m may have been changed.
func StripOPT(m []byte, r *Reply) ([]byte, error) {
	if !r.OPT.Present {
		return m, nil
	}
	rec := r.OPT.Record
	end := rec.Off + rec.Len
	SetCounts(m, QDCount(m), ANCount(m), NSCount(m), ARCount(m)-1)
	r.OPT = OPT{}
	if end == len(m) {
		return m[:rec.Off], nil
	}
	orig := bytes.Clone(m)
	if !eachNameBehind(m, end, func(off int) int { return shiftName(m, off, rec) }) {
		return nil, errBehindOPT
	}
	m = append(m[:rec.Off], m[end:]...)
	// A pointer may lead to octets that are no name's, and those have not moved in
	// step: what is read there must still be the same.
	var before, after []byte
	if !eachNameBehind(orig, end, func(off int) (next int) {
		var ok, same bool
		before, ok = appendName(before[:0], orig, off)
		after, same = appendName(after[:0], m, off-rec.Len)
		if !ok || !same || !bytes.Equal(before, after) {
			return -1
		}
		return SkipName(orig, off)
	}) {
		return nil, errBehindOPT
	}
	for i, at := range r.TTLs {
		if int(at) >= end {
			r.TTLs[i] = at - uint16(rec.Len)
		}
	}
	return m, nil
}

// eachNameBehind calls f with the offset of every name of the records from off on that
// may be compressed, owners first. f returns where the name ends or -1 to stop. It
// reports whether all were visited.
func eachNameBehind(m []byte, off int, f func(off int) int) bool {
	for off < len(m) {
		next := f(off)
		if next < 0 || next+rrFixedLen > len(m) {
			return false
		}
		skip, names := compressible(binary.BigEndian.Uint16(m[next:]))
		data := next + rrFixedLen
		off = data + int(binary.BigEndian.Uint16(m[next+8:]))
		for at := data + skip; names > 0; names-- {
			if at = f(at); at < 0 || at > off {
				return false
			}
		}
	}
	return true
}

// shiftName lowers the pointer that ends the name at off by the length of gone, if it
// leads behind it. It returns where the name ends, or -1; a pointer into what goes is
// an error too.
func shiftName(m []byte, off int, gone Span) int {
	for off < len(m) {
		switch c := int(m[off]); {
		case c == 0:
			return off + 1
		case c <= MaxLabel:
			off += c + 1
		case c >= 0xc0 && off+1 < len(m):
			target := (c&0x3f)<<8 | int(m[off+1])
			if target >= gone.Off+gone.Len {
				target -= gone.Len
				m[off], m[off+1] = 0xc0|byte(target>>8), byte(target)
			} else if SkipName(m[:gone.Off], target) < 0 {
				return -1 // leads into or through what goes
			}
			return off + 2
		default:
			return -1
		}
	}
	return -1
}

// compressible tells where names that may be compressed stand in RDATA: after how
// many octets, and how many of them (RFC 1035 §3.3, RFC 3597 §4).
func compressible(typ uint16) (skip, names int) {
	switch typ {
	case TypeNS, 3, 4, TypeCNAME, 7, 8, 9, TypePTR, TypeDNAME: // MD, MF, MB, MG, MR
		return 0, 1
	case TypeSOA, 14, 17: // MINFO, RP
		return 0, 2
	case 15, 18, 21, 36: // MX, AFSDB, RT, KX
		return 2, 1
	case 26: // PX
		return 2, 2
	case 33: // SRV
		return 6, 1
	}
	return 0, 0
}
