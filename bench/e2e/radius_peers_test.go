package e2e

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sereno/bench/e2e/harness"
	"sereno/bench/internal/radpkt"
	"sereno/bench/stub"
)

const radsecproxyConfig = `ListenUDP %[1]s:1812
ListenUDP %[1]s:1813
SourceUDP %[1]s
LogLevel 3
Client nas {
	host 127.0.0.0/8
	type udp
	secret inner-secret
}
Server front {
	host %[2]s
	port %[3]d
	type udp
	secret %[5]s
}
Server front-acct {
	host %[2]s
	port %[4]d
	type udp
	secret %[5]s
}
Realm * {
	server front
	accountingServer front-acct
}
`

// radsecproxy starts radsecproxy as a NAS's proxy before the node.
func radsecproxy(t *testing.T, lab *harness.Lab, s *harness.Sereno) (auth, acct netip.AddrPort) {
	t.Helper()
	addr := lab.Addr(hostPeer + 1)
	conf := lab.Write("radsecproxy.conf", fmt.Sprintf(radsecproxyConfig,
		addr, s.Auth.Addr(), s.Auth.Port(), s.Acct.Port(), harness.NASSecret))
	lab.Daemon("radsecproxy", "radsecproxy", "-f", "-c", conf)
	auth, acct = netip.AddrPortFrom(addr, 1812), netip.AddrPortFrom(addr, 1813)
	conn := from(t, lab.Addr(hostSource), 0, auth)
	lab.Eventually(5*time.Second, "radsecproxy answers", func() bool {
		_, _ = conn.Write(status(t, "inner-secret", 1, true)) // refused until it listens
		return receive(t, conn, 100*time.Millisecond) != nil
	})
	return auth, acct
}

// proxyConfig is FreeRADIUS as a proxy and nothing else: every realm goes to the node.
const proxyConfig = `prefix = /usr
raddbdir = DIR
logdir = DIR
run_dir = DIR
libdir = /usr/lib/freeradius
pidfile = DIR/radiusd.pid
max_request_time = 5
proxy_requests = yes
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
	start_servers = 2
	max_servers = 2
	min_spare_servers = 1
	max_spare_servers = 2
	max_requests_per_server = 0
}
client nas {
	ipaddr = 127.0.0.0/8
	secret = inner-secret
}
proxy server {
	default_fallback = no
}
home_server front {
	type = auth+acct
	ipaddr = %[2]s
	port = 1812
	secret = %[3]s
	src_ipaddr = %[1]s
	response_window = 5
	status_check = status-server
}
home_server_pool front {
	home_server = front
}
realm DEFAULT {
	pool = front
	nostrip
}
modules {
	always ok {
		rcode = ok
	}
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
		update control {
			Proxy-To-Realm := DEFAULT
		}
		ok
	}
	preacct {
		update control {
			Proxy-To-Realm := DEFAULT
		}
		ok
	}
}
`

// freeradiusProxy starts a FreeRADIUS proxy before the node.
func freeradiusProxy(_ *testing.T, lab *harness.Lab, s *harness.Sereno) (auth, acct netip.AddrPort) {
	addr := lab.Addr(hostPeer + 2)
	lab.FreeRADIUSWith("proxy", addr, map[string]string{"radiusd.conf": fmt.Sprintf(proxyConfig, addr, s.Auth.Addr(), harness.NASSecret)})
	return netip.AddrPortFrom(addr, 1812), netip.AddrPortFrom(addr, 1813)
}

// TestE2ERADIUSR13OldPeersAreServed has peers from before 2024: FreeRADIUS 3.2.1 behind us, whose replies have no
// Message-Authenticator, and before us radclient and radsecproxy 1.9.2, whose requests have none, and FreeRADIUS 3.2.1
// as a proxy, which adds its Proxy-State. Under `auto` all are served; and what comes back to them is signed.
func TestE2ERADIUSR13OldPeersAreServed(t *testing.T) {
	lab := harness.New(t)
	one, two := full(lab, 1, methodUsers), full(lab, 2, methodUsers)
	s := front{servers: addrs(one, two)}.start(lab)
	type peer struct {
		name       string
		auth, acct netip.AddrPort
		secret     string
	}
	peers := []peer{{name: "radclient", auth: s.Auth, acct: s.Acct, secret: harness.NASSecret}}
	for name, start := range map[string]func(*testing.T, *harness.Lab, *harness.Sereno) (netip.AddrPort, netip.AddrPort){"radsecproxy": radsecproxy, "freeradius": freeradiusProxy} {
		auth, acct := start(t, lab, s)
		peers = append(peers, peer{name, auth, acct, "inner-secret"})
	}
	for _, p := range peers {
		for i := range 4 {
			user := fmt.Sprintf("user-%d", i)
			line := fmt.Sprintf("User-Name=%s,Calling-Station-Id=line-%d", user, i)
			for method, password := range map[string]string{"User-Password": stub.Login(user).Password, "CHAP-Password": stub.Login(user).Password, "MS-CHAP-Password": stub.Login(user).Password} {
				out := radclient(lab, p.auth, "auth", p.secret, line+","+method+"="+password)
				if !strings.Contains(out, "Received Access-Accept") || !strings.Contains(out, "Framed-IP-Address") {
					t.Errorf("%s through %s:\n%s", method, p.name, out)
				}
			}
			if out := radclient(lab, p.auth, "auth", p.secret, line+",User-Password=wrong"); !strings.Contains(out, "Received Access-Reject") {
				t.Errorf("a wrong password through %s:\n%s", p.name, out)
			}
			out := radclient(lab, p.acct, "acct", p.secret, line+",Acct-Status-Type=Start,Acct-Session-Id="+p.name+"-"+user)
			if !strings.Contains(out, "Received Accounting-Response") {
				t.Errorf("accounting through %s:\n%s", p.name, out)
			}
		}
	}
	a, b := one.Detail(), two.Detail()
	for _, p := range peers {
		for i := range 4 {
			r := stub.Record{Session: fmt.Sprintf("%s-user-%d", p.name, i), Status: stub.AcctStart}
			if a[r]+b[r] != 1 {
				t.Errorf("%v is %d times in the detail files", r, a[r]+b[r])
			}
		}
	}
	conn := from(t, lab.Addr(hostSource), 0, s.Auth)
	request := login(t, harness.NASSecret, 1, "user-1", false)
	send(t, conn, request)
	reply := receive(t, conn, 3*time.Second)
	if reply == nil {
		t.Fatal("no answer without a Message-Authenticator")
	}
	if err := radpkt.NewKeyer([]byte(harness.NASSecret)).CheckReply(reply, [16]byte(request[4:20]), true); err != nil || reply[20] != radpkt.MessageAuthenticator {
		t.Errorf("the answer's first attribute is %d, %v", reply[20], err)
	}
	// All but what comes through FreeRADIUS: as a proxy it signs, also in that version.
	if n := s.Metrics().Sum("sereno_radius_unsigned_total", "client", "nas"); n < 33 {
		t.Errorf("%g unsigned requests are counted", n)
	}
	s.WaitIdle()
}

// TestE2EAttackRADIUSR13AutoNeverDowngrades has an address that signed once, and then a packet without a
// Message-Authenticator from it: dropped and counted, while other addresses of the same client go on without; and a
// client that must always sign.
func TestE2EAttackRADIUSR13AutoNeverDowngrades(t *testing.T) {
	lab := harness.New(t)
	strict := lab.Addr(hostSource + 5)
	s := front{
		servers: addrs(full(lab, 1, "")),
		clients: fmt.Sprintf("[{name: nas, address: 127.0.0.0/8, secret: %s}, {name: strict, address: %s, secret: %s, message_authenticator: require}]",
			harness.NASSecret, strict, harness.NASSecret),
	}.start(lab)
	state := radpkt.Attr(nil, radpkt.ProxyState, []byte("a proxy"))
	for i, c := range []struct {
		from   int
		signed bool
		state  bool
		want   bool
		why    string
	}{
		{0, false, false, true, "a NAS that has never signed"},
		{1, true, false, true, "a NAS that signs"},
		{1, false, false, false, "the same without"},
		{1, false, true, false, "the same without, behind a proxy of its own"},
		{1, true, true, true, "the same with"},
		{0, false, false, true, "the first again"},
		{0, false, true, false, "the first, which was no proxy, with Proxy-State"},
		{2, false, true, true, "a proxy that has never signed"},
		{2, false, true, true, "again"},
		{5, false, false, false, "a client that must sign, without"},
		{5, true, false, true, "a client that must sign, with"},
	} {
		conn := from(t, lab.Addr(byte(hostSource+c.from)), 0, s.Auth)
		var more [][]byte
		if c.state {
			more = append(more, state)
		}
		send(t, conn, login(t, harness.NASSecret, byte(i), "user-1", c.signed, more...))
		patience := 300 * time.Millisecond
		if c.want {
			patience = 3 * time.Second
		}
		reply := receive(t, conn, patience)
		if c.want != (reply != nil) {
			t.Errorf("%s: answered %v", c.why, reply != nil)
		}
		if reply != nil && (reply[0] != radpkt.AccessAccept || c.state != (string(radpkt.Find(reply, radpkt.ProxyState)) == "a proxy")) {
			t.Errorf("%s: %x", c.why, reply)
		}
	}
	if n := dropped(s, "unsigned"); n != 4 {
		t.Errorf("%g drops for a missing Message-Authenticator", n)
	}
	s.WaitIdle()
	// What was learnt outlives a restart.
	s.Signal(syscall.SIGTERM)
	if code := s.Wait(10 * time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
	s.Start()
	s.WaitReady()
	for source, want := range []bool{true, false} {
		conn := from(t, lab.Addr(byte(hostSource+source)), 0, s.Auth)
		send(t, conn, login(t, harness.NASSecret, 1, "user-1", false))
		if reply := receive(t, conn, 500*time.Millisecond); want != (reply != nil) {
			t.Errorf("after a restart, unsigned from address %d: answered %v", source, reply != nil)
		}
	}
	// The one that signed was replaced by an older one, and the operator says so.
	binary, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	if out, code := lab.Output("", binary, "forget", "pppoe", lab.Addr(hostSource+1).String(), "--socket", filepath.Join(lab.Dir(), "admin.sock")); code != 0 {
		t.Errorf("forget ended with %d:\n%s", code, out)
	}
	conn := from(t, lab.Addr(hostSource+1), 0, s.Auth)
	send(t, conn, login(t, harness.NASSecret, 2, "user-1", false))
	if receive(t, conn, 3*time.Second) == nil {
		t.Error("no answer to the address that was forgotten")
	}
	s.WaitIdle()
}

const behindConfig = `ListenUDP %[1]s:1812
ListenUDP %[1]s:1813
SourceUDP %[1]s
LogLevel 3
Client front {
	host 127.0.0.0/8
	type udp
	secret %[3]s
}
Server server {
	host %[2]s
	port 1812
	type udp
	secret %[3]s
}
Server server-acct {
	host %[2]s
	port 1813
	type udp
	secret %[3]s
}
Realm * {
	server server
	accountingServer server-acct
}
`

// TestE2ERADIUSR13RadsecproxyAsABackend has radsecproxy 1.9.2 between the node and the server. It answers Status-Server
// itself, with an Access-Accept on its accounting port too, and its answers have no Message-Authenticator without EAP.
func TestE2ERADIUSR13RadsecproxyAsABackend(t *testing.T) {
	lab := harness.New(t)
	pki(t, lab)
	server, addr := eapServer(lab, 1), lab.Addr(hostPeer+4)
	lab.Daemon("radsecproxy", "radsecproxy", "-f", "-c", lab.Write("behind.conf", fmt.Sprintf(behindConfig, addr, server.Addr, harness.BackendSecret)))
	s := front{servers: []netip.Addr{addr}}.start(lab)
	for i := range 4 {
		user := fmt.Sprintf("user-%d", i)
		for _, method := range []string{"User-Password", "CHAP-Password", "MS-CHAP-Password"} {
			out := radclient(lab, s.Auth, "auth", harness.NASSecret, "User-Name="+user+","+method+"=pw-"+user+",Message-Authenticator=0x00")
			if !strings.Contains(out, "Received Access-Accept") {
				t.Errorf("%s through radsecproxy:\n%s", method, out)
			}
		}
		out := radclient(lab, s.Acct, "acct", harness.NASSecret, "User-Name="+user+",Acct-Status-Type=Start,Acct-Session-Id="+user)
		if !strings.Contains(out, "Received Accounting-Response") {
			t.Errorf("accounting through radsecproxy:\n%s", out)
		}
	}
	everyMethod(t, lab, s, 4)
	s.WaitIdle()
}
