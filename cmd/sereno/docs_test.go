package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sereno/cmd/sereno/internal/admin"
	"sereno/config"
)

var (
	yamlFence = regexp.MustCompile("(?s)```yaml\n(.*?)```")
	command   = regexp.MustCompile("(?m)(?:^|`)(?:go run \\./cmd/)?sereno ([a-z][a-z-]*)")
)

// Every configuration in the README and in docs/ is a good one.
func TestConfigurationsInTheDocumentsAreGood(t *testing.T) {
	for name, text := range documents(t) {
		for i, m := range yamlFence.FindAllStringSubmatch(text, -1) {
			_, report := config.Parse(name, []byte(m[1]), config.Options{NoFiles: true})
			if err := report.Err(); err != nil {
				t.Errorf("configuration %d of %s:\n%v", i+1, name, err)
			}
		}
	}
}

// Every command that the documents name is there.
func TestCommandsInTheDocumentsExist(t *testing.T) {
	root := tree(admin.Build{})
	known := map[string]bool{}
	for _, c := range root.Commands() {
		known[c.Name()] = true
	}
	seen := 0
	for name, text := range documents(t) {
		for _, m := range command.FindAllStringSubmatch(text, -1) {
			seen++
			if !known[m[1]] {
				t.Errorf("%s names the command %q, which does not exist", name, m[1])
			}
		}
	}
	if seen < 5 {
		t.Fatalf("found only %d commands in the documents", seen)
	}
}

// The manual page names every command, and no other.
func TestO10ManualPage(t *testing.T) {
	page, err := os.ReadFile("../../deploy/man/sereno.8")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), ".SH COMMANDS\n")
	section, _, _ = strings.Cut(section, ".SH ")
	named := map[string]bool{}
	for _, line := range regexp.MustCompile(`(?m)^\.TP\n\.BR? (.*)$`).FindAllStringSubmatch(section, -1) {
		for _, word := range regexp.MustCompile(`[a-z][a-z-]+`).FindAllString(line[1], -1) {
			named[word] = true
		}
	}
	root := tree(admin.Build{})
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if !c.Hidden && !named[c.Name()] {
			t.Errorf("sereno.8 does not name %q", c.Name())
		}
		delete(named, c.Name())
	}
	for name := range named {
		t.Errorf("sereno.8 names %q, which does not exist", name)
	}
}

// documents are the texts that operators read, by name.
func documents(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, path := range append(paths, "../../README.md") {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		out[strings.TrimPrefix(path, "../../")] = string(data)
	}
	return out
}
