package config

import (
	"path/filepath"
	"strings"
	"testing"
)

// loadFiles writes files into one directory and loads main.yaml.
func loadFiles(t *testing.T, files map[string]string) (*Config, *Report, string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		write(t, dir, name, text, 0o600)
	}
	c, report := Load(filepath.Join(dir, "main.yaml"), Options{HostName: "test"})
	return c, report, dir
}

// TestO01Include merges lists by name, other lists one after the other, and
// sections key by key; files come in lexical order.
func TestO01Include(t *testing.T) {
	c, report, dir := loadFiles(t, map[string]string{
		"main.yaml": "include: [conf.d/*.yaml]\nlog: {level: warn}\n" + radiusText,
		"conf.d/20-late.yaml": `radius:
  - name: pppoe
    clients:
      - {name: bras-3, address: 10.1.0.3, secret: nas-secret-0123}
`,
		"conf.d/10-early.yaml": `log: {format: json}
pools:
  - name: servers
    attempts: 3
  - name: resolvers
    protocol: dns
    backends: [{name: a, address: 10.0.0.11}, {name: b, address: 10.0.0.12}]
radius:
  - name: pppoe
    auth: ["192.0.2.19:1812"]
    clients:
      - {name: bras-2, address: 10.1.0.2, secret_file: nas}
dns:
  - {name: resolver, listen: ["192.0.2.53:53"], pool: resolvers}
`,
		"conf.d/nas":       "file-secret-0123\n",
		"conf.d/other.txt": "not: [a configuration",
	})
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	var clients []string
	for _, cl := range c.RADIUS[0].Clients {
		clients = append(clients, cl.Name+" "+strings.Join(cl.Secret, " "))
	}
	if got := strings.Join(clients, ", "); got != "bras-1 nas-secret-0123, bras-2 file-secret-0123, bras-3 nas-secret-0123" {
		t.Errorf("clients: %s", got)
	}
	if got := strings.Join(c.RADIUS[0].Auth, " "); got != "192.0.2.18:1812 192.0.2.19:1812" {
		t.Errorf("auth: %s", got)
	}
	if c.Log.Level != "warn" || c.Log.Format != "json" || c.Pools[0].Attempts != 3 || len(c.Pools) != 2 || len(c.DNS) != 1 {
		t.Errorf("merged: %s", c)
	}
	if got := c.RADIUS[0].Clients[1].SecretFile; got != filepath.Join(dir, "conf.d/nas") {
		t.Errorf("path relative to the file that names it: %s", got)
	}
}

// TestO01IncludeErrors: in order of the files, each with its own lines.
func TestO01IncludeErrors(t *testing.T) {
	_, report, dir := loadFiles(t, map[string]string{
		"main.yaml":   "include: [a.yaml, b.yaml, c.yaml, \"[\"]\nlog: {level: warn}\n" + radiusText,
		"a.yaml":      "log: {level: info}\ninclude: [main.yaml]\n",
		"b.yaml":      "radius:\n  - name: pppoe\n    clients:\n      - {name: bras-1, address: 10.1.0.9}\n      - {name: bras-9, adress: 10.1.0.9, secret: nas-secret-0123}\n",
		"c.yaml":      "- a list\n",
		"unused.yaml": "unknown: 1\n",
	})
	var got []string
	for _, p := range report.Errors {
		got = append(got, strings.TrimPrefix(strings.ReplaceAll(p.String(), dir+"/", ""), dir))
	}
	want := []string{
		`main.yaml:1:35: error: include[3]: not a pattern: "["`,
		`a.yaml:1:14: error: log.level: set already at main.yaml:2:14`,
		`a.yaml:2:1: error: include: an included file cannot include others`,
		`b.yaml:4:33: error: radius[0].clients[0].address: set already at main.yaml:15:33`,
		`b.yaml:5:24: error: radius[0].clients[1].adress: unknown key; did you mean "address"?`,
		`c.yaml:1:1: error: must be a section (KEY: VALUE), not a list`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestO01IncludeWarns of a glob that matches nothing; an empty file is none of that.
func TestO01IncludeWarns(t *testing.T) {
	c, report, _ := loadFiles(t, map[string]string{
		"main.yaml":  "include: [conf.d/*.yaml, empty.yaml, main.yaml]\n" + dnsText,
		"empty.yaml": "# nothing\n",
	})
	if err := report.Err(); err != nil || c == nil {
		t.Fatal(err)
	}
	if len(report.Warnings) != 1 {
		t.Errorf("warnings: %v", report.Warnings)
	}
	wantLine(t, report.Warnings, `main.yaml:1:11: warning: include[0]: no file matches "conf.d/*.yaml"`)
}

// TestO04HashFollowsIncludedFiles: a change in any of the files is another configuration.
func TestO04HashFollowsIncludedFiles(t *testing.T) {
	files := map[string]string{"main.yaml": "include: [more.yaml]\n" + dnsText, "more.yaml": "log: {level: warn}\n"}
	a, _, _ := loadFiles(t, files)
	b, _, _ := loadFiles(t, files)
	files["more.yaml"] = "log: {level: info}\n"
	c, _, _ := loadFiles(t, files)
	if a.Hash != b.Hash || a.Hash == c.Hash || len(a.Hash) != 16 {
		t.Errorf("hashes %s %s %s", a.Hash, b.Hash, c.Hash)
	}
}

// TestO01IncludeMergesByShape: nothing yields to something, and what does not
// fit together is an error at the later place.
func TestO01IncludeMergesByShape(t *testing.T) {
	c, report, _ := loadFiles(t, map[string]string{
		"main.yaml": "include: [a.yaml]\nlog:\nadmin: {listen: \"\"}\n" + dnsText,
		"a.yaml":    "log: {level: warn}\nadmin:\n",
	})
	if err := report.Err(); err != nil || c.Log.Level != "warn" || c.Admin.Listen != "" {
		t.Errorf("%v", err)
	}
	_, report, dir := loadFiles(t, map[string]string{
		"main.yaml": "include: [a.yaml]\nlog: {level: info}\n" + dnsText,
		"a.yaml":    "log: [x]\ndns: {name: y}\n",
	})
	want := dir + "/a.yaml:1:6: error: log: set already at " + dir + "/main.yaml:2:6\n" +
		dir + "/a.yaml:2:6: error: dns: set already at " + dir + "/main.yaml:10:3"
	if report.Err() == nil || report.Err().Error() != want {
		t.Errorf("got\n%v\nwant\n%s", report.Err(), want)
	}
}

// TestO30IncludedFilesAreBounded: a pattern that matches a whole disk reads a thousand files.
func TestO30IncludedFilesAreBounded(t *testing.T) {
	l := newLoader(Options{NoFiles: true, HostName: "test"})
	read := 0
	l.glob = func(string) ([]string, error) {
		var all []string
		for i := range maxIncluded + 10 {
			all = append(all, strings.Repeat("x", i+1))
		}
		return all, nil
	}
	l.read = func(string) ([]byte, error) { read++; return []byte("log: {}\n"), nil }
	c, report := l.load("first.yaml", []byte("include: [\"*\"]\n"+dnsText))
	if c != nil || read != maxIncluded || len(report.Errors) != 1 || !strings.Contains(report.Errors[0].String(), "more than 1000 files") {
		t.Errorf("%d files read, %v", read, report.Errors)
	}
}
