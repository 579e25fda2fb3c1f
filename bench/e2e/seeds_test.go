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
	"sync"
	"testing"

	"sereno/bench/e2e/harness"
	"sereno/proxy/dnswire"
	"sereno/proxy/radwire"
)

// TestO32SeedsAreRealTraffic listens between real clients and real servers, and demands that all they say to each
// other is well-formed to us. With SERENO_SEEDS=write what it heard becomes the fuzz targets' seeds
// (testdata/fuzz/*/real-*), which are committed:
//
//	SERENO_E2E=1 SERENO_SEEDS=write go test ./bench/e2e -run TestO32Seeds
func TestO32SeedsAreRealTraffic(t *testing.T) {
	lab := harness.New(t)
	seeds := &seedWriter{t: t, write: os.Getenv("SERENO_SEEDS") == "write"}
	t.Run("DNS", func(t *testing.T) { dnsSeeds(t, lab, seeds) })
	t.Run("RADIUS", func(t *testing.T) { radiusSeeds(t, lab, seeds) })
	t.Run("spool", func(t *testing.T) { spoolSeeds(t, lab, seeds) })
}

func dnsSeeds(t *testing.T, lab *harness.Lab, seeds *seedWriter) {
	line := newTap(t, lab.Addr(hostPeer), harness.DNSPort, lab.Unbound(1).Addr)
	for i, args := range []string{
		"dig www.example.test A", "dig +dnssec +cookie=0011223344556677 alias.example.test A", "dig +subnet=10.1.2.0/24 +nsid example.test MX",
		"dig +noedns txt.example.test TXT", "dig +bufsize=512 big.example.test TXT +ignore", "dig +keepalive _sip._udp.example.test SRV",
		"kdig odd.example.test TYPE65280", "kdig +padding=128 nothing.example.test A", "kdig +cd . NS", "kdig -x 192.0.2.1", "dig example.test ANY +notcp +ignore",
	} {
		words := strings.Fields(args)
		out, code := lab.Output("", words[0], append([]string{"@" + line.addr.Addr().String(), "-p", strconv.Itoa(int(line.addr.Port()))}, words[1:]...)...)
		if code != 0 {
			t.Errorf("%s ended with %d: %s", args, code, out)
		}
		asked, answered := line.heard()
		if len(asked) == 0 || len(answered) == 0 {
			t.Fatalf("%s: %d queries, %d answers", args, len(asked), len(answered))
		}
		for _, m := range asked {
			var q dnswire.Query
			if p := dnswire.ParseQuery(m, &q); p != dnswire.OK {
				t.Errorf("%s: the query is refused: %v: %x", args, p, m)
			}
		}
		for _, m := range answered {
			var r dnswire.Reply
			if err := dnswire.ParseReply(m, &r); err != nil {
				t.Errorf("%s: unbound's answer is refused: %v: %x", args, err, m)
			}
		}
		for _, target := range []string{"proxy/dnswire/FuzzParseQuery", "proxy/dnsfront/FuzzServe"} {
			seeds.add(target, i, asked[0])
		}
		seeds.add("proxy/dnsfront/FuzzStream", i, append([]byte{byte(len(asked[0]) >> 8), byte(len(asked[0]))}, asked[0]...))
		seeds.add("proxy/dnswire/FuzzParseReply", i, answered[0])
		seeds.add("proxy/dnswire/FuzzNames", i, answered[0], 12)
		seeds.add("proxy/dnsfront/FuzzUpstreamReply", i, answered[0], true)
		seeds.add("proxy/dnsfront/FuzzRewrittenReply", i, answered[0], true)
		seeds.add("health/FuzzDNSProbeAnswer", i, answered[0])
	}
}

func radiusSeeds(t *testing.T, lab *harness.Lab, seeds *seedWriter) {
	pki(t, lab)
	server := eapServer(lab, 1)
	auth := newTap(t, lab.Addr(hostPeer), harness.AuthPort, netip.AddrPortFrom(server.Addr, harness.AuthPort))
	acct := newTap(t, lab.Addr(hostPeer), harness.AcctPort, netip.AddrPortFrom(server.Addr, harness.AcctPort))
	n := 0
	heard := func(what string, line *tap, kind byte) {
		asked, answered := line.heard()
		if len(asked) == 0 || len(answered) != len(asked) {
			t.Fatalf("%s: %d requests, %d answers", what, len(asked), len(answered))
		}
		for i := range asked {
			var ix radwire.Index
			if _, err := radwire.Walk(asked[i], &ix); err != nil {
				t.Errorf("%s: the request is refused: %v: %x", what, err, asked[i])
			}
			reply, err := radwire.Walk(answered[i], &ix)
			if err != nil {
				t.Errorf("%s: the answer is refused: %v: %x", what, err, answered[i])
				continue
			}
			sent := radwire.PacketAuthenticator(asked[i])
			if !radwire.NewSecret([]byte(harness.BackendSecret)).VerifyResponse(reply, &sent) {
				t.Errorf("%s: the answer does not verify: %x", what, reply)
			}
			if i > 2 {
				continue // of a conversation its beginning
			}
			seeds.add("proxy/radwire/FuzzWalk", 2*n, asked[i])
			seeds.add("proxy/radwire/FuzzWalk", 2*n+1, answered[i])
			seeds.add("proxy/radwire/FuzzRewriteRequest", n, asked[i])
			seeds.add("proxy/radwire/FuzzRewriteReply", n, asked[i], answered[i])
			seeds.add("proxy/radiusfront/FuzzWorker", 2*n, kind|4, uint16(0), asked[i]) // 4: signed anew by the target
			seeds.add("proxy/radiusfront/FuzzWorker", 2*n+1, byte(3|4), uint16(700), answered[i])
			n++
		}
	}
	for _, attributes := range []string{
		"User-Name=user-1,User-Password=pw-user-1,NAS-IP-Address=192.0.2.7,Calling-Station-Id=line-1,Message-Authenticator=0x00",
		"User-Name=user-2,CHAP-Password=pw-user-2,NAS-Port-Type=Virtual,Message-Authenticator=0x00",
		"User-Name=user-3,User-Password=wrong,Message-Authenticator=0x00",
	} {
		radclient(lab, auth.addr, "auth", harness.BackendSecret, attributes)
		heard(attributes, auth, 0)
	}
	for _, status := range []string{"Start", "Interim-Update", "Stop"} {
		radclient(lab, acct.addr, "acct", harness.BackendSecret,
			"User-Name=user-1,Acct-Session-Id=0000abcd,NAS-IP-Address=192.0.2.7,Acct-Input-Octets=4294967295,Class=0x00ff,Acct-Status-Type="+status)
		heard("accounting "+status, acct, 1)
	}
	file := lab.Write("seeds.conf", "network={\n\tkey_mgmt=IEEE8021X\n\teapol_flags=0\n\teap=MD5\n\tidentity=\"user-4\"\n\tpassword=\"pw-user-4\"\n}\n")
	if out, code := lab.Output("", "eapol_test", "-c", file, "-a", auth.addr.Addr().String(), "-p", strconv.Itoa(int(auth.addr.Port())), "-s", harness.BackendSecret, "-t", "20", "-n"); code != 0 {
		t.Errorf("eapol_test ended with %d: %s", code, last(out, 20))
	}
	heard("EAP-MD5", auth, 0)
	server.Kill()
}

// spoolSeeds takes what a node has spooled from a real NAS's client.
func spoolSeeds(t *testing.T, lab *harness.Lab, seeds *seedWriter) {
	server := lab.FreeRADIUS(2)
	s := lab.Sereno(harness.Config{Servers: []*harness.FreeRADIUS{server}})
	server.Kill()
	for i, status := range []string{"Start", "Interim-Update", "Stop"} {
		out, code := lab.Output(fmt.Sprintf("User-Name=user-1,Acct-Session-Id=0000abcd,NAS-IP-Address=192.0.2.7,Acct-Session-Time=%d,Acct-Status-Type=%s", i, status),
			"radclient", "-x", "-r", "3", "-t", "6", s.Acct.String(), "acct", harness.NASSecret)
		if code != 0 {
			t.Fatalf("%s is not acknowledged: %s", status, out)
		}
	}
	segments, err := filepath.Glob(filepath.Join(lab.Dir(), "state", "spool", "*", "seg-*.log"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("no segment of a spool: %v", err)
	}
	b, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(b, []byte("SpR1")); n < 3 {
		t.Errorf("%d records in the segment", n)
	}
	seeds.add("proxy/radiusfront/spool/FuzzSegment", 0, b, true)
	seeds.add("proxy/radiusfront/spool/FuzzOpen", 0, b, true, "")
	s.Kill()
}

// seedWriter writes seeds as Go's fuzzing keeps them.
type seedWriter struct {
	t     *testing.T
	write bool
}

// add writes one seed of a target, named by its package and its name.
func (w *seedWriter) add(target string, n int, values ...any) {
	w.t.Helper()
	if !w.write {
		return
	}
	var b strings.Builder
	b.WriteString("go test fuzz v1\n")
	for _, v := range values {
		switch v := v.(type) {
		case []byte:
			fmt.Fprintf(&b, "[]byte(%q)\n", v)
		case string:
			fmt.Fprintf(&b, "string(%q)\n", v)
		case byte:
			fmt.Fprintf(&b, "byte(%q)\n", rune(v))
		default:
			fmt.Fprintf(&b, "%T(%v)\n", v, v)
		}
	}
	dir := filepath.Join("../..", filepath.Dir(target), "testdata", "fuzz", filepath.Base(target))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("real-%02d", n)), []byte(b.String()), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// tap passes datagrams between one client at a time and a server, and keeps them.
type tap struct {
	addr netip.AddrPort

	mu              sync.Mutex
	asked, answered [][]byte
}

func newTap(t *testing.T, at netip.Addr, port uint16, server netip.AddrPort) *tap {
	t.Helper()
	down, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, port)))
	if err != nil {
		t.Fatal(err)
	}
	up, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(server))
	if err != nil {
		t.Fatal(err)
	}
	k := &tap{addr: netip.AddrPortFrom(at, port)}
	var client netip.AddrPort
	var done sync.WaitGroup
	done.Go(func() {
		for buf := make([]byte, 65536); ; {
			n, from, err := down.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			k.mu.Lock()
			client = from
			k.asked = append(k.asked, bytes.Clone(buf[:n]))
			k.mu.Unlock()
			if _, err := up.Write(buf[:n]); err != nil {
				return
			}
		}
	})
	done.Go(func() {
		for buf := make([]byte, 65536); ; {
			n, err := up.Read(buf)
			if err != nil {
				return
			}
			k.mu.Lock()
			to := client
			k.answered = append(k.answered, bytes.Clone(buf[:n]))
			k.mu.Unlock()
			if _, err := down.WriteToUDPAddrPort(buf[:n], to); err != nil {
				return
			}
		}
	})
	t.Cleanup(func() {
		_, _ = down.Close(), up.Close()
		done.Wait()
	})
	return k
}

// heard is what went by since the last time, in its order.
func (k *tap) heard() (asked, answered [][]byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	asked, answered = k.asked, k.answered
	k.asked, k.answered = nil, nil
	return asked, answered
}
