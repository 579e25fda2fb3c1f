package e2e

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/miekg/dns"
)

// Flags of the header.
const (
	flagQR = 1 << 15
	flagAA = 1 << 10
	flagTC = 1 << 9
	flagRD = 1 << 8
	flagRA = 1 << 7
	flagZ  = 1 << 6
	flagAD = 1 << 5
	flagCD = 1 << 4
)

// Options of EDNS that the tests send.
const (
	optNSID      = 3
	optSubnet    = 8
	optCookie    = 10
	optKeepalive = 11
	optPadding   = 12
	optEDE       = 15
)

// option is one option of EDNS.
type option struct {
	code uint16
	data string
}

// question is a query in all that varies.
type question struct {
	name       string // on the wire, in the case that is sent
	class, typ uint16
	flags      uint16 // with the opcode
	edns, do   bool
	size       uint16
	version    byte
	options    []option
	first      way // how it is asked when nobody has asked it before
}

// message is the query with that ID.
func (q *question) message(id uint16) []byte {
	m := binary.BigEndian.AppendUint16(nil, id)
	m = binary.BigEndian.AppendUint16(m, q.flags)
	m = append(m, 0, 1, 0, 0, 0, 0, 0, 0)
	m = append(m, q.name...)
	m = binary.BigEndian.AppendUint16(m, q.typ)
	m = binary.BigEndian.AppendUint16(m, q.class)
	if !q.edns {
		return m
	}
	m[11] = 1
	m = append(m, 0, 0, 41, byte(q.size>>8), byte(q.size), 0, q.version, 0, 0)
	if q.do {
		m[len(m)-2] = 0x80
	}
	at := len(m)
	m = append(m, 0, 0)
	for _, o := range q.options {
		m = binary.BigEndian.AppendUint16(m, o.code)
		m = binary.BigEndian.AppendUint16(m, uint16(len(o.data))) // the tests' own, short
		m = append(m, o.data...)
	}
	binary.BigEndian.PutUint16(m[at:], uint16(len(m)-at-2))
	return m
}

// key tells questions apart that one cache entry does not serve (D30).
func (q *question) key() string {
	return fmt.Sprintf("%s %d %d %v %v", strings.ToLower(q.name), q.typ, q.class, q.do, q.flags&flagCD != 0)
}

// asked tells whether the query has that option.
func (q *question) asked(code uint16) bool {
	for _, o := range q.options {
		if o.code == code {
			return true
		}
	}
	return false
}

func (q *question) String() string {
	name, _, err := dns.UnpackDomainName([]byte(q.name), 0)
	if err != nil {
		name = fmt.Sprintf("%x", q.name)
	}
	s := fmt.Sprintf("%s %s %s flags=%04x", name, dns.Class(q.class), dns.Type(q.typ), q.flags)
	if q.edns {
		s += fmt.Sprintf(" edns size=%d do=%v options=%x", q.size, q.do, q.options)
	}
	return s
}

// wire is a name as it is sent.
func wire(name string) string {
	buf := make([]byte, 256)
	n, err := dns.PackDomainName(name, buf, 0, nil, false)
	if err != nil {
		panic(fmt.Sprintf("%q: %v", name, err)) // a mistake in the test
	}
	return string(buf[:n])
}

// owners are the relative names that the large zones have, with the types that are asked for most there.
var owners = map[string][]uint16{
	"": {2, 6, 15, 16, 257, 1, 48, 51, 46}, "ns": {1, 28}, "ns2": {1, 28}, "www": {1, 28, 16, 46, 47}, "mail": {1, 28}, "alias": {1, 28, 5, 16},
	"chain1": {1, 28, 5, 16}, "chain3": {1, 28}, "loop1": {1}, "dangling": {1, 28}, "nodata": {1, 16}, "away": {1, 28, 15}, "txtonly": {16, 1},
	"x.wild": {1, 16, 15, 28}, "a.b.wild": {1, 16}, "exact.wild": {1, 28}, "below.exact.wild": {1}, "sub.x.wild": {1}, "sub.*.wild": {1}, "*.wild": {1, 16},
	"wild": {1}, "b.c.ent": {1, 28}, "ent": {1}, "a.b.c.ent": {1, 28}, "_sip._tcp": {33}, "_443._tcp.www": {52}, "svc": {64, 65, 1}, "svc0": {65},
	"naptr": {35}, "loc": {29}, "sshfp": {44}, "rp": {17}, "hinfo": {13}, "uri": {256}, "odd": {65280, 65281, 1234, 1}, "ttl0": {1, 28}, "ttl1": {1},
	"week": {1}, "forever": {1}, "twottl": {1, 16}, "dname": {39, 1}, "leaf.dname": {1, 16, 28}, "nope.dname": {1}, "leaf.target": {1, 16},
	"mixed": {1}, `we\.ird`: {1}, `sp\032ace`: {1}, `nul\000`: {1}, `\255\254`: {16}, "many": {1}, "glue": {15}, "m3.glue": {1, 28},
	"x.ns.www": {1}, "child": {2, 43, 6, 48}, "www.child": {1, 28, 16}, "q.wild.child": {1}, "alias.child": {1, 28}, "out.child": {1}, "no.child": {1},
	"insecure": {2, 43, 6}, "www.insecure": {1, 28}, "out.insecure": {1}, "no.insecure": {1},
}

// anyType are types that are asked for anywhere: of all ages, and unknown ones. Left out are OPT, the transfers, and
// the obsolete meta types 249 to 254, which the servers judge each in its own way.
var anyType = []uint16{1, 2, 5, 6, 12, 13, 15, 16, 17, 18, 24, 25, 28, 29, 33, 35, 37, 39, 42, 43, 44, 45, 46, 47, 48, 50, 51, 52, 53, 55, 59, 60, 61, 62,
	63, 64, 65, 99, 104, 108, 256, 257, 258, 260, 261, 1234, 32768, 32769, 65280, 65281, 65400, 65534}

// generator makes questions, always the same ones from the same seed.
type generator struct {
	*rand.Rand
	names []string
	lame  bool // with names whose servers cannot be reached
	seen  map[string]bool
}

func newGenerator(seed uint64, lame bool) *generator {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 3)), lame: lame, seen: map[string]bool{}}
	for name := range owners {
		g.names = append(g.names, name)
	}
	for _, n := range sizes {
		name := fmt.Sprintf("size%d", n)
		g.names = append(g.names, name)
		owners[name] = []uint16{16, 1}
	}
	sortNames(g.names)
	return g
}

func pick[T any](g *generator, from []T) T { return from[g.IntN(len(from))] }

// next makes a question that no cache entry of an earlier one serves.
func (g *generator) next() *question {
	for {
		q := g.any()
		if !g.seen[q.key()] {
			g.seen[q.key()] = true
			return q
		}
	}
}

func (g *generator) any() *question {
	q := &question{class: 1, flags: flagRD, first: way(g.IntN(int(everyWay)))}
	g.nameAndType(q)
	if g.IntN(10) == 0 {
		q.flags &^= flagRD
	}
	for _, f := range []uint16{flagAD, flagCD} {
		if g.IntN(3) == 0 {
			q.flags |= f
		}
	}
	if g.IntN(20) == 0 {
		q.flags |= flagAA
	}
	if g.IntN(20) == 0 {
		q.flags |= flagRA
	}
	if q.edns = g.IntN(5) > 0; q.edns {
		q.do = g.IntN(2) == 0
		q.size = pick(g, []uint16{0, 511, 512, 513, 800, 1100, 1220, 1231, 1232, 1233, 1410, 4096, 65535})
		g.options(q)
	}
	return q
}

func (g *generator) options(q *question) {
	for _, o := range []option{
		{optNSID, ""}, {optCookie, "8octets!"}, {optSubnet, "\x00\x01\x18\x00\xc0\x00\x02"}, {optPadding, "\x00\x00\x00\x00"}, {optKeepalive, ""},
		{65001, "unknown"}, {65002, ""}, {26946, "x"},
	} {
		if g.IntN(6) == 0 {
			q.options = append(q.options, o)
		}
	}
}

func (g *generator) nameAndType(q *question) {
	zone := pick(g, []string{zoneSigned, zoneSigned, zoneSigned, zoneNSEC3, zoneNSEC3, zonePlain, zonePlain})
	var name string
	switch r := g.IntN(100); {
	case r < 60:
		name = pick(g, g.names)
		if q.typ = pick(g, owners[name]); g.IntN(4) == 0 {
			q.typ = pick(g, anyType)
		}
	case r < 80: // names that do not exist, some of them under a wildcard, a DNAME or a delegation
		name = fmt.Sprintf("r%x", g.Uint32())
		if g.IntN(3) == 0 {
			name += "." + pick(g, []string{"wild", "dname", "child", "wild.child", "insecure", "ent", "www", "deep.er"})
		}
		q.typ = pick(g, []uint16{1, 28, 15, 16, 65})
	case r < 85: // the longest
		name, q.typ = longest(zone), pick(g, anyType)
		if g.IntN(2) == 0 {
			name = strings.Replace(name, "lll", fmt.Sprintf("r%02d", g.IntN(100)), 1)
		}
	case r < 90:
		zone, name, q.typ = zoneBogus, pick(g, []string{"www.", "x.wild.", "alias.", "no.", ""}), pick(g, []uint16{1, 28, 16, 6})
		name = strings.TrimSuffix(name, ".")
	case r < 93 && g.lame:
		name, q.typ = fmt.Sprintf("l%x.lame", g.Uint32()), 1
	case r < 97:
		name, q.typ = pick(g, g.names), pick(g, anyType)
	default:
		zone, name = pick(g, []string{".", "nowhere.", "example."}), fmt.Sprintf("r%x", g.Uint32())
		if g.IntN(3) == 0 {
			name = ""
		}
		q.typ = pick(g, []uint16{1, 2, 6, 43})
	}
	full := strings.TrimPrefix(name+"."+zone, ".")
	if full == "" || zone == "." && name == "" {
		full = "."
	} else if zone == "." {
		full = name + "."
	}
	q.name = wire(full)
	if g.IntN(4) == 0 {
		q.name = g.mixCase(q.name)
	}
}

// mixCase changes the case of letters, but not of length octets, of which 65 and above are none.
func (g *generator) mixCase(name string) string {
	b := []byte(name)
	for i, c := range b {
		if ('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z') && g.IntN(2) == 0 {
			b[i] = c ^ 0x20
		}
	}
	return string(b)
}
