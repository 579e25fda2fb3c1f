package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// decoder fills the tagged structs from a tree. It reports everything that
// does not fit and goes on.
type decoder struct {
	report  complain
	values  map[string]Position // of each value that was read, by path
	keys    map[string]Position // of each key
	bad     map[string]bool     // paths that have an error: nothing more is said of them
	holed   map[string]bool     // lists with an item that could not be read
	all     []string            // every key pattern of the configuration, for hints
	visited int
}

func newDecoder(report complain) *decoder {
	d := &decoder{
		values: map[string]Position{}, keys: map[string]Position{}, bad: map[string]bool{}, holed: map[string]bool{},
		all: patterns(reflect.TypeFor[Config](), ""),
	}
	d.report = func(pos Position, path, message string) {
		if path != "" {
			d.bad[path] = true
			if path[len(path)-1] == ']' {
				d.holed[parent(path)] = true
			}
		}
		report(pos, path, message)
	}
	return d
}

// decode reads n into v. A null leaves v as it is, if that cannot be misread.
func (d *decoder) decode(n *node, v reflect.Value, f field, at place) {
	if d.visited++; d.visited > maxExpanded {
		return // load says so, once
	}
	d.values[at.path] = n.pos
	switch {
	case n.broken:
	case isSection(f.typ):
		d.section(n, v, at)
	case f.typ.Kind() == reflect.Slice && !reflect.PointerTo(f.typ).Implements(textType):
		d.list(n, v, f, at)
	case n.kind == null:
		d.report(n.pos, at.path, `has no value; leave the key out, or write "" for an empty text`)
	case n.kind != scalar:
		message := fmt.Sprintf("must be %s, not %s", typeName(f.typ), n.what())
		if n.takenApart() {
			message += " (" + quotesInBrackets + ")"
		}
		d.report(n.pos, at.path, message)
	default:
		message := strangeText(n.text, f.secret)
		if message == "" {
			message = setScalar(n, v)
		}
		if message != "" {
			d.report(n.pos, at.path, message)
		}
	}
}

// section reads the keys of a mapping.
func (d *decoder) section(n *node, v reflect.Value, at place) {
	if n.kind == null {
		return
	}
	if n.kind != mapping {
		d.report(n.pos, at.path, fmt.Sprintf("must be a section (KEY: VALUE), not %s", n.what()))
		return
	}
	fields := fieldsOf(v.Type())
	for _, e := range n.entries {
		p := at.key(showKey(e.key))
		d.keys[p.path] = e.pos
		i := indexOf(fields, e.key)
		if i < 0 {
			d.unknown(e, fields, at)
			continue
		}
		d.decode(e.value, v.FieldByIndex(fields[i].index), fields[i], p)
		if e.value.broken {
			// It may have swallowed the keys after it, which are then not missing.
			for _, f := range fields {
				if n.get(f.name) == nil {
					d.bad[join(at.path, f.name)] = true
				}
			}
		}
	}
}

// list reads a sequence. Its items begin at their defaults.
func (d *decoder) list(n *node, v reflect.Value, f field, at place) {
	elem := field{typ: f.typ.Elem(), secret: f.secret}
	items := n.items
	switch {
	case n.kind == null:
		if v.Len() > 0 {
			d.report(n.pos, at.path, "has no value; write [] for an empty list, or leave the key out for the default")
		}
		return
	case n.kind == scalar && f.scalar:
		items = []*node{n}
	case n.kind == scalar && !f.secret && len(n.text) < 80:
		d.report(n.pos, at.path, fmt.Sprintf("must be a list; write [%s]", flowText(n)))
		return
	case n.kind != sequence && f.scalar:
		d.report(n.pos, at.path, fmt.Sprintf("must be %s or a list, not %s", typeName(elem.typ), n.what()))
		return
	case n.kind != sequence:
		d.report(n.pos, at.path, fmt.Sprintf("must be a list, not %s", n.what()))
		return
	}
	// One by one, not make(len): an alias can name a long list many times over,
	// and the budget in decode is what stops that.
	out := reflect.MakeSlice(f.typ, 0, 0)
	for i, item := range items {
		if d.visited > maxExpanded {
			break
		}
		fresh := reflect.New(elem.typ).Elem()
		protocol := ""
		if p := item.get("protocol"); p != nil {
			protocol = p.text
		}
		setDefaults(fresh, protocol)
		p := at.item(i, "")
		if item.kind == null && isSection(elem.typ) {
			d.values[p.path] = item.pos
			d.report(item.pos, p.path, "an empty item; fill it or take the dash away")
		} else {
			d.decode(item, fresh, elem, p)
		}
		out = reflect.Append(out, fresh)
	}
	v.Set(out)
}

// flowText writes a scalar as an item of [ ].
func flowText(n *node) string {
	if n.quoted || strings.ContainsAny(n.text, ",[]{}:#\"") {
		return fmt.Sprintf("%q", n.text)
	}
	return n.text
}

// showKey writes a key for messages and paths: odd ones in quotes and cut short.
func showKey(key string) string {
	odd := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-')
	}
	if len(key) > 40 {
		cut := 40
		for cut > 0 && !utf8.RuneStart(key[cut]) {
			cut--
		}
		key = key[:cut] + "…"
	}
	if key == "" || strings.ContainsFunc(key, odd) {
		return strconv.Quote(key)
	}
	return key
}

func indexOf(fields []field, name string) int {
	for i, f := range fields {
		if f.name == name {
			return i
		}
	}
	return -1
}

// unknown reports a key that the section does not have, with the best guess at
// what was meant.
func (d *decoder) unknown(e entry, fields []field, at place) {
	path := join(at.path, showKey(e.key))
	if len(d.bad) > maxProblems {
		d.report(e.pos, path, "unknown key")
		return
	}
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	near := nearest(e.key, names)
	elsewhere := d.elsewhere(e.key, at.pattern)
	switch {
	case near != "" && (distance(e.key, near) <= 1 || len(elsewhere) == 0):
		d.bad[join(at.path, near)] = true // not also "required": it is there, misspelt
		d.report(e.pos, path, fmt.Sprintf("unknown key; did you mean %q?", near))
	case e.key == "port" && slices.Contains(names, "address") && slices.Contains(names, "auth_port"):
		d.report(e.pos, path, "unknown key; write the port of DNS with the address (10.0.0.11:5353), of RADIUS as auth_port and acct_port")
	case len(elsewhere) > 0:
		d.report(e.pos, path, "unknown key here; it belongs to "+strings.Join(elsewhere, " or "))
	case len(names) <= 8:
		d.report(e.pos, path, "unknown key; known here: "+strings.Join(names, ", "))
	default:
		d.report(e.pos, path, "unknown key")
	}
}

// elsewhere finds the sections that do have the key: those nearest to pattern,
// at most two; none if the key is everybody's, like `name`.
func (d *decoder) elsewhere(key, pattern string) []string {
	best, out := 0, []string(nil)
	for _, p := range d.all {
		if p != key && !strings.HasSuffix(p, "."+key) {
			continue
		}
		home := strings.TrimSuffix(strings.TrimSuffix(p, key), ".")
		if home == "" {
			home = "the top level"
		}
		switch shared := sharedSteps(p, pattern); {
		case shared > best:
			best, out = shared, []string{home}
		case shared == best:
			out = append(out, home)
		}
	}
	if len(out) > 2 {
		return nil
	}
	return out
}

// sharedSteps counts the first steps that two patterns have in common.
func sharedSteps(a, b string) int {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	n := 0
	for n < len(x) && n < len(y) && x[n] == y[n] {
		n++
	}
	return n
}

// nearest is the known word that was probably meant, or "".
func nearest(word string, known []string) string {
	plain := strings.NewReplacer("-", "", "_", "", " ", "", ".", "")
	fold := func(s string) string { return plain.Replace(strings.ToLower(s)) }
	best, limit := "", min(len(word)/3, 4)+1
	for _, k := range known {
		if fold(k) == fold(word) {
			return k
		}
		if n := distance(word, k); n < limit {
			best, limit = k, n
		}
	}
	return best
}

// distance is the number of edits (insert, delete, replace, swap of neighbours)
// between two words; long words are not compared.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
