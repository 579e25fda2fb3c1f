package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sereno/cmd/sereno/internal/admin"
	"sereno/cmd/sereno/internal/cli"
	"sereno/cmd/sereno/internal/demo"
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
	root := cli.Root(admin.Build{}, run(admin.Build{}), demo.Command(), bgpSpeaker(), demo.RouterCommand())
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
