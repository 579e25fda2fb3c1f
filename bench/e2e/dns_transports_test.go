package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sereno/bench/e2e/harness"
)

// certificate is a certificate of the test's own, with its key.
type certificate struct {
	t         *testing.T
	cert, key string // files
}

// newCertificate writes a certificate for dns.example with that serial number.
func newCertificate(t *testing.T, lab *harness.Lab, name string, serial int64) *certificate {
	t.Helper()
	c := &certificate{t: t, cert: filepath.Join(lab.Dir(), name+".pem"), key: filepath.Join(lab.Dir(), name+".key")}
	c.renew(serial)
	return c
}

// renew writes another certificate into the same files.
func (c *certificate) renew(serial int64) {
	c.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "dns.example"}, DNSNames: []string{"dns.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		c.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		c.t.Fatal(err)
	}
	c.write(c.key, "PRIVATE KEY", private)
	c.write(c.cert, "CERTIFICATE", der)
}

// write replaces a file as a whole, as programs that renew certificates do.
func (c *certificate) write(file, kind string, der []byte) {
	c.t.Helper()
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(file+".new", text, 0o600); err != nil {
		c.t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		c.t.Fatal(err)
	}
}

// yaml is the keys of a service that answers over TLS and HTTPS.
func (c *certificate) yaml(overTLS, overHTTPS netip.AddrPort) string {
	return fmt.Sprintf("tls: {listen: [%q], certificate: %s, key: %s}, https: {listen: [%q], certificate: %s, key: %s}",
		overTLS, c.cert, c.key, overHTTPS, c.cert, c.key)
}

// TestE2EDNSKdigOverEveryTransport asks with kdig over UDP, TCP, TLS and HTTPS, by POST and by GET, and compares with
// what kdig gets from Unbound itself.
func TestE2EDNSKdigOverEveryTransport(t *testing.T) {
	lab := harness.New(t)
	unbound := lab.Unbound(1)
	c := newCertificate(t, lab, "front", 1)
	at := func(w way) netip.AddrPort { return netip.AddrPortFrom(lab.Addr(53), portOf(w)) }
	s := node(t, lab, "lab", backendsYAML(at(overUDP), c.yaml(at(overTLS), at(overHTTPS)), unbound.Addr))
	for _, transport := range []struct {
		way
		options []string
		metric  string
	}{
		{overUDP, nil, "udp"}, {overTCP, []string{"+tcp"}, "tcp"}, {overTLS, []string{"+tls"}, "tls"},
		{overHTTPS, []string{"+https"}, "https"}, {overHTTPS, []string{"+https-get"}, "https"},
	} {
		for _, question := range []string{"www.example.test A", "alias.example.test AAAA", "big.example.test TXT", "nothing.example.test A", "odd.example.test TYPE65280"} {
			want := ask(t, lab, []string{"kdig"}, unbound.Addr, question)
			for range 2 {
				if got := ask(t, lab, append([]string{"kdig"}, transport.options...), at(transport.way), question); got != want {
					t.Errorf("kdig %v %s:\n%s\nunbound:\n%s", transport.options, question, got, want)
				}
			}
		}
		if n := s.Metrics().Sum("sereno_dns_queries_total", "transport", transport.metric); n < 10 {
			t.Errorf("%g queries over %s", n, transport.metric)
		}
	}
	for _, transport := range []string{"tls", "https"} {
		at := int64(s.Metrics().Sum("sereno_dns_certificate_expires_seconds", "service", "resolver", "transport", transport))
		if left := time.Until(time.Unix(at, 0)); left < 50*time.Minute || left > time.Hour {
			t.Errorf("the certificate over %s has %s left of an hour", transport, left)
		}
	}
	s.WaitIdle()
}

// TestE2EDNSCertificatesChange replaces the certificate under load: the next connection gets the new one, those that
// stand go on, a broken file changes nothing, and nobody waits.
func TestE2EDNSCertificatesChange(t *testing.T) {
	lab := harness.New(t)
	_, addrs := resolvers(t, lab, 2)
	c := newCertificate(t, lab, "front", 1)
	at := func(w way) netip.AddrPort { return netip.AddrPortFrom(lab.Addr(53), portOf(w)) }
	s := node(t, lab, "lab", backendsYAML(at(overUDP), c.yaml(at(overTLS), at(overHTTPS)), addrs...))
	work := dnsLoad(t, s, 200)
	serial := func(w way) int64 {
		conn, err := tls.Dial("tcp", at(w).String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"dot", "h2"}})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if alpn := conn.ConnectionState().NegotiatedProtocol; w == overTLS && alpn != "dot" || w == overHTTPS && alpn != "h2" {
			t.Errorf("ALPN over %s: %q", w, alpn)
		}
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	standing := newClient(t)
	defer standing.close()
	go1 := (&question{name: wire("standing.load.test."), class: 1, typ: 1, flags: flagRD}).message(1)
	for _, w := range []way{overTLS, overHTTPS} {
		if n := serial(w); n != 1 {
			t.Errorf("serial number %d over %s", n, w)
		}
		standing.ask(w, at(w), go1)
	}
	c.renew(2)
	for _, w := range []way{overTLS, overHTTPS} {
		lab.Eventually(40*time.Second, "the new certificate over "+w.String(), func() bool { return serial(w) == 2 })
		if m, err := standing.try(w, at(w), go1, time.Second); err != nil || m[3]&15 != 0 {
			t.Errorf("the connection over %s that stood: %x, %v", w, m, err)
		}
	}
	if err := os.WriteFile(c.cert, []byte("not a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(40*time.Second, "a warning names the file", func() bool { return strings.Contains(s.Log(), "front.pem") })
	for _, w := range []way{overTLS, overHTTPS} {
		if n := serial(w); n != 2 {
			t.Errorf("serial number %d over %s after a broken file", n, w)
		}
	}
	work.nothingLost("queries while certificates change")
	s.WaitIdle()
}

// TestE2EAttackDNSBadTLSAndHTTPS has clients that do not speak what the port speaks: plain DNS, old TLS, rubbish, and HTTP
// requests of all wrong kinds. Each is turned away, and the next client is served.
func TestE2EAttackDNSBadTLSAndHTTPS(t *testing.T) {
	lab := harness.New(t)
	_, addrs := resolvers(t, lab, 2)
	c := newCertificate(t, lab, "front", 1)
	at := func(w way) netip.AddrPort { return netip.AddrPortFrom(lab.Addr(53), portOf(w)) }
	s := node(t, lab, "lab", backendsYAML(at(overUDP), "tcp: {idle_timeout: 1500ms}, "+c.yaml(at(overTLS), at(overHTTPS)), addrs...))
	work := dnsLoad(t, s, 300)
	q := (&question{name: wire("good.load.test."), class: 1, typ: 1, flags: flagRD}).message(0)
	good := func(w way) {
		t.Helper()
		c := newClient(t)
		defer c.close()
		if m := c.ask(w, at(w), q); m == nil || m[3]&15 != 0 || m[7] == 0 {
			t.Errorf("a good client over %s got %x", w, m)
		}
	}
	for _, w := range []way{overTLS, overHTTPS} {
		for what, sent := range map[string]string{
			"plain DNS": "\x00" + string(byte(len(q))) + string(q), "rubbish": strings.Repeat("\xff\x00rubbish", 1000), "a TLS record that is not whole": "\x16\x03\x01\x02\x00\x01",
			"plain HTTP": "GET /dns-query HTTP/1.1\r\nHost: x\r\n\r\n", "nothing": "",
		} {
			conn := dialFrom(t, lab.Addr(90), at(w))
			_, _ = conn.Write([]byte(sent)) // the server may have closed it
			if !closes(conn, 15*time.Second) {
				t.Errorf("a client that sends %s over %s stays connected", what, w)
			}
		}
		if conn, err := tls.Dial("tcp", at(w).String(), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
			t.Errorf("TLS 1.1 over %s", w)
			_ = conn.Close()
		}
		good(w)
	}
	inTLS, err := tls.Dial("tcp", at(overTLS).String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"dot"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := inTLS.Write([]byte("GET /dns-query HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil || !closes(inTLS, 5*time.Second) {
		t.Errorf("HTTP inside of TLS stays connected, %v", err)
	}
	badHTTP(t, at(overHTTPS), q)
	good(overTLS)
	good(overHTTPS)
	work.nothingLost("well-behaved clients beside bad TLS and HTTPS")
	s.WaitIdle()
}

// badHTTP sends HTTP requests over HTTP/2 that RFC 8484 does not allow, and wants an error of the client's for each.
func badHTTP(t *testing.T, to netip.AddrPort, q []byte) {
	t.Helper()
	c := newClient(t)
	defer c.close()
	encoded := base64.RawURLEncoding.EncodeToString(q)
	for _, r := range []struct {
		method, path, kind, body string
		status                   int
	}{
		{"GET", "/dns-query?dns=" + encoded, "", "", 200},
		{"POST", "/dns-query", "application/dns-message", string(q), 200},
		{"GET", "/dns-query", "", "", 400},
		{"GET", "/dns-query?dns=", "", "", 400},
		{"GET", "/dns-query?dns=%21%21%21", "", "", 400},
		{"GET", "/dns-query?dns=" + encoded[:10], "", "", 400},
		{"GET", "/elsewhere?dns=" + encoded, "", "", 404},
		{"GET", "/", "", "", 404},
		{"POST", "/dns-query", "text/plain", string(q), 415},
		{"POST", "/dns-query", "application/dns-message", "", 400},
		{"POST", "/dns-query", "application/dns-message", "short", 400},
		{"POST", "/dns-query", "application/dns-message", strings.Repeat("x", 70_000), 413},
		{"PUT", "/dns-query", "application/dns-message", string(q), 405},
		{"DELETE", "/dns-query?dns=" + encoded, "", "", 405},
	} {
		request, err := http.NewRequest(r.method, "https://"+to.String()+r.path, strings.NewReader(r.body))
		if err != nil {
			t.Fatal(err)
		}
		if r.kind != "" {
			request.Header.Set("Content-Type", r.kind)
		}
		reply, err := c.https.Do(request)
		if err != nil {
			t.Errorf("%s %s: %v", r.method, r.path, err)
			continue
		}
		_ = reply.Body.Close()
		if reply.StatusCode != r.status || reply.ProtoMajor != 2 {
			t.Errorf("%s %s %s of %d octets: %s over %s, not %d", r.method, r.path, r.kind, len(r.body), reply.Status, reply.Proto, r.status)
		}
		if age := reply.Header.Get("Cache-Control"); r.status == 200 {
			if n, err := strconv.Atoi(strings.TrimPrefix(age, "max-age=")); err != nil || n < 290 || n > 300 {
				t.Errorf("Cache-Control %q for a TTL of 300", age)
			}
		}
	}
}
