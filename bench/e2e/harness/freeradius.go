package harness

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sereno/bench/stub"
)

// Users is how many subscribers the lab's FreeRADIUS servers know: user-0, user-1, ...
const Users = 200

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
	start_servers = 4
	max_servers = 4
	min_spare_servers = 1
	max_spare_servers = 4
	max_requests_per_server = 0
}
client front {
	ipaddr = 127.0.0.0/8
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
		port = %[4]d
	}
	listen {
		type = acct
		ipaddr = %[2]s
		port = %[5]d
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

// FreeRADIUS is a real RADIUS server whose users are those of package stub, and that demands a
// Message-Authenticator in every Access-Request.
type FreeRADIUS struct {
	*Process
	Addr netip.Addr
	dir  string
}

// FreeRADIUS starts the lab's nth RADIUS server and waits until it answers.
func (l *Lab) FreeRADIUS(n int) *FreeRADIUS {
	l.t.Helper()
	name := numbered("freeradius", n)
	f := &FreeRADIUS{Addr: l.Addr(byte(hostServer + n)), dir: filepath.Join(l.dir, name)}
	l.write(name+"/radiusd.conf", fmt.Sprintf(radiusdConfig, f.dir, f.Addr, BackendSecret, AuthPort, AcctPort))
	l.write(name+"/dictionary", "$INCLUDE /usr/share/freeradius/dictionary\n")
	var users strings.Builder
	for i := range Users {
		user := fmt.Sprintf("user-%d", i)
		account := stub.Login(user)
		fmt.Fprintf(&users, "%s Cleartext-Password := %q\n\tFramed-IP-Address = %s\n", user, account.Password, netip.AddrFrom4(account.Framed))
	}
	l.write(name+"/users", users.String())
	f.Process = l.prepare(name, l.Program("freeradius"), "-f", "-l", "stdout", "-d", f.dir, "-n", "radiusd")
	f.Start()
	return f
}

// Start starts it (again) and waits until it is ready.
func (f *FreeRADIUS) Start() {
	f.lab.t.Helper()
	before := strings.Count(f.Log(), "Ready to process requests")
	f.start()
	f.lab.Eventually(20*time.Second, f.name+" is ready", func() bool {
		return strings.Count(f.Log(), "Ready to process requests") > before
	})
}

// Detail gives the accounting records that it has written to its detail file, and how often each.
func (f *FreeRADIUS) Detail() map[stub.Record]int {
	f.lab.t.Helper()
	file, err := os.Open(filepath.Join(f.dir, "detail"))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		f.lab.t.Fatal(err)
	}
	defer file.Close()
	status := map[string]uint32{"Start": stub.AcctStart, "Stop": stub.AcctStop, "Interim-Update": stub.AcctInterim}
	records := map[stub.Record]int{}
	var r stub.Record
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		key, value, ok := strings.Cut(strings.TrimSpace(lines.Text()), " = ")
		switch {
		case key == "Acct-Session-Id":
			r.Session = strings.Trim(value, `"`)
		case key == "Acct-Status-Type":
			r.Status = status[value]
		case !ok && key == "" && r.Session != "":
			records[r]++
			r = stub.Record{}
		}
	}
	if err := lines.Err(); err != nil {
		f.lab.t.Fatal(err)
	}
	return records
}
