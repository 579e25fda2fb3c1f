package dnswire

import "encoding/binary"

// Problem says what is wrong with a query, in the order in which it is found.
type Problem uint8

// What ParseQuery finds. Short and Response are never answered; the others have the
// rcode that Rcode names.
const (
	OK         Problem = iota
	Short              // no whole header
	Response           // QR is set
	BadOpcode          // any opcode but QUERY
	BadCount           // not exactly one question (RFC 9619)
	Malformed          // the body does not parse, or octets are left over
	BadVersion         // EDNS version above 0 (RFC 6891 §6.1.3)
)

// Rcode is the answer that the problem calls for.
func (p Problem) Rcode() int {
	switch p {
	case BadOpcode:
		return NotImp
	case BadCount, Malformed:
		return FormErr
	case BadVersion:
		return BadVers
	}
	return NoError
}

// Query is what a proxy must know of a query: offsets and numbers, no pointers.
type Query struct {
	ID, Flags   uint16 // as sent
	Type, Class uint16
	NameLen     int // octets of the name, which starts at HeaderLen; 0 if no question could be read
	OPT         OPT
}

// QuestionLen is the length of the question: name, type and class. 0 if none was read.
func (q *Query) QuestionLen() int {
	if q.NameLen == 0 {
		return 0
	}
	return q.NameLen + questionTail
}

// Name returns the name as the client wrote it.
func (q *Query) Name(m []byte) []byte { return m[HeaderLen : HeaderLen+q.NameLen] }

// Question returns the question as the client wrote it; empty if none could be read.
func (q *Query) Question(m []byte) []byte { return m[HeaderLen : HeaderLen+q.QuestionLen()] }

// RD tells whether recursion is desired.
func (q *Query) RD() bool { return q.Flags&FlagRD != 0 }

// CD tells whether checking is disabled (RFC 4035 §3.2.2).
func (q *Query) CD() bool { return q.Flags&FlagCD != 0 }

// ParseQuery reads a query into q. Whatever the problem is, what was read before it
// stays in q, so that the answer can carry the ID, the question and an OPT.
//
// A question has nothing before it that a pointer could lead to, so its name must be
// uncompressed.
func ParseQuery(m []byte, q *Query) Problem {
	*q = Query{}
	if len(m) < HeaderLen {
		return Short
	}
	q.ID, q.Flags = ID(m), Flags(m)
	if q.Flags&FlagQR != 0 {
		return Response
	}
	if q.Flags&OpcodeMask == 0 {
		return q.body(m)
	}
	if q.body(m) == Malformed { // it need not be like a query's
		*q = Query{ID: q.ID, Flags: q.Flags}
	}
	return BadOpcode
}

// body reads everything after the header.
func (q *Query) body(m []byte) Problem {
	off := HeaderLen
	switch QDCount(m) {
	case 0:
		// Only with a cookie does this mean anything (RFC 7873 §5.4); the
		// caller looks at OPT.
		switch {
		case !q.records(m, off):
			return Malformed
		case q.OPT.Version != 0:
			return BadVersion
		}
		return BadCount
	case 1:
	default:
		return BadCount
	}
	n := plainName(m, off)
	if n == 0 || off+n+questionTail > len(m) {
		return Malformed
	}
	q.NameLen = n
	off += n
	q.Type = binary.BigEndian.Uint16(m[off:])
	q.Class = binary.BigEndian.Uint16(m[off+2:])
	if !q.records(m, off+questionTail) {
		return Malformed
	}
	if q.OPT.Version != 0 {
		return BadVersion
	}
	return OK
}

// records walks everything after the question: only OPT matters, but lying counts,
// truncated records and octets left over must be found.
func (q *Query) records(m []byte, off int) bool {
	before := ANCount(m) + NSCount(m)
	total := before + ARCount(m)
	for i := range total {
		name := off
		off = SkipName(m, off)
		if off < 0 || off+rrFixedLen > len(m) {
			return false
		}
		typ := binary.BigEndian.Uint16(m[off:])
		length := int(binary.BigEndian.Uint16(m[off+8:]))
		off += rrFixedLen
		if off+length > len(m) {
			return false
		}
		if typ == TypeOPT {
			// One OPT, with the root as its name, in the additional section (RFC 6891 §6.1.1).
			if i < before || q.OPT.Present || m[name] != 0 {
				return false
			}
			if !parseOPT(m, name, off, length, &q.OPT) {
				return false
			}
		}
		off += length
	}
	return off == len(m)
}

// AppendKey appends the question in its canonical form: the name in lower case, type
// and class (RFC 4343). Equal questions have equal keys.
func (q *Query) AppendKey(dst, m []byte) []byte {
	dst = appendLower(dst, q.Name(m))
	return append(dst, byte(q.Type>>8), byte(q.Type), byte(q.Class>>8), byte(q.Class))
}

// UDPLimit is the largest answer in octets that may be sent to this client over UDP:
// min(max(its own size, 512), limit), and 512 without EDNS (RFC 6891 §6.2.3–6.2.5).
func (q *Query) UDPLimit(limit int) int {
	size := MinUDP
	if q.OPT.Present {
		size = max(size, int(q.OPT.UDPSize))
	}
	return min(size, limit)
}
