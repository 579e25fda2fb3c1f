package app

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sereno/cmd/sereno/internal/admin"
	"sereno/proxy/dnsfront"
	"sereno/proxy/pool"
	"sereno/proxy/radiusfront"
	"sereno/proxy/udp"
)

// TestO20EveryLabelValueIsDocumented: docs/metrics.md has a row for each value of
// the closed lists that metrics have for labels, and none for another.
func TestO20EveryLabelValueIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string][]string{
		"alarm":                                 append(append(constants(t, "../../../../bgp/status.go", "Alarm"), constants(t, "spoolalarms.go", "alarm")...), alarmDrainsUnwritten),
		"event of sereno_dns_upstream_total":    slices.Collect(maps.Keys(upstreamEvents(&dnsfront.Upstream{}))),
		"event of sereno_radius_upstream_total": slices.Collect(maps.Keys(radiusUpstreamEvents(&radiusfront.Stats{}))),
		"reason of sereno_admin_refused_total":  admin.RefusalReasons(),
		"table":                                 constants(t, "../../../../proxy/insight/table.go", "Table"),
	}
	add := func(section, value string) {
		if !slices.Contains(known[section], value) {
			known[section] = append(known[section], value)
		}
	}
	for d := range dnsfront.NumDrops {
		add("reason of sereno_dns_drops_total", d.String())
	}
	for r := range radiusfront.NumReasons {
		add("reason of sereno_radius_drops_total", r.String())
	}
	for _, f := range pool.Failures() {
		add("reason of sereno_backend_failures_total", f.String())
	}
	for r := range dnsfront.NumRefusals {
		add("reason of sereno_dns_connections_refused_total", r.String())
	}
	for d := range udp.NumDrops {
		add("reason of sereno_udp_drops_total", d.String())
	}
	for s := range dnsfront.NumSources {
		add("source", s.String())
	}
	for s := range radiusfront.NumSources {
		add("source", s.String())
	}
	for section, values := range known {
		_, rest, ok := strings.Cut(string(text), "\n### "+section+"\n")
		if !ok {
			t.Errorf("docs/metrics.md has no section %q", section)
			continue
		}
		rest, _, _ = strings.Cut(rest, "\n#")
		var rows []string
		for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(rest, -1) {
			rows = append(rows, m[1])
		}
		slices.Sort(rows)
		slices.Sort(values)
		if !slices.Equal(rows, values) {
			t.Errorf("docs/metrics.md, section %q: write a row for each of\n%q\nthe rows are\n%q", section, values, rows)
		}
	}
}

// constants are the values of a source file's constants whose names begin so: one
// that is added there is missed here.
func constants(t *testing.T, file, prefix string) (values []string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, prefix) {
			return true
		}
		value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatalf("%s: %s: %v", file, spec.Names[0], err)
		}
		values = append(values, value)
		return true
	})
	if len(values) < 2 {
		t.Errorf("%s has %q of %s…", file, values, prefix)
	}
	return values
}
