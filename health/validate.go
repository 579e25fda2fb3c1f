package health

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Bounds of what may be configured. Shorter intervals than minInterval would be
// an attack on the backends, longer ones than maxInterval no supervision.
const (
	minInterval = 100 * time.Millisecond
	maxInterval = 5 * time.Minute
	minTimeout  = 10 * time.Millisecond
	maxCount    = 100
)

// Validate checks the section by itself. report is told the key, relative to the
// section, and what is wrong with its value. It touches neither files nor network.
func (c *Config) Validate(protocol string, report func(key, message string)) {
	between(report, "interval", c.Interval, minInterval, maxInterval)
	switch {
	case c.Timeout < minTimeout:
		report("timeout", fmt.Sprintf("must be at least %v", minTimeout))
	case c.Timeout >= c.Interval && c.Interval >= minInterval:
		report("timeout", fmt.Sprintf("must be shorter than interval, which is %v", c.Interval))
	}
	for _, n := range []struct {
		key   string
		value int
	}{{"fall", c.Fall}, {"rise", c.Rise}, {"suspect_after", c.SuspectAfter}} {
		if n.value < 1 || n.value > maxCount {
			report(n.key, fmt.Sprintf("must be from 1 to %d", maxCount))
		}
	}
	if c.SlowStart < 0 || c.SlowStart > time.Hour {
		report("slow_start", "must be from 0s (no slow start) to 1h")
	}
	switch protocol {
	case "dns":
		c.DNS.validate(report)
	case "radius":
		c.RADIUS.validate(report)
	}
}

// Warnings reports what works but hurts.
func (c *Config) Warnings(protocol string, report func(key, message string)) {
	if c.Timeout < c.Interval && c.Timeout > c.Interval*8/10 {
		report("timeout", fmt.Sprintf("%v is near the interval of %v: a slow backend is always being probed; leave it at 80 %% or less", c.Timeout, c.Interval))
	}
	if protocol == "radius" && c.RADIUS.Method == "access-request" && c.RADIUS.Expect != "accept" && c.Timeout <= time.Second {
		report("timeout", fmt.Sprintf("%v is not longer than the second by which FreeRADIUS delays an Access-Reject: the backend may never look healthy", c.Timeout))
	}
	if protocol == "dns" && c.DNS.RandomLabel && !slices.ContainsFunc(c.DNS.Rcodes, isNXDomain) && strings.Trim(c.DNS.Name, ".") == "" {
		report("dns.random_label", "asks for names below the root that don't exist, but rcodes has no NXDOMAIN: the backend would never look healthy")
	}
}

func isNXDomain(rcode string) bool { return strings.EqualFold(rcode, "NXDOMAIN") }

func (c *DNSProbe) validate(report func(key, message string)) {
	name := c.Name
	if c.RandomLabel {
		name = below("0123456789abcdef", dns.Fqdn(c.Name))
	}
	switch _, ok := dns.IsDomainName(name); {
	case c.Name == "":
		report("dns.name", `is empty; write "." for the root`)
	case !ok:
		report("dns.name", fmt.Sprintf("%q is not a domain name", c.Name))
	}
	switch qtype, ok := dns.StringToType[strings.ToUpper(c.Type)]; {
	case !ok:
		report("dns.type", fmt.Sprintf("%q is not a record type; write for example NS, A or SOA", c.Type))
	case qtype == dns.TypeAXFR || qtype == dns.TypeIXFR || qtype == dns.TypeOPT || qtype == dns.TypeTSIG || qtype == dns.TypeNone:
		report("dns.type", fmt.Sprintf("%s cannot be asked of a resolver; write for example NS, A or SOA", strings.ToUpper(c.Type)))
	}
	if len(c.Rcodes) == 0 {
		report("dns.rcodes", "is empty: no answer could be good; write for example [NOERROR]")
	}
	for i, r := range c.Rcodes {
		if _, ok := dns.StringToRcode[strings.ToUpper(r)]; !ok {
			report(fmt.Sprintf("dns.rcodes[%d]", i), fmt.Sprintf("%q is not a response code; write for example NOERROR or NXDOMAIN", r))
		}
	}
}

func (c *RADIUSProbe) validate(report func(key, message string)) {
	oneOf(report, "radius.method", c.Method, "status-server", "access-request")
	oneOf(report, "radius.acct_probe", c.AcctProbe, "status-server", "none")
	oneOf(report, "radius.expect", c.Expect, "any", "accept", "reject")
	if len(c.User) > 253 {
		report("radius.user", "is longer than the 253 bytes of an attribute")
	}
	if len(c.Password) > 128 {
		report("radius.password", "is longer than the 128 bytes of a User-Password (RFC 2865 section 5.2)")
	}
	if c.Password != "" && c.PasswordFile != "" {
		report("radius.password_file", "password and password_file are both given; write one of them")
	}
	if c.Method == "access-request" && c.User == "" {
		report("radius.user", "access-request needs a user to log in; write one, and its password")
	}
	if c.Method == "status-server" && c.User != "" {
		report("radius.user", "belongs to method: access-request; status-server has no user")
	}
}

func between(report func(key, message string), key string, value, least, most time.Duration) {
	if value < least || value > most {
		report(key, fmt.Sprintf("must be from %v to %v", least, most))
	}
}

func oneOf(report func(key, message string), key, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		report(key, fmt.Sprintf("%q is not one of %s", value, strings.Join(allowed, ", ")))
	}
}
