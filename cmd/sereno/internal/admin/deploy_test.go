package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const deployDir = "../../../../deploy"

func readDeployed(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(deployDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// promtool runs Prometheus's own checker. Without SERENO_E2E=1 it may be missing.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("SERENO_E2E") != "" {
			t.Fatal("promtool is not installed (Debian: prometheus)")
		}
		t.Log("left out without promtool")
		return
	}
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %q: %v\n%s", args, err, out)
	}
}

// TestO20RulesAreRight: Prometheus takes the rules, their tests pass, and each has one.
func TestO20RulesAreRight(t *testing.T) {
	promtool(t, "check", "rules", filepath.Join(deployDir, "prometheus/rules.yml"))
	promtool(t, "test", "rules", filepath.Join(deployDir, "prometheus/rules_test.yml"))
	tests := readDeployed(t, "prometheus/rules_test.yml")
	alerts := regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(readDeployed(t, "prometheus/rules.yml"), -1)
	if len(alerts) < 20 {
		t.Errorf("%d alerts", len(alerts))
	}
	for _, m := range alerts {
		if !strings.Contains(tests, fmt.Sprintf("alertname=%q", m[1])) {
			t.Errorf("deploy/prometheus/rules_test.yml does not test %s", m[1])
		}
	}
}

// TestO20NamedMetricsExist: rules, dashboard and documentation name no metric that a node does not have.
func TestO20NamedMetricsExist(t *testing.T) {
	var names []string
	for _, d := range everyMetric(t) {
		names = append(names, d.name)
		if d.kind == "histogram" {
			names = append(names, d.name+"_bucket", d.name+"_sum", d.name+"_count")
		}
	}
	files := []string{"prometheus/rules.yml", "prometheus/rules_test.yml", "grafana/sereno.json", "../README.md"}
	docs, err := filepath.Glob(filepath.Join(deployDir, "../docs/*.md"))
	if err != nil || len(docs) < 10 {
		t.Fatal(docs, err)
	}
	for _, doc := range docs {
		files = append(files, "../docs/"+filepath.Base(doc))
	}
	for _, name := range files {
		text := readDeployed(t, name)
		for _, m := range regexp.MustCompile(`\bsereno_[a-z_]+`).FindAllString(text, -1) {
			if !slices.Contains(names, m) {
				t.Errorf("%s: there is no metric %s", name, m)
			}
		}
	}
}

// panel is what the test reads of a dashboard's panel.
type panel struct {
	ID      int
	Type    string
	Title   string
	GridPos struct{ H, W, X, Y int }
	Targets []struct{ Expr, RefID string }
}

// TestO20DashboardIsWellMade: Grafana can load it, no panel lies on another, and
// Prometheus can read every query of it and of docs/metrics.md.
func TestO20DashboardIsWellMade(t *testing.T) {
	var dashboard struct {
		UID, Title    string
		SchemaVersion int
		Panels        []panel
	}
	if err := json.Unmarshal([]byte(readDeployed(t, "grafana/sereno.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	if dashboard.UID != "sereno" || dashboard.Title != "sereno" || dashboard.SchemaVersion < 30 {
		t.Errorf("%s %s %d", dashboard.UID, dashboard.Title, dashboard.SchemaVersion)
	}
	var rows, exprs []string
	ids := map[int]bool{}
	taken := map[[2]int]string{}
	for _, p := range dashboard.Panels {
		if ids[p.ID] || p.ID == 0 || p.Title == "" || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %d %q at %+v", p.ID, p.Title, p.GridPos)
		}
		ids[p.ID] = true
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if taken[at] != "" {
					t.Fatalf("%q lies on %q", p.Title, taken[at])
				}
				taken[at] = p.Title
			}
		}
		if p.Type == "row" {
			rows = append(rows, p.Title)
			continue
		}
		if len(p.Targets) == 0 {
			t.Errorf("%q asks nothing", p.Title)
		}
		for _, target := range p.Targets {
			exprs = append(exprs, target.Expr)
		}
	}
	if want := []string{"Overview", "DNS", "RADIUS", "Backends", "BGP and anycast", "Spool", "Process"}; !slices.Equal(rows, want) {
		t.Errorf("rows %q", rows)
	}
	doc, err := os.ReadFile(metricsDoc)
	if err != nil {
		t.Fatal(err)
	}
	_, questions, _ := bytes.Cut(doc, []byte("## What to ask"))
	questions, _, _ = bytes.Cut(questions, []byte("\n## "))
	for _, m := range regexp.MustCompile("\\| `([^`]+)` \\|").FindAllSubmatch(questions, -1) {
		exprs = append(exprs, string(m[1]))
	}
	readable(t, exprs)
}

// readable has Prometheus read queries: as the rules of a file.
func readable(t *testing.T, exprs []string) {
	t.Helper()
	plain := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*")
	var b strings.Builder
	b.WriteString("groups:\n  - name: queries\n    rules:\n")
	for i, e := range exprs {
		fmt.Fprintf(&b, "      - record: query:%d\n        expr: %q\n", i, plain.Replace(e))
	}
	file := filepath.Join(t.TempDir(), "queries.yml")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", file)
}

// TestO20ScrapeConfigInTheDocumentIsOne: Prometheus takes the scrape_configs of docs/metrics.md as they stand.
func TestO20ScrapeConfigInTheDocumentIsOne(t *testing.T) {
	doc, err := os.ReadFile(metricsDoc)
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?ms)^```\n(scrape_configs:\n.*?)^```").FindSubmatch(doc)
	if block == nil {
		t.Fatal("docs/metrics.md has no scrape_configs")
	}
	file := filepath.Join(t.TempDir(), "prometheus.yml")
	if err := os.WriteFile(file, block[1], 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "config", file)
}
