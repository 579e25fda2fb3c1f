package load

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"sereno/bench/stub"
)

// DNSConfig says what is asked of whom. Zero fields take their defaults.
type DNSConfig struct {
	Common
	Targets []netip.AddrPort // the first is asked, until Use names another
	Names   int              // how many different names are asked again and again; 0: none, every name is new
	Zipf    float64          // the names' popularity falls with this exponent of their rank; 0: all the same
	New     float64          // share (0..1) of queries for names never asked before, with Names
	Labels  string           // labels that say what the answer is (stub.Answer), for example "ttl-60.size-100"
	Suffix  string           // what every name ends in; "load.test."
	Types   []uint16         // asked in turn at random; A
	NoEDNS  bool             // queries without OPT
}

// DNS asks questions over UDP and checks the answers. Its methods are safe for concurrent use.
type DNS struct{ g *generator }

// NewDNS opens the sockets. Names and targets that cannot be are errors, as are targets that are not of this host.
func NewDNS(c DNSConfig) (*DNS, error) {
	c.Timeout = orDefault(c.Timeout, 3*time.Second)
	c.Tries = orDefault(c.Tries, 3)
	c.Sockets = orDefault(c.Sockets, 32)
	c.Suffix = orDefault(c.Suffix, "load.test.")
	if len(c.Types) == 0 {
		c.Types = []uint16{stub.TypeA}
	}
	p, err := newQuestions(&c)
	if err != nil {
		return nil, err
	}
	targets := make([][]netip.AddrPort, len(c.Targets))
	for i, t := range c.Targets {
		targets[i] = []netip.AddrPort{t}
	}
	g, err := newGenerator(c.Common, p, targets)
	if err != nil {
		return nil, err
	}
	return &DNS{g}, nil
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Run sends until ctx ends or Limit is reached, waits for the answers to what was sent, closes the sockets and gives
// the books. It may be called once.
func (d *DNS) Run(ctx context.Context) (Books, error) { return d.g.run(ctx) }

// Books gives the books as they stand.
func (d *DNS) Books() Books { return d.g.snapshot() }

// Use sends to that target (an index of Targets) from now on, resends included; -1 sends to nobody.
func (d *DNS) Use(target int) { d.g.use(target) }

// SetRate changes the rate from now on.
func (d *DNS) SetRate(rate float64) { d.g.setRate(rate) }

// questions builds and checks DNS messages. Which name request n asks for follows from n alone.
type questions struct {
	seed       uint64
	names      int
	cumulative []float64 // of the names' popularity
	fresh      float64
	run        string // marks the names of this run that are never repeated
	tail       []byte // the wire form of labels and suffix
	types      []uint16
	edns       bool
	query      []byte
	expected   []byte
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
	seed := rand.Uint64()
	q := &questions{
		seed: seed, names: c.Names, fresh: c.New, run: strconv.FormatUint(seed>>32, 36),
		tail: tail[:n], types: c.Types, edns: !c.NoEDNS,
	}
	if c.Zipf > 0 && c.Names > 0 {
		q.cumulative = make([]float64, c.Names)
		sum := 0.0
		for i := range q.cumulative {
			sum += math.Pow(float64(i+1), -c.Zipf)
			q.cumulative[i] = sum
		}
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

// build appends query n.
func (q *questions) build(dst []byte, n, _ uint64, id uint16) []byte {
	dst = append(dst, byte(id>>8), byte(id), 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0)
	if q.edns {
		dst[len(dst)-1] = 1
	}
	r := mix(q.seed ^ n)
	at := len(dst)
	dst = append(dst, 0)
	if q.names == 0 || share(mix(r)) < q.fresh {
		dst = append(dst, 'n')
		dst = append(dst, q.run...)
		dst = append(dst, '-')
		dst = strconv.AppendUint(dst, n, 10)
	} else {
		dst = append(dst, 'h')
		dst = strconv.AppendUint(dst, q.popular(r), 10)
	}
	dst[at] = byte(len(dst) - at - 1)
	dst = append(dst, q.tail...)
	dst = binary.BigEndian.AppendUint16(dst, q.types[(r>>7)%uint64(len(q.types))])
	dst = append(dst, 0, 1)
	if q.edns {
		dst = append(dst, 0, 0, stub.TypeOPT, 0x04, 0xd0, 0, 0, 0, 0, 0, 0)
	}
	return dst
}

// popular picks one of the names by their popularity.
func (q *questions) popular(r uint64) uint64 {
	if q.cumulative == nil {
		return r % uint64(q.names)
	}
	want := share(r) * q.cumulative[len(q.cumulative)-1]
	return uint64(sort.SearchFloat64s(q.cumulative, want))
}

// check compares a reply with what the name asks for.
func (q *questions) check(reply []byte, n, slot uint64, id uint16) (Fate, string) {
	q.query = q.build(q.query[:0], n, slot, id)
	q.expected = stub.Answer(q.expected[:0], q.query, stub.MaxUDP)
	fate := compare(q.query, q.expected, reply, q.edns)
	if fate == Right {
		return Right, ""
	}
	return fate, describe(q.query, reply)
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
