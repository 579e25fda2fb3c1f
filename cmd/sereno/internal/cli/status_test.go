package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/text"

	"sereno/cmd/sereno/internal/admin"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestO11StatusFits100Columns(t *testing.T) {
	for name, status := range map[string]admin.Status{"calm": calmStatus(), "troubled": troubledStatus(), "empty": {}} {
		got := statusText(status, moment.Add(2*time.Hour+13*time.Minute))
		for i, line := range strings.Split(got, "\n") {
			if n := text.StringWidth(line); n > 100 {
				t.Errorf("%s: line %d has %d columns: %s", name, i+1, n, line)
			}
			if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%s: line %d is not inert: %q", name, i+1, line)
			}
		}
		golden := filepath.Join("testdata", "status-"+name+".txt")
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: the status is\n%s\nnot\n%s", name, got, want)
		}
	}
}

func TestO11StatusJSONIsTheAnswerOfTheAPI(t *testing.T) {
	node, socket := startNode(t)
	node.status = troubledStatus()
	code, stdout, stderr := run(t, "status", "--json", "--socket", socket)
	want, err := newClient(socket).get(context.Background(), "/api/v1/status", nil)
	if err != nil {
		t.Fatal(err)
	}
	if code != 0 || stdout != string(want) || stderr != "" {
		t.Errorf("%d %s%s", code, stdout, stderr)
	}
	var back admin.Status
	if err := json.Unmarshal([]byte(stdout), &back); err != nil || len(back.Services) != 2 {
		t.Errorf("%v", err)
	}
}

func TestStatusOfANode(t *testing.T) {
	_, socket := startNode(t)
	code, stdout, stderr := run(t, "status", "--socket", socket)
	if code != 0 || stderr != "" || !strings.HasPrefix(stdout, "garibaldi-1: up, running for ") || !strings.Contains(stdout, "tempesta  dns   10.0.0.12:53") {
		t.Errorf("%d %s%s", code, stdout, stderr)
	}
}

func TestStatusCheck(t *testing.T) {
	for state, want := range map[string]int{"up": 0, "degraded": 0, "starting": 1, "down": 1, "drained": 1, "": 1} {
		for _, mode := range [][]string{{"--check"}, {"--check", "--json"}} {
			node, socket := startNode(t)
			node.status.Services[1].State = state
			node.status.Services[1].Reason = "self-probe-failed"
			code, stdout, stderr := run(t, append([]string{"status", "--socket", socket}, mode...)...)
			if code != want || stdout == "" || (stderr == "") != (want == 0) {
				t.Errorf("%q, %v: %d %q", state, mode, code, stderr)
			}
			if want == 1 && stderr != fmt.Sprintf("sereno status: service pppoe is %s: self-probe-failed\n", state) {
				t.Errorf("%q: %q", state, stderr)
			}
		}
	}
	node, socket := startNode(t)
	node.status.Services = nil
	if code, _, _ := run(t, "status", "--socket", socket, "--check"); code != 0 {
		t.Errorf("a node without services: %d", code)
	}
}

func TestO11WatchRefreshes(t *testing.T) {
	node, socket := serveNode(t, &fakeNode{status: calmStatus(), asked: make(chan struct{}), stop: make(chan struct{})})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	tick := make(chan time.Time)
	done := make(chan error)
	var out bytes.Buffer
	go func() { done <- watchStatus(ctx, newClient(socket), &out, tick) }()
	for range 3 {
		<-node.asked
		tick <- time.Time{} // taken once the page is written
	}
	<-node.asked
	tick <- time.Time{}
	cancel() // in the middle of the next question
	if err := <-done; err != nil {
		t.Error(err)
	}
	close(node.stop)
	if n := strings.Count(out.String(), "garibaldi-1: up"); n != 4 {
		t.Errorf("%d pages:\n%s", n, out.String())
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("escape sequences are written to what is no terminal")
	}
}

func TestWatchOutlivesTheNode(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	tick := make(chan time.Time)
	done := make(chan error)
	var out bytes.Buffer
	go func() { done <- watchStatus(ctx, newClient(filepath.Join(t.TempDir(), "none")), &out, tick) }()
	tick <- time.Time{}
	tick <- time.Time{}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := strings.Count(out.String(), "no node answers on"); n < 2 {
		t.Errorf("%d pages:\n%s", n, out.String())
	}
	if err := watchStatus(context.Background(), newClient("none"), brokenWriter{}, tick); err == nil {
		t.Error("a full disk went unnoticed")
	}
}
