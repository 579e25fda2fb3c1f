package spoil

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
)

// change is what is done to one key.
type change struct {
	how     string
	replace bool   // its value becomes value
	value   string // as written
	key     string // its new name
	beside  string // a key that is put in after it
}

// found is where the mistake ended up.
type found struct {
	key          string
	line, column int
}

// writer writes a tree, one key on a line, with one change.
type writer struct {
	path   string // of what is changed
	change change
	at     found
	b      strings.Builder
	line   int
	order  []string
	places map[string]Place
}

func newWriter(path string, c change) *writer {
	return &writer{path: path, change: c, line: 1, places: map[string]Place{}}
}

func (w *writer) print(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.line += strings.Count(text, "\n")
	w.b.WriteString(text)
}

func kindOf(v any) string {
	switch v.(type) {
	case yaml.MapSlice:
		return Section
	case []any:
		return List
	}
	return Scalar
}

func (w *writer) note(path, kind string, column, valueColumn int) {
	p := Place{Kind: kind, Line: w.line, Column: column, ValueLine: w.line, ValueColumn: valueColumn}
	if kind != Scalar {
		p.ValueLine++
	}
	w.order = append(w.order, path)
	w.places[path] = p
}

// section writes the keys of a section; the first one's indentation is there already
// if the section is an item.
func (w *writer) section(s yaml.MapSlice, path string, indent int) {
	for i, item := range s {
		if i > 0 || path == "" || path[len(path)-1] != ']' {
			w.print("%s", strings.Repeat(" ", indent))
		}
		key := fmt.Sprint(item.Key)
		w.entry(key, item.Value, strings.TrimPrefix(path+"."+key, "."), indent)
	}
}

func (w *writer) entry(key string, value any, path string, indent int) {
	mine := path == w.path
	written := key
	if mine && w.change.key != "" {
		written = w.change.key
		w.at = found{path[:len(path)-len(key)] + written, w.line, indent + 1}
	}
	w.note(path, kindOf(value), indent+1, indent+len(written)+3)
	w.print("%s:", written)
	if mine && w.change.replace {
		w.at = found{path, w.line, indent + len(written) + 3}
		if w.change.value == "" {
			w.at.column-- // nothing stands there but the colon
		}
		w.print(" %s\n", w.change.value)
		return
	}
	w.value(value, path, indent)
	if mine && w.change.beside != "" {
		w.at = found{path[:len(path)-len(key)] + w.change.beside, w.line, indent + 1}
		w.print("%s%s: 5\n", strings.Repeat(" ", indent), w.change.beside)
	}
}

// value writes what stands after "KEY:".
func (w *writer) value(value any, path string, indent int) {
	switch v := value.(type) {
	case yaml.MapSlice:
		if len(v) == 0 {
			w.print(" {}\n")
			return
		}
		w.print("\n")
		w.section(v, path, indent+2)
	case []any:
		if len(v) == 0 {
			w.print(" []\n")
			return
		}
		w.print("\n")
		for i, item := range v {
			w.item(item, fmt.Sprintf("%s[%d]", path, i), indent+2)
		}
	default:
		w.print(" %s\n", scalarText(v))
	}
}

// item writes one item of a list.
func (w *writer) item(value any, path string, indent int) {
	w.note(path, kindOf(value), indent+1, indent+3)
	if kindOf(value) == Section {
		p := w.places[path]
		p.ValueLine = w.line
		w.places[path] = p
	}
	w.print("%s- ", strings.Repeat(" ", indent))
	if path == w.path {
		w.at = found{path, w.line, indent + 3}
		w.print("%s\n", w.change.value)
		return
	}
	if v, ok := value.(yaml.MapSlice); ok {
		w.section(v, path, indent+2)
		return
	}
	w.print("%s\n", scalarText(value))
}

// scalarText writes texts in quotes and everything else without.
func scalarText(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(v)
	case nil:
		return "~"
	default:
		return fmt.Sprint(v)
	}
}
