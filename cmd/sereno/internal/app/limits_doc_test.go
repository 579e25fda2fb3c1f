package app

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"sereno/cmd/sereno/internal/admin"
)

// rooms are the packages that docs/limits.md names, by their short names.
var rooms = map[string]string{
	"dnsfront": "proxy/dnsfront", "radiusfront": "proxy/radiusfront", "spool": "proxy/radiusfront/spool", "udp": "proxy/udp", "insight": "proxy/insight",
	"pool": "proxy/pool", "health": "health", "ledger": "health/ledger", "bgp": "bgp", "speaker": "bgp/speaker", "config": "config",
	"app": "cmd/sereno/internal/app", "admin": "cmd/sereno/internal/admin", "e2e": "bench/e2e",
}

// TestO30EveryLimitIsAsDocumented holds docs/limits.md to the code: each key, constant, metric
// and test that it names is there, every row has one of each, and every table of the metrics
// has its row.
func TestO30EveryLimitIsAsDocumented(t *testing.T) {
	text := document(t, "limits.md")
	keys, unit, metrics := document(t, "configuration.md"), read(t, "deploy/systemd/sereno.service"), metricNames(t)
	declared := map[string]map[string]bool{}
	for short, dir := range rooms {
		declared[short] = declarations(t, filepath.Join(root, dir))
	}
	ticked := regexp.MustCompile("`([^`]+)`")
	rows := 0
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if !strings.HasPrefix(line, "|") || len(cells) != 6 || strings.HasPrefix(cells[0], "---") || strings.TrimSpace(cells[0]) == "What" {
			continue
		}
		rows++
		for column, known := range map[int]func(string) bool{
			2: func(name string) bool {
				if option, is := strings.CutSuffix(name, "="); is {
					return strings.Contains(unit, "\n"+option+"=")
				}
				room, constant, _ := strings.Cut(name, ".")
				return declared[room][constant] || strings.Contains(keys, "`"+name+"`")
			},
			4: func(name string) bool { return metrics[name] },
			5: func(name string) bool {
				room, test, _ := strings.Cut(name, ".")
				return strings.HasPrefix(test, "Test") && declared[room][test]
			},
		} {
			names := ticked.FindAllStringSubmatch(cells[column], -1)
			if len(names) == 0 {
				t.Errorf("%s: nothing in column %d", cells[0], column+1)
			}
			for _, name := range names {
				if !known(name[1]) {
					t.Errorf("%s: there is no %s", strings.TrimSpace(cells[0]), name[1])
				}
			}
		}
	}
	if rows < 60 {
		t.Errorf("only %d rows", rows)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func document(t *testing.T, name string) string { return read(t, "docs/"+name) }

// declarations are the names that a package declares at its top, with its tests.
func declarations(t *testing.T, dir string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files, %v", dir, len(files), err)
	}
	out := map[string]bool{}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				out[d.Name.Name] = out[d.Name.Name] || d.Recv == nil
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch spec := spec.(type) {
					case *ast.ValueSpec:
						for _, name := range spec.Names {
							out[name.Name] = true
						}
					case *ast.TypeSpec:
						out[spec.Name.Name] = true
					}
				}
			}
		}
	}
	return out
}

// metricNames are those of docs/metrics.md, which a test of admin holds to the registry, and
// the runtime's and the process's.
func metricNames(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(sereno_[a-z_]+)` \\|").FindAllStringSubmatch(document(t, "metrics.md"), -1) {
		out[m[1]] = true
	}
	registry, err := admin.NewRegistry(admin.Build{}, func() admin.Snapshot { return admin.Snapshot{} })
	if err != nil {
		t.Fatal(err)
	}
	families, err := prometheus.Gatherer(registry).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		out[family.GetName()] = true
	}
	return out
}
