package pool

import (
	"math"
	"strings"
	"testing"
	"time"
)

func said(check func(report func(key, message string))) map[string]string {
	out := map[string]string{}
	check(func(key, message string) { out[key] = message })
	return out
}

func expect(t *testing.T, got map[string]string, key, message string) {
	t.Helper()
	if key == "" && len(got) > 0 || key != "" && (len(got) != 1 || !strings.Contains(got[key], message)) {
		t.Errorf("said was %v; want %s: %s", got, key, message)
	}
}

func TestO01PoolConfiguration(t *testing.T) {
	for _, c := range []struct {
		protocol     string
		change       func(c *Config)
		key, message string
	}{
		{"dns", func(*Config) {}, "", ""},
		{"radius", func(*Config) {}, "", ""},
		{"dns", func(c *Config) { c.Protocol = "" }, "protocol", "is needed; write dns or radius"},
		{"dns", func(c *Config) { c.Protocol = "http" }, "protocol", `"http" is not one of dns, radius`},
		{"dns", func(c *Config) { c.Balance = "fastest" }, "balance", "is not one of least-outstanding, round-robin, random, hash, ordered"},
		{"dns", func(c *Config) { c.MinHealthy = 0 }, "min_healthy", "must be at least 1"},
		{"dns", func(c *Config) { c.Attempts = 0 }, "attempts", "must be from 1 to 8"},
		{"dns", func(c *Config) { c.Attempts = 9 }, "attempts", "must be from 1 to 8"},
		{"dns", func(c *Config) { c.AttemptTimeout = 0 }, "attempt_timeout", "must be at least 10ms"},
		{"dns", func(c *Config) { c.AttemptTimeout = 3 * time.Second }, "attempt_timeout", "must not be longer than timeout, which is 2s"},
		{"dns", func(c *Config) { c.AttemptTimeout = 2 * time.Second }, "", ""},
		{"dns", func(c *Config) { c.Timeout = 0 }, "timeout", "must be from 10ms to 1m0s"},
		{"dns", func(c *Config) { c.Timeout = time.Hour }, "timeout", "must be from"},
		{"dns", func(c *Config) { c.RetryBudget = -0.1 }, "retry_budget", "must be from 0 to 1"},
		{"dns", func(c *Config) { c.RetryBudget = 20 }, "retry_budget", "must be from 0 to 1"},
		{"dns", func(c *Config) { c.RetryBudget = math.NaN() }, "retry_budget", "must be from 0 to 1"},
		{"dns", func(c *Config) { c.RetryBudget = 0 }, "", ""},
	} {
		var config Config
		config.SetDefaults(c.protocol)
		config.Protocol = c.protocol
		c.change(&config)
		expect(t, said(func(report func(key, message string)) { config.Validate(c.protocol, report) }), c.key, c.message)
	}
}

func TestO01BackendConfiguration(t *testing.T) {
	for _, c := range []struct {
		protocol     string
		change       func(c *BackendConfig)
		key, message string
	}{
		{"dns", func(*BackendConfig) {}, "", ""},
		{"radius", func(*BackendConfig) {}, "", ""},
		{"dns", func(c *BackendConfig) { c.Address = "10.0.0.1:5353" }, "", ""},
		{"dns", func(c *BackendConfig) { c.Address = "[2001:db8::1]:53" }, "", ""},
		{"dns", func(c *BackendConfig) { c.Address = "2001:db8::1" }, "", ""},
		{"dns", func(c *BackendConfig) { c.Address = "" }, "address", "is needed"},
		{"dns", func(c *BackendConfig) { c.Address = "dns.example.net" }, "address", "names are not looked up"},
		{"dns", func(c *BackendConfig) { c.Address = "10.0.0.1:0" }, "address", "the port must not be 0"},
		{"dns", func(c *BackendConfig) { c.Address = "10.0.0.1:99999" }, "address", "neither an IP address nor IP:PORT"},
		{"dns", func(c *BackendConfig) { c.Address = "0.0.0.0" }, "address", "is not the address of one host"},
		{"dns", func(c *BackendConfig) { c.Address = "[ff02::1]:53" }, "address", "is not the address of one host"},
		{"radius", func(c *BackendConfig) { c.Address = "10.0.0.1:1812" }, "address", "has a port; write 10.0.0.1, and the ports as auth_port and acct_port"},
		{"radius", func(c *BackendConfig) { c.Address = "radius" }, "address", "is not an IP address"},
		{"dns", func(c *BackendConfig) { c.Weight = 0 }, "weight", "must be from 1 to 1000"},
		{"dns", func(c *BackendConfig) { c.Weight = 1001 }, "weight", "must be from 1 to 1000"},
		{"dns", func(c *BackendConfig) { c.MaxInFlight = 0 }, "max_in_flight", "must be from 1"},
		{"dns", func(c *BackendConfig) { c.Source = "10.0.0.2" }, "", ""},
		{"dns", func(c *BackendConfig) { c.Source = "eth0" }, "source", `"eth0" is not an IP address`},
		{"dns", func(c *BackendConfig) { c.Source = "0.0.0.0" }, "source", "cannot be sent from"},
		{"dns", func(c *BackendConfig) { c.Source = "2001:db8::2" }, "source", "not of the same family"},
	} {
		var config BackendConfig
		config.SetDefaults()
		config.Name, config.Address = "fulmine", "10.0.0.1"
		c.change(&config)
		expect(t, said(func(report func(key, message string)) { config.Validate(c.protocol, report) }), c.key, c.message)
	}
}

func TestO02PoolWarnings(t *testing.T) {
	for _, c := range []struct {
		protocol     string
		change       func(c *Config)
		key, message string
	}{
		{"dns", func(*Config) {}, "", ""},
		{"radius", func(*Config) {}, "", ""},
		{"radius", func(c *Config) { c.AttemptTimeout = time.Second }, "attempt_timeout", "FreeRADIUS delays an Access-Reject"},
		{"radius", func(c *Config) { c.AttemptTimeout = 1001 * time.Millisecond }, "", ""},
		{"radius", func(c *Config) { c.Timeout = 900 * time.Millisecond }, "timeout", "FreeRADIUS delays an Access-Reject"},
		{"dns", func(c *Config) { c.AttemptTimeout = 100 * time.Millisecond }, "", ""},
	} {
		var config Config
		config.SetDefaults(c.protocol)
		config.Protocol = c.protocol
		c.change(&config)
		expect(t, said(func(report func(key, message string)) { config.Warnings(c.protocol, report) }), c.key, c.message)
	}
}
