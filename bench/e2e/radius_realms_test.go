package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sereno/bench/e2e/harness"
	"sereno/bench/load"
)

// TestE2ERADIUSR36RealmsGoToTheirPools has PPPoE subscribers and a partner's ADSL realm on different servers; the
// realm is stripped where the method allows that.
func TestE2ERADIUSR36RealmsGoToTheirPools(t *testing.T) {
	lab := harness.New(t)
	one, two := full(lab, 1, ""), full(lab, 2, "user-5@sub.partner.example Cleartext-Password := \"pw-user-5\"\n\tFilter-Id = \"server-2\"\n")
	s := front{
		servers: addrs(one),
		pools: fmt.Sprintf("  - {name: partner, protocol: radius, backends: [{name: partner-1, address: %s, secret: %s}]}\n",
			two.Addr, harness.BackendSecret),
		service: "    routes: [{realm: adsl.example.net, pool: partner, strip_realm: true}, {realm: \"*.partner.example\", pool: partner}]\n",
	}.start(lab)
	for _, c := range []struct{ user, method, want string }{
		{"user-1", "User-Password=pw-user-1", "server-1"},
		{"user-1@example.net", "User-Password=pw-user-1", "server-1"},
		{"user-1@adsl.example.net", "User-Password=pw-user-1", "server-2"},
		{"user-1@ADSL.Example.NET", "User-Password=pw-user-1", "server-2"},
		{"adsl.example.net/user-1", "CHAP-Password=pw-user-1", "server-2"},
		{"user-5@sub.partner.example", "User-Password=pw-user-5", "server-2"},
		{"user-1@adsl.example.net", "MS-CHAP-Password=pw-user-1", "Access-Reject"},        // not stripped: the server does not know it so
		{"user-1@partner.example", "User-Password=pw-user-1", "Access-Reject"},            // the route is for subdomains: server-1, which does not know it
		{"user-1@adsl.example.net.example", "User-Password=pw-user-1", "Access-Reject"},   // not that realm
		{"user-1@xadsl.example.net", "User-Password=pw-user-1", "Access-Reject"},          // nor this
		{"user-5@nosuch.example@sub.partner.example", "User-Password=x", "Access-Reject"}, // the last @ counts
	} {
		out := radclient(lab, s.Auth, "auth", harness.NASSecret, "User-Name=\""+c.user+"\","+c.method+",Message-Authenticator=0x00")
		_, reply, _ := strings.Cut(out, "Received ")
		if !strings.Contains(reply, c.want) {
			t.Errorf("%s by %s: no %s:\n%s", c.user, c.method, c.want, out)
		}
	}
	if a, b := handed(s, "server-1"), handed(s, "partner-1"); a != 5 || b != 6 {
		t.Errorf("server-1 got %g requests, partner-1 %g", a, b)
	}
	s.WaitIdle()
}

// TestE2ERADIUSR15TwoSecretsDuringARotation has a NAS that is given its new secret while the old one is in use.
func TestE2ERADIUSR15TwoSecretsDuringARotation(t *testing.T) {
	lab := harness.New(t)
	s := front{
		servers: addrs(full(lab, 1, methodUsers)),
		clients: "[{name: nas, address: 127.0.0.0/8, secret: [old-secret, new-secret]}]",
	}.start(lab)
	for _, secret := range []string{"old-secret", "new-secret", "old-secret", "new-secret"} {
		out := radclient(lab, s.Auth, "auth", secret, "User-Name=tunnels,User-Password=pw-tunnels,Message-Authenticator=0x00")
		if !strings.Contains(out, "Received Access-Accept") || !strings.Contains(out, `Tunnel-Password:1 = "first"`) {
			t.Errorf("under %s:\n%s", secret, out)
		}
		out = radclient(lab, s.Acct, "acct", secret, "User-Name=user-1,Acct-Status-Type=Start,Acct-Session-Id="+secret)
		if !strings.Contains(out, "Received Accounting-Response") {
			t.Errorf("accounting under %s:\n%s", secret, out)
		}
	}
	if text := s.Log(); strings.Contains(text, "old-secret") || strings.Contains(text, harness.BackendSecret) {
		t.Errorf("a secret stands in the log:\n%s", text)
	}
	s.WaitIdle()
}

// TestE2ERADIUSR37StormAfterARestart has every subscriber of a concentrator come at once, as after its restart:
// ten thousand logins in half a second. What the servers cannot answer at once the NAS repeats; nobody is rejected, and
// the servers' max_in_flight holds.
func TestE2ERADIUSR37StormAfterARestart(t *testing.T) {
	lab := harness.New(t)
	one, two := full(lab, 1, ""), full(lab, 2, "")
	s := front{servers: []netip.Addr{one.Addr, two.Addr}}.start(lab)
	_, work := radiusLoad(t, s, load.RADIUSConfig{
		Common: load.Common{Rate: 20_000, Limit: 10_000, Timeout: 12 * time.Second, Resend: 3 * time.Second, Tries: 4}, PAP: 1, CHAP: 1,
	})
	b := <-work.result
	t.Logf("10000 logins in half a second: %s", &b)
	if b.Lost != 0 || b.Wrong != 0 {
		t.Errorf("%d lost, %d wrong: %v", b.Lost, b.Wrong, b.Faulty)
	}
	s.WaitIdle()
	m := s.Metrics()
	if n := m.Sum("sereno_radius_answers_total", "code", "Access-Reject"); n != 0 {
		t.Errorf("%g Access-Rejects", n)
	}
	for _, server := range []string{"server-1", "server-2"} {
		if state := s.Status().Backend(server, "auth"); state != "up" {
			t.Errorf("%s is %s after the storm", server, state)
		}
	}
}
