package e2e

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"layeh.com/radius"
	"layeh.com/radius/rfc2868"

	"sereno/bench/e2e/harness"
	"sereno/bench/internal/radpkt"
	"sereno/bench/stub"
)

// methodUsers are users whose answers are hidden under the secret. User and its password are those of RFC 2759
// section 9.2, so that MS-CHAPv2's answer and keys are known without computing them here.
const methodUsers = `User Cleartext-Password := "clientPass"
	Filter-Id = "mschap"
tunnels Cleartext-Password := "pw-tunnels"
	Tunnel-Type:1 = L2TP,
	Tunnel-Server-Endpoint:1 = "192.0.2.1",
	Tunnel-Password:1 = "first",
	Tunnel-Type:2 = L2TP,
	Tunnel-Server-Endpoint:2 = "192.0.2.2",
	Tunnel-Password:2 = "the second, longer than two blocks of sixteen",
	Tunnel-Password:31 = "sixteen-exactly!",
	Tunnel-Password:0 = "no tag",
	ERX-LI-Action = on,
	Ascend-Send-Secret = "an-ascend-secret",
	Class = 0x00ff00ff
`

// What RFC 2759 section 9.2 and RFC 3079 section B.3 say of MS-CHAPv2 with these challenges.
const (
	mschapChallenge = "0x5b5d7c7d7b3f2f3e3c2c602132262628"
	mschap2Response = "0x070021402324255e262a28295f2b3a337c7e000000000000000082309ecd8d708b5ea08faa3981cd83544233114a3d85d6df"
	mschap2Success  = "0x07533d34303741353538393131354644304436323039463531304645394330343536363933324344413536"
	mppeSendKey     = "0x8b7cdc149b993a1ba118cb153f56dccb"
)

// TestE2ERADIUSR14EveryMethodThroughRadclient has radclient log in by PAP, CHAP, MS-CHAP and MS-CHAPv2, and decrypt
// with the NAS's secret what the servers hid under theirs.
func TestE2ERADIUSR14EveryMethodThroughRadclient(t *testing.T) {
	lab := harness.New(t)
	servers := addrs(full(lab, 1, methodUsers), full(lab, 2, methodUsers))
	s := front{servers: servers}.start(lab)
	long := strings.Repeat("x", 100)
	for _, c := range []struct {
		name, attributes string
		want             []string
	}{
		{"PAP", "User-Name=user-1,User-Password=pw-user-1", []string{"Access-Accept", "Framed-IP-Address"}},
		{"PAP with a realm", "User-Name=user-1@example.net,User-Password=pw-user-1@example.net", []string{"Access-Reject"}},
		{"PAP, a long wrong password", "User-Name=user-1,User-Password=" + long, []string{"Access-Reject"}},
		{"CHAP", "User-Name=user-2,CHAP-Password=pw-user-2", []string{"Access-Accept", "Framed-IP-Address"}},
		{"CHAP, wrong", "User-Name=user-2,CHAP-Password=wrong", []string{"Access-Reject"}},
		{"MS-CHAP", "User-Name=user-3,MS-CHAP-Password=pw-user-3", []string{"Access-Accept", "MS-CHAP-MPPE-Keys = 0x0000000000000000"}},
		{"MS-CHAP, wrong", "User-Name=user-3,MS-CHAP-Password=wrong", []string{"Access-Reject"}},
		{"MS-CHAPv2", "User-Name=User,MS-CHAP-Challenge=" + mschapChallenge + ",MS-CHAP2-Response=" + mschap2Response,
			[]string{"Access-Accept", "MS-CHAP2-Success = " + mschap2Success, "MS-MPPE-Send-Key = " + mppeSendKey, "MS-MPPE-Recv-Key = 0x"}},
		{"MS-CHAPv2, wrong", "User-Name=User,MS-CHAP-Challenge=" + mschapChallenge + ",MS-CHAP2-Response=" + strings.Replace(mschap2Response, "82309e", "82309f", 1),
			[]string{"Access-Reject"}},
		{"hidden attributes", "User-Name=tunnels,User-Password=pw-tunnels", []string{
			"Access-Accept", `Tunnel-Password:1 = "first"`, `Tunnel-Password:2 = "the second, longer than two blocks of sixteen"`,
			`Tunnel-Password:31 = "sixteen-exactly!"`, `Tunnel-Password:0 = "no tag"`, "ERX-LI-Action = on",
			`Ascend-Send-Secret = "an-ascend-secret"`, "Class = 0x00ff00ff",
		}},
	} {
		for i := range 4 { // different random authenticators, both servers
			out := radclient(lab, s.Auth, "auth", harness.NASSecret,
				fmt.Sprintf("%s,Message-Authenticator=0x00,Calling-Station-Id=line-%d", c.attributes, i))
			_, reply, _ := strings.Cut(out, "Received ")
			for _, want := range c.want {
				if !strings.Contains(reply, want) {
					t.Errorf("%s: no %s:\n%s", c.name, want, out)
				}
			}
		}
	}
	if a, b := handed(s, "server-1"), handed(s, "server-2"); a == 0 || b == 0 {
		t.Errorf("server-1 got %g requests, server-2 %g", a, b)
	}
	s.WaitIdle()
}

// TestE2ERADIUSR14TunnelPasswordsDecryptAtTheNAS reads the same answer with another implementation.
func TestE2ERADIUSR14TunnelPasswordsDecryptAtTheNAS(t *testing.T) {
	lab := harness.New(t)
	s := front{servers: addrs(full(lab, 1, methodUsers))}.start(lab)
	conn := from(t, lab.Addr(hostSource), 0, s.Auth)
	request := login(t, harness.NASSecret, 9, "tunnels", true)
	send(t, conn, request)
	packet, err := radius.Parse(receive(t, conn, 4*time.Second), []byte(harness.NASSecret))
	if err != nil {
		t.Fatal(err)
	}
	if packet.Code != radius.CodeAccessAccept || packet.Identifier != 9 {
		t.Fatalf("%s %d", packet.Code, packet.Identifier)
	}
	sent := &radius.Packet{Authenticator: [16]byte(request[4:20]), Secret: []byte(harness.NASSecret)}
	tags, passwords, err := rfc2868.TunnelPassword_GetStrings(packet, sent)
	if err != nil {
		t.Fatal(err)
	}
	want := map[byte]string{1: "first", 2: "the second, longer than two blocks of sixteen", 31: "sixteen-exactly!", 0: "no tag"}
	for i, tag := range tags {
		if want[tag] != passwords[i] {
			t.Errorf("tag %d: %q", tag, passwords[i])
		}
		delete(want, tag)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

// login makes an Access-Request by PAP of a user that package stub knows, signed or not.
func login(t *testing.T, secret string, id byte, user string, signed bool, more ...[]byte) []byte {
	t.Helper()
	var auth [16]byte
	if _, err := rand.Read(auth[:]); err != nil {
		t.Fatal(err)
	}
	keyer := radpkt.NewKeyer([]byte(secret))
	p := radpkt.Start(nil, radpkt.AccessRequest, id)
	if signed {
		p = radpkt.Attr(p, radpkt.MessageAuthenticator, make([]byte, 16))
	}
	p = radpkt.AttrString(p, radpkt.UserName, user)
	p = keyer.HidePassword(p, stub.Login(user).Password, auth)
	p = radpkt.AttrString(p, radpkt.CallingStationID, "line-"+user)
	p = append(p, bytes.Join(more, nil)...)
	keyer.SignRequest(p, auth)
	return p
}

// status makes a Status-Server, signed or not.
func status(t *testing.T, secret string, id byte, signed bool) []byte {
	t.Helper()
	var auth [16]byte
	if _, err := rand.Read(auth[:]); err != nil {
		t.Fatal(err)
	}
	p := radpkt.Start(nil, radpkt.StatusServer, id)
	if signed {
		p = radpkt.Attr(p, radpkt.MessageAuthenticator, make([]byte, 16))
	}
	p = radpkt.Attr(p, radpkt.ProxyState, []byte("asker's"))
	radpkt.NewKeyer([]byte(secret)).SignRequest(p, auth)
	return p
}

// TestE2ERADIUSR35StatusServerIsAnsweredByTheFront asks both ports with radclient, then unsigned, with a wrong
// secret, and with every server dead: silence.
func TestE2ERADIUSR35StatusServerIsAnsweredByTheFront(t *testing.T) {
	lab := harness.New(t)
	one, two := full(lab, 1, ""), full(lab, 2, "")
	s := front{servers: addrs(one, two)}.start(lab)
	for _, c := range []struct {
		to   string
		want string
	}{{s.Auth.String(), "Received Access-Accept"}, {s.Acct.String(), "Received Accounting-Response"}} {
		out, _ := lab.Output("Message-Authenticator=0x00", "radclient", "-x", "-r", "1", "-t", "2", c.to, "status", harness.NASSecret)
		if !strings.Contains(out, c.want) {
			t.Errorf("Status-Server to %s:\n%s", c.to, out)
		}
	}
	conn := from(t, lab.Addr(hostSource), 0, s.Auth)
	send(t, conn, status(t, harness.NASSecret, 1, true))
	reply := receive(t, conn, time.Second)
	if reply == nil || reply[0] != radpkt.AccessAccept || string(radpkt.Find(reply, radpkt.ProxyState)) != "asker's" {
		t.Errorf("signed: %x", reply)
	}
	send(t, conn, status(t, harness.NASSecret, 2, false))
	send(t, conn, status(t, "not-the-secret", 3, true))
	if reply := receive(t, conn, 300*time.Millisecond); reply != nil {
		t.Errorf("unsigned or under a wrong secret: %x", reply)
	}
	for _, f := range []*harness.FreeRADIUS{one, two} {
		f.Kill()
	}
	s.WaitBackend("server-1", "auth", "down")
	s.WaitBackend("server-2", "auth", "down")
	send(t, conn, status(t, harness.NASSecret, 4, true))
	if reply := receive(t, conn, 300*time.Millisecond); reply != nil {
		t.Errorf("with every server dead: %x", reply)
	}
	one.Start()
	s.WaitBackend("server-1", "auth", "up")
	send(t, conn, status(t, harness.NASSecret, 5, true))
	if reply := receive(t, conn, time.Second); reply == nil {
		t.Error("no answer with one server back")
	}
	for reason, want := range map[string]float64{"unsigned": 1, "message-authenticator": 1, "no-backend": 1} {
		if n := dropped(s, reason); n != want {
			t.Errorf("%g drops for %s, want %g", n, reason, want)
		}
	}
	if n := s.Metrics().Sum("sereno_radius_requests_total", "kind", "status"); n != 7 {
		t.Errorf("%g Status-Servers are counted", n)
	}
	s.WaitIdle()
}
