package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sereno/bench/e2e/harness"
)

// TestE2EAttackRandomDatagramsAreCountedAndHarmNothing throws random and truncated datagrams at every port, under load.
func TestE2EAttackRandomDatagramsAreCountedAndHarmNothing(t *testing.T) {
	lab := harness.New(t)
	s := lab.Sereno(harness.Config{
		Unbounds: []*harness.Unbound{lab.Unbound(1), lab.Unbound(2)}, Servers: []*harness.FreeRADIUS{lab.FreeRADIUS(1)},
	})
	work := dnsLoad(t, s, 500)
	query := []byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x03www\x07example\x04test\x00\x00\x01\x00\x01\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00")
	for _, to := range []netip.AddrPort{s.DNS, s.Auth, s.Acct} {
		conn, err := net.Dial("udp", to.String())
		if err != nil {
			t.Fatal(err)
		}
		random := rand.NewChaCha8([32]byte{1})
		for i := range 3000 {
			b := make([]byte, rand.IntN(1400))
			_, _ = random.Read(b) // never fails
			switch {
			case i%3 == 0:
				b = query[:rand.IntN(len(query))]
			case i%3 == 1 && len(b) >= 20:
				b[0], b[2], b[3] = byte(1+i%13), byte(len(b)>>8), byte(len(b)) // a RADIUS head that fits
			}
			if _, err := conn.Write(b); err != nil {
				t.Fatalf("sending to %s: %v", to, err)
			}
			if i%100 == 0 {
				time.Sleep(time.Millisecond) // the socket's buffer is not what is tested
			}
		}
		_ = conn.Close()
	}
	for _, to := range []netip.AddrPort{s.DNS, s.HTTP} {
		conn, err := net.Dial("tcp", to.String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte("\xff\xff\x00garbage that is neither DNS nor HTTP\r\n\r\n")) // it may close at once
		_ = conn.Close()
	}
	work.sent(lab, 500)
	work.nothingLost("random datagrams")
	s.WaitIdle()
	m := s.Metrics()
	for _, name := range []string{"sereno_dns_drops_total", "sereno_radius_drops_total"} {
		if m.Sum(name) == 0 {
			t.Errorf("%s counts nothing", name)
		}
	}
	if st := s.Status(); st.Service("resolver") != "up" {
		t.Errorf("service resolver is %s", st.Service("resolver"))
	}
}

// TestE2EAttackUnknownNASAndWrongSecretGetSilence counts each of them as a drop, and a wrong secret by client (R10).
func TestE2EAttackUnknownNASAndWrongSecretGetSilence(t *testing.T) {
	lab := harness.New(t)
	s := lab.Sereno(harness.Config{Servers: []*harness.FreeRADIUS{lab.FreeRADIUS(1), lab.FreeRADIUS(2)}})
	drops := func() float64 { return s.Metrics().Sum("sereno_radius_drops_total") }
	before := drops()
	out := radclient(lab, s.Auth, "auth", "not-the-secret", "User-Name=user-1,User-Password=pw-user-1,Message-Authenticator=0x00")
	if strings.Contains(out, "Received") || drops() == before {
		t.Errorf("a wrong secret, %g drops:\n%s", drops()-before, out)
	}
	if n := s.Metrics().Sum("sereno_radius_bad_authenticators_total", "client", "nas"); n < 1 {
		t.Errorf("%g requests are said to be of a client with another secret", n)
	}
	before = drops()
	conn, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(lab.Addr(99), 0)), net.UDPAddrFromAddrPort(s.Auth))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	packet := append([]byte{1, 7, 0, 26}, make([]byte, 22)...)
	packet[20], packet[21] = 1, 6
	for range 10 {
		if _, err := conn.Write(packet); err != nil {
			t.Fatal(err)
		}
	}
	lab.Eventually(5*time.Second, "ten datagrams of an unknown NAS are counted", func() bool { return drops() == before+10 })
	if err := conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 100)); err == nil {
		t.Errorf("an unknown NAS got %d octets", n)
	}
	s.WaitIdle()
}

// TestE2EPortInUseEndsWithAMessage has the DNS port taken by another program.
func TestE2EPortInUseEndsWithAMessage(t *testing.T) {
	lab := harness.New(t)
	s := lab.Prepare(harness.Config{Unbounds: []*harness.Unbound{lab.Unbound(1), lab.Unbound(2)}})
	other, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(s.DNS))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	s.Start()
	if code := s.Wait(20 * time.Second); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if log := s.Log(); !strings.Contains(log, s.DNS.String()) || !strings.Contains(log, "in use") {
		t.Errorf("the message does not say what is in use:\n%s", log)
	}
}

// tenMistakes has one mistake on each of ten lines.
const tenMistakes = `node: {name: lab, state_dir: %s}
admin: {socket: "", listen: nonsense}
pools:
  - name: resolvers
    protocol: gopher
    backends: [{name: one, address: not-an-address}]
    attempts: -1
    no_such_key: 1
dns:
  - name: resolver
    listen: ["127.0.0.1:99999"]
    pool: nobody
    udp_size: 3
bgp:
  asn: 64512
  router_id: nonsense
  neighbors: [{name: core, address: 127.0.0.1, asn: 64500, hold_time: 1s}]
`

// TestE2EConfigurationWithTenMistakes gets all of them told at once, each on a line with its place, by check and run.
func TestE2EConfigurationWithTenMistakes(t *testing.T) {
	lab := harness.New(t)
	binary, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(lab.Dir(), "ten.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, tenMistakes, lab.Dir()), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"check", "run"} {
		out, code := lab.Output("", binary, command, "-c", file)
		mistakes := 0
		for line := range strings.Lines(out) {
			if strings.HasPrefix(line, file+":") && strings.Contains(line, ": error: ") {
				mistakes++
			}
		}
		if code != 2 || mistakes != 10 {
			t.Errorf("%s ended with %d and told of %d mistakes:\n%s", command, code, mistakes, out)
		}
	}
}

// TestE2EO01CheckReadsOnly runs check as nobody, without a network, in a directory that it cannot write to: it says what
// would run, with exit code 0, and changes nothing.
func TestE2EO01CheckReadsOnly(t *testing.T) {
	lab := harness.New(t)
	one, two := lab.Addr(31), lab.Addr(32)
	file := lab.Write("check/sereno.yaml", fmt.Sprintf("node: {name: lab, state_dir: %s/state}\n%s", lab.Dir(),
		backendsYAML(netip.AddrPortFrom(lab.Addr(53), 53), "cache: {enabled: true}", netip.AddrPortFrom(one, 53), netip.AddrPortFrom(two, 53))))
	for path := filepath.Dir(file); len(path) > len(os.TempDir()); path = filepath.Dir(path) {
		if err := os.Chmod(path, 0o555); err != nil { //nolint:gosec // read by another user
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Chmod(lab.Dir(), 0o755); _ = os.Chmod(filepath.Dir(file), 0o755) })
	if err := os.Chmod(file, 0o444); err != nil { //nolint:gosec // likewise
		t.Fatal(err)
	}
	binary, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(binary), 0o755); err != nil { //nolint:gosec // run by another user
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "check", "-c", file)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if os.Getuid() != 0 { // an ordinary user anyhow
		cmd.SysProcAttr = nil
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "dns resolver: listens on") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(lab.Dir(), "state")); !os.IsNotExist(err) {
		t.Errorf("check made a state directory: %v", err)
	}
}
