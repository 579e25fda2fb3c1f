package harness

import (
	"fmt"
	"net/netip"
	"time"

	"sereno/bench/internal/servers"
)

// LoadLabels are those of names that the lab's Unbounds answer with one address.
const LoadLabels = servers.LoadLabels

// Zone is what the lab's Unbounds know of example.test.
const Zone = `$ORIGIN example.test.
@      300 IN SOA ns hostmaster 1 3600 600 86400 60
@      300 IN NS ns
@      300 IN MX 10 mail
ns     300 IN A 192.0.2.1
www    300 IN A 192.0.2.80
www    300 IN AAAA 2001:db8::80
alias  300 IN CNAME www
mail   300 IN A 192.0.2.25
txt    300 IN TXT "one" "two"
big    300 IN TXT "%[1]s" "%[1]s" "%[1]s" "%[1]s" "%[1]s" "%[1]s" "%[1]s" "%[1]s"
_sip._udp 300 IN SRV 0 5 5060 www
odd    300 IN TYPE65280 \# 4 0a000001
`

// Unbound is a real resolver that needs no network: it has the root zone and example.test.
type Unbound struct {
	*Process
	Addr netip.AddrPort
}

// Unbound starts the lab's nth resolver and waits until it answers.
func (l *Lab) Unbound(n int) *Unbound {
	l.t.Helper()
	addr := netip.AddrPortFrom(l.Addr(byte(hostUnbound+n)), DNSPort)
	long := make([]byte, 240)
	for i := range long {
		long[i] = 'a' + byte(i%26)
	}
	name := numbered("unbound", n)
	c := servers.Unbound{Dir: l.dir, Name: name, Listen: addr, Allow: "127.0.0.0/8",
		Zones: map[string]string{"example.test.": fmt.Sprintf(Zone, long)}}
	for file, text := range c.Files() {
		l.write(file, text)
	}
	u := &Unbound{l.prepare(name, l.Program("unbound"), c.Args()...), addr}
	u.Start()
	return u
}

// Start starts it (again) and waits until it answers.
func (u *Unbound) Start() {
	u.lab.t.Helper()
	u.start()
	u.lab.Eventually(20*time.Second, u.name+" answers", func() bool {
		return answers(u.Addr, []byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01"))
	})
}
