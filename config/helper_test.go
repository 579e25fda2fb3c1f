package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const dnsText = `pools:
  - name: resolvers
    protocol: dns
    backends:
      - {name: fulmine, address: 10.0.0.11}
      - {name: tempesta, address: 10.0.0.12}
dns:
  - name: resolver
    listen: ["192.0.2.53:53"]
    pool: resolvers
`

const radiusText = `pools:
  - name: servers
    protocol: radius
    backends:
      - {name: fulmine, address: 10.0.0.21, secret: one-secret-0123}
      - {name: tempesta, address: 10.0.0.22, secret: two-secret-0123}
radius:
  - name: pppoe
    auth: ["192.0.2.18:1812"]
    acct: ["192.0.2.18:1813"]
    pool: servers
    clients:
      - {name: bras-1, address: 10.1.0.1, secret: nas-secret-0123}
`

// mustParse parses a text that has no errors.
func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	c, report := Parse("test.yaml", []byte(text), Options{NoFiles: true, HostName: "test"})
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	return c
}

// replace replaces exactly one place, so that a test cannot miss its target.
func replace(t *testing.T, text, old, with string) string {
	t.Helper()
	if strings.Count(text, old) < 1 {
		t.Fatalf("%q is not in the text", old)
	}
	return strings.Replace(text, old, with, 1)
}

// write makes a file below dir and returns its path.
func write(t *testing.T, dir, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	// The umask does not decide what a test is about.
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// wantLine demands exactly one problem whose line contains all parts.
func wantLine(t *testing.T, list []Problem, parts ...string) {
	t.Helper()
	found := 0
	for _, p := range list {
		all := true
		for _, part := range parts {
			all = all && strings.Contains(p.String(), part)
		}
		if all {
			found++
		}
	}
	if found != 1 {
		t.Errorf("%d lines with %q in:\n%v", found, parts, strings.Join(problemLines(list), "\n"))
	}
}
