package capacity

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
)

//go:embed page.html
var pageText string

// page is what the page shows.
type page struct {
	*Report
	Charts []*chart
	Tiles  []tile
}

type tile struct{ Name, Value, Note string }

// HTML writes the report as one page that needs nothing else: no script, no font, no network.
func (r *Report) HTML(w io.Writer) error {
	t, err := template.New("page").Funcs(template.FuncMap{
		"count": count, "percent": percent, "time": func(s float64) string { return short(seconds(s)) },
		"us": func(v float64) string { return fmt.Sprintf("%.2f µs", v) },
	}).Parse(pageText)
	if err != nil {
		return fmt.Errorf("reading the page's template: %w", err)
	}
	if err := t.Execute(w, page{r, r.charts(), r.tiles()}); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	return nil
}

// tiles are the figures that are looked at first.
func (r *Report) tiles() []tile {
	var tiles []tile
	at := r.Total.Latency
	share := 0.0
	if over := r.Total.Answered + r.Total.Lost + r.Total.Wrong; over > 0 {
		share = float64(r.Total.Lost+r.Total.Wrong) / float64(over)
	}
	cpu := r.Total.CPU
	note := "of the whole run"
	if w := r.best(); w != nil {
		at, share, cpu, note = w.Latency, w.Loss, w.CPU, "at "+count(w.Rate)+"/s"
		name := "rate"
		if r.Knee != nil {
			name = "the knee"
		}
		tiles = append(tiles, tile{name, count(w.Rate) + "/s", string(w.Judgement)})
	}
	tiles = append(tiles, tile{"p50", short(seconds(at.P50)), note}, tile{"p99", short(seconds(at.P99)), note},
		tile{"p99.9", short(seconds(at.P999)), note}, tile{"lost or wrong", percent(share) + " %", note})
	for _, c := range cpu {
		tiles = append(tiles, tile{"CPU, " + c.Process, fmt.Sprintf("%.2f µs", c.User+c.System), fmt.Sprintf("each request, %.2f in user mode", c.User)})
	}
	return tiles
}

// best is the window that held at the highest rate; without one, that of a fixed rate.
func (r *Report) best() *Window {
	var best *Window
	for i := range r.Windows {
		if w := &r.Windows[i]; w.Judgement == Held && (best == nil || w.Target >= best.Target) {
			best = w
		}
	}
	if r.Knee != nil && (r.Knee.Rate == 0 || best != nil && best.Target > r.Knee.Rate) {
		best = nil
		for i := range r.Windows {
			if w := &r.Windows[i]; r.Knee.Rate > 0 && w.Judgement == Held && w.Target == r.Knee.Rate {
				best = w
			}
		}
	}
	if best == nil && r.Shape == Fixed && len(r.Windows) == 1 {
		best = &r.Windows[0]
	}
	return best
}

func (r *Report) charts() []*chart {
	var at, asked, sent, answered, lost []float64
	quantiles, rate := make([][]float64, 4), 0.0
	for _, s := range r.Samples {
		at, asked, sent, answered = append(at, s.At), append(asked, s.Target), append(sent, s.Sent), append(answered, s.Answered)
		// What is given up was sent before: after the sending has ended, too.
		if s.Target > 0 {
			rate = s.Target
		}
		lost = append(lost, 100*s.Lost/max(s.Answered+s.Lost, rate, 1))
		for i, v := range []float64{s.Latency.P50, s.Latency.P90, s.Latency.P99, s.Latency.P999} {
			if v == 0 {
				v = math.NaN()
			}
			quantiles[i] = append(quantiles[i], v)
		}
	}
	timeText := func(s float64) string { return fmt.Sprintf("%gs", math.Round(s*10)/10) }
	latencyText := func(s float64) string { return short(seconds(s)) }
	rateText := func(v float64) string { return count(v) + "/s" }
	charts := []*chart{
		{
			Title: "Rate", Note: "requests a second", x: at, xText: timeText, yText: rateText,
			lines: []line{{name: "asked for", class: "asked", y: asked, steps: true}, {name: "sent", class: "c1", y: sent}, {name: "answered rightly", class: "c2", y: answered}},
		},
		{
			Title: "Latency", Note: "from when a request was due to its right answer", x: at, xText: timeText, yText: latencyText, logY: true, minY: 1e-5,
			bound: r.MaxP99, boundName: "bound of p99",
			lines: []line{
				{name: "p50", class: "c1", y: quantiles[0]}, {name: "p90", class: "c2", y: quantiles[1]},
				{name: "p99", class: "c3", y: quantiles[2]}, {name: "p99.9", class: "c4", y: quantiles[3]},
			},
		},
		{
			Title: "Lost or wrong", Note: "percent, when the requests are given up", x: at, xText: timeText, bound: 100 * r.MaxLoss, boundName: "bound",
			yText: func(v float64) string { return percent(v/100) + " %" },
			lines: []line{{name: "lost or wrong", class: "c5", y: lost, area: true}},
		},
	}
	if len(r.Windows) > 1 {
		charts = append([]*chart{r.windowsChart(rateText, latencyText)}, charts...)
	}
	if len(r.Percentiles) > 1 {
		charts = append(charts, r.percentilesChart(latencyText))
	}
	return charts
}

// windowsChart has a point for each window: how latency grows with the rate.
func (r *Report) windowsChart(rateText, latencyText func(float64) string) *chart {
	c := &chart{
		Title: "Every window", Note: "p99 by rate", logX: r.Shape == Search, logY: true, xText: rateText, yText: latencyText, bound: r.MaxP99, boundName: "bound of p99",
	}
	if r.Knee != nil && r.Knee.Rate > 0 {
		c.vertical, c.verticalAs = r.Knee.Rate, "the knee, "+count(r.Knee.Rate)+"/s"
	}
	for _, w := range r.Windows {
		title := fmt.Sprintf("%s/s %s\np50 %s, p99 %s, lost or wrong %s %%", count(w.Target), w.Judgement, latencyText(w.Latency.P50), latencyText(w.Latency.P99), percent(w.Loss))
		if w.Why != "" {
			title += "\n" + w.Why
		}
		if w.Latency.P99 > 0 {
			c.marks = append(c.marks, mark{w.Target, w.Latency.P99, string(w.Judgement), title})
		}
	}
	return c
}

// percentilesChart stretches the upper percentiles, as HDR histograms are shown.
func (r *Report) percentilesChart(latencyText func(float64) string) *chart {
	c := &chart{
		Title: "Percentiles", Note: "the share of all answers that came at least as fast", logX: true, logY: true, yText: latencyText,
		xText: func(v float64) string { return fmt.Sprintf("%g%%", math.Round((1-1/v)*1e7)/1e5) }, xTicks: []float64{1, 2},
	}
	l := line{name: "latency", class: "c1", area: true}
	for _, p := range r.Percentiles {
		c.x = append(c.x, 1/(1-p.Share))
		l.y = append(l.y, p.Seconds)
	}
	for v := 10.0; v <= c.x[len(c.x)-1]*1.001; v *= 10 {
		c.xTicks = append(c.xTicks, v)
	}
	c.lines = []line{l}
	return c
}
