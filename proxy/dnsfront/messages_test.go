package dnsfront

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"sereno/proxy/dnswire"
	"sereno/proxy/pool"
	"sereno/proxy/udp"
)

func TestD01QuestionComesBackOctetByOctet(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		f := newFront(t, setup{plain: plain, pool: func(c *pool.Config) { c.Timeout = 300 * time.Millisecond }})
		for _, name := range []string{"www.example.", "WWW.eXample.", "wwW.ExamplE."} { // first a miss, then hits
			m := f.ask(asking(name, dns.TypeA))
			if len(m.Answer) != 1 || m.Answer[0].Header().Name != name {
				t.Errorf("%s: %s", name, m)
			}
			f.askTCP(asking(name, dns.TypeA))
		}
		if n := f.asked(); n != 1 {
			t.Errorf("backends were asked %d times: case makes a difference", n)
		}
		for _, r := range f.resolvers {
			r.set(nil)
		}
		f.ask(asking("DeaD.Example.", dns.TypeA)) // an error of our own
		f.later(301 * time.Second)
		if m := f.ask(asking("WWW.Example.", dns.TypeA)); len(m.Answer) != 1 { // stale
			t.Error(m)
		}
	})
}

func TestD02NotAQueryIsDroppedAndCounted(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		f := newFront(t, setup{plain: plain})
		q := packed(t, asking("www.example.", dns.TypeA))
		for n := range 12 {
			if out := f.send(q[:n], 20*time.Millisecond); out != nil {
				t.Errorf("%d octets were answered", n)
			}
		}
		reply := bytes.Clone(q)
		reply[2] |= 0x80
		if out := f.send(reply, 50*time.Millisecond); out != nil {
			t.Error("a response was answered")
		}
		until(t, "both counters", func() bool {
			s := f.Stats()
			return s.Drops[UDP][DropShort] == 12 && s.Drops[UDP][DropResponse] == 1
		})
	})
}

func TestD02LoopsAndPortZeroAreDropped(t *testing.T) {
	f := newFront(t, setup{})
	set := f.settings.Load()
	var x turn
	x.begin(f.Service, &f.async[0].book)
	m, out := packed(t, asking("www.example.", dns.TypeA)), make([]byte, 512)
	serve := func(peer netip.AddrPort, local netip.Addr) result {
		f.async[0].mu.Lock()
		defer f.async[0].mu.Unlock()
		_, r := f.serve(&x, UDP, &udp.Dest{Peer: peer, Local: local}, m, out)
		if r == missed { // nobody will ask
			f.async[0].Queries[UDP]--
		}
		return r
	}
	local := netip.MustParseAddr("127.0.0.1")
	if r := serve(netip.MustParseAddrPort("127.0.0.1:0"), local); r != dropped || f.Stats().Drops[UDP][DropPort] != 1 {
		t.Error("source port 0:", r)
	}
	if r := serve(f.addr, local); r != dropped || f.Stats().Drops[UDP][DropLoop] != 1 {
		t.Error("our own address:", r)
	}
	if r := serve(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), f.addr.Port()), local); r != missed {
		t.Error("another host's port of the same number:", r)
	}
	// A wildcard listener owns its port at whatever address was asked.
	wild := *set
	wild.listeners = []*listener{{transport: UDP, addr: netip.MustParseAddrPort("0.0.0.0:5353")}}
	wild.addOwn()
	from := func(peer string) *udp.Dest { return &udp.Dest{Peer: netip.MustParseAddrPort(peer), Local: local} }
	if !wild.isOwn(from("127.0.0.1:5353")) || wild.isOwn(from("127.0.0.2:5353")) {
		t.Error("wildcard")
	}
}

func TestD03MalformedQueriesGetTheirRcode(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		f := newFront(t, setup{plain: plain})
		plainQ, optQ := packed(t, asking("www.example.", dns.TypeA)), packed(t, withOPT(asking("www.example.", dns.TypeA), 1232, false))
		edit := func(m []byte, f func(m []byte) []byte) []byte { return f(bytes.Clone(m)) }
		for name, c := range map[string]struct {
			m    []byte
			want int
		}{
			"two questions":  {edit(plainQ, func(m []byte) []byte { m[5] = 2; return append(m, m[12:]...) }), dns.RcodeFormatError},
			"no question":    {edit(plainQ[:12], func(m []byte) []byte { m[5] = 0; return m }), dns.RcodeFormatError},
			"notify":         {edit(plainQ, func(m []byte) []byte { m[2] = 0x20; return m }), dns.RcodeNotImplemented},
			"update":         {edit(plainQ, func(m []byte) []byte { m[2] = 0x28; return m }), dns.RcodeNotImplemented},
			"cut name":       {plainQ[:20], dns.RcodeFormatError},
			"header alone":   {plainQ[:12], dns.RcodeFormatError},
			"trailing octet": {append(bytes.Clone(plainQ), 0), dns.RcodeFormatError},
			"two OPTs":       {edit(optQ, func(m []byte) []byte { m[11] = 2; return append(m, m[len(plainQ):]...) }), dns.RcodeFormatError},
			"pointer loop":   {edit(plainQ, func(m []byte) []byte { m[12], m[13] = 0xc0, 12; return m }), dns.RcodeFormatError},
			"lying counts":   {edit(plainQ, func(m []byte) []byte { m[7] = 9; return m }), dns.RcodeFormatError},
		} {
			out := f.send(c.m, 5*time.Second)
			if len(out) < 12 || dnswire.ID(out) != dnswire.ID(c.m) || int(out[3]&0xf) != c.want || out[2]&0x80 == 0 {
				t.Errorf("%s: %x", name, out)
			}
			var m dns.Msg
			if err := m.Unpack(out); err != nil {
				t.Errorf("%s: the answer does not parse: %v", name, err)
			}
		}
		if f.asked() != 0 {
			t.Error("a backend was asked")
		}
	})
}

func TestD03RandomAndCutDatagramsHurtNobody(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		f := newFront(t, setup{plain: plain, anything: true})
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(f.addr))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		rng := rand.New(rand.NewPCG(9, 9))
		good := packed(t, withOPT(asking("www.example.", dns.TypeA), 1232, true))
		for range 3000 {
			m := bytes.Clone(good)
			switch rng.IntN(3) {
			case 0:
				m = make([]byte, rng.IntN(600))
				for i := range m {
					m[i] = byte(rng.Uint32())
				}
			case 1:
				m = m[:rng.IntN(len(m)+1)]
			case 2:
				m[rng.IntN(len(m))] ^= 1 << rng.IntN(8)
			}
			if _, err := c.Write(m); err != nil {
				t.Fatal(err)
			}
		}
		f.ask(asking("www.example.", dns.TypeA))
	})
}

// silentTB ignores what a resolver complains of.
type silentTB struct{ testing.TB }

func (silentTB) Errorf(string, ...any) {}
func (silentTB) Error(...any)          {}
func (silentTB) Helper()               {}

func TestD05UnknownTypesPassByteForByte(t *testing.T) {
	f := newFront(t, setup{})
	for range 2 { // a miss and a hit
		m := f.ask(asking("www.example.", 65280))
		rr, ok := m.Answer[0].(*dns.RFC3597)
		if !ok || rr.Rdata != "c0ffee00c00c" || rr.Hdr.Rrtype != 65280 {
			t.Error(m)
		}
	}
}

// TestD05RecordsPassByteForByte: what a backend puts into records is not looked into, whatever it looks like: pointers,
// upper case, parameters out of order, nothing at all; in every section, and behind OPT.
func TestD05RecordsPassByteForByte(t *testing.T) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	opt := "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"
	records := func(ttl uint32, opt string) (out []byte) {
		add := func(owner string, typ uint16, rdata string) {
			out = binary.BigEndian.AppendUint16(append(out, owner...), typ)
			out = binary.BigEndian.AppendUint32(append(out, 0, 1), ttl)
			out = append(binary.BigEndian.AppendUint16(out, uint16(len(rdata))), rdata...)
		}
		add("\xc0\x0c", 65281, string(every))
		add("\x03WwW\x07eXample\x00", 65281, "")
		add("\xc0\x0c", 65281, "\xc0\x0c\xc0\xff\x3f")
		add("\x00", 65282, "\xc0\x0c")
		add("\xc0\x0c", 65, "\x00\x01\x03FOO\x00\x00\x03\x00\x02\x01\xbb\x00\x01\x00\x03\x02h2") // port before ALPN
		out = append(out, opt...)
		add("\xc0\x0c", 65283, "\xc0\xff")
		return out
	}
	f := newFront(t, setup{handle: func(q *request) [][]byte {
		out := append(q.raw[:2:2], 0x81, 0x80, 0, 1, 0, 3, 0, 1, 0, 3)
		out = append(out, q.raw[12:12+13+4]...)
		return [][]byte{append(out, records(300, opt)...)}
	}})
	want := records(0, "")
	for range 2 { // a miss and a hit
		for name, q := range map[string]*dns.Msg{"without OPT": asking("www.example.", 65281), "with OPT": withOPT(asking("www.example.", 65281), 1232, false),
			"with DO": withOPT(asking("www.example.", 65281), 1232, true)} {
			c := f.stream()
			writeFrame(t, c, packed(t, q))
			for way, out := range map[string][]byte{"UDP": f.send(packed(t, q), 5*time.Second), "TCP": readFrame(t, c)} {
				var r dnswire.Reply
				if err := dnswire.ParseReply(out, &r); err != nil || r.OPT.Present != (q.IsEdns0() != nil) || len(r.TTLs) != 6 {
					t.Fatalf("%s over %s: %v, %x", name, way, err, out)
				}
				for _, at := range r.TTLs {
					clear(out[at : at+4])
				}
				if got := bytes.TrimSuffix(out[12+13+4:], out[r.OPT.Record.Off:][:r.OPT.Record.Len]); !bytes.Equal(got, want) {
					t.Errorf("%s over %s:\n%x, want\n%x", name, way, got, want)
				}
			}
		}
	}
	if n := f.asked(); n != 2 {
		t.Errorf("asked %d times", n)
	}
}

func TestD06EDNSIsHopByHop(t *testing.T) {
	var last atomic.Pointer[dns.Msg]
	f := newFront(t, setup{backends: 1, handle: func(q *request) [][]byte {
		last.Store(q.msg)
		m := q.reply(dns.RcodeSuccess)
		m.Answer = []dns.RR{mustRR(q.r.t, q.msg.Question[0].Name+" 60 IN A 192.0.2.1")}
		o := m.IsEdns0()
		o.Option = append(o.Option, &dns.EDNS0_LOCAL{Code: 65001, Data: []byte("hop")}, &dns.EDNS0_NSID{Code: dns.EDNS0NSID, Nsid: "abcd"})
		return [][]byte{packed(q.r.t, m)}
	}})
	q := withOPT(asking("www.example.", dns.TypeA), 4000, true)
	q.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_LOCAL{Code: 65002, Data: []byte("x")}, &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: net.IPv4(192, 0, 2, 0)},
		&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef"}}
	for range 2 {
		m := f.ask(q)
		o := m.IsEdns0()
		if len(o.Option) != 0 || o.UDPSize() != 1232 || !o.Do() {
			t.Errorf("the client's OPT: %s", o)
		}
	}
	if o := last.Load().IsEdns0(); len(o.Option) != 0 || !o.Do() {
		t.Errorf("the backend's OPT: %s", o)
	}
	if m := f.ask(asking("www.example.", dns.TypeA)); m.IsEdns0() != nil {
		t.Error("OPT without one in the query")
	}
	bad := packed(t, withOPT(asking("www.example.", dns.TypeA), 1232, false))
	bad[len(bad)-5] = 1 // version
	var m dns.Msg
	if err := m.Unpack(f.send(bad, 5*time.Second)); err != nil || m.Rcode != dns.RcodeBadVers || m.IsEdns0() == nil || m.IsEdns0().Version() != 0 {
		t.Error("version 1:", err, &m)
	}
	bad = append(bad[:12:12], bad[len(bad)-11:]...) // without a question
	bad[5] = 0
	if err := m.Unpack(f.send(bad, 5*time.Second)); err != nil || m.Rcode != dns.RcodeBadVers {
		t.Error("version 1 without a question:", err, &m)
	}
}

// Other opcodes get their question and an OPT back as queries do (D01, D06), if their body
// is like a query's.
func TestD06NotImplementedHasAnOPTToo(t *testing.T) {
	f := newFront(t, setup{})
	for opcode := 1; opcode < 16; opcode++ {
		q := withOPT(asking("WWW.example.", dns.TypeSOA), 1232, true)
		q.Opcode = opcode
		if m := f.ask(q); m.Rcode != dns.RcodeNotImplemented || m.Opcode != opcode || !m.IsEdns0().Do() {
			t.Error(m)
		}
		raw := append(packed(t, q), 0xff) // a body of its own kind
		if out := f.send(raw, 5*time.Second); len(out) != 12 || out[3]&0xf != dns.RcodeNotImplemented {
			t.Errorf("%x", out)
		}
	}
}

func TestD07TruncatesAtUDPSize(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		f := newFront(t, setup{plain: plain, handle: func(q *request) [][]byte {
			m := q.reply(dns.RcodeSuccess)
			for i := range 40 { // 12 + 17 + 40 × 16 octets: over 512, under 1232
				m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: q.msg.Question[0].Name, Rrtype: 1, Class: 1, Ttl: 60}, A: net.IPv4(192, 0, 2, byte(i))})
			}
			return [][]byte{packed(q.r.t, m)}
		}})
		for range 2 { // a miss, then hits
			if m := f.ask(asking("www.example.", dns.TypeA)); !m.Truncated || len(m.Answer) != 0 {
				t.Error("without EDNS: ", m)
			}
			if m := f.ask(withOPT(asking("www.example.", dns.TypeA), 100, false)); !m.Truncated || len(m.Answer) != 0 {
				t.Error("with a size of 100: ", m)
			}
			if m := f.ask(withOPT(asking("www.example.", dns.TypeA), 4096, false)); m.Truncated || len(m.Answer) != 40 {
				t.Error("with a size of 4096: ", m)
			}
			// With our OPT it is 12 + 17 + 40 × 16 + 11 octets.
			if m := f.ask(withOPT(asking("www.example.", dns.TypeA), 679, false)); !m.Truncated || len(m.Answer) != 0 {
				t.Error("with a size of 679: ", m)
			}
			if m := f.ask(withOPT(asking("www.example.", dns.TypeA), 680, false)); m.Truncated || len(m.Answer) != 40 {
				t.Error("with a size of 680: ", m)
			}
			if m := f.askTCP(asking("www.example.", dns.TypeA)); len(m.Answer) != 40 {
				t.Error("over TCP: ", m)
			}
		}
		if n := f.asked(); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
}

func TestD08TruncatedAnswersAreFetchedOverTCP(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		f := newFront(t, setup{plain: plain})
		if m := f.ask(withOPT(asking("big.example.", dns.TypeA), 1232, false)); !m.Truncated || m.Rcode != dns.RcodeSuccess {
			t.Error(m)
		}
		if m := f.askTCP(asking("big.example.", dns.TypeA)); len(m.Answer) != 200 {
			t.Errorf("%d records", len(m.Answer))
		}
		if udp, tcp := f.asked()-f.overTCP(), f.overTCP(); udp != 1 || tcp != 1 {
			t.Errorf("asked %d times over UDP, %d over TCP: the whole answer was not cached", udp, tcp)
		}
		if s := f.Stats(); s.Upstream.Truncated != 1 {
			t.Error(s.Upstream)
		}
	})
}

func (f *front) overTCP() (n int64) {
	for _, r := range f.resolvers {
		n += r.overT.Load()
	}
	return n
}

func TestD09Flags(t *testing.T) {
	f := newFront(t, setup{handle: func(q *request) [][]byte {
		m := q.reply(dns.RcodeSuccess)
		m.Answer = []dns.RR{mustRR(q.r.t, q.msg.Question[0].Name+" 60 IN A 192.0.2.1")}
		m.AuthenticatedData, m.Authoritative, m.Zero = true, true, true
		return [][]byte{packed(q.r.t, m)}
	}})
	for i := range 2 {
		m := f.ask(asking("www.example.", dns.TypeA))
		if m.AuthenticatedData || !m.RecursionAvailable || m.Authoritative != (i == 0) {
			t.Errorf("neither DO nor AD, %d: %s", i, m)
		}
	}
	ad := asking("www.example.", dns.TypeA)
	ad.AuthenticatedData = true
	if m := f.ask(ad); !m.AuthenticatedData || m.Authoritative {
		t.Error("AD: ", m)
	}
	if m := f.ask(withOPT(asking("www.example.", dns.TypeA), 1232, true)); !m.AuthenticatedData {
		t.Error("DO: ", m)
	}
	if m := f.ask(withOPT(asking("www.example.", dns.TypeA), 1232, false)); m.AuthenticatedData {
		t.Error("OPT without DO: ", m)
	}
	cd := asking("www.example.", dns.TypeA)
	cd.CheckingDisabled = true
	f.ask(cd)
	if n := f.asked(); n != 3 {
		t.Errorf("asked %d times: DO and CD are in the key, AD is not", n)
	}
}

func TestD09ExtendedRcode(t *testing.T) {
	f := newFront(t, setup{handle: func(q *request) [][]byte {
		return [][]byte{packed(q.r.t, q.reply(dns.RcodeBadCookie))}
	}})
	if m := f.ask(withOPT(asking("www.example.", dns.TypeA), 1232, false)); m.Rcode != dns.RcodeBadCookie {
		t.Error(m)
	}
	if m := f.ask(asking("other.example.", dns.TypeA)); m.Rcode != dns.RcodeServerFailure {
		t.Error("an rcode that needs EDNS, to a client without: ", m)
	}
}

func TestD10QueriesWithoutRDPassTheCache(t *testing.T) {
	f := newFront(t, setup{handle: func(q *request) [][]byte {
		m := q.reply(dns.RcodeSuccess)
		m.Answer = []dns.RR{mustRR(q.r.t, q.msg.Question[0].Name+" 60 IN A 192.0.2.1")}
		m.RecursionDesired = q.msg.RecursionDesired
		if !q.msg.RecursionDesired {
			m.Answer[0].(*dns.A).A = net.ParseIP("192.0.2.2")
		}
		return [][]byte{packed(q.r.t, m)}
	}})
	norec := asking("www.example.", dns.TypeA)
	norec.RecursionDesired = false
	f.ask(asking("www.example.", dns.TypeA))
	for range 3 {
		if m := f.ask(norec); len(m.Answer) != 1 || m.Answer[0].(*dns.A).A.String() != "192.0.2.2" {
			t.Error(m)
		}
	}
	if n := f.asked(); n != 4 {
		t.Errorf("asked %d times", n)
	}
	if m := f.ask(asking("www.example.", dns.TypeA)); m.Answer[0].(*dns.A).A.String() != "192.0.2.1" || f.asked() != 4 || f.Stats().Cache.Entries != 1 {
		t.Error("the answer to RD=0 was stored: ", m, f.Stats().Cache)
	}
}

func TestD15BackendsExtendedErrorsPass(t *testing.T) {
	f := newFront(t, setup{handle: func(q *request) [][]byte {
		m := q.reply(dns.RcodeSuccess)
		m.Answer = []dns.RR{mustRR(q.r.t, q.msg.Question[0].Name+" 60 IN A 192.0.2.1")}
		m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_EDE{InfoCode: 4, ExtraText: "forged"}}
		return [][]byte{packed(q.r.t, m)}
	}})
	for i := range 2 {
		if m := f.ask(withOPT(asking("www.example.", dns.TypeA), 1232, false)); ede(m) != 4 {
			t.Errorf("%d: %s", i, m)
		}
	}
	f.ask(asking("www.example.", dns.TypeA))
}

// TestD15LongTextsAreCut: what says why is kept, and as much of its text as there is room for.
func TestD15LongTextsAreCut(t *testing.T) {
	text := strings.Repeat("é", 200)
	f := newFront(t, setup{handle: func(q *request) [][]byte {
		m := q.reply(dns.RcodeServerFailure)
		m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_EDE{InfoCode: 6, ExtraText: text}, &dns.EDNS0_EDE{InfoCode: 7, ExtraText: text}}
		return [][]byte{packed(q.r.t, m)}
	}})
	for i := range 2 {
		m := f.ask(withOPT(asking("www.example.", dns.TypeA), 1232, false))
		if ede(m) != 6 {
			t.Fatalf("%d: %s", i, m)
		}
		if got := m.IsEdns0().Option[0].(*dns.EDNS0_EDE).ExtraText; len(got) < 100 || !strings.HasPrefix(text, got) {
			t.Errorf("%d: %q", i, got)
		}
	}
}

func TestA07SelfProbeIsExempt(t *testing.T) {
	key := dnswire.NewProbeKey()
	f := newFront(t, setup{config: func(c *Config) { c.Allow = nil; c.Deny = "drop" }})
	ctx := t.Context()
	if err := f.Close(ctx); err != nil {
		t.Fatal(err)
	}
	f.opts.ProbeKey = &key
	f.start()
	q, _ := key.Question()
	if out := f.send(q, 5*time.Second); out == nil || !key.Verify(q, out) {
		t.Error("the self-probe is not answered over UDP")
	}
	q, _ = key.Question()
	c := f.stream()
	writeFrame(t, c, q)
	if out := readFrame(t, c); !key.Verify(q, out) {
		t.Error("the self-probe is not answered over TCP")
	}
	if s := f.Stats(); s.TotalQueries() != 0 {
		t.Error("the self-probe is counted")
	}
	other := dnswire.NewProbeKey()
	q, _ = other.Question()
	if out := f.send(q, 50*time.Millisecond); out != nil {
		t.Error("a stranger's probe is answered")
	}
}
