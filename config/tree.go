package config

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds on what is read. The parser's work grows with the square of the
// nesting, so that a small hostile file could otherwise cost minutes.
const (
	maxFile     = 16 << 20 // bytes of one file
	maxIncluded = 1000
	maxNesting  = 40      // brackets, or entries begun on one line
	maxExpanded = 1 << 20 // values after aliases and merges are written out
)

type kind uint8

const (
	null kind = iota
	scalar
	sequence
	mapping
)

// node is a YAML value with its place. Nodes are shared by aliases and never
// changed after conversion.
type node struct {
	kind    kind
	pos     Position
	text    string // of a scalar, exactly as written: `010` and `off` keep their letters
	quoted  bool
	broken  bool // an error was reported in its place: nothing to read
	items   []*node
	entries []entry
}

type entry struct {
	key    string
	pos    Position
	value  *node
	merged bool // came by `<<`, so that a key of its own may override it
}

// get returns the value of a key, or nil.
func (n *node) get(key string) *node {
	if n == nil || n.kind != mapping {
		return nil
	}
	for _, e := range n.entries {
		if e.key == key {
			return e.value
		}
	}
	return nil
}

// what names the node's kind in messages.
func (n *node) what() string {
	switch n.kind {
	case scalar:
		return "a single value"
	case sequence:
		return "a list"
	case mapping:
		return "a section"
	}
	return "nothing"
}

// takenApart tells whether a section may be one text with a colon inside, such as an address with its port, a prefix of
// IPv6 or a community: between brackets the parser splits it.
func (n *node) takenApart() bool {
	return n.kind == mapping && len(n.entries) == 1 && strings.ContainsAny(n.entries[0].key, "0123456789")
}

// complain reports an error at a position; the path may be empty.
type complain func(pos Position, path, message string)

// parseTree reads one file's text. It returns nil after reporting an error that
// leaves nothing to work with, and also, without an error, for a file without content.
func parseTree(file string, data []byte, report complain) *node {
	start := Position{File: file, Line: 1, Column: 1}
	if len(data) > maxFile {
		report(start, "", fmt.Sprintf("the file is larger than %d MiB; split it with `include`", maxFile>>20))
		return nil
	}
	text, ok := cleanText(file, data, report)
	if !ok {
		return nil
	}
	tokens := lexer.Tokenize(text)
	if !checkNesting(file, tokens, report) {
		return nil
	}
	parsed, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		pos, message := syntaxError(file, err)
		report(pos, "", message)
		return nil
	}
	c := converter{file: file, report: report, anchors: map[string]*node{}}
	var root *node
	for _, doc := range parsed.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.DirectiveType { // `%YAML 1.2`
			continue
		}
		n := c.convert(doc.Body, "")
		if root != nil {
			report(n.pos, "", "a second document (after `---`); write one document in each file")
			continue
		}
		root = n
	}
	return root
}

// cleanText refuses what no YAML reader would show as its author saw it: bytes
// that are not UTF-8, control characters, and tabs before the first word of a line.
func cleanText(file string, data []byte, report complain) (string, bool) {
	// YAML takes Windows line ends for plain ones (1.2.2 §5.4); the lexer counts
	// some of them twice.
	text := strings.ReplaceAll(strings.TrimPrefix(string(data), "\ufeff"), "\r\n", "\n")
	ok := true
	line := 0
	for l := range strings.SplitSeq(text, "\n") {
		line++
		at := func(i int) Position {
			return Position{File: file, Line: line, Column: utf8.RuneCountInString(l[:i]) + 1}
		}
		body := strings.TrimLeft(l, " ")
		switch indent := len(l) - len(body); {
		case !utf8.ValidString(l):
			i := 0
			for _, r := range l {
				if r == utf8.RuneError {
					break
				}
				i += utf8.RuneLen(r)
			}
			report(at(i), "", "not UTF-8 text")
			ok = false
		case strings.HasPrefix(body, "\t"):
			report(at(indent), "", "a tab in the indentation; indent with spaces")
			ok = false
		default:
			i := strings.IndexFunc(l, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
			if i >= 0 {
				report(at(i), "", fmt.Sprintf("a control character (0x%02x)", l[i]))
				ok = false
			}
		}
	}
	return text, ok
}

// checkNesting bounds the depth before the recursive parser sees the tokens.
func checkNesting(file string, tokens token.Tokens, report complain) bool {
	depth, line, onLine := 0, 0, 0
	for _, t := range tokens {
		if t.Position.Line != line {
			line, onLine = t.Position.Line, 0
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth = max(depth-1, 0)
		case token.SequenceEntryType, token.MappingKeyType, token.AnchorType, token.TagType:
			// These may stand one after another without a bracket. Flow lists
			// hold many of them on a line side by side, so only a run counts.
			onLine++
		default:
			onLine = 0
		}
		if depth > maxNesting || onLine > maxNesting {
			report(Position{File: file, Line: line, Column: t.Position.Column}, "", "nested too deeply")
			return false
		}
	}
	return true
}

const quotesInBrackets = `between [ and ] what has a colon inside needs quotes`

const quotesNeeded = `text that begins with "[", "{", "*", "&", "!", "%", "@" or has ": " inside needs quotes`

// syntaxError takes the parser's error apart. Its own text quotes the source,
// which may hold secrets.
func syntaxError(file string, err error) (Position, string) {
	pos := Position{File: file, Line: 1, Column: 1}
	message := "not YAML"
	var syntax yaml.Error
	if errors.As(err, &syntax) {
		message = "not YAML: " + syntax.GetMessage()
		if t := syntax.GetToken(); t != nil && t.Position != nil {
			pos.Line, pos.Column = max(t.Position.Line, 1), max(t.Position.Column, 1)
		}
	}
	switch {
	case strings.Contains(message, "value is not allowed in this context"):
		message += " (" + quotesNeeded + "; what belongs together has one indentation)"
	case strings.Contains(message, "must be specified"):
		message += " (" + quotesNeeded + ")"
	case strings.Contains(message, "unexpected key name"):
		message += " (is a colon missing after a key, or is the line not indented as those that it belongs to?)"
	case strings.Contains(message, "reserved character"), strings.Contains(message, "directive value"):
		message += " (write the value in quotes)"
	case strings.Contains(message, "invalid key for this map"):
		message += " (" + quotesInBrackets + ")"
	case strings.Contains(message, "non-map value"):
		message += ` (a key needs ": " and a value after it)`
	}
	return pos, message
}

// converter turns the parser's tree into nodes, with aliases resolved.
type converter struct {
	file    string
	report  complain
	anchors map[string]*node
	merged  int
}

func (c *converter) pos(n ast.Node) Position {
	p := Position{File: c.file, Line: 1, Column: 1}
	if n == nil {
		return p
	}
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 && m.GetToken().Type != token.MappingStartType {
		n = m.Values[0].Key
	}
	if m, ok := n.(*ast.MappingValueNode); ok {
		n = m.Key
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		p.Line, p.Column = max(t.Position.Line, 1), max(t.Position.Column, 1)
	}
	return p
}

func (c *converter) convert(n ast.Node, path string) *node {
	out := &node{pos: c.pos(n)}
	switch v := n.(type) {
	case nil, *ast.NullNode:
	case *ast.MappingNode:
		out.kind = mapping
		c.mapping(out, v.Values, path)
	case *ast.MappingValueNode:
		out.kind = mapping
		c.mapping(out, []*ast.MappingValueNode{v}, path)
	case *ast.SequenceNode:
		out.kind = sequence
		for i, item := range v.Values {
			out.items = append(out.items, c.convert(item, fmt.Sprintf("%s[%d]", path, i)))
		}
	case *ast.AnchorNode:
		out = c.convert(v.Value, path)
		if v.Name != nil {
			c.anchors[v.Name.GetToken().Value] = out
		}
	case *ast.AliasNode:
		name := v.Value.GetToken().Value
		target := c.anchors[name]
		if target == nil {
			c.report(out.pos, path, fmt.Sprintf("no anchor &%s before this; text that begins with * needs quotes", name))
			out.broken = true
			break
		}
		return target
	case *ast.TagNode:
		c.report(out.pos, path, "tags are not used here; text that begins with ! needs quotes")
		out = c.convert(v.Value, path)
	case *ast.LiteralNode:
		out.kind, out.quoted, out.text = scalar, true, v.Value.GetToken().Value
	default:
		c.scalar(out, n.GetToken(), path)
	}
	return out
}

// scalar fills out. The parser takes more as text without quotes than YAML
// allows (1.2.2 §7.3.3): what is read here in one way would be another thing
// to the eye.
func (c *converter) scalar(out *node, t *token.Token, path string) {
	out.kind, out.text = scalar, t.Value
	out.quoted = t.Type == token.DoubleQuoteType || t.Type == token.SingleQuoteType
	switch {
	case out.quoted:
	case strings.Contains(t.Value, ": "), strings.HasSuffix(t.Value, ":"):
		c.report(out.pos, path, `text with ": " in it needs quotes; or is a comma missing before the next key?`)
		out.broken = true
	case strings.Contains(strings.TrimSpace(t.Origin), "\n"):
		c.report(out.pos, path, "text over more than one line needs quotes; or is the next line indented too far?")
		out.broken = true
	}
}

// mapping fills out. Keys given twice are reported; the first one counts.
func (c *converter) mapping(out *node, values []*ast.MappingValueNode, path string) {
	seen := make(map[string]int, len(values))
	var bases []*node
	for _, v := range values {
		pos := c.pos(v.Key)
		if _, ok := v.Key.(*ast.MergeKeyNode); ok {
			bases = append(bases, c.bases(v.Value, path)...)
			continue
		}
		if _, ok := v.Key.(*ast.MappingKeyNode); ok {
			c.report(pos, path, "a key that begins with `?`; write KEY: VALUE")
			continue
		}
		key := v.Key.GetToken().Value
		keyPath := join(path, showKey(key))
		value := c.convert(v.Value, keyPath)
		if first, ok := seen[key]; ok {
			c.report(pos, keyPath, fmt.Sprintf("given twice; the first is on line %d", out.entries[first].pos.Line))
			continue
		}
		seen[key] = len(out.entries)
		out.entries = append(out.entries, entry{key: key, pos: pos, value: value})
	}
	for _, base := range bases {
		for _, e := range base.entries {
			if _, ok := seen[e.key]; ok {
				continue
			}
			if c.merged++; c.merged > maxExpanded {
				c.report(out.pos, path, "too much after `<<` is written out")
				return
			}
			seen[e.key] = len(out.entries)
			e.merged = true
			out.entries = append(out.entries, e)
		}
	}
}

// bases are the mappings that a merge key (`<<`) names, earlier ones first.
func (c *converter) bases(value ast.Node, path string) []*node {
	n := c.convert(value, join(path, "<<"))
	list := []*node{n}
	if n.kind == sequence {
		list = n.items
	}
	var out []*node
	for _, b := range list {
		if b.kind != mapping {
			c.report(c.pos(value), join(path, "<<"), "must name a section, or a list of sections")
			continue
		}
		out = append(out, b)
	}
	return out
}
