package lab

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"sereno/bench/stub"
)

// users is how many subscribers the RADIUS servers know.
const users = 200

// loadLabels are the labels of names that every Unbound answers with one address, whatever stands before them.
const loadLabels = "ttl-60.ip-192-0-2-53"

// Secrets of the laboratory.
const (
	nasSecret    = "nas-secret-of-the-laboratory"
	serverSecret = "server-secret-of-the-laboratory"
)

const unboundConfig = `server:
  directory: "%[1]s"
  chroot: ""
  username: ""
  pidfile: ""
  logfile: ""
  use-syslog: no
  do-daemonize: no
  interface: %[2]s@53
  access-control: 10.0.0.0/8 allow
  num-threads: 1
  module-config: "iterator"
  local-zone: "test." transparent
  local-zone: "%[3]s.load.test." redirect
  local-data: "%[3]s.load.test. 60 IN A 192.0.2.53"
remote-control:
  control-enable: no
auth-zone:
  name: "."
  zonefile: "%[1]s/root.zone"
  for-upstream: yes
  for-downstream: no
`

const rootZone = `$ORIGIN .
@ 86400 IN SOA a.root.test. hostmaster.root.test. 1 3600 600 86400 300
@ 86400 IN NS a.root.test.
a.root.test. 86400 IN A 192.0.2.1
`

// unbound is one resolver of a site: number 1 or 2.
func unbound(site, number int) (*process, error) {
	name := fmt.Sprintf("unbound-%d-%d", site, number)
	if err := os.WriteFile(filepath.Join(dir, "root.zone"), []byte(rootZone), 0o644); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, name+".conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, unboundConfig, dir, server(site, 10+number), loadLabels), 0o644); err != nil {
		return nil, err
	}
	p := &process{name: name, namespace: serverSpace(site), path: "unbound", args: []string{"-d", "-c", file}}
	return p, p.start()
}

const radiusdConfig = `prefix = /usr
raddbdir = %[1]s
logdir = %[1]s
run_dir = %[1]s
libdir = /usr/lib/freeradius
pidfile = %[1]s/radiusd.pid
max_request_time = 5
cleanup_delay = 2
max_requests = 131072
hostname_lookups = no
security {
	reject_delay = 1
	status_server = yes
	allow_core_dumps = no
}
log {
	destination = stdout
	auth = no
}
thread pool {
	start_servers = 2
	max_servers = 2
	min_spare_servers = 1
	max_spare_servers = 2
	max_requests_per_server = 0
}
client node {
	ipaddr = 10.0.0.0/8
	secret = %[3]s
	require_message_authenticator = yes
}
modules {
	pap {
	}
	chap {
	}
	files {
		usersfile = %[1]s/users
	}
	detail {
		filename = %[1]s/detail
		permissions = 0600
	}
}
server default {
	listen {
		type = auth
		ipaddr = %[2]s
		port = 1812
	}
	listen {
		type = acct
		ipaddr = %[2]s
		port = 1813
	}
	authorize {
		files
		chap
		pap
	}
	authenticate {
		Auth-Type PAP {
			pap
		}
		Auth-Type CHAP {
			chap
		}
	}
	accounting {
		detail
	}
}
`

// freeradius is one RADIUS server of a site: number 1 or 2.
func freeradius(site, number int) (*process, error) {
	name := fmt.Sprintf("freeradius-%d-%d", site, number)
	home := filepath.Join(dir, name)
	if err := os.MkdirAll(home, 0o755); err != nil {
		return nil, err
	}
	var known strings.Builder
	for i := range users {
		user := fmt.Sprintf("user-%d", i)
		account := stub.Login(user)
		fmt.Fprintf(&known, "%s Cleartext-Password := %q\n\tFramed-IP-Address = %s\n", user, account.Password, netip.AddrFrom4(account.Framed))
	}
	for file, text := range map[string]string{
		"radiusd.conf": fmt.Sprintf(radiusdConfig, home, server(site, 20+number), serverSecret),
		"dictionary":   "$INCLUDE /usr/share/freeradius/dictionary\n",
		"users":        known.String(),
	} {
		if err := os.WriteFile(filepath.Join(home, file), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	p := &process{name: name, namespace: serverSpace(site), path: "freeradius", args: []string{"-f", "-l", "stdout", "-d", home, "-n", "radiusd"}}
	return p, p.start()
}

// resolverStub is a resolver that can be told to fail, in the place of a real one.
func resolverStub(site, number int) (*stub.Resolver, error) {
	var r *stub.Resolver
	err := within(serverSpace(site), func() error {
		addr, err := netip.ParseAddrPort(server(site, 10+number) + ":53")
		if err != nil {
			return err
		}
		r, err = stub.NewResolver(stub.ResolverConfig{Addr: addr})
		return err
	})
	return r, err
}
