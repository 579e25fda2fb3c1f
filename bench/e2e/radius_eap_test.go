package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sereno/bench/e2e/harness"
	"sereno/bench/internal/radpkt"
	"sereno/bench/internal/servers"
	"sereno/bench/stub"
)

const eapModule = `eap {
		default_eap_type = md5
		timer_expire = 60
		max_sessions = 4096
		md5 {
		}
		tls-config tls-common {
			private_key_file = DIR/../pki/server.key
			certificate_file = DIR/../pki/server.pem
			ca_file = DIR/../pki/ca.pem
			ecdh_curve = "prime256v1"
			tls_min_version = "1.2"
			tls_max_version = "1.2"
			fragment_size = 300
		}
		tls {
			tls = tls-common
		}
		ttls {
			tls = tls-common
			default_eap_type = md5
			virtual_server = "inner"
		}
		peap {
			tls = tls-common
			default_eap_type = mschapv2
			virtual_server = "inner"
		}
		mschapv2 {
		}
	}`

const innerServer = `server inner {
	authorize {
		mschap
		eap {
			ok = return
		}
		files
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

// eapServer starts the lab's nth FreeRADIUS server with EAP. The fragments of its certificate are small, so that a
// handshake takes many packets.
func eapServer(lab *harness.Lab, n int) *harness.FreeRADIUS {
	name := fmt.Sprintf("server-%d", n)
	return lab.FreeRADIUSAs(name, servers.FreeRADIUS{
		Addr: lab.Addr(byte(hostFull + n)), Name: name, RejectAtOnce: true,
		Modules: eapModule, Authorize: "eap {\n\t\t\tok = return\n\t\t}", Authenticate: "eap", Servers: innerServer,
	})
}

// pki makes an authority with a server's and a subscriber's certificate in the lab's folder pki.
func pki(t *testing.T, lab *harness.Lab) {
	t.Helper()
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	caKey := key()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lab authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	issue := func(file string, c *x509.Certificate, k *ecdsa.PrivateKey) {
		der, err := x509.CreateCertificate(rand.Reader, c, ca, &k.PublicKey, caKey)
		if err != nil {
			t.Fatal(err)
		}
		private, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		lab.Write("pki/"+file+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
		lab.Write("pki/"+file+".key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	}
	issue("ca", ca, caKey)
	for i, name := range []string{"server", "client"} {
		issue(name, &x509.Certificate{
			SerialNumber: big.NewInt(int64(2 + i)), Subject: pkix.Name{CommonName: name + ".example.net"}, DNSNames: []string{name + ".example.net"},
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{[]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}[i]},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		}, key())
	}
}

// eapMethods are eapol_test's configurations by method; USER is the subscriber, PKI the certificates' folder.
var eapMethods = []struct{ name, config string }{
	{"MD5", `key_mgmt=IEEE8021X
	eapol_flags=0
	eap=MD5
	identity="USER"
	password="pw-USER"`},
	{"PEAP-MSCHAPv2", `key_mgmt=WPA-EAP
	eap=PEAP
	identity="USER"
	password="pw-USER"
	phase2="auth=MSCHAPV2"
	ca_cert="PKI/ca.pem"`},
	{"TTLS-PAP", `key_mgmt=WPA-EAP
	eap=TTLS
	identity="USER"
	anonymous_identity="USER"
	password="pw-USER"
	phase2="auth=PAP"
	ca_cert="PKI/ca.pem"`},
	{"TLS", `key_mgmt=WPA-EAP
	eap=TLS
	identity="USER"
	ca_cert="PKI/ca.pem"
	client_cert="PKI/client.pem"
	private_key="PKI/client.key"`},
}

// eapol has subscriber i log in by the method through the node, and gives what went wrong, or "".
func eapol(lab *harness.Lab, s *harness.Sereno, method int, i int) string {
	m := eapMethods[method]
	config := strings.NewReplacer("USER", fmt.Sprintf("user-%d", i), "PKI", lab.Dir()+"/pki").Replace(m.config)
	file := lab.Write(fmt.Sprintf("eapol-%s-%d.conf", m.name, i), "network={\n\t"+config+"\n}\n")
	args := []string{"-c", file, "-a", s.Auth.Addr().String(), "-p", strconv.Itoa(int(s.Auth.Port())), "-s", harness.NASSecret,
		"-t", "20", "-M", fmt.Sprintf("02:00:00:00:%02x:%02x", method, i)}
	if m.name == "MD5" {
		args = append(args, "-n") // it makes no keys
	}
	out, code := lab.Output("", "eapol_test", args...)
	switch {
	case code != 0 || !strings.HasSuffix(strings.TrimSpace(out), "SUCCESS"):
		return fmt.Sprintf("%s of user-%d ended with %d:\n%s", m.name, i, code, last(out, 25))
	case m.name != "MD5" && !strings.Contains(out, "MPPE keys OK: 1  mismatch: 0"):
		return fmt.Sprintf("%s of user-%d: no word of good MPPE keys:\n%s", m.name, i, last(out, 10))
	case strings.Contains(out, "Access-Reject"):
		return fmt.Sprintf("%s of user-%d met an Access-Reject on its way", m.name, i)
	}
	return ""
}

// last is the last n lines of a text.
func last(text string, n int) string {
	lines := strings.SplitAfter(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "")
}

// everyMethod has n subscribers log in by each method, eight at a time, and fails the test for each that could not.
func everyMethod(t *testing.T, lab *harness.Lab, s *harness.Sereno, n int) {
	t.Helper()
	wrong := make(chan string, n*len(eapMethods))
	slots := make(chan struct{}, 8)
	var all sync.WaitGroup
	begin := time.Now()
	for i := range n {
		for method := range eapMethods {
			all.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				if why := eapol(lab, s, method, i); why != "" {
					wrong <- why
				}
			})
		}
	}
	all.Wait()
	close(wrong)
	bad := 0
	for why := range wrong {
		if bad++; bad <= 3 {
			t.Error(why)
		}
	}
	t.Logf("%d EAP conversations, 8 at a time, in %s; %d failed", n*len(eapMethods), time.Since(begin).Round(time.Millisecond), bad)
}

// TestE2ERADIUSR32EAPConversationsStickToTheirBackend has subscribers log in by every EAP method over two FreeRADIUS
// servers that do not know each other's conversations: by hash, and with round-robin, where only the State leads
// back. eapol_test compares the MPPE keys with its own. One server is killed between conversations.
func TestE2ERADIUSR32EAPConversationsStickToTheirBackend(t *testing.T) {
	for _, balance := range []string{"hash", "round-robin"} {
		t.Run(balance, func(t *testing.T) {
			lab := harness.New(t)
			pki(t, lab)
			one, two := eapServer(lab, 1), eapServer(lab, 2)
			s := front{balance: balance, servers: addrs(one, two)}.start(lab)
			everyMethod(t, lab, s, 25)
			a, b := handed(s, "server-1"), handed(s, "server-2")
			t.Logf("server-1 got %g requests, server-2 %g", a, b)
			if a < 100 || b < 100 {
				t.Error("one of the servers got hardly anything")
			}
			one.Kill()
			s.WaitBackend("server-1", "auth", "down")
			everyMethod(t, lab, s, 4)
			s.WaitIdle()
			m := s.Metrics()
			if n := m.Sum("sereno_radius_answers_total", "code", "Access-Reject"); n != 0 {
				t.Errorf("%g Access-Rejects", n)
			}
			if n := m.Sum("sereno_radius_drops_total"); n != m.Sum("sereno_radius_drops_total", "reason", "duplicate") {
				t.Errorf("%g requests were dropped", n)
			}
		})
	}
}

// TestE2ERADIUSR32LostConversationGetsSilence begins EAP-MD5, kills the server that knows the conversation, and goes
// on: silence, since the other server would reject; a new conversation then succeeds.
func TestE2ERADIUSR32LostConversationGetsSilence(t *testing.T) {
	lab := harness.New(t)
	pki(t, lab)
	servers := []*harness.FreeRADIUS{eapServer(lab, 1), eapServer(lab, 2)}
	s := front{servers: addrs(servers...)}.start(lab)
	conn := from(t, lab.Addr(hostSource), 0, s.Auth)
	keyer := radpkt.NewKeyer([]byte(harness.NASSecret))
	ask := func(id byte, state, eap []byte) []byte {
		var auth [16]byte
		_, _ = rand.Read(auth[:]) // never fails
		p := radpkt.Start(nil, radpkt.AccessRequest, id)
		p = radpkt.Attr(p, radpkt.MessageAuthenticator, make([]byte, 16))
		p = radpkt.AttrString(p, radpkt.UserName, "user-7")
		p = radpkt.AttrString(p, radpkt.CallingStationID, "line-7")
		p = radpkt.Attr(p, 79, eap)
		if state != nil {
			p = radpkt.Attr(p, radpkt.State, state)
		}
		keyer.SignRequest(p, auth)
		send(t, conn, p)
		reply := receive(t, conn, 3*time.Second)
		if reply == nil {
			return nil
		}
		if err := keyer.CheckReply(reply, auth, true); err != nil {
			t.Fatal(err)
		}
		return reply
	}
	identity := []byte("\x02\x01\x00\x0b\x01user-7")
	converse := func(id byte, interrupt func(server int)) []byte {
		challenge := ask(id, nil, identity)
		if challenge == nil || challenge[0] != radpkt.AccessChallenge {
			t.Fatalf("no Access-Challenge: %x", challenge)
		}
		eap := radpkt.Find(challenge, 79) // code, id, length, type 4, size, value
		response := radpkt.CHAP(eap[1], stub.Login("user-7").Password, eap[6:6+eap[5]])
		if interrupt != nil {
			issuer := 1
			if handed(s, "server-2") > 0 {
				issuer = 2
			}
			interrupt(issuer)
		}
		return ask(id+1, radpkt.Find(challenge, radpkt.State), append([]byte{2, eap[1], 0, 22, 4, 16}, response[:]...))
	}
	if reply := converse(1, func(server int) {
		servers[server-1].Kill()
		s.WaitBackend(fmt.Sprintf("server-%d", server), "auth", "down")
	}); reply != nil {
		t.Errorf("the lost conversation got code %d", reply[0])
	}
	if n := dropped(s, "state-lost"); n != 1 {
		t.Errorf("%g requests were dropped for their lost State", n)
	}
	if reply := converse(3, nil); reply == nil || reply[0] != radpkt.AccessAccept {
		t.Errorf("the new conversation: %x", reply)
	}
	s.WaitIdle()
}
