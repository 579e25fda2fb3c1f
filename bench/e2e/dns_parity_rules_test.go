package e2e

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// What the answers through sereno may differ in from the backend's own, by the requirements of the DNS front. Each
// difference that the test meets must be one of these; each of these must be met. Everything else is a defect.
const (
	ruleQuestion   = "D01: the answer from the cache has names in another case than the backend would write for this client"
	ruleOPT        = "D06: our own OPT: udp_size as its size, no options but those of D04, D13, D14 and D15"
	ruleTruncation = "D07: what does not fit is TC with the question alone; backends leave out what is additional, or cut between RRsets"
	ruleSize       = "D08, D30: backends are asked with 1232 octets over UDP first, and leave out what is additional there"
	ruleAA         = "D09: AA is 0 on hits"
	ruleQueryFlags = "D09: flags of the query that mean nothing there do not reach the backend"
	ruleExpiry     = "D31: TTLs count down"
	ruleMaxTTL     = "D32: max_ttl"
	ruleNegative   = "D33: TTLs of negative answers: at most the SOA's TTL and MINIMUM, and negative_ttl"
	ruleKeepalive  = "D14: keepalive is our own, over TCP and TLS"
	rulePadding    = "D14: padding to 468 octets is our own, over TLS and HTTPS"
	ruleNSID       = "D04: NSID is the node's own"
)

// settings of the node under test that the rules know.
const (
	nodeUDPSize     = 1232
	nodeMaxTTL      = 86400
	nodeNegativeTTL = 3600
	nodeName        = "parity-node"
)

// record is a record in a form that can be compared; names in RDATA are not compressed.
type record struct {
	name        string
	typ, class  uint16
	ttl         uint32
	rdata, text string
}

func (r record) String() string { return r.text }

// answer is a message taken apart.
type answer struct {
	raw      []byte
	length   int // without the options of OPT
	flags    uint16
	rcode    int
	question []byte
	sections [3][]record // without OPT
	opt      bool
	do       bool
	size     uint16
	version  byte
	options  []option
	at       time.Time
}

var sectionNames = [3]string{"answer", "authority", "additional"}

// parse takes a message apart. Whatever miekg/dns does not like is an error, trailing octets too.
func parse(raw []byte) (*answer, error) {
	var m dns.Msg
	if err := m.Unpack(raw); err != nil {
		return nil, fmt.Errorf("%w: %x", err, raw)
	}
	a := &answer{raw: raw, length: len(raw), flags: binary.BigEndian.Uint16(raw[2:]), rcode: m.Rcode, at: time.Now()}
	if len(m.Question) > 1 {
		return nil, fmt.Errorf("%d questions", len(m.Question))
	}
	if len(m.Question) == 1 {
		_, end, err := dns.UnpackDomainName(raw, 12)
		if err != nil {
			return nil, err
		}
		a.question = raw[12 : end+4]
	}
	for i, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			if opt, ok := rr.(*dns.OPT); ok {
				if a.opt || i != 2 {
					return nil, fmt.Errorf("a second OPT, or one in the %s section", sectionNames[i])
				}
				a.opt, a.do, a.size, a.version = true, opt.Do(), opt.UDPSize(), opt.Version()
				continue
			}
			r, err := recordOf(rr)
			if err != nil {
				return nil, err
			}
			a.sections[i] = append(a.sections[i], r)
		}
	}
	if a.opt {
		a.options = optionsOf(&m)
		for _, o := range a.options {
			a.length -= 4 + len(o.data)
		}
	}
	return a, nil
}

func recordOf(rr dns.RR) (record, error) {
	buf := make([]byte, 70000)
	end, err := dns.PackRR(rr, buf, 0, nil, false)
	if err != nil {
		return record{}, fmt.Errorf("%s: %w", rr, err)
	}
	_, head, err := dns.UnpackDomainName(buf, 0)
	h := rr.Header()
	return record{h.Name, h.Rrtype, h.Class, h.Ttl, string(buf[head+10 : end]), rr.String()}, err
}

func optionsOf(m *dns.Msg) (out []option) {
	for _, o := range m.IsEdns0().Option {
		packed := dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}, Option: []dns.EDNS0{o}}
		buf := make([]byte, 2048)
		if n, err := dns.PackRR(&packed, buf, 0, nil, false); err == nil {
			out = append(out, option{o.Option(), string(buf[15:n])})
		}
	}
	return out
}

// errorsOf are the extended errors in an answer.
func (a *answer) errorsOf() (out []string) {
	for _, o := range a.options {
		if o.code == optEDE {
			out = append(out, fmt.Sprintf("%d %s", binary.BigEndian.Uint16([]byte(o.data)), o.data[2:]))
		}
	}
	return out
}

// lowest is the least TTL of an answer; negative tells whether it has neither the type nor another rcode than the two
// of a negative answer; soa whether it has what that is stored by.
func (a *answer) lowest() (ttl uint32) {
	ttl = 1 << 31
	for _, section := range a.sections {
		for _, r := range section {
			ttl = min(ttl, r.ttl)
		}
	}
	return ttl
}

func (a *answer) negative(q *question) (negative bool, soa *record) {
	for i, r := range a.sections[1] {
		if r.typ == dns.TypeSOA {
			soa = &a.sections[1][i]
		}
	}
	has := slices.ContainsFunc(a.sections[0], func(r record) bool { return r.typ == q.typ || q.typ == dns.TypeANY })
	return a.rcode == dns.RcodeNameError || a.rcode == dns.RcodeSuccess && !has, soa
}

// stored tells whether the front keeps such an answer (D10, D31, D33, D34).
func (a *answer) stored(q *question) bool {
	negative, soa := a.negative(q)
	switch {
	case q.flags&flagRD == 0:
		return false
	case a.rcode == dns.RcodeServerFailure:
		return true
	case negative:
		return soa != nil && a.lowest() > 0 && binary.BigEndian.Uint32([]byte(soa.rdata[len(soa.rdata)-4:])) > 0
	}
	return a.rcode == dns.RcodeSuccess && a.lowest() > 0
}

// judge compares one answer through sereno with the backend's own: to the same query over the same transport, and over
// TCP, where all of it fits.
type judge struct {
	q            *question
	direct, full *answer
	hit          bool
	used         map[string]int
	wrong        []string
}

func (j *judge) say(format string, args ...any) {
	j.wrong = append(j.wrong, fmt.Sprintf(format, args...))
}

func (j *judge) explained(rule string) { j.used[rule]++ }

// compare judges got, which came over w; whole is the same cache entry over TCP, nil if there is none or got is it.
func (j *judge) compare(w way, got, whole *answer) {
	j.header(got)
	j.edns(w, got)
	if want := []byte(j.q.name); !bytes.HasPrefix(got.question, want) || len(got.question) != len(want)+4 {
		j.say("the question is %x", got.question)
	}
	if w == overUDP {
		j.size(got, whole)
		if got.flags&flagTC != 0 {
			return
		}
		if whole != nil {
			j.sections(got, whole, true)
		}
	} else if got.flags&flagTC != 0 {
		j.say("TC over %s", w)
		return
	}
	j.sections(got, j.full, false)
}

func (j *judge) header(got *answer) {
	if got.rcode != j.full.rcode {
		j.say("rcode %d, not %d", got.rcode, j.full.rcode)
	}
	want, have := j.full.flags&^flagTC&^15, got.flags&^flagTC&^15 // the rcode is compared with its upper bits, TC by size
	if j.hit && want&flagAA != 0 && have&flagAA == 0 {
		j.explained(ruleAA)
		want &^= flagAA
	}
	if want != have {
		j.say("flags %04x, not %04x", have, want)
	}
}

func (j *judge) edns(w way, got *answer) {
	if got.opt != j.q.edns {
		j.say("OPT: %v", got.opt)
		return
	}
	if !got.opt {
		return
	}
	if got.size != nodeUDPSize || got.version != 0 || got.do != j.full.do {
		j.say("OPT: size %d version %d do %v, not %d 0 %v", got.size, got.version, got.do, nodeUDPSize, j.full.do)
	}
	if have, want := got.errorsOf(), j.full.errorsOf(); !slices.Equal(have, want) && got.flags&flagTC == 0 {
		j.say("extended errors %q, not %q", have, want)
	}
	j.options(w, got)
	if len(j.full.options) != len(j.full.errorsOf()) {
		j.explained(ruleOPT)
	}
}

// options judges those that are there: the backend's extended errors, and the node's own.
func (j *judge) options(w way, got *answer) {
	padded := false
	for _, o := range got.options {
		switch {
		case o.code == optKeepalive && j.q.asked(optKeepalive) && (w == overTCP || w == overTLS) && len(o.data) == 2:
			j.explained(ruleKeepalive)
		case o.code == optPadding && j.q.asked(optPadding) && w >= overTLS && strings.Trim(o.data, "\x00") == "":
			padded = true
			j.explained(rulePadding)
		case o.code == optEDE:
		case o.code == optNSID && j.q.asked(optNSID) && o.data == nodeName:
			j.explained(ruleNSID)
		default:
			j.say("option %d %q", o.code, o.data)
		}
	}
	if want := j.q.asked(optPadding) && w >= overTLS; padded != want || padded && len(got.raw)%468 != 0 {
		j.say("padding: %v, %d octets", padded, len(got.raw))
	}
}

// size judges D07 by the answer that came whole.
func (j *judge) size(got, whole *answer) {
	limit := 512
	if j.q.edns {
		limit = min(max(limit, int(j.q.size)), nodeUDPSize)
	}
	if len(got.raw) > limit {
		j.say("%d octets where %d are allowed", len(got.raw), limit)
	}
	cut := got.flags&flagTC != 0
	if whole != nil && cut != (whole.length > limit) {
		j.say("TC is %v for %d octets where %d are allowed", cut, whole.length, limit)
	}
	if !cut {
		return
	}
	if j.full.length <= limit {
		j.say("TC for %d octets where %d are allowed", j.full.length, limit)
	}
	for i, s := range got.sections {
		if len(s) > 0 {
			j.say("TC with %d records in the %s section", len(s), sectionNames[i])
		}
	}
	if j.direct.flags&flagTC == 0 || len(j.direct.sections[0])+len(j.direct.sections[1])+len(j.direct.sections[2]) > 0 {
		j.explained(ruleTruncation)
	}
}

// sections compares records and their order with another answer's: the backend's own, or (equal) sereno's own.
func (j *judge) sections(got, want *answer, equal bool) {
	for i := range got.sections {
		have, right := got.sections[i], want.sections[i]
		if i == 2 && !equal && len(have) < len(right) && want.length > nodeUDPSize-11 {
			right = trimmed(have, right)
			j.explained(ruleSize)
		}
		if len(have) != len(right) {
			j.say("%d records in the %s section, not %d:\n%v\nnot\n%v", len(have), sectionNames[i], len(right), have, right)
			continue
		}
		for k := range have {
			j.record(got, want, &have[k], &right[k], sectionNames[i])
		}
	}
}

// trimmed keeps those of all that are in some, in their order.
func trimmed(some, all []record) (out []record) {
	for _, r := range all {
		if slices.ContainsFunc(some, func(s record) bool { return s.typ == r.typ && s.rdata == r.rdata && strings.EqualFold(s.name, r.name) }) {
			out = append(out, r)
		}
	}
	return out
}

func (j *judge) record(got, want *answer, have, right *record, section string) {
	if have.typ != right.typ || have.class != right.class || !strings.EqualFold(have.name, right.name) ||
		foldNames(have) != foldNames(right) {
		j.say("in the %s section\n%s\nnot\n%s", section, have, right)
		return
	}
	if have.name != right.name || have.rdata != right.rdata {
		j.explained(ruleQuestion)
	}
	j.ttl(got, want, have, right)
}

// foldNames is a record's RDATA with the names in it in lower case; all else, text and signatures, stays as it is.
func foldNames(r *record) string {
	first, ok := map[uint16]int{dns.TypeNS: 0, dns.TypeCNAME: 0, dns.TypeDNAME: 0, dns.TypeNSEC: 0, dns.TypeSOA: 0, dns.TypeRP: 0,
		dns.TypeMX: 2, dns.TypeSRV: 6, dns.TypeRRSIG: 18}[r.typ]
	if !ok {
		return r.rdata
	}
	b := []byte(r.rdata)
	for names := 1 + strings.Count("SOA RP", dns.Type(r.typ).String()); names > 0; names-- {
		for first < len(b) && b[first] != 0 {
			end := min(first+1+int(b[first]), len(b))
			copy(b[first+1:end], bytes.ToLower(b[first+1:end]))
			first = end
		}
		first++
	}
	return string(b)
}

// ttl judges one TTL by the backend's own, which was read earlier or later and counts down too.
func (j *judge) ttl(got, want *answer, have, right *record) {
	most, rule := right.ttl, ""
	if negative, soa := j.full.negative(j.q); negative && soa != nil {
		limit := min(j.full.lowest(), binary.BigEndian.Uint32([]byte(soa.rdata[len(soa.rdata)-4:])), nodeNegativeTTL)
		if limit < most {
			most, rule = limit, ruleNegative
		}
	} else if most > nodeMaxTTL {
		most, rule = nodeMaxTTL, ruleMaxTTL
	}
	passed := got.at.Sub(want.at)
	slack := uint32(cmp.Compare(passed.Abs(), 0))*uint32(passed.Abs()/time.Second) + 1
	if have.ttl > most+slack || have.ttl+slack+uint32(time.Since(j.full.at)/time.Second) < most {
		j.say("TTL %d, not %d (of %d, %s later): %s", have.ttl, most, right.ttl, passed, have)
		return
	}
	if rule != "" {
		j.explained(rule)
	}
	if have.ttl < most {
		j.explained(ruleExpiry)
	}
}
