package config

import (
	"reflect"
	"strings"
	"testing"
)

// form is what a key's value must look like, and one that does not.
type form struct{ takes, bad string }

// forms are of the keys whose type alone does not say what they take.
var forms = map[string]form{
	"node.name": nameForm, "admin.socket": {"a path up to 107 bytes", strings.Repeat("s", 108)}, "admin.listen": {"IP:PORT", "localhost:8053"},
	"include": {"a list: globs", `["conf.d/["]`},

	"pools[].name": nameForm, "pools[].backends[].name": nameForm,
	"pools[].backends[].address": {"IP, for DNS also IP:PORT", "fulmine.example.net"}, "pools[].backends[].source": ipForm,
	"pools[].health.dns.name": domainForm, "pools[].health.dns.type": {"a record type", "ADDRESS"},
	"pools[].health.dns.rcodes": {"a list: response codes", "[BAD]"}, "pools[].hash_key": {"a list: attributes", "[Colour]"},
	"pools[].backends[].secret":      {"text, not empty", `""`},
	"pools[].health.radius.user":     {"text up to 253 bytes", strings.Repeat("u", 254)},
	"pools[].health.radius.password": {"text up to 128 bytes", strings.Repeat("p", 129)},

	"dns[].name": nameForm, "dns[].listen": listenForm, "dns[].tls.listen": listenForm, "dns[].tls.name": domainForm,
	"dns[].https.listen": listenForm, "dns[].https.path": {"text that begins with /", "dns-query"},
	"dns[].pool": poolForm, "dns[].routes[].zones": {"a list: domain names", `["example..net"]`}, "dns[].routes[].pool": poolForm,
	"dns[].dns64.prefix":   {"IPv6 prefix of 32, 40, 48, 56, 64 or 96 bits", "64:ff9b::/80"},
	"dns[].dns64.exclude":  {"a list: IPv6 prefixes", "[10.0.0.0/8]"},
	"dns[].block[].action": {"nxdomain, refuse, nodata, drop, IP", "redirect"},

	"radius[].name": nameForm, "radius[].auth": listenForm, "radius[].acct": listenForm, "radius[].coa": listenForm, "radius[].coa_source": ipForm,
	"radius[].pool": poolForm, "radius[].routes[].realm": {"a realm, or *. and a realm", "user@example.net"}, "radius[].routes[].pool": poolForm,
	"radius[].clients[].name": nameForm, "radius[].clients[].address": {"IP or prefix", "bras-1.example.net"},
	"radius[].clients[].secret":         {"text, or a list of two; not empty", "[one-secret, two-secret, three-secret]"},
	"radius[].accounting.spool_max":     {"a size, at least 1MiB", "1KiB"},
	"radius[].survival.realms":          {"a list: realms of `routes`", "[elsewhere.example.net]"},
	"radius[].survival.static_prefixes": {"a list: prefixes without host bits (192.0.2.0/24)", "[192.0.2.1/24]"},

	"bgp.asn": {"1 to 4294967294, not 23456; 0: none", "23456"}, "bgp.router_id": {"IPv4 address", "2001:db8::1"},
	"bgp.site": {"1 to 4294967295", "0"}, "bgp.listen": {"IP:PORT or :PORT", "core-1:179"},
	"bgp.neighbors[].name": nameForm, "bgp.neighbors[].address": ipForm, "bgp.neighbors[].asn": {"1 to 4294967295", "0"},
	"bgp.neighbors[].source": ipForm, "bgp.neighbors[].next_hop": ipForm,

	"anycast[].name": nameForm, "anycast[].requires": {"a list: names of services", "[nothing]"},
	"anycast[].communities": communityForm, "anycast[].demote.communities": communityForm,
	"anycast[].assign": {"an interface's name, up to 15 bytes", "an-interface-too-long"},
}

var (
	nameForm      = form{"a name, up to 63 characters", strings.Repeat("n", 64)}
	ipForm        = form{"IP", "host.example.net"}
	listenForm    = form{"a list: IP:PORT", "[192.0.2.53]"}
	domainForm    = form{"a domain name", "example..net"}
	poolForm      = form{"a pool's name", "nowhere"}
	communityForm = form{"a list: N:N or N:N:N", `["64500"]`}
)

// TestO01DocumentedFormsAreDemanded: whatever the column Takes says of a text, a
// value that is otherwise is refused.
func TestO01DocumentedFormsAreDemanded(t *testing.T) {
	c := mustParse(t, moreKeys.Replace(readReference(t)))
	tried := map[string]bool{}
	c.visit(func(l leaf) bool {
		f, ok := forms[l.pattern]
		if !ok || tried[l.pattern] || strings.HasPrefix(l.path, "pools[0].") && strings.Contains(described[l.pattern], "(radius)") {
			return true
		}
		tried[l.pattern] = true
		if l.pattern == "include" { // needs files
			_, report, _ := loadFiles(t, map[string]string{"main.yaml": "include: " + f.bad + "\n"})
			if len(report.Errors) != 1 || !strings.HasPrefix(report.Errors[0].Key, "include") {
				t.Errorf("include: %s: %v", f.bad, report.Errors)
			}
			return true
		}
		message := ""
		v := readCell(l, f.bad, func(m string) { message = m })
		if message == "" {
			message = probe(c, l, v)
		}
		if message == "" || strings.Contains(message, "belongs to method") {
			t.Errorf("%s takes %s, and accepts %s (%s)", l.pattern, f.takes, f.bad, message)
		}
		return true
	})
	for pattern := range forms {
		if !tried[pattern] {
			t.Errorf("%s was not tried", pattern)
		}
	}
}

// readCell reads a value written behind its key as the program would.
func readCell(l leaf, text string, wrong func(message string)) reflect.Value {
	v := reflect.New(l.field.typ).Elem()
	key := l.pattern[strings.LastIndex(l.pattern, ".")+1:]
	d := newDecoder(func(_ Position, _, m string) { wrong(m) })
	if root := parseTree("cell", []byte(key+": "+text+"\n"), d.report); root != nil {
		d.decode(root.get(key), v, l.field, place{path: key})
	}
	return v
}
