package config

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/*.txt anew; read the difference before you commit it")

// problemLines writes problems as the sidecars do: LINE:COLUMN: KEY: message.
func problemLines(list []Problem) []string {
	var out []string
	for _, p := range list {
		out = append(out, strings.TrimPrefix(strings.Replace(p.String(), ": error: ", ": ", 1), p.File+":"))
	}
	return out
}

// TestO01Corpus loads every file of testdata. NAME.good.yaml has no errors, and
// the warnings of NAME.good.txt; NAME.bad.yaml has exactly the errors of
// NAME.bad.txt. A line there that ends with "…" tells only the beginning, where
// the wording belongs to another package.
func TestO01Corpus(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) < 150 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			c, report := Load(file, Options{NoFiles: true, HostName: "test"})
			lines := problemLines(report.Errors)
			switch {
			case strings.HasSuffix(file, ".good.yaml"):
				if err := report.Err(); err != nil || c == nil {
					t.Fatal(err)
				}
				lines = problemLines(report.Warnings)
			case c != nil || len(lines) == 0:
				t.Error("accepted")
			}
			compareLines(t, strings.TrimSuffix(file, ".yaml")+".txt", lines)
		})
	}
}

func compareLines(t *testing.T, sidecar string, got []string) {
	t.Helper()
	if *update {
		updateSidecar(t, sidecar, got)
	}
	data, err := os.ReadFile(sidecar)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var want []string
	if text := strings.TrimSuffix(string(data), "\n"); text != "" {
		want = strings.Split(text, "\n")
	}
	for i := range max(len(got), len(want)) {
		g, w := "(nothing)", "(nothing)"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if begin, open := strings.CutSuffix(w, "…"); g != w && (!open || !strings.HasPrefix(g, begin)) {
			t.Errorf("message %d\n got: %s\nwant: %s", i+1, g, w)
		}
	}
}

// updateSidecar keeps a line that ends with "…" and still fits.
func updateSidecar(t *testing.T, sidecar string, got []string) {
	data, _ := os.ReadFile(sidecar)
	old := strings.Split(string(data), "\n")
	var b strings.Builder
	for i, line := range got {
		if i < len(old) {
			if begin, open := strings.CutSuffix(old[i], "…"); open && strings.HasPrefix(line, begin) {
				line = old[i]
			}
		}
		fmt.Fprintln(&b, line)
	}
	if b.Len() == 0 {
		_ = os.Remove(sidecar)
		return
	}
	if err := os.WriteFile(sidecar, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestO01EveryBadFileHasItsMessage: no sidecar without its file, no bad file without sidecar.
func TestO01EveryBadFileHasItsMessage(t *testing.T) {
	sidecars, _ := filepath.Glob("testdata/*.txt")
	for _, s := range sidecars {
		if _, err := os.Stat(strings.TrimSuffix(s, ".txt") + ".yaml"); err != nil {
			t.Error(err)
		}
	}
	bad, _ := filepath.Glob("testdata/*.bad.yaml")
	for _, b := range bad {
		if _, err := os.Stat(strings.TrimSuffix(b, ".yaml") + ".txt"); err != nil {
			t.Error(err)
		}
	}
}

// TestO01TenMistakesAtOnce: one load tells all of them, in order of the lines.
func TestO01TenMistakesAtOnce(t *testing.T) {
	_, report := Load("testdata/ten-mistakes.bad.yaml", Options{NoFiles: true})
	if len(report.Errors) != 10 {
		t.Errorf("%d errors, want 10:\n%v", len(report.Errors), report.Err())
	}
	for i, p := range report.Errors[1:] {
		if last := report.Errors[i]; p.Line < last.Line || p.Line == last.Line && p.Column < last.Column {
			t.Errorf("%v stands after %v", p, last)
		}
	}
}
