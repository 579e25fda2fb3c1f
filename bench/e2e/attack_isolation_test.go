package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sereno/bench/e2e/harness"
	"sereno/bench/internal/radpkt"
	"sereno/bench/load"
	"sereno/bench/stub"
)

// isolated is a node with both halves, whose state is on a disk of its own.
type isolated struct {
	watched
	disk   string
	router *harness.BIRD
	third  *stub.Resolver // behind a service of its own, whose route goes when it does
	stored netip.AddrPort // a service whose servers are dead and whose spool is small
	synced netip.AddrPort // one that answers when a record is on the disk
}

// otherPrefix is announced while the third resolver is up.
const otherPrefix = "192.0.2.99/32"

// smallDisk is a file system of its own, on a loop device.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	image, disk := filepath.Join(dir, "image"), filepath.Join(dir, "disk")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 48<<20); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{{"mkfs.ext4", "-q", image}, {"mount", "-o", "loop", image, disk}} {
		path := command[0]
		if found, err := exec.LookPath("/usr/sbin/" + path); err == nil {
			path = found
		}
		if out, err := exec.Command(path, command[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s(a disk that hangs takes root and a loop device)", command, err, out)
		}
	}
	t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
	return disk
}

// freeze has everything that writes to the disk wait until thaw is called, or the test ends, or half a minute is over.
func freeze(t *testing.T, disk string) (thaw func()) {
	t.Helper()
	const fifreeze, fithaw = 0xc0045877, 0xc0045878
	dir, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetInt(int(dir.Fd()), fifreeze, 0); err != nil {
		t.Fatalf("freezing %s: %v", disk, err)
	}
	var once sync.Once
	thaw = func() {
		once.Do(func() {
			if err := unix.IoctlSetInt(int(dir.Fd()), fithaw, 0); err != nil {
				t.Errorf("thawing %s: %v", disk, err)
			}
			_ = dir.Close()
		})
	}
	guard := time.AfterFunc(30*time.Second, thaw)
	t.Cleanup(func() { guard.Stop(); thaw() })
	return thaw
}

// newIsolated starts all of it; the node's program may be another.
func newIsolated(t *testing.T, program string) *isolated {
	t.Helper()
	disk := smallDisk(t) // first, so that it goes last
	lab := harness.New(t)
	i := &isolated{watched: watched{t: t, lab: lab}, disk: disk, router: lab.BIRD(false),
		stored: netip.AddrPortFrom(lab.Addr(61), harness.AcctPort), synced: netip.AddrPortFrom(lab.Addr(62), harness.AcctPort)}
	one, two := lab.Unbound(1), lab.Unbound(2)
	first, second := lab.FreeRADIUS(1), lab.FreeRADIUS(2)
	third, err := stub.NewResolver(stub.ResolverConfig{Addr: netip.AddrPortFrom(lab.Addr(hostSilent), harness.DNSPort)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = third.Close() })
	i.third = third
	s := lab.Prepare(harness.Config{})
	i.s = s
	clients := fmt.Sprintf("clients: [{name: nas, address: 127.0.0.0/8, secret: %s}]", harness.NASSecret)
	text := fmt.Sprintf(`node: {name: lab, state_dir: %s/state}
admin: {socket: %s/admin.sock, listen: %q}
pools:
  - {name: resolvers, protocol: dns, health: {interval: 500ms, timeout: 400ms, slow_start: 1s}, backends: [{name: unbound-1, address: %q}, {name: unbound-2, address: %q}]}
  - {name: third, protocol: dns, health: {interval: 500ms, timeout: 250ms}, backends: [{name: third, address: %q}]}
`, disk, lab.Dir(), s.HTTP, one.Addr, two.Addr, third.Addr()) + fmt.Sprintf(`  - name: servers
    protocol: radius
    health: {interval: 1s, timeout: 900ms, slow_start: 1s}
    backends: [{name: one, address: %[1]s, secret: %[3]s}, {name: two, address: %[2]s, secret: %[3]s}]
  - {name: dead, protocol: radius, health: {interval: 500ms, timeout: 250ms}, backends: [{name: dead, address: %[4]s, secret: %[3]s}]}
`, first.Addr, second.Addr, harness.BackendSecret, lab.Addr(63)) + fmt.Sprintf(`dns:
  - {name: resolver, listen: [%q], pool: resolvers}
  - {name: other, listen: [%q], pool: third}
radius:
  - {name: pppoe, auth: [%q], acct: [%q], pool: servers, %[5]s}
  - {name: stored, acct: [%[6]q], pool: dead, accounting: {spool_max: 1MiB}, %[5]s}
  - {name: synced, acct: [%[7]q], pool: servers, accounting: {ack: after-spool, spool_max: 8MiB}, %[5]s}
`, s.DNS, netip.AddrPortFrom(lab.Addr(64), harness.DNSPort), s.Auth, s.Acct, clients, i.stored, i.synced) + fmt.Sprintf(`bgp: {asn: %d, router_id: 10.255.0.1, neighbors: [{name: bird, address: %s, asn: %d, port: %d, source: %s, connect_retry: 1s}]}
anycast:
  - {name: other-vip, prefixes: [%s], requires: [other], announce_after: 1s, drain_time: 1s}
`, harness.NodeASN, i.router.Addr, harness.RouterASN, harness.BGPPort, lab.Addr(1), otherPrefix)
	if err := os.WriteFile(s.ConfigFile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if program != "" {
		s.Replace(program)
	}
	s.Start()
	lab.Eventually(20*time.Second, "the node serves", func() bool {
		if !s.Running() {
			t.Fatal("the node has ended")
		}
		code, _ := i.get("/healthz")
		return code == http.StatusOK
	})
	lab.Eventually(20*time.Second, "its services are up", func() bool {
		st := s.Status()
		return st.Service("resolver") == "up" && st.Service("pppoe") == "up" && st.Service("synced") == "up" && st.Service("other") == "up"
	})
	i.router.Watch().Until(otherPrefix, true, 20*time.Second)
	i.askDNS()
	i.logIn()
	i.quiet()
	return i
}

// get asks the API, and gives how long it took too.
func (i *isolated) get(path string) (code int, took time.Duration) {
	began := time.Now()
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	reply, err := client.Get("http://" + i.s.HTTP.String() + path)
	if err != nil {
		return 0, time.Since(began)
	}
	defer reply.Body.Close()
	_, _ = io.Copy(io.Discard, reply.Body)
	return reply.StatusCode, time.Since(began)
}

// accounts sends records to one service for the time of an attack; they need not be answered.
func (i *isolated) accounts(t *testing.T, to netip.AddrPort, rate float64) load.Books {
	t.Helper()
	c := load.RADIUSConfig{Targets: []load.RADIUSTarget{{Auth: to, Acct: to}}, Secret: []byte(harness.NASSecret), Acct: 1, NAS: "many"}
	c.Rate, c.Limit, c.Timeout = rate, uint64(rate*attackTime().Seconds()), time.Second
	r, err := load.NewRADIUS(c)
	if err != nil {
		t.Fatal(err)
	}
	b, err := r.Run(t.Context())
	if err != nil {
		t.Error(err)
	}
	t.Logf("records to %s: %s", to, &b)
	return b
}

// TestE2EAttackO33Isolation has one half of a node fail, and the other must not notice: a disk that hangs, a spool that
// is full, clients of the API that are slow and many.
func TestE2EAttackO33Isolation(t *testing.T) {
	i := newIsolated(t, "")
	for _, part := range []struct {
		name string
		play func(*testing.T)
	}{
		{"O33 a full spool", i.fullSpool},
		{"O33 slow clients of the API", i.slowAPI},
		{"O33 a disk that hangs", i.stuckDisk},
	} {
		t.Run(part.name, func(t *testing.T) { i.under(t, func() { part.play(t) }) })
	}
	i.farewell()
}

// fullSpool fills the spool of a service whose servers are dead, and goes on.
func (i *isolated) fullSpool(t *testing.T) {
	reply := i.account(i.stored, 1, 2*time.Second) // it stores
	if reply == nil {
		t.Error("a record that no server answers is not acknowledged")
	}
	full := func() float64 { return dropped(i.s, "spool-full") }
	i.lab.Eventually(60*time.Second, "the spool is full", func() bool {
		i.accounts(t, i.stored, 4000)
		return full() > 0
	})
	before := full()
	b := i.accounts(t, i.stored, 1000)
	i.lab.Eventually(10*time.Second, "what a full spool does not take is counted", func() bool { return full()-before >= float64(b.Sent)/2 })
	if n := i.s.Metrics().Sum("sereno_alarms"); n == 0 {
		t.Error("no alarm")
	}
}

// account sends one record and gives its answer.
func (i *isolated) account(to netip.AddrPort, n int, patience time.Duration) []byte {
	i.t.Helper()
	conn := from(i.t, i.lab.Addr(hostSource), 0, to)
	defer conn.Close()
	p := radpkt.AttrUint32(radpkt.Start(nil, radpkt.AccountingRequest, byte(n)), radpkt.AcctStatusType, 1)
	p = radpkt.AttrString(radpkt.AttrString(p, radpkt.UserName, "user-1"), radpkt.AcctSessionID, fmt.Sprint("isolated-", n))
	radpkt.NewKeyer([]byte(harness.NASSecret)).SignRequest(p, [16]byte{})
	send(i.t, conn, p)
	return receive(i.t, conn, patience)
}

// slowAPI has clients of the API that ask and do not read, that never end their request, and that ask without a pause.
func (i *isolated) slowAPI(t *testing.T) {
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	host := "Host: " + i.s.HTTP.String() + "\r\n"
	for n := range 100 {
		c, err := net.Dial("tcp", i.s.HTTP.String())
		if err != nil {
			continue
		}
		conns = append(conns, c)
		_ = c.(*net.TCPConn).SetReadBuffer(4096)
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = io.WriteString(c, []string{ // it may have turned us away
			"G", "GET /api/v1/status HTTP/1.1\r\nX: ", strings.Repeat("GET /metrics HTTP/1.1\r\n"+host+"\r\n", 20),
			"GET /api/v1/events HTTP/1.1\r\n" + host + "\r\n",
		}[n%4])
	}
	var asked atomic.Int64
	var done sync.WaitGroup
	end := time.Now().Add(attackTime())
	socket := filepath.Join(i.lab.Dir(), "admin.sock")
	for n := range 2 {
		done.Go(func() {
			for time.Now().Before(end) {
				c, err := net.Dial("unix", socket)
				if err != nil {
					continue
				}
				_ = c.SetDeadline(time.Now().Add(5 * time.Second))
				path := []string{"/metrics", "/api/v1/status"}[n]
				_, _ = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path)
				if reply, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil && reply.StatusCode == http.StatusOK {
					_, _ = io.Copy(io.Discard, reply.Body)
					asked.Add(1)
				}
				_ = c.Close()
			}
		})
	}
	done.Wait()
	t.Logf("%d connections, and %d answers to who asks without a pause", len(conns), asked.Load())
	if asked.Load() == 0 {
		t.Error("an operator gets no answer of the API")
	}
}

// stuckDisk has every write to state_dir wait: the books of availability, what was learnt, the spools. The spool
// acknowledges nothing; records that were to be on the disk first go to the servers once it is known that it hangs, and
// that stands in an alarm. All else goes on: answers, the API, verdicts, routes.
func (i *isolated) stuckDisk(t *testing.T) {
	if reply := i.account(i.synced, 2, 3*time.Second); reply == nil {
		t.Error("a record is not acknowledged by a disk that works")
	}
	stored := func() float64 {
		return i.s.Metrics().Sum("sereno_radius_answers_total", "service", "synced", "source", "spool")
	}
	before := stored()
	thaw := freeze(t, i.disk)
	defer thaw()
	var done sync.WaitGroup
	done.Go(func() {
		i.accounts(t, i.synced, 200)
		session := 10 // a new one each time: what waits for the disk is not overtaken
		i.lab.Eventually(20*time.Second, "records go to the servers", func() bool {
			session++
			return i.account(i.synced, session, time.Second) != nil
		})
		if n := stored() - before; n > 0 {
			t.Errorf("%v records are acknowledged that cannot be on the disk", n)
		}
		i.lab.Eventually(10*time.Second, "the alarm", func() bool { return i.s.Metrics().Sum("sereno_alarms", "alarm", "spool-disk") > 0 })
	})
	defer done.Wait()
	for _, path := range []string{"/healthz", "/metrics", "/api/v1/status", "/api/v1/availability"} {
		if code, took := i.get(path); code != http.StatusOK || took > 2*time.Second {
			t.Errorf("%s: %d after %s", path, code, took)
		}
	}
	watch := i.router.Watch()
	set(t, i.third, stub.Mode{Fault: stub.Closed})
	began := time.Now()
	watch.Until(otherPrefix, false, 20*time.Second)
	t.Logf("the route of the service whose resolver died is gone after %s", time.Since(began).Round(time.Millisecond))
	if took := time.Since(began); took > harness.MaxWithdrawDNS+time.Second {
		t.Errorf("a route waits for the disk: %s", took)
	}
	for range 6 { // by now the books wait for the disk: whoever asks for them takes nobody else's turn
		if code, took := i.get("/api/v1/availability"); code != http.StatusInternalServerError || took > 5*time.Second {
			t.Errorf("the books, of a disk that hangs: %d after %s", code, took)
		}
	}
	for _, path := range []string{"/metrics", "/api/v1/status"} {
		if code, took := i.get(path); code != http.StatusOK || took > 2*time.Second {
			t.Errorf("%s: %d after %s", path, code, took)
		}
	}
	set(t, i.third, stub.Mode{})
	watch.Until(otherPrefix, true, 20*time.Second)
	done.Wait()
	thaw()
	i.lab.Eventually(10*time.Second, "records are acknowledged again", func() bool { return i.account(i.synced, 3, time.Second) != nil })
}

// faultyProgram is the node's program with a fault: packets with the word panic, in DNS and in RADIUS.
func faultyProgram(t *testing.T, lab *harness.Lab) string {
	t.Helper()
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range []struct{ dir, file, before, call string }{
		{"proxy/dnsfront", "serve.go", "t.a.take(q, transport", "fault(m)"},
		{"proxy/radiusfront", "request.go", "if code != l.code {", "fault(p)"},
	} {
		path := filepath.Join(root, fault.dir, fault.file)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(string(text), fault.before) != 1 {
			t.Fatalf("%s has no single %q any more: another place for the fault is needed", path, fault.before)
		}
		changed := strings.Replace(string(text), fault.before, fault.call+"\n\t"+fault.before, 1)
		overlay.Replace[path] = lab.Write(filepath.Join("faulty", fault.dir, fault.file), changed)
		overlay.Replace[filepath.Join(root, fault.dir, "faulty.go")] = lab.Write(filepath.Join("faulty", fault.dir, "faulty.go"), fmt.Sprintf(
			"package %s\n\nimport \"bytes\"\n\nfunc fault(b []byte) {\n\tif bytes.Contains(b, []byte(\"panic\")) {\n\t\tpanic(\"as it was asked for\")\n\t}\n}\n", filepath.Base(fault.dir)))
	}
	b, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(lab.Dir(), "faulty", "sereno")
	out, err := exec.Command("go", "build", "-overlay", lab.Write("overlay.json", string(b)), "-o", program, "sereno/cmd/sereno").CombinedOutput()
	if err != nil {
		t.Fatalf("building a faulty node: %v\n%s", err, out)
	}
	return program
}

// TestE2EAttackO33Panics has a node whose code has a fault, in one half and then in the other, and somebody who has
// found it and sends hundreds of such packets a second. Each costs itself, is counted, and the log grows slowly.
func TestE2EAttackO33Panics(t *testing.T) {
	i := newIsolated(t, faultyProgram(t, harness.New(t)))
	i.faulty = true
	panics := func(service string) float64 { return i.s.Metrics().Sum("sereno_panics_total", "service", service) }
	for _, half := range []struct {
		service string
		to      netip.AddrPort
		packet  func() []byte
	}{
		{"pppoe", i.s.Auth, func() []byte { return login(t, harness.NASSecret, 1, "panic", true) }},
		{"resolver", i.s.DNS, func() []byte {
			return (&question{name: wire("panic.example.test."), class: 1, typ: 1, flags: flagRD}).message(1)
		}},
	} {
		t.Run("O33 "+half.service, func(t *testing.T) {
			i.under(t, func() {
				conn := from(t, i.lab.Addr(hostSource), 0, half.to)
				before, log, n := panics(half.service), len(i.s.Log()), 0.0
				for end := time.Now().Add(attackTime()); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
					for range 5 {
						send(t, conn, half.packet())
						n++
					}
				}
				i.lab.Eventually(10*time.Second, "each is counted", func() bool { return panics(half.service)-before == n })
				if grown := len(i.s.Log()) - log; grown > 64<<10 || grown == 0 {
					t.Errorf("%g panics make %d octets of log", n, grown)
				}
				if receive(t, conn, 50*time.Millisecond) != nil {
					t.Error("a packet that costs itself is answered")
				}
			})
		})
	}
	i.farewell()
}
