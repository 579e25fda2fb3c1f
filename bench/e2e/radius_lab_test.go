package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sereno/bench/e2e/harness"
	"sereno/bench/internal/servers"
)

// Last octets of the addresses that these tests give to programs of their own.
const (
	hostFull   = 30 // + number: FreeRADIUS servers with every method
	hostStub   = 40 // + number: simulated servers and hand-made ones
	hostPeer   = 60 // + number: other programs
	hostSource = 70 // + number: addresses to ask from
)

// full starts the lab's nth FreeRADIUS server with PAP, CHAP and MS-CHAP; more are further users.
func full(lab *harness.Lab, n int, more string) *harness.FreeRADIUS {
	name := fmt.Sprintf("server-%d", n)
	return lab.FreeRADIUSAs(name, servers.FreeRADIUS{Addr: lab.Addr(byte(hostFull + n)), Name: name, Users: more, RejectAtOnce: true})
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
