package dnsfront

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"sereno/health"
	"sereno/proxy/pool"
	"sereno/proxy/udp"
)

// front is a service with backends in this process.
type front struct {
	*Service
	t         testing.TB
	pool      *pool.Pool
	resolvers []*resolver
	addr      netip.AddrPort
	opts      Options
	listening []*listener
	skew      atomic.Int64 // ns that the service's clock is ahead
}

type setup struct {
	plain    bool
	anything bool // queries at the backends may look as they like
	backends int  // 0: two
	workers  int  // 0: two
	handle   func(q *request) [][]byte
	pool     func(c *pool.Config)
	config   func(c *Config)
	health   func(i int, addr netip.AddrPort) *health.Backend
	stateDir string
}

func newFront(t testing.TB, x setup) *front {
	t.Helper()
	f := &front{t: t}
	if x.backends == 0 {
		x.backends = 2
	}
	if x.workers == 0 {
		x.workers = 2
	}
	var members []pool.Member
	for i := range x.backends {
		rt := t
		if x.anything {
			rt = silentTB{t}
		}
		r := newResolver(rt, x.handle)
		f.resolvers = append(f.resolvers, r)
		m := pool.Member{Addr: r.addr}
		m.Config.SetDefaults()
		m.Config.Name = fmt.Sprintf("b%d", i)
		m.Config.Address = r.addr.String()
		if x.health != nil {
			m.Health = x.health(i, r.addr)
		}
		members = append(members, m)
	}
	var pc pool.Config
	pc.SetDefaults("dns")
	pc.Name, pc.Protocol = "resolvers", "dns"
	if x.pool != nil {
		x.pool(&pc)
	}
	var err error
	if f.pool, err = pool.New(pc, "dns", members); err != nil {
		t.Fatal(err)
	}
	f.opts = Options{Pools: map[string]*pool.Pool{"resolvers": f.pool}, Node: "test-node", Workers: x.workers, Plain: x.plain, StateDir: x.stateDir,
		Now: func() time.Time { return time.Now().Add(time.Duration(f.skew.Load())) }}
	f.opts.Config.SetDefaults()
	f.opts.Config.Name, f.opts.Config.Pool, f.opts.Config.Listen = "resolver", "resolvers", []string{"127.0.0.1:0"}
	f.opts.Config.Cache.Entries = 10000
	if x.config != nil {
		x.config(&f.opts.Config)
	}
	f.start()
	return f
}

func (f *front) start() {
	f.t.Helper()
	var s *Service
	for try := 0; ; try++ {
		var err error
		if s, err = New(f.opts); err != nil {
			f.t.Fatal(err)
		}
		err = s.Start()
		if err == nil {
			break
		}
		if try == 20 || !errors.Is(err, syscall.EADDRINUSE) { // the number that UDP chose may be taken over TCP
			f.t.Fatal(err)
		}
	}
	f.Service = s
	f.t.Cleanup(f.finish)
	for _, l := range s.Listeners() {
		if l.Transport == UDP {
			f.addr = l.Address
			break
		}
	}
}

// finish closes the service and checks that its counters balance to the last query.
func (f *front) finish() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	f.listening = f.settings.Load().listeners
	if err := f.Close(ctx); err != nil {
		f.t.Error(err)
	}
	s := f.Stats()
	if s.TotalInFlight() != 0 || s.TotalQueries() != s.TotalAnswers()+s.TotalDrops() {
		f.t.Errorf("counters do not balance after the end: %d queries, %d answers, %d drops, %d in flight",
			s.TotalQueries(), s.TotalAnswers(), s.TotalDrops(), s.TotalInFlight())
	}
	for _, l := range f.listening {
		for _, c := range l.conns {
			if d := c.Stats().Drops; !f.opts.Plain && (d != [udp.NumDrops]uint64{} || c.KernelDrops() != 0) {
				f.t.Errorf("datagrams were dropped on %s: %v, by the kernel %d", l.addr, d, c.KernelDrops())
			}
		}
	}
	if n := f.load.Load(); n != 0 {
		f.t.Errorf("load is %d after the end", n)
	}
	for _, b := range f.pool.Backends() {
		if n := b.InFlight(); n != 0 {
			f.t.Errorf("%d queries are still in flight at %s", n, b.Name())
		}
	}
}

// legs runs a test over both ways of proxy/udp.
func legs(t *testing.T, f func(t *testing.T, plain bool)) {
	t.Run("batched", func(t *testing.T) { f(t, false) })
	t.Run("plain", func(t *testing.T) { f(t, true) })
}

func asking(name string, typ uint16) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(name, typ)
	return m
}

func withOPT(m *dns.Msg, size uint16, do bool) *dns.Msg {
	m.SetEdns0(size, do)
	return m
}

// send sends octets over a new UDP socket and returns the answer, nil if none came.
func (f *front) send(raw []byte, wait time.Duration) []byte {
	f.t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(f.addr))
	if err != nil {
		f.t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(raw); err != nil {
		f.t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(wait)); err != nil {
		f.t.Fatal(err)
	}
	buf := make([]byte, 65535)
	n, err := c.Read(buf)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	if err != nil {
		f.t.Fatal(err)
	}
	return buf[:n]
}

// ask asks over UDP and checks what every answer must be: the same ID, the very octets
// of the question, Z clear, OPT if and only if the query had it, no more octets than fit.
func (f *front) ask(q *dns.Msg) *dns.Msg {
	f.t.Helper()
	raw := packed(f.t, q)
	out := f.send(raw, 5*time.Second)
	if out == nil && f.opts.Plain {
		// The plain path gives a datagram up whose goroutine was held up for long; a
		// client asks again.
		out = f.send(raw, 5*time.Second)
	}
	if out == nil {
		s := f.Stats()
		f.t.Fatalf("no answer to %s; %d queries, %d answers, %d drops, %d in flight, %+v", q.Question[0].String(),
			s.TotalQueries(), s.TotalAnswers(), s.TotalDrops(), s.TotalInFlight(), s.Upstream)
	}
	m := f.checked(q, raw, out)
	limit := 512
	if o := q.IsEdns0(); o != nil {
		limit = max(512, min(int(o.UDPSize()), 1232))
	}
	if len(out) > limit {
		f.t.Errorf("%d octets over UDP, at most %d fit", len(out), limit)
	}
	return m
}

func (f *front) checked(q *dns.Msg, raw, out []byte) *dns.Msg {
	f.t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(out); err != nil {
		f.t.Fatalf("the answer does not parse: %v", err)
	}
	end := 12
	for raw[end] != 0 {
		end += int(raw[end]) + 1
	}
	if m.Id != q.Id || !m.Response || m.Zero || m.RecursionDesired != q.RecursionDesired || m.CheckingDisabled != q.CheckingDisabled ||
		len(out) < end+5 || string(out[12:end+5]) != string(raw[12:end+5]) {
		f.t.Errorf("asked:\n%s\nanswered:\n%s", q, m)
	}
	if (m.IsEdns0() != nil) != (q.IsEdns0() != nil) {
		f.t.Errorf("OPT in the query %v, in the answer %v", q.IsEdns0() != nil, m.IsEdns0() != nil)
	}
	return m
}

// stream opens a connection to the service.
func (f *front) stream() net.Conn {
	f.t.Helper()
	c, err := net.Dial("tcp", f.addr.String())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = c.Close() })
	return c
}

func writeFrame(t testing.TB, c net.Conn, raw []byte) {
	t.Helper()
	if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(raw))), raw...)); err != nil {
		t.Fatal(err)
	}
}

func readFrame(t testing.TB, c net.Conn) []byte {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var prefix [2]byte
	if _, err := io.ReadFull(c, prefix[:]); err != nil {
		t.Fatal(err)
	}
	out := make([]byte, binary.BigEndian.Uint16(prefix[:]))
	if _, err := io.ReadFull(c, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// askTCP asks over a new connection.
func (f *front) askTCP(q *dns.Msg) *dns.Msg {
	f.t.Helper()
	c := f.stream()
	raw := packed(f.t, q)
	writeFrame(f.t, c, raw)
	m := f.checked(q, raw, readFrame(f.t, c))
	if m.Truncated {
		f.t.Error("TC over TCP")
	}
	return m
}

func (f *front) asked() (n int64) {
	for _, r := range f.resolvers {
		n += r.asked.Load()
	}
	return n
}

// later moves the service's clock.
func (f *front) later(d time.Duration) { f.skew.Add(int64(d)) }

// until waits for a condition that other goroutines bring about.
func until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		if cond() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("in vain waited for: %s", what)
}

// ede returns the extended error of an answer, -1 without one.
func ede(m *dns.Msg) int {
	if o := m.IsEdns0(); o != nil {
		for _, x := range o.Option {
			if e, ok := x.(*dns.EDNS0_EDE); ok {
				return int(e.InfoCode)
			}
		}
	}
	return -1
}

// testHealth makes a backend whose verdict the test decides by probes.
func testHealth(name string, addr netip.AddrPort) *health.Backend {
	var c health.Config
	c.SetDefaults("dns")
	c.SlowStart = 0
	b := health.NewBackend(health.Target{Key: health.Key{Pool: "resolvers", Backend: name, Role: "dns"}, Addr: addr, Protocol: "dns", Config: c}, time.Now)
	probe(b, true)
	return b
}

// probe reports enough probes to make a backend up or down.
func probe(b *health.Backend, ok bool) {
	for range 30 {
		now := time.Now()
		b.Probed(health.Result{Start: now, End: now, OK: ok, Reason: health.ReasonProbeFailed, Detail: "test"})
	}
}
