package config

import "testing"

func TestO01Summary(t *testing.T) {
	c := mustParse(t, replace(t, diffText, "address: 10.0.0.12}", "address: 10.0.0.12, weight: 3, backup: true}")+`bgp:
  asn: 64512
  router_id: 10.0.0.2
  neighbors:
    - {name: core-1, address: 10.0.0.1, asn: 64500}
anycast:
  - name: vip
    prefixes: ["192.0.2.53/32", "2001:db8::53/128"]
    requires: [resolver, pppoe]
`)
	want := `node garibaldi-1, state in /var/lib/sereno
admin: /run/sereno/admin.sock, http://127.0.0.1:8053
dns resolver: listens on 192.0.2.53:53, pool resolvers
    allows 127.0.0.0/8, ::1/128, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10, fc00::/7, fe80::/10
    cache of 1000000 entries
radius pppoe: authentication on 192.0.2.18:1812, pool servers
    2 clients
pool resolvers: dns, least-outstanding, 2 backends
    fulmine: 10.0.0.11:53
    tempesta: 10.0.0.12:53, weight 3, backup
pool servers: radius, hash, 2 backends
    fulmine: auth 10.0.0.21:1812, acct 10.0.0.21:1813
    tempesta: auth 10.0.0.22:1812, acct 10.0.0.22:1813
anycast vip: 192.0.2.53/32, 2001:db8::53/128 while resolver and pppoe are healthy, else withdraw
bgp AS 64512, router ID 10.0.0.2, site 1: 1 neighbor
    core-1 at 10.0.0.1, AS 64500
`
	if got := c.Summary(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
