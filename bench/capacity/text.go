package capacity

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Text writes the report as a table of at most 80 columns.
func (r *Report) Text(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s, %s\n", r.Title, r.Target, short(seconds(r.Seconds)))
	if r.Interrupted {
		b.WriteString("interrupted: this is what was measured until then\n")
	}
	if len(r.Windows) > 0 {
		fmt.Fprintf(&b, "\n%-8s %9s %9s %8s %8s %8s %8s  %s\n", "PHASE", "RATE/S", "SENT/S", "LOSS %", "P50", "P99", "P99.9", "")
		for _, v := range r.Windows {
			phase := string(v.Phase)
			if phase == "" {
				phase = string(r.Shape)
			}
			target := count(v.Target)
			if v.Target == 0 {
				target = "-"
			}
			fmt.Fprintf(&b, "%-8s %9s %9s %8s %8s %8s %8s  %s\n", phase, target, count(v.Rate), percent(v.Loss),
				short(seconds(v.Latency.P50)), short(seconds(v.Latency.P99)), short(seconds(v.Latency.P999)), v.Judgement)
		}
	}
	t := &r.Total
	fmt.Fprintf(&b, "\nsent      %12d\nanswered  %12d\nlost      %12d\nwrong     %12d\n", t.Sent, t.Answered, t.Lost, t.Wrong)
	for _, f := range t.Fates {
		fmt.Fprintf(&b, "          %12d  replies: %s\n", f.N, f.What)
	}
	if t.Resent > 0 {
		fmt.Fprintf(&b, "resent    %12d\n", t.Resent)
	}
	if t.Refused > 0 {
		fmt.Fprintf(&b, "refused   %12d  times, by the kernel or the connection\n", t.Refused)
	}
	line := func(name string, l Latency) {
		fmt.Fprintf(&b, "%-9s p50 %s, p90 %s, p99 %s, p99.9 %s, max %s\n", name, short(seconds(l.P50)), short(seconds(l.P90)),
			short(seconds(l.P99)), short(seconds(l.P999)), short(seconds(l.Max)))
	}
	line("latency", t.Latency)
	line("lag", t.Lag)
	for _, c := range t.CPU {
		fmt.Fprintf(&b, "cpu       %12s  %.2f µs user, %.2f µs system for each request\n", c.Process, c.User, c.System)
	}
	for _, e := range t.Examples {
		fmt.Fprintf(&b, "  for example %s\n", e)
	}
	b.WriteString("\n" + r.Verdict() + "\n")
	for _, warning := range r.Warnings {
		fmt.Fprintf(&b, "! %s\n", warning)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Verdict is the outcome in one sentence.
func (r *Report) Verdict() string {
	bounds := fmt.Sprintf("loss at most %s %%", percent(r.MaxLoss))
	if r.MaxP99 > 0 {
		bounds += ", p99 at most " + short(seconds(r.MaxP99))
	}
	switch k := r.Knee; {
	case k != nil && k.Rate == 0:
		return fmt.Sprintf("no rate held (%s)", bounds)
	case k != nil && k.Limit == "maximum":
		return fmt.Sprintf("the knee is above %s/s, the highest rate that was tried (%s)", count(k.Rate), bounds)
	case k != nil && k.Limit == "interrupted":
		return fmt.Sprintf("interrupted; until then the highest rate that held is %s/s (%s)", count(k.Rate), bounds)
	case k != nil && !k.Confirmed:
		return fmt.Sprintf("the knee is near %s/s, not confirmed: the generator was late (%s)", count(k.Rate), bounds)
	case k != nil:
		return fmt.Sprintf("the knee is at %s/s: above it %s (%s)", count(k.Rate), limits[k.Limit], bounds)
	case r.Held:
		return fmt.Sprintf("held: %s", bounds)
	}
	for _, w := range r.Windows {
		if w.Judgement != Held {
			return fmt.Sprintf("not held: at %s/s %s", count(w.Rate), w.Why)
		}
	}
	return "not held: nothing was measured"
}

var limits = map[string]string{
	"loss": "too much is lost or wrong", "p99": "it takes too long", "generator": "the generator could not keep up",
}

func seconds(s float64) time.Duration { return time.Duration(s * 1e9) }

// short rounds a duration to three digits.
func short(d time.Duration) string {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit).String()
}

// count is a number in three or four digits with its unit: 950, 12.3k, 1.23M.
func count(v float64) string {
	switch {
	case v >= 999_500:
		return strconv.FormatFloat(v/1e6, 'f', 2, 64) + "M"
	case v >= 99_950:
		return strconv.FormatFloat(v/1e3, 'f', 0, 64) + "k"
	case v >= 9_995:
		return strconv.FormatFloat(v/1e3, 'f', 1, 64) + "k"
	}
	return strconv.FormatFloat(v, 'f', 0, 64)
}

// percent is a share in percent, with three digits where it is small.
func percent(share float64) string {
	if share == 0 {
		return "0"
	}
	return strconv.FormatFloat(100*share, 'g', 3, 64)
}
