package compare

import (
	"fmt"
	"strings"
)

const (
	heading = "## Comparison\n"
	last    = "<!-- end of the comparison -->\n"
	// chartDir is where charts are, seen from the report.
	chartDir = "charts"
)

const intro = `
` + "`go run ./bench/cmd/compare`" + ` wrote this: every program in the configuration of ` + "`bench/compare/conf`" + ` on one core, the load and
the backends as one thread on another, on the same machine and in the same run. Rounds are interleaved; figures are medians
over the rounds (least–greatest), ratios are medians of the rounds' ratios. The echo is ` + "`recvmmsg` and `sendmmsg`" + ` and nothing
else: what the kernel alone costs. CPU is the server process's, user and system, divided by the requests that it answered.
`

// Merge puts a report into the text of a document: a whole one in the place of the comparison that is there; else each
// section in the place of the one of the same case, new ones behind the last.
func Merge(document string, r Report) string {
	if r.Whole || !strings.Contains(document, heading) {
		document = withoutComparison(document) + heading + intro
		if r.Whole {
			document += "\n" + r.Origin.text() + r.Table()
		}
		document += last
	}
	for _, s := range r.Sections {
		open, end := fmt.Sprintf("<!-- case %s -->\n", s.Case), fmt.Sprintf("<!-- end %s -->\n", s.Case)
		text := open + s.Text + fmt.Sprintf("\n![%s](%s)\n", s.Case, s.ChartFile()) + end
		from, to := strings.Index(document, open), strings.Index(document, end)
		if from >= 0 && to > from {
			document = document[:from] + text + document[to+len(end):]
		} else {
			document = strings.Replace(document, last, text+last, 1)
		}
	}
	return document
}

// ChartFile is where the section's chart is, seen from the report.
func (s Section) ChartFile() string { return chartDir + "/" + s.Case + ".svg" }

func withoutComparison(document string) string {
	if from, to := strings.Index(document, heading), strings.Index(document, last); from >= 0 && to > from {
		document = document[:from] + document[to+len(last):]
	}
	document = strings.TrimRight(document, "\n")
	if document != "" {
		document += "\n\n"
	}
	return document
}
