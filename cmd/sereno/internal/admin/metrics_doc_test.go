package admin

import (
	"cmp"
	cmdline "flag" // the package has a flag of its own
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = cmdline.Bool("update", false, "write the table of metrics in docs/metrics.md anew")

const metricsDoc = "../../../../docs/metrics.md"

// described is what is known of one metric.
type described struct {
	name, kind, help string
	labels           []string
}

var descForm = regexp.MustCompile(`^Desc\{fqName: "([^"]*)", help: "((?:[^"\\]|\\.)*)", (?:unit: "[^"]*", )?constLabels: \{\}, variableLabels: \{([^}]*)\}\}$`)

// everyMetric lists what the node's collector and the API's own can send.
func everyMetric(t *testing.T) []described {
	t.Helper()
	texts := []string{}
	for _, d := range newDescs().all {
		texts = append(texts, d.String())
	}
	kinds := kindsOf(t)
	var out []described
	for _, text := range texts {
		m := descForm.FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("cannot read %s", text)
		}
		d := described{name: m[1], help: strings.ReplaceAll(m[2], `\"`, `"`), kind: kinds[m[1]].kind}
		if m[3] != "" {
			d.labels = strings.Split(m[3], ",")
		}
		out = append(out, d)
	}
	for name, k := range kinds { // the API's own are seen in its answer only
		if !slices.ContainsFunc(out, func(d described) bool { return d.name == name }) {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(a, b described) int { return cmp.Compare(a.name, b.name) })
	return out
}

// kindsOf scrapes a node that has everything.
func kindsOf(t *testing.T) map[string]described {
	t.Helper()
	s := startServer(t, func(o *Options, _ *limits) { o.Registry = registryOf(t, fullSnapshot) })
	code, body, _ := ask(t, s.overSocket, "GET", "http://node/metrics")
	if code != http.StatusOK {
		t.Fatal(code)
	}
	out := map[string]described{}
	var now described
	for line := range strings.Lines(body) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "# HELP "); ok {
			now = described{}
			now.name, now.help, _ = strings.Cut(rest, " ")
			continue
		}
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			_, now.kind, _ = strings.Cut(rest, " ")
			continue
		}
		if _, seen := out[now.name]; !seen && strings.HasPrefix(now.name, "sereno_") {
			for _, m := range regexp.MustCompile(`([a-z_]+)="`).FindAllStringSubmatch(line, -1) {
				if m[1] != "le" {
					now.labels = append(now.labels, m[1])
				}
			}
			out[now.name] = now
		}
	}
	return out
}

// metricsTable is the table of docs/metrics.md.
func metricsTable(list []described) string {
	var b strings.Builder
	b.WriteString("\n| Metric | Type, unit | Labels | Meaning |\n|---|---|---|---|\n")
	for _, d := range list {
		unit := ""
		for _, u := range []string{"seconds", "bytes"} {
			if strings.HasSuffix(strings.TrimSuffix(d.name, "_total"), "_"+u) {
				unit = ", " + u
			}
		}
		labels := make([]string, len(d.labels))
		for i, l := range d.labels {
			labels[i] = "`" + l + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s%s | %s | %s |\n", d.name, d.kind, unit, strings.Join(labels, ", "), strings.ReplaceAll(d.help, "|", "\\|"))
	}
	b.WriteString("\n")
	return b.String()
}

// TestO20EveryMetricIsDocumented: the table of docs/metrics.md is what the registry has.
func TestO20EveryMetricIsDocumented(t *testing.T) {
	list := everyMetric(t)
	for _, d := range list {
		if d.kind == "" {
			t.Errorf("%s is not shown by a node that has everything: add it to fullSnapshot", d.name)
		}
	}
	data, err := os.ReadFile(metricsDoc)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), "-update` -->\n")
	_, after, ok2 := strings.Cut(rest, "<!-- end of metrics -->")
	if !ok || !ok2 {
		t.Fatal("docs/metrics.md has no place for the table")
	}
	want := before + "-update` -->\n" + metricsTable(list) + "<!-- end of metrics -->" + after
	if want == string(data) {
		return
	}
	if *update {
		if err := os.WriteFile(metricsDoc, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Error("docs/metrics.md does not show the metrics as they are: go test ./cmd/sereno/internal/admin -run TestO20EveryMetric -update")
}
