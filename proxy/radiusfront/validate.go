package radiusfront

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// maxDuplicateWindow bounds the memory that remembered answers take.
const maxDuplicateWindow = 5 * time.Minute

// Validate reports what cannot work in a service's section, its routes and
// its clients. Names of pools, and secrets, are checked by who sees the whole
// configuration.
func (c *Config) Validate(report func(key, message string)) {
	if c.Name == "" {
		report("name", "a service needs a name")
	}
	if len(c.Auth)+len(c.Acct) == 0 {
		report("auth", "a service needs an address to listen on; write auth, acct or both, for example auth: [\"192.0.2.18:1812\"]")
	}
	c.validateListen(report)
	if c.CoASource != "" {
		if a, err := netip.ParseAddr(c.CoASource); err != nil || a.IsUnspecified() {
			report("coa_source", fmt.Sprintf("%q is not an IP address to send from", c.CoASource))
		}
	}
	if c.DuplicateWindow < 0 || c.DuplicateWindow > maxDuplicateWindow {
		report("duplicate_window", fmt.Sprintf("must be between 0s and %s", maxDuplicateWindow))
	}
	c.validateRoutes(report)
	for i := range c.Clients {
		c.Clients[i].Validate(func(key, message string) { report(fmt.Sprintf("clients[%d].%s", i, key), message) })
	}
	c.Accounting.validate(func(key, message string) { report("accounting."+key, message) })
	c.Survival.validate(func(key, message string) { report("survival."+key, message) })
	c.validateSurvivalRealms(report)
}

func (c *Config) validateListen(report func(key, message string)) {
	first := map[netip.AddrPort]string{}
	for _, list := range []struct {
		key   string
		addrs []string
		port  int
	}{{"auth", c.Auth, 1812}, {"acct", c.Acct, 1813}, {"coa", c.CoA, 3799}} {
		for i, s := range list.addrs {
			key := fmt.Sprintf("%s[%d]", list.key, i)
			a, err := netip.ParseAddrPort(s)
			switch {
			case err != nil:
				hint := ""
				if ip, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
					hint = "; write " + netip.AddrPortFrom(ip, uint16(list.port)).String()
				}
				report(key, fmt.Sprintf("%q is not an address with a port%s", s, hint))
			case a.Port() == 0:
				report(key, "port 0 is not one that a peer could send to")
			case first[a] != "":
				report(key, fmt.Sprintf("%s is %s already", s, first[a]))
			default:
				first[a] = key
			}
		}
	}
}

func (c *Config) validateRoutes(report func(key, message string)) {
	first := map[string]string{}
	for i, r := range c.Routes {
		key, low := fmt.Sprintf("routes[%d].realm", i), strings.ToLower(r.Realm)
		switch {
		case r.Realm == "":
			report(key, "a route needs a realm, for example adsl.example.net")
		case strings.ContainsAny(strings.TrimPrefix(r.Realm, "*."), "*@/"):
			report(key, fmt.Sprintf("%q is not a realm; write example.net, or *.example.net for its subdomains", r.Realm))
		case len(r.Realm) > maxRealm:
			report(key, fmt.Sprintf("is longer than %d characters", maxRealm))
		case first[low] != "":
			report(key, fmt.Sprintf("%s is %s already", r.Realm, first[low]))
		default:
			first[low] = key
		}
	}
}

// Validate reports what cannot work in a client's section.
func (c *ClientConfig) Validate(report func(key, message string)) {
	if c.Name == "" {
		report("name", "a client needs a name")
	}
	if _, err := parseClientAddress(c.Address); err != nil {
		report("address", err.Error())
	}
	if len(c.Secret) > maxSecrets {
		report("secret", fmt.Sprintf("%d secrets; one, or two during a rotation", len(c.Secret)))
	}
	for _, s := range c.Secret {
		if s == "" {
			report("secret", "is empty")
		}
	}
	if _, ok := parsePosture(c.MessageAuthenticator); !ok {
		report("message_authenticator", fmt.Sprintf("%q is not require, auto or accept", c.MessageAuthenticator))
	}
	if c.CoAPort < 1 || c.CoAPort > 65535 {
		report("coa_port", "must be between 1 and 65535")
	}
	if c.MaxInFlight < 1 {
		report("max_in_flight", "must be at least 1")
	}
}

// Warnings reports what works in a client's section but hurts (O02).
func (c *ClientConfig) Warnings(report func(key, message string)) {
	if c.MessageAuthenticator == "accept" {
		report("message_authenticator", "accept lets requests in that anybody on the path can forge (CVE-2024-3596); write auto")
	}
}

// Validate reports what cannot work in a backend's section.
func (c *BackendConfig) Validate(protocol string, report func(key, message string)) {
	if protocol != "radius" {
		return
	}
	for _, p := range []struct {
		key  string
		port int
	}{{"auth_port", c.AuthPort}, {"acct_port", c.AcctPort}} {
		if p.port < 0 || p.port > 65535 {
			report(p.key, "must be between 0 and 65535; 0 turns the role off")
		}
	}
	if _, ok := parsePosture(c.MessageAuthenticator); !ok {
		report("message_authenticator", fmt.Sprintf("%q is not require, auto or accept", c.MessageAuthenticator))
	}
}

// Warnings reports what works in a backend's section but hurts (O02).
func (c *BackendConfig) Warnings(report func(key, message string)) {
	if c.MessageAuthenticator == "accept" {
		report("message_authenticator", "accept lets replies in that anybody on the path can forge (CVE-2024-3596); write auto")
	}
}

func (c *AccountingConfig) validate(report func(key, message string)) {
	if c.Spool && c.SpoolMax < 1<<20 {
		report("spool_max", "must be at least 1MiB")
	}
	if c.Ack != "after-backend" && c.Ack != "after-spool" {
		report("ack", fmt.Sprintf("%q is not after-backend or after-spool", c.Ack))
	}
	if c.Ack == "after-spool" && !c.Spool {
		report("ack", "after-spool needs spool: true")
	}
}

// validateSurvivalRealms: a realm without a route is one of the service's own, and needs
// no line.
func (c *Config) validateSurvivalRealms(report func(key, message string)) {
	for i, realm := range c.Survival.Realms {
		if !slices.ContainsFunc(c.Routes, func(r Route) bool { return strings.EqualFold(r.Realm, realm) }) {
			report(fmt.Sprintf("survival.realms[%d]", i), fmt.Sprintf("%q is not the realm of a route; users without a route are answered for anyway", realm))
		}
	}
}

func (c *SurvivalConfig) validate(report func(key, message string)) {
	if c.Mode != "off" && c.Mode != "known-password" {
		report("mode", fmt.Sprintf("%q is not off or known-password", c.Mode))
	}
	if c.MaxAge <= 0 {
		report("max_age", "must be above 0s")
	}
	if c.SessionTimeout < time.Minute {
		report("session_timeout", "must be at least 1m: every session comes back at its end")
	}
	for i, p := range c.StaticPrefixes {
		if !p.IsValid() {
			report(fmt.Sprintf("static_prefixes[%d]", i), "is not a prefix")
		} else if p.Masked() != p {
			report(fmt.Sprintf("static_prefixes[%d]", i), fmt.Sprintf("has bits set after the prefix; write %s", p.Masked()))
		}
	}
}
