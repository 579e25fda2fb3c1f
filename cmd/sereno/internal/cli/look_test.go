package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/jedib0t/go-pretty/v6/text"

	"sereno/cmd/sereno/internal/admin"
)

func TestO24TopFitsTheTerminal(t *testing.T) {
	node, socket := startNode(t)
	code, stdout, stderr := run(t, "top", "resolver", "--for", "2s", "--limit", "5", "--socket", socket)
	if calls := node.taken(); code != 0 || stderr != "" || calls != "top resolver 2s 5" {
		t.Errorf("%d %q: %s", code, stderr, calls)
	}
	for _, want := range []string{"resolver (dns): 1000 requests in 2s", "NAME", "www.example.com.", "900", "90.0%"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not in\n%s", want, stdout)
		}
	}
	if strings.Contains(stdout, "CLIENT") {
		t.Error("an empty list is shown")
	}
	for line := range strings.Lines(stdout) {
		if w := text.StringWidth(strings.TrimRight(line, "\n")); w > width || strings.Contains(line, "\x1b") {
			t.Errorf("%d wide: %q", w, line)
		}
	}
	if code, stdout, _ := run(t, "top", "--json", "--socket", socket); code != 0 || !strings.Contains(stdout, `"window_seconds": 10`) {
		t.Errorf("--json: %d %q", code, stdout)
	}
	node.taken()
	for _, args := range [][]string{{"a", "b"}, {"--for", "soon"}, {"--json", "--watch"}, {"--limit", "x"}} {
		if code, stdout, stderr := run(t, append([]string{"top", "--socket", socket}, args...)...); code != 2 || stdout != "" || stderr == "" {
			t.Errorf("%v: %d %q %q", args, code, stdout, stderr)
		}
	}
	for _, args := range [][]string{{"--for", "2m"}, {"--limit", "101"}, {"--limit", "0"}} {
		if code, _, stderr := run(t, append([]string{"top", "--socket", socket}, args...)...); code != 2 || !strings.Contains(stderr, "bad argument") {
			t.Errorf("%v: %d %q", args, code, stderr)
		}
	}
	if calls := node.taken(); calls != "" {
		t.Errorf("wrong usage reached the node: %s", calls)
	}
}

func TestO24TopWatchesUntilItIsInterrupted(t *testing.T) {
	_, socket := startNode(t)
	ctx, cancel := context.WithCancel(context.Background())
	node := newClient(socket)
	var out bytes.Buffer
	counts := 0
	err := watchTop(ctx, node, func(ctx context.Context) ([]byte, error) {
		if counts++; counts > 3 {
			cancel()
			return nil, ctx.Err()
		}
		return node.get(ctx, "/api/v1/top", nil)
	}, &out)
	if n := strings.Count(out.String(), "www.example.com."); err != nil || n != 3 {
		t.Errorf("%v, %d pages", err, n)
	}
}

func TestO24TraceShowsLinesUntilTheTimeIsOver(t *testing.T) {
	node, socket := startNode(t)
	code, stdout, stderr := run(t, "trace", "radius", "--user", "alice", "--nas", "10.1.0.0/16", "--for", "1s", "--socket", socket)
	if calls := node.taken(); code != 0 || stderr != "" || calls != "trace radius alice 10.1.0.0/16" {
		t.Errorf("%d %q: %s", code, stderr, calls)
	}
	want := "pppoe #7 1.500ms received Access-Request \uFFFD[2J\n    User-Name = \"alice\"\n    User-Password = (not shown)\n"
	if strings.Count(stdout, want) != 2 || !strings.Contains(stdout, "begin: for 1s") || !strings.Contains(stdout, "end: the time is over") || strings.Contains(stdout, "\x1b") {
		t.Errorf("%q", stdout)
	}
	code, stdout, _ = run(t, "trace", "dns", "--client", "10.1.2.3", "--for", "1s", "--json", "--socket", socket)
	if calls := node.taken(); code != 0 || calls != "trace dns 10.1.2.3/32 " || strings.Count(stdout, "\n") != 4 || !strings.HasPrefix(stdout, `{"at":`) {
		t.Errorf("%d %q: %s", code, stdout, calls)
	}
	for _, args := range [][]string{{}, {"dns"}, {"radius"}, {"dns", "--client", "x"}, {"dns", "x"}, {"radius", "--nas", "10.0.0.0/33"}, {"dns", "--name", "a", "--for", "x"}} {
		if code, stdout, stderr := run(t, append(append([]string{"trace"}, args...), "--socket", socket)...); code != 2 || stdout != "" || stderr == "" {
			t.Errorf("%v: %d %q %q", args, code, stdout, stderr)
		}
	}
	if calls := node.taken(); calls != "" {
		t.Errorf("wrong usage reached the node: %s", calls)
	}
	node.err = admin.ErrNotFound
	if code, stdout, stderr := run(t, "trace", "dns", "--name", "a", "--socket", socket); code != 1 || stdout != "" || stderr != "sereno trace dns: not found\n" {
		t.Errorf("%d %q %q", code, stdout, stderr)
	}
	if code, _, stderr := run(t, "trace", "dns", "--name", "a", "--socket", "/nowhere"); code != 1 || !strings.Contains(stderr, "no node answers") {
		t.Errorf("%d %q", code, stderr)
	}
}
