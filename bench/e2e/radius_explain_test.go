package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"sereno/bench/e2e/harness"
)

// TestE2ERADIUSO13ExplainTellsTheTruth asks the node which server a subscriber would meet, logs him in, and compares.
func TestE2ERADIUSO13ExplainTellsTheTruth(t *testing.T) {
	lab := harness.New(t)
	one, two, three := full(lab, 1, ""), full(lab, 2, ""), full(lab, 3, "")
	f := front{
		servers: addrs(one, two),
		pools: fmt.Sprintf("  - {name: partner, protocol: radius, backends: [{name: server-3, address: %s, secret: %s}]}\n",
			three.Addr, harness.BackendSecret),
		service: "    routes: [{realm: adsl.example.net, pool: partner, strip_realm: true}]\n",
	}
	s := f.start(lab)
	binary, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	explain := func(user string) string {
		t.Helper()
		out, code := lab.Output("", binary, "explain", "radius", user, "--nas", "127.0.0.1", "--socket", filepath.Join(lab.Dir(), "admin.sock"))
		if code != 0 {
			t.Fatalf("explain ended with %d:\n%s", code, out)
		}
		return out
	}
	compare := func(user, password string) {
		t.Helper()
		said := explain(user)
		out := radclient(lab, s.Auth, "auth", harness.NASSecret, "User-Name="+user+",User-Password="+password+",Message-Authenticator=0x00")
		_, server, _ := strings.Cut(out, `Filter-Id = "`)
		server, _, _ = strings.Cut(server, `"`)
		first, where := "", len(said)
		for _, name := range []string{"server-1", "server-2", "server-3"} {
			if at := strings.Index(said, name); at >= 0 && at < where {
				first, where = name, at
			}
		}
		if server == "" || first != server {
			t.Errorf("%s met %q; explained was %q:\n%s", user, server, first, said)
		}
	}
	for i := range 8 {
		compare(fmt.Sprintf("user-%d", i), fmt.Sprintf("pw-user-%d", i))
	}
	compare("user-1@adsl.example.net", "pw-user-1")
	t.Log(explain("user-1@adsl.example.net"))
	two.Kill()
	s.WaitBackend("server-2", "auth", "down")
	for i := range 8 {
		compare(fmt.Sprintf("user-%d", i), fmt.Sprintf("pw-user-%d", i))
	}
	t.Log(explain("user-3"))
	s.WaitIdle()
}
