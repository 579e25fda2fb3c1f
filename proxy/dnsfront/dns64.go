package dnsfront

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"

	"github.com/miekg/dns"

	"sereno/proxy/dnswire"
)

// DNS64 (RFC 6147): who asks for AAAA where there is none is given addresses made from
// A. The made answer is not stored: the AAAA answer that says "none" and the A answer
// are, each by its own TTL.

// rewrite is what must be done to a backend's answer before a waiter gets it.
type rewrite uint8

const (
	rewriteNone  rewrite = iota
	rewriteA             // it answers the A question of a waiter that wants AAAA
	rewriteCNAME         // it answers the question that an alias leads to: PTR below in-addr.arpa, a block list's target
)

// no64TTL bounds the life of a made answer when there was no SOA (RFC 6147 §5.1.7).
const no64TTL = 600

// maxMade is how many records of an answer another is made of. Making it costs a microsecond for each, on a worker whom
// others wait for; and one of AAAA takes nearly twice the octets, of which a message has 65,535.
const maxMade = 1000

// dns64 is the mapping between the two families (RFC 6052 §2.2).
type dns64 struct {
	prefix  netip.Prefix
	exclude prefixSet
}

func newDNS64(c *DNS64Config) *dns64 {
	p, err := netip.ParsePrefix(c.Prefix)
	if err != nil {
		return nil // empty: off
	}
	return &dns64{prefix: p, exclude: newPrefixSet(c.Exclude)}
}

// wants tells whether a question may be given a made answer. A client that validates
// for itself (CD and DO) would find it bogus (RFC 6147 §5.5).
func (d *dns64) wants(q *dnswire.Query) bool {
	return d != nil && q.Type == dnswire.TypeAAAA && q.RD() && (!q.CD() || !q.OPT.DO)
}

// embed puts an IPv4 address into the prefix; bits 64 to 71 stay zero.
func (d *dns64) embed(v4 [4]byte) netip.Addr {
	out := d.prefix.Addr().As16()
	at := d.prefix.Bits() / 8
	for _, b := range v4 {
		if at == 8 {
			at++
		}
		out[at] = b
		at++
	}
	return netip.AddrFrom16(out)
}

// extract is the inverse of embed.
func (d *dns64) extract(a netip.Addr) (v4 [4]byte) {
	in := a.As16()
	at := d.prefix.Bits() / 8
	for i := range v4 {
		if at == 8 {
			at++
		}
		v4[i] = in[at]
		at++
	}
	return v4
}

// usable tells whether an answer has an AAAA record that is not to be ignored
// (RFC 6147 §5.1.4).
func (d *dns64) usable(m []byte, r *dnswire.Reply) bool {
	for _, at := range r.TTLs[:min(dnswire.ANCount(m), len(r.TTLs))] {
		typ := int(m[at-4])<<8 | int(m[at-3])
		if typ == dnswire.TypeAAAA && int(m[at+4])<<8|int(m[at+5]) == 16 && !d.exclude.contains(netip.AddrFrom16([16]byte(m[at+6:at+22]))) {
			return true
		}
	}
	return false
}

// none tells whether an answer to AAAA has nothing for the client, so that A is asked: every
// rcode but NXDOMAIN is taken for an empty answer, as many authorities answer AAAA with an
// error where they have A (RFC 6147 §5.1.2, RFC 4074).
func (d *dns64) none(m []byte, r *dnswire.Reply) bool {
	return r.Rcode != dnswire.NXDomain && (r.Rcode != dnswire.NoError || !d.usable(m, r))
}

// negativeTTL is how long an AAAA answer says "none", seconds.
func negativeTTL(r *dnswire.Reply) uint32 {
	if !r.SOA {
		return no64TTL
	}
	return min(r.SOATTL, r.SOAMin)
}

// ip6Arpa reads a name of 32 nibbles below ip6.arpa.
func ip6Arpa(name []byte) (netip.Addr, bool) {
	const tail = "\x03ip6\x04arpa\x00"
	if len(name) != 64+len(tail) || string(name[64:]) != tail {
		return netip.Addr{}, false
	}
	var out [16]byte
	for i := range 32 {
		if name[2*i] != 1 {
			return netip.Addr{}, false
		}
		v := strings.IndexByte("0123456789abcdef", name[2*i+1])
		if v < 0 {
			return netip.Addr{}, false
		}
		out[15-i/2] |= byte(v) << (4 * (i % 2)) //nolint:gosec // a nibble
	}
	return netip.AddrFrom16(out), true
}

// mapped returns the name below in-addr.arpa for one below ip6.arpa inside the prefix
// (RFC 6147 §5.3.1), on the wire.
func (d *dns64) mapped(name []byte) ([]byte, bool) {
	a, ok := ip6Arpa(name)
	if !ok || !d.prefix.Contains(a) {
		return nil, false
	}
	reverse, err := dns.ReverseAddr(netip.AddrFrom4(d.extract(a)).String())
	if err != nil {
		return nil, false
	}
	return dnswire.ParseName(nil, reverse)
}

// made turns a backend's answer into the one for a waiter's own question. nil: it
// cannot be, and the answer is of no use.
func made(d *dns64, kind rewrite, question, msg []byte, most uint32) []byte {
	var in dns.Msg
	if in.Unpack(msg) != nil || len(in.Question) != 1 {
		return nil
	}
	name, _, err := dns.UnpackDomainName(question, 0)
	if err != nil {
		return nil
	}
	answers := in.Answer
	in.Answer, in.AuthenticatedData = nil, false // nobody signed this
	switch kind {
	case rewriteA:
		if d == nil { // a reload has turned it off meanwhile
			return nil
		}
		in.Question[0].Qtype = dns.TypeAAAA
		for _, rr := range answers {
			switch x := rr.(type) {
			case *dns.A:
				v4 := x.A.To4()
				if v4 == nil {
					continue
				}
				to := d.embed([4]byte(v4))
				in.Answer = append(in.Answer, &dns.AAAA{AAAA: to.AsSlice(), Hdr: dns.RR_Header{Name: x.Hdr.Name, Rrtype: dns.TypeAAAA,
					Class: x.Hdr.Class, Ttl: min(x.Hdr.Ttl, most)}})
			case *dns.RRSIG: // of the A records
			default:
				in.Answer = append(in.Answer, rr)
			}
		}
	case rewriteCNAME:
		ttl := uint32(no64TTL)
		for _, rr := range answers {
			ttl = min(ttl, rr.Header().Ttl)
		}
		cname := &dns.CNAME{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: ttl}, Target: in.Question[0].Name}
		in.Question[0].Name = name
		in.Answer = append([]dns.RR{cname}, answers...)
	case rewriteNone:
		in.Answer = answers
	}
	in.Compress = true
	out, err := in.Pack()
	if err != nil {
		return nil
	}
	return out
}

// first is a message of the first most records of msg's answer, or msg if it has no more.
func first(msg []byte, r *dnswire.Reply, most int) []byte {
	if dnswire.ANCount(msg) <= most || dnswire.ParseReply(msg, r) != nil || len(r.TTLs) < most {
		return msg
	}
	ttl := int(r.TTLs[most-1])
	out := bytes.Clone(msg[:ttl+6+int(binary.BigEndian.Uint16(msg[ttl+4:]))]) // msg is others' too
	dnswire.SetCounts(out, 1, most, 0, 0)
	return out
}

// outgrows tells whether what is made of msg cannot have room octets, without making it: an
// answer with thousands of addresses takes a millisecond, and a client over UDP gets none of it.
func outgrows(kind rewrite, msg []byte, r *dnswire.Reply, room int) bool {
	if len(msg) <= room/2 || dnswire.ParseReply(msg, r) != nil { // a record of A grows by 12 octets, from 15 at least
		return false
	}
	const leastRecord, leastAAAA = 1 + 10, 1 + 10 + 16
	least := 0
	for _, at := range r.TTLs[:min(dnswire.ANCount(msg), len(r.TTLs))] {
		switch typ := int(msg[at-4])<<8 | int(msg[at-3]); {
		case kind == rewriteCNAME:
			least += leastRecord
		case typ == dnswire.TypeA:
			least += leastAAAA
		}
	}
	return least > room
}

// knownNone sends a waiter on to A if the cache knows that there is no AAAA for it.
func (w *worker) knownNone(wt *waiter, key []byte, qlen int, hash uint64) bool {
	set, h, r := w.t.set, &w.t.h, &w.reply
	if !wt.six || set.dns64 == nil || set.cache == nil || !set.cache.get(key, hash, w.t.tick, w.big[:], len(w.big), false, 0, h) ||
		dnswire.ParseReply(w.big[:h.n], r) != nil || !set.dns64.none(w.big[:h.n], r) {
		return false
	}
	w.toA(wt, key, qlen, negativeTTL(r))
	return true
}

// toA sends a waiter, whose AAAA question has no usable answer, on to the A question.
func (w *worker) toA(wt *waiter, key []byte, qlen int, most uint32) {
	var room [maxKey]byte
	k := append(room[:0], key...)
	k[qlen-3] = dnswire.TypeA
	wt.six, wt.rewrite, wt.most = false, rewriteA, most
	w.again(wt, k, qlen)
}

// again looks for the answer to another question than the waiter's own: in the cache,
// else at a backend. The waiter stays counted as in flight.
func (w *worker) again(wt *waiter, key []byte, qlen int) {
	hash := w.s.hash(key)
	f := w.newFlight(key, qlen, hash)
	if w.t.set.cache != nil && f.cacheable() && w.giveCached(f, wt, false) {
		w.freeFlight(f)
		return
	}
	w.freeFlight(f)
	w.missOf(wt, key, qlen, hash)
}
