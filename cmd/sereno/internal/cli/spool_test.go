package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jedib0t/go-pretty/v6/text"

	"sereno/cmd/sereno/internal/admin"
)

func startSpools(t *testing.T, n uint64) (*fakeNode, string) {
	node, socket := startNode(t)
	node.n = n
	return node, socket
}

// TestR45ListFitsATerminal: whatever names subscribers have.
func TestR45ListFitsATerminal(t *testing.T) {
	_, socket := startSpools(t, 25)
	code, stdout, stderr := run(t, "spool", "list", "--socket", socket)
	if code != 0 || stderr != "" {
		t.Fatalf("%d %q", code, stderr)
	}
	lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	for _, line := range lines {
		if text.StringWidth(line) > width || strings.Contains(line, "\x1b") {
			t.Errorf("%d columns: %q", text.StringWidth(line), line)
		}
	}
	if len(lines) != 2+1+25 || lines[0] != "pppoe: 23 wait, 8 KiB, the oldest for 2h13m; 2 are set aside" {
		t.Errorf("%s", stdout)
	}
	for _, want := range []string{"RECORD", "SESSION", "NAS", "USER", "TYPE", "AGE", "TRIES", "STATE"} {
		if !strings.Contains(lines[2], want) {
			t.Errorf("no %s in %q", want, lines[2])
		}
	}
	if !strings.Contains(stdout, "set-aside") || !strings.Contains(stdout, "in-delivery") || !strings.Contains(stdout, "pppoe/25") {
		t.Error(stdout)
	}
	if code, stdout, _ := run(t, "spool", "list", "--socket", socket, "--limit", "10", "--set-aside"); code != 0 || strings.Count(stdout, "set-aside") != 2 {
		t.Errorf("%d %s", code, stdout)
	}
	if code, stdout, _ := run(t, "spool", "list", "--socket", socket, "--limit", "10"); code != 0 || !strings.Contains(stdout, "--after pppoe/10 shows the next") {
		t.Errorf("%d %s", code, stdout)
	}
	if code, stdout, _ := run(t, "spool", "list", "--socket", socket, "--after", "pppoe/24"); code != 0 || strings.Count(stdout, "session-") != 1 {
		t.Errorf("%d %s", code, stdout)
	}
}

func TestR45AnEmptySpoolSaysSo(t *testing.T) {
	_, socket := startSpools(t, 0)
	if code, stdout, _ := run(t, "spool", "list", "--socket", socket); code != 0 || stdout != "pppoe: nothing waits\n" {
		t.Errorf("%d %q", code, stdout)
	}
}

// TestR45ListOfManyPages: more than the node gives at once.
func TestR45ListOfManyPages(t *testing.T) {
	_, socket := startSpools(t, 5000)
	code, stdout, _ := run(t, "spool", "list", "--socket", socket, "--limit", "2500", "--json")
	var page admin.SpoolPage
	if err := json.Unmarshal([]byte(stdout), &page); err != nil || code != 0 || len(page.Records) != 2500 || page.Next != "pppoe/2500" || page.Records[2499].Record != "pppoe/2500" {
		t.Errorf("%d %v, %d records, next %q", code, err, len(page.Records), page.Next)
	}
}

func TestR45Show(t *testing.T) {
	_, socket := startSpools(t, 25)
	code, stdout, stderr := run(t, "spool", "show", "pppoe/7", "--socket", socket)
	want := `pppoe/7: waiting, stored 2026-11-23 08:00:00 UTC, 2h13m ago, 240 bytes, tried 3 times
from 10.1.0.1, for pool radius-pppoe

  User-Name = "user-1@example.net"
  Attr-26.4874.1 = 0x64656661756c74  ("default")
  User-Password = (secret)
`
	if code != 0 || stdout != want || stderr != "" {
		t.Errorf("%d %s%s", code, stdout, stderr)
	}
	if code, _, stderr := run(t, "spool", "show", "pppoe/99", "--socket", socket); code != 1 || !strings.Contains(stderr, "there is no record") {
		t.Errorf("%d %q", code, stderr)
	}
	if code, stdout, _ := run(t, "spool", "show", "pppoe/7", "--json", "--dir", "good"); code != 0 || !strings.Contains(stdout, `"record": "pppoe/7"`) {
		t.Errorf("%d %s", code, stdout)
	}
}

func TestR45Export(t *testing.T) {
	node, socket := startSpools(t, 5000)
	code, stdout, stderr := run(t, "spool", "export", "--socket", socket)
	if code != 0 || stderr != "5000 records\n" || strings.Count(stdout, "\n\n") != 5000 || strings.Contains(stdout, "Password") {
		t.Errorf("%d %q %.300s", code, stderr, stdout)
	}
	code, stdout, stderr = run(t, "spool", "export", "--socket", socket, "--format", "json", "--set-aside", "--service", "pppoe")
	if code != 0 || stderr != "500 records\n" || strings.Count(stdout, "\n") != 500 || !strings.HasPrefix(stdout, `{"record":"pppoe/10"`) {
		t.Errorf("%d %q %.300s", code, stderr, stdout)
	}
	node.rotten = 3
	code, stdout, stderr = run(t, "spool", "export", "--socket", socket)
	if code != 1 || !strings.Contains(stderr, "1 records are damaged and are missing") || strings.Count(stdout, "\n\n") != 4999 {
		t.Errorf("%d %q", code, stderr)
	}
	code, stdout, stderr = run(t, "spool", "export", "--socket", socket, "--service", "nobody")
	if code != 1 || stdout != "" || !strings.Contains(stderr, "no RADIUS service") {
		t.Errorf("%d %q %q", code, stdout, stderr)
	}
	// A full disk is our fault, not the node's.
	root := Root(testBuild, SpoolCommand(openFake))
	var errs bytes.Buffer
	if code := Execute(context.Background(), root, []string{"spool", "export", "--socket", socket}, brokenWriter{}, &errs); code != 1 || !strings.Contains(errs.String(), "writing: no space left") {
		t.Errorf("%d %q", code, errs.String())
	}
}

// TestR45AfterACrashTheFilesAreEnough: no node is needed, and damage is said and told by the
// exit code.
func TestR45AfterACrashTheFilesAreEnough(t *testing.T) {
	code, stdout, stderr := run(t, "spool", "export", "--dir", "good")
	if code != 0 || strings.Count(stdout, "\n\n") != 25 || !strings.Contains(stderr, "never ended") || !strings.Contains(stderr, "25 records") {
		t.Errorf("%d %q", code, stderr)
	}
	code, stdout, stderr = run(t, "spool", "export", "--dir", "damaged", "--format=json")
	if code != 1 || strings.Count(stdout, "\n") != 25 || !strings.Contains(stderr, "records may be missing") {
		t.Errorf("%d %q", code, stderr)
	}
	if code, stdout, _ := run(t, "spool", "list", "--dir", "good", "--limit", "3"); code != 0 || !strings.Contains(stdout, "--after pppoe/3") {
		t.Errorf("%d %s", code, stdout)
	}
	if code, _, stderr := run(t, "spool", "list", "--dir", "none"); code != 1 || !strings.Contains(stderr, "no such directory") {
		t.Errorf("%d %q", code, stderr)
	}
}

func TestR45Retry(t *testing.T) {
	node, socket := startSpools(t, 25)
	code, stdout, stderr := run(t, "spool", "retry", "pppoe/10", "pppoe/20", "--socket", socket)
	if code != 0 || stdout != "4 records are back in the session of each\n" || stderr != "" {
		t.Errorf("%d %q %q", code, stdout, stderr)
	}
	if calls := node.taken(); strings.Count(calls, "retry ") != 2 || !strings.Contains(calls, "Record:pppoe/20") {
		t.Error(calls)
	}
	if code, _, _ := run(t, "spool", "retry", "--all", "--socket", socket); code != 0 || !strings.HasPrefix(node.taken(), "retry {Service: Record:/0 ") {
		t.Errorf("%d", code)
	}
	node.err = admin.Refused("record pppoe/3: the record is not set aside")
	if code, stdout, stderr := run(t, "spool", "retry", "pppoe/3", "--socket", socket); code != 1 || stdout != "" || !strings.Contains(stderr, "not set aside") {
		t.Errorf("%d %q %q", code, stdout, stderr)
	}
}

// TestR45DropAsks: without a yes nothing is deleted.
func TestR45DropAsks(t *testing.T) {
	node, socket := startSpools(t, 25)
	answer := func(said string, args ...string) (int, string, string) {
		root := Root(testBuild, SpoolCommand(openFake))
		root.SetIn(strings.NewReader(said))
		var out, errs bytes.Buffer
		code := Execute(context.Background(), root, append([]string{"spool", "drop", "--socket", socket}, args...), &out, &errs)
		return code, out.String(), errs.String()
	}
	for _, said := range []string{"", "\n", "n\n", "no way\n"} {
		code, stdout, stderr := answer(said, "--set-aside")
		if code != 1 || stdout != "" || !strings.Contains(stderr, "Delete 2 records that no server has?") || !strings.Contains(stderr, "nothing is dropped") {
			t.Errorf("%q: %d %q %q", said, code, stdout, stderr)
		}
	}
	if _, _, stderr := answer("n\n", "--user", "user-1@example.net"); !strings.Contains(stderr, "Delete 9 records") {
		t.Error(stderr)
	}
	if calls := node.taken(); calls != "" {
		t.Fatalf("the node was asked: %s", calls)
	}
	code, stdout, _ := answer("y\n", "pppoe/7")
	if calls := node.taken(); code != 0 || !strings.HasPrefix(calls, "drop {Service: Record:pppoe/7 ") || stdout != "1 record is dropped\n1 being delivered at this moment: left\n" {
		t.Errorf("%d %q %s", code, stdout, calls)
	}
	if code, _, _ := answer("", "--all", "--yes"); code != 0 || node.taken() == "" {
		t.Error(code)
	}
	// Nobody can answer: a script must say --yes.
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	root := Root(testBuild, SpoolCommand(openFake))
	root.SetIn(null)
	var errs bytes.Buffer
	if code := Execute(context.Background(), root, []string{"spool", "drop", "--socket", socket, "--all"}, &errs, &errs); code != Usage || !strings.Contains(errs.String(), "say --yes") || node.taken() != "" {
		t.Errorf("%d %s", code, errs.String())
	}
}

func TestR45WrongUsageIsToldWithoutANode(t *testing.T) {
	for _, test := range []struct {
		args string
		want string
	}{
		{"spool", "which command? list, show, export, retry or drop"},
		{"spool drop", "which records?"},
		{"spool drop --service pppoe", "which records?"},
		{"spool retry", "which records?"},
		{"spool drop pppoe/1 --all", "either name records"},
		{"spool drop --all --user a", "not both"},
		{"spool drop 17", "not a record"},
		{"spool show 17", "not a record"},
		{"spool list --nas bras-1", "--nas is an IP address"},
		{"spool list --limit 0", "--limit is 1 or more"},
		{"spool list --after x", "--after: "},
		{"spool export --format xml", "detail or json"},
		{"spool list --dir x --socket y", "none of the others can be"},
	} {
		code, stdout, stderr := run(t, strings.Fields(test.args)...)
		if code != Usage || stdout != "" || !strings.Contains(stderr, test.want) {
			t.Errorf("%s: %d %q %q", test.args, code, stdout, stderr)
		}
	}
}

// TestR45ExportCountsWhatItPrints: wherever the pieces of the answer end.
func TestR45ExportCountsWhatItPrints(t *testing.T) {
	one := "Mon Nov 23 08:00:00 2026\n\tUser-Name = \"a\"\n\n"
	all := strings.Repeat(one, 5)
	for cut := 1; cut < len(all); cut++ {
		e := &export{cmd: Root(testBuild), end1: []byte("\n\n")}
		var out bytes.Buffer
		e.cmd.SetOut(&out)
		for at := 0; at < len(all); at += cut {
			if _, err := e.Write([]byte(all[at:min(len(all), at+cut)])); err != nil {
				t.Fatal(err)
			}
		}
		if e.records != 5 || out.String() != all {
			t.Fatalf("in pieces of %d: %d records", cut, e.records)
		}
	}
}

func TestR45TextOfOctets(t *testing.T) {
	for value, want := range map[string]string{"0x6869": `"hi"`, "0x": "", "0x00": "", "0x6": "", `"hi"`: "", "12": "", "0x1b5b": ""} {
		if got := textOf(value); got != want {
			t.Errorf("%s: %s", value, got)
		}
	}
	var failed *writeError
	if !errors.As(fmt.Errorf("x: %w", &writeError{os.ErrClosed}), &failed) || terminal(&bytes.Buffer{}) {
		t.Error("types")
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if terminal(f) {
		t.Error("a file is no terminal")
	}
}
