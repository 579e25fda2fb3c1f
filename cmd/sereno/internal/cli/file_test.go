package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// write writes files into a new directory and returns it.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// good is a configuration that runs.
const good = `
node: {name: garibaldi-1, state_dir: state}
pools:
  - {name: resolvers, protocol: dns, backends: [{name: fulmine, address: 10.0.0.11}, {name: tempesta, address: 10.0.0.12}]}
dns:
  - {name: resolver, listen: ["192.0.2.53:53"], pool: resolvers}
`

func TestSocketOfAConfiguration(t *testing.T) {
	dir := write(t, map[string]string{
		"good.yaml":      good + "admin: {socket: run/admin.sock}\n",
		"default.yaml":   good,
		"off.yaml":       good + "admin: {socket: \"\"}\n",
		"wrong.yaml":     "pols: []\nadmin: {socket: run/admin.sock, lisen: x}\n",
		"wrong-off.yaml": "pols: []\nadmin: {socket: ''}\n",
		"include.yaml":   "pols: []\ninclude: [more/*.yaml]\n",
		"more/a.yaml":    "admin: {socket: here.sock}\n",
		"nothing.yaml":   "pols: []\n",
		"syntax.yaml":    "admin: {socket: [\n",
		"type.yaml":      "admin: {socket: {a: b}}\n",
		"bad-glob.yaml":  "pols: []\ninclude: ['[']\n",
		"bad-more.yaml":  "pols: []\ninclude: [syntax.yaml]\n",
		"empty.yaml":     "",
	})
	for name, want := range map[string]string{
		"good.yaml":    filepath.Join(dir, "run/admin.sock"),
		"default.yaml": "/run/sereno/admin.sock",
		"wrong.yaml":   filepath.Join(dir, "run/admin.sock"),
		"include.yaml": filepath.Join(dir, "more/here.sock"),
		"nothing.yaml": "/run/sereno/admin.sock",
		"empty.yaml":   "/run/sereno/admin.sock",
	} {
		if got, err := socketOf(filepath.Join(dir, name)); err != nil || got != want {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
	for name, want := range map[string]struct {
		code int
		text string
	}{
		"off.yaml": {1, "admin.socket is off in "}, "wrong-off.yaml": {1, "admin.socket is off in "},
		"syntax.yaml": {2, "syntax.yaml:"}, "type.yaml": {2, "--socket PATH"}, "bad-glob.yaml": {2, "--socket PATH"},
		"bad-more.yaml": {2, "--socket PATH"}, "none.yaml": {2, "no such file"},
	} {
		code, stdout, stderr := run(t, "status", "-c", filepath.Join(dir, name))
		if code != want.code || stdout != "" || !strings.Contains(stderr, want.text) {
			t.Errorf("%s: %d %q %q", name, code, stdout, stderr)
		}
	}
}

func TestConfigurationIsFoundByFlagVariableAndDefault(t *testing.T) {
	_, socket := startNode(t)
	dir := write(t, map[string]string{"node.yaml": good + "admin: {socket: " + socket + "}\n", "other.yaml": good + "admin: {socket: other.sock}\n"})
	node, other := filepath.Join(dir, "node.yaml"), filepath.Join(dir, "other.yaml")
	t.Setenv("SERENO_CONFIG", node)
	if code, stdout, stderr := run(t, "status"); code != 0 || !strings.Contains(stdout, "garibaldi-1: up") {
		t.Errorf("the variable: %d %q", code, stderr)
	}
	if code, _, stderr := run(t, "status", "-c", other); code != 1 || !strings.Contains(stderr, filepath.Join(dir, "other.sock")) {
		t.Errorf("the flag goes before the variable: %d %q", code, stderr)
	}
	if code, _, stderr := run(t, "status", "-c", other, "--socket", socket); code != 0 {
		t.Errorf("the socket goes before the flag: %d %q", code, stderr)
	}
	t.Setenv("SERENO_CONFIG", "")
	if _, err := os.Stat("/etc/sereno/sereno.yaml"); err == nil {
		return // somebody's own
	}
	if code, _, stderr := run(t, "status"); code != 2 || !strings.Contains(stderr, "/etc/sereno/sereno.yaml") || !strings.Contains(stderr, "-c FILE") {
		t.Errorf("the default: %d %q", code, stderr)
	}
}

func TestO01CheckOfAGoodConfiguration(t *testing.T) {
	dir := write(t, map[string]string{"good.yaml": good})
	code, stdout, stderr := run(t, "check", "-c", filepath.Join(dir, "good.yaml"))
	if code != 0 || stderr != "" {
		t.Fatalf("%d %q", code, stderr)
	}
	for _, want := range []string{"node garibaldi-1", "dns resolver: listens on 192.0.2.53:53", "fulmine: 10.0.0.11:53"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("the summary has no %q:\n%s", want, stdout)
		}
	}
}

func TestO01CheckTellsEveryMistakeOnALineOfItsOwn(t *testing.T) {
	bad := strings.ReplaceAll(good, "pool: resolvers}", "pool: resolver, udp_sise: 5}") + "bpg: {}\nlog: {level: \"\\e[2Jloud\"}\n"
	dir := write(t, map[string]string{"bad.yaml": bad})
	code, stdout, stderr := run(t, "check", "-c", filepath.Join(dir, "bad.yaml"))
	lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
	shape := regexp.MustCompile(`^` + regexp.QuoteMeta(dir) + `/bad\.yaml:[1-9]\d*:[1-9]\d*: (error|warning): \S+: .+$`)
	for _, line := range lines {
		if !shape.MatchString(line) || strings.Contains(line, "\x1b") {
			t.Errorf("not a line of `check`: %q", line)
		}
	}
	if code != 2 || stdout != "" || len(lines) < 4 {
		t.Errorf("%d %q %q", code, stdout, stderr)
	}
}

func TestO02CheckWarns(t *testing.T) {
	dir := write(t, map[string]string{"warn.yaml": strings.Replace(good, ", {name: tempesta, address: 10.0.0.12}", "", 1)})
	code, stdout, stderr := run(t, "check", "-c", filepath.Join(dir, "warn.yaml"))
	if code != 0 || !strings.Contains(stdout, "node garibaldi-1") || !strings.Contains(stderr, ": warning: pools[0]") {
		t.Errorf("%d %q %q", code, stdout, stderr)
	}
}

func TestO01CheckWithoutFiles(t *testing.T) {
	dir := write(t, map[string]string{"c.yaml": good + "admin: {token_file: none}\n"})
	if code, _, stderr := run(t, "check", "-c", filepath.Join(dir, "c.yaml")); code != 2 || !strings.Contains(stderr, "admin.token_file") {
		t.Errorf("with a file that is missing: %d %q", code, stderr)
	}
	if code, _, stderr := run(t, "check", "--no-files", "-c", filepath.Join(dir, "c.yaml")); code != 0 || stderr != "" {
		t.Errorf("--no-files: %d %q", code, stderr)
	}
	if code, _, stderr := run(t, "check", "-c", filepath.Join(dir, "none.yaml")); code != 2 || !strings.Contains(stderr, "none.yaml:1:1: error: cannot read the configuration") {
		t.Errorf("no such file: %d %q", code, stderr)
	}
}
