package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"sereno/bench/e2e/harness"
	"sereno/bench/stub"
)

// TestE2ERADIUSR60Survival: both real servers are killed; who has logged in before gets in, over a restart of the node
// too, and nobody else does; when a server is back it has the word again.
func TestE2ERADIUSR60Survival(t *testing.T) {
	t.Parallel()
	lab := harness.New(t)
	one, two := full(lab, 1, ""), full(lab, 2, "")
	account := stub.Login("user-0")
	s := front{servers: addrs(one, two), service: fmt.Sprintf("    survival: {mode: known-password, session_timeout: 30m, static_prefixes: [%s]}\n",
		netip.PrefixFrom(netip.AddrFrom4(account.Framed), 32))}.start(lab)
	s.WaitBackend("server-1", "auth", "up")
	s.WaitBackend("server-2", "auth", "up")
	login := func(user, method, password string) string {
		return radclient(lab, s.Auth, "auth", harness.NASSecret, fmt.Sprintf("User-Name=%s,%s=%s,Message-Authenticator=0x00", user, method, password))
	}
	accepted := func(what, out string, memory bool) {
		t.Helper()
		if !strings.Contains(out, "Received Access-Accept") || strings.Contains(out, "Session-Timeout") != memory {
			t.Errorf("%s:\n%s", what, out)
		}
		if !strings.Contains(out, "Framed-IP-Address = "+netip.AddrFrom4(account.Framed).String()) {
			t.Errorf("%s: the static address is missing:\n%s", what, out)
		}
	}
	silent := func(what, out string) {
		t.Helper()
		if strings.Contains(out, "Received Access") {
			t.Errorf("%s was answered:\n%s", what, out)
		}
	}
	accepted("a login", login("user-0", "User-Password", account.Password), false)
	other := stub.Login("user-1")
	if out := login("user-1", "User-Password", other.Password); !strings.Contains(out, "Received Access-Accept") {
		t.Fatal(out)
	}
	if out := login("user-1", "CHAP-Password", "wrong"); !strings.Contains(out, "Received Access-Reject") {
		t.Fatal(out)
	}
	one.Kill()
	two.Kill()
	s.WaitBackend("server-1", "auth", "down")
	s.WaitBackend("server-2", "auth", "down")
	accepted("a login from memory", login("user-0", "User-Password", account.Password), true)
	silent("a wrong password", login("user-0", "User-Password", "wrong"))
	silent("CHAP", login("user-0", "CHAP-Password", account.Password))
	silent("a user who was rejected since", login("user-1", "User-Password", other.Password))

	s.Kill()
	s.Start()
	s.WaitLives()
	s.WaitBackend("server-1", "auth", "down")
	s.WaitBackend("server-2", "auth", "down")
	accepted("a login from memory, after a kill of the node", login("user-0", "User-Password", account.Password), true)
	if n := s.Metrics().Sum("sereno_radius_answers_total", "source", "survival"); n != 1 {
		t.Errorf("%g answers from memory are counted", n)
	}

	one.Start()
	s.WaitBackend("server-1", "auth", "up")
	accepted("a login with a server back", login("user-0", "User-Password", account.Password), false)
	s.WaitIdle()
}
