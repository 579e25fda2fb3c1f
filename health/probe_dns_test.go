package health

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// resolver is a small real server: UDP and TCP on one port of loopback, whose
// answers a test bends.
type resolver struct {
	addr  netip.AddrPort
	asked atomic.Int64
	last  atomic.Pointer[dns.Msg]
	from  atomic.Pointer[netip.AddrPort]
}

// newResolver answers each query with what bend makes of a good answer: the
// messages to send, none for silence.
func newResolver(t *testing.T, bend func(q, good *dns.Msg, tcp bool) [][]byte) *resolver {
	t.Helper()
	r := &resolver{}
	pc, l := bothPorts(t, "127.0.0.1:0")
	r.addr = pc.LocalAddr().(*net.UDPAddr).AddrPort()
	h := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		r.asked.Add(1)
		r.last.Store(q.Copy())
		_, tcp := w.RemoteAddr().(*net.TCPAddr)
		from := netip.MustParseAddrPort(w.RemoteAddr().String())
		r.from.Store(&from)
		good := new(dns.Msg).SetReply(q)
		good.Answer = append(good.Answer, &dns.NS{
			Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: 60}, Ns: "a.root-servers.net.",
		})
		for _, b := range bend(q, good, tcp) {
			_, _ = w.Write(b)
		}
	})
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: h}, {Listener: l, Handler: h}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		ended := make(chan error, 1)
		go func() { ended <- s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() {
			if err := s.Shutdown(); err != nil {
				t.Error(err)
			}
			<-ended
		})
	}
	return r
}

// bothPorts listens on one port of on's address that is free over UDP and TCP.
func bothPorts(t *testing.T, on string) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 50 {
		l, err := net.Listen("tcp", on)
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).AddrPort().Port()
		pc, err := net.ListenPacket("udp", netip.AddrPortFrom(netip.MustParseAddrPort(on).Addr(), port).String())
		if err == nil {
			return pc, l
		}
		_ = l.Close()
	}
	t.Fatal("no port is free over both")
	return nil, nil
}

func pack(t *testing.T, m *dns.Msg) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Error(err)
	}
	return b
}

func probeOnce(t *testing.T, target *Target) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), target.Config.Timeout)
	defer cancel()
	r := probe(ctx, target)
	if took := r.End.Sub(r.Start); took > target.Config.Timeout+5*time.Second {
		t.Errorf("the probe took %v; its timeout is %v", took, target.Config.Timeout)
	}
	if r.OK == (r.Reason != ReasonNone) || r.OK == (r.Detail != "") {
		t.Errorf("the result does not agree with itself: %+v", r)
	}
	return r
}

func TestA02DNSProbeVerifiesTheAnswer(t *testing.T) {
	same := func(*Config) {}
	nxdomain := func(_, good *dns.Msg) { good.Answer, good.Rcode = nil, dns.RcodeNameError }
	for _, c := range []struct {
		name   string
		config func(*Config)
		bend   func(q, good *dns.Msg)
		want   string // in the detail; "": good
	}{
		{"good", same, func(_, _ *dns.Msg) {}, ""},
		{"question in another case", func(c *Config) { c.DNS.Name = "Example.COM" }, func(_, good *dns.Msg) {
			good.Question[0].Name, good.Answer[0].Header().Name = "eXample.com.", "EXAMPLE.com."
		}, ""},
		{"servfail", same, func(_, good *dns.Msg) { good.Answer, good.Rcode = nil, dns.RcodeServerFailure }, "the answer is SERVFAIL"},
		{"refused", same, func(_, good *dns.Msg) { good.Answer, good.Rcode = nil, dns.RcodeRefused }, "the answer is REFUSED"},
		{"refused counts as good", func(c *Config) { c.DNS.Rcodes = []string{"noerror", "refused"} },
			func(_, good *dns.Msg) { good.Answer, good.Rcode = nil, dns.RcodeRefused }, ""},
		{"empty", same, func(_, good *dns.Msg) { good.Answer = nil }, "the answer is empty"},
		{"empty is good enough", func(c *Config) { c.DNS.Answer = false }, func(_, good *dns.Msg) { good.Answer = nil }, ""},
		{"answers for another name", same, func(_, good *dns.Msg) { good.Answer[0].Header().Name = "example.net." }, "the answer is empty"},
		{"only another type", same, func(_, good *dns.Msg) { good.Answer[0].Header().Rrtype = dns.TypeTXT }, "the answer is empty"},
		{"cname", same, func(q, good *dns.Msg) {
			good.Answer = []dns.RR{&dns.CNAME{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET}, Target: "x."}}
		}, ""},
		{"nxdomain wanted", func(c *Config) { c.DNS.Rcodes, c.DNS.RandomLabel = []string{"NXDOMAIN"}, true }, nxdomain, ""},
		{"nxdomain", same, nxdomain, "the answer is NXDOMAIN"},
		{"unknown rcode", same, func(_, good *dns.Msg) { good.Rcode = 14 }, "the answer is RCODE14"},
		{"wrong id", same, func(_, good *dns.Msg) { good.Id++ }, "no valid answer in time: an answer with another id"},
		{"wrong name", same, func(_, good *dns.Msg) { good.Question[0].Name = "example.org." }, "an answer to another question"},
		{"wrong type", same, func(_, good *dns.Msg) { good.Question[0].Qtype = dns.TypeA }, "an answer to another question"},
		{"wrong class", same, func(_, good *dns.Msg) { good.Question[0].Qclass = dns.ClassCHAOS }, "an answer to another question"},
		{"no question", same, func(_, good *dns.Msg) { good.Question = nil }, "an answer to another question"},
		{"a query", same, func(_, good *dns.Msg) { good.Response = false }, "a message that is no answer"},
		{"wrong opcode", same, func(_, good *dns.Msg) { good.Opcode = dns.OpcodeNotify }, "a message that is no answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newResolver(t, func(q, good *dns.Msg, _ bool) [][]byte {
				c.bend(q, good)
				return [][]byte{pack(t, good)}
			})
			target := dnsTarget("a")
			target.Addr, target.Config.Timeout = r.addr, 500*time.Millisecond
			if c.want == "" || !strings.HasPrefix(c.want, "an answer") && !strings.HasPrefix(c.want, "a message") && !strings.HasPrefix(c.want, "no valid") {
				target.Config.Timeout = 10 * time.Second // it does not wait for it
			}
			c.config(&target.Config)
			result := probeOnce(t, &target)
			if c.want == "" && !result.OK || c.want != "" && (result.OK || !strings.Contains(result.Detail, c.want)) {
				t.Errorf("%+v; want %q", result, c.want)
			}
		})
	}
}

func TestA02DNSProbeIsARealQuestion(t *testing.T) {
	r := newResolver(t, func(_, good *dns.Msg, _ bool) [][]byte { return [][]byte{pack(t, good)} })
	target := dnsTarget("a")
	target.Addr, target.Source, target.Config.Timeout = r.addr, netip.MustParseAddr("127.0.0.7"), 10*time.Second
	ids, names := map[uint16]bool{}, map[string]bool{}
	for range 20 {
		target.Config.DNS = DNSProbe{Name: "probe.example.net", Type: "ns", RandomLabel: true, Rcodes: []string{"NOERROR"}, Answer: true}
		if result := probeOnce(t, &target); !result.OK || result.Latency <= 0 {
			t.Fatal(result)
		}
		q := r.last.Load()
		ids[q.Id], names[q.Question[0].Name] = true, true
		if !q.RecursionDesired || q.Question[0].Qtype != dns.TypeNS || !strings.HasSuffix(q.Question[0].Name, ".probe.example.net.") {
			t.Errorf("the question is %v", q)
		}
		if opt := q.IsEdns0(); opt == nil || opt.UDPSize() != probeSize {
			t.Errorf("the OPT is %v", opt)
		}
	}
	if len(ids) < 18 || len(names) != 20 {
		t.Errorf("20 probes had %d ids and %d names", len(ids), len(names))
	}
	if from := r.from.Load(); from.Addr() != target.Source {
		t.Errorf("the probe came from %v, not from the source of the traffic", from)
	}
	target.Config.DNS.Name, target.Config.DNS.RandomLabel = ".", true
	if probeOnce(t, &target); dns.CountLabel(r.last.Load().Question[0].Name) != 1 {
		t.Errorf("a random label below the root gave %q", r.last.Load().Question[0].Name)
	}
}

// What does not fit is no answer, and the wait goes on: the right one may follow.
func TestA02DNSProbeWaitsForTheAnswerThatFits(t *testing.T) {
	r := newResolver(t, func(_, good *dns.Msg, _ bool) [][]byte {
		bad := good.Copy()
		bad.Id++
		return [][]byte{{1, 2, 3}, pack(t, bad), pack(t, good)[:20], pack(t, good)}
	})
	target := dnsTarget("a")
	target.Addr, target.Config.Timeout = r.addr, 10*time.Second
	if result := probeOnce(t, &target); !result.OK {
		t.Error(result)
	}
}

func TestA02DNSProbeAsksAgainOverTCPWhatWasTruncated(t *testing.T) {
	whole := true
	r := newResolver(t, func(_, good *dns.Msg, tcp bool) [][]byte {
		if !tcp || !whole {
			good.Truncated, good.Answer = !tcp, nil
		}
		return [][]byte{pack(t, good)}
	})
	target := dnsTarget("a")
	target.Addr, target.Config.Timeout = r.addr, 10*time.Second
	if result := probeOnce(t, &target); !result.OK || r.asked.Load() != 2 {
		t.Errorf("%+v after %d questions", result, r.asked.Load())
	}
	whole = false
	if result := probeOnce(t, &target); result.OK || result.Detail != "the answer is empty" {
		t.Error(result)
	}
}

func TestA03SilentRefusingAndSlowResolversAreBad(t *testing.T) {
	t.Run("silent", func(t *testing.T) { // a frozen program, a black hole
		r := newResolver(t, func(_, _ *dns.Msg, _ bool) [][]byte { return nil })
		target := dnsTarget("a")
		target.Addr, target.Config.Timeout = r.addr, 100*time.Millisecond
		if result := probeOnce(t, &target); result.OK || result.Reason != ReasonProbeFailed || result.Detail != errNoAnswer.Error() {
			t.Error(result)
		}
	})
	t.Run("closed port", func(t *testing.T) {
		target := dnsTarget("a")
		target.Addr, target.Config.Timeout = closedPort(t), time.Minute // ICMP ends it at once
		if result := probeOnce(t, &target); result.OK || result.Reason != ReasonRefused {
			t.Error(result)
		}
	})
	t.Run("slow", func(t *testing.T) {
		release := make(chan struct{})
		r := newResolver(t, func(_, good *dns.Msg, _ bool) [][]byte {
			<-release
			return [][]byte{pack(t, good)}
		})
		target := dnsTarget("a")
		target.Addr, target.Config.Timeout = r.addr, 100*time.Millisecond
		if result := probeOnce(t, &target); result.OK || result.Reason != ReasonProbeFailed {
			t.Error(result)
		}
		close(release)
	})
	t.Run("no such source", func(t *testing.T) {
		target := dnsTarget("a")
		target.Addr, target.Source, target.Config.Timeout = closedPort(t), netip.MustParseAddr("192.0.2.77"), time.Minute
		if result := probeOnce(t, &target); result.OK || result.Reason != ReasonUnreachable {
			t.Error(result)
		}
	})
}

// closedPort is an address of loopback where nobody listens.
func closedPort(t *testing.T) netip.AddrPort {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// The whole chain on real sockets: a server dies, is found, and comes back.
func TestA03ARealResolverDiesAndComesBack(t *testing.T) {
	var dead atomic.Bool
	r := newResolver(t, func(_, good *dns.Msg, _ bool) [][]byte {
		if dead.Load() {
			return nil
		}
		return [][]byte{pack(t, good)}
	})
	events := make(chan Event, 100)
	m := NewMonitor(Options{OnEvent: func(e Event) { events <- e }})
	defer m.Close()
	target := dnsTarget("a")
	target.Addr = r.addr
	target.Config.Interval, target.Config.Timeout = 400*time.Millisecond, 300*time.Millisecond
	b := m.Apply([]Target{target})[target.Key]
	next := func(want State) {
		t.Helper()
		for {
			select {
			case e := <-events:
				if e.To == want {
					return
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("it is %v, not %v: %+v", b.State(), want, b.Status())
			}
		}
	}
	next(Up)
	dead.Store(true)
	next(Down)
	if s := b.Status(); s.LastProbe.OK || s.LastProbe.Error == "" || s.Reason == ReasonNone {
		t.Errorf("its status is %+v", s)
	}
	dead.Store(false)
	next(Up)
	if s := b.Status(); !s.LastProbe.OK || s.Latency <= 0 {
		t.Errorf("its status is %+v", s)
	}
}
