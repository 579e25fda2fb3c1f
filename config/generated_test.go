package config

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"sereno/config/spoil"
)

// unplain is what a person who never saw Go should not have to read.
var unplain = regexp.MustCompile(`unmarshal|strconv|reflect|interface ?\{|struct|\[\]string|\bu?int(8|16|32|64)\b|float64|netip|time\.|%!|<nil>|\bnil\b|parsing "|runtime error|goroutine|invalid syntax|0x[0-9a-f]{8,}|[A-Z][a-zA-Z]+(Config|Options)\b`)

// moreKeys are written into the reference so that every key is there to be spoilt.
var moreKeys = strings.NewReplacer(
	"    block: [] ", "    block: [{file: block.txt, format: names, action: nxdomain, reason: blocked}] ",
	"    communities: []  ", "    communities: [\"64500:100\"] ",
)

// TestO01GeneratedCorpus spoils every key of the reference in every way: each
// text is refused with the right place and key, or accepted where
// testdata/generated-accepted.txt says so. Every message is plain, in order, at
// a true place; nothing panics, and nothing takes long.
func TestO01GeneratedCorpus(t *testing.T) {
	wrongs, good, err := spoil.All([]byte(moreKeys.Replace(readReference(t))))
	if err != nil {
		t.Fatal(err)
	}
	mustParse(t, good)
	types := map[string]field{}
	for _, f := range leaves(reflect.TypeFor[Config](), "") {
		types[f.pattern] = f.field
	}
	accepted := map[string][]string{}
	tried := map[string]bool{}
	step := 1
	if testing.Short() || raceEnabled {
		step = 41 // one of the ways for each key; all of them run without the race detector
	}
	var mu sync.Mutex
	var workers sync.WaitGroup
	for worker := range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := worker * step; i < len(wrongs); i += step * runtime.GOMAXPROCS(0) {
				w := &wrongs[i]
				pattern := indices.ReplaceAllString(w.Key, "[]")
				c := judgeSpoilt(t, w, types[strings.TrimSuffix(pattern, "[]")], strings.HasSuffix(pattern, "[]"))
				mu.Lock()
				tried[pattern] = true
				if c != nil && !slices.Contains(accepted[w.How], pattern) {
					accepted[w.How] = append(accepted[w.How], pattern)
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	if step == 1 {
		for _, p := range patterns(reflect.TypeFor[Config](), "") {
			if !tried[p] && !strings.HasSuffix(p, "_file") {
				t.Errorf("%s was not spoilt: put it into moreKeys", p)
			}
		}
		t.Logf("%d wrong texts", len(wrongs))
		compareAccepted(t, accepted)
	}
}

var indices = regexp.MustCompile(`\[\d+\]`)

type patterned struct {
	pattern string
	field   field
}

func leaves(t reflect.Type, prefix string) (out []patterned) {
	for _, f := range fieldsOf(t) {
		p := join(prefix, f.name)
		out = append(out, patterned{p, f})
		switch {
		case isSection(f.typ):
			out = append(out, leaves(f.typ, p)...)
		case isSections(f.typ):
			out = append(out, leaves(f.typ.Elem(), p+"[]")...)
		}
	}
	return out
}

// judgeSpoilt loads one wrong text and gives the configuration if it was accepted.
func judgeSpoilt(t *testing.T, w *spoil.Wrong, f field, item bool) *Config {
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("%s, %s: panic: %v", w.Key, w.How, p)
		}
	}()
	start := time.Now()
	c, report := Parse("test.yaml", []byte(w.Text), Options{NoFiles: true, HostName: "test"})
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("%s, %s: read in %v", w.Key, w.How, took)
	}
	say := func(format string, args ...any) {
		t.Errorf("%s, %s: %s\n%s", w.Key, w.How, fmt.Sprintf(format, args...), strings.Join(problemLines(report.Errors), "\n"))
	}
	checkLines(say, w, report)
	at := slices.IndexFunc(report.Errors, func(p Problem) bool {
		within := strings.HasPrefix(p.Key, w.Key+"[") || strings.HasPrefix(p.Key, w.Key+".")
		off := p.Column - w.Column
		there := off == 0 || w.How == "null" && (off == 1 || off == -1) // there is nothing to stand at
		return p.Line == w.Line && (p.Key == w.Key && there || within && off > 0)
	})
	switch {
	case c != nil && mustRefuse(w.How, f, item) != "":
		say("accepted, but %s", mustRefuse(w.How, f, item))
	case c != nil || at >= 0:
	case notYAML(w.How):
		if len(report.Errors) == 0 || report.Errors[0].Line < w.Line {
			say("not told at line %d", w.Line)
		}
	case mustRefuse(w.How, f, item) != "":
		say("want an error at %d:%d: %s", w.Line, w.Column, mustRefuse(w.How, f, item))
	case len(report.Errors) == 0:
		say("neither accepted nor refused")
	}
	if w.How == "misspelt" && at >= 0 && len(w.Key) > 4 && !strings.Contains(report.Errors[at].Message, "did you mean") && !strings.Contains(report.Errors[at].Message, "known here") {
		say("no suggestion")
	}
	return c
}

// checkLines holds for every problem of every text.
func checkLines(say func(string, ...any), w *spoil.Wrong, report *Report) {
	lines := strings.Split(w.Text, "\n")
	last := Position{}
	for _, p := range report.Errors {
		switch {
		case p.Line < last.Line || p.Line == last.Line && p.Column < last.Column:
			say("out of order: %v", p)
		case p.Line < 1 || p.Line > len(lines) || p.Column < 1 || p.Column > utf8.RuneCountInString(lines[p.Line-1])+1:
			say("outside the text: %v", p)
		case p.Message == "" || strings.ContainsAny(p.String(), "\n\r\x00\x01\x1b") || !utf8.ValidString(p.String()):
			say("not a clean line: %q", p)
		case len(p.Message) > 500:
			say("a message of %d bytes", len(p.Message))
		case unplain.MatchString(strings.ReplaceAll(p.Message, "0x10", "")):
			say("not plain: %q", unplain.FindString(p.Message))
		}
		last = p.Position
	}
}

// notYAML: the parser cannot tell which key it was.
func notYAML(how string) bool {
	return slices.Contains([]string{"unclosed quote", "unclosed bracket", "deep list"}, how)
}

var alwaysWrong = map[string]string{
	"misspelt": "the key is unknown", "capitals": "the key is unknown", "unknown beside": "the key is unknown", "twice": "the key is there twice",
	"alias to nothing": "there is no such anchor", "tag": "tags are not used",
	"unclosed quote": "it is not YAML", "unclosed bracket": "it is not YAML", "deep list": "it is not YAML",
}

// mustRefuse says why a text must be refused at its place, or "" if that hangs
// on what the key means.
func mustRefuse(how string, f field, item bool) string {
	if why := alwaysWrong[how]; why != "" {
		return why
	}
	if f.typ == nil {
		return ""
	}
	typ := f.typ
	if item && typ.Kind() == reflect.Slice {
		typ = typ.Elem()
	}
	section, list := isSection(typ), typ.Kind() == reflect.Slice && !item
	text := typ.Kind() == reflect.String || reflect.PointerTo(typ).Implements(textType)
	switch how {
	case "null", "tilde":
		if !section && !list {
			return "there is no value"
		}
	case "list", "list for section":
		if !list {
			return "a list is no value"
		}
	case "section", "section for list":
		return "a section is no value"
	case "text for section", "number for section":
		return "a value is no section"
	case "text for list", "number for list":
		if !f.scalar {
			return "a value is no list"
		}
	case "list of nulls", "list of lists":
		return "its items are no values"
	case "list of sections":
		return "its items are no values, or have no such key"
	case "word", "quoted word", "unit that is none", "control character", "many lines", "odd letters", "template", "percent", "long", "empty",
		"huge number", "not a number", "huge duration", "negative duration":
		if !section && !list && !text {
			return "it is no " + typ.String() + ", or out of range"
		}
	}
	return ""
}

// TestO01GeneratedCorpusIncluded has the same mistakes in an included file: they
// are told with its name and its lines, and with the same words.
func TestO01GeneratedCorpusIncluded(t *testing.T) {
	wrongs, _, err := spoil.All([]byte(moreKeys.Replace(readReference(t))))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(wrongs); i += 97 {
		w := &wrongs[i]
		if strings.HasPrefix(w.Key, "include") {
			continue // is refused in an included file anyhow
		}
		_, alone := Parse("test.yaml", []byte(w.Text), Options{NoFiles: true, HostName: "test"})
		l := newLoader(Options{NoFiles: true, HostName: "test"})
		l.glob = func(string) ([]string, error) { return []string{"conf.d/wrong.yaml"}, nil }
		l.read = func(string) ([]byte, error) {
			return []byte(strings.Replace(w.Text, "\ninclude: []\n", "\n\n", 1)), nil
		}
		_, included := l.load("main.yaml", []byte("include: [conf.d/*.yaml]\n"))
		for _, p := range included.Errors {
			if p.File != "conf.d/wrong.yaml" && !strings.Contains(p.Message, "nothing") {
				t.Errorf("%s, %s: %v", w.Key, w.How, p)
			}
		}
		if got, want := problemLines(included.Errors), problemLines(alone.Errors); !slices.Equal(got, want) {
			t.Errorf("%s, %s: included:\n%s\nalone:\n%s", w.Key, w.How, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// compareAccepted compares with the list of what works although it looks odd.
func compareAccepted(t *testing.T, accepted map[string][]string) {
	var b strings.Builder
	b.WriteString("# What TestO01GeneratedCorpus does to keys and Load accepts. -update writes it anew; read the difference.\n")
	for _, how := range slices.Sorted(mapKeys(accepted)) {
		fmt.Fprintf(&b, "\n%s\n", how)
		slices.Sort(accepted[how])
		for _, p := range accepted[how] {
			fmt.Fprintf(&b, "  %s\n", p)
		}
	}
	const file = "testdata/generated-accepted.list"
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != string(want) {
		have, had := strings.Split(got, "\n"), strings.Split(string(want), "\n")
		t.Errorf("what is accepted has changed; `go test ./config -run GeneratedCorpus -update`, and read the difference of %s (%d lines, were %d)", file, len(have), len(had))
	}
}

func mapKeys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}
