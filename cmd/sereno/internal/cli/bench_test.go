package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sereno/bench/capacity"
	"sereno/bench/stub"
	"sereno/cmd/sereno/internal/admin"
)

// benchServers are simulated servers, and where they listen.
func benchServers(t *testing.T) (r *stub.Resolver, dns, auth, acct string) {
	t.Helper()
	anyPort := netip.MustParseAddrPort("127.0.0.1:0")
	r, err := stub.NewResolver(stub.ResolverConfig{Addr: anyPort})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	s, err := stub.NewRADIUS(stub.RADIUSConfig{Auth: anyPort, Acct: anyPort, Secret: []byte("s3cret"), Demand: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return r, r.Addr().String(), s.Addr(stub.Auth).String(), s.Addr(stub.Acct).String()
}

// bench runs `sereno bench …` and gives its exit code and what it printed.
func bench(ctx context.Context, args ...string) (int, string, string) {
	var out, errs bytes.Buffer
	code := Execute(ctx, Root(admin.Build{}), append([]string{"bench"}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

// fitBench is bench, again where the machine was too busy to measure anything.
func fitBench(t *testing.T, length time.Duration, args ...string) (code int, out, errs string) {
	t.Helper()
	for range 10 {
		ctx, cancel := context.WithTimeout(t.Context(), length)
		code, out, errs = bench(ctx, args...)
		cancel()
		if !strings.Contains(out, "unfit") {
			break
		}
	}
	return code, out, errs
}

func benchFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestO10BenchExitCodesAndBooks runs each command against simulated servers.
func TestO10BenchExitCodesAndBooks(t *testing.T) {
	r, dns, auth, acct := benchServers(t)
	names := benchFile(t, "www.example.net A\nip-192-0-2-7.example.net A NOERROR 192.0.2.7\n")
	wrongNames := benchFile(t, "www.example.net A NXDOMAIN\n")
	users := benchFile(t, "user-1 pw-user-1\nreject-2 pw-reject-2 reject\n")
	secret := benchFile(t, "s3cret\n")
	fast := []string{"--rate", "1000", "--for", "300ms", "--timeout", "1s"}
	for _, c := range []struct {
		name string
		code int
		want string
		args []string
	}{
		{"made up names", 0, "held", append([]string{"dns", "--target", dns, "--simulated", "--names", "10", "--zipf", "1", "--types", "A,txt"}, fast...)},
		{"a list", 0, "held", append([]string{"dns", "--target", dns, "--list", names, "--do", "--workers", "2"}, fast...)},
		{"TCP", 0, "(tcp)", append([]string{"dns", "--target", dns, "--transport", "tcp"}, fast...)},
		{"closed loop", 0, "fixed            -", []string{"dns", "--target", dns, "--closed", "5", "--for", "200ms"}},
		{"many sources", 0, "held", append([]string{"dns", "--target", dns, "--source", "127.4.0.0/28,127.5.0.1"}, fast...)},
		{"logins", 0, "held", append([]string{"radius", "--auth", auth, "--acct", acct, "--secret-file", secret, "--simulated", "--chap", "1", "--mschap", "1", "--accounting", "3", "--reject", "5"}, fast...)},
		{"a list of subscribers", 0, "held", append([]string{"radius", "--auth", auth, "--secret-file", secret, "--users", users, "--mschap", "1"}, fast...)},
		{"a ramp", 0, "held", []string{"dns", "--target", dns, "--ramp", "200:400", "--steps", "2", "--for", "100ms"}},
		{"wrong answers", 1, "wrong rcode", append([]string{"dns", "--target", dns, "--list", wrongNames}, fast...)},
		{"a wrong secret", 1, "not held", append([]string{"radius", "--auth", auth, "--secret", "wrong", "--simulated"}, fast...)},
		{"another host", 2, "--allow-remote", []string{"dns", "--target", "192.0.2.1:53"}},
		{"another host", 2, "--allow-remote", []string{"radius", "--auth", "[2001:db8::1]:1812", "--secret", "s", "--simulated"}},
		{"no port", 2, "--target", []string{"dns", "--target", "127.0.0.1"}},
		{"no type", 2, "--types", []string{"dns", "--types", "WHAT"}},
		{"no transport", 2, "--transport", []string{"dns", "--transport", "pigeon"}},
		{"no file", 2, "--list", []string{"dns", "--list", "/nonexistent"}},
		{"no ramp", 2, "--ramp", []string{"dns", "--ramp", "5"}},
		{"no source", 2, "--source", []string{"dns", "--source", "here"}},
		{"a negative rate", 2, "rate", []string{"dns", "--rate=-5"}},
		{"a negative bound", 2, "loss", []string{"dns", "--target", dns, "--max-loss=-5"}},
		{"no secret", 2, "no secret", []string{"radius", "--simulated"}},
		{"whose logins", 2, "--users", []string{"radius", "--secret", "s"}},
		{"nothing to serve", 2, "nothing to serve", []string{"stub"}},
		{"two shapes", 2, "search", []string{"dns", "--search", "--ramp", "1:2"}},
		{"no command", 2, "which", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := fitBench(t, time.Minute, c.args...)
			if code != c.code || !strings.Contains(out+errs, c.want) {
				t.Errorf("%v: exit code %d instead of %d\n%s%s", c.args, code, c.code, out, errs)
			}
		})
	}
	if n := r.Stats().Malformed; n > 0 {
		t.Errorf("%d malformed queries", n)
	}
}

// TestO10BenchShowsNoSecret looks for the secret in everything that a measurement writes.
func TestO10BenchShowsNoSecret(t *testing.T) {
	_, _, auth, _ := benchServers(t)
	page := filepath.Join(t.TempDir(), "page.html")
	code, out, errs := fitBench(t, time.Minute, "radius", "--auth", auth, "--secret", "s3cret", "--simulated", "--rate", "500", "--for", "100ms", "--json", "--html", page)
	html, err := os.ReadFile(page)
	if err != nil || code != 0 {
		t.Fatalf("exit code %d, %v\n%s", code, err, errs)
	}
	var r capacity.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.Total.Sent == 0 || !strings.Contains(r.Command, "--secret …") {
		t.Errorf("%v: %s", err, out)
	}
	if strings.Contains(out+errs+string(html), "s3cret") {
		t.Error("the secret is shown")
	}
}

// TestO10BenchReportsWhenInterrupted ends a long measurement as Ctrl-C does.
func TestO10BenchReportsWhenInterrupted(t *testing.T) {
	_, dns, _, _ := benchServers(t)
	code, out, errs := fitBench(t, 500*time.Millisecond, "dns", "--target", dns, "--rate", "1000", "--for", "1h")
	if code != 0 || !strings.Contains(out, "interrupted: ") || !strings.Contains(out, "held") {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
}

// TestO10BenchStubServesUntilTold starts the simulated servers with a context that has ended.
func TestO10BenchStubServesUntilTold(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	t.Setenv(benchSecretVariable, "s")
	code, out, errs := bench(ctx, "stub", "--dns", "127.0.0.1:0", "--auth", "127.0.0.1:0", "--acct", "127.0.0.1:0")
	if code != 0 || !strings.Contains(out, "dns     on 127.0.0.1:") || !strings.Contains(out, "radius  on 127.0.0.1:") {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
}

func TestShellWords(t *testing.T) {
	for word, want := range map[string]string{"a-b.c/1:2": "a-b.c/1:2", "": "''", "it's": `'it'\''s'`, "a b": "'a b'", "$x": "'$x'"} {
		if got := shellWord(word); got != want {
			t.Errorf("%q: %s", word, got)
		}
	}
}
