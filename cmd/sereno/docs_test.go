package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"sereno/cmd/sereno/internal/admin"
	"sereno/config"
)

var (
	// ```yaml is a configuration; ```yaml fragment is a file that config/reference.yaml could include.
	yamlFence     = regexp.MustCompile("(?s)```yaml\n(.*?)```")
	fragmentFence = regexp.MustCompile("(?s)```yaml fragment\n(.*?)```")
	shellFence    = regexp.MustCompile("(?s)```sh\n(.*?)```")
	indented      = regexp.MustCompile(`(?m)^    (sereno .*)$`)
	inline        = regexp.MustCompile("`(sereno [a-z][^`]*)`")
	link          = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
)

// Every configuration in the documents is a good one.
func TestConfigurationsInTheDocumentsAreGood(t *testing.T) {
	reference, err := filepath.Abs("../../config/reference.yaml")
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range documents(t) {
		for i, m := range yamlFence.FindAllStringSubmatch(text, -1) {
			_, report := config.Parse(name, []byte(m[1]), config.Options{NoFiles: true})
			if err := report.Err(); err != nil {
				t.Errorf("configuration %d of %s:\n%v", i+1, name, err)
			}
		}
		for i, m := range fragmentFence.FindAllStringSubmatch(text, -1) {
			part := filepath.Join(t.TempDir(), "fragment.yaml")
			if err := os.WriteFile(part, []byte(m[1]), 0o600); err != nil {
				t.Fatal(err)
			}
			main := strings.Replace(string(whole), "include: []", "include: ["+part+"]", 1)
			_, report := config.Parse(reference, []byte(main), config.Options{NoFiles: true})
			if err := report.Err(); err != nil {
				t.Errorf("fragment %d of %s:\n%v", i+1, name, err)
			}
		}
	}
}

// The sysctl file of docs/operating.md sets what the table above it asks for, and
// never less.
func TestSysctlsInTheDocumentsAreThoseOfTheTable(t *testing.T) {
	text := documents(t)["docs/operating.md"]
	block := regexp.MustCompile("(?s)```\n# /etc/sysctl.d/[a-z0-9-]+\\.conf\n(.*?)```").FindStringSubmatch(text)
	if block == nil {
		t.Fatal("docs/operating.md has no sysctl file")
	}
	asked := map[string]int{}
	for _, row := range regexp.MustCompile(`(?m)^\| (.*?) \| (\d+) or more \|`).FindAllStringSubmatch(text, -1) {
		least, err := strconv.Atoi(row[2])
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile("`(net[a-z_.]+)`").FindAllStringSubmatch(row[1], -1) {
			asked[name[1]] = least
		}
	}
	if len(asked) < 3 {
		t.Fatalf("the table asks for %v only", asked)
	}
	for line := range strings.Lines(block[1]) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " = ")
		n, err := strconv.Atoi(value)
		if least, ok := asked[name]; err != nil || !ok || n < least {
			t.Errorf("%q, and the table asks for %d (known: %v)", line, least, ok)
		}
		delete(asked, name)
	}
	if len(asked) > 0 {
		t.Errorf("the file does not set %v", asked)
	}
}

// The nftables rules of docs/operating.md name every UDP port of the reference,
// both ways, before and after routing.
func TestNotrackRulesInTheDocumentsNameEveryPort(t *testing.T) {
	c, report := config.Load("../../config/reference.yaml", config.Options{NoFiles: true})
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	var ports []string
	for _, address := range []string{c.DNS[0].Listen[0], c.RADIUS[0].Auth[0], c.RADIUS[0].Acct[0]} {
		ports = append(ports, strconv.Itoa(int(netip.MustParseAddrPort(address).Port())))
	}
	ports = append(ports, strconv.Itoa(c.RADIUS[0].Clients[0].CoAPort))
	set := "{ " + strings.Join(ports, ", ") + " } notrack;"
	text := documents(t)["docs/operating.md"]
	for _, hook := range []string{"prerouting", "output"} {
		_, rules, _ := strings.Cut(text, "{ type filter hook "+hook+" priority raw;")
		rules, _, _ = strings.Cut(rules, "\n")
		for _, end := range []string{"sport", "dport"} {
			if rule := "udp " + end + " " + set; !strings.Contains(rules, rule) {
				t.Errorf("the chain of hook %s has no %q", hook, rule)
			}
		}
	}
}

// Every command line in the documents is one that the command tree takes, flags
// and arguments included.
func TestCommandsInTheDocumentsParse(t *testing.T) {
	seen := 0
	for name, text := range documents(t) {
		lines := indented.FindAllStringSubmatch(text, -1)
		lines = append(lines, inline.FindAllStringSubmatch(text, -1)...)
		for _, block := range shellFence.FindAllStringSubmatch(text, -1) {
			for line := range strings.Lines(strings.ReplaceAll(block[1], "\\\n", " ")) { // a backslash joins lines
				for _, part := range strings.Split(line, "&&") {
					part = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(part), "go run ./cmd/"))
					if strings.HasPrefix(part, "sereno ") {
						lines = append(lines, []string{part, part})
					}
				}
			}
		}
		for _, m := range lines {
			line := strings.NewReplacer("[--watch]", "--watch", " …", " node", "'", "", `"`, "").Replace(m[1])
			line, _, _ = strings.Cut(line, "  (")
			seen++
			t.Run(name+": "+m[1], func(t *testing.T) {
				example(t, tree(admin.Build{}), line)
				if strings.HasPrefix(line, "sereno drain node") && !strings.Contains(line, "--force") {
					t.Error("it would be refused: the node's last announced entry is among them (O12)")
				}
			})
		}
	}
	if seen < 40 {
		t.Fatalf("found only %d commands in the documents", seen)
	}
}

// Every command that the web page tells somebody to type is one that does something.
func TestCommandsOnTheWebPageParse(t *testing.T) {
	scripts, err := filepath.Glob("internal/admin/page/*.js")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, path := range scripts {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`"(sereno [a-z][^"]*)"`).FindAllStringSubmatch(string(text), -1) {
			seen++
			line := strings.Fields(m[1])
			if strings.HasSuffix(m[1], " ") { // a name follows
				line = append(line, "node")
			}
			found, args, err := tree(admin.Build{}).Find(line[1:])
			if err == nil {
				err = found.ParseFlags(args)
			}
			if err == nil {
				err = found.ValidateArgs(found.Flags().Args())
			}
			if err != nil || found.HasSubCommands() {
				t.Errorf("%s says %q: %v", path, m[1], err)
			}
		}
	}
	if seen < 4 {
		t.Fatalf("found only %d commands on the page", seen)
	}
}

// The manual page knows every command.
func TestTheManualPageHasEveryCommand(t *testing.T) {
	text, err := os.ReadFile("../../deploy/man/sereno.8")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range commands {
		if !regexp.MustCompile(`(?m)^\.BR? (\w+ ", " )?` + name + `( |$)`).Match(text) {
			t.Errorf("there is no %s", name)
		}
	}
}

// Every file that a document leads to is there.
func TestLinksInTheDocumentsLeadSomewhere(t *testing.T) {
	for name, text := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "//") {
				continue
			}
			if _, err := os.Stat(filepath.Join("../..", filepath.Dir(name), m[1])); err != nil {
				t.Errorf("%s leads to %s, which is not there", name, m[1])
			}
		}
	}
}

// documents are the texts that operators read, by name.
func documents(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, pattern := range []string{"../../docs/*.md", "../../*.md", "../../deploy/*.md"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			out[strings.TrimPrefix(path, "../../")] = string(data)
		}
	}
	return out
}
