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
	report, err := Run(t.Context(), Options{
		Sereno: filepath.Join(dir, "sereno"), Echo: filepath.Join(dir, "udpecho"), Only: []string{"dns-hit", "radius-auth"},
		Without: []string{"dnsdist", "unbound", "coredns", "freeradius", "radsecproxy"}, Rounds: 1, For: 100 * time.Millisecond, LoadCore: 0,
		Progress: t.Output(),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range report.Sections {
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

// A section takes the place of the older one of its case; the rest of the report stays. A whole run takes the place of all.
func TestMergeReplacesItsOwnSectionOnly(t *testing.T) {
	sections := func(list ...Section) Report { return Report{Sections: list} }
	document := Merge("# Results\n\n## Laboratory\n\nkept\n", sections(Section{Case: "a", Text: "first a\n"}, Section{Case: "b", Text: "first b\n"}))
	document = Merge(document, sections(Section{Case: "a", Text: "second a\n"}))
	for _, want := range []string{"## Laboratory\n\nkept\n", "second a\n", "first b\n", "![a](charts/a.svg)"} {
		if strings.Count(document, want) != 1 {
			t.Errorf("%q is not there once:\n%s", want, document)
		}
	}
	whole := sections(Section{Case: "a", Text: "third a\n", Verdicts: []Verdict{{What: "cost", Ratio: "0.50", State: Met}}})
	whole.Whole = true
	document = Merge(document, whole)
	for _, want := range []string{"## Laboratory\n\nkept\n", "third a\n", "| [cost](#a) |"} {
		if strings.Count(document, want) != 1 {
			t.Errorf("%q is not there once:\n%s", want, document)
		}
	}
	for _, gone := range []string{"first", "second"} {
		if strings.Contains(document, gone) {
			t.Errorf("the %s section is still there:\n%s", gone, document)
		}
	}
}

// made is a round with these figures.
func made(cpu, rate, busy float64) sample { return sample{cpu: cpu, rate: rate, busy: busy} }

// The ratio is the median of the rounds' ratios, and a bar that the load cannot reach is not judged.
func TestVerdicts(t *testing.T) {
	all := map[string]rounds{
		"sereno": {made(4, 100, 1), made(5, 110, 1), made(9, 90, 1)}, "echo": {made(4, 100, 1), made(4, 100, 1), made(4, 100, 1)},
		twoCores: {made(4, 150, 1.4), made(5, 150, 1.5), made(9, 150, 1.6)},
	}
	for _, c := range []struct {
		bar   bar
		ratio string
		state State
	}{
		{bar{of: cpu, to: "echo", atMost: 1.10}, "1.25 (1.00–2.25)", NotMet},
		{bar{of: cpu, to: "echo", atMost: 1.25}, "1.25 (1.00–2.25)", Met},
		{bar{of: rate, to: "echo", atLeast: 0.92}, "1.00 (0.90–1.10)", Met},
		{bar{of: rate, to: "sereno", atLeast: 1.8, ours: twoCores, cores: 2}, "1.50 (1.36–1.67)", NotShown},
		{bar{of: rate, to: "sereno", atLeast: 1.8, ours: twoCores}, "1.50 (1.36–1.67)", NotMet},
		{bar{of: cpu, to: "dnsdist", atMost: 1}, "", NotShown},
		{bar{of: p99, to: "echo", atMost: 1}, "", NotShown},
	} {
		if v := c.bar.judge(nil, all); v.State != c.state || v.Ratio != c.ratio {
			t.Errorf("%+v: %s, %s (%s)", c.bar, v.Ratio, v.State, v.Why)
		}
	}
}

// A failover's rounds count together, and DNS and RADIUS have bars of their own.
func TestFailoverVerdicts(t *testing.T) {
	good, late := sample{sent: 10, slowest: time.Second}, sample{sent: 10, slowest: 2 * time.Second, trouble: []uint32{3}, recovered: 50 * time.Millisecond}
	again := sample{sent: 10, resent: 1}
	for _, c := range []struct {
		f    failover
		r    rounds
		met  bool
		back string
	}{
		{failover{load: load{rate: 1}}, rounds{good, good}, true, "nobody noticed"},
		{failover{load: load{rate: 1000}}, rounds{good, late}, false, "0.05 s"},
		{failover{radius: true, load: load{rate: 1000}}, rounds{good, late}, true, "0.05 s"},
		{failover{radius: true, load: load{rate: 1000}}, rounds{again}, false, "nobody noticed"},
	} {
		s := c.r.worst()
		if _, _, met := c.f.verdict(s); met != c.met || c.f.recovery(s, 6*time.Second) != c.back {
			t.Errorf("%+v: %v, %s", s, met, c.f.recovery(s, 6*time.Second))
		}
	}
}
