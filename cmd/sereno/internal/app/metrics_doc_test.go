package app

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sereno/bgp"
	"sereno/proxy/dnsfront"
	"sereno/proxy/pool"
	"sereno/proxy/radiusfront"
)

// TestO20EveryLabelValueIsDocumented: docs/metrics.md has a row for each value of
// the closed lists that metrics have for labels, and none for another.
func TestO20EveryLabelValueIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string][]string{"alarm": {
		bgp.AlarmNeighborDown, bgp.AlarmHoldTimeZero, bgp.AlarmSpeakerFailing, bgp.AlarmTooManyRoutes, bgp.AlarmRouteDrift,
		bgp.AlarmStateUnwritable, bgp.AlarmNoOtherSite,
	}}
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
