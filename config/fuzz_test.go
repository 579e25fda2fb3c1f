package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzParse: any bytes give a configuration or errors, each with a place in the
// text and a clean line; a configuration that is accepted is printed, and
// differs in nothing from itself.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(files, "reference.yaml") {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		l := newLoader(Options{NoFiles: true, HostName: "test"})
		l.glob = func(string) ([]string, error) { return nil, errors.New("no files here") }
		c, report := l.load("test.yaml", data)
		if (c == nil) != (len(report.Errors) > 0) {
			t.Fatalf("configuration %v with %d errors", c != nil, len(report.Errors))
		}
		lines := strings.Count(string(data), "\n") + 1
		for _, p := range append(report.Errors, report.Warnings...) {
			if p.Line < 1 || p.Line > lines || p.Column < 1 || p.Message == "" {
				t.Errorf("place outside the text: %v", p)
			}
			if s := p.String(); strings.ContainsAny(s, "\n\r\x00\x1b") || !utf8.ValidString(s) {
				t.Errorf("not a clean line: %q", s)
			}
		}
		if c == nil {
			return
		}
		if changes := Diff(c, c); len(changes) > 0 {
			t.Errorf("differs from itself: %v", changes)
		}
		if c.Summary() == "" || c.String() == "" {
			t.Error("prints nothing")
		}
	})
}

// FuzzInclude: two files that are merged give a configuration or errors, each with
// a place in the file that it names; included in a second place, nothing is worse.
func FuzzInclude(f *testing.F) {
	f.Add("include: [x]\n"+dnsText, "dns:\n  - {name: resolver, udp_size: 1400}\n")
	f.Add("include: [x]\n"+radiusText, "radius:\n  - name: pppoe\n    clients:\n      - {name: bras-2, address: 10.1.0.2, secret: nas-secret-0124}\n")
	f.Add("include: [x]\nlog: {level: info}\n", "log: {level: debug}\n")
	f.Add("include: [x]\npools: &p [{name: a}]\n", "pools: [{name: a, backends: [~]}]\n")
	f.Add("~", "0")
	f.Add("include: [x]\nadmin: ~\n", "include: [y]\nadmin: [1]\n")
	f.Fuzz(func(t *testing.T, first, second string) {
		l := newLoader(Options{NoFiles: true, HostName: "test"})
		l.glob = func(string) ([]string, error) { return []string{"second.yaml"}, nil }
		l.read = func(string) ([]byte, error) { return []byte(second), nil }
		c, report := l.load("first.yaml", []byte(first))
		if (c == nil) != (len(report.Errors) > 0) {
			t.Fatalf("configuration %v with %d errors", c != nil, len(report.Errors))
		}
		lines := map[string]int{"first.yaml": strings.Count(first, "\n") + 1, "second.yaml": strings.Count(second, "\n") + 1}
		for _, p := range append(report.Errors, report.Warnings...) {
			if p.Line < 1 || p.Line > lines[p.File] || p.Column < 1 || p.Message == "" {
				t.Errorf("place outside the text: %v", p)
			}
			if s := p.String(); strings.ContainsAny(s, "\n\r\x00\x1b") || !utf8.ValidString(s) {
				t.Errorf("not a clean line: %q", s)
			}
		}
	})
}

// FuzzSecretFile: a file with secrets is read or refused with a reason; what is read stands in
// the file, and no secret stands in a message.
func FuzzSecretFile(f *testing.F) {
	f.Add("nas-secret-0123\n", 1)
	f.Add("old-secret\r\nnew secret with spaces\r\n\r\n", 2)
	f.Add("one\ntwo\nthree\n", 2)
	f.Add(" \n\t\n", 1)
	path := filepath.Join(f.TempDir(), "file")
	f.Fuzz(func(t *testing.T, text string, most int) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l := newLoader(Options{HostName: "test"})
		c := Default()
		k := checker{config: &c, decoder: l.decoder, report: l.report, said: map[string]bool{}, doubts: map[string]bool{}}
		lines := k.lines("admin.token_file", path, most)
		if (len(lines) == 0) != (len(l.report.Errors) > 0) || len(lines) > max(most, 0) {
			t.Fatalf("%d lines, and %v", len(lines), l.report.Errors)
		}
		for _, line := range lines {
			if strings.TrimSpace(line) == "" || strings.Contains(line, "\n") || !strings.Contains(text, line) {
				t.Fatalf("%q is no line of %q", line, text)
			}
		}
		for _, p := range l.report.Errors {
			if secret := strings.TrimSpace(text); len(secret) > 20 && strings.Contains(p.String(), secret) {
				t.Fatalf("a secret is told: %s", p)
			}
		}
	})
}
