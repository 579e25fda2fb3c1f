package compare

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"
	"time"

	"sereno/bench/drive"
)

// panel is one column of bars of a chart. With part, the bar is cut in two: part is its darker beginning.
type panel struct {
	title    string
	of, part figure
	digits   int
}

var (
	cpuPanel    = panel{title: "CPU, µs a request (dark: in user mode)", of: cpu, part: user, digits: 1}
	ratePanel   = panel{title: "answers a second", of: rate}
	p50Panel    = panel{title: "p50, µs", of: p50}
	p99Panel    = panel{title: "p99, µs", of: p99}
	memoryPanel = panel{title: "memory above start, MB", of: memory}
)

// Charts are drawn in these units.
const (
	chartWidth = 880
	labelWidth = 150
	rowHeight  = 30
	headHeight = 58
	footHeight = 12
	valueWidth = 62 // behind a bar, for its figure
)

// drawing collects an SVG.
type drawing struct{ bytes.Buffer }

func newDrawing(title string, height int) *drawing {
	d := &drawing{}
	fmt.Fprintf(d, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%s">`+"\n%s\n", chartWidth, height, escape(title), chartStyle)
	fmt.Fprintf(d, `<rect class="card" width="%d" height="%d" rx="8"/>`+"\n", chartWidth, height)
	d.text("title", "start", 16, 25, title)
	return d
}

const chartStyle = `<style>
text { font: 13px system-ui, "Segoe UI", Roboto, sans-serif; fill: #1c2430; }
.card { fill: #fff; } .title { font-weight: 600; font-size: 14px; } .soft { fill: #5d6b7c; font-size: 12px; }
.other { fill: #9db2cf; } .otherdark { fill: #5b7aa6; } .ours { fill: #7fcdb0; } .oursdark { fill: #0f9d76; } .spread { stroke: #1c2430; opacity: .55; }
.grid { stroke: #e3e8ee; } .bad { fill: #c93a31; }
@media (prefers-color-scheme: dark) { text { fill: #e4e9f0; } .card { fill: #191f28; } .soft { fill: #98a5b5; } .spread { stroke: #e4e9f0; } .grid { stroke: #2b3441; }
.other { fill: #4b6284; } .otherdark { fill: #8fb0de; } .ours { fill: #2b6b56; } .oursdark { fill: #4cd0a6; } .bad { fill: #ff7a70; } }
</style>`

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a strings.Builder takes everything
	return b.String()
}

func (d *drawing) text(class, anchor string, x, y float64, s string) {
	fmt.Fprintf(d, `<text class="%s" text-anchor="%s" x="%.1f" y="%.1f">%s</text>`+"\n", class, anchor, x, y, escape(s))
}

func (d *drawing) bar(class string, x, y, width, height float64) {
	fmt.Fprintf(d, `<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`+"\n", class, x, y, max(width, 0), max(height, 0))
}

func (d *drawing) line(class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(d, `<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`+"\n", class, x1, y1, x2, y2)
}

func (d *drawing) end() []byte {
	d.WriteString("</svg>\n")
	return d.Bytes()
}

// classes are those of a program's bars, the lighter and the darker.
func classes(program string) (light, dark string) {
	if program == "sereno" {
		return "ours", "oursdark"
	}
	return "other", "otherdark"
}

// chart draws a bar for each entrant in each panel: the median, and a thin line from the least to the greatest round.
func (c *comparison) chart(programs map[string]*program, all map[string]rounds) []byte {
	var here []entrant
	for _, e := range c.entrants {
		if programs[e.program].absent == "" && len(all[e.String()]) > 0 {
			here = append(here, e)
		}
	}
	d := newDrawing(upper(c.what), headHeight+len(here)*rowHeight+footHeight)
	for k, e := range here {
		d.text("name", "end", labelWidth-10, float64(headHeight+k*rowHeight+18), e.String())
	}
	width := float64(chartWidth-labelWidth) / float64(len(c.panels))
	for n, p := range c.panels {
		left, most := labelWidth+float64(n)*width, 0.0
		d.text("soft", "start", left, headHeight-10, p.title)
		for _, e := range here {
			most = max(most, all[e.String()].spread(p.of).high)
		}
		scale := (width - valueWidth) / max(most, 1e-9)
		for k, e := range here {
			p.row(d, left, float64(headHeight+k*rowHeight), scale, e.program, all[e.String()])
		}
	}
	return d.end()
}

func (p panel) row(d *drawing, left, top, scale float64, program string, r rounds) {
	light, dark := classes(program)
	s := r.spread(p.of)
	if p.part == nil {
		light = dark
	}
	d.bar(light, left, top+5, s.median*scale, rowHeight-12)
	if p.part != nil {
		d.bar(dark, left, top+5, r.spread(p.part).median*scale, rowHeight-12)
	}
	middle := top + 5 + (rowHeight-12)/2
	d.line("spread", left+s.low*scale, middle, left+s.high*scale, middle)
	d.text("soft", "start", left+s.high*scale+5, middle+4, fmt.Sprintf("%.*f", p.digits, s.median))
}

// chart draws, for each program, the share of requests in trouble in each tenth of a second after the break.
func (f *failover) chart(programs map[string]*program, all map[string]rounds, length time.Duration) []byte {
	const high, top = 54, 34
	var here []string
	for _, name := range f.programs {
		if programs[name].absent == "" && len(all[name]) > 0 {
			here = append(here, name)
		}
	}
	after := length * 2 / 3
	d := newDrawing(upper(f.what), top+len(here)*high+40)
	left, right := float64(labelWidth), float64(chartWidth-20)
	step := (right - left) / (after.Seconds() / drive.TroubleStep.Seconds())
	for k, name := range here {
		s, base := all[name].worst(), float64(top+(k+1)*high)
		d.text("name", "end", left-10, base-24, name)
		d.text("soft", "end", left-10, base-8, fmt.Sprintf("slowest %.2f s", s.slowest.Seconds()))
		d.line("grid", left, base, right, base)
		each := f.load.rate * drive.TroubleStep.Seconds() * float64(len(all[name]))
		for i, n := range s.trouble {
			if x := left + float64(i)*step; x < right && n > 0 {
				height := max(1, min(1, float64(n)/each)*(high-14))
				d.bar("bad", x+0.5, base-height, step-1, height)
			}
		}
		if len(s.trouble) == 0 {
			d.text("soft", "start", left+4, base-8, "nobody noticed")
		}
	}
	bottom := float64(top + len(here)*high)
	for t := time.Duration(0); t <= after; t += time.Second {
		x := left + t.Seconds()/after.Seconds()*(right-left)
		d.line("grid", x, top+6, x, bottom+4)
		d.text("soft", "middle", x, bottom+18, fmt.Sprintf("%.0f s", t.Seconds()))
	}
	d.text("soft", "start", 16, bottom+34, fmt.Sprintf("By when it was asked, after the break: the share of requests lost, wrong, sent again or slower than %s; a full bar is all.", slow))
	return d.end()
}
