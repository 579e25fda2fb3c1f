package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"sereno/cmd/sereno/internal/admin"
	"sereno/cmd/sereno/internal/cli"
)

// commands are those that nobody is to miss (O10).
var commands = []string{"run", "check", "demo", "status", "drain", "undrain", "reload", "flush", "explain", "availability", "spool", "top", "trace", "bench", "schema", "version"}

func TestO10EveryCommandIsThereWithExamplesThatParse(t *testing.T) {
	root := tree(admin.Build{})
	there := map[string]bool{}
	for _, c := range root.Commands() {
		there[c.Name()] = !c.Hidden
	}
	for _, name := range commands {
		if !there[name] {
			t.Errorf("there is no %s", name)
		}
	}
	if there["bgp-speaker"] {
		t.Error("bgp-speaker is shown")
	}
	examples := 0
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Short == "" || c.Example == "" {
			t.Errorf("%s: no short text or no example", c.CommandPath())
		}
		for line := range strings.Lines(c.Example) {
			if c.Hidden {
				continue
			}
			examples++
			example(t, c, strings.TrimSpace(line))
		}
		for _, child := range c.Commands() {
			walk(child)
		}
	}
	walk(root)
	if examples < 20 {
		t.Errorf("only %d examples", examples)
	}
}

// example parses one example as a shell and cobra would, without running it.
func example(t *testing.T, of *cobra.Command, line string) {
	t.Helper()
	for _, end := range []string{"#", "|", "&&", ">"} {
		line, _, _ = strings.Cut(line, " "+end)
	}
	words := strings.Fields(line)
	if len(words) == 0 || words[0] != "sereno" {
		t.Errorf("%s: the example %q is not one of sereno", of.CommandPath(), line)
		return
	}
	found, args, err := tree(admin.Build{}).Find(words[1:])
	if err == nil {
		err = found.ParseFlags(args)
	}
	if err == nil {
		err = found.ValidateArgs(found.Flags().Args())
	}
	if err == nil {
		err = found.ValidateFlagGroups()
	}
	if err != nil || of.HasParent() && found.CommandPath() != of.CommandPath() && !strings.HasPrefix(found.CommandPath(), of.CommandPath()+" ") {
		t.Errorf("%s: the example %q is of %s: %v", of.CommandPath(), line, found.CommandPath(), err)
	}
}

func TestO10ExitCodesOfTheWholeProgram(t *testing.T) {
	dir := t.TempDir()
	bad := dir + "/bad.yaml"
	if err := os.WriteFile(bad, []byte("nodes: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args []string
		code int
	}{
		{[]string{"version"}, 0}, {[]string{"--help"}, 0}, {[]string{"schema"}, 0}, {[]string{"check", "--no-files", "-c", "../../config/reference.yaml"}, 0},
		{[]string{"status", "--socket", dir + "/none"}, 1}, {[]string{"drain", "node", "--socket", dir + "/none"}, 1},
		{nil, 2}, {[]string{"what"}, 2}, {[]string{"check", "-c", bad}, 2}, {[]string{"run", "-c", bad}, 2}, {[]string{"run", "more"}, 2},
		{[]string{"check", "-c", dir + "/none"}, 2}, {[]string{"demo", "--never"}, 2}, {[]string{"explain", "dns"}, 2},
	} {
		var stderr bytes.Buffer
		if code := cli.Execute(context.Background(), tree(admin.Build{}), test.args, io.Discard, &stderr); code != test.code || test.code != 0 && stderr.Len() == 0 {
			t.Errorf("%v: exit code %d, not %d: %s", test.args, code, test.code, stderr.String())
		}
	}
}
