package spoil

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
)

// Wrong is a configuration with one mistake.
type Wrong struct {
	How    string // what was done: "null", "list for text", "twice", …
	Key    string // path of the spoilt key, `pools[0].backends[1].weight`; of the new key where one was put in
	Text   string
	Line   int // of what is wrong, from 1
	Column int // in characters, from 1
}

// The kinds of a value.
const (
	Scalar  = "scalar"
	List    = "list"
	Section = "section"
)

// Place is where a key of a text stands.
type Place struct {
	Kind                   string // of its value: Scalar, List or Section
	Line, Column           int    // of the key, or of an item's dash
	ValueLine, ValueColumn int    // of the value, or of its first key or item
}

// ways are the mistakes by the kind of value that they stand in for, as they are
// written after "KEY: ".
var ways = map[string][]struct{ how, text string }{
	Scalar: {
		{"null", ""}, {"tilde", "~"}, {"empty", `""`}, {"list", "[x, y]"}, {"section", "{a: b}"}, {"word", "xyzzy"}, {"quoted word", `"xyzzy"`},
		{"negative", "-1"}, {"zero", "0"}, {"huge number", "99999999999999999999"}, {"fraction", "1.5"}, {"not a number", ".nan"}, {"octal", "010"},
		{"hexadecimal", "0x10"}, {"exponent", "1e3"}, {"boolean", "true"}, {"yes", "yes"}, {"duration", "3h"}, {"negative duration", "-2s"},
		{"huge duration", "999999999h"}, {"unit that is none", "3 fortnights"}, {"address", "192.0.2.1"}, {"prefix with host bits", "192.0.2.1/8"},
		{"port out of range", `"192.0.2.1:70000"`}, {"long", `"` + strings.Repeat("x", 5000) + `"`}, {"control character", `"a\u0001b\e[31m"`},
		{"many lines", `"a\nb"`}, {"odd letters", `"Ünï/cödé ☃"`}, {"alias to nothing", "*nowhere"}, {"tag", "!!int 5"}, {"unclosed quote", `"abc`},
		{"unclosed bracket", "[abc"}, {"template", "${HOME}"}, {"percent", "5%"},
	},
	List: {
		{"null", ""}, {"empty list", "[]"}, {"text for list", "xyzzy"}, {"number for list", "7"}, {"section for list", "{a: b}"}, {"list of nulls", "[~, ~]"},
		{"list of lists", "[[x], [y]]"}, {"list of sections", "[{a: b}]"}, {"list of numbers", "[1, 2]"}, {"list of words", "[xyzzy, xyzzy]"},
		{"list of empty texts", `["", ""]`}, {"alias to nothing", "*nowhere"}, {"huge list", "[" + strings.Repeat("x, ", 2000) + "x]"}, {"deep list", strings.Repeat("[", 200) + strings.Repeat("]", 200)},
	},
	Section: {
		{"null", ""}, {"text for section", "xyzzy"}, {"number for section", "7"}, {"list for section", "[x, y]"}, {"empty section", "{}"},
		{"alias to nothing", "*nowhere"},
	},
}

// All spoils each key of a YAML text in every way. The text is written anew,
// one key on a line, and Good is how it looks when nothing is spoilt.
func All(text []byte) (out []Wrong, good string, err error) {
	root, err := parse(text)
	if err != nil {
		return nil, "", err
	}
	whole := newWriter("", change{})
	whole.section(root, "", 0)
	good = whole.b.String()
	for _, path := range whole.order {
		at := whole.places[path]
		if at.Kind == Scalar && strings.HasSuffix(path, "]") && !strings.HasSuffix(path, "[0]") {
			continue // as the first item of its list
		}
		for _, way := range ways[at.Kind] {
			out = append(out, spoilt(root, path, change{how: way.how, value: way.text, replace: true}))
		}
		if strings.HasSuffix(path, "]") {
			continue // an item has no key to be misspelt
		}
		key := path[strings.LastIndexByte(path, '.')+1:]
		for _, c := range []change{
			{how: "misspelt", key: misspell(key)}, {how: "capitals", key: strings.ToUpper(key)}, {how: "unknown beside", beside: "xyzzy_42"},
			{how: "twice", beside: key},
		} {
			out = append(out, spoilt(root, path, c))
		}
	}
	return out, good, nil
}

// Places are where the keys and items of a text as All writes it stand, by path.
func Places(text []byte) (map[string]Place, error) {
	root, err := parse(text)
	if err != nil {
		return nil, err
	}
	w := newWriter("", change{})
	w.section(root, "", 0)
	return w.places, nil
}

func parse(text []byte) (yaml.MapSlice, error) {
	var root yaml.MapSlice
	if err := yaml.UnmarshalWithOptions(text, &root, yaml.UseOrderedMap()); err != nil {
		return nil, fmt.Errorf("reading the text to spoil: %w", err)
	}
	return root, nil
}

// misspell swaps two letters of a key, or doubles its only one.
func misspell(key string) string {
	for i := len(key) - 1; i > 0; i-- {
		if key[i] != key[i-1] {
			return key[:i-1] + key[i:i+1] + key[i-1:i] + key[i+1:]
		}
	}
	return key + key
}

func spoilt(root yaml.MapSlice, path string, c change) Wrong {
	w := newWriter(path, c)
	w.section(root, "", 0)
	at := w.at
	return Wrong{How: c.how, Key: at.key, Text: w.b.String(), Line: at.line, Column: at.column}
}
