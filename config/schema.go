package config

import (
	"cmp"
	_ "embed" // the reference file
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// reference is the file that lists every key; its comments describe them.
//
//go:embed reference.yaml
var reference string

// Schema is the JSON Schema (draft 7) of a configuration, for editors: keys,
// types, words to choose from, defaults and descriptions, from the tagged
// structs and the comments of reference.yaml. What Load checks beyond that is not in it.
func Schema() ([]byte, error) {
	g := schemaWriter{comments: referenceComments(reference), descriptions: descriptions()}
	def := Default()
	root := g.section(reflect.ValueOf(&def).Elem(), "")
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	root["title"] = "sereno"
	out, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the schema: %w", err)
	}
	return append(out, '\n'), nil
}

// object is a JSON object; encoding/json sorts its keys.
type object map[string]any

type schemaWriter struct {
	comments     map[string]string // of the reference: they have the words to choose from
	descriptions map[string]string
}

// section is the schema of a section whose defaults v holds.
func (g *schemaWriter) section(v reflect.Value, pattern string) object {
	properties := object{}
	for _, f := range fieldsOf(v.Type()) {
		p := join(pattern, f.name)
		s := g.value(v.FieldByIndex(f.index), f, p)
		if d := g.descriptions[p]; d != "" {
			s["description"] = d
		}
		properties[f.name] = s
	}
	return object{"type": []string{"object", "null"}, "properties": properties, "additionalProperties": false}
}

func (g *schemaWriter) value(v reflect.Value, f field, pattern string) object {
	switch {
	case isSection(f.typ):
		return g.section(v, pattern)
	case isSections(f.typ):
		item := reflect.New(f.typ.Elem()).Elem()
		setDefaults(item, "")
		s := g.section(item, pattern+"[]")
		s["type"] = "object"
		return object{"type": []string{"array", "null"}, "items": s}
	case f.typ.Kind() == reflect.Slice:
		s := object{"type": "array", "items": g.scalar(f.typ.Elem(), "", "")}
		if f.scalar {
			return object{"anyOf": []object{s, g.scalar(f.typ.Elem(), "", "")}}
		}
		if v.Len() > 0 {
			s["default"] = jsonDefault(v)
		} else {
			s["type"] = []string{"array", "null"}
		}
		return s
	}
	s := g.scalar(f.typ, cmp.Or(g.comments[pattern], g.descriptions[pattern]), valueText(v))
	if !f.secret {
		s["default"] = jsonDefault(v)
	}
	return s
}

// scalar is the schema of one value. Text may look like a number, as it may in
// the file.
func (g *schemaWriter) scalar(t reflect.Type, comment, def string) object {
	switch {
	case t == durationType:
		return object{"type": []string{"string", "integer"}, "pattern": `^(0|([0-9.]+(ns|us|µs|ms|s|m|h|d))+)$`, "maximum": 0, "minimum": 0}
	case t == reflect.TypeFor[netip.Prefix]():
		return object{"type": "string", "pattern": "/[0-9]+$"}
	case reflect.PointerTo(t).Implements(textType):
		return object{"type": []string{"string", "integer"}}
	case t.Kind() == reflect.Bool:
		return object{"type": "boolean"}
	case t.Kind() == reflect.Float64:
		return object{"type": "number"}
	case t.Kind() == reflect.Uint32:
		return object{"type": "integer", "minimum": 0, "maximum": math.MaxUint32}
	case t.Kind() != reflect.String:
		return object{"type": "integer"}
	}
	if words := choices(comment); len(words) > 0 {
		if def = strings.Trim(def, `"`); !slices.Contains(words, def) {
			words = append(words, def) // "": not set
		}
		return object{"enum": words}
	}
	return object{"type": []string{"string", "number", "boolean"}}
}

// jsonDefault is a default as JSON has it.
func jsonDefault(v reflect.Value) any {
	switch {
	case v.Kind() == reflect.Slice:
		out := make([]any, v.Len())
		for i := range out {
			out[i] = jsonDefault(v.Index(i))
		}
		return out
	case v.Type() == durationType:
		return durationText(v.Int())
	case v.Kind() == reflect.String, reflect.PointerTo(v.Type()).Implements(textType):
		return strings.Trim(valueText(v), `"`)
	}
	return v.Interface()
}

var (
	inParentheses = regexp.MustCompile(`\s*\([^)]*\)`)
	wordList      = regexp.MustCompile(`([a-z0-9-]+)(?: \| ([a-z0-9-]+))+`)
)

// choices reads the words of "tcp (truncate) | refuse | pass" from a comment.
func choices(comment string) []string {
	list := wordList.FindString(inParentheses.ReplaceAllString(comment, ""))
	if list == "" {
		return nil
	}
	return strings.Split(list, " | ")
}

// referenceComments are the comments of the reference by key pattern: what
// stands after the first key of a line, with the lines of comment below it.
func referenceComments(text string) map[string]string {
	lines := strings.Split(text, "\n")
	out := map[string]string{}
	taken := map[int]bool{}
	var visit func(n *node, pattern string)
	visit = func(n *node, pattern string) {
		for _, e := range n.entries {
			p, line := join(pattern, e.key), e.pos.Line-1
			if first := !taken[line]; first {
				taken[line] = true
				if c := lineComment(lines, line); c != "" && out[p] == "" {
					out[p] = c
				}
			}
			visit(e.value, p)
		}
		for _, item := range n.items {
			visit(item, pattern+"[]")
		}
	}
	// The tests read it, so that it is known to be without errors.
	if root := parseTree("reference.yaml", []byte(text), func(Position, string, string) {}); root != nil {
		visit(root, "")
	}
	return out
}

var (
	trailing = regexp.MustCompile(`^[^#"]*(?:"[^"]*"[^#"]*)*\s# (.*)$`)
	below    = regexp.MustCompile(`^ {20,}# (.*)$`)
	mark     = regexp.MustCompile(`^(\((dns|radius)\) )?(example|default)( for radius)?(; |$)`)
)

// lineComment is the comment of a line without its mark as example or default.
func lineComment(lines []string, i int) string {
	m := trailing.FindStringSubmatch(lines[i])
	if m == nil {
		return ""
	}
	text := m[1]
	for i++; i < len(lines) && below.MatchString(lines[i]); i++ {
		text += " " + below.FindStringSubmatch(lines[i])[1]
	}
	return strings.TrimSpace(mark.ReplaceAllString(text, "$1"))
}
