package stub

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func newResolver(t *testing.T) *Resolver {
	t.Helper()
	r, err := NewResolver(ResolverConfig{Addr: netip.MustParseAddrPort("127.0.0.1:0")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// exchange asks for the A record of ip-192-0-2-7.test.; the ID and the question of the reply are not checked.
func exchange(t *testing.T, r *Resolver, network, name string, patience time.Duration) (*dns.Msg, error) {
	t.Helper()
	conn, err := net.Dial(network, r.Addr().String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	c := dns.Conn{Conn: conn}
	var q dns.Msg
	q.SetQuestion(name, dns.TypeA)
	q.Id = 4711
	if err := c.WriteMsg(&q); err != nil {
		return nil, err
	}
	return c.ReadMsg()
}

const patience = 5 * time.Second

func TestResolverAnswersOverUDPAndTCP(t *testing.T) {
	r := newResolver(t)
	for _, network := range []string{"udp", "tcp"} {
		m, err := exchange(t, r, network, "ip-192-0-2-7.test.", patience)
		if err != nil || len(m.Answer) != 1 || m.Answer[0].(*dns.A).A.String() != "192.0.2.7" {
			t.Errorf("%s: %v, %v", network, m, err)
		}
	}
	if s := r.Stats(); s.UDP != 1 || s.TCP != 1 || s.Answers != 2 || s.Probes != 0 {
		t.Errorf("%+v", s)
	}
}

func TestResolverFaults(t *testing.T) {
	r := newResolver(t)
	set := func(m Mode) {
		t.Helper()
		if err := r.Set(m); err != nil {
			t.Fatal(err)
		}
	}
	for fault, good := range map[Fault]func(*dns.Msg) bool{
		Servfail:      func(m *dns.Msg) bool { return m.Rcode == dns.RcodeServerFailure && len(m.Answer) == 0 },
		Refused:       func(m *dns.Msg) bool { return m.Rcode == dns.RcodeRefused && len(m.Answer) == 0 },
		WrongID:       func(m *dns.Msg) bool { return m.Id != 4711 && len(m.Answer) == 1 },
		WrongQuestion: func(m *dns.Msg) bool { return m.Id == 4711 && m.Question[0].Name != "ip-192-0-2-7.test." },
		Truncated:     func(m *dns.Msg) bool { return m.Truncated && len(m.Answer) == 0 },
	} {
		set(Mode{Fault: fault})
		if m, err := exchange(t, r, "udp", "ip-192-0-2-7.test.", patience); err != nil || !good(m) {
			t.Errorf("%s: %v, %v", fault, m, err)
		}
	}
	for _, fault := range []Fault{Silent, ProbesOnly} {
		set(Mode{Fault: fault})
		if m, err := exchange(t, r, "udp", "x.test.", 50*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v, %v", fault, m, err)
		}
	}
	if m, err := exchange(t, r, "udp", ".", patience); err != nil || m.Rcode != dns.RcodeSuccess {
		t.Errorf("probe of %s: %v, %v", r.Mode(), m, err)
	}
	set(Mode{Fault: Servfail, Every: 2})
	failures := 0
	for range 10 {
		m, err := exchange(t, r, "udp", "x.test.", patience)
		if err != nil {
			t.Fatal(err)
		}
		if m.Rcode == dns.RcodeServerFailure {
			failures++
		}
	}
	if failures != 5 {
		t.Errorf("%d of 10 failed under %q", failures, r.Mode())
	}
	set(Mode{Delay: 60 * time.Millisecond})
	start := time.Now()
	if _, err := exchange(t, r, "udp", "x.test.", patience); err != nil || time.Since(start) < 60*time.Millisecond {
		t.Errorf("late answer after %s: %v", time.Since(start), err)
	}
}

// TestResolverClosesAndOpensItsPorts lets the kernel refuse, and answers on the same port again.
func TestResolverClosesAndOpensItsPorts(t *testing.T) {
	r := newResolver(t)
	addr := r.Addr()
	if err := r.Set(Mode{Fault: Closed}); err != nil {
		t.Fatal(err)
	}
	for _, network := range []string{"udp", "tcp"} {
		if _, err := exchange(t, r, network, "x.test.", patience); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s to a closed port: %v", network, err)
		}
	}
	if err := r.Set(Mode{}); err != nil {
		t.Fatal(err)
	}
	for _, network := range []string{"udp", "tcp"} {
		if m, err := exchange(t, r, network, "x.test.", patience); err != nil || len(m.Answer) != 1 {
			t.Errorf("%s after opening again: %v, %v", network, m, err)
		}
	}
	if r.Addr() != addr {
		t.Errorf("moved from %s to %s", addr, r.Addr())
	}
}

func TestResolverRefusesAPortInUse(t *testing.T) {
	r := newResolver(t)
	if second, err := NewResolver(ResolverConfig{Addr: r.Addr()}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("%v, %v", second, err)
	}
}
