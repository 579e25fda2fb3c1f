package dnsfront

import (
	"net/netip"
	"testing"
	"time"
)

// minimal is a configuration that is right.
func minimal() Config {
	var c Config
	c.SetDefaults()
	c.Name, c.Pool, c.Listen = "resolver", "resolvers", []string{"192.0.2.53:53", "[2001:db8::53]:53"}
	return c
}

func TestValidateFindsEachMistake(t *testing.T) {
	good := minimal()
	good.Validate(func(key, message string) { t.Errorf("a right configuration: %s: %s", key, message) })
	for key, change := range map[string]func(c *Config){
		"name":               func(c *Config) { c.Name = "" },
		"listen":             func(c *Config) { c.Listen = nil },
		"listen[1]":          func(c *Config) { c.Listen = []string{"192.0.2.53:53", "192.0.2.53"} },
		"listen[2]":          func(c *Config) { c.Listen = append(c.Listen, "192.0.2.53:53") },
		"tls.listen[0]":      func(c *Config) { c.TLS = TLSConfig{Listen: []string{"dns:853"}, Certificate: "c", Key: "k"} },
		"tls.certificate":    func(c *Config) { c.TLS = TLSConfig{Listen: []string{"192.0.2.53:853"}, Key: "k"} },
		"tls.key":            func(c *Config) { c.TLS = TLSConfig{Listen: []string{"192.0.2.53:853"}, Certificate: "c"} },
		"tls.name":           func(c *Config) { c.TLS.Name = "a..b" },
		"https.path":         func(c *Config) { c.HTTPS.Path = "dns-query" },
		"pool":               func(c *Config) { c.Pool = "" },
		"routes[0].pool":     func(c *Config) { c.Routes = []Route{{Zones: []string{"a."}}} },
		"routes[0].zones":    func(c *Config) { c.Routes = []Route{{Pool: "p"}} },
		"routes[0].zones[1]": func(c *Config) { c.Routes = []Route{{Pool: "p", Zones: []string{"a.", "a..b"}}} },
		"routes[1].zones[0]": func(c *Config) {
			c.Routes = []Route{{Pool: "p", Zones: []string{"a.b"}}, {Pool: "p", Zones: []string{"A.B."}}}
		},
		"allow[0]":                      func(c *Config) { c.Allow = []netip.Prefix{{}} },
		"deny":                          func(c *Config) { c.Deny = "no" },
		"udp_size":                      func(c *Config) { c.UDPSize = 511 },
		"any":                           func(c *Config) { c.Any = "" },
		"ecs":                           func(c *Config) { c.ECS = "add" },
		"cache.entries":                 func(c *Config) { c.Cache.Entries = 0 },
		"cache.min_ttl":                 func(c *Config) { c.Cache.MinTTL = 48 * time.Hour },
		"cache.max_ttl":                 func(c *Config) { c.Cache.MaxTTL = -1 },
		"cache.negative_ttl":            func(c *Config) { c.Cache.NegativeTTL = -1 },
		"cache.failure_ttl":             func(c *Config) { c.Cache.FailureTTL = 301 * time.Second },
		"cache.negative_share":          func(c *Config) { c.Cache.NegativeShare = 1.1 },
		"cache.stale.for":               func(c *Config) { c.Cache.Stale.For = -1 },
		"cache.stale.after":             func(c *Config) { c.Cache.Stale.After = -1 },
		"cache.stale.ttl":               func(c *Config) { c.Cache.Stale.TTL = 0 },
		"rate_limit.queries_per_second": func(c *Config) { c.RateLimit.QueriesPerSecond = -1 },
		"rate_limit.burst":              func(c *Config) { c.RateLimit.Burst = -1 },
		"rate_limit.ipv4_prefix":        func(c *Config) { c.RateLimit.IPv4Prefix = 33 },
		"rate_limit.ipv6_prefix":        func(c *Config) { c.RateLimit.IPv6Prefix = 129 },
		"rate_limit.exempt[0]":          func(c *Config) { c.RateLimit.Exempt = []netip.Prefix{netip.MustParsePrefix("::ffff:192.0.2.0/120")} },
		"tcp.max_connections":           func(c *Config) { c.TCP.MaxConnections = 0 },
		"tcp.max_per_client":            func(c *Config) { c.TCP.MaxPerClient = 0 },
		"tcp.max_pipelined":             func(c *Config) { c.TCP.MaxPipelined = 0 },
		"tcp.idle_timeout":              func(c *Config) { c.TCP.IdleTimeout = time.Millisecond },
		"dns64.prefix":                  func(c *Config) { c.DNS64.Prefix = "64:ff9b::/95" },
		"dns64.exclude[0]":              func(c *Config) { c.DNS64.Exclude = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} },
		"block[0].file":                 func(c *Config) { c.Block = []BlockConfig{{Format: "names", Action: "drop", Reason: "blocked"}} },
		"block[0].format": func(c *Config) {
			c.Block = []BlockConfig{{File: "f", Format: "csv", Action: "drop", Reason: "blocked"}}
		},
		"block[0].action": func(c *Config) {
			c.Block = []BlockConfig{{File: "f", Format: "names", Action: "an IP address", Reason: "blocked"}}
		},
		"block[0].reason": func(c *Config) {
			c.Block = []BlockConfig{{File: "f", Format: "names", Action: "192.0.2.1", Reason: ""}}
		},
	} {
		c := minimal()
		change(&c)
		var keys []string
		c.Validate(func(key, message string) {
			keys = append(keys, key)
			if message == "" {
				t.Errorf("%s: no message", key)
			}
		})
		if len(keys) != 1 || keys[0] != key {
			t.Errorf("%s: reported %v", key, keys)
		}
	}
}

func TestWarnings(t *testing.T) {
	good := minimal()
	good.Warnings(func(key, message string) { t.Errorf("the defaults: %s: %s", key, message) })
	for key, change := range map[string]func(c *Config){
		"allow[0]":        func(c *Config) { c.Allow = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")} },
		"allow":           func(c *Config) { c.Allow = nil },
		"cache.enabled":   func(c *Config) { c.Cache.Enabled = false },
		"cache.stale.for": func(c *Config) { c.Cache.Stale.For = 0 },
		"udp_size":        func(c *Config) { c.UDPSize = 4096 },
	} {
		c := minimal()
		change(&c)
		var keys []string
		c.Warnings(func(key, _ string) { keys = append(keys, key) })
		if len(keys) != 1 || keys[0] != key {
			t.Errorf("%s: warned of %v", key, keys)
		}
	}
}
