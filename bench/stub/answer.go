package stub

import (
	"encoding/binary"
	"encoding/hex"
)

// DNS numbers that this package and its users write out (RFC 1035, 3596, 6891).
const (
	TypeA     = 1
	TypeNS    = 2
	TypeCNAME = 5
	TypeSOA   = 6
	TypeTXT   = 16
	TypeAAAA  = 28
	TypeOPT   = 41

	RcodeNoError  = 0
	RcodeFormErr  = 1
	RcodeServfail = 2
	RcodeNXDomain = 3
	RcodeNotImp   = 4
	RcodeRefused  = 5

	classIN    = 1
	defaultTTL = 300
	headerSize = 12
)

// The largest answers of a Resolver in octets, by transport.
const (
	MaxUDP = 4096
	MaxTCP = 65535
)

// spec is what a name's labels ask for.
type spec struct {
	hash   uint64 // FNV-1a of the name in lower case
	ttl    uint32
	count  int // A and AAAA records
	size   int // octets of TXT data
	ip     [4]byte
	fixed  bool // ip was given
	rcode  byte
	nodata bool
	alias  int // offset of the label `cname` in the message; 0: none
	probe  bool
}

// Answer appends to dst the answer to query that every healthy Resolver gives,
// and returns the longer slice. limit is the transport's, MaxUDP or MaxTCP;
// over UDP the client's own limit (512, or its OPT's) counts too, and what does
// not fit is an empty answer with TC=1. A message that nobody should answer
// (short, or itself an answer) adds nothing. query is not kept, and must not
// overlap dst's free capacity.
//
// The name says what the answer is; labels may stand anywhere in it, and
// without them a name has one A, one AAAA and one TXT record made from its own
// hash, with a TTL of 300:
//
//	ttl-60          TTL of every record, in seconds
//	ip-192-0-2-1    the A record's address; AAAA is 2001:db8::192.0.2.1
//	count-20        that many A or AAAA records
//	size-2000       that many octets of TXT data
//	cname           a CNAME to the same name with `alias` in its place
//	nx, nodata      no such name; a name without data. Both with a SOA
//	servfail, refused
//
// The root has one NS record, for probes. Other types have no data, other
// classes are REFUSED, other opcodes NOTIMP, and one question that is not one
// is FORMERR.
func Answer(dst, query []byte, limit int) []byte {
	if len(query) < headerSize || query[2]&0x80 != 0 {
		return dst
	}
	start := len(dst)
	dst = append(dst, query[:headerSize]...)
	head := dst[start : start+headerSize]
	head[2] = 0x80 | query[2]&0x79 // QR, the query's opcode and RD
	head[3] = 0x80 | query[3]&0x10 // RA, the query's CD
	clear(head[4:])

	if query[2]&0x78 != 0 {
		head[3] |= RcodeNotImp
		return dst
	}
	s, end, ok := readName(query, headerSize)
	if !ok || binary.BigEndian.Uint16(query[4:]) != 1 || len(query) < end+4 {
		head[3] |= RcodeFormErr
		return dst
	}
	dst = append(dst, query[headerSize:end+4]...)
	head = dst[start : start+headerSize]
	head[5] = 1
	questionEnd := len(dst)

	b := builder{buf: dst, start: start}
	qtype, class := binary.BigEndian.Uint16(query[end:]), binary.BigEndian.Uint16(query[end+2:])
	if class != classIN {
		b.rcode(RcodeRefused)
	} else {
		b.records(&s, qtype, query[headerSize:end])
	}
	size, edns := optSize(query, end+4)
	if limit < MaxTCP {
		limit = min(limit, max(size, 512))
	}
	need := len(b.buf) - start
	if edns {
		need += len(ownOPT)
	}
	if need > limit {
		b.buf = b.buf[:questionEnd]
		h := b.buf[start:]
		h[2] |= 0x02
		clear(h[6:headerSize])
	}
	if edns {
		b.buf = append(b.buf, ownOPT...)
		b.buf[start+11]++
	}
	return b.buf
}

// ownOPT is the OPT record of every answer to a query that had one: 1232 octets, no options.
var ownOPT = []byte{0, 0, TypeOPT, 0x04, 0xd0, 0, 0, 0, 0, 0, 0}

// builder appends records to the message that begins at start.
type builder struct {
	buf   []byte
	start int
}

func (b *builder) rcode(c byte) { b.buf[b.start+3] = b.buf[b.start+3]&0xf0 | c }

func (b *builder) answers() { b.section(6) }

func (b *builder) section(offset int) {
	at := b.buf[b.start+offset:]
	binary.BigEndian.PutUint16(at, binary.BigEndian.Uint16(at)+1)
}

// record appends a record's owner (a pointer to offset from the message's start), type, class, TTL and RDLENGTH.
func (b *builder) record(owner int, rtype uint16, ttl uint32, rdlength int) {
	b.buf = binary.BigEndian.AppendUint16(b.buf, 0xc000|uint16(owner))
	b.buf = binary.BigEndian.AppendUint16(b.buf, rtype)
	b.buf = binary.BigEndian.AppendUint16(b.buf, classIN)
	b.buf = binary.BigEndian.AppendUint32(b.buf, ttl)
	b.buf = binary.BigEndian.AppendUint16(b.buf, uint16(rdlength))
}

// records appends what the name and the type ask for. name is the name as it was asked.
func (b *builder) records(s *spec, qtype uint16, name []byte) {
	if s.rcode != RcodeNoError && s.rcode != RcodeNXDomain {
		b.rcode(s.rcode)
		return
	}
	if s.rcode == RcodeNXDomain || s.nodata {
		b.rcode(s.rcode)
		b.soa(s.ttl)
		return
	}
	if len(name) == 1 {
		b.root(qtype, s.ttl)
		return
	}
	owner := headerSize
	if s.alias != 0 {
		b.answers()
		b.record(owner, TypeCNAME, s.ttl, len(name))
		if qtype != TypeCNAME {
			owner = len(b.buf) - b.start
		}
		b.buf = append(b.buf, name...)
		target := b.buf[len(b.buf)-len(name):]
		copy(target[s.alias-headerSize+1:], "alias")
		if qtype == TypeCNAME {
			return
		}
		s.hash = hashName(target)
	}
	switch qtype {
	case TypeA:
		for i := range s.count {
			b.answers()
			b.record(owner, TypeA, s.ttl, 4)
			a := s.address(i)
			b.buf = append(b.buf, a[:]...)
		}
	case TypeAAAA:
		for i := range s.count {
			b.answers()
			b.record(owner, TypeAAAA, s.ttl, 16)
			a := s.address(i)
			b.buf = append(b.buf, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0)
			b.buf = append(b.buf, a[:]...)
		}
	case TypeTXT:
		b.answers()
		b.text(owner, s)
	default:
		if s.alias == 0 {
			b.soa(s.ttl)
		}
	}
}

// address is the ith address of the name: in 10.0.0.0/8, unless the name says which.
func (s *spec) address(i int) [4]byte {
	if s.fixed {
		a := s.ip
		binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(a[:])+uint32(i))
		return a
	}
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], uint32(s.hash)+uint32(i))
	a[0] = 10
	return a
}

// text appends a TXT record: the hash in hex, over and over until it has size octets (RFC 1035 §3.3.14).
func (b *builder) text(owner int, s *spec) {
	var word [16]byte
	var raw [8]byte
	binary.BigEndian.PutUint64(raw[:], s.hash)
	hex.Encode(word[:], raw[:])
	b.record(owner, TypeTXT, s.ttl, s.size+(s.size+254)/255)
	for left := s.size; left > 0; {
		n := min(left, 255)
		b.buf = append(b.buf, byte(n))
		for i := range n {
			b.buf = append(b.buf, word[i%len(word)])
		}
		left -= n
	}
}

// rootNS is `a.stub.`, the name server of the root.
var rootNS = []byte("\x01a\x04stub\x00")

func (b *builder) root(qtype uint16, ttl uint32) {
	if qtype != TypeNS {
		b.soa(ttl)
		return
	}
	b.answers()
	b.record(headerSize, TypeNS, ttl, len(rootNS))
	b.buf = append(b.buf, rootNS...)
}

// soa appends a SOA to the authority section whose TTL and MINIMUM are ttl (RFC 2308).
func (b *builder) soa(ttl uint32) {
	b.section(8)
	b.buf = append(b.buf, 0, 0, TypeSOA, 0, classIN)
	b.buf = binary.BigEndian.AppendUint32(b.buf, ttl)
	b.buf = binary.BigEndian.AppendUint16(b.buf, uint16(2*len(rootNS)+20))
	b.buf = append(append(b.buf, rootNS...), rootNS...)
	for _, v := range [...]uint32{1, 3600, 600, 86400, ttl} {
		b.buf = binary.BigEndian.AppendUint32(b.buf, v)
	}
}

// readName reads the uncompressed name at off and what its labels ask for, and gives the offset behind it.
func readName(msg []byte, off int) (spec, int, bool) {
	s := spec{ttl: defaultTTL, count: 1, size: 16, hash: fnvOffset}
	first := off
	for {
		if off >= len(msg) || off-first > 254 {
			return s, 0, false
		}
		n := int(msg[off])
		if n == 0 {
			break
		}
		if n > 63 || off+1+n > len(msg) {
			return s, 0, false
		}
		s.label(msg[off+1:off+1+n], off)
		off += 1 + n
	}
	s.hash = hashName(msg[first : off+1])
	s.probe = off == first
	return s, off + 1, true
}

// label takes up one label that stands at off.
func (s *spec) label(label []byte, off int) {
	switch word, value := splitLabel(label); word {
	case "ttl":
		s.ttl = min(number(value), 1<<31-1)
	case "count":
		s.count = int(min(number(value), 1000))
	case "size":
		s.size = int(min(max(number(value), 1), 60000))
	case "ip":
		s.ip, s.fixed = dashedAddress(value)
	case "cname":
		s.alias = off
	case "nx":
		s.rcode = RcodeNXDomain
	case "nodata":
		s.nodata = true
	case "servfail":
		s.rcode = RcodeServfail
	case "refused":
		s.rcode = RcodeRefused
	}
}

// knownLabels are the words that readName takes up, and whether a dash and a value must follow.
var knownLabels = [...]struct {
	word  string
	value bool
}{
	{"ttl", true}, {"count", true}, {"size", true}, {"ip", true},
	{"cname", false}, {"nx", false}, {"nodata", false}, {"servfail", false}, {"refused", false},
}

// splitLabel gives the label's known word, or "", and what follows its first dash.
func splitLabel(label []byte) (string, []byte) {
	word, value := label, []byte(nil)
	for i, c := range label {
		if c == '-' {
			word, value = label[:i], label[i+1:]
			break
		}
	}
	if len(word) > 8 || len(word) < 2 {
		return "", nil
	}
	for _, known := range knownLabels {
		if known.word[0] == lowerCase(word[0]) && len(known.word) == len(word) && known.value == (value != nil) && equalFold(word, known.word) {
			return known.word, value
		}
	}
	return "", nil
}

func equalFold(b []byte, lower string) bool {
	for i, c := range b {
		if lowerCase(c) != lower[i] {
			return false
		}
	}
	return true
}

func lowerCase(c byte) byte {
	if c-'A' < 26 {
		return c | 0x20
	}
	return c
}

func number(b []byte) uint32 {
	n := uint64(0)
	for _, c := range b {
		if c < '0' || c > '9' {
			break
		}
		n = min(n*10+uint64(c-'0'), 1<<32-1)
	}
	return uint32(n)
}

// dashedAddress reads 192-0-2-1.
func dashedAddress(b []byte) (a [4]byte, ok bool) {
	for i := range a {
		end := 0
		for end < len(b) && b[end] != '-' {
			end++
		}
		if end == 0 {
			return a, false
		}
		a[i] = byte(number(b[:end]))
		b = b[min(end+1, len(b)):]
	}
	return a, len(b) == 0
}

const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

// hashName is FNV-1a over the wire form of a name, without regard to case.
func hashName(name []byte) uint64 {
	h := uint64(fnvOffset)
	for _, c := range name {
		h = (h ^ uint64(lowerCase(c))) * fnvPrime
	}
	return h
}

// optSize gives the UDP size that the query's OPT asks for, and whether it has one (RFC 6891 §6.2.3). The
// records before it are skipped; a message that does not parse has none.
func optSize(query []byte, off int) (int, bool) {
	records := int(binary.BigEndian.Uint16(query[6:])) + int(binary.BigEndian.Uint16(query[8:])) + int(binary.BigEndian.Uint16(query[10:]))
	for range records {
		for off < len(query) && query[off] != 0 && query[off] < 64 {
			off += 1 + int(query[off])
		}
		if off < len(query) && query[off] >= 0xc0 {
			off++
		}
		off++
		if off+10 > len(query) {
			return 0, false
		}
		if binary.BigEndian.Uint16(query[off:]) == TypeOPT {
			return int(binary.BigEndian.Uint16(query[off+2:])), true
		}
		off += 10 + int(binary.BigEndian.Uint16(query[off+8:]))
	}
	return 0, false
}
