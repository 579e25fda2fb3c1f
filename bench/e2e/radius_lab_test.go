package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sereno/bench/e2e/harness"
	"sereno/bench/stub"
)

// Last octets of the addresses that these tests give to programs of their own.
const (
	hostFull   = 30 // + number: FreeRADIUS servers with every method
	hostStub   = 40 // + number: simulated servers and hand-made ones
	hostPeer   = 60 // + number: other programs
	hostSource = 70 // + number: addresses to ask from
)

// fullConfig is a FreeRADIUS server that knows every method of login. %[1]s: address, %[2]s: what is added to the
// modules, %[3]s: to authorize and authenticate.
const fullConfig = `prefix = /usr
raddbdir = DIR
logdir = DIR
run_dir = DIR
libdir = /usr/lib/freeradius
pidfile = DIR/radiusd.pid
max_request_time = 5
cleanup_delay = 2
max_requests = 65536
hostname_lookups = no
security {
	reject_delay = 0
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
	secret = ` + harness.BackendSecret + `
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
		usersfile = DIR/users
	}
	detail {
		filename = DIR/detail
		permissions = 0600
	}
	%[2]s
}
server default {
	listen {
		type = auth
		ipaddr = %[1]s
		port = 1812
	}
	listen {
		type = acct
		ipaddr = %[1]s
		port = 1813
	}
	authorize {
		mschap
		%[3]s
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
		%[4]s
	}
	accounting {
		detail
	}
}
`

// users are the lab's subscribers in FreeRADIUS's words; the server's name is their Filter-Id.
func users(server string) string {
	var b strings.Builder
	for i := range harness.Users {
		user := fmt.Sprintf("user-%d", i)
		account := stub.Login(user)
		for _, name := range []string{user, user + "@example.net"} {
			fmt.Fprintf(&b, "%s Cleartext-Password := %q\n\tFramed-IP-Address = %s,\n\tFilter-Id = %q\n",
				name, account.Password, netip.AddrFrom4(account.Framed), server)
		}
	}
	return b.String()
}

// full starts the lab's nth FreeRADIUS server with PAP, CHAP and MS-CHAP; more are further users.
func full(lab *harness.Lab, n int, more string) *harness.FreeRADIUS {
	name, addr := fmt.Sprintf("server-%d", n), lab.Addr(byte(hostFull+n))
	return lab.FreeRADIUSWith(name, addr, map[string]string{
		"radiusd.conf": fmt.Sprintf(fullConfig, addr, "", "", ""), "users": more + users(name),
	})
}

// front is the node's configuration in the words that these tests need. Zero fields take their defaults.
type front struct {
	balance string       // hash
	servers []netip.Addr // the pool's backends: server-1, server-2, ...
	secret  string       // theirs; harness.BackendSecret
	health  string       // further keys of the pool's health
	more    string       // lines of the backends' pool
	pools   string       // further pools
	clients string       // of the service; all of 127.0.0.0/8 with harness.NASSecret
	service string       // further lines of the service
}

// Probes of these nodes: A03's bounds follow from them.
const (
	probeInterval = 500 * time.Millisecond
	probeTimeout  = 400 * time.Millisecond
	// looking is for asking the status, on a machine that is busy.
	looking = 200 * time.Millisecond
	// maxDown bounds the time from a server's death to its being down, after two bad probes, and maxUp that from its
	// return to its being up, after two good ones.
	maxDown = 2*probeInterval*11/10 + probeTimeout + looking
	maxUp   = maxDown
)

// start starts a node.
func (f front) start(lab *harness.Lab) *harness.Sereno {
	var y strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&y, format+"\n", args...) }
	secret, balance, clients := f.secret, f.balance, f.clients
	if secret == "" {
		secret = harness.BackendSecret
	}
	if balance == "" {
		balance = "hash"
	}
	if clients == "" {
		clients = fmt.Sprintf("[{name: nas, address: 127.0.0.0/8, secret: %s}]", harness.NASSecret)
	}
	line("  - name: servers")
	line("    protocol: radius")
	line("    balance: %s", balance)
	line("    health: {interval: %s, timeout: %s, slow_start: 1s%s}", probeInterval, probeTimeout, f.health)
	line("    backends:")
	for i, a := range f.servers {
		line("      - {name: server-%d, address: %s, secret: %s}", i+1, a, secret)
	}
	y.WriteString(f.more)
	y.WriteString(f.pools)
	line("radius:")
	line("  - name: pppoe")
	line("    auth: [%q]", netip.AddrPortFrom(lab.Addr(54), harness.AuthPort))
	line("    acct: [%q]", netip.AddrPortFrom(lab.Addr(54), harness.AcctPort))
	line("    pool: servers")
	line("    clients: %s", clients)
	y.WriteString(f.service)
	return lab.SerenoWith(y.String())
}

// from opens a socket on one of the lab's addresses that sends to another.
func from(t *testing.T, source netip.Addr, port uint16, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	conn, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(source, port)), net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// send sends a datagram.
func send(t *testing.T, conn *net.UDPConn, b []byte) {
	t.Helper()
	if _, err := conn.Write(b); err != nil {
		t.Fatalf("sending to %s: %v", conn.RemoteAddr(), err)
	}
}

// receive gives the next datagram within the patience, nil if there is none.
func receive(t *testing.T, conn *net.UDPConn, patience time.Duration) []byte {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	var b [4096]byte
	n, err := conn.Read(b[:])
	if err != nil {
		return nil
	}
	return b[:n]
}

// handed is how many requests a backend has got.
func handed(s *harness.Sereno, backend string) float64 {
	return s.Metrics().Sum("sereno_backend_requests_total", "backend", backend)
}

// dropped is how many requests were dropped for a reason.
func dropped(s *harness.Sereno, reason string) float64 {
	return s.Metrics().Sum("sereno_radius_drops_total", "reason", reason)
}

// addrs are the servers' addresses.
func addrs(servers ...*harness.FreeRADIUS) []netip.Addr {
	var out []netip.Addr
	for _, f := range servers {
		out = append(out, f.Addr)
	}
	return out
}
