package bgp

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// problem is one report of Validate or Warnings.
type problem struct{ key, message string }

func collect(validate func(func(key, message string))) (out []problem) {
	validate(func(k, m string) { out = append(out, problem{k, m}) })
	return out
}

func TestA17Refusals(t *testing.T) {
	tests := []struct {
		name    string
		change  func(*Config)
		key     string
		message string // part of it
	}{
		{"hold time 0", func(c *Config) { c.Neighbors[0].HoldTime = 0 }, "neighbors[0].hold_time", "for ever"},
		{"hold time 1 s", func(c *Config) { c.Neighbors[0].HoldTime = time.Second }, "neighbors[0].hold_time", "at least 3s"},
		{"hold time 2 s", func(c *Config) { c.Neighbors[0].HoldTime = 2 * time.Second }, "neighbors[0].hold_time", "at least 3s"},
		{"hold time 3.5 s", func(c *Config) { c.Neighbors[0].HoldTime = 3500 * time.Millisecond }, "neighbors[0].hold_time", "whole number"},
		{"ttl_security with multihop_ttl", func(c *Config) { c.Neighbors[0].TTLSecurity, c.Neighbors[0].MultihopTTL = 254, 2 }, "neighbors[0].ttl_security", "multihop_ttl"},
		{"ipv6 over ipv4 without a next hop", func(c *Config) { c.Neighbors[0].Family = "ipv6" }, "neighbors[0].family", "needs next_hop"},
		{"next hop of the wrong family", func(c *Config) { c.Neighbors[0].Family, c.Neighbors[0].NextHop = "ipv6", "10.0.0.2" }, "neighbors[0].next_hop", "not an ipv6 address"},
		{"neighbor twice", func(c *Config) { c.Neighbors = append(c.Neighbors, neighbor("other", "10.0.0.1")) }, "neighbors[1].address", "neighbor twice"},
		{"name twice", func(c *Config) { c.Neighbors = append(c.Neighbors, neighbor("core-1", "10.0.0.9")) }, "neighbors[1].name", "already"},
		{"no asn", func(c *Config) { c.ASN = 0 }, "asn", "required"},
		{"no router_id", func(c *Config) { c.RouterID = "" }, "router_id", "required"},
		{"router_id is IPv6", func(c *Config) { c.RouterID = "2001:db8::1" }, "router_id", "not an IPv4 address"},
		{"router_id 0", func(c *Config) { c.RouterID = "0.0.0.0" }, "router_id", "not an IPv4 address"},
		{"reserved asn", func(c *Config) { c.ASN = 23456 }, "asn", "reserved"},
		{"site 0", func(c *Config) { c.Site = 0 }, "site", "from 1"},
		{"lease too short", func(c *Config) { c.Lease = 100 * time.Millisecond }, "lease", "not between"},
		{"listen", func(c *Config) { c.Listen = "179" }, "listen", "ADDRESS:PORT"},
		{"listen with two neighbors", func(c *Config) { c.Listen = ":179"; c.Neighbors = append(c.Neighbors, neighbor("b", "10.0.0.9")) }, "neighbors[1].source", "source address of its own"},
		{"no name", func(c *Config) { c.Neighbors[0].Name = "" }, "neighbors[0].name", "required"},
		{"no address", func(c *Config) { c.Neighbors[0].Address = "" }, "neighbors[0].address", "required"},
		{"address with a port", func(c *Config) { c.Neighbors[0].Address = "10.0.0.1:179" }, "neighbors[0].address", "not an IP address"},
		{"mapped address", func(c *Config) { c.Neighbors[0].Address = "::ffff:10.0.0.1" }, "neighbors[0].address", "write 10.0.0.1"},
		{"link-local", func(c *Config) { c.Neighbors[0].Address = "fe80::1%eth0" }, "neighbors[0].address", "link-local"},
		{"source of the other family", func(c *Config) { c.Neighbors[0].Source = "2001:db8::2" }, "neighbors[0].source", "one family"},
		{"no neighbor asn", func(c *Config) { c.Neighbors[0].ASN = 0 }, "neighbors[0].asn", "required"},
		{"port", func(c *Config) { c.Neighbors[0].Port = 70000 }, "neighbors[0].port", "65535"},
		{"connect_retry", func(c *Config) { c.Neighbors[0].ConnectRetry = 0 }, "neighbors[0].connect_retry", "whole number"},
		{"multihop", func(c *Config) { c.Neighbors[0].MultihopTTL = 256 }, "neighbors[0].multihop_ttl", "255"},
		{"family", func(c *Config) { c.Neighbors[0].Family = "inet" }, "neighbors[0].family", "not ipv4 or ipv6"},
		{"max_received", func(c *Config) { c.Neighbors[0].MaxReceived = 0 }, "neighbors[0].max_received", "at least 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := testSettings(anycast(nil), neighbor("core-1", "10.0.0.1")).BGP
			if got := collect(c.Validate); len(got) != 0 {
				t.Fatalf("the good one is refused: %v", got)
			}
			tt.change(&c)
			got := collect(c.Validate)
			if len(got) != 1 || got[0].key != tt.key || !strings.Contains(got[0].message, tt.message) {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestA17AnycastRefusals(t *testing.T) {
	p := func(s ...string) (out []netip.Prefix) {
		for _, x := range s {
			out = append(out, netip.MustParsePrefix(x))
		}
		return out
	}
	tests := []struct {
		name    string
		change  func(*AnycastConfig)
		key     string
		message string
	}{
		{"host bits", func(a *AnycastConfig) { a.Prefixes = p("192.0.2.53/24") }, "prefixes[0]", "write 192.0.2.0/24, or /32"},
		{"host bits, v6", func(a *AnycastConfig) { a.Prefixes = p("2001:db8::53/64") }, "prefixes[0]", "write 2001:db8::/64, or /128"},
		{"covering v4", func(a *AnycastConfig) { a.Prefixes = p("192.0.0.0/16") }, "prefixes[0]", "shorter than /24"},
		{"covering v6", func(a *AnycastConfig) { a.Prefixes = p("2001:db8::/32") }, "prefixes[0]", "shorter than /48"},
		{"the default route", func(a *AnycastConfig) { a.Prefixes = p("0.0.0.0/0") }, "prefixes[0]", "shorter than /24"},
		{"mapped", func(a *AnycastConfig) { a.Prefixes = p("::ffff:192.0.2.53/128") }, "prefixes[0]", "write it as IPv4"},
		{"loopback", func(a *AnycastConfig) { a.Prefixes = p("127.0.0.1/32") }, "prefixes[0]", "cannot be announced"},
		{"prefix twice", func(a *AnycastConfig) { a.Prefixes = p("192.0.2.53/32", "192.0.2.53/32") }, "prefixes[1]", "already"},
		{"no prefix", func(a *AnycastConfig) { a.Prefixes = nil }, "prefixes", "required"},
		{"blackhole", func(a *AnycastConfig) { a.Communities = []string{"64500:1", "65535:666"} }, "communities[1]", "BLACKHOLE"},
		{"blackhole when demoted", func(a *AnycastConfig) { a.Demote.Communities = []string{"65535:666"} }, "demote.communities[0]", "BLACKHOLE"},
		{"community", func(a *AnycastConfig) { a.Communities = []string{"65536:1"} }, "communities[0]", "0 to 65535"},
		{"requires nothing", func(a *AnycastConfig) { a.Requires = nil }, "requires", "required"},
		{"requires twice", func(a *AnycastConfig) { a.Requires = []string{"a", "a"} }, "requires[1]", "twice"},
		{"when_down", func(a *AnycastConfig) { a.WhenDown = "panic" }, "when_down", "withdraw, demote or hand-over"},
		{"max below announce_after", func(a *AnycastConfig) { a.MaxAnnounceDelay = time.Second }, "max_announce_delay", "announce_after"},
		{"announce_after", func(a *AnycastConfig) { a.AnnounceAfter = -1 }, "announce_after", "0s"},
		{"drain_time", func(a *AnycastConfig) { a.DrainTime = 2 * time.Hour }, "drain_time", "1h"},
		{"prepend", func(a *AnycastConfig) { a.Demote.Prepend = 51 }, "demote.prepend", "50"},
		{"assign", func(a *AnycastConfig) { a.Assign = "an interface" }, "assign", "interface"},
		{"no name", func(a *AnycastConfig) { a.Name = "" }, "name", "required"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := anycast(nil)
			if got := collect(a.Validate); len(got) != 0 {
				t.Fatalf("the good one is refused: %v", got)
			}
			tt.change(&a)
			got := collect(a.Validate)
			if len(got) != 1 || got[0].key != tt.key || !strings.Contains(got[0].message, tt.message) {
				t.Errorf("got %q", got)
			}
		})
	}
	covering := anycast(func(a *AnycastConfig) { a.Prefixes, a.AllowCovering = p("192.0.0.0/16", "2001:db8::/32"), true })
	if got := collect(covering.Validate); len(got) != 0 {
		t.Errorf("allow_covering: %v", got)
	}
}

func TestA17Warnings(t *testing.T) {
	c := testSettings(anycast(nil), neighbor("core-1", "10.0.0.1")).BGP
	if got := collect(c.Warnings); len(got) != 0 {
		t.Errorf("the good one: %v", got)
	}
	c.Listen, c.Neighbors[0].GracefulRestart, c.Neighbors[0].HoldTime = ":179", true, 6*time.Second
	var keys []string
	for _, p := range collect(c.Warnings) {
		keys = append(keys, p.key)
	}
	if got := strings.Join(keys, " "); got != "listen neighbors[0].graceful_restart neighbors[0].hold_time" {
		t.Errorf("warnings on %s", got)
	}
	if got := collect(c.Validate); len(got) != 0 {
		t.Errorf("warned things are errors: %v", got)
	}
	s := testSettings(anycast(nil), neighbor("core-1", "10.0.0.1"))
	got := collect(func(r func(k, m string)) { WarningsTogether(&s.BGP, s.Anycast, r) })
	if len(got) != 1 || got[0].key != "anycast[0].prefixes[1]" {
		t.Errorf("IPv6 without a neighbor that carries it: %v", got)
	}
	s.Anycast[0].WhenDown = "hand-over"
	if got := collect(func(r func(k, m string)) { WarningsTogether(&s.BGP, s.Anycast, r) }); len(got) != 2 || got[0].key != "anycast[0].no_export" {
		t.Errorf("hand-over with NO_EXPORT: %v", got)
	}
	s.Anycast = append(s.Anycast, anycast(func(a *AnycastConfig) { a.Name = "other" }))
	if got := collect(func(r func(k, m string)) { ValidateTogether(&s.BGP, s.Anycast, r) }); len(got) != 2 || got[0].key != "anycast[1].prefixes[0]" {
		t.Errorf("one prefix in two entries: %v", got)
	}
}

func TestA20RefusesForbiddenEmpties(t *testing.T) {
	full := testSettings(anycast(nil), neighbor("core-1", "10.0.0.1"))
	noPrefix, noNeighbor := full, full
	noPrefix.Anycast = nil
	noNeighbor.BGP.Neighbors = nil
	for name, next := range map[string]Settings{"anycast prefix": noPrefix, "neighbor": noNeighbor} {
		if err := CheckReload(full, next, false); err == nil || !strings.Contains(err.Error(), "no "+name) || !strings.Contains(err.Error(), "--allow-empty") {
			t.Errorf("without a %s: %v", name, err)
		}
		if err := CheckReload(full, next, true); err != nil {
			t.Errorf("allowed: %v", err)
		}
		if err := CheckReload(next, next, false); err != nil {
			t.Errorf("none before either: %v", err)
		}
	}
}

func TestA20DifferenceInRoutes(t *testing.T) {
	old := testSettings(anycast(nil), neighbor("core-1", "10.0.0.1"), neighbor("core-2", "10.0.0.3"), neighbor("core-3", "10.0.0.4"))
	next := testSettings(anycast(func(a *AnycastConfig) {
		a.Prefixes[0] = netip.MustParsePrefix("192.0.2.54/32")
		a.MED = 9
	}), neighbor("core-1", "10.0.0.1"), neighbor("core-2", "10.0.0.33"), neighbor("core-4", "10.0.0.5"))
	next.BGP.Neighbors[0].MaxReceived = 5 // no reason to touch the session
	got := strings.Join(Difference(old, next), "\n")
	want := `- route 192.0.2.53/32 (dns-vip)
+ route 192.0.2.54/32 (dns-vip)
~ route 2001:db8::53/128 (dns-vip): other attributes
~ neighbor core-2: its session starts anew
- neighbor core-3
+ neighbor core-4`
	if got != want {
		t.Errorf("got\n%s", got)
	}
	if d := Difference(old, old); len(d) != 0 {
		t.Errorf("difference to itself: %q", d)
	}
}
