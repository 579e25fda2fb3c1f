package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"sereno/cmd/sereno/internal/admin"
)

func TestO12DrainAndUndrain(t *testing.T) {
	node, socket := startNode(t)
	for _, test := range []struct {
		args         []string
		call, stdout string
	}{
		{[]string{"drain", "node"}, "drain node 0s false", "node is drained until it is undrained\n"},
		{[]string{"drain", "pool/resolvers/tempesta", "--for", "30m", "--force"}, "drain pool/resolvers/tempesta 30m0s true", "pool/resolvers/tempesta is drained until 2026-11-23 08:30:00 UTC\n"},
		{[]string{"drain", "service/a&b=c", "--for=2d"}, "drain service/a&b=c 48h0m0s false", "service/a&b=c is drained until 2026-11-25 08:00:00 UTC\n"},
		{[]string{"undrain", "anycast/dns-vip"}, "undrain anycast/dns-vip", "anycast/dns-vip is no longer drained\n"},
	} {
		code, stdout, stderr := run(t, append(test.args, "--socket", socket)...)
		if calls := node.taken(); code != 0 || stderr != "" || stdout != test.stdout || calls != test.call {
			t.Errorf("%v: %d %q %q: %s", test.args, code, stdout, stderr, calls)
		}
	}
	node.warning = "it could not be written down"
	for _, command := range []string{"drain", "undrain"} {
		if code, stdout, stderr := run(t, command, "node", "--socket", socket); code != 0 || !strings.HasPrefix(stdout, "node is ") || stderr != "warning: it could not be written down\n" {
			t.Errorf("in force, and not on disk: %d %q %q", code, stdout, stderr)
		}
	}
	node.err = fmt.Errorf("draining: %w", admin.Refused("it would withdraw the node's last announced anycast; --force does it all the same"))
	code, stdout, stderr := run(t, "drain", "node", "--socket", socket)
	if code != 1 || stdout != "" || !strings.Contains(stderr, "sereno drain: ") || !strings.Contains(stderr, "--force does it") {
		t.Errorf("refused: %d %q %q", code, stdout, stderr)
	}
	node.err = fmt.Errorf("%w: no pool \x1b[31mx", admin.ErrNotFound)
	code, stdout, stderr = run(t, "undrain", "pool/x/y", "--socket", socket)
	if code != 1 || stdout != "" || stderr != "sereno undrain: not found: no pool \uFFFD[31mx\n" {
		t.Errorf("not found: %d %q %q", code, stdout, stderr)
	}
}

func TestO13ExplainAndFlush(t *testing.T) {
	node, socket := startNode(t)
	for _, test := range []struct {
		args         []string
		call, stdout string
	}{
		{[]string{"explain", "dns", "www.example.com"}, "explain dns www.example.com A invalid IP", "resolver\n  it is in the cache\n"},
		{[]string{"explain", "dns", "a.", "AAAA", "--client", "10.0.0.1"}, "explain dns a. AAAA 10.0.0.1", "resolver\n  it is in the cache\n"},
		{[]string{"explain", "radius", "alice@example.net", "--nas=10.1.0.1"}, "explain radius alice@example.net 10.1.0.1", "pppoe\n  no such realm\n"},
		{[]string{"explain", "anycast", "dns-vip"}, "explain anycast dns-vip", "dns-vip\n  it is announced\n"},
		{[]string{"forget", "pppoe", "10.1.0.1"}, "forget pppoe 10.1.0.1", "pppoe: forgot what was learnt of 2 sources\n"},
		{[]string{"flush", "resolver"}, "flush resolver  false", "resolver: 3 cached answers forgotten\n"},
		{[]string{"flush", "resolver", "example.com", "--subtree"}, "flush resolver example.com true", "resolver: 3 cached answers forgotten\n"},
	} {
		code, stdout, stderr := run(t, append(test.args, "--socket", socket)...)
		if calls := node.taken(); code != 0 || stderr != "" || stdout != test.stdout || calls != test.call {
			t.Errorf("%v: %d %q %q: %s", test.args, code, stdout, stderr, calls)
		}
	}
	for _, args := range [][]string{
		{"explain"}, {"explain", "weather", "x"}, {"explain", "dns"}, {"explain", "dns", "a.", "--client", "x"},
		{"explain", "radius"}, {"explain", "anycast"}, {"forget"}, {"forget", "pppoe", "bras"}, {"flush"}, {"flush", "resolver", "--subtree"}, {"flush", "a", "b", "c"},
	} {
		if code, stdout, stderr := run(t, append(args, "--socket", socket)...); code != 2 || stdout != "" || stderr == "" {
			t.Errorf("%v: %d %q %q", args, code, stdout, stderr)
		}
	}
	if calls := node.taken(); calls != "" {
		t.Errorf("wrong usage reached the node: %s", calls)
	}
	code, stdout, _ := run(t, "explain", "anycast", "dns-vip", "--json", "--socket", socket)
	if code != 0 || !strings.Contains(stdout, `"subject": "dns-vip"`) {
		t.Errorf("--json: %d %q", code, stdout)
	}
}

func TestReloadPrintsWhatChanged(t *testing.T) {
	node, socket := startNode(t)
	node.change = admin.Changes{Hash: "abc"}
	if code, stdout, stderr := run(t, "reload", "--socket", socket); code != 0 || stdout != "nothing changed (abc)\n" || stderr != "" {
		t.Errorf("%d %q %q", code, stdout, stderr)
	}
	node.change = admin.Changes{
		Hash: "def",
		Changes: []admin.Change{
			{Action: "changed", Key: "dns[resolver].udp_size", Text: "1232 → 1400"},
			{Action: "changed", Key: "radius[pppoe].clients[bras-1].secret"},
			{Action: "changed", Key: "admin.listen", Text: `127.0.0.1:8053 → ""`},
			{Action: "added", Key: "anycast[radius-vip]"},
		},
		Routes:   []admin.Change{{Action: "changed", Text: "+ route 192.0.2.18/32 (radius-vip)"}},
		Restart:  []string{"admin.listen"},
		Warnings: []string{"a.yaml:1:1: warning: pools[0]: one backend \x1b[2Jonly"},
	}
	want := `dns[resolver].udp_size: 1232 → 1400
radius[pppoe].clients[bras-1].secret: changed
admin.listen: 127.0.0.1:8053 → ""
anycast[radius-vip]: added
+ route 192.0.2.18/32 (radius-vip)
admin.listen: needs a restart
reloaded (def)
`
	code, stdout, stderr := run(t, "reload", "--allow-empty", "--socket", socket)
	if calls := node.taken(); code != 0 || stdout != want || stderr != "a.yaml:1:1: warning: pools[0]: one backend \uFFFD[2Jonly\n" || calls != "reload false, reload true" {
		t.Errorf("%d %q %q: %s", code, stdout, stderr, calls)
	}
	node.err = admin.Refused("the configuration has 2 errors; the running one stays", "a.yaml:3:5: error: dns[0].pool: no such pool", "a.yaml:9:1: error: bpg: no such key")
	code, stdout, stderr = run(t, "reload", "--socket", socket)
	want = "sereno reload: the configuration has 2 errors; the running one stays\na.yaml:3:5: error: dns[0].pool: no such pool\na.yaml:9:1: error: bpg: no such key\n"
	if code != 1 || stdout != "" || stderr != want {
		t.Errorf("%d %q %q", code, stdout, stderr)
	}
}

func TestO10WrongUsageExitsWith2(t *testing.T) {
	node, socket := startNode(t)
	for _, args := range [][]string{
		{}, {"stats"}, {"status", "now"}, {"status", "--jsno"}, {"status", "--json", "--watch"}, {"status", "--check", "--watch"}, {"status", "--socket"},
		{"drain"}, {"drain", "node", "node"}, {"drain", "everything"}, {"drain", "service/"}, {"drain", "node\x1b[2J"}, {"drain", "node", "--for", "soon"},
		{"drain", "node", "--for", ""}, {"drain", "node", "--for", "-3m"}, {"drain", "node", "--for"}, {"undrain"}, {"undrain", "pool/x"}, {"reload", "x"},
		{"version", "x"}, {"check", "x"}, {"check", "--no-file"}, {"completion", "x"},
	} {
		if len(args) > 0 && (args[0] == "drain" || args[0] == "undrain" || args[0] == "reload") {
			args = append([]string{args[0], "--socket", socket}, args[1:]...)
		}
		code, stdout, stderr := run(t, args...)
		if args := strings.Join(args, " "); code != 2 && args != "completion x" || stdout != "" && args != "completion x" || strings.Contains(stderr, "\x1b") {
			t.Errorf("%q: %d %q %q", args, code, stdout, stderr)
		}
	}
	if calls := node.taken(); calls != "" {
		t.Errorf("the node was asked: %s", calls)
	}
}

// TestO10WhatOnlyTheNodeFindsWrongExitsWith2: whether a name is one, say.
func TestO10WhatOnlyTheNodeFindsWrongExitsWith2(t *testing.T) {
	node, socket := startNode(t)
	node.err = fmt.Errorf("%w: it is not a domain name", admin.ErrBadArgument)
	for _, args := range [][]string{{"explain", "dns", "www..example"}, {"flush", "resolver", "www..example"}} {
		if code, stdout, stderr := run(t, append(args, "--socket", socket)...); code != 2 || stdout != "" || !strings.Contains(stderr, "it is not a domain name") {
			t.Errorf("%v: %d %q %q", args, code, stdout, stderr)
		}
	}
}

// TestO10AConfigurationIsNamedWithC: what everybody writes first is answered with what to write.
func TestO10AConfigurationIsNamedWithC(t *testing.T) {
	for _, command := range []string{"check", "status", "reload"} {
		if code, _, stderr := run(t, command, "a.yaml"); code != 2 || !strings.Contains(stderr, `"a.yaml"`) || !strings.Contains(stderr, "-c FILE") {
			t.Errorf("%s: %d %q", command, code, stderr)
		}
	}
}

func TestNoNodeAnswers(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for socket, want := range map[string]string{
		filepath.Join(dir, "none"):      "is sereno running",
		stale:                           "left from a node that has ended",
		"/" + strings.Repeat("x/", 100): "cannot be the path of a socket",
		serveRaw(t, ""):                 "closed the connection",
		serveRaw(t, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"):        "closed the connection",
		serveRaw(t, "HTTP/1.1 200 OK\r\n\r\n<html>"):                         "not a sereno of this version",
		serveRaw(t, "HTTP/1.1 500 Oh\x1b[2J no\r\n\r\n<html>"):               "not a sereno of this version",
		serveRaw(t, "HTTP/1.1 404 Not Found\r\n\r\n{\"error\":\"no such\"}"): "no such",
		serveRaw(t, "220 mail.example ESMTP\r\n"):                            "no node answers",
		serveRaw(t, "HTTP/1.1 302 Found\r\nLocation: http://other/\r\n\r\n"): "302 Found",
	} {
		for _, args := range [][]string{{"status"}, {"status", "--json"}, {"status", "--check"}, {"drain", "node"}, {"reload"}} {
			code, stdout, stderr := run(t, append(args, "--socket", socket)...)
			if code != 1 || stdout != "" || !strings.Contains(stderr, want) || stderr == "" || strings.Contains(stderr, "\x1b") {
				t.Errorf("%v, %s: %d %q %q", args, want, code, stdout, stderr)
			}
		}
	}
	if os.Getuid() != 0 { // root may do everything
		_, socket := startNode(t)
		if err := os.Chmod(socket, 0); err != nil {
			t.Fatal(err)
		}
		if code, _, stderr := run(t, "status", "--socket", socket); code != 1 || !strings.Contains(stderr, "permission denied") {
			t.Errorf("%d %q", code, stderr)
		}
	}
}

// serveRaw answers each connection with bytes, once it has been asked, and closes it. It
// returns the socket.
func serveRaw(t *testing.T, answer string) string {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = io.WriteString(conn, answer)
			_ = conn.Close()
		}
	}()
	return l.Addr().String()
}

func TestStuckNodeIsNotWaitedForForever(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	node := newClient(l.Addr().String()) // the kernel accepts, and nobody answers
	node.read, node.change = 50*time.Millisecond, 50*time.Millisecond
	if _, _, err := node.status(context.Background()); err == nil || !strings.Contains(err.Error(), "stuck, frozen or overloaded") {
		t.Errorf("%v", err)
	}
	if err := node.post(context.Background(), "/api/v1/reload", nil, nil); err == nil || !strings.Contains(err.Error(), "has not answered for 50ms") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := node.get(ctx, "/", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

func TestEndlessAnswerIsCut(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for block := bytes.Repeat([]byte(" "), 1<<20); ; {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})}
	done := make(chan error)
	go func() { done <- server.Serve(l) }()
	if _, err := newClient(l.Addr().String()).get(context.Background(), "/", nil); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("%v", err)
	}
	_ = server.Close()
	<-done
}

func TestFullDiskIsAFailure(t *testing.T) {
	_, socket := startNode(t)
	for _, args := range [][]string{{"version"}, {"status", "--socket", socket}, {"status", "--json", "--socket", socket}, {"reload", "--socket", socket}} {
		var stderr bytes.Buffer
		if code := Execute(context.Background(), Root(testBuild), args, brokenWriter{}, &stderr); code != 1 || !strings.Contains(stderr.String(), "no space left") {
			t.Errorf("%v: %d %q", args, code, stderr.String())
		}
	}
}

func TestVersion(t *testing.T) {
	if code, stdout, stderr := run(t, "version"); code != 0 || stdout != "sereno 0.1.0 (abc, 2026-11-23, go1.26.0)\n" || stderr != "" {
		t.Errorf("%d %q %q", code, stdout, stderr)
	}
}

func TestO10HelpEverywhereWithAnExample(t *testing.T) {
	var walk func(cmd *cobra.Command, path []string)
	walk = func(cmd *cobra.Command, path []string) {
		code, stdout, stderr := run(t, append(path, "--help")...)
		if code != 0 || stderr != "" || !strings.Contains(stdout, "Usage:") {
			t.Errorf("%v --help: %d %q %q", path, code, stdout, stderr)
		}
		if path == nil || path[0] != "completion" && path[0] != "help" {
			if !strings.Contains(stdout, "Examples:\n  sereno ") {
				t.Errorf("%v --help has no example:\n%s", path, stdout)
			}
			for i, line := range strings.Split(stdout, "\n") {
				if len(line) > 110 {
					t.Errorf("%v --help: line %d has %d characters: %s", path, i+1, len(line), line)
				}
			}
		}
		for _, child := range cmd.Commands() {
			if !child.Hidden {
				walk(child, append(append([]string(nil), path...), child.Name()))
			}
		}
	}
	root := Root(testBuild)
	root.InitDefaultCompletionCmd()
	walk(root, nil)
}

func TestO10ShellCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if code, stdout, stderr := run(t, "completion", shell); code != 0 || !strings.Contains(stdout, "sereno") || stderr != "" {
			t.Errorf("%s: %d %.40q %q", shell, code, stdout, stderr)
		}
	}
	node, socket := startNode(t)
	node.status.Drains = []admin.Drain{{Target: "service/resolver"}}
	_, stdout, _ := run(t, cobra.ShellCompNoDescRequestCmd, "drain", "--socket", socket, "")
	want := "node\nservice/resolver\nservice/pppoe\nanycast/dns-vip\npool/resolvers/fulmine\npool/resolvers/tempesta\npool/radius-pppoe/fulmine\n:4\n"
	if stdout != want {
		t.Errorf("drain completes to %q", stdout)
	}
	if _, stdout, _ := run(t, cobra.ShellCompNoDescRequestCmd, "undrain", "--socket", socket, ""); stdout != "service/resolver\n:4\n" {
		t.Errorf("undrain completes to %q", stdout)
	}
	if _, stdout, _ := run(t, cobra.ShellCompNoDescRequestCmd, "drain", "--socket", "/nowhere", ""); stdout != ":4\n" {
		t.Errorf("without a node, drain completes to %q", stdout)
	}
}

func TestExitCodesOfOtherCommands(t *testing.T) {
	for _, test := range []struct {
		err    error
		code   int
		stderr string
	}{
		{nil, 0, ""},
		{errors.New("broke"), 1, "sereno more: broke\n"},
		{Exit(2, errors.New("wrong")), 2, "sereno more: wrong\n"},
		{fmt.Errorf("running: %w", Exit(2, nil)), 2, ""},
		{Exit(1, nil), 1, ""},
	} {
		more := &cobra.Command{Use: "more", RunE: func(*cobra.Command, []string) error { return test.err }}
		var stdout, stderr bytes.Buffer
		code := Execute(context.Background(), Root(testBuild, more), []string{"more"}, &stdout, &stderr)
		if code != test.code || stderr.String() != test.stderr || stdout.String() != "" {
			t.Errorf("%v: %d %q %q", test.err, code, stdout.String(), stderr.String())
		}
	}
	if text := Exit(1, nil).Error(); text != "exit code 1" {
		t.Errorf("%q", text)
	}
}

func TestO10CompletionFallsBackToTheConfiguration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sereno.yaml")
	text := `pools:
  - {name: resolvers, protocol: dns, backends: [{name: fulmine, address: 10.0.0.1}, {name: tempesta, address: 10.0.0.2}]}
  - {name: servers, protocol: radius, backends: [{name: fulmine, address: 10.0.0.1, secret: abc}]}
dns: [{name: resolver, listen: ["127.0.0.1:53"], pool: resolvers}]
radius: [{name: pppoe, auth: ["127.0.0.1:1812"], pool: servers, clients: [{name: a, address: 10.1.0.1, secret: abc}]}]
bgp: {asn: 64512, router_id: 10.0.0.2, neighbors: [{name: core, address: 10.0.0.3, asn: 64500}]}
anycast: [{name: dns-vip, prefixes: [192.0.2.53/32], requires: [resolver]}]
admin: {socket: ` + filepath.Join(t.TempDir(), "none") + `}
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"drain"}, "node\nservice/resolver\nservice/pppoe\nanycast/dns-vip\npool/resolvers/fulmine\npool/resolvers/tempesta\npool/servers/fulmine\n"},
		{[]string{"undrain"}, ""},
		{[]string{"flush"}, "resolver\n"},
		{[]string{"forget"}, "pppoe\n"},
		{[]string{"availability"}, "resolver\npppoe\n"},
		{[]string{"explain", "anycast"}, "dns-vip\n"},
	} {
		args := append(append([]string{cobra.ShellCompNoDescRequestCmd}, test.args...), "-c", path, "")
		if _, stdout, _ := run(t, args...); stdout != test.want+":4\n" {
			t.Errorf("%v completes to %q", test.args, stdout)
		}
	}
	node, socket := startNode(t)
	node.status.Services[0].Name = "running"
	if _, stdout, _ := run(t, cobra.ShellCompNoDescRequestCmd, "flush", "-c", path, "--socket", socket, ""); stdout != "running\n:4\n" {
		t.Errorf("with a node, flush completes to %q", stdout)
	}
}

func TestO03SchemaIsJSON(t *testing.T) {
	code, stdout, stderr := run(t, "schema")
	if code != 0 || stderr != "" || !json.Valid([]byte(stdout)) || !strings.Contains(stdout, `"duplicate_window"`) {
		t.Errorf("%d %q %.200s", code, stderr, stdout)
	}
}
