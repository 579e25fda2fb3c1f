package config

import (
	"fmt"
	"time"

	"sereno/bgp"
	"sereno/health"
	"sereno/proxy/dnsfront"
	"sereno/proxy/pool"
	"sereno/proxy/radiusfront"
)

// Config is a whole configuration, as Load returns it: defaults filled in,
// checked, paths resolved, secrets read from their files. It is not changed
// afterwards, so that any number of goroutines may read it. It prints without secrets.
type Config struct {
	Node         NodeConfig           `yaml:"node"`
	Log          LogConfig            `yaml:"log"`
	Admin        AdminConfig          `yaml:"admin"`
	Include      []string             `yaml:"include"`
	Pools        []Pool               `yaml:"pools"`
	DNS          []dnsfront.Config    `yaml:"dns"`
	RADIUS       []radiusfront.Config `yaml:"radius"`
	BGP          bgp.Config           `yaml:"bgp"`
	Anycast      []bgp.AnycastConfig  `yaml:"anycast"`
	Availability AvailabilityConfig   `yaml:"availability"`

	// AdminToken is the content of admin.token_file; "" if there is none.
	AdminToken Secret
	// NeighborPasswords are the contents of bgp.neighbors[].password_file by the neighbor's name.
	NeighborPasswords map[string]Secret
	// Path is the file that was loaded; Hash, 16 hexadecimal digits, changes
	// with the text of it or of an included file.
	Path, Hash string
}

// NodeConfig is the `node` section.
type NodeConfig struct {
	Name     string `yaml:"name"` // default: the host name
	StateDir string `yaml:"state_dir" path:"true"`
}

// LogConfig is the `log` section.
type LogConfig struct {
	Level  string `yaml:"level"`  // debug | info | warn | error
	Format string `yaml:"format"` // console | json
}

// AdminConfig is the `admin` section.
type AdminConfig struct {
	Socket    string `yaml:"socket" path:"true"` // "": off
	Listen    string `yaml:"listen"`             // IP:PORT; "": off
	TokenFile string `yaml:"token_file" file:"true"`
}

// AvailabilityConfig is the `availability` section.
type AvailabilityConfig struct {
	Target     float64          `yaml:"target"` // per cent, above 0 and below 100
	Keep       time.Duration    `yaml:"keep"`
	GoodWithin GoodWithinConfig `yaml:"good_within"`
}

// GoodWithinConfig is how late an answer may be and still be a good one.
type GoodWithinConfig struct {
	DNS        time.Duration `yaml:"dns"`
	RADIUS     time.Duration `yaml:"radius"`
	Accounting time.Duration `yaml:"accounting"`
}

// Pool is one item of the `pools` section: what the packages pool, radiusfront
// and health each need of it.
type Pool struct {
	pool.Config `yaml:",inline"`
	HashKey     []string      `yaml:"hash_key"` // (radius) attribute names; the first that the packet has
	Backends    []Backend     `yaml:"backends"`
	Health      health.Config `yaml:"health"`
}

// Backend is one item of a pool's `backends`. RADIUS counts in a radius pool only.
type Backend struct {
	pool.BackendConfig `yaml:",inline"`
	RADIUS             radiusfront.BackendConfig `yaml:",inline"`
}

// Default is the configuration of an empty file.
func Default() Config {
	c := Config{
		Node:  NodeConfig{StateDir: "/var/lib/sereno"},
		Log:   LogConfig{Level: "info", Format: "console"},
		Admin: AdminConfig{Socket: "/run/sereno/admin.sock", Listen: "127.0.0.1:8053"},
		Availability: AvailabilityConfig{
			Target: 99.99, Keep: 400 * 24 * time.Hour,
			GoodWithin: GoodWithinConfig{DNS: 2 * time.Second, RADIUS: 3 * time.Second, Accounting: 3 * time.Second},
		},
	}
	c.BGP.SetDefaults()
	return c
}

// SetDefaults sets the defaults of a pool of the given protocol ("dns" or "radius").
func (p *Pool) SetDefaults(protocol string) {
	*p = Pool{}
	p.Config.SetDefaults(protocol)
	p.Health.SetDefaults(protocol)
	if protocol == "radius" {
		p.HashKey = []string{"Calling-Station-Id", "User-Name"}
	}
}

// SetDefaults sets the defaults of one backend.
func (b *Backend) SetDefaults() {
	b.BackendConfig.SetDefaults()
	b.RADIUS.SetDefaults()
}

// Pool finds a pool by name; nil if there is none.
func (c *Config) Pool(name string) *Pool {
	for i := range c.Pools {
		if c.Pools[i].Name == name {
			return &c.Pools[i]
		}
	}
	return nil
}

// Validate checks the section by itself.
func (c *NodeConfig) Validate(report func(key, message string)) {
	if c.Name == "" {
		report("name", "is empty; write one (the host's name is taken if the key is left out, and the host has one)")
	} else if message := badName(c.Name); message != "" {
		report("name", message)
	}
	if c.StateDir == "" {
		report("state_dir", "is empty; write a directory, for example /var/lib/sereno")
	}
}

// Validate checks the section by itself.
func (c *LogConfig) Validate(report func(key, message string)) {
	oneOf(report, "level", c.Level, "debug", "info", "warn", "error")
	oneOf(report, "format", c.Format, "console", "json")
}

// Validate checks the section by itself.
func (c *AdminConfig) Validate(report func(key, message string)) {
	// sun_path of unix(7) holds 108 bytes with the final zero.
	if len(c.Socket) > 107 {
		report("socket", fmt.Sprintf("is %d bytes long; the kernel takes at most 107", len(c.Socket)))
	}
	if c.Listen != "" {
		if _, message := parseListen(c.Listen); message != "" {
			report("listen", message)
		}
	}
	if c.TokenFile != "" && c.Listen == "" {
		report("token_file", "allows changes over `listen`, which is off")
	}
}

// Validate checks the section by itself.
func (c *AvailabilityConfig) Validate(report func(key, message string)) {
	if c.Target <= 0 || c.Target >= 100 {
		report("target", fmt.Sprintf("must be above 0 and below 100 per cent, not %v", c.Target))
	}
	if c.Keep < 24*time.Hour {
		report("keep", "must be at least 24h")
	}
	for _, g := range []struct {
		key   string
		value time.Duration
	}{{"dns", c.GoodWithin.DNS}, {"radius", c.GoodWithin.RADIUS}, {"accounting", c.GoodWithin.Accounting}} {
		if g.value <= 0 {
			report("good_within."+g.key, "must be above 0")
		}
	}
}
