package health

import (
	"strings"
	"testing"
	"time"
)

func said(check func(report func(key, message string))) map[string]string {
	out := map[string]string{}
	check(func(key, message string) { out[key] = message })
	return out
}

func TestO01HealthConfiguration(t *testing.T) {
	for _, c := range []struct {
		protocol string
		change   func(c *Config)
		key      string // "": nothing is wrong
		message  string
	}{
		{"dns", func(*Config) {}, "", ""},
		{"radius", func(*Config) {}, "", ""},
		{"dns", func(c *Config) { c.Interval = 0 }, "interval", "must be from 100ms to 5m0s"},
		{"dns", func(c *Config) { c.Interval, c.Timeout = time.Hour, time.Second }, "interval", "must be from"},
		{"dns", func(c *Config) { c.Timeout = time.Second }, "timeout", "must be shorter than interval, which is 1s"},
		{"dns", func(c *Config) { c.Timeout = 0 }, "timeout", "must be at least 10ms"},
		{"dns", func(c *Config) { c.Fall = 0 }, "fall", "must be from 1 to 100"},
		{"dns", func(c *Config) { c.Rise = -1 }, "rise", "must be from 1 to 100"},
		{"dns", func(c *Config) { c.SuspectAfter = 101 }, "suspect_after", "must be from 1 to 100"},
		{"dns", func(c *Config) { c.SlowStart = -1 }, "slow_start", "must be from 0s"},
		{"dns", func(c *Config) { c.SlowStart = 0 }, "", ""},
		{"dns", func(c *Config) { c.DNS.Name = "" }, "dns.name", `write "." for the root`},
		{"dns", func(c *Config) { c.DNS.Name = "a..b" }, "dns.name", "is not a domain name"},
		{"dns", func(c *Config) { c.DNS.Name = strings.Repeat("a", 64) }, "dns.name", "is not a domain name"},
		{"dns", func(c *Config) { c.DNS.Name, c.DNS.RandomLabel = strings.Repeat("a.", 122)+"a", true }, "dns.name", "is not a domain name"},
		{"dns", func(c *Config) { c.DNS.Type = "NSS" }, "dns.type", "is not a record type"},
		{"dns", func(c *Config) { c.DNS.Type = "axfr" }, "dns.type", "AXFR cannot be asked of a resolver"},
		{"dns", func(c *Config) { c.DNS.Rcodes = nil }, "dns.rcodes", "is empty"},
		{"dns", func(c *Config) { c.DNS.Rcodes = []string{"NOERROR", "OK"} }, "dns.rcodes[1]", `"OK" is not a response code`},
		{"radius", func(c *Config) { c.DNS.Name = "" }, "", ""},
		{"dns", func(c *Config) { c.RADIUS.Method = "" }, "", ""},
		{"radius", func(c *Config) { c.RADIUS.Method = "ping" }, "radius.method", `"ping" is not one of status-server, access-request`},
		{"radius", func(c *Config) { c.RADIUS.AcctProbe = "" }, "radius.acct_probe", "is not one of status-server, none"},
		{"radius", func(c *Config) { c.RADIUS.Expect = "challenge" }, "radius.expect", "is not one of any, accept, reject"},
		{"radius", func(c *Config) { c.RADIUS.Method = "access-request" }, "radius.user", "needs a user"},
		{"radius", func(c *Config) { c.RADIUS.User = "probe" }, "radius.user", "belongs to method: access-request"},
		{"radius", func(c *Config) { c.RADIUS.Method, c.RADIUS.User = "access-request", strings.Repeat("x", 254) }, "radius.user", "longer than the 253 bytes"},
		{"radius", func(c *Config) {
			c.RADIUS.Method, c.RADIUS.User, c.RADIUS.Password = "access-request", "x", strings.Repeat("x", 129)
		}, "radius.password", "longer than the 128 bytes"},
		{"radius", func(c *Config) {
			c.RADIUS.Method, c.RADIUS.User, c.RADIUS.Password, c.RADIUS.PasswordFile = "access-request", "x", "y", "z"
		}, "radius.password_file", "write one of them"},
	} {
		var config Config
		config.SetDefaults(c.protocol)
		c.change(&config)
		got := said(func(report func(key, message string)) { config.Validate(c.protocol, report) })
		if c.key == "" && len(got) > 0 || c.key != "" && (len(got) != 1 || !strings.Contains(got[c.key], c.message)) {
			t.Errorf("%s: said was %v; want %s: %s", c.protocol, got, c.key, c.message)
		}
	}
}

func TestO02HealthWarnings(t *testing.T) {
	for _, c := range []struct {
		protocol string
		change   func(c *Config)
		key      string
		message  string
	}{
		{"dns", func(*Config) {}, "", ""},
		{"radius", func(*Config) {}, "", ""},
		{"dns", func(c *Config) { c.Timeout = 900 * time.Millisecond }, "timeout", "is near the interval of 1s"},
		{"dns", func(c *Config) { c.Timeout = 800 * time.Millisecond }, "", ""},
		{"radius", func(c *Config) { c.RADIUS.Method, c.Timeout = "access-request", time.Second }, "timeout", "FreeRADIUS delays an Access-Reject"},
		{"radius", func(c *Config) { c.RADIUS.Method, c.RADIUS.Expect, c.Timeout = "access-request", "accept", time.Second }, "", ""},
		{"radius", func(c *Config) { c.Timeout = time.Second }, "", ""}, // a Status-Server is not delayed
		{"dns", func(c *Config) { c.DNS.RandomLabel = true }, "dns.random_label", "rcodes has no NXDOMAIN"},
		{"dns", func(c *Config) { c.DNS.RandomLabel, c.DNS.Rcodes = true, []string{"nxdomain"} }, "", ""},
		{"dns", func(c *Config) { c.DNS.RandomLabel, c.DNS.Name = true, "probe.example.net" }, "", ""},
	} {
		var config Config
		config.SetDefaults(c.protocol)
		c.change(&config)
		got := said(func(report func(key, message string)) { config.Warnings(c.protocol, report) })
		if c.key == "" && len(got) > 0 || c.key != "" && (len(got) != 1 || !strings.Contains(got[c.key], c.message)) {
			t.Errorf("%s: said was %v; want %s: %s", c.protocol, got, c.key, c.message)
		}
	}
}
