package speaker

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The tests with real BIRD 2 and FRR run under SERENO_E2E=1, where a missing
// program is a failure. They need no root: the routers listen on loopback
// addresses and ports of their own.

// needE2E leaves out a test that needs real programs, or much time, where nobody asked for it. A file with such tests says
// SERENO_E2E in a comment: CI finds by it what to run so.
func needE2E(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("SERENO_E2E") == "" {
		t.Skipf("left out without SERENO_E2E=1: %s", what)
	}
}

// link is one session as both ends must know it.
type link struct {
	router, node netip.Addr // different ones, as routers tell peers apart by address
	routerASN    uint32
	nodeASN      uint32
	password     string
	gtsm         bool
	multihop     int // most hops; 0: a direct neighbor
	holdTime     int // proposed by the router, in seconds
	ipv6Routes   bool
	export       bool // the router sends its routes to the node
	static       string
	others       []netip.Addr // more nodes with sessions of the same kind
	zebra        bool         // FRR with zebra, which resolves next hops
	nodePort     uint16       // where the router dials to; 0: it only listens
}

// nextHop is for FRR, which calls a next hop on the loopback martian.
func (b *bird) nextHop() string { return "" }
func (f *frr) nextHop() string {
	if f.family == "ipv6" {
		return "2001:db8:9::9"
	}
	return "10.9.9.9"
}

func plainLink() link {
	return link{router: netip.MustParseAddr("127.0.0.1"), node: netip.MustParseAddr("127.0.0.2"), routerASN: 64500, nodeASN: 64512, holdTime: 90}
}

func program(t testing.TB, names ...string) string {
	t.Helper()
	for _, n := range names {
		if p, err := exec.LookPath(n); err == nil {
			return p
		}
	}
	t.Fatalf("%s is not installed", names[0])
	return ""
}

// daemon starts a program that ends with the test and shows its log if it failed.
func daemon(t testing.TB, log string, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // killed
		if t.Failed() {
			b, _ := os.ReadFile(log)
			t.Logf("%s said: %s\n%s", name, out.String(), b)
		}
	})
	return cmd
}

func listening(a netip.AddrPort) bool {
	// Binding tells without a connection, which a router would count.
	l, err := net.Listen("tcp", a.String())
	if err != nil {
		return true
	}
	l.Close()
	return false
}

// bird is a real BIRD 2, asked over its control socket.
type bird struct {
	at   netip.AddrPort
	cmd  *exec.Cmd
	conn net.Conn
	in   *bufio.Reader
}

func startBIRD(t testing.TB, l link) *bird {
	t.Helper()
	dir := t.TempDir()
	port, err := freePort(l.router)
	if err != nil {
		t.Fatal(err)
	}
	var options, channel strings.Builder
	if l.password != "" {
		fmt.Fprintf(&options, "  password %q;\n", l.password)
	}
	if l.gtsm {
		options.WriteString("  ttl security yes;\n")
	}
	export := "none"
	if l.export {
		export = "all"
	}
	family := "ipv4"
	if l.ipv6Routes {
		family = "ipv6"
	}
	fmt.Fprintf(&channel, "  %s { import all; export %s; };\n", family, export)
	dial := ""
	if l.nodePort == 0 {
		options.WriteString("  passive yes;\n")
	} else {
		dial = fmt.Sprintf("port %d", l.nodePort)
		options.WriteString("  connect delay time 1; connect retry time 1;\n")
	}
	var conf strings.Builder
	fmt.Fprintf(&conf, "log \"%s/log\" all;\nrouter id 10.0.0.1;\nprotocol device {}\n%s\n", dir, l.static)
	for i, node := range append([]netip.Addr{l.node}, l.others...) {
		name := "core"
		if i > 0 {
			name = fmt.Sprintf("core%d", i+1)
		}
		fmt.Fprintf(&conf, `protocol bgp %s {
  local %s port %d as %d;
  neighbor %s %s as %d;
  hold time %d;
  multihop %d;
  strict bind yes;
%s%s}
`, name, l.router, port, l.routerASN, node, dial, l.nodeASN, l.holdTime, max(1, l.multihop), options.String(), channel.String())
	}
	file, socket := filepath.Join(dir, "bird.conf"), filepath.Join(dir, "ctl")
	if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	b := &bird{at: netip.AddrPortFrom(l.router, port)}
	b.cmd = daemon(t, filepath.Join(dir, "log"), program(t, "bird", "/usr/sbin/bird"), "-f", "-c", file, "-s", socket, "-P", filepath.Join(dir, "pid"))
	eventually(t, 10*time.Second, "bird's control socket", func() bool {
		b.conn, err = net.Dial("unix", socket)
		return err == nil
	})
	t.Cleanup(func() { b.conn.Close() })
	b.in = bufio.NewReader(b.conn)
	b.reply(t)
	eventually(t, 10*time.Second, "bird listening", func() bool { return listening(b.at) })
	return b
}

func (b *bird) address() netip.AddrPort { return b.at }

// reply reads up to the line that ends a reply: a code and a blank.
func (b *bird) reply(t testing.TB) string {
	var out strings.Builder
	for {
		line, err := b.in.ReadString('\n')
		if err != nil {
			t.Fatalf("bird: %v", err)
		}
		out.WriteString(line)
		if len(line) > 4 && line[4] == ' ' && line[0] >= '0' && line[0] <= '9' {
			return out.String()
		}
	}
}

func (b *bird) ask(t testing.TB, command string) string {
	if _, err := fmt.Fprintln(b.conn, command); err != nil {
		t.Fatalf("bird: %v", err)
	}
	return b.reply(t)
}

// has is the route's attributes with BIRD's names, on one line.
func (b *bird) has(t testing.TB, prefix string) string {
	s := b.ask(t, "show route "+prefix+" protocol core all")
	if !strings.Contains(s, "BGP.as_path") {
		return ""
	}
	return strings.Join(strings.Fields(s), " ")
}

func (b *bird) wantAnnounced(prefix string) []string {
	return []string{"BGP.as_path: 64512 ", "BGP.med: 7", "BGP.next_hop: 127.0.0.2", "(65535,65281)", "(64500,100)", "(64500, 1, 2)", "(64512, 1, 1)"}
}

func (b *bird) wantDemoted() []string {
	return []string{"BGP.as_path: 64512 64512 64512 64512", "BGP.med: 1000", "(65535,0)", "(64512, 2, 1)"}
}

// frr is a real FRR bgpd, asked over its vty socket. Without zebra it resolves
// no next hop, but takes the routes.
type frr struct {
	at     netip.AddrPort
	family string
	conn   net.Conn
	in     *bufio.Reader
}

func startFRR(t testing.TB, l link) *frr {
	t.Helper()
	dir := t.TempDir()
	port, err := freePort(l.router)
	if err != nil {
		t.Fatal(err)
	}
	f := &frr{at: netip.AddrPortFrom(l.router, port), family: "ipv4"}
	if l.ipv6Routes {
		f.family = "ipv6"
	}
	var nodes, activate strings.Builder
	for _, node := range append([]netip.Addr{l.node}, l.others...) {
		option := ""
		if l.password != "" {
			option = fmt.Sprintf(" neighbor %s password %s\n", node, l.password)
		}
		if l.gtsm {
			option += fmt.Sprintf(" neighbor %s ttl-security hops 1\n", node)
		} else if l.multihop > 0 {
			option += fmt.Sprintf(" neighbor %s ebgp-multihop %d\n", node, l.multihop)
		} else if l.routerASN != l.nodeASN {
			option += fmt.Sprintf(" neighbor %s disable-connected-check\n", node)
		}
		fmt.Fprintf(&nodes, " neighbor %s remote-as %d\n neighbor %s passive\n neighbor %s update-source %s\n neighbor %s timers 30 %d\n%s",
			node, l.nodeASN, node, node, l.router, node, l.holdTime, option)
		fmt.Fprintf(&activate, "  neighbor %s activate\n  neighbor %s soft-reconfiguration inbound\n", node, node)
	}
	conf := fmt.Sprintf(`log file %s/log
router bgp %d
 bgp router-id 10.0.0.1
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
%s address-family %s unicast
%s exit-address-family
`, dir, l.routerASN, nodes.String(), f.family, activate.String())
	file := filepath.Join(dir, "bgpd.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	zserv := filepath.Join(dir, "zserv")
	args := []string{"-S", "-P", "0", "-p", fmt.Sprint(port), "-l", l.router.String(), "-f", file, "-i", filepath.Join(dir, "pid"), "--vty_socket", dir, "-z", zserv}
	if l.zebra {
		// It changes to its own user, who must be able to write here.
		if dir, err = os.MkdirTemp("", "zebra"); err == nil {
			err = os.Chmod(dir, 0o777)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		zserv = filepath.Join(dir, "zserv")
		args[len(args)-1], args[len(args)-3] = zserv, dir
		zconf := filepath.Join(dir, "zebra.conf")
		if err := os.WriteFile(zconf, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		daemon(t, "", program(t, "zebra", "/usr/lib/frr/zebra"), "-P", "0", "-f", zconf, "-i", filepath.Join(dir, "zebra.pid"), "--vty_socket", dir, "-z", zserv)
		eventually(t, 10*time.Second, "zebra's socket", func() bool { _, err := os.Stat(zserv); return err == nil })
	} else {
		args = append(args, "-Z")
	}
	daemon(t, filepath.Join(dir, "log"), program(t, "bgpd", "/usr/lib/frr/bgpd"), args...)
	eventually(t, 10*time.Second, "bgpd's vty socket", func() bool {
		f.conn, err = net.Dial("unix", filepath.Join(dir, "bgpd.vty"))
		return err == nil
	})
	t.Cleanup(func() { f.conn.Close() })
	f.in = bufio.NewReader(f.conn)
	f.ask(t, "enable")
	eventually(t, 10*time.Second, "bgpd listening", func() bool { return listening(f.at) })
	return f
}

func (f *frr) address() netip.AddrPort { return f.at }

// ask sends one command; a reply ends with three NULs and a result code.
func (f *frr) ask(t testing.TB, command string) string {
	if _, err := f.conn.Write(append([]byte(command), 0)); err != nil {
		t.Fatalf("bgpd: %v", err)
	}
	var out []byte
	for {
		b, err := f.in.ReadByte()
		if err != nil {
			t.Fatalf("bgpd: %v", err)
		}
		out = append(out, b)
		if n := len(out); n >= 4 && out[n-4] == 0 && out[n-3] == 0 && out[n-2] == 0 {
			return string(out[:n-4])
		}
	}
}

func (f *frr) has(t testing.TB, prefix string) string {
	s := f.ask(t, "show bgp "+f.family+" unicast "+prefix+" json")
	var route struct {
		Paths []json.RawMessage `json:"paths"`
	}
	if json.Unmarshal([]byte(s), &route) != nil || len(route.Paths) == 0 {
		return ""
	}
	var line bytes.Buffer
	if err := json.Compact(&line, route.Paths[0]); err != nil {
		t.Fatal(err)
	}
	return line.String()
}

func (f *frr) wantAnnounced(prefix string) []string {
	return []string{`"string":"64512"`, `"metric":7`, `"ip":"10.9.9.9"`, "no-export", "64500:100", "64500:1:2", "64512:1:1"}
}

func (f *frr) wantDemoted() []string {
	return []string{`"string":"64512 64512 64512 64512"`, `"metric":1000`, "graceful-shutdown", "64512:2:1"}
}

// realRouter is what both have.
type realRouter interface {
	neighborRouter
	wantAnnounced(prefix string) []string
	wantDemoted() []string
	nextHop() string
}

// withRouters runs a test with each real router.
func withRouters(t *testing.T, f func(t *testing.T, start func(link) realRouter)) {
	t.Run("bird", func(t *testing.T) {
		needE2E(t, "BIRD 2")
		f(t, func(l link) realRouter { return startBIRD(t, l) })
	})
	t.Run("frr", func(t *testing.T) {
		needE2E(t, "FRR")
		f(t, func(l link) realRouter { return startFRR(t, l) })
	})
}
