package dnsfront

import (
	"net/netip"
	"time"
)

// Config is one item of the `dns` section: one DNS service.
type Config struct {
	Name             string          `yaml:"name"`
	Listen           []string        `yaml:"listen"` // IP:PORT, UDP and TCP
	TLS              TLSConfig       `yaml:"tls"`
	HTTPS            HTTPSConfig     `yaml:"https"`
	Pool             string          `yaml:"pool"`
	Routes           []Route         `yaml:"routes"`
	Allow            []netip.Prefix  `yaml:"allow"`
	Deny             string          `yaml:"deny"`     // refuse | drop
	UDPSize          int             `yaml:"udp_size"` // bytes, 512..4096
	Any              string          `yaml:"any"`      // tcp | refuse | pass
	ECS              string          `yaml:"ecs"`      // strip | pass
	CookieSecretFile string          `yaml:"cookie_secret_file" file:"true"`
	Cache            CacheConfig     `yaml:"cache"`
	RateLimit        RateLimitConfig `yaml:"rate_limit"`
	TCP              TCPConfig       `yaml:"tcp"`
	DNS64            DNS64Config     `yaml:"dns64"`
	Block            []BlockConfig   `yaml:"block"`
}

// TLSConfig is DNS over TLS (RFC 7858).
type TLSConfig struct {
	Listen      []string `yaml:"listen"`
	Certificate string   `yaml:"certificate" file:"true"`
	Key         string   `yaml:"key" file:"true"`
	Name        string   `yaml:"name"`
}

// HTTPSConfig is DNS over HTTPS (RFC 8484).
type HTTPSConfig struct {
	Listen      []string `yaml:"listen"`
	Certificate string   `yaml:"certificate" file:"true"`
	Key         string   `yaml:"key" file:"true"`
	Path        string   `yaml:"path"`
}

// Route sends the questions below some zones to a pool of their own.
type Route struct {
	Zones []string `yaml:"zones"`
	Pool  string   `yaml:"pool"`
}

// CacheConfig is the cache of one service.
type CacheConfig struct {
	Enabled       bool          `yaml:"enabled"`
	Entries       int           `yaml:"entries"`
	MaxTTL        time.Duration `yaml:"max_ttl"`
	MinTTL        time.Duration `yaml:"min_ttl"`
	NegativeTTL   time.Duration `yaml:"negative_ttl"`
	FailureTTL    time.Duration `yaml:"failure_ttl"`
	NegativeShare float64       `yaml:"negative_share"`
	Stale         StaleConfig   `yaml:"stale"`
	Snapshot      bool          `yaml:"snapshot"`
}

// StaleConfig is when and how expired answers are served (RFC 8767).
type StaleConfig struct {
	For   time.Duration `yaml:"for"`
	After time.Duration `yaml:"after"`
	TTL   time.Duration `yaml:"ttl"`
}

// RateLimitConfig is a token bucket for each client prefix; 0 queries per second turns it off.
type RateLimitConfig struct {
	QueriesPerSecond int            `yaml:"queries_per_second"`
	Burst            int            `yaml:"burst"` // 0: as QueriesPerSecond
	IPv4Prefix       int            `yaml:"ipv4_prefix"`
	IPv6Prefix       int            `yaml:"ipv6_prefix"`
	Exempt           []netip.Prefix `yaml:"exempt"`
}

// TCPConfig bounds the connections of clients.
type TCPConfig struct {
	MaxConnections int           `yaml:"max_connections"`
	MaxPerClient   int           `yaml:"max_per_client"`
	IdleTimeout    time.Duration `yaml:"idle_timeout"`
	MaxPipelined   int           `yaml:"max_pipelined"`
}

// DNS64Config is the synthesis of AAAA from A (RFC 6147); an empty prefix turns it off.
type DNS64Config struct {
	Prefix  string         `yaml:"prefix"`
	Exclude []netip.Prefix `yaml:"exclude"`
}

// BlockConfig is one file of names that are not answered.
type BlockConfig struct {
	File   string `yaml:"file" file:"true"`
	Format string `yaml:"format"` // names | hosts | rpz
	Action string `yaml:"action"` // nxdomain | refuse | nodata | drop | ADDRESS
	Reason string `yaml:"reason"` // blocked | censored | filtered
}

// SetDefaults sets every default of a DNS service.
func (c *Config) SetDefaults() {
	*c = Config{
		HTTPS: HTTPSConfig{Path: "/dns-query"},
		Allow: DefaultAllow(),
		Deny:  "refuse", UDPSize: 1232, Any: "tcp", ECS: "strip",
		Cache: CacheConfig{
			Enabled: true, Entries: 1_000_000, MaxTTL: 24 * time.Hour, NegativeTTL: time.Hour,
			FailureTTL: 5 * time.Second, NegativeShare: 0.2, Snapshot: true,
			Stale: StaleConfig{For: 24 * time.Hour, After: 1800 * time.Millisecond, TTL: 30 * time.Second},
		},
		RateLimit: RateLimitConfig{IPv4Prefix: 32, IPv6Prefix: 56},
		TCP:       TCPConfig{MaxConnections: 10000, MaxPerClient: 100, IdleTimeout: 10 * time.Second, MaxPipelined: 100},
		DNS64:     DNS64Config{Exclude: []netip.Prefix{netip.MustParsePrefix("::ffff:0:0/96")}},
	}
}

// DefaultAllow is private and shared address space and nothing else, so that an
// open resolver takes a deliberate line of configuration.
func DefaultAllow() []netip.Prefix {
	var out []netip.Prefix
	for _, p := range []string{"127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fe80::/10"} {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}
