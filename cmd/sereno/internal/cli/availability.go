package cli

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sereno/cmd/sereno/internal/admin"
)

func availabilityCommand() *cobra.Command {
	var since string
	var asJSON, asCSV bool
	cmd := &cobra.Command{
		Use:   "availability [SERVICE]",
		Short: "Show how available services and backends were, and what the target leaves",
		Long: `Shows what the books of availability say about every service and backend, or about SERVICE
and the backends of its pools: over the last hour, day, week, 30 days and year, or with --since
over one window in detail. OUTAGES and WELL %, the share of requests that were answered well,
are of the longest window. Degraded is up; what was drained or unknown (the node was not
running) counts neither way. - stands for what there is none of.`,
		Example: `  sereno availability
  sereno availability resolver --since 30d
  sereno availability --csv > availability.csv`,
		Args: cobra.MaximumNArgs(1),
	}
	socket := socketFlag(cmd)
	completes(cmd, socket, serviceNames(""))
	cmd.Flags().StringVar(&since, "since", "", "one window of this `LENGTH`, for example 12h or 30d")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the API's answer")
	cmd.Flags().BoolVar(&asCSV, "csv", false, "print a row for each object and window")
	cmd.MarkFlagsMutuallyExclusive("json", "csv")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		arguments := url.Values{}
		if len(args) > 0 {
			arguments["service"] = args
		}
		if cmd.Flags().Changed("since") {
			if _, err := admin.ParseFor(since); err != nil {
				return Exit(Usage, fmt.Errorf("--since: %w", err))
			}
			arguments.Set("since", since)
		}
		if asCSV {
			arguments.Set("format", "csv")
		}
		where, err := socket()
		if err != nil {
			return err
		}
		node := newClient(where)
		body, err := node.get(cmd.Context(), "/api/v1/availability", arguments)
		if err != nil {
			return err
		}
		if asJSON || asCSV {
			return show(cmd, string(body))
		}
		var said admin.Availability
		if err := json.Unmarshal(body, &said); err != nil {
			return node.strange(err)
		}
		return show(cmd, availabilityText(said, since != ""))
	}
	return cmd
}

// availabilityText is a table of the availability in all windows, or of one window in detail.
func availabilityText(a admin.Availability, detail bool) string {
	if len(a.Objects) == 0 {
		return "the books are empty\n"
	}
	head := fmt.Sprintf("%s, %s, target %s %%\n", clean(a.Node), utc(a.At.Time), a.TargetPercent)
	if behind := a.Behind.Duration(); behind >= time.Second {
		head += fmt.Sprintf("! the clock was set back: it is %s behind the books\n", age(behind))
	}
	if detail {
		return head + "\n" + detailText(a) + outagesText(a)
	}
	return head + "\n" + overviewText(a) + outagesText(a)
}

func overviewText(a admin.Availability) string {
	g := grid{columns: []column{{title: "NAME", least: 16}, {title: "STATE"}}}
	for _, f := range a.Objects[0].Windows {
		g.columns = append(g.columns, column{title: strings.ToUpper(f.Window) + " %", right: true})
	}
	g.columns = append(g.columns, column{title: "OUTAGES", right: true}, column{title: "WELL %", right: true})
	for i := range a.Objects {
		o := &a.Objects[i]
		cells := []string{bookName(o), o.State}
		for j := range o.Windows {
			cells = append(cells, percentText(o.Windows[j].AvailabilityPercent))
		}
		last := admin.Figures{}
		if n := len(o.Windows); n > 0 {
			last = o.Windows[n-1]
		}
		cells = append(cells, strconv.Itoa(last.Outages), percentText(last.GoodPercent))
		if len(cells) == len(g.columns) {
			g.add(cells...)
		}
	}
	return g.String()
}

func detailText(a admin.Availability) string {
	g := grid{columns: []column{
		{title: "NAME", least: 12},
		{title: "%", right: true}, {title: "LEVEL", right: true}, {title: "OUT", right: true}, {title: "MTBF", right: true},
		{title: "MTTR", right: true}, {title: "DOWN", right: true}, {title: "DRAINED", right: true}, {title: "UNKNOWN", right: true},
		{title: "WELL %", right: true}, {title: "LEFT", right: true},
	}}
	for i := range a.Objects {
		o := &a.Objects[i]
		for j := range o.Windows {
			f := &o.Windows[j]
			g.add(bookName(o), percentText(f.AvailabilityPercent), strconv.Itoa(f.Level), strconv.Itoa(f.Outages),
				spell(f.MTBF), spell(f.MTTR), spell(&f.Down), spell(&f.Drained), spell(&f.Unknown), percentText(f.GoodPercent), spell(&f.Budget.Left))
		}
	}
	return g.String()
}

// outagesText says of each object that had one which was the last and the longest in the
// longest window.
func outagesText(a admin.Availability) string {
	g := grid{columns: []column{{title: "LAST OUTAGE", least: 16}, {title: "FROM"}, {title: "DOWN", right: true}, {title: "CAUSE", least: 12}, {title: "LONGEST", right: true}}}
	for i := range a.Objects {
		o := &a.Objects[i]
		if n := len(o.Windows); n > 0 && o.Windows[n-1].Last != nil && o.Windows[n-1].Longest != nil {
			f := &o.Windows[n-1]
			down := spell(&f.Last.Down)
			if f.Last.Until.IsZero() {
				down += " so far"
			}
			g.add(bookName(o), utc(f.Last.From.Time), down, f.Last.Cause, spell(&f.Longest.Down))
		}
	}
	if len(g.rows) == 0 {
		return ""
	}
	return "\n" + g.String()
}

func bookName(b *admin.Books) string {
	if b.Kind == "service" {
		return b.Name
	}
	return b.Pool + "/" + b.Name + " " + b.Role
}

func percentText(p *admin.Percent) string {
	if p == nil {
		return "-"
	}
	return p.String()
}

// spell is a duration, also a short one and one below zero; - for none.
func spell(s *admin.Seconds) string {
	switch {
	case s == nil:
		return "-"
	case *s < 0:
		return "-" + age(-s.Duration())
	case *s > 0 && *s < 1:
		return "<1s"
	default:
		return age(s.Duration())
	}
}
