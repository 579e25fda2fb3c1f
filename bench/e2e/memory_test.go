package e2e

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"sereno/bench/e2e/harness"
	"sereno/bench/internal/radpkt"
)

// memoryLimit is what the node of TestO30MemoryStaysBelowItsLimit may take, in bytes, and memoryGoal the GOMEMLIMIT that
// it would find for itself in a control group with that limit.
const (
	memoryLimit = 256 << 20
	memoryGoal  = memoryLimit / 10 * 9
)

// TestO30MemoryStaysBelowItsLimit attacks a node in every way at once, from names that no resolver answers to clients
// that take no answer. Its memory stays below the limit, since it takes off GOMEMLIMIT what its cache has outside Go's
// heap and its bounds shrink with it; who asks as one should is answered, and nothing is left when it is over.
func TestO30MemoryStaysBelowItsLimit(t *testing.T) {
	lasts := 4 * time.Second
	if whole {
		lasts = time.Minute
	}
	lab := harness.New(t)
	hole := lab.Addr(hostStub)
	for _, port := range []int{harness.DNSPort, harness.AuthPort, harness.AcctPort} { // who takes everything and answers nothing
		conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: hole.AsSlice(), Port: port})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	_, resolver := resolvers(t, lab, 1)
	overTLS, pages := netip.AddrPortFrom(lab.Addr(53), portOf(overTLS)), netip.AddrPortFrom(lab.Addr(53), portOf(overHTTPS))
	dns, auth, acct := netip.AddrPortFrom(lab.Addr(53), harness.DNSPort), netip.AddrPortFrom(lab.Addr(54), harness.AuthPort), netip.AddrPortFrom(lab.Addr(54), harness.AcctPort)
	s := prepareNode(t, lab, "lab", fmt.Sprintf(`pools:
  - {name: resolvers, protocol: dns, backends: [{name: one, address: %q}]}
  - {name: hole, protocol: dns, health: {interval: 60s, timeout: 10s, fall: 100}, backends: [{name: hole, address: "%s:%d", max_in_flight: 1000000}]}
  - {name: servers, protocol: radius, health: {interval: 60s, timeout: 10s, fall: 100}, backends: [{name: hole, address: %s, secret: %s, max_in_flight: 1000000}]}
dns:
  - {name: resolver, listen: [%q], pool: resolvers, routes: [{zones: [hole.test.], pool: hole}], cache: {entries: 100000}, tcp: {max_per_client: 400}, %s}
radius:
  - {name: pppoe, auth: [%q], acct: [%q], pool: servers, clients: [{name: nas, address: 127.0.0.0/8, secret: %s, max_in_flight: 1000000}]}
`, resolver[0], hole, harness.DNSPort, hole, harness.BackendSecret, dns, newCertificate(t, lab, "front", 1).yaml(overTLS, pages), auth, acct, harness.NASSecret))
	s.Setenv(fmt.Sprintf("GOMEMLIMIT=%d", memoryGoal))
	s.Start()
	s.WaitLives()
	baseline := s.Anonymous()
	lab.Eventually(20*time.Second, "the resolver is answered", func() bool { return s.DNSAnswers("first.example.test") })
	if left := s.Metrics().Sum("go_gc_gomemlimit_bytes"); left >= memoryGoal || left < memoryGoal/4 {
		t.Fatalf("the collector's limit is %.0f of %d", left, memoryGoal)
	}

	a := &attack{t: t, lab: lab, end: time.Now().Add(lasts)}
	for i := range 2 {
		a.done.Go(func() { a.names(dns, i, "hole.test") })
	}
	a.done.Go(func() { a.names(dns, 2, harness.LoadLabels+".load.test") })
	for i := range 4 {
		a.done.Go(func() { a.slowReaders(dns, i) })
	}
	a.done.Go(func() { a.half(dns) })
	for i := range 2 {
		a.done.Go(func() { a.slowStreams(pages, i) })
	}
	a.done.Go(func() { a.radius(auth, 1, 0) })
	a.done.Go(func() { a.radius(acct, 4, 1) })
	a.done.Go(func() { a.slowPages(s.HTTP) })
	var most int64
	var good, asked int
	for time.Now().Before(a.end) {
		most = max(most, s.Anonymous())
		asked++
		if s.DNSAnswers(fmt.Sprintf("good-%d.example.test", asked)) {
			good++
		}
		time.Sleep(20 * time.Millisecond) // between two samples
	}
	a.done.Wait()
	ended := time.Now()
	t.Logf("at most %d MiB of %d, %d at the beginning; %d of %d good queries answered at once", most>>20, memoryLimit>>20, baseline>>20, good, asked)
	var m harness.Metrics
	lab.Eventually(30*time.Second, "the node shows its metrics again", func() (ok bool) {
		var err error
		m, err = s.TryMetrics()
		return err == nil
	})
	t.Logf("the API answers %s after the attack", time.Since(ended))
	t.Logf("%d packets and %d connections of attackers; in flight %0.f DNS, %0.f RADIUS; connections refused or let go: %.0f",
		a.packets.Load(), a.connections.Load(), m.Sum("sereno_dns_in_flight"), m.Sum("sereno_radius_in_flight"),
		m.Sum("sereno_dns_connections_refused_total"))
	if most > memoryLimit {
		t.Errorf("%d MiB were in use, %d are allowed", most>>20, memoryLimit>>20)
	}
	if good < asked/2 {
		t.Errorf("%d of %d good queries were answered at once", good, asked)
	}
	if most == 0 || !s.Running() {
		t.Error("the node has ended")
	}
	if a.packets.Load() < 2_000 || a.connections.Load() < 200 {
		t.Error("that was no attack")
	}
	for _, x := range m {
		if limit := m.Sum("sereno_table_limit", "table", x.Labels["table"], "service", x.Labels["service"]); x.Name == "sereno_table_entries" && x.Value > limit {
			t.Errorf("%s: %.0f of %.0f", x.Labels["table"], x.Value, limit)
		}
	}
	lab.Eventually(30*time.Second, "everything is over", func() bool {
		m, err := s.TryMetrics()
		return err == nil && m.Sum("sereno_dns_in_flight") == 0 && m.Sum("sereno_table_entries", "table", "queued-bytes") == 0 && m.Sum("sereno_table_entries", "table", "connections") == 0
	})
}

// attack is everything that is sent until an end.
type attack struct {
	t                    *testing.T
	lab                  *harness.Lab
	end                  time.Time
	done                 sync.WaitGroup
	packets, connections atomic.Int64
}

func (a *attack) over() bool { return !time.Now().Before(a.end) }

// query is one for a name and type, on the wire.
func query(id uint16, name string, kind uint16) []byte {
	m := append(binary.BigEndian.AppendUint16(nil, id), 1, 0, 0, 1, 0, 0, 0, 0, 0, 0)
	for label := range strings.SplitSeq(name, ".") {
		m = append(append(m, byte(len(label))), label...)
	}
	return append(binary.BigEndian.AppendUint16(append(m, 0), kind), 0, 1)
}

// names asks for one name after the other and reads nothing. A pause now and then leaves the machine to others.
func (a *attack) names(to netip.AddrPort, run int, zone string) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		a.t.Error(err)
		return
	}
	defer conn.Close()
	for i := 0; !a.over(); i++ {
		_, _ = conn.Write(query(uint16(i), fmt.Sprintf("n%d-%d.%s", run, i, zone), 1)) // what is refused is dropped
		a.packets.Add(1)
		if i%16 == 0 {
			time.Sleep(time.Millisecond) // some 10,000 a second
		}
	}
}

// slowReaders ask for long answers over many connections and take none.
func (a *attack) slowReaders(to netip.AddrPort, run int) {
	var frames []byte
	for i := range 100 {
		m := query(uint16(i), fmt.Sprintf("size-60000.r%d.load.test", i), 16)
		frames = append(binary.BigEndian.AppendUint16(frames, uint16(len(m))), m...)
	}
	a.connect(to, byte(hostSource+run), 150, func(c net.Conn) { _, _ = c.Write(frames) })
}

// slowStreams ask for long answers over HTTP/2, on all the streams that may be open, and let nothing come.
func (a *attack) slowStreams(to netip.AddrPort, run int) {
	var out bytes.Buffer
	out.WriteString(http2.ClientPreface)
	frames := http2.NewFramer(&out, nil)
	_ = frames.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}) // a buffer
	for i := range 100 {
		q := base64.RawURLEncoding.EncodeToString(query(0, fmt.Sprintf("size-60000.h%d.load.test", i), 16))
		_ = frames.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: headerBlock("GET", "/dns-query?dns="+q, 0), EndHeaders: true, EndStream: true}) // a buffer
	}
	a.connect(to, byte(hostSource+12+run), 50, func(c net.Conn) {
		_ = c.SetDeadline(time.Now().Add(time.Second)) // of the handshake, too
		_, _ = tls.Client(c, unchecked("h2")).Write(out.Bytes())
	})
}

// half sends the beginnings of long queries.
func (a *attack) half(to netip.AddrPort) {
	a.connect(to, hostSource+8, 200, func(c net.Conn) { _, _ = c.Write(append([]byte{234, 96}, make([]byte, 5000)...)) })
}

// slowPages begins requests of the API.
func (a *attack) slowPages(to netip.AddrPort) {
	a.connect(to, hostSource+9, 200, func(c net.Conn) { _, _ = c.Write([]byte("GET /metrics HTTP/1.1\r\nHost: x\r\nX: ")) })
}

// connect holds n connections, opens others where they end, and closes all at the end.
func (a *attack) connect(to netip.AddrPort, host byte, n int, begin func(net.Conn)) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: a.lab.Addr(host).AsSlice()}, Timeout: time.Second}
	held := make([]net.Conn, 0, n)
	defer func() {
		for _, c := range held {
			_ = c.Close()
		}
	}()
	for !a.over() {
		if len(held) == n {
			_ = held[0].Close()
			held = held[1:]
			time.Sleep(20 * time.Millisecond) // 50 a second then
		}
		c, err := d.Dial("tcp", to.String())
		if err != nil {
			time.Sleep(20 * time.Millisecond) // it is refused
			continue
		}
		a.connections.Add(1)
		_ = c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)) // who does not read may not be read either
		begin(c)
		held = append(held, c)
	}
}

// radius sends well-signed requests that nobody answers, each under an identity of its own.
func (a *attack) radius(to netip.AddrPort, code byte, run int) {
	var conns []*net.UDPConn
	for i := range 64 {
		conn, err := net.DialUDP("udp", &net.UDPAddr{IP: a.lab.Addr(byte(hostSource + 10 + run)).AsSlice()}, net.UDPAddrFromAddrPort(to))
		if err != nil {
			a.t.Error(i, err)
			return
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	keyer := radpkt.NewKeyer([]byte(harness.NASSecret))
	for i := 0; !a.over(); i++ {
		user := fmt.Sprintf("attacker-%d-%d", run, i)
		p := radpkt.Start(nil, code, byte(i/len(conns)))
		p = radpkt.AttrString(p, radpkt.UserName, user)
		if code == radpkt.AccessRequest {
			p = radpkt.Attr(p, radpkt.MessageAuthenticator, make([]byte, 16))
		} else {
			p = radpkt.AttrUint32(radpkt.AttrString(p, 44, user), 40, 1)
		}
		for range 12 {
			p = radpkt.Attr(p, 18, make([]byte, 200))
		}
		var authenticator [16]byte
		binary.BigEndian.PutUint64(authenticator[:], uint64(i)+uint64(run)<<40)
		keyer.SignRequest(p, authenticator)
		_, _ = conns[i%len(conns)].Write(p) // what is refused is dropped
		a.packets.Add(1)
		if i%8 == 0 {
			time.Sleep(time.Millisecond) // some 5,000 a second
		}
	}
}
