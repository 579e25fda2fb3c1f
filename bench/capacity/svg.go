package capacity

import (
	"fmt"
	"html/template"
	"math"
	"strings"
)

// The charts' size in units of their own; the page scales them.
const (
	chartWidth, chartHeight                     = 860, 250
	marginLeft, marginRight, marginTop, marginX = 62, 14, 12, 28
)

// line is one series of a chart. A NaN interrupts it.
type line struct {
	name  string
	class string // c1 to c5, or "asked"
	y     []float64
	area  bool
	steps bool // each value holds since the one before it
}

// mark is one point of a chart by itself, with words that show when the pointer is on it.
type mark struct {
	x, y  float64
	class string
	title string
}

// chart is drawn once, on the server: nothing on the page computes.
type chart struct {
	Title, Note string
	x           []float64
	lines       []line
	marks       []mark
	logX, logY  bool
	minY        float64 // log scales: the lowest that is shown
	bound       float64 // a horizontal line; 0: none
	boundName   string
	vertical    float64 // a vertical line; 0: none
	verticalAs  string
	xText       func(float64) string
	yText       func(float64) string
	xTicks      []float64 // nil: chosen
}

// scale maps values to the chart's units.
type scale struct {
	low, high float64 // of the values, as logarithms where log is set
	from, to  float64 // of the units
	log       bool
}

func (s scale) at(v float64) float64 {
	if s.log {
		v = math.Log10(math.Max(v, math.Pow(10, s.low)))
	}
	return s.from + (v-s.low)/(s.high-s.low)*(s.to-s.from)
}

// ticks are round values within the scale.
func (s scale) ticks(n int) []float64 {
	var out []float64
	if s.log {
		steps := []float64{1}
		if s.high-s.low < 2.5 {
			steps = []float64{1, 2, 5}
		}
		for e := math.Floor(s.low); e <= s.high; e++ {
			for _, m := range steps {
				if v := m * math.Pow(10, e); math.Log10(v) >= s.low-1e-9 && math.Log10(v) <= s.high+1e-9 {
					out = append(out, v)
				}
			}
		}
		return out
	}
	step := math.Pow(10, math.Floor(math.Log10((s.high-s.low)/float64(n))))
	for _, m := range []float64{1, 2, 5, 10} {
		if (s.high-s.low)/(step*m) <= float64(n) {
			step *= m
			break
		}
	}
	for i := math.Ceil(s.low/step - 1e-9); i*step <= s.high*(1+1e-9); i++ {
		out = append(out, i*step+0) // no negative zero
	}
	return out
}

// scales fits both axes to everything that is drawn.
func (c *chart) scales() (x, y scale) {
	x = scale{low: math.Inf(1), high: math.Inf(-1), from: marginLeft, to: chartWidth - marginRight, log: c.logX}
	y = scale{low: math.Inf(1), high: math.Inf(-1), from: chartHeight - marginX, to: marginTop, log: c.logY}
	see := func(s *scale, v float64) {
		if math.IsNaN(v) || s.log && v <= 0 {
			return
		}
		if s.log {
			v = math.Log10(v)
		}
		s.low, s.high = min(s.low, v), max(s.high, v)
	}
	for _, v := range c.x {
		see(&x, v)
	}
	for _, l := range c.lines {
		for _, v := range l.y {
			see(&y, v)
		}
	}
	for _, m := range c.marks {
		see(&x, m.x)
		see(&y, m.y)
	}
	if c.bound > 0 {
		see(&y, c.bound)
	}
	if c.vertical > 0 {
		see(&x, c.vertical)
	}
	if c.logY && c.minY > 0 && y.low < math.Log10(c.minY) {
		y.low = math.Log10(c.minY)
	}
	if !c.logY {
		y.low = 0
	}
	for _, s := range []*scale{&x, &y} {
		if math.IsInf(s.low, 0) {
			s.low, s.high = 0, 1
		}
		if s.high-s.low < 1e-9 {
			s.high = s.low + 1
		}
	}
	if y.log {
		y.low, y.high = math.Floor(y.low*4)/4, y.high+0.05
	} else {
		y.high *= 1.06
	}
	if c.marks != nil {
		pad := (x.high - x.low) * 0.03
		x.low, x.high = x.low-pad, x.high+pad
	}
	return x, y
}

// SVG draws the chart.
func (c *chart) SVG() template.HTML {
	x, y := c.scales()
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s">`, chartWidth, chartHeight, template.HTMLEscapeString(c.Title))
	for _, v := range y.ticks(5) {
		fmt.Fprintf(&b, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>`, marginLeft, chartWidth-marginRight, y.at(v), y.at(v))
		fmt.Fprintf(&b, `<text class="tick" text-anchor="end" x="%d" y="%.1f">%s</text>`, marginLeft-7, y.at(v)+4, template.HTMLEscapeString(c.yText(v)))
	}
	ticks := c.xTicks
	if ticks == nil {
		ticks = x.ticks(8)
	}
	for _, v := range ticks {
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`, x.at(v), x.at(v), marginTop, chartHeight-marginX)
		anchor, at := "middle", x.at(v)
		if at > chartWidth-30 {
			anchor, at = "end", chartWidth
		}
		fmt.Fprintf(&b, `<text class="tick" text-anchor="%s" x="%.1f" y="%d">%s</text>`, anchor, at, chartHeight-marginX+17, template.HTMLEscapeString(c.xText(v)))
	}
	for i := range c.lines {
		c.drawLine(&b, &c.lines[i], x, y)
	}
	if c.bound > 0 {
		fmt.Fprintf(&b, `<line class="bound" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>`, marginLeft, chartWidth-marginRight, y.at(c.bound), y.at(c.bound))
		fmt.Fprintf(&b, `<text class="boundname" x="%d" y="%.1f">%s</text>`, marginLeft+4, y.at(c.bound)-5, template.HTMLEscapeString(c.boundName))
	}
	if c.vertical > 0 {
		fmt.Fprintf(&b, `<line class="knee" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`, x.at(c.vertical), x.at(c.vertical), marginTop, chartHeight-marginX)
		fmt.Fprintf(&b, `<text class="kneename" text-anchor="end" x="%.1f" y="%d">%s</text>`, x.at(c.vertical)-6, marginTop+11, template.HTMLEscapeString(c.verticalAs))
	}
	for _, m := range c.marks {
		fmt.Fprintf(&b, `<circle class="mark %s" cx="%.1f" cy="%.1f" r="5"><title>%s</title></circle>`, m.class, x.at(m.x), y.at(m.y), template.HTMLEscapeString(m.title))
	}
	c.drawHints(&b, x)
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) //nolint:gosec // numbers, and words that were escaped above
}

func (c *chart) drawLine(b *strings.Builder, l *line, x, y scale) {
	var path strings.Builder
	pen := "M"
	first, last := math.NaN(), math.NaN()
	for i, v := range l.y {
		if math.IsNaN(v) || c.logY && v <= 0 {
			pen = "M"
			continue
		}
		if l.steps && pen == "L" {
			fmt.Fprintf(&path, "L%.1f %.1f", last, y.at(v))
		}
		fmt.Fprintf(&path, "%s%.1f %.1f", pen, x.at(c.x[i]), y.at(v))
		pen, last = "L", x.at(c.x[i])
		if math.IsNaN(first) {
			first = last
		}
	}
	if path.Len() == 0 {
		return
	}
	if l.area {
		fmt.Fprintf(b, `<path class="area %s" d="%sL%.1f %dL%.1f %dZ"/>`, l.class, path.String(), last, chartHeight-marginX, first, chartHeight-marginX)
	}
	fmt.Fprintf(b, `<path class="line %s" d="%s"/>`, l.class, path.String())
}

// drawHints makes a strip over each x that shows all values when the pointer is on it.
func (c *chart) drawHints(b *strings.Builder, x scale) {
	if len(c.lines) == 0 {
		return
	}
	for i, v := range c.x {
		from, to := x.from, x.to
		if i > 0 {
			from = (x.at(c.x[i-1]) + x.at(v)) / 2
		}
		if i < len(c.x)-1 {
			to = (x.at(c.x[i+1]) + x.at(v)) / 2
		}
		words := c.xText(v)
		for _, l := range c.lines {
			if !math.IsNaN(l.y[i]) {
				words += "\n" + l.name + " " + c.yText(l.y[i])
			}
		}
		fmt.Fprintf(b, `<rect class="hint" x="%.1f" y="%d" width="%.1f" height="%d"><title>%s</title></rect>`, from, marginTop,
			math.Max(to-from, 0.1), chartHeight-marginX-marginTop, template.HTMLEscapeString(words))
	}
}

// Legend is the names of the lines and their classes.
func (c *chart) Legend() []Setting {
	var out []Setting
	for _, l := range c.lines {
		out = append(out, Setting{l.name, l.class})
	}
	seen := map[string]bool{}
	for _, m := range c.marks {
		if !seen[m.class] {
			seen[m.class] = true
			out = append(out, Setting{m.class, m.class})
		}
	}
	return out
}
