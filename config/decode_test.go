package config

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestO01Values reads every type of value into the section that has it.
func TestO01Values(t *testing.T) {
	c := mustParse(t, `
node: {name: 007}
pools:
  - name: off
    protocol: dns
    timeout: 1.5s
    retry_budget: 1e-1
    backends:
      - {name: a-1, address: 10.0.0.11, backup: True}
      - {name: null-1, address: '10.0.0.12', weight: +3}
    health: {slow_start: 0, dns: {name: "a.example.", rcodes: [NOERROR, NXDOMAIN]}}
  - name: servers
    protocol: radius
    backends:
      - {name: a, address: 10.0.0.21, secret: 0123456789}
      - {name: b, address: 10.0.0.22, secret: "with: colon # and hash"}
dns:
  - name: yes
    listen:
    - 192.0.2.53:53
    - "[2001:db8::53]:53"
    pool: off
    allow: [0.0.0.0/0, "::/0"]
    cache: {negative_ttl: 1d12h}
radius:
  - name: pppoe
    auth: ["192.0.2.18:1812"]
    pool: servers
    clients:
      - name: bras-1
        address: 10.1.0.0/16
        secret: |-
          several words of it
    survival: {mode: off}
`)
	var got []any
	p := c.Pools[0]
	got = append(got, c.Node.Name, p.Name, p.Config.Timeout, p.RetryBudget, p.Backends[0].Name, p.Backends[0].Backup, p.Backends[1].Weight,
		p.Health.SlowStart, p.Health.DNS.Rcodes, c.Pools[1].Backends[0].RADIUS.Secret, c.Pools[1].Backends[1].RADIUS.Secret,
		c.DNS[0].Name, c.DNS[0].Listen, c.DNS[0].Allow, c.DNS[0].Cache.NegativeTTL, c.RADIUS[0].Clients[0].Secret, c.RADIUS[0].Survival.Mode)
	want := []any{"007", "off", 1500 * time.Millisecond, 0.1, "a-1", true, 3,
		time.Duration(0), []string{"NOERROR", "NXDOMAIN"}, "0123456789", "with: colon # and hash",
		"yes", []string{"192.0.2.53:53", "[2001:db8::53]:53"}, []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")},
		36 * time.Hour, []string{"several words of it"}, "off"}
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("value %d is %#v, want %#v", i, got[i], want[i])
		}
	}
}

// TestO01DefaultsDependOnProtocol: the protocol counts wherever it stands in the pool.
func TestO01DefaultsDependOnProtocol(t *testing.T) {
	c := mustParse(t, replace(t, replace(t, radiusText, "    protocol: radius\n", ""), "radius:\n", "    protocol: radius\nradius:\n"))
	p := c.Pools[0]
	if p.Balance != "hash" || p.Attempts != 2 || p.Health.Interval != 2*time.Second || len(p.HashKey) != 2 {
		t.Errorf("defaults of dns in a radius pool: %s %d %v %v", p.Balance, p.Attempts, p.Health.Interval, p.HashKey)
	}
	p = mustParse(t, dnsText).Pools[0]
	if p.Balance != "least-outstanding" || p.Attempts != 3 || p.Health.Interval != time.Second || len(p.HashKey) != 0 {
		t.Errorf("defaults of radius in a dns pool: %s %d %v %v", p.Balance, p.Attempts, p.Health.Interval, p.HashKey)
	}
}

// TestO01Durations covers units, sums and what is refused.
func TestO01Durations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"500ms": 500 * time.Millisecond, "2s": 2 * time.Second, "7d": 7 * 24 * time.Hour, "1d12h": 36 * time.Hour, "0": 0, "0s": 0,
		"1.5d": 36 * time.Hour, "400d": 400 * 24 * time.Hour, "1h30m": 90 * time.Minute,
	} {
		if got, message := parseDuration(text); got != want || message != "" {
			t.Errorf("%s: %v %s", text, got, message)
		}
	}
	for _, text := range []string{"", "5", "-1s", "-1d", "1d-2d", "1dd", "d", "1w", "1 s", "1e3d5", "99999999999h", "999999d", "1e400d", "NaNd", "infd", "0x1d", "1d2", "1_0s"} {
		if got, message := parseDuration(text); message == "" {
			t.Errorf("%q was read as %v", text, got)
		}
	}
	for _, d := range []time.Duration{0, time.Millisecond, 400 * time.Millisecond, 1500 * time.Millisecond, 2 * time.Second, 90 * time.Second, time.Hour, 24 * time.Hour, 36 * time.Hour, 400 * 24 * time.Hour, 12345678} {
		if got, message := parseDuration(durationText(int64(d))); got != d || message != "" {
			t.Errorf("%v is written %q and read %v %s", d, durationText(int64(d)), got, message)
		}
	}
}

// TestO01Hints: what stands after "unknown key" helps.
func TestO01Hints(t *testing.T) {
	for _, c := range []struct{ word, want string }{
		{"adress", "address"}, {"listen_", "listen"}, {"udp-size", "udp_size"}, {"UDPSize", "udp_size"}, {"polo", "pool"},
		{"xyzzy", ""}, {"a", ""}, {strings.Repeat("x", 5000), ""},
	} {
		if got := nearest(c.word, []string{"address", "listen", "udp_size", "pool"}); got != c.want {
			t.Errorf("%.20q: %q, want %q", c.word, got, c.want)
		}
	}
	if d := distance("abcd", "abdc"); d != 1 {
		t.Errorf("a swap is %d edits", d)
	}
}

// TestO01AliasesAreBounded: a few lines that name each other would stand for
// billions of values.
func TestO01AliasesAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 20; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	b.WriteString("dns: *a19\nradius: &r [*a19, *a19]\n")
	// A list of many items, each naming a long list of strings: types bound the
	// depth, so that this is the widest that the structs allow.
	long := strings.TrimSuffix(strings.Repeat("x, ", 5000), ", ")
	fmt.Fprintf(&b, "include: &long [%s]\nanycast:\n", long)
	for range 5000 {
		b.WriteString("  - {communities: *long, requires: *long}\n")
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	c, report := Parse("test.yaml", []byte(b.String()), Options{NoFiles: true})
	runtime.ReadMemStats(&after)
	if c != nil || len(report.Errors) == 0 {
		t.Fatal("accepted")
	}
	if !slices.ContainsFunc(report.Errors, func(p Problem) bool { return strings.Contains(p.Message, "stand for more than 1048576 values") }) {
		t.Errorf("not said: %.2000v", report.Err())
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 4<<30 {
		t.Errorf("%d MiB allocated in %v", used>>20, time.Since(start))
	}
	if len(report.Errors) > maxProblems+1 {
		t.Errorf("%d errors told", len(report.Errors))
	}
}

// TestO01InputIsBounded: size, nesting and number of messages.
func TestO01InputIsBounded(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"large":        {strings.Repeat("# comment\n", maxFile/10+1), "larger than 16 MiB"},
		"brackets":     {"a: " + strings.Repeat("[", 100_000), "nested too deeply"},
		"braces":       {strings.Repeat("{a: ", 100_000), "nested too deeply"},
		"dashes":       {strings.Repeat("- ", 100_000), "nested too deeply"},
		"questions":    {strings.Repeat("? ", 100_000), "nested too deeply"},
		"tags":         {"a: " + strings.Repeat("!!x ", 100_000), "nested too deeply"},
		"unknown keys": {manyKeys(20_000), "more from here on are not shown"},
	} {
		_, report := Parse("test.yaml", []byte(c.text), Options{NoFiles: true})
		if err := report.Err(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %.300v", name, err)
		}
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "key%d: x\n", i)
	}
	return b.String()
}

// TestO01LargeConfiguration: 20,000 clients are read within the bounds.
func TestO01LargeConfiguration(t *testing.T) {
	var b strings.Builder
	b.WriteString(radiusText)
	for i := range 20_000 {
		fmt.Fprintf(&b, "      - {name: nas-%d, address: 10.%d.%d.2, secret: nas-secret-%d}\n", i, 2+i/256, i%256, i)
	}
	c := mustParse(t, b.String())
	if n := len(c.RADIUS[0].Clients); n != 20_001 {
		t.Errorf("%d clients", n)
	}
	if changes := Diff(c, c); len(changes) != 0 {
		t.Errorf("it differs from itself: %v", changes)
	}
}

// TestO01PositionsCountCharacters: neither a byte order mark, nor Windows line
// ends, nor letters of several bytes shift a position.
func TestO01PositionsCountCharacters(t *testing.T) {
	text := "\ufeff# é\r\nlog: {level: \"ü\", format: xml} # é\r\nadmin: {listen: 'é', sockets: x}\r\n"
	_, report := Parse("test.yaml", []byte(text), Options{NoFiles: true})
	want := []string{
		`2:14: log.level: must be debug, info, warn or error, not "ü"`,
		`2:27: log.format: must be console or json, not "xml"`,
		`3:17: admin.listen: must be an IP address and a port (127.0.0.1:8053 or [::1]:8053), not "é"`,
		`3:22: admin.sockets: unknown key; did you mean "socket"?`,
	}
	if got := problemLines(report.Errors); !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestO01PositionsAreTrue: at every place that the tree names stands the key or
// the value, in the reference and in all good files.
func TestO01PositionsAreTrue(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.good.yaml")
	checked := 0
	for _, file := range append(files, "reference.yaml") {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(data), "\n")
		at := func(p Position, want string) {
			checked++
			rest := string([]rune(lines[p.Line-1])[p.Column-1:])
			if !strings.HasPrefix(strings.TrimLeft(rest, `"'`), want) && !strings.HasPrefix(rest, ">-") {
				t.Errorf("%v: %q, want %q", p, rest, want)
			}
		}
		var visit func(n *node)
		visit = func(n *node) {
			for _, e := range n.entries {
				at(e.pos, e.key)
				visit(e.value)
			}
			for _, item := range n.items {
				visit(item)
			}
			if n.kind == scalar {
				at(n.pos, n.text)
			}
		}
		visit(parseTree(file, data, func(p Position, path, m string) { t.Errorf("%v %s: %s", p, path, m) }))
	}
	if checked < 800 {
		t.Errorf("only %d places", checked)
	}
}

// TestO01NotText: what no editor would show as it was meant is refused at its place.
func TestO01NotText(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"log: {level: info}\nnode: {name: \"é\xff\"}\n", "test.yaml:2:16: error: not UTF-8 text"},
		{"log: {level: info}\x1b[31m\n", "test.yaml:1:19: error: a control character (0x1b)"},
		{"log: {level: info}\rnode: {name: x}\n", "test.yaml:1:19: error: a control character (0x0d)"},
		{"log:\n \tlevel: info\n", "test.yaml:2:2: error: a tab in the indentation; indent with spaces"},
		{"log: {level: info}\n\t\n", "test.yaml:2:1: error: a tab in the indentation; indent with spaces"},
		{"\x00", "test.yaml:1:1: error: a control character (0x00)"},
		{strings.Repeat("k", 300) + ": 1\n", "test.yaml:1:1: error: \"" + strings.Repeat("k", 40) + "…\": unknown key"},
		{"\"\\n\": 1\n", "test.yaml:1:1: error: \"\\n\": unknown key"},
	} {
		_, report := Parse("test.yaml", []byte(c.text), Options{NoFiles: true})
		if len(report.Errors) != 1 || report.Err().Error() != c.want {
			t.Errorf("%.40q: %v\nwant %s", c.text, report.Err(), c.want)
		}
	}
	// A tab between words is no indentation.
	mustParse(t, "log:\t{level:\tinfo}\t# comment\n"+dnsText)
}
