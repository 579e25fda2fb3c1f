package compare

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// One tiny round of two cases: it starts, is asked, answers rightly, and the report has it. No figure is judged.
func TestE2EComparisonSmoke(t *testing.T) {
	if os.Getenv("SERENO_E2E") == "" {
		t.Skip("SERENO_E2E is not set")
	}
	dir := t.TempDir()
	for name, what := range map[string]string{"sereno": "sereno/cmd/sereno", "udpecho": "sereno/bench/cmd/udpecho"} {
		if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, name), what).CombinedOutput(); err != nil {
			t.Fatalf("building %s: %v: %s", what, err, out)
		}
	}
	sections, err := Run(t.Context(), Options{
		Sereno: filepath.Join(dir, "sereno"), Echo: filepath.Join(dir, "udpecho"), Only: []string{"dns-hit", "radius-auth"},
		Without: []string{"dnsdist", "unbound", "freeradius", "radsecproxy"}, Rounds: 1, For: 100 * time.Millisecond, LoadCore: 0,
		Progress: t.Output(),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sections {
		row := ""
		for line := range strings.Lines(s.Text) {
			if strings.HasPrefix(line, "| sereno |") {
				row = line
			}
		}
		if !strings.HasSuffix(row, "| 0 |\n") || strings.Contains(s.Text, "wrong reply") || strings.Contains(row, "| 0 | 0 | 0 |") {
			t.Errorf("%s: %s", s.Case, s.Text)
		}
	}
}

// A section takes the place of the older one of its case; the rest of the report stays.
func TestMergeReplacesItsOwnSectionOnly(t *testing.T) {
	report := Merge("# Results\n\n## Laboratory\n\nkept\n", []Section{{Case: "a", Text: "first a\n"}, {Case: "b", Text: "first b\n"}})
	report = Merge(report, []Section{{Case: "a", Text: "second a\n"}})
	for _, want := range []string{"## Laboratory\n\nkept\n", "second a\n", "first b\n"} {
		if strings.Count(report, want) != 1 {
			t.Errorf("%q is not there once:\n%s", want, report)
		}
	}
	if strings.Contains(report, "first a") {
		t.Errorf("the old section is still there:\n%s", report)
	}
}
