package health

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"sereno/proxy/dnswire"
	"sereno/proxy/radwire"
)

// listener serves what answer makes of a request on one port over UDP and TCP;
// nil: no answer, and a TCP connection is closed.
func listener(t *testing.T, on string, answer func(request []byte) []byte) netip.AddrPort {
	t.Helper()
	conn, l := bothPorts(t, on)
	at := netip.AddrPortFrom(netip.MustParseAddrPort(on).Addr(), l.Addr().(*net.TCPAddr).AddrPort().Port())
	var serving sync.WaitGroup
	serving.Go(func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if a := answer(buf[:n]); a != nil {
				_, _ = conn.WriteTo(a, from)
			}
		}
	})
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			var length [2]byte
			if _, err := io.ReadFull(c, length[:]); err == nil {
				request := make([]byte, binary.BigEndian.Uint16(length[:]))
				if _, err := io.ReadFull(c, request); err == nil {
					if a := answer(request); a != nil {
						_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(a))), a...))
					}
				}
			}
			_ = c.Close()
		}
	})
	t.Cleanup(func() {
		_ = conn.Close()
		_ = l.Close()
		serving.Wait()
	})
	return at
}

// reachable tells whether this machine has the address family of on. End-to-end
// runs must have both.
func reachable(t *testing.T, on string) bool {
	t.Helper()
	l, err := net.Listen("tcp", on)
	if err == nil {
		_ = l.Close()
		return true
	}
	if !netip.MustParseAddrPort(on).Addr().Is6() || os.Getenv("SERENO_E2E") != "" {
		t.Fatal(err)
	}
	t.Logf("left out, because this machine has no IPv6: %s", on)
	return false
}

func newProofs() *Proofs {
	return &Proofs{DNS: dnswire.NewProbeKey(), RADIUS: radwire.NewProbeSecret()}
}

func (p *Proofs) answerDNS(request []byte) []byte {
	a, ok := p.DNS.Answer(request)
	if !ok {
		return []byte("this is not for strangers")
	}
	return a
}

func (p *Proofs) answerRADIUS(request []byte) []byte {
	var ix radwire.Index
	q, err := radwire.Walk(request, &ix)
	if err != nil || !radwire.IsProbe(q, &ix, p.RADIUS.Secret()) {
		return []byte("this is not for strangers")
	}
	out := make([]byte, radwire.MaxLen)
	n, err := radwire.Reply(out, radwire.AccessAccept, nil, q, &ix, p.RADIUS.Secret())
	if err != nil {
		return nil
	}
	return out[:n]
}

func askSelf(t *testing.T, p *Proofs, kind string, l Listener, wait time.Duration) (selfOutcome, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	o, err := p.selfProbe(ctx, kind, l)
	if (o == selfGood) != (err == nil) {
		t.Errorf("%v: outcome %d with the error %v", l, o, err)
	}
	return o, err
}

func TestA07TheSelfProbeProvesThatAnAddressIsOurs(t *testing.T) {
	p := newProofs()
	for _, on := range []string{"127.0.0.1:0", "127.0.0.9:0", "0.0.0.0:0", "[::1]:0", "[::]:0"} {
		if !reachable(t, on) {
			continue
		}
		dns := listener(t, on, p.answerDNS)
		for _, network := range []string{"udp", "tcp"} {
			if o, err := askSelf(t, p, "dns", Listener{network, dns}, 10*time.Second); o != selfGood {
				t.Errorf("dns over %s on %s: %v", network, on, err)
			}
		}
		if o, err := askSelf(t, p, "radius", Listener{"udp", listener(t, on, p.answerRADIUS)}, 10*time.Second); o != selfGood {
			t.Errorf("radius on %s: %v", on, err)
		}
	}
}

func TestA07TheSelfProbeTellsWhatIsWrong(t *testing.T) {
	p, other := newProofs(), newProofs()
	stranger := listener(t, "127.0.0.1:0", other.answerDNS)
	mute := listener(t, "127.0.0.1:0", func([]byte) []byte { return nil })
	closed := closedPort(t)
	absent := netip.MustParseAddrPort("192.0.2.53:53")
	for _, c := range []struct {
		name, kind string
		l          Listener
		want       selfOutcome
	}{
		{"another process on our address, udp", "dns", Listener{"udp", stranger}, selfRefused},
		{"another process on our address, tcp", "dns", Listener{"tcp", stranger}, selfRefused},
		{"another process on our address, radius", "radius", Listener{"udp", listener(t, "127.0.0.1:0", other.answerRADIUS)}, selfRefused},
		{"a dns server on a radius port", "radius", Listener{"udp", stranger}, selfRefused},
		{"no answer, udp", "dns", Listener{"udp", mute}, selfSilent},
		{"taken and closed, tcp", "dns", Listener{"tcp", mute}, selfSilent},
		{"no answer, radius", "radius", Listener{"udp", mute}, selfSilent},
		{"closed, udp", "dns", Listener{"udp", closed}, selfRefused},
		{"closed, tcp", "dns", Listener{"tcp", closed}, selfRefused},
		{"not on this host, udp", "dns", Listener{"udp", absent}, selfAbsent},
		{"not on this host, tcp", "dns", Listener{"tcp", absent}, selfAbsent},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if o, err := askSelf(t, p, c.kind, c.l, 500*time.Millisecond); o != c.want {
				t.Errorf("outcome %d (%v), not %d", o, err, c.want)
			}
		})
	}
}

func TestA07WhatIsOnThisHost(t *testing.T) {
	for addr, here := range map[string]bool{"127.0.0.1": true, "127.9.9.9": true, "::1": true, "192.0.2.53": false, "2001:db8::53": false} {
		a := netip.MustParseAddr(addr)
		if here && !reachable(t, netip.AddrPortFrom(a, 0).String()) {
			continue
		}
		if err := onHost(a); (err == nil) != here {
			t.Errorf("%s: %v", addr, err)
		}
		// With ip_nonlocal_bind, binding says nothing and these two decide.
		if got := onInterface(a) || ownSource(a); got != here {
			t.Errorf("%s: on an interface or its own source: %v", addr, got)
		}
	}
}

// Services over real sockets: up within moments, down when a listener goes.
func TestA07ARealListenerCloses(t *testing.T) {
	p := newProofs()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(p.answerRADIUS(buf[:n]), from)
		}
	})
	m := NewMonitor(Options{})
	defer m.Close()
	events := make(chan ServiceEvent, 100)
	s := NewServices(ServicesOptions{
		Monitor: m, Proofs: *p, OnEvent: func(e ServiceEvent) { events <- e },
		SelfProbeEvery: 50 * time.Millisecond, SelfProbeTimeout: 5 * time.Second,
	})
	defer s.Close()
	acct := Target{Key: Key{"radius", "a", "acct"}, Protocol: "radius"}
	acct.Config.SetDefaults("radius")
	acct.Config.RADIUS.AcctProbe = "none" // up from the start
	m.Apply([]Target{acct})
	s.Apply(nil, []Service{{
		Name: "pppoe", Kind: "radius", Acct: true, Pool: "radius",
		Listeners: []Listener{{"udp", conn.LocalAddr().(*net.UDPAddr).AddrPort()}},
	}})
	next := func(want ServiceState, reason Reason) {
		t.Helper()
		select {
		case e := <-events:
			if e.To != want || e.Reason != reason {
				t.Fatalf("%+v", e)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("it is not %s: %+v", want, s.All())
		}
	}
	next(ServiceUp, ReasonHealthy)
	_ = conn.Close()
	serving.Wait()
	next(ServiceDown, ReasonSelfProbeFailed)
}
