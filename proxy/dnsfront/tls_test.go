package dnsfront

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// writeCertificate writes a self-signed pair for a name and 127.0.0.1.
func writeCertificate(t *testing.T, dir, name string) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "EC PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(parsed)
	return cert, key, pool
}

// secured is a service with TLS and HTTPS.
func secured(t *testing.T, change func(c *Config)) (f *front, dot, doh netip.AddrPort, dir string, roots *x509.CertPool) {
	dir = t.TempDir()
	cert, key, roots := writeCertificate(t, dir, "dns.example.net")
	f = newFront(t, setup{config: func(c *Config) {
		c.TLS = TLSConfig{Listen: []string{"127.0.0.1:0"}, Certificate: cert, Key: key}
		c.HTTPS.Listen, c.HTTPS.Certificate, c.HTTPS.Key = []string{"127.0.0.1:0"}, cert, key
		if change != nil {
			change(c)
		}
	}})
	for _, l := range f.Listeners() {
		switch l.Transport {
		case TLS:
			dot = l.Address
		case HTTPS:
			doh = l.Address
		case UDP, TCP:
		}
	}
	return f, dot, doh, dir, roots
}

func dialTLS(t *testing.T, addr netip.AddrPort, c *tls.Config) *tls.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", addr.String(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestD51DNSOverTLS(t *testing.T) {
	f, dot, doh, _, roots := secured(t, nil)
	c := dialTLS(t, dot, &tls.Config{RootCAs: roots, NextProtos: []string{"dot"}})
	if p := c.ConnectionState().NegotiatedProtocol; p != "dot" {
		t.Error("ALPN", p)
	}
	for _, name := range []string{"www.example.", "big.example.", "WWW.example."} {
		q := withOPT(asking(name, dns.TypeA), 1232, false)
		q.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_PADDING{Padding: make([]byte, 20)}}
		raw := packed(t, q)
		writeFrame(t, c, raw)
		out := readFrame(t, c)
		m := f.checked(q, raw, out)
		if m.Truncated || len(m.Answer) == 0 || len(out)%paddingBlock != 0 {
			t.Errorf("%s: %d octets, %d records, TC %v", name, len(out), len(m.Answer), m.Truncated)
		}
	}
	for _, addr := range []netip.AddrPort{dot, doh} {
		// Without MinVersion the client itself would refuse, and ask nobody.
		old, err := tls.Dial("tcp", addr.String(), &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}) //nolint:gosec // that is what is tried
		if err == nil {
			_ = old.Close()
			t.Error("TLS 1.1 was accepted at", addr)
		} else if remote := new(net.OpError); !errors.As(err, &remote) || remote.Op != "remote error" {
			t.Error("it was not the node that refused TLS 1.1:", err)
		}
	}
	// Who speaks plain DNS there is let go.
	plain, err := net.Dial("tcp", dot.String())
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	writeFrame(t, plain, packed(t, asking("www.example.", dns.TypeA)))
	if err := plain.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(plain); err == nil && len(b) > 20 {
		t.Errorf("answered with %x", b)
	}
}

// While connections are scarce, one that says nothing is let go after a second, over HTTPS as over TLS.
func TestD50SilentConnectionsEndSoonerWhenScarce(t *testing.T) {
	f, dot, doh, _, _ := secured(t, func(c *Config) { c.TCP.IdleTimeout, c.TCP.MaxConnections = time.Minute, 4 })
	open := func(at netip.AddrPort, n int64) net.Conn {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}} // not the self-probe's, which no limit holds for
		c, err := d.Dial("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		until(t, "its place", func() bool { return f.Stats().Connections == n })
		return c
	}
	for i := range int64(3) {
		open(f.addr, i+1)
	}
	for _, at := range []netip.AddrPort{dot, doh} { // it takes the last place
		c := open(at, 4)
		if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the last connection still has its place", at)
		}
		until(t, "its place to be free", func() bool { return f.Stats().Connections == 3 })
	}
}

// A client that comes again is spared the whole handshake (RFC 7858 §3.4).
func TestD51DNSOverTLSResumesSessions(t *testing.T) {
	_, dot, _, _, roots := secured(t, nil)
	cfg := &tls.Config{RootCAs: roots, NextProtos: []string{"dot"}, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for i := range 2 {
		c := dialTLS(t, dot, cfg)
		writeFrame(t, c, packed(t, asking("www.example.", dns.TypeA)))
		readFrame(t, c) // behind the ticket
		if resumed := c.ConnectionState().DidResume; resumed != (i > 0) {
			t.Errorf("connection %d: resumed %v", i, resumed)
		}
	}
}

func client8484(roots *x509.CertPool, t *testing.T) *http.Client {
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 5 * time.Second}
}

func TestD51DNSOverHTTPS(t *testing.T) {
	f, _, doh, _, roots := secured(t, nil)
	h := client8484(roots, t)
	url := "https://" + doh.String() + "/dns-query"
	q := asking("www.Example.", dns.TypeA)
	q.Id = 0
	raw := packed(t, q)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			var r *http.Response
			var err error
			if i%2 == 0 {
				r, err = h.Get(url + "?dns=" + base64.RawURLEncoding.EncodeToString(raw))
			} else {
				r, err = h.Post(url, mediaType, bytes.NewReader(raw))
			}
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Body.Close()
			out, err := io.ReadAll(r.Body)
			if err != nil || r.StatusCode != 200 || r.ProtoMajor != 2 || r.Header.Get("Content-Type") != mediaType ||
				r.Header.Get("Cache-Control") != "max-age=300" && r.Header.Get("Cache-Control") != "max-age=299" {
				t.Errorf("%v %s %v", err, r.Proto, r)
				return
			}
			if m := f.checked(q, raw, out); len(m.Answer) != 1 {
				t.Error(m)
			}
		})
	}
	wg.Wait()
	for name, c := range map[string]struct {
		method, url, kind, body string
		want                    int
	}{
		"no dns":                     {"GET", url, "", "", 400},
		"not base64":                 {"GET", url + "?dns=***", "", "", 400},
		"padded":                     {"GET", url + "?dns=AAAB==", "", "", 400},
		"short":                      {"GET", url + "?dns=AAAB", "", "", 400},
		"elsewhere":                  {"GET", "https://" + doh.String() + "/", "", "", 404},
		"method":                     {"PUT", url, mediaType, "x", 405},
		"type":                       {"POST", url, "text/plain", string(raw), 415},
		"empty":                      {"POST", url, mediaType, "", 400},
		"too long":                   {"POST", url, mediaType, strings.Repeat("x", 70000), 413},
		"a response":                 {"POST", url, mediaType, "\x00\x00\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00", 400},
		"malformed DNS":              {"POST", url, mediaType, "\x00\x00\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00", 200},
		"type's case and parameters": {"POST", url, "Application/DNS-Message; charset=utf-8", string(raw), 200},
	} {
		req, err := http.NewRequest(c.method, c.url, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", c.kind)
		r, err := h.Do(req)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_ = r.Body.Close()
		if r.StatusCode != c.want {
			t.Errorf("%s: status %d, want %d", name, r.StatusCode, c.want)
		}
	}
	if s := f.Stats(); s.Queries[HTTPS] != 22 {
		t.Error(s.Queries)
	}
}

// TestD60DropOverConnections: with `deny: drop` who may not ask gets no answer over a connection either. It ends; over
// HTTPS a status says why.
func TestD60DropOverConnections(t *testing.T) {
	f, dot, doh, _, roots := secured(t, func(c *Config) { c.Allow, c.Deny = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, "drop" })
	raw := packed(t, asking("www.example.", dns.TypeA))
	for transport, c := range map[Transport]net.Conn{TCP: f.stream(), TLS: dialTLS(t, dot, &tls.Config{RootCAs: roots})} {
		writeFrame(t, c, raw)
		if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %d octets, %v", transport, n, err)
		}
	}
	r, err := client8484(roots, t).Post("https://"+doh.String()+"/dns-query", mediaType, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	if r.StatusCode != http.StatusForbidden {
		t.Error(r.Status)
	}
	s := f.Stats()
	for _, transport := range []Transport{TCP, TLS, HTTPS} {
		if s.Queries[transport] != 1 || s.Drops[transport][DropNotAllowed] != 1 {
			t.Errorf("%s: %d queries, drops %v", transport, s.Queries[transport], s.Drops[transport])
		}
	}
	if n := f.asked(); n != 0 {
		t.Errorf("a backend was asked %d times", n)
	}
}

func TestD51ChangedCertificateIsTakenUp(t *testing.T) {
	f, dot, _, dir, _ := secured(t, nil)
	serial := func() string {
		c := dialTLS(t, dot, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the serial number is what is looked at
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before := serial()
	if err := os.WriteFile(filepath.Join(dir, "cert.pem"), []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.watchCertificates()
	if serial() != before {
		t.Error("a bad certificate did not keep the old one")
	}
	writeCertificate(t, dir, "dns.example.net")
	f.watchCertificates()
	if serial() == before {
		t.Error("a changed certificate was not taken up")
	}
}

// TestO20WhenTheCertificateRunsOut: what is counted is the certificate that clients see.
func TestO20WhenTheCertificateRunsOut(t *testing.T) {
	f, dot, doh, dir, _ := secured(t, nil)
	seen := func() (last time.Time) {
		t.Helper()
		expires := f.Stats().CertificateExpires
		for transport, addr := range map[Transport]netip.AddrPort{TLS: dot, HTTPS: doh} {
			c := dialTLS(t, addr, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // when it runs out is what is looked at
			if last = c.ConnectionState().PeerCertificates[0].NotAfter; !expires[transport].Equal(last) {
				t.Errorf("%s: %v, but clients see %v", transport, expires[transport], last)
			}
		}
		if !expires[UDP].IsZero() || !expires[TCP].IsZero() {
			t.Error("plain transports have one", expires)
		}
		return last
	}
	before := seen()
	if left := time.Until(before); left < 50*time.Minute || left > time.Hour {
		t.Errorf("%v left of an hour", left)
	}
	// Its end is written in whole seconds.
	for deadline := time.Now().Add(5 * time.Second); seen().Equal(before); f.watchCertificates() {
		if time.Now().After(deadline) {
			t.Fatal("a renewed certificate changed nothing")
		}
		time.Sleep(100 * time.Millisecond)
		writeCertificate(t, dir, "dns.example.net")
	}
	if plain := newFront(t, setup{}).Stats().CertificateExpires; plain != [NumTransports]time.Time{} {
		t.Error("a service without TLS has", plain)
	}
}

func TestD16DiscoveryNamesOurListeners(t *testing.T) {
	f, dot, doh, _, _ := secured(t, nil)
	set := *f.settings.Load()
	set.cfg.TLS.Listen, set.cfg.HTTPS.Listen = []string{dot.String(), "[2001:db8::1]:" + "853"}, []string{doh.String()}
	set.designated = designated(&set)
	f.settings.Store(&set)
	m := f.ask(withOPT(asking("_dns.resolver.arpa.", dns.TypeSVCB), 1232, false))
	if len(m.Answer) != 3 {
		t.Fatal(m)
	}
	for _, rr := range m.Answer {
		s := rr.(*dns.SVCB)
		if s.Target != "dns.example.net." || s.Priority == 2 && !strings.Contains(s.String(), `dohpath="/dns-query{?dns}"`) ||
			s.Priority == 1 && !strings.Contains(s.String(), `alpn="dot"`) {
			t.Error(s)
		}
	}
}

func TestD50EncryptedConnectionsShareTheCaps(t *testing.T) {
	f, dot, doh, _, roots := secured(t, nil)
	for range 3 {
		c := dialTLS(t, dot, &tls.Config{RootCAs: roots})
		writeFrame(t, c, packed(t, asking("www.example.", dns.TypeA)))
		readFrame(t, c)
	}
	h := client8484(roots, t)
	r, err := h.Get("https://" + doh.String() + "/dns-query")
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	if n := f.Stats().Connections; n != 4 {
		t.Error(n, "connections")
	}
	h.CloseIdleConnections()
	until(t, "the HTTPS connection to be counted out", func() bool { return f.Stats().Connections == 3 })
}
