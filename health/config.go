package health

import "time"

// Config is the `health` section of a pool. Which of DNS and RADIUS counts is
// decided by the pool's protocol.
type Config struct {
	Interval     time.Duration `yaml:"interval"`      // one probe of each backend every interval, jittered by 10 %
	Timeout      time.Duration `yaml:"timeout"`       // a probe ends within it; shorter than Interval
	Fall         int           `yaml:"fall"`          // bad probes in a row: down
	Rise         int           `yaml:"rise"`          // good probes in a row: up again
	SuspectAfter int           `yaml:"suspect_after"` // silent requests since the last valid reply: suspect
	SlowStart    time.Duration `yaml:"slow_start"`    // time over which a recovered backend reaches its full share
	DNS          DNSProbe      `yaml:"dns"`
	RADIUS       RADIUSProbe   `yaml:"radius"`
}

// DNSProbe is the question that a DNS backend is asked and what counts as a good answer.
type DNSProbe struct {
	Name        string   `yaml:"name"`
	Type        string   `yaml:"type"`
	RandomLabel bool     `yaml:"random_label"`
	Rcodes      []string `yaml:"rcodes"`
	Answer      bool     `yaml:"answer"`
}

// RADIUSProbe is how a RADIUS backend is probed (RFC 5997, or an Access-Request).
type RADIUSProbe struct {
	Method       string `yaml:"method"`     // status-server | access-request
	AcctProbe    string `yaml:"acct_probe"` // status-server | none
	User         string `yaml:"user"`
	Password     string `yaml:"password" secret:"true"`
	PasswordFile string `yaml:"password_file"`
	Expect       string `yaml:"expect"` // any | accept | reject
}

// SetDefaults sets the defaults of a pool of the given protocol ("dns" or "radius").
func (c *Config) SetDefaults(protocol string) {
	*c = Config{
		Interval: time.Second, Timeout: 500 * time.Millisecond,
		Fall: 2, Rise: 2, SuspectAfter: 2, SlowStart: 10 * time.Second,
		DNS:    DNSProbe{Name: ".", Type: "NS", Rcodes: []string{"NOERROR"}, Answer: true},
		RADIUS: RADIUSProbe{Method: "status-server", AcctProbe: "status-server", Expect: "any"},
	}
	if protocol == "radius" {
		c.Interval, c.Timeout = 2*time.Second, 1500*time.Millisecond
	}
}
