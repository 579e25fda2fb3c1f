package cli

import (
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// width is that of the terminal that everything fits into.
const width = 100

// cut stands at the end of what was cut off.
const cut = "~"

// column is one column of a grid.
type column struct {
	title string
	right bool // aligned to the right
	least int  // width to which it may be cut; 0: never cut
	wrap  bool // goes on in the next line instead of being cut
}

// grid is a table that fits into width.
type grid struct {
	columns []column
	rows    [][]string
}

func (g *grid) add(cells ...string) {
	for i, c := range cells {
		cells[i] = clean(c)
	}
	g.rows = append(g.rows, cells)
}

// gap is the space between two columns.
const gap = 2

// widths gives each column what it needs, and then takes from those that may be cut, the
// widest first, until all fit.
func (g *grid) widths() []int {
	widths := make([]int, len(g.columns))
	total := gap * (len(g.columns) - 1)
	for i, c := range g.columns {
		widths[i] = text.StringWidth(c.title)
		for _, row := range g.rows {
			widths[i] = max(widths[i], text.StringWidth(row[i]))
		}
		total += widths[i]
	}
	for ; total > width; total-- {
		widest := -1
		for i, c := range g.columns {
			if c.least > 0 && widths[i] > c.least && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
	}
	return widths
}

// lines draws the rows, and the titles above them if titled is true. The widths are those
// of widths, so that several drawings of one grid stand in line.
func (g *grid) lines(titled bool, rows [][]string, widths []int) string {
	w := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", strings.Repeat(" ", gap)
	style.Format.Header = text.FormatDefault
	w.SetStyle(style)
	configs := make([]table.ColumnConfig, len(g.columns))
	titles := make(table.Row, len(g.columns))
	for i, c := range g.columns {
		configs[i] = table.ColumnConfig{Number: i + 1, WidthMin: widths[i], WidthMax: widths[i], WidthMaxEnforcer: snip}
		if c.wrap {
			configs[i].WidthMaxEnforcer = wrap
		}
		if c.right {
			configs[i].Align, configs[i].AlignHeader = text.AlignRight, text.AlignRight
		}
		titles[i] = c.title
	}
	w.SetColumnConfigs(configs)
	if titled {
		w.AppendHeader(titles)
	}
	for _, row := range rows {
		cells := make(table.Row, len(row))
		for i, c := range row {
			cells[i] = c
		}
		w.AppendRow(cells)
	}
	var b strings.Builder
	for line := range strings.Lines(w.Render()) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return b.String()
}

// String draws the whole grid.
func (g *grid) String() string { return g.lines(true, g.rows, g.widths()) }

// snip cuts a text to a width.
func snip(s string, most int) string { return text.Snip(s, most, cut) }

// maxLines is how many lines one cell may have; a status is read, not scrolled.
const maxLines = 6

// wrap breaks a text into lines of a width at most: between words, and inside a word only
// where that alone is wider. (That of go-pretty lets a wide character stick out.)
func wrap(s string, most int) string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		if line != "" && text.StringWidth(line+" "+word) <= most {
			line += " " + word
			continue
		}
		if line != "" {
			lines = append(lines, line)
			line = ""
		}
		for _, r := range word {
			if line != "" && text.StringWidth(line+string(r)) > most {
				lines = append(lines, line)
				line = ""
			}
			line += string(r)
		}
	}
	lines = append(lines, line)
	if len(lines) > maxLines {
		lines = append(lines[:maxLines-1], cut)
	}
	return strings.Join(lines, "\n")
}
