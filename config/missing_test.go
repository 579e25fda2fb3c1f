package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// parseWith parses with a table of its own, so that the tests do not change
// when a feature arrives.
func parseWith(rows []missing, text string) (*Config, *Report) {
	l := newLoader(Options{NoFiles: true, HostName: "test"})
	l.notYet = rows
	return l.load("test.yaml", []byte(text))
}

func TestO01NotYet(t *testing.T) {
	rows := []missing{
		{key: "dns[].tls", feature: "dns tls"},
		{key: "dns[].routes", feature: "dns routes"},
		{key: "dns[].ecs", values: []string{"pass"}, feature: "dns ecs pass"},
		{key: "dns[].cache.stale", feature: "dns cache.stale"},
		{key: "dns[].udp_size", feature: "dns udp_size"},
		{key: "radius[].coa", feature: "radius coa"},
		{key: "radius[].coa_source", feature: "radius coa"},
		{key: "pools[].backends[].message_authenticator", values: []string{"require"}, feature: "radius message_authenticator"},
	}
	for _, c := range []struct {
		name, text string
		inactive   []string
		errors     []string
	}{
		{"at the defaults, unwritten", dnsText, []string{"dns cache.stale", "dns ecs pass", "dns routes", "dns tls", "dns udp_size"}, nil},
		{"at the defaults, written", dnsText + "    ecs: strip\n    cache: {stale: {for: 24h, ttl: 30s}}\n    tls: {listen: []}\n    routes: []\n    udp_size: 1232\n",
			[]string{"dns cache.stale", "dns ecs pass", "dns routes", "dns tls", "dns udp_size"}, nil},
		{"of the other protocol", radiusText, []string{"radius coa", "radius message_authenticator"}, nil},
		{"a value", dnsText + "    ecs: pass\n", nil, []string{"11:10: dns[0].ecs: pass is not available yet in this version"}},
		{"a value of a backend", replace(t, radiusText, "one-secret-0123", "one-secret-0123, message_authenticator: require"), nil,
			[]string{"5:93: pools[0].backends[0].message_authenticator: require is not available yet in this version"}},
		{"below a section", dnsText + "    cache: {stale: {for: 0s}}\n", nil,
			[]string{"11:26: dns[0].cache.stale.for: not available yet in this version; only the default is, 24h"}},
		{"a number", dnsText + "    udp_size: 1400\n", nil, []string{"11:15: dns[0].udp_size: not available yet in this version; only the default is, 1232"}},
		{"a list of sections, once", dnsText + "    routes:\n      - {zones: [a.], pool: resolvers}\n      - {zones: [b.], pool: resolvers}\n", nil,
			[]string{"12:7: dns[0].routes: not available yet in this version; leave it out"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, report := parseWith(rows, c.text)
			if got := problemLines(report.Errors); !reflect.DeepEqual(got, c.errors) {
				t.Errorf("errors\n got %q\nwant %q", got, c.errors)
			}
			if c.inactive == nil {
				return
			}
			if !reflect.DeepEqual(report.Inactive, c.inactive) {
				t.Errorf("inactive %q, want %q", report.Inactive, c.inactive)
			}
			if want := "not active in this version: " + strings.Join(c.inactive, ", "); report.InactiveLine() != want {
				t.Errorf("line %q, want %q", report.InactiveLine(), want)
			}
		})
	}
	// With an empty table everything is active, and nothing is said of it.
	if _, report := parseWith(nil, dnsText+"    ecs: pass\n"); report.Err() != nil || report.InactiveLine() != "" {
		t.Errorf("%v, %q", report.Err(), report.InactiveLine())
	}
}

// TestO01NotYetNamesRealKeys: a row for a key that does not exist would refuse nothing.
func TestO01NotYetNamesRealKeys(t *testing.T) {
	known := patterns(reflect.TypeFor[Config](), "")
	for _, m := range notYet {
		if !slices.Contains(known, m.key) {
			t.Errorf("no key %s", m.key)
		}
		if m.feature == "" || m.feature != strings.ToLower(m.feature) {
			t.Errorf("%s: feature %q", m.key, m.feature)
		}
	}
}

// TestO01NotYetRefusesEveryRow gives every refused value to every row of the real table.
func TestO01NotYetRefusesEveryRow(t *testing.T) {
	for _, m := range notYet {
		for _, value := range m.values {
			l := leaf{value: reflect.ValueOf(value), def: reflect.ValueOf("default")}
			if !m.refuses(l) {
				t.Errorf("%s takes %s", m.key, value)
			}
		}
		if len(m.values) == 0 && !m.refuses(leaf{value: reflect.ValueOf("other"), def: reflect.ValueOf("default")}) {
			t.Errorf("%s takes a value that is not its default", m.key)
		}
		if m.refuses(leaf{value: reflect.ValueOf("default"), def: reflect.ValueOf("default")}) {
			t.Errorf("%s refuses its default", m.key)
		}
	}
	fmt.Fprintln(t.Output(), len(notYet), "rows")
}
