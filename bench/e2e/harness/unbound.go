package harness

import (
	"fmt"
	"net/netip"
	"time"
)

// LoadLabels are the labels of names that the lab's Unbounds answer with one address, whatever stands before them:
// what package stub's names ask for.
const LoadLabels = "ttl-60.ip-192-0-2-53"

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

const unboundConfig = `server:
  directory: "%[1]s"
  chroot: ""
  username: ""
  pidfile: ""
  logfile: ""
  use-syslog: no
  do-daemonize: no
  interface: %[2]s@%[3]d
  port: %[3]d
  access-control: 127.0.0.0/8 allow
  num-threads: 1
  module-config: "iterator"
  do-not-query-localhost: no
  local-zone: "test." transparent
  local-zone: "%[4]s.load.test." redirect
  local-data: "%[4]s.load.test. 60 IN A 192.0.2.53"
remote-control:
  control-enable: no
auth-zone:
  name: "."
  zonefile: "root.zone"
  for-upstream: yes
  for-downstream: no
auth-zone:
  name: "example.test."
  zonefile: "example.zone"
  for-upstream: yes
  for-downstream: no
`

const rootZone = `$ORIGIN .
@ 86400 IN SOA a.root.test. hostmaster.root.test. 1 3600 600 86400 300
@ 86400 IN NS a.root.test.
a.root.test. 86400 IN A 192.0.2.1
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
	l.write("root.zone", rootZone)
	long := make([]byte, 240)
	for i := range long {
		long[i] = 'a' + byte(i%26)
	}
	l.write("example.zone", fmt.Sprintf(Zone, long))
	conf := l.write(numbered("unbound", n)+".conf", fmt.Sprintf(unboundConfig, l.dir, addr.Addr(), DNSPort, LoadLabels))
	u := &Unbound{l.prepare(numbered("unbound", n), l.Program("unbound"), "-d", "-c", conf), addr}
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
