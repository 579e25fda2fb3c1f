package load

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"sereno/bench/stub"
)

// Transport carries DNS.
type Transport uint8

// The transports.
const (
	UDP Transport = iota
	TCP           // RFC 7766, many queries on each connection
	TLS           // RFC 7858
)

// DNSConfig says what is asked of whom. Zero fields take their defaults.
type DNSConfig struct {
	Common
	Targets   []netip.AddrPort // the first is asked, until Use names another
	Transport Transport        // with TCP and TLS, Sockets are connections; 8
	TLS       *tls.Config      // for TLS; default: the certificate is not verified
	List      []Question       // asked instead of Names
	Names     int              // how many different names are asked again and again; 0: none, every name is new
	Zipf      float64          // the popularity of List or Names falls with this exponent of the rank; 0: all the same
	New       float64          // share (0..1) of queries for names never asked before, with List or Names
	Labels    string           // labels that say what the answer is (stub.Answer), for example "ttl-60.size-100"
	Suffix    string           // what every name ends in; "load.test."
	Types     []uint16         // asked in turn at random; A
	NoEDNS    bool             // queries without OPT
	UDPSize   uint16           // of the OPT; 1232
	DO        bool             // DNSSEC OK
	// Real says that the servers behind the target do not answer as package stub says. Then an answer is right if ID,
	// question and rcode are (NOERROR or NXDOMAIN, or what the Question expects).
	Real bool
}

// DNS asks questions and checks the answers. Its methods are safe for concurrent use.
type DNS struct{ fleet }

// NewDNS opens the sockets. Names and targets that cannot be are errors, as are targets that are not of this host.
func NewDNS(c DNSConfig) (*DNS, error) {
	c.Timeout = orDefault(c.Timeout, 3*time.Second)
	c.Tries = orDefault(c.Tries, 3)
	c.Sockets = orDefault(c.Sockets, map[bool]int{true: 32, false: 8}[c.Transport == UDP])
	c.Suffix = orDefault(c.Suffix, "load.test.")
	c.UDPSize = orDefault(c.UDPSize, 1232)
	c.transport = c.Transport
	if c.Transport == TLS {
		c.tls = orDefault(c.TLS, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // it measures, it trusts nobody
	}
	if len(c.Types) == 0 {
		c.Types = []uint16{stub.TypeA}
	}
	targets := make([][]netip.AddrPort, len(c.Targets))
	for i, t := range c.Targets {
		targets[i] = []netip.AddrPort{t}
	}
	f, err := newFleet(c.Common, func(common Common) (*generator, error) {
		c.Common = common
		p, err := newQuestions(&c)
		if err != nil {
			return nil, err
		}
		return newGenerator(common, p, targets)
	})
	if err != nil {
		return nil, err
	}
	return &DNS{f}, nil
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// questions builds and checks DNS messages. Which name request n asks for follows from n alone.
type questions struct {
	seed     uint64
	list     []Question
	names    int
	digits   int
	popular  *zipf // nil: all the same
	fresh    float64
	run      string // marks the names of this run that are never repeated
	tail     []byte // the wire form of labels and suffix
	types    []uint16
	opt      []byte // empty: none
	real     bool
	limit    int // of the transport's answers
	query    []byte
	expected []byte
}

func newQuestions(c *DNSConfig) (*questions, error) {
	if c.New < 0 || c.New > 1 || c.Names < 0 || c.Zipf < 0 {
		return nil, errors.New("names, their share and their exponent must not be negative, nor the share above 1")
	}
	tail := make([]byte, 256)
	n, err := dns.PackDomainName(dns.Fqdn(strings.Trim(c.Labels+"."+c.Suffix, ".")), tail, 0, nil, false)
	if err != nil || n > 200 {
		return nil, fmt.Errorf("labels %q and suffix %q: not a name of at most 200 octets", c.Labels, c.Suffix)
	}
	q := &questions{
		seed: rand.Uint64(), list: c.List, names: c.Names, fresh: c.New, tail: tail[:n], types: c.Types, real: c.Real, limit: stub.MaxUDP,
	}
	if c.Transport != UDP {
		q.limit = stub.MaxTCP
	}
	q.run = strconv.FormatUint(q.seed>>32, 36)
	if len(c.List) > 0 {
		q.names = len(c.List)
	}
	q.digits = len(strconv.Itoa(max(q.names-1, 0)))
	if !c.NoEDNS {
		q.opt = []byte{0, 0, stub.TypeOPT, byte(c.UDPSize >> 8), byte(c.UDPSize), 0, 0, 0, 0, 0, 0}
		if c.DO {
			q.opt[7] = 0x80
		}
	}
	if c.Zipf > 0 && q.names > 0 {
		q.popular = newZipf(q.names, c.Zipf)
	}
	return q, nil
}

// mix is SplitMix64's output function: n's own random number.
func mix(n uint64) uint64 {
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

func share(r uint64) float64 { return float64(r>>11) / (1 << 53) }

func (*questions) kind(uint64) int { return 0 }
func (*questions) idBits() int     { return 16 }
func (*questions) answered(uint64) {}

// final: a SERVFAIL makes a stub resolver ask again; all else ends the matter.
func (*questions) final(f Fate) bool { return f != Failed }

func (*questions) replyID(b []byte) (uint16, bool) {
	if len(b) < 12 {
		return 0, false
	}
	return binary.BigEndian.Uint16(b), true
}

// build appends query n. Names of one kind are equally long, so that many queries make one message to the kernel.
func (q *questions) build(dst []byte, n, _ uint64, id uint16) []byte {
	dst = append(dst, byte(id>>8), byte(id), 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0)
	if len(q.opt) > 0 {
		dst[len(dst)-1] = 1
	}
	if listed := q.listed(n); listed != nil {
		dst = append(dst, listed.wire...)
		return append(dst, q.opt...)
	}
	r := mix(q.seed ^ n)
	at := len(dst)
	dst = append(dst, 0)
	if q.isNew(r) {
		dst = append(dst, 'n')
		dst = append(dst, q.run...)
		dst = append(dst, '-')
		dst = appendPadded(dst, n, newDigits)
	} else {
		dst = append(dst, 'h')
		dst = appendPadded(dst, q.pick(r), q.digits)
	}
	dst[at] = byte(len(dst) - at - 1)
	dst = append(dst, q.tail...)
	dst = binary.BigEndian.AppendUint16(dst, q.types[(r>>7)%uint64(len(q.types))])
	dst = append(dst, 0, 1)
	return append(dst, q.opt...)
}

// newDigits is how long the numbers of names that are never repeated are, at least.
const newDigits = 9

// appendPadded appends v, with zeros in front up to that many digits.
func appendPadded(dst []byte, v uint64, digits int) []byte {
	for limit := v / 10; limit > 0; limit /= 10 {
		digits--
	}
	for ; digits > 1; digits-- {
		dst = append(dst, '0')
	}
	return strconv.AppendUint(dst, v, 10)
}

func (q *questions) isNew(r uint64) bool {
	return q.names == 0 || q.fresh > 0 && share(mix(r)) < q.fresh
}

// pick is the name of a request with that random number, by popularity.
func (q *questions) pick(r uint64) uint64 {
	if q.popular == nil {
		return r % uint64(q.names)
	}
	return uint64(q.popular.pick(r))
}

// listed is the question of the list that request n asks; nil: none of them.
func (q *questions) listed(n uint64) *Question {
	if len(q.list) == 0 {
		return nil
	}
	r := mix(q.seed ^ n)
	if q.isNew(r) {
		return nil
	}
	return &q.list[q.pick(r)]
}

// check compares a reply with what the name asks for.
func (q *questions) check(reply []byte, n, slot uint64, id uint16) Fate {
	q.query = q.build(q.query[:0], n, slot, id)
	if q.real {
		return q.plausible(q.query, reply, q.listed(n))
	}
	q.expected = stub.Answer(q.expected[:0], q.query, q.limit)
	return compare(q.query, q.expected, reply, len(q.opt) > 0)
}

func (q *questions) explain(reply []byte, n, slot uint64, id uint16) string {
	q.query = q.build(q.query[:0], n, slot, id)
	return describe(q.query, reply)
}

// compare judges a reply to query by the expected answer.
func compare(query, expected, reply []byte, edns bool) Fate {
	end := len(query)
	if edns {
		end -= 11
	}
	switch {
	case len(reply) < 12 || reply[2]&0x80 == 0:
		return Malformed
	case len(reply) < end || binary.BigEndian.Uint16(reply[4:]) != 1 || !bytes.Equal(reply[12:end], query[12:end]):
		return WrongQuestion
	case reply[3]&0x0f != expected[3]&0x0f && reply[3]&0x0f == stub.RcodeServfail:
		return Failed
	case reply[3]&0x0f != expected[3]&0x0f:
		return WrongRcode
	case reply[2]&0x02 != 0 && expected[2]&0x02 == 0:
		return Cut
	case reply[2]&0x02 != 0:
		return Right
	}
	return compareAnswers(expected, reply, end)
}

// compareAnswers compares the answer sections. Most answers are one record whose owner is a pointer to the question,
// and are equal byte for byte but for the TTL; all others are parsed.
func compareAnswers(expected, reply []byte, end int) Fate {
	count := binary.BigEndian.Uint16(expected[6:])
	if binary.BigEndian.Uint16(reply[6:]) != count {
		return WrongRecords
	}
	if count == 0 {
		return Right
	}
	a, b := expected[end:], reply[end:]
	if count == 1 && len(a) >= 12 && len(b) >= 12 {
		size := 12 + int(binary.BigEndian.Uint16(a[10:]))
		if size <= len(a) && size <= len(b) && bytes.Equal(a[:6], b[:6]) && bytes.Equal(a[10:size], b[10:size]) {
			if binary.BigEndian.Uint32(b[6:]) > binary.BigEndian.Uint32(a[6:]) {
				return WrongTTL
			}
			return Right
		}
	}
	return compareParsed(expected, reply)
}

// compareParsed compares the answer sections as sets of records.
func compareParsed(expected, reply []byte) Fate {
	var want, got dns.Msg
	if got.Unpack(reply) != nil || want.Unpack(expected) != nil {
		return Malformed
	}
	ttls := map[string]uint32{}
	for _, rr := range want.Answer {
		ttls[canonical(rr)] = rr.Header().Ttl
	}
	for _, rr := range got.Answer {
		key := canonical(rr)
		ttl, ok := ttls[key]
		if !ok {
			return WrongRecords
		}
		if rr.Header().Ttl > ttl {
			return WrongTTL
		}
		delete(ttls, key)
	}
	if len(ttls) > 0 {
		return WrongRecords
	}
	return Right
}

// canonical is the record in words, without its TTL and in lower case.
func canonical(rr dns.RR) string {
	rr = dns.Copy(rr)
	rr.Header().Ttl = 0
	return strings.ToLower(rr.String())
}

// describe is a reply in one line.
func describe(query, reply []byte) string {
	var q, m dns.Msg
	question := "?"
	if q.Unpack(query) == nil && len(q.Question) == 1 {
		question = q.Question[0].String()
	}
	if err := m.Unpack(reply); err != nil {
		return fmt.Sprintf("%s: %v: %x", question, err, reply[:min(len(reply), 64)])
	}
	return fmt.Sprintf("%s: %s, %d answers: %v", question, dns.RcodeToString[m.Rcode], len(m.Answer), m.Answer)
}
