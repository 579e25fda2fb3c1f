package config

import (
	"strings"
	"testing"
)

// TestO02WithdrawWithWaysToAnswerAlone: they serve only while the route stands.
func TestO02WithdrawWithWaysToAnswerAlone(t *testing.T) {
	text := strings.Replace(diffText, "    auth:", "    acct: [\"192.0.2.18:1813\"]\n    auth:", 1) + `anycast:
  - name: vip
    prefixes: ["192.0.2.53/32"]
    requires: [resolver, pppoe]
`
	_, report := parseWith(nil, text)
	wantLine(t, report.Warnings, "26:5: warning: anycast[0].when_down: withdraw takes the route away", "the use of stale answers and the spool; demote or hand-over keeps it")
	for name, calm := range map[string]string{
		"demote":   replace(t, text, "requires: [resolver, pppoe]", "requires: [resolver, pppoe]\n    when_down: demote"),
		"all off":  replace(t, replace(t, text, "    pool: resolvers", "    pool: resolvers\n    cache: {stale: {for: 0s}}"), "    pool: servers", "    pool: servers\n    accounting: {spool: false}"),
		"no cache": replace(t, replace(t, text, "    pool: resolvers", "    pool: resolvers\n    cache: {enabled: false}"), "[resolver, pppoe]", "[resolver]"),
	} {
		_, report := parseWith(nil, calm)
		for _, w := range report.Warnings {
			if strings.HasSuffix(w.Key, "when_down") {
				t.Errorf("%s: %v", name, w)
			}
		}
	}
	// What this version does not do needs no warning.
	_, report = parseWith([]missing{{key: "dns[].cache.stale", feature: "x"}, {key: "radius[].accounting.spool", feature: "y"}}, text)
	for _, w := range report.Warnings {
		if strings.HasSuffix(w.Key, "when_down") {
			t.Errorf("of an absent feature: %v", w)
		}
	}
}

// TestO02CoASourceInAnycast: the NAS's answer may reach another site.
func TestO02CoASourceInAnycast(t *testing.T) {
	text := replace(t, diffText, "    pool: servers", "    pool: servers\n    coa_source: 192.0.2.18") + `anycast:
  - name: vip
    prefixes: ["2001:db8::/48", "192.0.2.0/24"]
    requires: [pppoe]
`
	_, report := parseWith(nil, text)
	wantLine(t, report.Warnings, "21:17: warning: radius[0].coa_source: 192.0.2.18 is inside the anycast prefix 192.0.2.0/24")
	_, report = parseWith(nil, strings.Replace(text, "192.0.2.0/24", "198.51.100.0/24", 1))
	for _, w := range report.Warnings {
		if strings.HasSuffix(w.Key, "coa_source") {
			t.Errorf("%v", w)
		}
	}
}
