package e2e

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sereno/bench/e2e/harness"
	"sereno/bench/stub"
)

// policyNode starts a node with one service that has the keys given, over every transport, and two backends that know
// every name.
func policyNode(t *testing.T, keys string) (lab *harness.Lab, s *harness.Sereno, at func(way) netip.AddrPort) {
	t.Helper()
	lab = harness.New(t)
	_, addrs := resolvers(t, lab, 2)
	c := newCertificate(t, lab, "front", 1)
	at = func(w way) netip.AddrPort { return netip.AddrPortFrom(lab.Addr(53), portOf(w)) }
	return lab, node(t, lab, nodeName, backendsYAML(at(overUDP), keys+c.yaml(at(overTLS), at(overHTTPS)), addrs...)), at
}

// TestE2EDNSAnswersOfItsOwn asks over every transport what no backend is asked: who the node is, what it offers, and
// what it refuses (D04, D11, D16).
func TestE2EDNSAnswersOfItsOwn(t *testing.T) {
	_, s, at := policyNode(t, "")
	const in, chaos, hesiod = 1, 3, 4
	for _, test := range []struct {
		name       string
		class, typ uint16
		rcode      int
		text       string // of the first record, as far as it is told here
		cutOverUDP bool
	}{
		{"id.server.", chaos, 16, 0, nodeName, false}, {"HOSTNAME.bind.", chaos, 16, 0, nodeName, false},
		{"version.bind.", chaos, 16, 5, "", false}, {"version.server.", chaos, 16, 5, "", false}, {"www.load.test.", chaos, 1, 5, "", false},
		{"www.load.test.", hesiod, 1, 5, "", false}, {"www.load.test.", 254, 1, 5, "", false}, {"www.load.test.", 255, 255, 5, "", false},
		{"load.test.", in, 252, 5, "", false}, {"load.test.", in, 251, 5, "", false},
		{"_dns.resolver.arpa.", in, 64, 0, "dns.example.", false}, {"_DNS.resolver.arpa.", in, 1, 0, "", false},
		{"any.load.test.", in, 255, 0, "", true},
	} {
		for w := range everyWay {
			c := newClient(t)
			q := &question{name: wire(test.name), class: test.class, typ: test.typ, flags: flagRD, edns: true, size: 1232}
			a, err := parse(c.ask(w, at(w), q.message(5)))
			c.close()
			if err != nil {
				t.Fatal(err)
			}
			cut := a.flags&flagTC != 0
			if a.rcode != test.rcode || cut != (test.cutOverUDP && w == overUDP) || !bytes.HasPrefix(a.question, []byte(q.name)) {
				t.Errorf("%s over %s: rcode %d, TC %v, question %q", q, w, a.rcode, cut, a.question)
			}
			if has := len(a.sections[0]) > 0; has != (test.text != "") || has && !strings.Contains(a.sections[0][0].text, test.text) {
				t.Errorf("%s over %s: %v", q, w, a.sections[0])
			}
		}
	}
	s.WaitIdle()
	if n := s.Metrics().Sum("sereno_backend_requests_total"); n > 20 { // ANY over three transports; the rest are probes at most
		t.Errorf("the backends were asked %g times", n)
	}
}

// TestE2EDNSCookies has dig judge the server's cookie, and a client with a good one be exempt from the rate limit that
// others over UDP meet (D13, D61).
func TestE2EDNSCookies(t *testing.T) {
	secrets := filepath.Join(t.TempDir(), "cookies")
	if err := os.WriteFile(secrets, []byte("000102030405060708090a0b0c0d0e0f\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	lab, s, at := policyNode(t, fmt.Sprintf("cookie_secret_file: %s, rate_limit: {queries_per_second: 20, burst: 40}, ", secrets))
	dns := at(overUDP)
	out, code := lab.Output("", "dig", "@"+dns.Addr().String(), "-p", strconv.Itoa(int(dns.Port())), "+cookie", "+tries=1", "www.load.test")
	if code != 0 || !strings.Contains(out, "(good)") {
		t.Errorf("dig, of the cookie: %d\n%s", code, out)
	}
	c := newClient(t)
	defer c.close()
	cookieOf := func(m []byte) string {
		a, err := parse(m)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range a.options {
			if o.code == optCookie {
				return o.data
			}
		}
		return ""
	}
	q := &question{name: wire("c.load.test."), class: 1, typ: 1, flags: flagRD, edns: true, size: 1232, options: []option{{optCookie, "client-8"}}}
	full := cookieOf(c.ask(overUDP, dns, q.message(1)))
	if len(full) != 24 || full[:8] != "client-8" {
		t.Fatalf("the server's cookie is %x", full)
	}
	for w := range everyWay {
		q.options = []option{{optCookie, full}}
		if again := cookieOf(c.ask(w, at(w), q.message(2))); len(again) != 24 {
			t.Errorf("over %s the cookie is %x", w, again)
		}
	}

	meetsRateLimit(t, c, dns, s, q)
	bare := []byte("\x00\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x0c\x00\x0a\x00\x08client-8")
	if m := c.ask(overTCP, dns, bare); m == nil || m[3]&15 != 0 || len(cookieOf(m)) != 24 { // RFC 7873 §5.4
		t.Errorf("a cookie without a question gets %x", m)
	}
	s.WaitIdle()
}

// meetsRateLimit has a client meet the rate limit, and not meet it with a good cookie, which proven has, nor over TCP.
func meetsRateLimit(t *testing.T, c *client, dns netip.AddrPort, s *harness.Sereno, proven *question) {
	t.Helper()
	plain := &question{name: proven.name, class: 1, typ: 1, flags: flagRD, edns: true, size: 1232}
	whole, cut, silent := burst(t, dns, plain, 400)
	t.Logf("400 queries at once at 20/s and a burst of 40: %d answered, %d told to come over TCP, %d dropped", whole, cut, silent)
	if whole < 20 || whole > 120 || cut+silent < 280 || cut < silent-40 || silent < cut-40 {
		t.Error("that is not a burst, and then every second one TC")
	}
	if n := s.Metrics().Sum("sereno_dns_drops_total", "reason", "rate-limit"); int(n) != silent {
		t.Errorf("%g drops are counted, %d queries met silence", n, silent)
	}
	if whole, cut, silent := burst(t, dns, proven, 400); whole != 400 {
		t.Errorf("with a good cookie: %d answered, %d cut, %d dropped", whole, cut, silent)
	}
	for i := range 100 {
		if m := c.ask(overTCP, dns, plain.message(uint16(i))); m == nil || m[2]&2 != 0 || m[3]&15 != 0 {
			t.Fatalf("over TCP, query %d gets %x", i, m)
		}
	}
}

// burst sends n queries at once from one socket and counts the answers: whole, with TC, and none.
func burst(t *testing.T, to netip.AddrPort, q *question, n int) (whole, cut, silent int) {
	t.Helper()
	c := newClient(t)
	defer c.close()
	conn, err := c.conn(overUDP, to)
	if err != nil {
		t.Fatal(err)
	}
	go func() { // what it cannot send is counted as silent
		for i := range n {
			_, _ = conn.Write(q.message(uint16(i)))
			if i%50 == 49 {
				time.Sleep(time.Millisecond) // the sockets' buffers are not what is tested
			}
		}
	}()
	for {
		if err := conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(c.buf); err != nil {
			return whole, cut, n - whole - cut
		}
		if c.buf[2]&2 != 0 {
			cut++
		} else {
			whole++
		}
	}
}

// TestE2EDNSPolicies has other choices than the defaults: ANY is passed on, strangers meet silence, client subnets are
// forwarded and not cached, and TTLs are raised and lowered (D11, D12, D32, D60, D62).
func TestE2EDNSPolicies(t *testing.T) {
	lab := harness.New(t)
	backend, addrs := resolvers(t, lab, 2)
	dns := netip.AddrPortFrom(lab.Addr(53), harness.DNSPort)
	yaml := fmt.Sprintf(`pools:
  - {name: one, protocol: dns, backends: [{name: one, address: %q}]}
  - {name: two, protocol: dns, backends: [{name: two, address: %q}]}
dns:
  - name: resolver
    listen: [%q]
    pool: one
    routes: [{zones: [inside.load.test, x.outside.inside.load.test], pool: two}, {zones: [outside.inside.load.test], pool: one}]
    any: pass
    ecs: pass
    deny: drop
    allow: [127.0.0.1/32]
    cache: {min_ttl: 100s, max_ttl: 200s}
`, addrs[0], addrs[1], dns)
	s := node(t, lab, "lab", yaml)
	c := newClient(t)
	defer c.close()
	ask := func(name string, typ uint16, options ...option) *answer {
		t.Helper()
		q := &question{name: wire(name), class: 1, typ: typ, flags: flagRD, edns: true, size: 1232, options: options}
		a, err := parse(c.ask(overUDP, dns, q.message(3)))
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	asked := func(r *stub.Resolver) uint64 { return r.Stats().UDP - r.Stats().Probes }
	if a := ask("any.load.test.", 255); a.flags&flagTC != 0 {
		t.Error("ANY is cut though it is to be passed on")
	}
	for name, want := range map[string]uint32{"ttl-5.load.test.": 100, "ttl-150.load.test.": 150, "ttl-5000.load.test.": 200} {
		for range 2 {
			if a := ask(name, 1); len(a.sections[0]) != 1 || a.sections[0][0].ttl != want {
				t.Errorf("%s: %v", name, a.sections[0])
			}
		}
	}
	subnet := option{optSubnet, "\x00\x01\x18\x00\xc0\x00\x02"}
	before := asked(backend[0])
	for range 3 {
		ask("subnet.load.test.", 1, subnet)
	}
	if n := asked(backend[0]) - before; n != 3 {
		t.Errorf("three questions with a client subnet asked the backend %d times", n)
	}
	for name, pool := range map[string]int{
		"a.inside.load.test.": 1, "inside.load.test.": 1, "InSide.Load.Test.": 1, "notinside.load.test.": 0, "a.outside.inside.load.test.": 0,
		"y.x.outside.inside.load.test.": 1, "load.test.": 0,
	} {
		before := [2]uint64{asked(backend[0]), asked(backend[1])}
		ask(name, 28)
		after := [2]uint64{asked(backend[0]), asked(backend[1])}
		if after[pool] == before[pool] && name != "InSide.Load.Test." && name != "inside.load.test." || after[1-pool] != before[1-pool] {
			t.Errorf("%s: the backends had %v questions, then %v", name, before, after)
		}
	}
	stranger := dialUDPFrom(t, lab.Addr(99), dns)
	if _, err := stranger.Write((&question{name: wire("www.load.test."), class: 1, typ: 1, flags: flagRD}).message(4)); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(5*time.Second, "the stranger's query is dropped", func() bool {
		return s.Metrics().Sum("sereno_dns_drops_total", "reason", "not-allowed") == 1
	})
	s.WaitIdle()
}

// TestE2EDNSBlocksAndDNS64 blocks names by lists of each format, takes a changed list up on a reload, and makes AAAA
// from A before an Unbound (D63, D64).
func TestE2EDNSBlocksAndDNS64(t *testing.T) {
	lab := harness.New(t)
	unbound := lab.Unbound(1)
	dns := netip.AddrPortFrom(lab.Addr(53), harness.DNSPort)
	list := func(name, text string) string {
		file := filepath.Join(lab.Dir(), name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	keys := fmt.Sprintf(`dns64: {prefix: "64:ff9b::/96"}, block: [{file: %s, format: names, action: nxdomain, reason: censored},
    {file: %s, format: hosts, action: 192.0.2.254, reason: blocked}, {file: %s, format: rpz, reason: filtered}]`,
		list("orders", "blocked.example.test\n"), list("hosts", "127.0.0.1 localhost\n0.0.0.0 host.example.test\n"),
		list("policy", "$TTL 60\n@ SOA a. b. 1 1 1 1 1\n@ NS a.\ntxt.example.test CNAME *.\n*.wild.example.test CNAME .\nlocal.example.test A 192.0.2.77\n"+
			"pass.wild.example.test CNAME rpz-passthru.\ncut.example.test CNAME rpz-tcp-only.\ndrop.example.test CNAME rpz-drop.\n"))
	s := node(t, lab, "lab", backendsYAML(dns, keys, unbound.Addr))
	c := newClient(t)
	defer c.close()
	for _, test := range []struct {
		name  string
		typ   uint16
		flags uint16
		rcode int
		text  string // of the last record of the answer section
		ede   string
	}{
		{"blocked.example.test.", 1, 0, 3, "", "16"}, {"Deep.Blocked.example.test.", 28, 0, 3, "", "16"}, {"notblocked.example.test.", 1, 0, 3, "", ""},
		{"host.example.test.", 1, 0, 0, "192.0.2.254", "15"}, {"below.host.example.test.", 1, 0, 3, "", ""}, {"www.example.test.", 1, 0, 0, "192.0.2.80", ""},
		{"txt.example.test.", 16, 0, 0, "", "17"}, {"x.wild.example.test.", 1, 0, 3, "", "17"}, {"pass.wild.example.test.", 1, 0, 3, "", ""},
		{"local.example.test.", 1, 0, 0, "192.0.2.77", "17"}, {"mail.example.test.", 28, 0, 0, "64:ff9b::c000:219", ""}, {"mail.example.test.", 1, 0, 0, "192.0.2.25", ""},
		{"www.example.test.", 28, 0, 0, "2001:db8::80", ""}, {"nothing.example.test.", 28, 0, 3, "", ""}, {"mail.example.test.", 28, flagCD, 0, "", ""},
	} {
		q := &question{name: wire(test.name), class: 1, typ: test.typ, flags: flagRD | test.flags, edns: true, size: 1232, do: test.flags != 0}
		a, err := parse(c.ask(overUDP, dns, q.message(6)))
		if err != nil {
			t.Fatal(err)
		}
		text, ede := "", ""
		if n := len(a.sections[0]); n > 0 {
			text = a.sections[0][n-1].text
		}
		if e := a.errorsOf(); len(e) > 0 {
			ede, _, _ = strings.Cut(e[0], " ")
		}
		if a.rcode != test.rcode || (text == "") != (test.text == "") || !strings.HasSuffix(text, test.text) || ede != test.ede {
			t.Errorf("%s: rcode %d, answer %q, extended errors %q; not rcode %d, %q, %q", q, a.rcode, text, a.errorsOf(), test.rcode, test.text, test.ede)
		}
	}
	tcpOnly := (&question{name: wire("cut.example.test."), class: 1, typ: 1, flags: flagRD}).message(7)
	if m := c.ask(overUDP, dns, tcpOnly); m == nil || m[2]&2 == 0 {
		t.Errorf("rpz-tcp-only over UDP: %x", m)
	}
	if m := c.ask(overTCP, dns, tcpOnly); m == nil || m[2]&2 != 0 || m[3]&15 != 3 {
		t.Errorf("rpz-tcp-only over TCP: %x", m)
	}
	reverse := "9.1.2.0.0.0.0.c." + strings.Repeat("0.", 16) + "b.9.f.f.4.6.0.0.ip6.arpa."
	mapped, err := parse(c.ask(overUDP, dns, (&question{name: wire(reverse), class: 1, typ: 12, flags: flagRD}).message(7)))
	if err != nil || len(mapped.sections[0]) == 0 || !strings.HasSuffix(mapped.sections[0][0].text, "CNAME\t25.2.0.192.in-addr.arpa.") {
		t.Errorf("PTR inside of the prefix: %v, %v", mapped, err)
	}
	if _, err := c.try(overUDP, dns, (&question{name: wire("drop.example.test."), class: 1, typ: 1, flags: flagRD}).message(7), 100*time.Millisecond); err == nil {
		t.Error("rpz-drop is answered")
	}
	list("orders", "www.example.test\n")
	s.Signal(syscall.SIGHUP)
	www := &question{name: wire("www.example.test."), class: 1, typ: 1, flags: flagRD}
	lab.Eventually(10*time.Second, "the changed list counts", func() bool {
		m := c.ask(overUDP, dns, www.message(8))
		return m != nil && m[3]&15 == 3
	})
	s.WaitIdle()
}

// dialUDPFrom opens a socket that sends from an address; it is closed at the end.
func dialUDPFrom(t *testing.T, from netip.Addr, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestE2EDNSFlush forgets a name, a subtree and everything by the command, and counts what is asked for again (D38).
func TestE2EDNSFlush(t *testing.T) {
	lab := harness.New(t)
	backend, addrs := resolvers(t, lab, 1)
	dns := netip.AddrPortFrom(lab.Addr(53), harness.DNSPort)
	node(t, lab, "lab", backendsYAML(dns, "cache: {enabled: true}", addrs...))
	names := []string{"a.zone.load.test.", "A.b.zone.load.test.", "zone.load.test.", "xzone.load.test.", "other.load.test."}
	again := func() uint64 {
		before := backend[0].Stats()
		_, _ = askMany(t, dns, names)
		after := backend[0].Stats()
		return after.UDP - after.Probes - before.UDP + before.Probes
	}
	if first, second := again(), again(); first != 5 || second != 0 {
		t.Fatalf("the backend was asked %d times, then %d times", first, second)
	}
	binary, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	for _, flush := range []struct {
		args []string
		want uint64
	}{
		{[]string{"ZONE.load.test"}, 1}, {[]string{"zone.load.test", "--subtree"}, 3}, {nil, 5}, {[]string{"nothing.load.test"}, 0},
	} {
		out, code := lab.Output("", binary, append([]string{"flush", "--socket", filepath.Join(lab.Dir(), "admin.sock"), "resolver"}, flush.args...)...)
		if n := again(); code != 0 || n != flush.want || !strings.Contains(out, fmt.Sprintf("resolver: %d ", flush.want)) {
			t.Errorf("flush %v ended with %d, said %q, and %d questions were asked again, not %d", flush.args, code, out, n, flush.want)
		}
	}
}
