package cli

import (
	"fmt"
	"strings"
	"time"

	"sereno/cmd/sereno/internal/admin"
)

// statusText is the status for people: first what is wrong, then services, backends,
// routes and sessions. No line is wider than width.
func statusText(s admin.Status, now time.Time) string {
	var parts []string
	for _, part := range []string{
		headText(s, now), alarmsText(s, now), drainsText(s, now), servicesText(s, now), spoolsText(s),
		poolsText(s, now), anycastText(s, now), neighborsText(s, now),
	} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	text := strings.Join(parts, "\n")
	if strings.Contains(text, cut) {
		text += "\n" + cut + " stands for what did not fit; sereno status --json has all of it\n"
	}
	return text
}

// mark stands before what needs a look.
func mark(good bool) string {
	if good {
		return ""
	}
	return "!"
}

// maxErrors is how many errors of a refused configuration are shown.
const maxErrors = 3

func headText(s admin.Status, now time.Time) string {
	state := strings.ToUpper(s.State)
	if s.State == admin.StateUp {
		state = s.State
	}
	lines := []string{
		fmt.Sprintf("%s: %s, running for %s, sereno %s", s.Node, state, since(s.Started.Time, now), s.Version),
		fmt.Sprintf("configuration %s (%s), loaded %s", s.Config.Path, s.Config.Hash, utc(s.Config.Loaded.Time)),
	}
	if s.Config.LastError != "" {
		said := strings.Split(s.Config.LastError, "\n")
		lines = append(lines, "! the last reload was refused: "+said[0])
		for i, line := range said[1:] {
			if i == maxErrors {
				lines = append(lines, fmt.Sprintf("  and %d more: sereno check -c %s", len(said)-1-i, s.Config.Path))
				break
			}
			lines = append(lines, "  "+line)
		}
	}
	for i, line := range lines {
		lines[i] = snip(clean(line), width)
	}
	return strings.Join(lines, "\n") + "\n"
}

func alarmsText(s admin.Status, now time.Time) string {
	g := grid{columns: []column{{title: ""}, {title: "ALARM", least: 12}, {title: "FOR"}, {title: "WHAT", least: 40, wrap: true}}}
	for _, a := range s.Alarms {
		g.add("!", a.Name, since(a.Since.Time, now), aboutText(a))
	}
	return g.unlessEmpty()
}

// aboutText is an alarm's text, with what it is about where the text does not begin with it.
func aboutText(a admin.Alarm) string {
	if a.Subject == "" || strings.HasPrefix(a.Text, a.Subject) {
		return a.Text
	}
	return a.Subject + ": " + a.Text
}

func drainsText(s admin.Status, now time.Time) string {
	g := grid{columns: []column{{title: ""}, {title: "DRAINED", least: 20}, {title: "FOR"}, {title: "UNTIL"}}}
	for _, d := range s.Drains {
		until := "undrained"
		if !d.Until.IsZero() {
			until = fmt.Sprintf("%s, in %s", utc(d.Until.Time), age(d.Until.Sub(now)))
		}
		g.add("!", d.Target, since(d.Since.Time, now), until)
	}
	return g.unlessEmpty()
}

func servicesText(s admin.Status, now time.Time) string {
	g := grid{columns: []column{
		{title: ""}, {title: "SERVICE", least: 7}, {title: "KIND"}, {title: "STATE"}, {title: "FOR"}, {title: "REASON", least: 18},
		{title: "REQUESTS", right: true}, {title: "ANSWERS", right: true}, {title: "DROPS", right: true}, {title: "WAITING", right: true},
		{title: "CACHE", right: true},
	}}
	for _, v := range s.Services {
		cache := ""
		if v.Cache != nil {
			cache = hitRatio(v.Cache)
		}
		g.add(mark(v.State == admin.StateUp), v.Name, v.Kind, v.State, since(v.Since.Time, now), v.Reason,
			amount(v.Requests), amount(v.Answers), amount(v.Drops), signed(v.InFlight), cache)
	}
	text := g.unlessEmpty()
	for _, v := range s.Services {
		if len(v.Unsigned) > 0 {
			names := make([]string, 0, len(v.Unsigned))
			for _, name := range v.Unsigned {
				names = append(names, clean(name))
			}
			text += wrap(clean(v.Name)+": message_authenticator: require would break "+strings.Join(names, ", "), width) + "\n"
		}
		if v.Survival != nil {
			text += wrap(fmt.Sprintf("%s: survival knows %s users, answered %s logins from memory",
				clean(v.Name), amount(uint64(v.Survival.Known)), amount(v.Survival.Answers)), width) + "\n" //nolint:gosec // a count
		}
	}
	return text
}

// hitRatio is the share of queries that the cache answered.
func hitRatio(c *admin.Cache) string {
	total := c.Hits + c.Misses
	if total == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f%%", 100*float64(c.Hits)/float64(total))
}

func signed(n int64) string { return amount(uint64(max(n, 0))) }

// spoolsText shows the spools that hold or refuse records.
func spoolsText(s admin.Status) string {
	g := grid{columns: []column{
		{title: ""}, {title: "SPOOL OF", least: 8}, {title: "RECORDS", right: true}, {title: "OLDEST", right: true}, {title: "USED", right: true},
		{title: "ASIDE", right: true}, {title: "STORED", right: true}, {title: "DELIVERED", right: true}, {title: "A SECOND", right: true},
		{title: "RESENT", right: true}, {title: "REFUSED", right: true},
	}}
	for _, v := range s.Services {
		sp := v.Spool
		if sp == nil || sp.Records+sp.SetAside == 0 && sp.Error == "" {
			continue
		}
		resent, refused := uint64(0), sp.DiskFailed
		for _, n := range sp.Resent {
			resent += n
		}
		for _, n := range sp.Refused {
			refused += n
		}
		g.add("!", v.Name, signed(sp.Records), age(sp.Oldest.Duration()), fmt.Sprintf("%.0f%%", 100*float64(sp.Used)), signed(sp.SetAside),
			amount(sp.Stored), amount(sp.Delivered), fmt.Sprintf("%.0f", float64(sp.PerSecond)), amount(resent), amount(refused))
	}
	return g.unlessEmpty()
}

// poolsText draws one table for each pool, all with the same columns.
func poolsText(s admin.Status, now time.Time) string {
	g := grid{columns: []column{
		{title: ""}, {title: "BACKEND", least: 8}, {title: "ROLE"}, {title: "ADDRESS", least: 15}, {title: "STATE"}, {title: "FOR"},
		{title: "SHARE", right: true}, {title: "WAITING", right: true}, {title: "LATENCY", right: true}, {title: "WHY", least: 16, wrap: true},
	}}
	for _, p := range s.Pools {
		for _, b := range p.Backends {
			g.add(mark(b.State == admin.StateUp), b.Name, b.Role, b.Address, b.State, since(b.Since.Time, now),
				shareText(b), signed(b.InFlight), latencyText(b), whyText(b))
		}
	}
	widths, at := g.widths(), 0
	var parts []string
	for _, p := range s.Pools {
		title, good := fmt.Sprintf("pool %s (%s)", p.Name, p.Protocol), true
		for _, r := range p.Roles {
			good = good && r.State == admin.StateUp
			title += fmt.Sprintf(", %s %s: %d healthy of at least %d", r.Role, r.State, r.Healthy, r.MinHealthy)
		}
		if !good {
			title = "! " + title
		}
		part := snip(clean(title), width) + "\n"
		if n := len(p.Backends); n > 0 {
			part += g.lines(true, g.rows[at:at+n], widths)
			at += n
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "\n")
}

// shareText is what a backend gets of its weight, and whether it is a spare.
func shareText(b admin.Backend) string {
	if b.Backup {
		return "spare"
	}
	return fmt.Sprintf("%.0f%%", 100*float64(b.Share))
}

func latencyText(b admin.Backend) string {
	if b.Latency == 0 {
		return ""
	}
	ms, digits := float64(b.Latency), 1
	if ms < 9.995 {
		digits = 2
	}
	return fmt.Sprintf("%.*fms", digits, ms)
}

// whyText is the reason of a backend's state and what its last probe said.
func whyText(b admin.Backend) string {
	if b.LastProbe.OK || b.LastProbe.Error == "" {
		return b.Reason
	}
	return strings.TrimPrefix(b.Reason+": "+b.LastProbe.Error, ": ")
}

func anycastText(s admin.Status, now time.Time) string {
	g := grid{columns: []column{
		{title: ""}, {title: "ANYCAST", least: 10}, {title: "STATE"}, {title: "FOR"}, {title: "PREFIXES", least: 20, wrap: true}, {title: "WHY", least: 16, wrap: true},
	}}
	for _, a := range s.Anycast {
		why := a.Reason
		if a.WaitsFor != "" {
			why = strings.TrimPrefix(why+", waits for "+a.WaitsFor, ", ")
		}
		g.add(mark(a.State == admin.StateAnnounced), a.Name, a.State, since(a.Since.Time, now), strings.Join(a.Prefixes, " "), why)
	}
	return g.unlessEmpty()
}

func neighborsText(s admin.Status, now time.Time) string {
	g := grid{columns: []column{
		{title: ""}, {title: "NEIGHBOR", least: 10}, {title: "ADDRESS", least: 15}, {title: "AS", right: true}, {title: "STATE"}, {title: "FOR"},
		{title: "SPEAKER", least: 7}, {title: "SENT", right: true}, {title: "GOT", right: true}, {title: "LAST ERROR", least: 10, wrap: true},
	}}
	for _, n := range s.BGP.Neighbors {
		g.add(mark(n.State == admin.StateEstablished), n.Name, n.Address, fmt.Sprint(n.ASN), n.State, since(n.Since.Time, now),
			n.Speaker, fmt.Sprint(len(n.Advertised)), fmt.Sprint(n.Received), n.LastError)
	}
	return g.unlessEmpty()
}

// unlessEmpty draws the grid if it has rows.
func (g *grid) unlessEmpty() string {
	if len(g.rows) == 0 {
		return ""
	}
	return g.String()
}
