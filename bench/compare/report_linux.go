package compare

import (
	"fmt"
	"strings"
)

// Section is what one case says, as Markdown between two marks by which it is found again.
type Section struct {
	Case string
	Text string
	Met  bool // every bar
}

// report makes the table of a case.
func (c *comparison) report(running []*instance, all map[string]rounds) Section {
	var b strings.Builder
	s := Section{Case: c.name, Met: true}
	fmt.Fprintf(&b, "\n### %s: %s\n\n", c.name, c.what)
	fmt.Fprintln(&b, "| program | CPU µs a request | of it user | requests a second | p50 µs | p99 µs | memory above start | lost | wrong |")
	fmt.Fprintln(&b, "|---|---:|---:|---:|---:|---:|---:|---:|---:|")
	for _, i := range running {
		r := all[i.name]
		fmt.Fprintf(&b, "| %s | %.2f | %.2f | %.0f | %.0f | %.0f | %.0f MB | %s | %d |\n", i.name, r.median(cpu), r.median(user), r.median(rate),
			r.median(p50), r.median(p99), r.median(memory)/1e6, share(r.sum(lost), r.sum(sent)), r.sum(wrong))
	}
	fmt.Fprintln(&b)
	for _, bar := range c.bars {
		ours, theirs := all["sereno"], all[bar.to]
		if len(ours) == 0 || len(theirs) == 0 {
			continue
		}
		ratio := ours.over(theirs, bar.of)
		met, bound := ratio <= bar.atMost, fmt.Sprintf("at most %.2f", bar.atMost)
		if bar.atLeast > 0 {
			met, bound = ratio >= bar.atLeast, fmt.Sprintf("at least %.2f", bar.atLeast)
		}
		verdict := "met"
		if !met {
			verdict, s.Met = "**not met**", false
		}
		fmt.Fprintf(&b, "- %s: %.2f × %s (%s): %s\n", bar.what, ratio, bar.to, bound, verdict)
	}
	for _, i := range running {
		for _, r := range all[i.name] {
			if r.faulty != "" {
				fmt.Fprintf(&b, "- %s, first wrong reply: %.60s\n", i.name, r.faulty)
				break
			}
		}
	}
	s.Text = b.String()
	return s
}

// slowestAllowed is the bar for who waits longest when a backend breaks, in seconds.
const slowestAllowed = 1.5

// report makes the table of a failover.
func (f *failover) report(order []string, all map[string]sample) Section {
	var b strings.Builder
	s := Section{Case: "failover-" + f.name, Met: true}
	fmt.Fprintf(&b, "\n### failover-%s: %s\n\n", f.name, f.what)
	fmt.Fprintln(&b, "| program | sent | lost | SERVFAIL, rejected or wrong | slowest answer |")
	fmt.Fprintln(&b, "|---|---:|---:|---:|---:|")
	for _, name := range order {
		r := all[name]
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %.2f s |\n", name, r.sent, r.lost, r.wrong, slowest(r))
	}
	for _, name := range order {
		if r := all[name]; r.faulty != "" {
			fmt.Fprintf(&b, "\n- %s, first wrong reply: %.60s\n", name, r.faulty)
		}
	}
	if r, ok := all["sereno"]; ok {
		verdict := "met"
		if r.lost+r.wrong > 0 || slowest(r) >= slowestAllowed {
			verdict, s.Met = "**not met**", false
		}
		fmt.Fprintf(&b, "\n- nothing lost, nothing wrong, slowest below %.1f s: %s\n", slowestAllowed, verdict)
	}
	s.Text = b.String()
	return s
}

func share(n, of uint64) string {
	if n == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%.2f %%)", n, 100*float64(n)/float64(max(of, 1)))
}

// Merge puts the sections into the text of a report: each in the place of the one of the same case, new ones behind the
// last one, or at the end under a heading of their own.
func Merge(report string, sections []Section) string {
	const heading = "## Comparison\n"
	if !strings.Contains(report, heading) {
		report = strings.TrimRight(report, "\n")
		if report != "" {
			report += "\n\n"
		}
		report += heading + intro + last
	}
	for _, s := range sections {
		open, end := fmt.Sprintf("<!-- case %s -->\n", s.Case), fmt.Sprintf("<!-- end %s -->\n", s.Case)
		text := open + s.Text + end
		from, to := strings.Index(report, open), strings.Index(report, end)
		if from >= 0 && to > from {
			report = report[:from] + text + report[to+len(end):]
		} else {
			report = strings.Replace(report, last, text+last, 1)
		}
	}
	return report
}

const last = "<!-- end of the comparison -->\n"

const intro = "\n`go run ./bench/cmd/compare` wrote this: every program in the configuration of `bench/compare/conf` on one core, the load and\n" +
	"the backends on another, on the same machine and in the same run. Medians; ratios are medians of the rounds' ratios.\n" +
	"The echo is `recvmmsg` and `sendmmsg` and nothing else: what the kernel alone costs. CPU is the process's, user and system.\n"
