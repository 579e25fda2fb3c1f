package servers

import (
	"fmt"
	"net/netip"
	"strings"

	"sereno/bench/stub"
)

// Users is how many subscribers every FreeRADIUS knows: user-0, user-1, ...
const Users = 200

// RADIUSDictionary is the file dictionary of every FreeRADIUS.
const RADIUSDictionary = "$INCLUDE /usr/share/freeradius/dictionary\n"

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
	reject_delay = %[8]d
	status_server = yes
	allow_core_dumps = no
}
log {
	destination = stdout
	auth = no
}
thread pool {
	start_servers = %[2]d
	max_servers = %[2]d
	min_spare_servers = 1
	max_spare_servers = %[2]d
	max_requests_per_server = 0
}
client front {
	ipaddr = %[3]s
	secret = %[4]s
	require_message_authenticator = yes
}
modules {
	pap {
	}
	chap {
	}
	mschap {
		use_mppe = yes
	}
	files {
		usersfile = %[1]s/users
	}
	detail {
		filename = %[1]s/detail
		permissions = 0600
	}
	%[9]s
}
server default {
	listen {
		type = auth
		ipaddr = %[5]s
		port = %[6]d
	}
	listen {
		type = acct
		ipaddr = %[5]s
		port = %[7]d
	}
	authorize {
		mschap
		%[10]s
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
		Auth-Type MS-CHAP {
			mschap
		}
		%[11]s
	}
	accounting {
		detail
	}
}
%[12]s`

// FreeRADIUS is one RADIUS server whose users are those of package stub, that knows PAP, CHAP and MS-CHAPv2, and that
// demands a Message-Authenticator in every Access-Request. It writes accounting to the file detail.
type FreeRADIUS struct {
	Dir        string // where its files are; its alone
	Addr       netip.Addr
	Auth, Acct uint16 // ports
	Threads    int
	Client     string // the prefix of its one client
	Secret     string // of that client

	RejectAtOnce bool   // an Access-Reject is not held back for a second
	Name         string // the Filter-Id of its answers, which makes its users known with @example.net, too; "": neither
	Users        string // more lines of the file users, before the others
	Modules      string // more modules
	Authorize    string // more lines of its sections
	Authenticate string
	Servers      string // more virtual servers
}

// Files are its files by their names in Dir.
func (f FreeRADIUS) Files() map[string]string {
	var users strings.Builder
	users.WriteString(f.Users)
	for i := range Users {
		user := fmt.Sprintf("user-%d", i)
		account := stub.Login(user)
		names, more := []string{user}, ""
		if f.Name != "" {
			names, more = append(names, user+"@example.net"), fmt.Sprintf(",\n\tFilter-Id = %q", f.Name)
		}
		for _, name := range names {
			fmt.Fprintf(&users, "%s Cleartext-Password := %q\n\tFramed-IP-Address = %s%s\n", name, account.Password, netip.AddrFrom4(account.Framed), more)
		}
	}
	delay := 1
	if f.RejectAtOnce {
		delay = 0
	}
	return map[string]string{
		"radiusd.conf": fmt.Sprintf(radiusdConfig, f.Dir, f.Threads, f.Client, f.Secret, f.Addr, f.Auth, f.Acct, delay, f.Modules, f.Authorize,
			f.Authenticate, f.Servers),
		"dictionary": RADIUSDictionary,
		"users":      users.String(),
	}
}

// Args are what freeradius is started with.
func (f FreeRADIUS) Args() []string {
	return []string{"-f", "-l", "stdout", "-d", f.Dir, "-n", "radiusd"}
}
