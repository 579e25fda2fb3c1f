package dnsfront

import (
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"sereno/proxy/dnswire"
	"sereno/proxy/pool"
)

func TestD04ChaosAndOtherClasses(t *testing.T) {
	f := newFront(t, setup{})
	ch := func(name string, class uint16) *dns.Msg {
		q := asking(name, dns.TypeTXT)
		q.Question[0].Qclass = class
		return f.ask(q)
	}
	for _, name := range []string{"id.server.", "HOSTNAME.bind."} {
		m := ch(name, dns.ClassCHAOS)
		if len(m.Answer) != 1 || m.Answer[0].(*dns.TXT).Txt[0] != "test-node" || m.Answer[0].Header().Class != dns.ClassCHAOS {
			t.Errorf("%s: %s", name, m)
		}
	}
	for _, name := range []string{"version.bind.", "version.server.", "other.", "probe.sereno."} {
		if m := ch(name, dns.ClassCHAOS); m.Rcode != dns.RcodeRefused {
			t.Errorf("%s: %s", name, m)
		}
	}
	for _, class := range []uint16{dns.ClassHESIOD, dns.ClassNONE, dns.ClassANY, 4711} {
		if m := ch("www.example.", class); m.Rcode != dns.RcodeRefused {
			t.Errorf("class %d: %s", class, m)
		}
	}
	q := withOPT(asking("www.example.", dns.TypeA), 1232, false)
	q.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_NSID{Code: dns.EDNS0NSID}}
	for range 2 {
		m := f.ask(q)
		if o := m.IsEdns0(); len(o.Option) != 1 || o.Option[0].(*dns.EDNS0_NSID).Nsid != hex.EncodeToString([]byte("test-node")) {
			t.Error(m)
		}
	}
	if n := f.asked(); n != 1 {
		t.Error("asked", n)
	}
}

func TestD11TransfersAndAny(t *testing.T) {
	f := newFront(t, setup{})
	for _, typ := range []uint16{dns.TypeAXFR, dns.TypeIXFR} {
		if m := f.ask(asking("example.", typ)); m.Rcode != dns.RcodeRefused {
			t.Error(m)
		}
		if m := f.askTCP(asking("example.", typ)); m.Rcode != dns.RcodeRefused {
			t.Error(m)
		}
	}
	if m := f.ask(asking("www.example.", dns.TypeANY)); !m.Truncated || m.Rcode != 0 || f.asked() != 0 {
		t.Error("tcp: ", m)
	}
	if m := f.askTCP(asking("www.example.", dns.TypeANY)); len(m.Answer) != 1 || f.asked() != 1 {
		t.Error("over TCP: ", m)
	}
	o := f.opts
	o.Config.Any = "refuse"
	if err := f.Update(o); err != nil {
		t.Fatal(err)
	}
	if m := f.ask(asking("www.example.", dns.TypeANY)); m.Rcode != dns.RcodeRefused {
		t.Error("refuse: ", m)
	}
	o.Config.Any = "pass"
	if err := f.Update(o); err != nil {
		t.Fatal(err)
	}
	if m := f.ask(asking("www.example.", dns.TypeANY)); m.Truncated || len(m.Answer) != 1 {
		t.Error("pass: ", m)
	}
}

func TestD12ClientSubnet(t *testing.T) {
	var seen atomic.Pointer[dns.EDNS0_SUBNET]
	f := newFront(t, setup{handle: func(q *request) [][]byte {
		m := q.reply(dns.RcodeSuccess)
		m.Answer = []dns.RR{mustRR(q.r.t, q.msg.Question[0].Name+" 60 IN A 192.0.2.1")}
		seen.Store(nil)
		for _, o := range q.msg.IsEdns0().Option {
			if e, ok := o.(*dns.EDNS0_SUBNET); ok {
				seen.Store(e)
				m.Answer[0].(*dns.A).A = e.Address
				m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: e.Family, SourceNetmask: e.SourceNetmask, SourceScope: 20, Address: e.Address}}
			}
		}
		return [][]byte{packed(q.r.t, m)}
	}})
	q := func(a string) *dns.Msg {
		m := withOPT(asking("www.example.", dns.TypeA), 1232, false)
		m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: net.ParseIP(a)}}
		return m
	}
	if m := f.ask(q("198.51.100.0")); seen.Load() != nil || m.Answer[0].(*dns.A).A.String() != "192.0.2.1" {
		t.Error("not stripped: ", m)
	}
	o := f.opts
	o.Config.ECS = "pass"
	if err := f.Update(o); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, a := range []string{"198.51.100.0", "203.0.113.0"} {
			m := f.ask(q(a))
			if m.Answer[0].(*dns.A).A.String() != a || seen.Load() == nil {
				t.Errorf("%s: another client's answer: %s", a, m)
			}
			if e, ok := m.IsEdns0().Option[0].(*dns.EDNS0_SUBNET); !ok || e.SourceScope != 20 {
				t.Error("the scope did not come back: ", m)
			}
		}
	}
	if m := f.ask(asking("www.example.", dns.TypeA)); m.Answer[0].(*dns.A).A.String() != "192.0.2.1" || f.asked() != 5 {
		t.Error("an answer to a subnet is in the shared cache: ", m, f.asked())
	}
	raw := packed(t, q("198.51.100.0"))
	raw[len(raw)-5] = 33 // prefix length
	if out := f.send(raw, 5*time.Second); out[3]&0xf != dns.RcodeFormatError {
		t.Error("a malformed subnet was accepted")
	}
}

func TestD13CookiesAreThoseOfRFC9018(t *testing.T) {
	// RFC 9018, Appendix A.1 and A.4.
	for _, v := range []struct{ secret, client, cookie string }{
		{"e5e973e5a6b2a43f48e7dc849e37bfcf", "198.51.100.100", "2464c4abcf10c957010000005cf79f111f8130c3eee29480"},
		{"445536bcd2513298075a5d379663c962", "2001:db8:220:1:59de:d0f4:8769:82b8", "22681ab97d52c298010000005cf7c609a6bb79d16625507a"},
	} {
		var k [16]byte
		if _, err := hex.Decode(k[:], []byte(v.secret)); err != nil {
			t.Fatal(err)
		}
		want, err := hex.DecodeString(v.cookie)
		if err != nil {
			t.Fatal(err)
		}
		client := netip.MustParseAddr(v.client)
		unix := uint32(want[12])<<24 | uint32(want[13])<<16 | uint32(want[14])<<8 | uint32(want[15])
		var got [fullCookie]byte
		copy(got[:], want[:8])
		secrets := cookieSecrets{k}
		secrets.sign(&got, client, unix)
		if hex.EncodeToString(got[:]) != v.cookie {
			t.Errorf("got %x, want %s", got, v.cookie)
		}
		rotated := cookieSecrets{{1, 2, 3}, k}
		for name, ok := range map[string]bool{
			"now": secrets.valid(want, client, unix), "rotated": rotated.valid(want, client, unix+3600), "ahead": secrets.valid(want, client, unix-300),
			"not old":        !secrets.valid(want, client, unix+3601),
			"not far ahead":  !secrets.valid(want, client, unix-301),
			"not another's":  !secrets.valid(want, netip.MustParseAddr("198.51.100.101"), unix),
			"not unknown":    !cookieSecrets{{9}}.valid(want, client, unix),
			"not half of it": !secrets.valid(want[:16], client, unix),
		} {
			if !ok {
				t.Error(name)
			}
		}
	}
}

// cookieOf returns the cookie of an answer in hexadecimal.
func cookieOf(m *dns.Msg) string {
	for _, o := range m.IsEdns0().Option {
		if c, ok := o.(*dns.EDNS0_COOKIE); ok {
			return c.Cookie
		}
	}
	return ""
}

func withCookie(name, cookie string) *dns.Msg {
	m := withOPT(asking(name, dns.TypeA), 1232, false)
	m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: cookie}}
	return m
}

func TestD13CookiesEndHere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cookies")
	if err := os.WriteFile(file, []byte("# first signs\n000102030405060708090a0b0c0d0e0f\nfffefdfcfbfaf9f8f7f6f5f4f3f2f1f0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := newFront(t, setup{config: func(c *Config) { c.CookieSecretFile = file }})
	const client = "0123456789abcdef"
	for range 2 {
		if c := cookieOf(f.ask(withCookie("www.example.", client))); len(c) != 2*fullCookie || c[:16] != client {
			t.Errorf("cookie %q", c)
		}
	}
	got, err := hex.DecodeString(cookieOf(f.ask(withCookie("www.example.", client))))
	first := cookieSecrets{{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}}
	if err != nil || !first.valid(got, netip.MustParseAddr("127.0.0.1"), binary.BigEndian.Uint32(got[12:])) {
		t.Errorf("%x is not signed with the first secret, %v", got, err)
	}
	if c := cookieOf(f.ask(withCookie("www.example.", "fedcba9876543210"))); c[:16] != "fedcba9876543210" {
		t.Error("one client's cookie was given to another: ", c)
	}
	for _, bad := range []string{"01", client + "00", client + "0102030405", client + hex.EncodeToString(make([]byte, 33))} {
		if m := f.ask(withCookie("www.example.", bad)); m.Rcode != dns.RcodeFormatError {
			t.Errorf("malformed cookie %s: %s", bad, m)
		}
	}
	// Only for a cookie (RFC 7873 §5.4).
	raw := packed(t, withCookie(".", client))
	none := append(append([]byte{}, raw[:12]...), raw[17:]...)
	none[5] = 0
	var m dns.Msg
	if err := m.Unpack(f.send(none, 5*time.Second)); err != nil || m.Rcode != 0 || len(cookieOf(&m)) != 2*fullCookie {
		t.Error(err, &m)
	}
	if _, err := readCookieSecrets(file + "x"); err == nil {
		t.Error("a missing file was accepted")
	}
}

// TestD13AnAnswerIsTruncatedRatherThanWithoutItsCookie: who has had a cookie may take an answer without one for a forged
// one (RFC 7873 §5.3).
func TestD13AnAnswerIsTruncatedRatherThanWithoutItsCookie(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cookies")
	if err := os.WriteFile(file, []byte("000102030405060708090a0b0c0d0e0f\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := newFront(t, setup{config: func(c *Config) { c.CookieSecretFile = file }, handle: func(q *request) [][]byte {
		m := q.reply(dns.RcodeSuccess)
		for i := range 40 {
			m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: q.msg.Question[0].Name, Rrtype: 1, Class: 1, Ttl: 60}, A: net.IPv4(192, 0, 2, byte(i))})
		}
		return [][]byte{packed(q.r.t, m)}
	}})
	const whole = 12 + 17 + 40*16 + 11 + 28 // with OPT and cookie
	for range 2 {                           // a miss and a hit
		for size, records := range map[uint16]int{whole - 28: 0, whole - 1: 0, whole: 40} {
			q := withCookie("www.example.", "0123456789abcdef")
			q.IsEdns0().SetUDPSize(size)
			if m := f.ask(q); len(m.Answer) != records || m.Truncated != (records == 0) || len(cookieOf(m)) != 2*fullCookie {
				t.Errorf("with a size of %d: %d records, TC %v, cookie %q", size, len(m.Answer), m.Truncated, cookieOf(m))
			}
		}
	}
}

func TestD14KeepaliveOnTCPOnly(t *testing.T) {
	f := newFront(t, setup{})
	q := withOPT(asking("www.example.", dns.TypeA), 1232, false)
	q.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_TCP_KEEPALIVE{Code: dns.EDNS0TCPKEEPALIVE}, &dns.EDNS0_PADDING{Padding: make([]byte, 3)}}
	if m := f.ask(q); len(m.IsEdns0().Option) != 0 {
		t.Error("over UDP: ", m)
	}
	m := f.askTCP(q)
	if o := m.IsEdns0().Option; len(o) != 1 || o[0].(*dns.EDNS0_TCP_KEEPALIVE).Timeout != 100 {
		t.Error("over TCP: ", m)
	}
}

func TestD14EachOptionOnItsTransports(t *testing.T) {
	var q dnswire.Query
	q.OPT.Present, q.OPT.HasKeepalive, q.OPT.HasPadding = true, true, true
	for transport, want := range map[Transport]struct{ keepalive, padding bool }{
		UDP: {false, false}, TCP: {true, false}, TLS: {true, true}, HTTPS: {false, true},
	} {
		var a ask
		a.take(&q, transport, 1232)
		if a.keepalive != want.keepalive || a.padding != want.padding {
			t.Errorf("%s: keepalive %v, padding %v", transport, a.keepalive, a.padding)
		}
	}
}

func TestD16DiscoveryIsAnsweredHere(t *testing.T) {
	f := newFront(t, setup{})
	for _, typ := range []uint16{dns.TypeSVCB, dns.TypeA} {
		m := f.ask(asking("_dns.Resolver.ARPA.", typ))
		if m.Rcode != 0 || len(m.Answer) != 0 || len(m.Ns) != 1 || m.Ns[0].Header().Rrtype != dns.TypeSOA {
			t.Error(m)
		}
	}
	if f.asked() != 0 {
		t.Error("it was forwarded")
	}
}

func TestD61RateLimit(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		file := filepath.Join(t.TempDir(), "cookies")
		if err := os.WriteFile(file, []byte("000102030405060708090a0b0c0d0e0f\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		f := newFront(t, setup{plain: plain, config: func(c *Config) {
			c.RateLimit.QueriesPerSecond, c.RateLimit.Burst, c.CookieSecretFile = 1, 10, file
		}})
		cookie := cookieOf(f.ask(withCookie("www.example.", "0123456789abcdef")))
		for range 9 {
			if m := f.ask(asking("www.example.", dns.TypeA)); m.Truncated {
				t.Error("limited within the burst")
			}
		}
		answers, truncated := 0, 0
		for range 10 {
			out := f.send(packed(t, asking("www.example.", dns.TypeA)), 20*time.Millisecond)
			if out == nil {
				continue
			}
			answers++
			if out[2]&2 != 0 {
				truncated++
			}
		}
		if answers < 4 || answers > 6 || truncated < 4 {
			t.Errorf("over the limit: %d answers, %d truncated, want every second", answers, truncated)
		}
		for range 20 {
			f.askTCP(asking("www.example.", dns.TypeA))
			if m := f.ask(withCookie("www.example.", cookie)); m.Truncated {
				t.Error("a client with a valid cookie is limited")
			}
		}
		if s := f.Stats(); s.Drops[UDP][DropRateLimit] < 4 {
			t.Error(s.Drops)
		}
		f.later(5 * time.Second)
		if m := f.ask(asking("www.example.", dns.TypeA)); m.Truncated {
			t.Error("tokens do not come back")
		}
	})
}

func TestD61PrefixesShareABucket(t *testing.T) {
	c := RateLimitConfig{QueriesPerSecond: 5, IPv4Prefix: 24, IPv6Prefix: 56, Exempt: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}
	f := newFront(t, setup{})
	l := newLimiter(&c, f.seed, nil)
	take := func(a string) limited { return l.take(netip.MustParseAddr(a), 0) }
	for i := range 5 {
		if take("192.0.2.1") != within || take("2001:db8::1") != within {
			t.Error(i)
		}
	}
	for a, want := range map[string]bool{"192.0.2.99": false, "192.0.3.1": true, "2001:db8:0:ff::1": false, "2001:db8:0:100::1": true, "198.51.100.7": true} {
		if got := take(a) == within; got != want {
			t.Errorf("%s: %v", a, got)
		}
	}
	if newLimiter(&c, f.seed, l).take(netip.MustParseAddr("192.0.2.1"), 0) == within {
		t.Error("a reload forgives everybody")
	}
	for i := range 8 { // an hour saves up no more than the burst
		if got := l.take(netip.MustParseAddr("192.0.2.1"), int64(time.Hour)); (got == within) != (i < 5) {
			t.Errorf("query %d after an hour: %v", i, got)
		}
	}
	for i := range 1 << 20 { // a flood of prefixes needs no memory
		l.take(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), int64(i))
	}
}

// TestD61StrangersMeetSilenceHoweverOftenTheyAsk: with `deny: drop` nothing goes to an address outside `allow`, which may
// be a victim's.
func TestD61StrangersMeetSilenceHoweverOftenTheyAsk(t *testing.T) {
	f := newFront(t, setup{config: func(c *Config) {
		c.Allow, c.Deny, c.RateLimit.QueriesPerSecond = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, "drop", 1
	}})
	c, err := net.Dial("udp", f.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 10 {
		if _, err := c.Write(packed(t, asking("www.example.", dns.TypeA))); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the queries", func() bool { return f.Stats().Queries[UDP] == 10 })
	if s := f.Stats(); s.TotalAnswers() != 0 || s.Drops[UDP][DropNotAllowed] != 10 {
		t.Errorf("%d answers, drops %v", s.TotalAnswers(), s.Drops[UDP])
	}
}

// secondPool is a resolver in a pool of its own, and the service's options with that pool beside the first.
func (f *front) secondPool(name string) (*resolver, Options) {
	f.t.Helper()
	r := newResolver(f.t, nil)
	var m pool.Member
	m.Config.SetDefaults()
	m.Config.Name, m.Config.Address, m.Addr = "x", r.addr.String(), r.addr
	c := f.pool.Config()
	c.Name = name
	p, err := pool.New(c, "dns", []pool.Member{m})
	if err != nil {
		f.t.Fatal(err)
	}
	o := f.opts
	o.Pools = map[string]*pool.Pool{f.pool.Config().Name: f.pool, name: p}
	return r, o
}

// TestD62AZoneThatMovesIsAskedAnew: what the cache has of it is another pool's answer.
func TestD62AZoneThatMovesIsAskedAnew(t *testing.T) {
	f := newFront(t, setup{})
	inside, o := f.secondPool("inside")
	asked := func() (insides, others int64) {
		before, beside := inside.asked.Load(), f.asked()
		for _, name := range []string{"www.corp.example.", "corp.example.", "xcorp.example.", "www.example."} {
			f.ask(asking(name, dns.TypeA))
		}
		return inside.asked.Load() - before, f.asked() - beside
	}
	if in, out := asked(); in != 0 || out != 4 {
		t.Fatal(in, out)
	}
	for i, step := range []struct {
		routes  []Route
		in, out int64
	}{
		{[]Route{{Zones: []string{"Corp.example"}, Pool: "inside"}}, 2, 0},
		{[]Route{{Zones: []string{"other.example.", "corp.example."}, Pool: "inside"}}, 0, 0},
		{nil, 0, 2},
	} {
		o.Config.Routes = step.routes
		if err := f.Update(o); err != nil {
			t.Fatal(err)
		}
		if in, out := asked(); in != step.in || out != step.out {
			t.Errorf("step %d: %d times inside, %d times the others", i, in, out)
		}
	}
	// An answer that was on its way does not stay.
	release := make(chan struct{})
	for _, r := range f.resolvers {
		r.set(func(q *request) [][]byte { <-release; return normal(q) })
	}
	conn, before := f.stream(), inside.asked.Load()
	writeFrame(t, conn, packed(t, asking("late.corp.example.", dns.TypeA)))
	until(t, "the question", func() bool { s := f.Stats(); return s.TotalInFlight() == 1 })
	o.Config.Routes = []Route{{Zones: []string{"corp.example."}, Pool: "inside"}}
	if err := f.Update(o); err != nil {
		t.Fatal(err)
	}
	close(release)
	readFrame(t, conn)
	f.ask(asking("late.corp.example.", dns.TypeA))
	if n := inside.asked.Load() - before; n != 1 {
		t.Errorf("the pool that it moved to was asked %d times", n)
	}
}

func TestD62LongestZonePicksThePool(t *testing.T) {
	f := newFront(t, setup{})
	other, o := f.secondPool("inside")
	o.Config.Routes = []Route{{Zones: []string{"corp.example.", "10.in-addr.arpa"}, Pool: "inside"}, {Zones: []string{"public.corp.example."}, Pool: "resolvers"}}
	if err := f.Update(o); err != nil {
		t.Fatal(err)
	}
	for name, inside := range map[string]bool{
		"corp.example.": true, "WWW.Corp.Example.": true, "public.corp.example.": false, "a.public.corp.example.": false, "xcorp.example.": false,
		"1.0.0.10.in-addr.arpa.": true, "example.": false, ".": false,
	} {
		before := other.asked.Load()
		f.ask(asking(name, dns.TypeA))
		if got := other.asked.Load() != before; got != inside {
			t.Errorf("%s: inside %v", name, got)
		}
	}
}
