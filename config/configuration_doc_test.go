package config

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const configurationDoc = "../docs/configuration.md"

// related are ranges that hang on another key.
var related = map[string]string{
	"pools[].min_healthy": "1 to the number of backends", "pools[].attempt_timeout": "10ms to `timeout`", "pools[].timeout": "`attempt_timeout` to 1m",
	"pools[].health.interval": "100ms to 5m, longer than `timeout`", "pools[].health.timeout": "10ms to less than `interval`",
	"dns[].cache.min_ttl": "0s to `max_ttl`", "anycast[].announce_after": "0s to `max_announce_delay`", "anycast[].max_announce_delay": "`announce_after` to 24h",
}

// examples are of keys whose default is empty, or tells too little.
var examples = map[string]string{
	"log.level": "debug", "log.format": "json", "admin.listen": "10.255.1.1:8053", "pools[].balance": "round-robin", "pools[].backends[].backup": "true",
	"pools[].health.dns.name": "example.net.", "pools[].health.dns.type": "SOA", "pools[].health.dns.rcodes": "[NOERROR, NXDOMAIN]", "pools[].hash_key": "[User-Name]",
	"dns[].deny": "drop", "dns[].cache.entries": "4000000", "radius[].clients[].secret": "[nas-secret, next-nas-secret]",
	"radius[].clients[].message_authenticator": "require", "radius[].survival.mode": "known-password", "anycast[].when_down": "hand-over",
	"admin.token_file": "secrets/token", "include": "[conf.d/*.yaml]", "pools[].backends[].source": "10.0.0.2", "pools[].backends[].secret_file": "secrets/fulmine",
	"pools[].health.radius.user": "probe", "pools[].health.radius.password": "probe-password", "pools[].health.radius.password_file": "secrets/probe",
	"dns[].tls.listen": `["192.0.2.53:853"]`, "dns[].tls.certificate": "tls/chain.pem", "dns[].tls.key": "tls/key.pem", "dns[].tls.name": "dns.example.net",
	"dns[].https.listen": `["192.0.2.53:443"]`, "dns[].https.certificate": "tls/chain.pem", "dns[].https.key": "tls/key.pem",
	"dns[].cookie_secret_file": "secrets/cookies", "dns[].rate_limit.queries_per_second": "1000", "dns[].rate_limit.burst": "2000",
	"dns[].rate_limit.exempt": "[10.0.0.0/24]", "dns[].dns64.prefix": "64:ff9b::/96", "dns[].block[].file": "court-orders.txt", "dns[].block[].format": "hosts",
	"dns[].block[].action": "192.0.2.80", "dns[].block[].reason": "censored", "radius[].coa": `["10.0.0.2:3799"]`, "radius[].coa_source": "10.0.0.2",
	"radius[].clients[].secret_file": "secrets/bras-1", "radius[].survival.realms": "[adsl.example.net]", "radius[].survival.static_prefixes": "[100.64.0.0/10]",
	"bgp.listen": `":179"`, "bgp.neighbors[].password_file": "secrets/core-1", "bgp.neighbors[].multihop_ttl": "2", "bgp.neighbors[].ttl_security": "255",
	"bgp.neighbors[].source": "10.0.0.2", "bgp.neighbors[].family": "ipv4", "bgp.neighbors[].next_hop": "10.0.0.2", "anycast[].communities": `["64500:100"]`,
	"anycast[].assign": "lo", "anycast[].med": "50",
}

// probe tells what the checks say of a value put in the place of a leaf.
func probe(c *Config, l leaf, v reflect.Value) string {
	was := reflect.New(l.value.Type()).Elem()
	was.Set(l.value)
	defer l.value.Set(was)
	l.value.Set(v)
	k := checker{config: c, decoder: newDecoder(func(Position, string, string) {}), report: &Report{}}
	k.check()
	for _, p := range k.report.Errors {
		if p.Key == l.path || strings.HasPrefix(p.Key, l.path+"[") {
			return p.Message
		}
	}
	return ""
}

// edge is the last number that is accepted on the way from one that is to one that may not be.
func edge(c *Config, l leaf, good, limit, step int64) (last int64, bounded bool) {
	with := func(n int64) string { return probe(c, l, reflect.ValueOf(n*step).Convert(l.value.Type())) }
	good, bad := good/step, limit/step
	if with(bad) == "" {
		return limit, false
	}
	for {
		middle := good/2 + bad/2 + (good%2+bad%2)/2
		if middle == good || middle == bad {
			return good * step, true
		}
		if with(middle) == "" {
			good = middle
		} else {
			bad = middle
		}
	}
}

// rangeOf is what a number may be, found out by asking the checks.
func rangeOf(c *Config, l leaf) string {
	text := func(n int64) string { return fmt.Sprint(n) }
	step := int64(1)
	if l.value.Type() == durationType {
		text, step = durationText, int64(time.Millisecond)
		if probe(c, l, reflect.ValueOf(l.value.Int()+step).Convert(durationType)) != "" && probe(c, l, reflect.ValueOf(l.value.Int()-step).Convert(durationType)) != "" {
			step = int64(time.Second)
		}
	}
	low, below := edge(c, l, l.value.Int(), math.MinInt64, step)
	high, above := edge(c, l, l.value.Int(), math.MaxInt64, step)
	switch {
	case below && above:
		return text(low) + " to " + text(high)
	case below && low == step && l.value.Type() == durationType:
		return "above 0"
	case below:
		return "at least " + text(low)
	case above:
		return "at most " + text(high)
	}
	return "any"
}

// takes is what a key takes: words, a range, or a type.
func takes(c *Config, l leaf, comment string) string {
	if text := related[l.pattern]; text != "" {
		return text
	}
	if f, ok := forms[l.pattern]; ok {
		return f.takes
	}
	t := l.field.typ
	switch {
	case isSections(t):
		return "a list of sections"
	case t.Kind() == reflect.Slice:
		return "a list: " + strings.TrimPrefix(typeName(t.Elem()), "a ")
	case t.Kind() == reflect.Uint32:
		return fmt.Sprintf("0 to %d", uint32(math.MaxUint32))
	case l.value.CanInt() && !reflect.PointerTo(t).Implements(textType):
		return rangeOf(c, l)
	case t.Kind() == reflect.Float64 && l.pattern == "availability.target":
		return "above 0, below 100"
	case t.Kind() == reflect.Float64:
		return "0 to 1"
	case t.Kind() == reflect.Bool:
		return "true, false"
	case l.field.file || l.field.path:
		return "a path"
	}
	if words := choices(comment); len(words) > 1 {
		return strings.Join(words, ", ")
	}
	panic(l.pattern + " needs its form in forms_test.go")
}

// configurationTables are the tables of docs/configuration.md.
func configurationTables(t *testing.T) string {
	c := mustParse(t, moreKeys.Replace(readReference(t)))
	comments, referenced := descriptions(), referenceComments(reference)
	both := protocolDefaults()
	var b strings.Builder
	seen, section := map[string]bool{}, ""
	c.visit(func(l leaf) bool {
		if seen[l.pattern] || strings.HasPrefix(l.path, "pools[0].") && strings.Contains(comments[l.pattern], "(radius)") {
			return true
		}
		seen[l.pattern] = true
		top, _, _ := strings.Cut(strings.ReplaceAll(l.pattern, "[]", ""), ".")
		if top != section {
			section = top
			fmt.Fprintf(&b, "\n### %s\n\n%s\n| Key | Meaning | Takes | Default | Example | Change |\n|---|---|---|---|---|---|\n", top, sectionText[top])
		}
		if comments[l.pattern] == "" {
			t.Errorf("%s has no description: put one into describe.go or a comment beside it in reference.yaml", l.pattern)
		}
		change := "restart"
		if isLive(l.pattern) {
			change = "reload"
		}
		def, ex := defaultCell(l, both), example(l)
		checkCells(t, c, l, def, ex)
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", l.pattern, cell(comments[l.pattern]), cell(takes(c, l, cmp.Or(referenced[l.pattern], comments[l.pattern]))),
			cell(def), cell(ex), change)
		return true
	})
	for _, p := range patterns(reflect.TypeFor[Config](), "") {
		if !seen[p] && !isSectionPattern(p) {
			t.Errorf("%s has no row: the reference has no such value", p)
		}
	}
	return b.String() + "\n"
}

// isSectionPattern tells whether keys stand below the pattern.
func isSectionPattern(pattern string) bool {
	return slices.ContainsFunc(patterns(reflect.TypeFor[Config](), ""), func(p string) bool {
		return strings.HasPrefix(p, pattern+".") || strings.HasPrefix(p, pattern+"[]")
	})
}

func cell(text string) string { return strings.ReplaceAll(text, "|", "\\|") }

// protocolDefaults are the defaults of a pool of RADIUS, by pattern, where they are others than those of DNS.
func protocolDefaults() map[string]string {
	out := map[string]string{}
	var d, r Pool
	d.SetDefaults("dns")
	r.SetDefaults("radius")
	walk(reflect.ValueOf(&r).Elem(), reflect.ValueOf(&d).Elem(), place{"pools[0]", "", "pools[]"}, func(l leaf) bool {
		if !isSections(l.field.typ) && !equal(l.value, l.def) {
			out[l.pattern] = cellText(l.value)
		}
		return false
	})
	return out
}

func defaultCell(l leaf, both map[string]string) string {
	def := l.def
	if strings.HasPrefix(l.pattern, "pools[].") && both[l.pattern] != "" {
		var d Pool
		d.SetDefaults("dns")
		text := ""
		walk(reflect.ValueOf(&d).Elem(), reflect.ValueOf(&d).Elem(), place{"pools[0]", "", "pools[]"}, func(x leaf) bool {
			if x.pattern == l.pattern {
				text = cellText(x.value)
			}
			return false
		})
		if text == "[]" {
			return "`" + both[l.pattern] + "`"
		}
		return "`" + text + "`; radius `" + both[l.pattern] + "`"
	}
	switch {
	case isSections(l.field.typ):
		return "none"
	case l.field.typ.Kind() == reflect.String && def.Len() == 0, l.field.typ.Kind() == reflect.Slice && def.Len() == 0:
		return "none"
	}
	return "`" + cellText(def) + "`"
}

// example is a value that works; the default is one too.
func example(l leaf) string {
	if isSections(l.field.typ) {
		return "its keys: below"
	}
	return "`" + cmp.Or(examples[l.pattern], cellText(l.value)) + "`"
}

var codeSpan = regexp.MustCompile("`([^`]*)`")

// checkCells reads each value of the two cells as the program would: the first
// default is the key's, and the checks accept the example.
func checkCells(t *testing.T, c *Config, l leaf, def, example string) {
	t.Helper()
	read := func(text string) reflect.Value {
		return readCell(l, text, func(m string) { t.Errorf("%s: %s %s", l.pattern, text, m) })
	}
	for i, m := range codeSpan.FindAllStringSubmatch(def, -1) {
		if v := read(m[1]); i == 0 && !equal(v, l.def) {
			t.Errorf("%s: the default %s is read as %s", l.pattern, m[1], valueText(v))
		}
	}
	for _, m := range codeSpan.FindAllStringSubmatch(example, -1) {
		v := read(m[1])
		if v.Kind() == reflect.Slice && v.Len() == 0 || v.Kind() == reflect.String && v.Len() == 0 {
			t.Errorf("the example of %s is empty", l.pattern)
		}
		if m := probe(c, l, v); m != "" && !strings.Contains(m, "are both given") && !strings.Contains(m, "belongs to method") {
			t.Errorf("the example of %s: %s", l.pattern, m)
		}
	}
}

// cellText is a value as it may be written behind its key.
func cellText(v reflect.Value) string {
	if v.Kind() != reflect.Slice {
		return quoted(valueText(v), "[]{}#")
	}
	items := make([]string, v.Len())
	for i := range items {
		items[i] = quoted(valueText(v.Index(i)), "[]{}#,:")
	}
	return "[" + strings.Join(items, ", ") + "]"
}

// quoted puts a text into quotes if it begins with a colon, or has one of the letters or a colon and a space.
func quoted(text, letters string) string {
	if strings.ContainsAny(text, letters) || strings.HasPrefix(text, ":") || strings.Contains(text, ": ") {
		return strconv.Quote(text)
	}
	return text
}

// sectionText says what a section is for.
var sectionText = map[string]string{
	"node": "The node itself.\n", "log": "On stderr.\n", "admin": "The API, the web page and the metrics.\n",
	"include": "More files of the same shape.\n",
	"pools":   "Groups of backends that can stand in for one another. `(dns)` and `(radius)` mark keys of one protocol's pools.\n",
	"dns":     "DNS services. [dns.md](dns.md) tells how they behave.\n",
	"radius":  "RADIUS services. [radius.md](radius.md) and [accounting.md](accounting.md) tell how they behave.\n",
	"bgp":     "Sessions with routers. [anycast.md](anycast.md) tells how they behave.\n",
	"anycast": "What is announced, and when.\n", "availability": "The books of availability. [availability.md](availability.md) tells how they are kept.\n",
}

// TestO01EveryKeyIsDocumented: the tables of docs/configuration.md are what the
// structs, their defaults, their checks, the schema's descriptions and the tables
// of live keys say.
func TestO01EveryKeyIsDocumented(t *testing.T) {
	data, err := os.ReadFile(configurationDoc)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "-update` -->\n", "<!-- end of keys -->"
	before, rest, ok := strings.Cut(string(data), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("docs/configuration.md has no place for the keys")
	}
	want := before + begin + configurationTables(t) + end + after
	switch {
	case want == string(data):
	case *update:
		if err := os.WriteFile(configurationDoc, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Error("docs/configuration.md does not show the keys as they are: go test ./config -run TestO01EveryKey -update")
	}
}
