package main

import (
	"bytes"
	"context"
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"sereno/bench/stub"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// loadgen runs the command and gives its exit code and what it printed.
func loadgen(t *testing.T, args ...string) (int, string, string) {
	t.Helper()
	var out, errs bytes.Buffer
	code := execute(context.Background(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestExitCodesAndBooks(t *testing.T) {
	anyPort := netip.MustParseAddrPort("127.0.0.1:0")
	r, err := stub.NewResolver(stub.ResolverConfig{Addr: anyPort})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s, err := stub.NewRADIUS(stub.RADIUSConfig{Auth: anyPort, Acct: anyPort, Secret: []byte("s")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	dns, auth, acct := r.Addr().String(), s.Addr(stub.Auth).String(), s.Addr(stub.Acct).String()
	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		{0, "sent             100", []string{"dns", "--target", dns, "--rate", "2000", "--limit", "100", "--names", "10", "--types", "A,txt"}},
		{0, "answered         100", []string{"radius", "--auth", auth, "--acct", acct, "--secret", "s", "--rate", "2000", "--limit", "100", "--accounting", "1"}},
		{1, "lost              20", []string{"radius", "--auth", auth, "--secret", "wrong", "--rate", "2000", "--limit", "20", "--timeout", "100ms"}},
		{1, "wrong             20", []string{"dns", "--target", dns, "--rate", "2000", "--limit", "20", "--names", "5"}},
		{1, "not an address of this host", []string{"dns", "--target", "192.0.2.1:53"}},
		{1, "--types", []string{"dns", "--target", dns, "--types", "MX"}},
		{1, "nothing to serve", []string{"stub"}},
		{2, "unknown flag", []string{"dns", "--nonsense"}},
		{2, "unknown command", []string{"gopher"}},
	} {
		if c.want == "wrong             20" {
			if err := r.Set(stub.Mode{Fault: stub.Refused}); err != nil {
				t.Fatal(err)
			}
		}
		code, out, errs := loadgen(t, c.args...)
		if code != c.code || !strings.Contains(out+errs, c.want) {
			t.Errorf("%v: exit code %d instead of %d\n%s%s", c.args, code, c.code, out, errs)
		}
	}
}

// TestStubServesUntilTold starts the simulated servers with a context that has ended.
func TestStubServesUntilTold(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var out, errs bytes.Buffer
	code := execute(ctx, []string{"stub", "--dns", "127.0.0.1:0", "--auth", "127.0.0.1:0", "--acct", "127.0.0.1:0", "--secret", "s"}, &out, &errs)
	if code != 0 || !strings.Contains(out.String(), "dns     on 127.0.0.1:") || !strings.Contains(out.String(), "radius  on 127.0.0.1:") {
		t.Errorf("exit code %d\n%s%s", code, &out, &errs)
	}
}
