package config

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func readReference(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("reference.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// exampleLines are the lines of the reference whose values are no defaults.
func exampleLines(text string) map[int]bool {
	out := map[int]bool{}
	example := regexp.MustCompile(`# (\([a-z]+\) )?example\b`)
	for i, line := range strings.Split(text, "\n") {
		if example.MatchString(line) {
			out[i+1] = true
		}
	}
	return out
}

// TestO01ReferenceIsAccepted: the contract file is accepted as it stands.
func TestO01ReferenceIsAccepted(t *testing.T) {
	c, report := Load("reference.yaml", Options{NoFiles: true})
	if c == nil || report.Err() != nil {
		t.Errorf("%v", report.Err())
	}
}

// TestO01ReferenceHasEveryKey compares both ways: each key of the structs
// stands in the reference, and each key of the reference in the structs.
func TestO01ReferenceHasEveryKey(t *testing.T) {
	root := parseTree("reference.yaml", []byte(readReference(t)), func(p Position, path, m string) { t.Fatalf("%v %s: %s", p, path, m) })
	written := map[string]bool{}
	var note func(n *node, pattern string)
	note = func(n *node, pattern string) {
		for _, e := range n.entries {
			p := join(pattern, e.key)
			written[p] = true
			note(e.value, p)
		}
		for _, item := range n.items {
			note(item, pattern+"[]")
		}
	}
	note(root, "")
	// These stand in comments of the reference only: alternatives of a key, or
	// keys of a list whose default is empty.
	inComments := map[string]string{
		"pools[].health.radius.password_file":      "or password_file",
		"radius[].clients[].secret_file":           "or secret_file",
		"dns[].block[].file":                       "[{file: ",
		"dns[].block[].format":                     "format: names",
		"dns[].block[].action":                     "action: nxdomain",
		"dns[].block[].reason":                     "reason: censored",
		"pools[].backends[].secret_file":           "secret_file:",
		"radius[].clients[].message_authenticator": "message_authenticator:",
	}
	known := patterns(reflect.TypeFor[Config](), "")
	for _, p := range known {
		if !written[p] && (inComments[p] == "" || !strings.Contains(readReference(t), inComments[p])) {
			t.Errorf("the structs have %s, the reference has not", p)
		}
	}
	for p := range written {
		if !slices.Contains(known, p) {
			t.Errorf("the reference has %s, the structs have not", p)
		}
	}
}

// TestO01ReferenceShowsEveryDefault decodes each line of the reference that is
// not an example and compares it with SetDefaults.
func TestO01ReferenceShowsEveryDefault(t *testing.T) {
	text := readReference(t)
	examples := exampleLines(text)
	l := newLoader(Options{})
	root := l.tree("reference.yaml", []byte(text))
	var c Config
	l.decoder.decode(root, reflect.ValueOf(&c).Elem(), field{typ: reflect.TypeFor[Config]()}, place{})
	if err := l.report.Err(); err != nil {
		t.Fatal(err)
	}
	compared := 0
	c.visit(func(leaf leaf) bool {
		at, ok := l.decoder.keys[leaf.path]
		if !ok || isSections(leaf.field.typ) || examples[at.Line] {
			return true
		}
		compared++
		if !leaf.isDefault() {
			t.Errorf("line %d: %s is %s in the reference, and %s by SetDefaults", at.Line, leaf.path, leaf.text(), defaultText(leaf))
		}
		return true
	})
	if compared < 130 {
		t.Errorf("compared only %d keys", compared)
	}
}

// TestO01ExamplesHaveNoDefault: a line marked as example must not hide a default.
func TestO01ExamplesHaveNoDefault(t *testing.T) {
	text := readReference(t)
	examples := exampleLines(text)
	l := newLoader(Options{})
	root := l.tree("reference.yaml", []byte(text))
	var c Config
	l.decoder.decode(root, reflect.ValueOf(&c).Elem(), field{typ: reflect.TypeFor[Config]()}, place{})
	c.visit(func(leaf leaf) bool {
		at, ok := l.decoder.keys[leaf.path]
		if ok && examples[at.Line] && !leaf.def.IsZero() && leaf.isDefault() {
			t.Errorf("line %d: %s is its default, not an example", at.Line, leaf.path)
		}
		return true
	})
}

// defaultText writes the default of a leaf for people.
func defaultText(l leaf) string {
	l.value = l.def
	return l.text()
}
