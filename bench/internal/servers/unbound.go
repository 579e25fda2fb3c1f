package servers

import (
	"fmt"
	"net/netip"
	"strings"
)

// LoadLabels are the labels of names that every Unbound answers with one address, whatever stands before them: what
// package stub's names ask for.
const LoadLabels = "ttl-60.ip-192-0-2-53"

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
  access-control: %[4]s allow
  num-threads: 1
  module-config: "iterator"
  do-not-query-localhost: no
  local-zone: "test." transparent
  local-zone: "%[5]s.load.test." redirect
  local-data: "%[5]s.load.test. 60 IN A 192.0.2.53"
remote-control:
  control-enable: no
`

const authZone = `auth-zone:
  name: %q
  zonefile: %q
  for-upstream: yes
  for-downstream: no
`

const rootZone = `$ORIGIN .
@ 86400 IN SOA a.root.test. hostmaster.root.test. 1 3600 600 86400 300
@ 86400 IN NS a.root.test.
a.root.test. 86400 IN A 192.0.2.1
`

// Unbound is one resolver that needs no network: it has the root zone, and more zones if there are some.
type Unbound struct {
	Dir    string // where its files are
	Name   string // of its configuration
	Listen netip.AddrPort
	Allow  string            // the prefix that may ask
	Zones  map[string]string // more zones by their names, with a dot at the end
}

// Files are its files by their names in Dir.
func (u Unbound) Files() map[string]string {
	var conf strings.Builder
	fmt.Fprintf(&conf, unboundConfig, u.Dir, u.Listen.Addr(), u.Listen.Port(), u.Allow, LoadLabels)
	files := map[string]string{"root.zone": rootZone}
	fmt.Fprintf(&conf, authZone, ".", "root.zone")
	for name, text := range u.Zones {
		file := name + "zone"
		fmt.Fprintf(&conf, authZone, name, file)
		files[file] = text
	}
	files[u.config()] = conf.String()
	return files
}

func (u Unbound) config() string { return u.Name + ".conf" }

// Args are what unbound is started with.
func (u Unbound) Args() []string { return []string{"-d", "-c", u.Dir + "/" + u.config()} }
