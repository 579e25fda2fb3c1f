package bgp

import (
	"net/netip"
	"time"
)

// Config is the `bgp` section.
type Config struct {
	ASN       uint32           `yaml:"asn"`
	RouterID  string           `yaml:"router_id"`
	Site      uint32           `yaml:"site"`
	Lease     time.Duration    `yaml:"lease"`
	Listen    string           `yaml:"listen"`
	Neighbors []NeighborConfig `yaml:"neighbors"`
}

// NeighborConfig is one BGP session.
type NeighborConfig struct {
	Name            string        `yaml:"name"`
	Address         string        `yaml:"address"`
	ASN             uint32        `yaml:"asn"`
	Port            int           `yaml:"port"`
	PasswordFile    string        `yaml:"password_file" file:"true"`
	HoldTime        time.Duration `yaml:"hold_time"`
	ConnectRetry    time.Duration `yaml:"connect_retry"`
	MultihopTTL     int           `yaml:"multihop_ttl"`
	TTLSecurity     int           `yaml:"ttl_security"`
	Source          string        `yaml:"source"`
	Family          string        `yaml:"family"` // ipv4 | ipv6; default: the address's own
	NextHop         string        `yaml:"next_hop"`
	MaxReceived     int           `yaml:"max_received"`
	GracefulRestart bool          `yaml:"graceful_restart"`
}

// AnycastConfig is one item of the `anycast` section: prefixes that are
// announced while every service in Requires is healthy.
type AnycastConfig struct {
	Name             string         `yaml:"name"`
	Prefixes         []netip.Prefix `yaml:"prefixes"`
	Requires         []string       `yaml:"requires"`
	WhenDown         string         `yaml:"when_down"` // withdraw | demote | hand-over
	AnnounceAfter    time.Duration  `yaml:"announce_after"`
	MaxAnnounceDelay time.Duration  `yaml:"max_announce_delay"`
	Communities      []string       `yaml:"communities"` // "64500:100", "64500:1:2"
	NoExport         bool           `yaml:"no_export"`
	AllowCovering    bool           `yaml:"allow_covering"`
	MED              uint32         `yaml:"med"`
	LocalPref        uint32         `yaml:"local_pref"`
	Demote           DemoteConfig   `yaml:"demote"`
	DrainTime        time.Duration  `yaml:"drain_time"`
	Assign           string         `yaml:"assign"`
}

// DemoteConfig is the set of worse attributes of a demoted route.
type DemoteConfig struct {
	MED         uint32   `yaml:"med"`
	Prepend     int      `yaml:"prepend"`
	LocalPref   uint32   `yaml:"local_pref"`
	Communities []string `yaml:"communities"`
}

// SetDefaults sets every default of the `bgp` section.
func (c *Config) SetDefaults() { *c = Config{Site: 1, Lease: 3 * time.Second} }

// SetDefaults sets the defaults of one neighbor.
func (c *NeighborConfig) SetDefaults() {
	*c = NeighborConfig{Port: 179, HoldTime: 9 * time.Second, ConnectRetry: 5 * time.Second, MaxReceived: 1000}
}

// SetDefaults sets the defaults of one anycast entry.
func (c *AnycastConfig) SetDefaults() {
	*c = AnycastConfig{
		WhenDown: "withdraw", AnnounceAfter: 10 * time.Second, MaxAnnounceDelay: 5 * time.Minute,
		NoExport: true, LocalPref: 100, DrainTime: 5 * time.Second,
		Demote: DemoteConfig{MED: 1000, Prepend: 3, LocalPref: 10, Communities: []string{"65535:0"}},
	}
}
