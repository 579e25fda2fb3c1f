package radiusfront

import (
	"net/netip"
	"time"
)

// Config is one item of the `radius` section: one RADIUS service.
type Config struct {
	Name            string           `yaml:"name"`
	Auth            []string         `yaml:"auth"` // IP:PORT
	Acct            []string         `yaml:"acct"` // IP:PORT
	CoA             []string         `yaml:"coa"`  // IP:PORT
	CoASource       string           `yaml:"coa_source"`
	Pool            string           `yaml:"pool"`
	Routes          []Route          `yaml:"routes"`
	Clients         []ClientConfig   `yaml:"clients"`
	DuplicateWindow time.Duration    `yaml:"duplicate_window"`
	ProxyState      bool             `yaml:"proxy_state"`
	Accounting      AccountingConfig `yaml:"accounting"`
	Survival        SurvivalConfig   `yaml:"survival"`
}

// Route sends the users of a realm to a pool of their own.
type Route struct {
	Realm      string `yaml:"realm"`
	Pool       string `yaml:"pool"`
	StripRealm bool   `yaml:"strip_realm"`
}

// ClientConfig is one NAS, or all within a prefix; the longest match wins.
type ClientConfig struct {
	Name                 string   `yaml:"name"`
	Address              string   `yaml:"address"` // IP or prefix
	Secret               []string `yaml:"secret,scalar" secret:"true"`
	SecretFile           string   `yaml:"secret_file" file:"true"` // one secret on a line, at most two
	MessageAuthenticator string   `yaml:"message_authenticator"`   // require | auto | accept
	CoAPort              int      `yaml:"coa_port"`
	MaxInFlight          int      `yaml:"max_in_flight"`
}

// BackendConfig is what this package needs of a backend's section.
type BackendConfig struct {
	AuthPort             int    `yaml:"auth_port"` // 0: does no authentication
	AcctPort             int    `yaml:"acct_port"` // 0: does no accounting
	Secret               string `yaml:"secret" secret:"true"`
	SecretFile           string `yaml:"secret_file" file:"true"`
	MessageAuthenticator string `yaml:"message_authenticator"` // of its replies: require | auto | accept
}

// AccountingConfig is how accounting is kept when no backend answers.
type AccountingConfig struct {
	Spool           bool   `yaml:"spool"`
	SpoolMax        Bytes  `yaml:"spool_max"`
	Ack             string `yaml:"ack"` // after-backend | after-spool
	CoalesceInterim bool   `yaml:"coalesce_interim"`
}

// SurvivalConfig is what is answered from memory while every backend is down.
type SurvivalConfig struct {
	Mode           string         `yaml:"mode"` // off | known-password
	MaxAge         time.Duration  `yaml:"max_age"`
	SessionTimeout time.Duration  `yaml:"session_timeout"`
	Realms         []string       `yaml:"realms"`
	StaticPrefixes []netip.Prefix `yaml:"static_prefixes"`
}

// SetDefaults sets every default of a RADIUS service.
func (c *Config) SetDefaults() {
	*c = Config{
		DuplicateWindow: 10 * time.Second, ProxyState: true,
		Accounting: AccountingConfig{Spool: true, SpoolMax: 1 << 30, Ack: "after-backend"},
		Survival:   SurvivalConfig{Mode: "off", MaxAge: 7 * 24 * time.Hour, SessionTimeout: 30 * time.Minute},
	}
}

// SetDefaults sets the defaults of one client.
func (c *ClientConfig) SetDefaults() {
	*c = ClientConfig{MessageAuthenticator: "auto", CoAPort: 3799, MaxInFlight: 20000}
}

// SetDefaults sets the defaults of one backend.
func (c *BackendConfig) SetDefaults() {
	*c = BackendConfig{AuthPort: 1812, AcctPort: 1813, MessageAuthenticator: "auto"}
}
