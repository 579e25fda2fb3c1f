package dnswire

import (
	"bytes"
	"testing"

	"github.com/miekg/dns"
)

// FuzzParseQuery: what we accept, the oracle reads the same; what it accepts as one
// well-formed question, so do we.
func FuzzParseQuery(f *testing.F) {
	for _, c := range malformed(f) {
		f.Add(c.m)
	}
	f.Fuzz(func(t *testing.T, m []byte) {
		var q Query
		p := ParseQuery(m, &q)
		if p != OK {
			return
		}
		key := q.AppendKey(nil, m)
		if len(key) != q.QuestionLen() || q.NameLen > MaxName || HeaderLen+q.QuestionLen() > len(m) {
			t.Fatalf("lengths: %+v", q)
		}
		var o dns.Msg
		if o.Unpack(m) != nil {
			return // the oracle looks into RDATA, which is not ours to judge
		}
		if len(o.Question) != 1 || o.Id != q.ID || o.Question[0].Qtype != q.Type || o.Question[0].Qclass != q.Class {
			t.Fatalf("%+v, oracle %s", q, &o)
		}
		wire := make([]byte, 300)
		if n, err := dns.PackDomainName(o.Question[0].Name, wire, 0, nil, false); err != nil || !bytes.Equal(wire[:n], q.Name(m)) {
			t.Fatalf("name %q, oracle %q", q.Name(m), wire[:n])
		}
		if (o.IsEdns0() != nil) != q.OPT.Present {
			t.Fatalf("OPT %v, oracle %v", q.OPT.Present, o.IsEdns0())
		}
	})
}

// FuzzParseReply: places of TTLs and counts agree with the oracle; taking OPT out
// changes nothing else.
func FuzzParseReply(f *testing.F) {
	f.Add(sample(f))
	f.Add(query(f, "a.example.", TypeA, true))
	f.Fuzz(func(t *testing.T, m []byte) {
		var r Reply
		if ParseReply(m, &r) != nil {
			return
		}
		for i, at := range r.TTLs {
			if int(at)+4 > len(m) || i > 0 && at <= r.TTLs[i-1] {
				t.Fatalf("places %v in %d octets", r.TTLs, len(m))
			}
		}
		var before, after dns.Msg
		if before.Unpack(m) != nil {
			return
		}
		for _, rec := range before.Extra {
			typ := rec.Header().Rrtype
			_, known := dns.TypeToString[typ]
			if _, names := compressible(typ); known && names == 0 && typ != TypeA && typ != TypeAAAA && typ != TypeOPT {
				return // the oracle follows pointers in types that must not have any
			}
		}
		records := len(before.Answer) + len(before.Ns) + len(before.Extra)
		if r.OPT.Present {
			records--
		}
		if records != len(r.TTLs) {
			t.Fatalf("%d records, oracle %d", len(r.TTLs), records)
		}
		short, err := StripOPT(bytes.Clone(m), &r)
		if err != nil {
			return // a name in RDATA is broken where the oracle does not look
		}
		if err := after.Unpack(short); err != nil {
			t.Fatalf("without OPT it does not parse: %v", err)
		}
		extra := before.Extra[:0]
		for _, rec := range before.Extra {
			if rec.Header().Rrtype != dns.TypeOPT {
				extra = append(extra, rec)
			}
		}
		before.Extra = extra
		after.Rcode = before.Rcode
		if after.String() != before.String() {
			t.Fatalf("got\n%s\nwant\n%s", &after, &before)
		}
	})
}

// FuzzNames: two ways to read a name agree, with each other and with the oracle.
func FuzzNames(f *testing.F) {
	f.Add(sample(f), 40)
	f.Fuzz(func(t *testing.T, m []byte, off int) {
		end := SkipName(m, off)
		name, ok := appendName(nil, m, off)
		if ok != (end >= 0) {
			t.Fatalf("SkipName %d, appendName %v", end, ok)
		}
		if !ok {
			return
		}
		s, oend, err := dns.UnpackDomainName(m, off)
		if err != nil || oend != end {
			t.Fatalf("end %d, oracle %d %v", end, oend, err)
		}
		back, ok := ParseName(nil, s)
		if !ok || !bytes.Equal(back, name) {
			t.Fatalf("%q, oracle %q", name, s)
		}
		again, ok := ParseName(nil, NameString(name))
		if !ok || !bytes.Equal(again, name) {
			t.Fatalf("%q written as %q", name, NameString(name))
		}
	})
}

// FuzzProbe: nobody without the key is answered.
func FuzzProbe(f *testing.F) {
	key, other := NewProbeKey(), NewProbeKey()
	ask, _ := other.Question()
	f.Add(ask)
	f.Fuzz(func(t *testing.T, m []byte) {
		if _, ok := key.Answer(m); ok {
			t.Fatal("a stranger is answered")
		}
		key.Verify(ask, m)
	})
}
