package dnswire

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// pack builds a message with the oracle.
func pack(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// query builds a query with the oracle.
func query(t testing.TB, name string, typ uint16, edns bool) []byte {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, typ)
	m.Id = 0x1234
	if edns {
		m.SetEdns0(1400, true)
	}
	return pack(t, m)
}

func rr(t testing.TB, s string) dns.RR {
	t.Helper()
	r, err := dns.NewRR(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestParseQueryReadsWhatAProxyNeeds(t *testing.T) {
	var q Query
	m := query(t, "WwW.Example.COM.", dns.TypeAAAA, true)
	if p := ParseQuery(m, &q); p != OK {
		t.Fatal(p)
	}
	if q.ID != 0x1234 || q.Type != TypeAAAA || q.Class != ClassIN || !q.RD() || q.CD() || q.Flags&FlagAD != 0 {
		t.Errorf("%+v", q)
	}
	if !q.OPT.Present || !q.OPT.DO || q.OPT.UDPSize != 1400 || q.UDPLimit(1232) != 1232 || q.UDPLimit(4096) != 1400 {
		t.Errorf("%+v", q.OPT)
	}
	if got := string(q.AppendKey(nil, m)); got != "\x03www\x07example\x03com\x00\x00\x1c\x00\x01" {
		t.Errorf("key %q", got)
	}
	if got := NameString(q.Name(m)); got != "WwW.Example.COM." {
		t.Errorf("name %q", got)
	}
}

func TestD07LimitIsThatOfTheClient(t *testing.T) {
	for size, want := range map[uint16]int{0: 512, 511: 512, 512: 512, 1000: 1000, 1232: 1232, 4096: 1232} {
		q := Query{OPT: OPT{Present: true, UDPSize: size}}
		if got := q.UDPLimit(1232); got != want {
			t.Errorf("%d: %d, want %d", size, got, want)
		}
	}
	if got := new(Query).UDPLimit(1232); got != 512 {
		t.Error("without EDNS:", got)
	}
}

// malformed is every class of broken query with what must be found.
func malformed(t testing.TB) map[string]struct {
	m    []byte
	want Problem
} {
	plain, opt := query(t, "a.example.", dns.TypeA, false), query(t, "a.example.", dns.TypeA, true)
	edit := func(m []byte, f func([]byte) []byte) []byte { return f(bytes.Clone(m)) }
	set := func(m []byte, at int, b ...byte) []byte {
		return edit(m, func(m []byte) []byte { copy(m[at:], b); return m })
	}
	head := func(qd byte, body string) []byte {
		return append([]byte{1, 2, 1, 0, 0, qd, 0, 0, 0, 0, 0, 0}, body...)
	}
	long := strings.Repeat("\x3f"+strings.Repeat("x", 63), 4) // 256 octets before the root
	optRR := opt[len(plain):]
	return map[string]struct {
		m    []byte
		want Problem
	}{
		"empty":                  {nil, Short},
		"eleven octets":          {plain[:11], Short},
		"response":               {set(plain, 2, 0x81), Response},
		"response of bad opcode": {set(plain, 2, 0xa9), Response},
		"notify":                 {set(plain, 2, 0x20), BadOpcode},
		"update":                 {set(plain, 2, 0x28), BadOpcode},
		"header alone, QDCOUNT 1": {
			plain[:12], Malformed},
		"no question":             {head(0, ""), BadCount},
		"two questions":           {edit(plain, func(m []byte) []byte { m[5] = 2; return append(m, m[12:]...) }), BadCount},
		"65535 questions":         {set(plain, 4, 0xff, 0xff), BadCount},
		"question cut":            {plain[:len(plain)-1], Malformed},
		"name cut":                {plain[:14], Malformed},
		"label of 64":             {head(1, "\x40"+strings.Repeat("x", 64)+"\x00\x00\x01\x00\x01"), Malformed},
		"reserved label":          {head(1, "\x80a\x00\x00\x01\x00\x01"), Malformed},
		"name over 255":           {head(1, long+"\x00\x00\x01\x00\x01"), Malformed},
		"pointer to itself":       {head(1, "\xc0\x0c\x00\x01\x00\x01"), Malformed},
		"pointer forward":         {head(1, "\xc0\x12\x00\x01\x00\x01\x01a\x00"), Malformed},
		"pointer into header":     {head(1, "\x01a\xc0\x00\x00\x01\x00\x01"), Malformed},
		"trailing octet":          {append(bytes.Clone(plain), 0), Malformed},
		"lying additional count":  {set(plain, 10, 0, 1), Malformed},
		"lying answer count":      {set(plain, 6, 0, 1), Malformed},
		"fewer records than said": {set(opt, 10, 0, 2), Malformed},
		"more records than said":  {set(opt, 10, 0, 0), Malformed},
		"two OPTs":                {edit(opt, func(m []byte) []byte { m[11] = 2; return append(m, optRR...) }), Malformed},
		"OPT in answer section":   {edit(opt, func(m []byte) []byte { m[11], m[7] = 0, 1; return m }), Malformed},
		"OPT not root": {edit(plain, func(m []byte) []byte {
			m[11] = 1
			m = append(m, 1, 'x')
			return append(m, optRR...)
		}), Malformed},
		"OPT cut":           {opt[:len(opt)-1], Malformed},
		"option cut":        {edit(opt, func(m []byte) []byte { m[len(m)-1] = 3; return append(m, 0, 10, 0) }), Malformed},
		"option overlong":   {edit(opt, func(m []byte) []byte { m[len(m)-1] = 5; return append(m, 0, 10, 0, 9, 1) }), Malformed},
		"EDNS version 1":    {set(opt, len(opt)-5, 1), BadVersion},
		"good, plain":       {plain, OK},
		"good, with OPT":    {opt, OK},
		"good, the root":    {head(1, "\x00\x00\x02\x00\x01"), OK},
		"good, 255 octets":  {head(1, long[:192]+"\x3d"+strings.Repeat("x", 61)+"\x00\x00\x01\x00\x01"), OK},
		"good, odd class":   {head(1, "\x01a\x00\x00\x01\x00\xfe"), OK},
		"good, label octet": {head(1, "\x02\x00.\x00\xff\x01\x00\x01"), OK},
	}
}

func TestD03EveryMalformedQueryIsFound(t *testing.T) {
	for name, c := range malformed(t) {
		var q Query
		if got := ParseQuery(c.m, &q); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	for p, rcode := range map[Problem]int{BadOpcode: NotImp, BadCount: FormErr, Malformed: FormErr, BadVersion: BadVers, OK: NoError} {
		if p.Rcode() != rcode {
			t.Errorf("problem %d: rcode %d, want %d", p, p.Rcode(), rcode)
		}
	}
}

func TestNamesOnlyPointBackwards(t *testing.T) {
	h := make([]byte, HeaderLen)
	for name, c := range map[string]struct {
		body string
		off  int
		want int
	}{
		"plain":            {"\x01a\x00", 12, 15},
		"pointer back":     {"\x01a\x00\x01b\xc0\x0c", 15, 19},
		"pointer to self":  {"\x01a\x00\xc0\x0f", 15, -1},
		"loop of two":      {"\xc0\x0e\xc0\x0c", 14, -1},
		"forward":          {"\xc0\x0e\x00", 12, -1},
		"into its labels":  {"\x01a\x01b\xc0\x0c", 14, -1},
		"loop by labels":   {"\x01a\xc0\x0c", 12, -1},
		"cut pointer":      {"\x01a\x00\xc0", 15, -1},
		"into the header":  {"\xc0\x02", 12, -1},
		"behind the end":   {"\x01a", 20, -1},
		"negative":         {"", -1, -1},
		"label past end":   {"\x05abc", 12, -1},
		"chain of pointer": {"\x00\xc0\x0c\xc0\x0d\xc0\x0f", 17, 19},
	} {
		if name == "into its labels" { // the target lies before this name's start
			c.want = -1
		}
		m := append(bytes.Clone(h), c.body...)
		if got := SkipName(m, c.off); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	// A chain of more pointers than a name can have labels is a waste of time on purpose.
	m := append(bytes.Clone(h), 0)
	for at := HeaderLen; len(m) < 2000; at = len(m) - 2 {
		m = append(m, 0xc0|byte(at>>8), byte(at))
	}
	if got := SkipName(m, len(m)-2); got != -1 {
		t.Error("a chain of 990 pointers was followed")
	}
	// 255 octets may be reached by pointers, 256 not.
	m = append(bytes.Clone(h), 0)
	for range 4 {
		at := HeaderLen
		if len(m) > HeaderLen+1 {
			at = len(m) - 66
		}
		m = append(append(append(m, 63), bytes.Repeat([]byte{'x'}, 63)...), 0xc0|byte(at>>8), byte(at))
	}
	if SkipName(m, len(m)-66) != -1 || SkipName(m, len(m)-2*66) != len(m)-66 {
		t.Error("the length of expanded names is not held")
	}
}

func TestParseNameTakesWhatPeopleWrite(t *testing.T) {
	for s, want := range map[string]string{
		".": "\x00", "a": "\x01a\x00", "A.b.": "\x01a\x01b\x00", `a\.b.c`: "\x03a.b\x01c\x00", `\065\010.`: "\x02a\x0a\x00",
	} {
		got, ok := ParseName(nil, s)
		if !ok || string(got) != want {
			t.Errorf("%q: %q %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "..", ".a", "a..b", strings.Repeat("x", 64), strings.Repeat("abcdefg.", 33), `a\`, `a\999`} {
		if got, ok := ParseName(nil, s); ok {
			t.Errorf("%q: accepted as %q", s, got)
		}
	}
}

// sample is a reply with several sections and an OPT in the middle of the additional section.
func sample(t testing.TB) []byte {
	m := new(dns.Msg)
	m.SetQuestion("www.example.com.", dns.TypeA)
	m.Response, m.Compress = true, true
	m.Answer = []dns.RR{rr(t, "www.example.com. 300 IN CNAME web.example.net."), rr(t, "web.example.net. 60 IN A 192.0.2.1")}
	m.Ns = []dns.RR{rr(t, "example.net. 7200 IN NS ns.example.net."), rr(t, "example.net. 900 IN SOA ns.example.net. root.example.net. 1 2 3 4 77")}
	m.SetEdns0(1232, true)
	m.Extra = append(m.Extra, rr(t, "ns.later.example. 500 IN A 192.0.2.53"), rr(t, "later.example. 400 IN MX 5 mail.later.example."),
		rr(t, "mail.later.example. 450 IN SRV 1 2 3 ns.later.example."))
	return pack(t, m)
}

func TestParseReplyFindsEveryTTL(t *testing.T) {
	m := sample(t)
	var r Reply
	if err := ParseReply(m, &r); err != nil {
		t.Fatal(err)
	}
	var ttls []uint32
	for _, at := range r.TTLs {
		ttls = append(ttls, TTL(m, int(at)))
	}
	want := []uint32{300, 60, 7200, 900, 500, 400, 450}
	if len(ttls) != len(want) {
		t.Fatal(ttls)
	}
	for i := range want {
		if ttls[i] != want[i] {
			t.Fatal(ttls)
		}
	}
	if r.MinTTL != 60 || !r.SOA || r.SOATTL != 900 || r.SOAMin != 77 || r.Matching != 1 || r.Negative() || !r.OPT.DO {
		t.Errorf("%+v", r)
	}
}

func TestD31TTLWithTopBitIsZero(t *testing.T) {
	m := sample(t)
	var r Reply
	if err := ParseReply(m, &r); err != nil {
		t.Fatal(err)
	}
	m[r.TTLs[0]] = 0x80
	if err := ParseReply(m, &r); err != nil || r.MinTTL != 0 {
		t.Error(r.MinTTL, err)
	}
	AgeTTLs(m, r.TTLs, 100)
	for i, want := range []uint32{0, 0, 7100, 800, 400, 300, 350} {
		if got := TTL(m, int(r.TTLs[i])); got != want {
			t.Errorf("ttl %d: %d, want %d", i, got, want)
		}
	}
	ClampTTLs(m, r.TTLs, 5, 360)
	for i, want := range []uint32{5, 5, 360, 360, 360, 300, 350} {
		if got := TTL(m, int(r.TTLs[i])); got != want {
			t.Errorf("clamped ttl %d: %d, want %d", i, got, want)
		}
	}
}

func TestD06StripOPTMovesWhatStandsBehind(t *testing.T) {
	m := sample(t)
	var want dns.Msg
	if err := want.Unpack(m); err != nil {
		t.Fatal(err)
	}
	extra := want.Extra[:0]
	for _, r := range want.Extra {
		if r.Header().Rrtype != dns.TypeOPT {
			extra = append(extra, r)
		}
	}
	want.Extra = extra
	var r Reply
	if err := ParseReply(m, &r); err != nil {
		t.Fatal(err)
	}
	short, err := StripOPT(m, &r)
	if err != nil {
		t.Fatal(err)
	}
	var got dns.Msg
	if err := got.Unpack(short); err != nil {
		t.Fatal(err)
	}
	if got.String() != want.String() {
		t.Errorf("got:\n%s\nwant:\n%s", &got, &want)
	}
	ClampTTLs(short, r.TTLs, 9, 9)
	if err := got.Unpack(short); err != nil {
		t.Fatal(err)
	}
	for _, r := range append(append(got.Answer, got.Ns...), got.Extra...) {
		if r.Header().Ttl != 9 {
			t.Error("the place of a TTL did not move:", r)
		}
	}
}

func TestNegativeAnswers(t *testing.T) {
	for _, c := range []struct {
		rcode  int
		answer string
		want   bool
	}{
		{dns.RcodeNameError, "", true},
		{dns.RcodeSuccess, "", true},
		{dns.RcodeSuccess, "a.example. 1 IN CNAME b.example.", true},
		{dns.RcodeSuccess, "a.example. 1 IN A 192.0.2.1", false},
		{dns.RcodeServerFailure, "", false},
	} {
		m := new(dns.Msg)
		m.SetQuestion("a.example.", dns.TypeA)
		m.Response, m.Rcode = true, c.rcode
		if c.answer != "" {
			m.Answer = []dns.RR{rr(t, c.answer)}
		}
		var r Reply
		if err := ParseReply(pack(t, m), &r); err != nil {
			t.Fatal(err)
		}
		if r.Negative() != c.want {
			t.Errorf("rcode %d, answer %q: negative %v", c.rcode, c.answer, r.Negative())
		}
	}
	var r Reply
	if err := ParseReply([]byte{0, 0, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1}, &r); err != nil || r.MinTTL != math.MaxUint32 {
		t.Error(err, r.MinTTL)
	}
}

func TestD06BuiltMessagesParse(t *testing.T) {
	m := query(t, "MiXed.example.", dns.TypeTXT, true)
	var q Query
	if p := ParseQuery(m, &q); p != OK {
		t.Fatal(p)
	}
	out := AppendReply(nil, m, &q, FlagRA, BadVers)
	out = AddOPT(out, 1232, BadVers, q.OPT.DO, AppendEDE(nil, EDEProhibited, "no"))
	var got dns.Msg
	if err := got.Unpack(out); err != nil {
		t.Fatal(err)
	}
	opt := got.IsEdns0()
	if got.Id != 0x1234 || !got.Response || !got.RecursionDesired || !got.RecursionAvailable || got.Question[0].Name != "MiXed.example." ||
		opt == nil || !opt.Do() || opt.UDPSize() != 1232 || got.Rcode != dns.RcodeBadVers {
		t.Errorf("%s", &got)
	}
	if ede, ok := opt.Option[0].(*dns.EDNS0_EDE); !ok || ede.InfoCode != EDEProhibited || ede.ExtraText != "no" {
		t.Errorf("%s", opt)
	}
	up := AppendUpstream(nil, q.AppendKey(nil, m), 7, q.Flags|FlagCD|FlagAA, 1232, true, nil)
	if err := got.Unpack(up); err != nil {
		t.Fatal(err)
	}
	if got.Id != 7 || !got.AuthenticatedData || !got.CheckingDisabled || got.Authoritative || !got.RecursionDesired ||
		got.Question[0].Name != "mixed.example." || !got.IsEdns0().Do() || got.IsEdns0().UDPSize() != 1232 {
		t.Errorf("%s", &got)
	}
}

func TestA07ProbeProvesTheAddressIsOurs(t *testing.T) {
	ours, stranger := NewProbeKey(), NewProbeKey()
	ask, nonce := ours.Question()
	var parsed dns.Msg
	if err := parsed.Unpack(ask); err != nil || parsed.Question[0].Name != nonce+".probe.sereno." || parsed.Question[0].Qclass != dns.ClassCHAOS {
		t.Fatal(&parsed, err)
	}
	answer, ok := ours.Answer(ask)
	if !ok || !ours.Verify(ask, answer) {
		t.Fatal("own question and answer are refused")
	}
	if _, ok := stranger.Answer(ask); ok {
		t.Error("a stranger's key answers")
	}
	if stranger.Verify(ask, answer) {
		t.Error("a stranger's key verifies")
	}
	other, _ := ours.Question()
	if ours.Verify(other, answer) {
		t.Error("an answer verifies for another question")
	}
	for i := range answer {
		bad := bytes.Clone(answer)
		bad[i] ^= 0x10
		if ours.Verify(ask, bad) && i != 2 && i != 3 && (i < len(ask) || i > len(ask)+10) {
			t.Errorf("an answer with octet %d changed verifies", i)
		}
	}
	forged := bytes.Clone(ask)
	forged[20] ^= 1
	if _, ok := ours.Answer(forged); ok {
		t.Error("a changed nonce is answered")
	}
	if _, ok := ours.Answer(ask[:40]); ok {
		t.Error("half a question is answered")
	}
}
