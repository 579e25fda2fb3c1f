package lab_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// block gives the first fenced block of docs/anycast.md after a line that begins with these words.
func block(t *testing.T, after string) string {
	t.Helper()
	b, err := os.ReadFile("../../docs/anycast.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?ms)^" + regexp.QuoteMeta(after) + ".*?^```\\w*\n(.*?)^```").FindSubmatch(b)
	if m == nil {
		t.Fatalf("no block after %q", after)
	}
	return string(m[1])
}

// TestDocsAnycastIsLoaded gives the routers' configurations in docs/anycast.md to the routers.
func TestDocsAnycastIsLoaded(t *testing.T) {
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/usr/lib/frr")
	for _, tt := range []struct {
		after, before string
		command       []string
	}{
		{"BIRD 2", "router id 10.1.1.1;\nprotocol device {}\n", []string{"bird", "-p", "-c", "FILE"}},
		{"FRR", "", []string{"bgpd", "-S", "-C", "-f", "FILE"}},
	} {
		t.Run(tt.after, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "file")
			text := block(t, tt.after)
			for name, content := range map[string]string{"file": tt.before + text, "wrong": tt.before + text + "\nwhat nobody understands\n"} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			load := func(file string) (string, error) {
				args := strings.Split(strings.ReplaceAll(strings.Join(tt.command, "\n"), "FILE", file), "\n")
				out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
				if err == nil && strings.Contains(string(out), " on config line ") { // bgpd's exit code is 0 all the same
					err = errors.New("a line is not understood")
				}
				return string(out), err
			}
			if out, err := load(file); err != nil {
				t.Errorf("%v: %s", err, out)
			} else {
				t.Log(out)
			}
			if out, err := load(filepath.Join(dir, "wrong")); err == nil {
				t.Errorf("a wrong line is taken, so this says nothing: %s", out)
			}
		})
	}
}
