package compare

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Report is what a run found.
type Report struct {
	Sections []Section
	Origin   Origin
	Whole    bool // every case was played
}

// Met tells whether every bar is.
func (r Report) Met() bool {
	for _, s := range r.Sections {
		for _, v := range s.Verdicts {
			if v.State == NotMet {
				return false
			}
		}
	}
	return true
}

// Section is what one case says, as Markdown.
type Section struct {
	Case     string
	Text     string
	Chart    []byte // SVG
	Verdicts []Verdict
}

// Verdict is one line of the table of bars.
type Verdict struct {
	What, Ours, Theirs, Ratio, Bound string
	State                            State
	Why                              string // if it is not shown
}

// State says how a bar stands.
type State string

// The states. NotShown is for what this machine or the absence of a program leaves open.
const (
	Met      State = "met"
	NotMet   State = "**not met**"
	NotShown State = "not shown"
)

func (v Verdict) words() string {
	if v.Why != "" {
		return string(v.State) + ": " + v.Why
	}
	return string(v.State)
}

// Table is every bar with its ratio.
func (r Report) Table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n| what | sereno | beside it | ratio | to reach | |\n|---|---:|---:|---:|---|---|\n")
	for _, s := range r.Sections {
		for _, v := range s.Verdicts {
			fmt.Fprintf(&b, "| [%s](#%s) | %s | %s | %s | %s | %s |\n", v.What, s.Case, v.Ours, v.Theirs, v.Ratio, v.Bound, v.words())
		}
	}
	return b.String()
}

// report makes the section of a case.
func (c *comparison) report(programs map[string]*program, all map[string]rounds) Section {
	var b strings.Builder
	fmt.Fprintf(&b, "\n### %s\n\n%s.\n\n", c.name, upper(c.what))
	fmt.Fprintln(&b, "| | CPU µs a request | of it user | requests a second | p50 µs | p99 µs | memory above start, MB | lost | wrong |")
	fmt.Fprintln(&b, "|---|---:|---:|---:|---:|---:|---:|---:|---:|")
	for _, e := range c.entrants {
		if why := programs[e.program].absent; why != "" {
			fmt.Fprintf(&b, "| %s | %s | | | | | | | |\n", e, why)
			continue
		}
		r := all[e.String()]
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %.0f | %s | %d |\n", e, r.spread(cpu).text(2), r.spread(user).text(2), r.spread(rate).text(0),
			r.spread(p50).text(0), r.spread(p99).text(0), max(0, r.spread(memory).median), share(r.sum(lost), r.sum(sent)), r.sum(wrong))
	}
	s := Section{Case: c.name, Chart: c.chart(programs, all)}
	fmt.Fprintln(&b)
	for _, bar := range c.bars {
		v := bar.judge(programs, all)
		s.Verdicts = append(s.Verdicts, v)
		ratio := ""
		if v.Ratio != "" {
			ratio = fmt.Sprintf(" %s × %s (%s)", v.Ratio, bar.to, v.Bound)
		}
		fmt.Fprintf(&b, "- %s:%s: %s\n", v.What, ratio, v.words())
	}
	c.notes(&b, all)
	s.Text = b.String()
	return s
}

// notes says what else must be known of the figures.
func (c *comparison) notes(b *strings.Builder, all map[string]rounds) {
	for _, e := range c.entrants {
		r := all[e.String()]
		if e.fill > 0 && e.program != "echo" {
			if part := float64(r.sum(asked)) / float64(max(r.sum(sent), 1)); part > 0.001 {
				fmt.Fprintf(b, "- %s asked a backend for %.2f %% of its answers.\n", e, 100*part)
			}
		}
		if used, cores := r.spread(busy).median, max(1, e.cores); len(r) > 0 && c.load.rate == 0 && used < fullyBusy*float64(cores) {
			fmt.Fprintf(b, "- %s kept %.2f of %d cores busy: the load was the limit of its throughput.\n", e, used, cores)
		}
		if part := float64(r.sum(unfit)) / float64(max(r.sum(sent), 1)); part > 0.001 {
			fmt.Fprintf(b, "- %s: %.2f %% of the answers are not in the latencies, since the load itself stood still meanwhile.\n", e, 100*part)
		}
		for _, s := range r {
			if s.faulty != "" {
				fmt.Fprintf(b, "- %s, first wrong reply: %.60s\n", e, s.faulty)
				break
			}
		}
	}
}

// fullyBusy is the share of its cores from which on a server is the limit, and not the load; the machine needs some, too.
const fullyBusy = 0.85

// judge holds an entrant to its bar.
func (x bar) judge(programs map[string]*program, all map[string]rounds) Verdict {
	v := Verdict{What: x.what, Bound: fmt.Sprintf("at most %.2f × %s", x.atMost, x.to)}
	if x.atLeast > 0 {
		v.Bound = fmt.Sprintf("at least %.2f × %s", x.atLeast, x.to)
	}
	ours, theirs := all[x.who()], all[x.to]
	if len(ours) == 0 || len(theirs) == 0 {
		v.State, v.Why = NotShown, x.to+" is not here"
		if p := programs[x.to]; p != nil && p.absent != "" {
			v.Why = x.to + ": " + p.absent
		}
		return v
	}
	ratio := ours.over(theirs, x.of)
	v.Ours, v.Theirs, v.Ratio = short(ours.spread(x.of).median), short(theirs.spread(x.of).median), ratio.text(2)
	switch used := ours.spread(busy).median; {
	case ours.spread(x.of).median <= 0 || theirs.spread(x.of).median <= 0:
		v.Ratio, v.State, v.Why = "", NotShown, "one of them answered nothing"
	case x.cores > 0 && used < fullyBusy*float64(x.cores):
		costs := ours.over(theirs, cpu).median
		v.State, v.Why = NotShown, fmt.Sprintf("the load needs a core too and is the limit (%.2f of %d cores busy); a request costs %.2f × the CPU of one on one core, "+
			"so that %d busy cores would do %.2f ×", used, x.cores, costs, x.cores, float64(x.cores)/costs)
	case x.atLeast > 0 && ratio.median >= x.atLeast, x.atLeast == 0 && ratio.median <= x.atMost:
		v.State = Met
	default:
		v.State = NotMet
	}
	return v
}

// report makes the section of a failover.
func (f *failover) report(programs map[string]*program, all map[string]rounds, length time.Duration) Section {
	var b strings.Builder
	fmt.Fprintf(&b, "\n### %s\n\n%s", f.name, upper(f.what))
	for _, r := range all {
		if len(r) > 1 {
			fmt.Fprintf(&b, "; %d times, all that was lost and the worst times", len(r))
		}
		break
	}
	fmt.Fprintf(&b, ".\n\n| | sent | lost | SERVFAIL, rejected or wrong | sent again | slowest answer | time to recover |\n|---|---:|---:|---:|---:|---:|---:|\n")
	for _, name := range f.programs {
		if why := programs[name].absent; why != "" {
			fmt.Fprintf(&b, "| %s | %s | | | | | |\n", name, why)
			continue
		}
		s := all[name].worst()
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %s | %.2f s | %s |\n", name, s.sent, share(s.lost, s.sent), share(s.wrong, s.sent), share(s.resent, s.sent),
			s.slowest.Seconds(), f.recovery(s, length))
	}
	for _, name := range f.programs {
		if s := all[name].worst(); s.faulty != "" {
			fmt.Fprintf(&b, "\n- %s, first wrong reply: %.60s\n", name, s.faulty)
		}
	}
	section := Section{Case: f.name, Chart: f.chart(programs, all, length)}
	if r := all["sereno"]; len(r) > 0 {
		v := Verdict{What: f.what, Ratio: "–", State: NotMet}
		var met bool
		if v.Ours, v.Bound, met = f.verdict(r.worst()); met {
			v.State = Met
		}
		if other := all[f.programs[0]]; len(other) > 0 {
			theirs, _, _ := f.verdict(other.worst())
			v.Theirs = f.programs[0] + ": " + theirs
		}
		section.Verdicts = []Verdict{v}
		fmt.Fprintf(&b, "\n- %s: %s\n", v.Bound, v.words())
	}
	section.Text = b.String()
	return section
}

// recovery is how long after the break the last request was due that was lost, wrong, sent again or slow.
func (f *failover) recovery(s sample, length time.Duration) string {
	switch left := length * 2 / 3; {
	case len(s.trouble) == 0:
		return "nobody noticed"
	case s.recovered > left-5*time.Duration(float64(time.Second)/f.load.rate)-200*time.Millisecond:
		return fmt.Sprintf("not within %.1f s", left.Seconds())
	}
	return fmt.Sprintf("%.2f s", s.recovered.Seconds())
}

func share(n, of uint64) string {
	if n == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%.2f %%)", n, 100*float64(n)/float64(max(of, 1)))
}

// short writes a figure with about three digits.
func short(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func upper(s string) string {
	_, n := utf8.DecodeRuneInString(s)
	return strings.ToUpper(s[:n]) + s[n:]
}

// Origin is where and of what the figures are.
type Origin struct {
	When     time.Time
	Commit   string
	Rounds   int
	For      time.Duration
	Machine  string
	Versions string
	Command  string
}

func (r *runner) origin(ctx context.Context) Origin {
	o := Origin{When: time.Now(), Commit: r.o.Commit, Rounds: r.o.Rounds, For: r.o.For, Machine: machine(), Command: "go run ./bench/cmd/compare " + strings.Join(os.Args[1:], " ")}
	var versions []string
	for _, name := range []string{"dnsdist", "unbound", "coredns", "freeradius", "radsecproxy"} {
		p := r.programs[name]
		if p.absent != "" {
			versions = append(versions, name+" "+p.absent)
		} else {
			versions = append(versions, name+" "+p.told(ctx))
		}
	}
	o.Versions = strings.Join(append(versions, runtime.Version()), ", ")
	return o
}

// machine is the processor, its cores and the kernel.
func machine() string {
	model := "unknown processor"
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	var u unix.Utsname
	_ = unix.Uname(&u)
	return fmt.Sprintf("%s, %d cores, Linux %s", model, runtime.NumCPU(), unix.ByteSliceToString(u.Release[:]))
}

func (o Origin) short() string {
	return fmt.Sprintf("<sub>%s, commit %s</sub>", o.When.UTC().Format("2006-01-02 15:04 UTC"), o.Commit)
}

func (o Origin) text() string {
	return fmt.Sprintf("Measured on %s, commit %s, with `%s`: medians of %d rounds of %s (least–greatest).\n%s; %s.\n",
		o.When.UTC().Format("2006-01-02 15:04 UTC"), o.Commit, strings.TrimSpace(o.Command), o.Rounds, o.For, o.Machine, o.Versions)
}
