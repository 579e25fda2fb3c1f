package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"

	"sereno/cmd/sereno/internal/admin"
)

func (n *fakeNode) Availability(service string, lengths []time.Duration) (admin.Availability, error) {
	a := admin.Availability{Node: "garibaldi-1", At: admin.At(moment.Add(time.Hour)), TargetPercent: 99.99}
	mtbf, mttr, most, all := admin.Seconds(8e6), admin.Seconds(0.25), admin.Percent(99.99861), admin.Percent(100)
	for _, b := range []admin.Books{
		{Kind: "service", Name: "resolver", State: "degraded"},
		{Kind: "service", Name: strings.Repeat("コンソール", 9) + "\x1b[2J", State: "up"},
		{Kind: "backend", Name: strings.Repeat("very-long-name-", 5), Pool: "resolvers", Role: "dns", State: "unknown"},
	} {
		for _, d := range lengths {
			f := admin.Figures{Window: admin.WindowText(d), To: a.At, Up: admin.SecondsOf(d), AvailabilityPercent: &all, Level: 8, Good: 10, Valid: 10, GoodPercent: &all}
			if b.State == "degraded" {
				f.Outages, f.MTBF, f.MTTR, f.AvailabilityPercent, f.GoodPercent = 123, &mtbf, &mttr, &most, nil
				f.Down, f.Unknown, f.Budget.Left = 31, 86400*300, -86400
				f.Last = &admin.Outage{From: admin.At(moment), Down: 0.25, Cause: "no-healthy-backend"}
				f.Longest = &admin.Outage{From: admin.At(moment), Until: admin.At(moment.Add(time.Minute)), Down: 30, Cause: "closed"}
			}
			b.Windows = append(b.Windows, f)
		}
		a.Objects = append(a.Objects, b)
	}
	return a, n.note("availability %q %v", service, lengths)
}

func (n *fakeNode) Timeline(service string, length time.Duration) (admin.Timeline, error) {
	return admin.Timeline{}, n.note("timeline %q %v", service, length)
}

func TestA32AvailabilityFitsTheTerminal(t *testing.T) {
	node, socket := startNode(t)
	for _, test := range []struct {
		args  []string
		call  string
		wants []string
	}{
		{nil, `availability "" [1h0m0s 24h0m0s 168h0m0s 720h0m0s 8760h0m0s]`, []string{"garibaldi-1, 2026-11-23 09:00:00 UTC, target 99.99 %", "365D %", "99.9986", "resolver", "degraded"}},
		{[]string{"resolver", "--since", "30d"}, `availability "resolver" [720h0m0s]`, []string{"-1d0h", "92d14h", "<1s so far", "no-healthy-backend", "30s", "LEVEL"}},
	} {
		code, stdout, stderr := run(t, append(append([]string{"availability"}, test.args...), "--socket", socket)...)
		if calls := node.taken(); code != 0 || stderr != "" || calls != test.call {
			t.Errorf("%v: %d %q: %s", test.args, code, stderr, calls)
		}
		for _, want := range test.wants {
			if !strings.Contains(stdout, want) {
				t.Errorf("%v: %q is not in\n%s", test.args, want, stdout)
			}
		}
		for line := range strings.Lines(stdout) {
			if w := text.StringWidth(strings.TrimRight(line, "\n")); w > width || strings.Contains(line, "\x1b") {
				t.Errorf("%d wide: %q", w, line)
			}
		}
	}
}

func TestA32AvailabilityAsJSONAndCSV(t *testing.T) {
	node, socket := startNode(t)
	code, stdout, stderr := run(t, "availability", "--json", "--since=1h", "--socket", socket)
	if code != 0 || stderr != "" || !strings.Contains(stdout, `"mttr_seconds"`) {
		t.Errorf("--json: %d %q %q", code, stdout, stderr)
	}
	code, stdout, stderr = run(t, "availability", "--csv", "--since=1h", "--socket", socket)
	if code != 0 || stderr != "" || strings.Count(stdout, "\n") != 4 || !strings.HasPrefix(stdout, "kind,name,pool,role,state,") {
		t.Errorf("--csv: %d %q %q", code, stdout, stderr)
	}
	node.taken()
	for _, args := range [][]string{{"a", "b"}, {"--json", "--csv"}, {"--since", "yesterday"}, {"--since", ""}, {"--since", "-1h"}} {
		if code, stdout, stderr := run(t, append([]string{"availability", "--socket", socket}, args...)...); code != 2 || stdout != "" || stderr == "" {
			t.Errorf("%v: %d %q %q", args, code, stdout, stderr)
		}
	}
	if calls := node.taken(); calls != "" {
		t.Errorf("wrong usage reached the node: %s", calls)
	}
	node.err = fmt.Errorf("%w: no service x", admin.ErrNotFound)
	if code, stdout, stderr := run(t, "availability", "x", "--socket", socket); code != 1 || stdout != "" || stderr != "sereno availability: not found: no service x\n" {
		t.Errorf("not found: %d %q %q", code, stdout, stderr)
	}
}
