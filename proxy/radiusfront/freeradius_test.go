package radiusfront

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sereno/health"
	"sereno/proxy/radwire"
)

// e2e tells whether real programs are wanted; a missing one is a failure then.
func e2e(t *testing.T) bool {
	t.Helper()
	if os.Getenv("SERENO_E2E") == "" {
		t.Log("left out without SERENO_E2E=1: FreeRADIUS, radclient and eapol_test")
		return false
	}
	return true
}

func program(t *testing.T, name string) string {
	t.Helper()
	for _, p := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(p); err == nil {
			return path
		}
	}
	t.Fatalf("missing: %s", name)
	return ""
}

const freeradiusConfig = `prefix = /usr
raddbdir = %[1]s
logdir = %[1]s
run_dir = %[1]s
libdir = /usr/lib/freeradius
pidfile = %[1]s/radiusd.pid
max_request_time = 5
cleanup_delay = 2
log {
	destination = stdout
}
security {
	reject_delay = 0
	status_server = yes
}
thread pool {
	start_servers = 2
	max_servers = 4
}
client front {
	ipaddr = 127.0.0.0/8
	secret = %[2]s
	require_message_authenticator = yes
}
modules {
	pap {
	}
	chap {
	}
	mschap {
	}
	files {
		usersfile = %[1]s/users
	}
	eap {
		default_eap_type = md5
		max_sessions = 4096
		md5 {
		}
		tls-config common {
			private_key_file = %[5]s/server.key
			certificate_file = %[5]s/server.pem
			ca_file = %[5]s/ca.pem
			tls_min_version = "1.2"
			tls_max_version = "1.2"
			fragment_size = 400
		}
		tls {
			tls = common
		}
		ttls {
			tls = common
			default_eap_type = md5
			virtual_server = inner
		}
		peap {
			tls = common
			default_eap_type = mschapv2
			virtual_server = inner
		}
		mschapv2 {
		}
	}
}
server default {
	listen {
		type = auth
		ipaddr = %[3]s
		port = %[4]d
	}
	authorize {
		files
		chap
		mschap
		eap {
			ok = return
		}
		pap
	}
	authenticate {
		Auth-Type PAP {
			pap
		}
		Auth-Type CHAP {
			chap
		}
		Auth-Type MS-CHAP {
			mschap
		}
		eap
	}
}
server inner {
	authorize {
		files
		mschap
		eap {
			ok = return
		}
		pap
	}
	authenticate {
		Auth-Type PAP {
			pap
		}
		Auth-Type MS-CHAP {
			mschap
		}
		eap
	}
}
`

const freeradiusUsers = `bob Cleartext-Password := "hello"
	Reply-Message = "through",
	Tunnel-Type:1 = L2TP, Tunnel-Password:1 = "first tunnel", Tunnel-Type:2 = L2TP, Tunnel-Password:2 = "the second tunnel's longer password",
	ERX-LI-Action = on
`

// freeradius is a real RADIUS server.
type freeradius struct {
	addr netip.AddrPort
	log  lockedBuffer
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// startFreeRADIUS starts one on a free port of a loopback address.
func startFreeRADIUS(t *testing.T, addr, certs string) *freeradius {
	t.Helper()
	free := newServerOn(t, addr+":0", backendSecret, nil)
	f := &freeradius{addr: free.addr()}
	_ = free.conn.Close()
	dir := t.TempDir()
	f.run(t, dir, fmt.Sprintf(freeradiusConfig, dir, backendSecret, addr, f.addr.Port(), certs))
	return f
}

// run starts the program in dir with a radiusd.conf.
func (f *freeradius) run(t *testing.T, dir, config string) {
	t.Helper()
	for name, text := range map[string]string{
		"radiusd.conf": config,
		"users":        freeradiusUsers,
		"dictionary":   "$INCLUDE /usr/share/freeradius/dictionary\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(program(t, "freeradius"), "-f", "-l", "stdout", "-d", dir, "-n", "radiusd")
	cmd.Stdout, cmd.Stderr = &f.log, &f.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed: its status says only that
		if t.Failed() {
			t.Logf("freeradius at %s:\n%s", f.addr, f.log.String())
		}
	})
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(f.log.String(), "Ready to process requests"); {
		if time.Now().After(deadline) {
			t.Fatalf("freeradius does not start:\n%s", f.log.String())
		}
		time.Sleep(20 * time.Millisecond) // polls; no timing is proven by it
	}
}

// certificates writes a CA, a server's and a client's certificate.
func certificates(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var caKey *ecdsa.PrivateKey
	var ca *x509.Certificate
	for i, name := range []string{"ca", "server", "client"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
		switch name {
		case "ca":
			c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
			ca, caKey = c, key
		case "server":
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		case "client":
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}
		der, err := x509.CreateCertificate(rand.Reader, c, ca, &key.PublicKey, caKey)
		if err != nil {
			t.Fatal(err)
		}
		private, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		write(name+".pem", "CERTIFICATE", der)
		write(name+".key", "PRIVATE KEY", private)
	}
	return dir
}

// realFront is a front before two real FreeRADIUS servers, balanced so that
// consecutive packets go to different ones unless something holds them
// together.
func realFront(t *testing.T, certs string) (*front, []*freeradius) {
	t.Helper()
	servers := []*freeradius{startFreeRADIUS(t, "127.0.0.31", certs), startFreeRADIUS(t, "127.0.0.32", certs)}
	var stand []*server
	for _, s := range servers { // only their addresses and secrets are used
		stand = append(stand, &server{t: t, key: backendSecret, at: s.addr})
	}
	f := newFront(t, setup{backends: stand, workers: 2, pool: roundRobin, options: func(o *Options) { o.Now = time.Now },
		config: func(c *Config) { c.Clients[0].MessageAuthenticator = "accept" }})
	if f.h["b0/auth"].State() != health.Up {
		t.Fatal("not up")
	}
	return f, servers
}

// TestE2ER32EAPThroughTwoFreeRADIUS: real EAP conversations of every common
// method, each over both servers at once, and the MPPE keys that reach the NAS.
func TestE2ER32EAPThroughTwoFreeRADIUS(t *testing.T) {
	if !e2e(t) {
		return
	}
	certs := certificates(t)
	f, _ := realFront(t, certs)
	for name, lines := range map[string]string{
		"MD5":           "eap=MD5\npassword=\"hello\"",
		"PEAP-MSCHAPv2": "eap=PEAP\npassword=\"hello\"\nphase2=\"auth=MSCHAPV2\"\nca_cert=\"" + certs + "/ca.pem\"",
		"TTLS-PAP":      "eap=TTLS\npassword=\"hello\"\nphase2=\"auth=PAP\"\nca_cert=\"" + certs + "/ca.pem\"",
		"TTLS-MSCHAPv2": "eap=TTLS\npassword=\"hello\"\nphase2=\"auth=MSCHAPV2\"\nca_cert=\"" + certs + "/ca.pem\"",
		"TLS":           fmt.Sprintf("eap=TLS\nca_cert=%q\nclient_cert=%q\nprivate_key=%q", certs+"/ca.pem", certs+"/client.pem", certs+"/client.key"),
	} {
		t.Run(name, func(t *testing.T) {
			conf, key := filepath.Join(t.TempDir(), "eapol.conf"), "WPA-EAP"
			args := []string{"-c", conf, "-a", f.authAddr().Addr().String(), "-p", fmt.Sprint(f.authAddr().Port()), "-s", nasSecret, "-A", "127.0.0.1", "-t", "15", "-r", "3"}
			if name == "MD5" {
				key, args = "IEEE8021X", append(args, "-n")
			}
			text := fmt.Sprintf("network={\nssid=\"x\"\nkey_mgmt=%s\nidentity=\"bob\"\n%s\n}\n", key, lines)
			if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(program(t, "eapol_test"), args...).CombinedOutput()
			if err != nil || !bytes.HasSuffix(bytes.TrimSpace(out), []byte("SUCCESS")) {
				t.Fatalf("%v\n%s", err, tail(out, 4000))
			}
			if name != "MD5" && (!bytes.Contains(out, []byte("mismatch: 0")) || bytes.Contains(out, []byte("MPPE keys OK: 0"))) {
				t.Errorf("MPPE keys:\n%s", tail(out, 600))
			}
		})
	}
	st := f.balanced()
	if st.Answers[KindAuth][AnswerReject] != [NumSources]uint64{} || st.Answers[KindAuth][AnswerChallenge][SourceBackend] < 20 {
		t.Errorf("books: %+v", st.Answers[KindAuth])
	}
	for _, b := range f.auth.Backends() {
		if b.Counters().Requests < 10 {
			t.Errorf("%s got %d requests: the conversations did not use both", b.Name(), b.Counters().Requests)
		}
	}
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

// TestE2ER14RadclientThroughFreeRADIUS: PAP, CHAP and MS-CHAP with secrets
// that differ on both sides, and Tunnel-Passwords of several tags, decrypted
// by radclient.
func TestE2ER14RadclientThroughFreeRADIUS(t *testing.T) {
	if !e2e(t) {
		return
	}
	f, _ := realFront(t, certificates(t))
	for _, tt := range []struct {
		method string
		accept bool
	}{
		{"User-Password=hello", true}, {"User-Password=wrong", false}, {"CHAP-Password=hello", true}, {"CHAP-Password=wrong", false},
		{"MS-CHAP-Password=hello", true}, {"MS-CHAP-Password=wrong", false},
	} {
		for _, ma := range []string{"", ",Message-Authenticator=0x00"} {
			cmd := exec.Command(program(t, "radclient"), "-x", "-r", "1", "-t", "4", f.authAddr().String(), "auth", nasSecret)
			cmd.Stdin = strings.NewReader("User-Name=bob," + tt.method + ma + "\n")
			out, _ := cmd.CombinedOutput() // fails for a reject too; the text tells
			want := "Received Access-Reject"
			if tt.accept {
				want = "Received Access-Accept"
			}
			if !strings.Contains(string(out), want) {
				t.Errorf("%s%s:\n%s", tt.method, ma, out)
				continue
			}
			for _, value := range []string{`Tunnel-Password:1 = "first tunnel"`, `Tunnel-Password:2 = "the second tunnel's longer password"`, "ERX-LI-Action = on", `Reply-Message = "through"`} {
				if tt.accept && !strings.Contains(string(out), value) {
					t.Errorf("%s%s: no %s in\n%s", tt.method, ma, value, out)
				}
			}
		}
	}
	cmd := exec.Command(program(t, "radclient"), "-x", "-r", "1", "-t", "4", f.authAddr().String(), "status", nasSecret)
	cmd.Stdin = strings.NewReader("Message-Authenticator=0x00\n")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "Received Access-Accept") {
		t.Errorf("status: %v\n%s", err, out)
	}
}

// TestE2ER50RadclientSendsCoA: radclient as the backend, a NAS of the test.
func TestE2ER50RadclientSendsCoA(t *testing.T) {
	if !e2e(t) {
		return
	}
	c := newCoAFront(t, false, ack)
	c.start("127.0.0.2", "s1", "alice")
	for _, tt := range []struct{ kind, attrs, want string }{
		{"coa", "Acct-Session-Id=s1,User-Name=alice", "Received CoA-ACK"},
		{"disconnect", "NAS-IP-Address=127.0.0.2,User-Name=alice", "Received Disconnect-ACK"},
		{"disconnect", "Acct-Session-Id=s9", "Error-Cause = Session-Context-Not-Found"},
		{"coa", "NAS-Identifier=nobody", "Error-Cause = Proxy-Request-Not-Routable"},
	} {
		cmd := exec.Command(program(t, "radclient"), "-x", "-r", "1", "-t", "4", c.listen(KindCoA).String(), tt.kind, backendSecret)
		cmd.Stdin = strings.NewReader(tt.attrs + ",Event-Timestamp=" + fmt.Sprint(c.clock.now().Unix()) + ",Message-Authenticator=0x00\n")
		if out, _ := cmd.CombinedOutput(); !strings.Contains(string(out), tt.want) { // fails for a NAK too; the text tells
			t.Errorf("%s %s:\n%s", tt.kind, tt.attrs, out)
		}
	}
	if n := c.nas.count(); n != 2 {
		t.Errorf("the NAS got %d", n)
	}
	var ix radwire.Index
	if p, err := radwire.Walk(c.nas.wait(2)[0].raw, &ix); err != nil || !ix.Has(radwire.AttrMessageAuthenticator) {
		t.Errorf("%x, %v", p, err)
	}
}
