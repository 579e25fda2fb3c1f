package e2e

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"sereno/bench/e2e/harness"
	"sereno/bench/load"
)

// TestE2ERADIUSReloadUnderLoad changes a running node by SIGHUP while logins go on: a server is added, the first one is
// taken away, the NAS gets a second secret, and an address more to ask. Nothing is lost, and a configuration with a
// mistake changes nothing.
func TestE2ERADIUSReloadUnderLoad(t *testing.T) {
	lab := harness.New(t)
	one, two := full(lab, 1, methodUsers), full(lab, 2, methodUsers)
	s := front{servers: addrs(one)}.start(lab)
	_, work := radiusLoad(t, s, load.RADIUSConfig{Common: load.Common{Rate: 1000, Timeout: 6 * time.Second}, PAP: 1, CHAP: 1, Acct: 1})
	work.sent(lab, 1000)
	file, err := os.ReadFile(s.ConfigFile)
	if err != nil {
		t.Fatal(err)
	}
	text := string(file)
	change := func(old, replacement string) {
		t.Helper()
		if !strings.Contains(text, old) {
			t.Fatalf("the configuration has no %q:\n%s", old, text)
		}
		text = strings.Replace(text, old, replacement, 1)
		lab.Write("sereno.yaml", text)
		s.Signal(syscall.SIGHUP)
	}
	backend := func(name string, f *harness.FreeRADIUS) string {
		return "      - {name: " + name + ", address: " + f.Addr.String() + ", secret: " + harness.BackendSecret + "}\n"
	}

	change(backend("server-1", one), backend("server-1", one)+backend("server-2", two))
	s.WaitBackend("server-2", "auth", "up")
	work.sent(lab, 1000)
	if n := handed(s, "server-2"); n < 50 {
		t.Errorf("the server that was added got %g requests", n)
	}
	change("secret: "+harness.NASSecret, "secret: ["+harness.NASSecret+", next-secret]")
	lab.Eventually(5*time.Second, "the second secret is taken", func() bool {
		return strings.Contains(radclient(lab, s.Auth, "auth", "next-secret", "User-Name=tunnels,User-Password=pw-tunnels,Message-Authenticator=0x00"), "Received Access-Accept")
	})
	more := lab.Addr(56).String() + ":1812"
	change(`auth: ["`, `auth: ["`+more+`", "`)
	lab.Eventually(5*time.Second, "the new address answers", func() bool {
		out, _ := lab.Output("Message-Authenticator=0x00", "radclient", "-r", "1", "-t", "0.3", more, "status", harness.NASSecret)
		return strings.Contains(out, "Received Access-Accept")
	})
	change(backend("server-1", one), "")
	lab.Eventually(5*time.Second, "the first server has left", func() bool { return s.Status().Backend("server-1", "auth") == "" })
	change("    pool: servers\n", "    pool: nobody\n")
	lab.Eventually(5*time.Second, "the mistake is told", func() bool { return strings.Contains(s.Log(), "nobody") })
	work.sent(lab, 1000)
	work.nothingLost("five reloads")
	s.WaitIdle()
}
