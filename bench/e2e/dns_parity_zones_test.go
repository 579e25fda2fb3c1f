package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sereno/bench/e2e/harness"
)

// Zones of the parity test. The same records stand in three of them, once unsigned, once signed with NSEC, once with
// NSEC3; two are children, and one is signed and then changed.
const (
	zoneSigned   = "signed.example."
	zoneNSEC3    = "nsec3.example."
	zonePlain    = "plain.example."
	zoneBogus    = "bogus.example."
	zoneChild    = "child.signed.example."
	zoneInsecure = "insecure.signed.example."
)

// common are the records of the three large zones. %[1]s is the zone, %[2]s an address where nobody listens.
const common = `$ORIGIN %[1]s
$TTL 3600
@      SOA ns hostmaster 7 3600 600 86400 120
@      NS ns
@      NS ns2
@      MX 10 mail
@      MX 20 mail2
@      TXT "v=spf1 -all"
@      CAA 0 issue "ca.example.net"
@      A 192.0.2.1
ns     A 192.0.2.2
ns2    A 192.0.2.3
ns2    AAAA 2001:db8::3
www    300 A 192.0.2.80
www    300 A 192.0.2.7
www    300 A 192.0.2.200
www    300 AAAA 2001:db8::80
www    300 AAAA 2001:db8::7
mail   A 192.0.2.25
mail   AAAA 2001:db8::25
mail2  A 192.0.2.26
alias  60 CNAME www
chain1 CNAME chain2
chain2 CNAME chain3
chain3 CNAME chain4
chain4 CNAME chain5
chain5 CNAME www
loop1  CNAME loop2
loop2  CNAME loop1
dangling CNAME nothing
nodata CNAME txtonly
away   CNAME www.plain.example.
txtonly TXT "only text"
*.wild A 192.0.2.99
*.wild TXT "wild"
*.wild MX 5 mail
exact.wild A 192.0.2.98
sub.*.wild A 192.0.2.97
a.b.c.ent A 192.0.2.90
_sip._tcp SRV 0 5 5060 www
_sip._tcp SRV 0 10 5060 mail
_sip._tcp SRV 1 0 5061 www.plain.example.
_443._tcp.www TLSA 3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
svc    HTTPS 1 . alpn="h2,h3" port=8443 ipv4hint=192.0.2.80 ipv6hint=2001:db8::80
svc    HTTPS 2 www mandatory=alpn alpn=h2
svc    SVCB 1 www alpn=dot port=853 key65333="opaque"
svc0   HTTPS 0 svc
naptr  NAPTR 100 10 "u" "E2U+sip" "!^.*$!sip:info@example.net!" .
loc    LOC 45 30 0.000 N 9 10 0.000 E 120m 10m 100m 10m
sshfp  SSHFP 4 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
rp     RP admin.example. txtonly
hinfo  HINFO "a machine" "a system"
uri    URI 10 1 "https://www.example.net/"
odd    TYPE65280 \# 4 0a000001
odd    TYPE65281 \# 0
odd    TYPE1234 \# 3 c00cff
ttl0   0 A 192.0.2.50
ttl1   1 A 192.0.2.51
week   604800 A 192.0.2.52
forever 2147483647 A 192.0.2.53
twottl 100 A 192.0.2.54
twottl 200 TXT "longer"
dname  DNAME target
leaf.target A 192.0.2.60
leaf.target TXT "below a dname"
lame   NS ns.lame
ns.lame A %[2]s
MiXeD  A 192.0.2.70
we\.ird A 192.0.2.71
sp\032ace A 192.0.2.72
nul\000 A 192.0.2.73
\255\254 TXT "\255\000\127"
`

const smallZone = `$ORIGIN %[1]s
$TTL 600
@   SOA ns hostmaster 3 3600 600 86400 60
@   NS ns
ns  A 192.0.2.4
www A 192.0.2.81
www AAAA 2001:db8::81
*.wild A 192.0.2.82
alias CNAME www
out CNAME www.plain.example.
`

// zoneText is a large zone as a file.
func zoneText(zone string, nobody netip.Addr) string {
	var b strings.Builder
	fmt.Fprintf(&b, common, zone, nobody)
	for _, n := range sizes {
		fmt.Fprintf(&b, "size%d TXT", n)
		for left := n; left > 0; left -= 250 {
			fmt.Fprintf(&b, " %q", strings.Repeat("t", min(left, 250)))
		}
		b.WriteString("\n")
	}
	for i := range 100 {
		fmt.Fprintf(&b, "many A 198.51.100.%d\n", (i*37)%256)
	}
	for i := range 24 {
		fmt.Fprintf(&b, "glue MX %d m%d.glue\nm%d.glue A 203.0.113.%d\nm%d.glue AAAA 2001:db8:1::%x\n", i, i, i, i, i, i+1)
	}
	if zone != zoneNSEC3 { // whose hashes need a wildcard below each name
		fmt.Fprintf(&b, "%s A 192.0.2.91\n", longest(zone))
	}
	if zone == zoneSigned {
		b.WriteString("child NS ns.child\nns.child A 192.0.2.4\ninsecure NS ns.insecure\nns.insecure A 192.0.2.4\n")
	}
	return b.String()
}

// sizes are the octets of the TXT records size400, size410 and so on: around what 512 and 1232 octets hold, and far
// above.
var sizes = []int{400, 430, 440, 450, 455, 460, 470, 480, 600, 1000, 1120, 1130, 1140, 1150, 1160, 1170, 1180, 1200, 3600, 15000, 40000}

// longest makes a relative name that is 255 octets with the zone.
func longest(zone string) string {
	left := 255 - len(zone) - 1 // each label's length octet stands where a dot stands in zone; the root's is one more
	var labels []string
	for left > 0 {
		n := min(left-1, 63)
		if left-1-n == 1 {
			n--
		}
		labels = append(labels, strings.Repeat("l", n))
		left -= n + 1
	}
	return strings.Join(labels, ".")
}

// zones writes the zones into the lab, signs them, and gives the trust anchors as DNSKEY records.
func zones(t *testing.T, lab *harness.Lab) (anchors map[string]string) {
	t.Helper()
	dir := lab.Dir()
	write := func(zone, text string) {
		if err := os.WriteFile(filepath.Join(dir, zone+"zone"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	nobody := lab.Addr(77)
	write(".", "@ 86400 SOA a.root. hostmaster.root. 1 3600 600 86400 300\n@ 86400 NS a.root.\na.root. 86400 A 192.0.2.9\n")
	for _, zone := range []string{zoneSigned, zoneNSEC3, zonePlain} {
		write(zone, zoneText(zone, nobody))
	}
	for _, zone := range []string{zoneChild, zoneInsecure, zoneBogus} {
		write(zone, fmt.Sprintf(smallZone, zone))
	}
	anchors = map[string]string{}
	for _, zone := range []string{zoneChild, zoneSigned, zoneNSEC3, zoneBogus} { // the child first: its DS goes into the parent
		run := func(program string, args ...string) string {
			out, code := lab.Output("", program, append([]string{"-K", dir}, args...)...)
			if code != 0 {
				t.Fatalf("%s for %s ended with %d:\n%s", program, zone, code, out)
			}
			return out
		}
		out := strings.Fields(run("dnssec-keygen", "-q", "-a", "ECDSAP256SHA256", "-f", "KSK", zone))
		key := out[len(out)-1]
		more := []string{}
		if zone == zoneNSEC3 {
			more = []string{"-3", "beef", "-H", "0"}
		}
		run("dnssec-signzone", append(append([]string{"-S", "-z", "-g", "-d", dir, "-o", zone, "-f", filepath.Join(dir, zone+"signed")}, more...),
			filepath.Join(dir, zone+"zone"))...)
		if zone != zoneChild {
			anchors[zone] = dnskey(t, filepath.Join(dir, key+".key"))
		}
	}
	signed := filepath.Join(dir, zoneBogus+"signed")
	text, err := os.ReadFile(signed)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(signed, []byte(strings.ReplaceAll(string(text), "192.0.2.8", "192.0.2.18")), 0o600); err != nil {
		t.Fatal(err)
	}
	return anchors
}

// dnskey is the record in a key file.
func dnskey(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, ";") && strings.Contains(line, "DNSKEY") {
			return strings.TrimSpace(line)
		}
	}
	t.Fatalf("no DNSKEY in %s", file)
	return ""
}

// zoneFiles are the files that servers read, by zone.
func zoneFiles() map[string]string {
	return map[string]string{
		".": "." + "zone", zonePlain: zonePlain + "zone", zoneInsecure: zoneInsecure + "zone",
		zoneSigned: zoneSigned + "signed", zoneNSEC3: zoneNSEC3 + "signed", zoneChild: zoneChild + "signed", zoneBogus: zoneBogus + "signed",
	}
}

// unboundWithZones starts an Unbound that validates what the zones say.
func unboundWithZones(t *testing.T, lab *harness.Lab, anchors map[string]string) netip.AddrPort {
	t.Helper()
	addr := netip.AddrPortFrom(lab.Addr(61), harness.DNSPort)
	var c strings.Builder
	fmt.Fprintf(&c, `server:
  directory: %q
  chroot: ""
  username: ""
  pidfile: ""
  logfile: ""
  use-syslog: no
  do-daemonize: no
  interface: %s@%d
  port: %d
  access-control: 127.0.0.0/8 allow_snoop
  num-threads: 1
  module-config: "validator iterator"
  do-not-query-localhost: no
  rrset-roundrobin: no
  ede: yes
  max-udp-size: 1232
  edns-buffer-size: 1232
  incoming-num-tcp: 200
  serve-expired: no
`, lab.Dir(), addr.Addr(), addr.Port(), addr.Port())
	for _, key := range anchors {
		fmt.Fprintf(&c, "  trust-anchor: %q\n", key)
	}
	c.WriteString("remote-control:\n  control-enable: no\n")
	for zone, file := range zoneFiles() {
		fmt.Fprintf(&c, "auth-zone:\n  name: %q\n  zonefile: %q\n  for-upstream: yes\n  for-downstream: no\n", zone, file)
	}
	conf := filepath.Join(lab.Dir(), "unbound-zones.conf")
	if err := os.WriteFile(conf, []byte(c.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	lab.Run("unbound", "-d", "-c", conf)
	waitForAnswers(t, lab, addr)
	return addr
}

// namedWithZones starts a BIND that is the zones' server and a resolver for everything else.
func namedWithZones(t *testing.T, lab *harness.Lab) netip.AddrPort {
	t.Helper()
	var c strings.Builder
	for zone, file := range zoneFiles() {
		fmt.Fprintf(&c, "zone %q { type primary; file %q; };\n", zone, file)
	}
	return named(t, lab, "server", "dnssec-validation no; minimal-responses no;", c.String())
}

// namedBefore starts a BIND that forwards to another, caches and validates.
func namedBefore(t *testing.T, lab *harness.Lab, server netip.AddrPort, anchors map[string]string) netip.AddrPort {
	t.Helper()
	var c strings.Builder
	c.WriteString("trust-anchors {\n")
	for zone, key := range anchors {
		fields := strings.Fields(key[strings.Index(key, "DNSKEY")+len("DNSKEY"):])
		fmt.Fprintf(&c, "  %q static-key %s %s %s %q;\n", zone, fields[0], fields[1], fields[2], strings.Join(fields[3:], ""))
	}
	c.WriteString("};\n")
	return named(t, lab, "forwarder", fmt.Sprintf("dnssec-validation yes; forward only; forwarders { %s port %d; };", server.Addr(), server.Port()), c.String())
}

// named starts a BIND. It only listens on addresses that an interface has, so it gets a free port of 127.0.0.1.
func named(t *testing.T, lab *harness.Lab, name, options, more string) netip.AddrPort {
	t.Helper()
	addr := freePort(t)
	conf := filepath.Join(lab.Dir(), "named-"+name+".conf")
	text := fmt.Sprintf(`options {
  directory %q; managed-keys-directory %q; pid-file none; session-keyfile none; lock-file none;
  listen-on port %d { %s; }; listen-on-v6 { none; };
  recursion yes; allow-query { any; }; allow-recursion { any; }; allow-query-cache { any; };
  empty-zones-enable no; notify no; check-names primary ignore; rrset-order { order none; };
  max-udp-size 1232; edns-udp-size 1232; tcp-clients 1000; prefetch 0; qname-minimization off;
  %s
};
controls { };
logging { category default { default_stderr; }; category lame-servers { null; }; category dnssec { null; }; };
%s`, lab.Dir(), lab.Dir(), addr.Port(), addr.Addr(), options, more)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	lab.Run("named", "-g", "-n", "1", "-c", conf)
	waitForAnswers(t, lab, addr)
	return addr
}

// freePort is a port of 127.0.0.1 that is free for UDP and TCP, and that the kernel gives to nobody meanwhile.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	for range 100 {
		addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(20000+rand.IntN(10000)))
		stream, err := net.Listen("tcp", addr.String())
		if err != nil {
			continue
		}
		_ = stream.Close()
		if datagrams, err := net.ListenPacket("udp", addr.String()); err == nil {
			_ = datagrams.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return netip.AddrPort{}
}

// waitForAnswers waits until the server answers for the root.
func waitForAnswers(t *testing.T, lab *harness.Lab, addr netip.AddrPort) {
	t.Helper()
	c := newClient(t)
	defer c.close()
	lab.Eventually(20*time.Second, addr.String()+" answers", func() bool {
		m, err := c.try(overUDP, addr, (&question{name: "\x00", class: 1, typ: 2, flags: flagRD}).message(1), 300*time.Millisecond)
		return err == nil && m[3]&15 == 0
	})
}
