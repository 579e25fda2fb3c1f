package stub

import (
	"net"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// ask gives the answer to a question that the library packs, as the library reads it.
func ask(t *testing.T, name string, qtype uint16, limit, edns int) *dns.Msg {
	t.Helper()
	var q, m dns.Msg
	q.SetQuestion(name, qtype)
	if edns > 0 {
		q.SetEdns0(uint16(edns), false)
	}
	query, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Unpack(Answer(nil, query, limit)); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if m.Id != q.Id || !m.Response || !m.RecursionDesired || !m.RecursionAvailable || len(m.Question) != 1 || m.Question[0] != q.Question[0] {
		t.Errorf("%s: head or question are not the query's: %v", name, &m)
	}
	if (m.IsEdns0() != nil) != (edns > 0) {
		t.Errorf("%s: OPT %v to a query with size %d", name, m.IsEdns0(), edns)
	}
	return &m
}

func TestAnswerSaysWhatTheNameAsksFor(t *testing.T) {
	for _, c := range []struct {
		name    string
		qtype   uint16
		rcode   int
		answers int
		ttl     uint32
		text    string // of the last record
	}{
		{"ip-192-0-2-7.test.", dns.TypeA, dns.RcodeSuccess, 1, 300, "192.0.2.7"},
		{"x.IP-192-0-2-7.ttl-60.test.", dns.TypeA, dns.RcodeSuccess, 1, 60, "192.0.2.7"},
		{"ip-192-0-2-7.count-3.test.", dns.TypeA, dns.RcodeSuccess, 3, 300, "192.0.2.9"},
		{"ip-192-0-2-7.test.", dns.TypeAAAA, dns.RcodeSuccess, 1, 300, "2001:db8::c000:207"},
		{"ip-192-0-2-7.cname.test.", dns.TypeA, dns.RcodeSuccess, 2, 300, "192.0.2.7"},
		{"ip-192-0-2-7.cname.test.", dns.TypeCNAME, dns.RcodeSuccess, 1, 300, "ip-192-0-2-7.alias.test."},
		{"size-5.test.", dns.TypeTXT, dns.RcodeSuccess, 1, 300, ""},
		{"nx.test.", dns.TypeA, dns.RcodeNameError, 0, 0, ""},
		{"nodata.test.", dns.TypeA, dns.RcodeSuccess, 0, 0, ""},
		{"mail.test.", dns.TypeMX, dns.RcodeSuccess, 0, 0, ""},
		{"servfail.test.", dns.TypeA, dns.RcodeServerFailure, 0, 0, ""},
		{"refused.test.", dns.TypeA, dns.RcodeRefused, 0, 0, ""},
		{".", dns.TypeNS, dns.RcodeSuccess, 1, 300, "a.stub."},
		{".", dns.TypeA, dns.RcodeSuccess, 0, 0, ""},
	} {
		m := ask(t, c.name, c.qtype, MaxTCP, 1232)
		if m.Rcode != c.rcode || len(m.Answer) != c.answers {
			t.Errorf("%s: %s with %d answers, want %d", c.name, dns.RcodeToString[m.Rcode], len(m.Answer), c.answers)
			continue
		}
		if soa := len(m.Ns) == 1 && m.Ns[0].Header().Rrtype == dns.TypeSOA; soa != (c.answers == 0 && c.rcode != dns.RcodeServerFailure && c.rcode != dns.RcodeRefused) {
			t.Errorf("%s: authority %v", c.name, m.Ns)
		}
		if c.answers == 0 {
			continue
		}
		last := m.Answer[c.answers-1]
		if last.Header().Ttl != c.ttl || c.text != "" && !strings.HasSuffix(last.String(), c.text) {
			t.Errorf("%s: %v, want %s for %d s", c.name, last, c.text, c.ttl)
		}
	}
}

// TestAnswerIsTheSameInAnyCase lets the case of the question change nothing but the question.
func TestAnswerIsTheSameInAnyCase(t *testing.T) {
	a, b := ask(t, "www.example.test.", dns.TypeA, MaxUDP, 0), ask(t, "WwW.eXample.TEST.", dns.TypeA, MaxUDP, 0)
	if !a.Answer[0].(*dns.A).A.Equal(b.Answer[0].(*dns.A).A) {
		t.Errorf("%v and %v", a.Answer[0], b.Answer[0])
	}
	c := ask(t, "www.example2.test.", dns.TypeA, MaxUDP, 0)
	if a.Answer[0].(*dns.A).A.Equal(c.Answer[0].(*dns.A).A) {
		t.Errorf("two names have the address %v", a.Answer[0])
	}
}

func TestAnswerIsCutToTheTransport(t *testing.T) {
	for _, c := range []struct {
		name        string
		limit, edns int
		cut         bool
	}{
		{"size-400.test.", MaxUDP, 0, false},
		{"size-600.test.", MaxUDP, 0, true},
		{"size-600.test.", MaxUDP, 1232, false},
		{"size-2000.test.", MaxUDP, 1232, true},
		{"size-2000.test.", MaxUDP, 4096, false},
		{"size-9000.test.", MaxUDP, 65535, true},
		{"size-60000.test.", MaxTCP, 0, false},
	} {
		m := ask(t, c.name, dns.TypeTXT, c.limit, c.edns)
		if m.Truncated != c.cut || (len(m.Answer) == 0) != c.cut {
			t.Errorf("%s, limit %d, client %d: TC=%v with %d answers", c.name, c.limit, c.edns, m.Truncated, len(m.Answer))
		}
	}
}

func TestAnswerOfWhatIsNoQuestion(t *testing.T) {
	var q dns.Msg
	q.SetQuestion("x.test.", dns.TypeA)
	query, _ := q.Pack()
	with := func(change func(b []byte) []byte) []byte {
		return Answer(nil, change(append([]byte(nil), query...)), MaxUDP)
	}
	if got := Answer(nil, query[:11], MaxUDP); got != nil {
		t.Errorf("a short message was answered: %x", got)
	}
	if got := with(func(b []byte) []byte { b[2] |= 0x80; return b }); got != nil {
		t.Errorf("an answer was answered: %x", got)
	}
	for want, change := range map[byte]func([]byte) []byte{
		RcodeFormErr: func(b []byte) []byte { return b[:20] },
		RcodeNotImp:  func(b []byte) []byte { b[2] |= 0x10; return b },
		RcodeRefused: func(b []byte) []byte { b[len(b)-1] = 3; return b },
	} {
		if got := with(change); len(got) < 12 || got[3]&0x0f != want {
			t.Errorf("rcode %x instead of %d", got, want)
		}
	}
}

func TestDashedAddress(t *testing.T) {
	for text, want := range map[string]string{"192-0-2-1": "192.0.2.1", "192-0-2": "", "192-0-2-1-5": "", "1--2-3": "", "": ""} {
		a, ok := dashedAddress([]byte(text))
		if ok != (want != "") || ok && net.IP(a[:]).String() != want {
			t.Errorf("%q: %v, %v", text, a, ok)
		}
	}
}

func BenchmarkAnswer(b *testing.B) {
	var q dns.Msg
	q.SetQuestion("h123456.ttl-60.load.test.", dns.TypeA)
	q.SetEdns0(1232, false)
	query, _ := q.Pack()
	buf := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		buf = Answer(buf[:0], query, MaxUDP)
	}
}

func FuzzAnswer(f *testing.F) {
	var q dns.Msg
	q.SetQuestion("ip-192-0-2-7.count-3.cname.test.", dns.TypeA)
	q.SetEdns0(1232, false)
	query, _ := q.Pack()
	f.Add(query)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		got := Answer(nil, b, MaxUDP)
		if len(got) > MaxUDP {
			t.Errorf("%d octets over UDP", len(got))
		}
		var m dns.Msg
		if got != nil && m.Unpack(got) != nil && (got[3]&0x0f) != RcodeFormErr {
			t.Errorf("the library cannot read %x, the answer to %x", got, b)
		}
	})
}
