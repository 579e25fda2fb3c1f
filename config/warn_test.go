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
	_, report := parse(text)
	wantLine(t, report.Warnings, "26:5: warning: anycast[0].when_down: withdraw takes the route away", "the use of stale answers and the spool; demote or hand-over keeps it")
	for name, calm := range map[string]string{
		"demote":   replace(t, text, "requires: [resolver, pppoe]", "requires: [resolver, pppoe]\n    when_down: demote"),
		"all off":  replace(t, replace(t, text, "    pool: resolvers", "    pool: resolvers\n    cache: {stale: {for: 0s}}"), "    pool: servers", "    pool: servers\n    accounting: {spool: false}"),
		"no cache": replace(t, replace(t, text, "    pool: resolvers", "    pool: resolvers\n    cache: {enabled: false}"), "[resolver, pppoe]", "[resolver]"),
	} {
		_, report := parse(calm)
		for _, w := range report.Warnings {
			if strings.HasSuffix(w.Key, "when_down") {
				t.Errorf("%s: %v", name, w)
			}
		}
	}
	with := replace(t, text, "    pool: servers", "    pool: servers\n    survival: {mode: known-password}")
	_, report = parse(with)
	wantLine(t, report.Warnings, "27:5: warning: anycast[0].when_down: withdraw takes the route away", "the use of stale answers, the spool and survival; demote or hand-over keeps it")
}

func parse(text string) (*Config, *Report) {
	return Parse("test.yaml", []byte(text), Options{NoFiles: true, HostName: "test"})
}

// TestO02CoASourceInAnycast: the NAS's answer may reach another site.
func TestO02CoASourceInAnycast(t *testing.T) {
	text := replace(t, diffText, "    pool: servers", "    pool: servers\n    coa_source: 192.0.2.18") + `anycast:
  - name: vip
    prefixes: ["2001:db8::/48", "192.0.2.0/24"]
    requires: [pppoe]
`
	_, report := parse(text)
	wantLine(t, report.Warnings, "21:17: warning: radius[0].coa_source: 192.0.2.18 is inside the anycast prefix 192.0.2.0/24")
	_, report = parse(strings.Replace(text, "192.0.2.0/24", "198.51.100.0/24", 1))
	for _, w := range report.Warnings {
		if strings.HasSuffix(w.Key, "coa_source") {
			t.Errorf("%v", w)
		}
	}
}

// TestO02EveryWarning: each thing that works but hurts is told, once, at its place.
func TestO02EveryWarning(t *testing.T) {
	base := bothText(t)
	bgp := "bgp:\n  asn: 64512\n  router_id: 10.0.0.2\n  neighbors:\n    - {name: core-1, address: 10.0.0.1, asn: 64500%s}\n" +
		"anycast:\n  - {name: vip, prefixes: [192.0.2.53/32], requires: [resolver]}\n"
	_, calm := parse(base)
	if len(calm.Warnings) != 0 {
		t.Fatalf("the calm configuration: %v", calm.Warnings)
	}
	for what, c := range map[string]struct{ text, key, words string }{
		"one backend only":                      {replace(t, base, "      - {name: tempesta, address: 10.0.0.12}\n", ""), "pools[0].backends", "one backend only"},
		"a health timeout near the interval":    {replace(t, base, "    protocol: dns\n", "    protocol: dns\n    health: {interval: 1s, timeout: 950ms}\n"), "pools[0].health.timeout", "near the interval"},
		"allow open to the world":               {replace(t, base, "    pool: resolvers\n", "    pool: resolvers\n    allow: [0.0.0.0/0]\n"), "dns[0].allow[0]", "open resolver"},
		"graceful restart with anycast":         {base + strings.Replace(bgp, "%s", ", graceful_restart: true", 1), "bgp.neighbors[0].graceful_restart", "leave it off for anycast"},
		"a pool nobody uses":                    {replace(t, base, "pools:\n", "pools:\n  - {name: idle, protocol: dns, backends: [{name: a, address: 10.0.0.91}, {name: b, address: 10.0.0.92}]}\n"), "pools[0]", "no service uses"},
		"a RADIUS timeout at or below a second": {replace(t, base, "    protocol: radius\n", "    protocol: radius\n    attempt_timeout: 1s\n"), "pools[1].attempt_timeout", "FreeRADIUS delays"},
		"withdraw with stale answers":           {base + strings.Replace(bgp, "%s", "", 1), "anycast[0].when_down", "stale answers"},
		"message_authenticator: accept":         {replace(t, base, "secret: nas-secret-0123", "secret: nas-secret-0123, message_authenticator: accept"), "radius[0].clients[0].message_authenticator", "forge"},
		"coa_source inside an anycast prefix":   {replace(t, base, "    auth:", "    coa_source: 192.0.2.53\n    auth:") + strings.Replace(bgp, "%s", "", 1), "radius[0].coa_source", "anycast prefix"},
	} {
		parsed, report := parse(c.text)
		if parsed == nil {
			t.Errorf("%s is an error: %v", what, report.Err())
			continue
		}
		said := 0
		for _, w := range report.Warnings {
			if w.Key == c.key && strings.Contains(w.Message, c.words) {
				said++
			}
		}
		if said != 1 {
			t.Errorf("%s: told %d times at %s:\n%s", what, said, c.key, strings.Join(problemLines(report.Warnings), "\n"))
		}
	}
}

// TestO02AMistakeDrawsNoWarning: a backend with a mistake in it is there all the same.
func TestO02AMistakeDrawsNoWarning(t *testing.T) {
	c, report := parse(replace(t, bothText(t), "10.0.0.12}", "10.0.0.300}"))
	if c != nil || len(report.Errors) != 1 || len(report.Warnings) != 0 {
		t.Errorf("%v\nand %v", report.Errors, report.Warnings)
	}
}

// bothText is a configuration of both protocols that nobody warns of.
func bothText(t *testing.T) string {
	t.Helper()
	dnsPools, dnsRest, _ := strings.Cut(dnsText, "dns:\n")
	radiusPools, radiusRest, _ := strings.Cut(radiusText, "radius:\n")
	return dnsPools + strings.TrimPrefix(radiusPools, "pools:\n") + "dns:\n" + dnsRest + "radius:\n" + radiusRest
}
