package pool

import "time"

// Config is what this package needs of a pool's section. Validate holds it to the ranges given here.
type Config struct {
	Name           string        `yaml:"name"`
	Protocol       string        `yaml:"protocol"`        // dns | radius
	Balance        string        `yaml:"balance"`         // least-outstanding | round-robin | random | hash | ordered
	MinHealthy     int           `yaml:"min_healthy"`     // at least 1; below it the role is not healthy (A07)
	Attempts       int           `yaml:"attempts"`        // backends tried for one request, 1..MaxAttempts
	AttemptTimeout time.Duration `yaml:"attempt_timeout"` // silence of one backend before the next is tried, 10 ms..Timeout
	Timeout        time.Duration `yaml:"timeout"`         // for the request as a whole, 10 ms..1 min
	RetryBudget    float64       `yaml:"retry_budget"`    // share of the requests of the last 10 s, 0..1
}

// BackendConfig is what this package needs of a backend's section. Validate holds it to the ranges given here.
type BackendConfig struct {
	Name        string `yaml:"name"`
	Address     string `yaml:"address"`       // IP, for DNS also IP:PORT (default 53)
	Weight      int    `yaml:"weight"`        // 1..1000
	Backup      bool   `yaml:"backup"`        // a hot spare: used while no other one is up
	MaxInFlight int    `yaml:"max_in_flight"` // requests, 1..1,048,576
	Source      string `yaml:"source"`        // local IP to send from, of Address's family; "": the kernel's choice
}

// SetDefaults sets the defaults of a pool of the given protocol ("dns" or "radius").
func (c *Config) SetDefaults(protocol string) {
	*c = Config{
		Balance: "least-outstanding", MinHealthy: 1,
		Attempts: 3, AttemptTimeout: 400 * time.Millisecond, Timeout: 2 * time.Second, RetryBudget: 0.2,
	}
	if protocol == "radius" {
		c.Balance, c.Attempts, c.AttemptTimeout, c.Timeout = "hash", 2, 1500*time.Millisecond, 5*time.Second
	}
}

// SetDefaults sets the defaults of one backend.
func (c *BackendConfig) SetDefaults() { *c = BackendConfig{Weight: 1, MaxInFlight: 10000} }
