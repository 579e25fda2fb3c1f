package e2e

import (
	"bytes"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"sereno/bench/e2e/harness"
	"sereno/bench/internal/radpkt"
)

// madNAS plays a NAS that has gone mad, and who pretends to be one. What is not answered is counted, nothing is said to
// a stranger, and the servers stay up.
func (a *attacked) madNAS(t *testing.T) {
	stranger := from(t, a.lab.Addr(hostMad+1), 0, a.s.Auth)
	before := map[string]float64{}
	reasons := []string{"unknown-client", "malformed", "message-authenticator", "replaced", "client-limit", "authenticator", "code", "duplicate"}
	for _, reason := range reasons {
		before[reason] = dropped(a.s, reason)
	}
	t.Logf("%d packets", a.mad(t, stranger))
	for _, reason := range reasons {
		a.lab.Eventually(5*time.Second, "drops are counted: "+reason, func() bool { return dropped(a.s, reason) > before[reason] })
	}
	if reply := receive(t, stranger, 50*time.Millisecond); reply != nil {
		t.Errorf("a stranger got %x", reply)
	}
	for _, role := range []string{"auth", "acct"} {
		for _, b := range []string{"one", "two"} {
			if state := a.s.Status().Backend(b, role); state != "up" {
				t.Errorf("%s is %s for %s", b, state, role)
			}
		}
	}
}

// mad sends, some 5,000 times a second: one request again and again; every identifier at once; other requests under
// the same identifier; requests under a wrong secret; garbage; to the wrong port; and the same from a stranger. In the
// end more is sent than may wait.
func (a *attacked) mad(t *testing.T, stranger *net.UDPConn) (sent int) {
	nas := []*net.UDPConn{from(t, a.lab.Addr(hostMad), 0, a.s.Auth), from(t, a.lab.Addr(hostMad), 0, a.s.Acct)}
	random := rand.NewChaCha8([32]byte{9})
	same := login(t, harness.NASSecret, 1, "user-1", true)
	for n, end := 0, time.Now().Add(attackTime()); time.Now().Before(end); n++ {
		var burst [][]byte
		for i := range byte(8) {
			fresh := login(t, harness.NASSecret, byte(n)*8+i, "user-2", true) // every identifier
			other := login(t, harness.NASSecret, 7, "user-3", true)           // the same identifier, another authenticator
			wrong := login(t, "not-the-secret", byte(n)+i, "user-4", true)
			noise := make([]byte, rand.IntN(300))
			_, _ = random.Read(noise) // never fails
			burst = append(burst, fresh, other, wrong, noise, same)
		}
		for i, p := range burst {
			send(t, nas[0], p)
			if i%4 == 0 {
				send(t, nas[1], p)
				send(t, stranger, p)
				sent += 2
			}
			sent++
		}
		record := radpkt.AttrUint32(radpkt.Start(nil, radpkt.AccountingRequest, byte(n)), radpkt.AcctStatusType, 1)
		radpkt.NewKeyer([]byte("not-the-secret")).SignRequest(record, [16]byte{})
		send(t, nas[1], record)
		sent++
		time.Sleep(10 * time.Millisecond)
	}
	// Some wait for a server that is a mirror, more than this client may have waiting.
	for id := range byte(100) {
		send(t, nas[0], login(t, harness.NASSecret, id, "user-1@own.example", true))
	}
	return sent
}

// TestE2EAttackRADIUSBlast plays the shapes of BlastRADIUS (CVE-2024-3596): who stands between the server and us needs a
// request whose Proxy-State he has chosen, and an answer without a Message-Authenticator that he has made from the
// server's. Where the server has ever signed, no answer without counts, whatever its Response Authenticator is; and
// where the NAS has, no request.
func TestE2EAttackRADIUSBlast(t *testing.T) {
	lab := harness.New(t)
	junk := bytes.Repeat([]byte{0x9d, 0x41, 0x00, 0xff}, 56) // what a collision looks like
	var shape atomic.Pointer[func(s *oddServer, request []byte)]
	odd := newOddServer(t, lab.Addr(hostStub), func(s *oddServer, request []byte) {
		if forge := shape.Load(); forge != nil {
			(*forge)(s, request)
			s.send(s.reply(request, radpkt.AccessReject)) // the server's own word
			return
		}
		rightly(s, request)
	})
	// unsigned is an Access-Accept whose Response Authenticator is right, which is what the collision gives.
	unsigned := func(s *oddServer, request []byte, more ...[]byte) []byte {
		p := append(radpkt.Start(nil, radpkt.AccessAccept, request[1]), attr(radpkt.Class, []byte("forged"))...)
		return s.finish(append(p, bytes.Join(more, nil)...), request)
	}
	shapes := map[string]func(s *oddServer, request []byte){
		"Accept":              func(s *oddServer, r []byte) { s.send(unsigned(s, r)) },
		"Accept, Proxy-State": func(s *oddServer, r []byte) { s.send(unsigned(s, r, attr(radpkt.ProxyState, junk))) },
		"Accept, two Proxy-States": func(s *oddServer, r []byte) {
			s.send(unsigned(s, r, attr(radpkt.ProxyState, junk), attr(radpkt.ProxyState, junk)))
		},
		"Accept, other authenticator": func(s *oddServer, r []byte) {
			p := s.reply(r, radpkt.AccessAccept, attr(radpkt.Class, []byte("forged")), attr(radpkt.ProxyState, junk))
			p[25] ^= 1
			s.send(p)
		},
		"Accept, every identifier": func(s *oddServer, r []byte) {
			for id := range 256 {
				p := unsigned(s, r, attr(radpkt.ProxyState, junk))
				p[1] = byte(id)
				s.send(p)
			}
		},
	}
	f := oddPool(lab, odd)
	f.servers = addrs(full(lab, 1, ""))
	s := f.start(lab)
	work := wellBehaved(t, s)
	conn := from(t, lab.Addr(hostSource), 0, s.Auth)
	keyer := radpkt.NewKeyer([]byte(harness.NASSecret))
	ask := func(id byte, more ...[]byte) []byte {
		t.Helper()
		request := login(t, harness.NASSecret, id, "user-1@odd.example", true, more...)
		send(t, conn, request)
		reply := receive(t, conn, 3*time.Second)
		if reply == nil {
			t.Fatalf("request %d is not answered", id)
		}
		if err := keyer.CheckReply(reply, [16]byte(request[4:20]), true); err != nil || reply[20] != radpkt.MessageAuthenticator {
			t.Errorf("the answer to the NAS: %v, its first attribute is %d", err, reply[20])
		}
		return reply
	}
	ask(0) // the server has signed from now on
	id := byte(0)
	for what, forge := range shapes {
		id++
		shape.Store(&forge)
		if reply := ask(id, attr(radpkt.ProxyState, junk)); reply[0] != radpkt.AccessReject || bytes.Contains(reply, []byte("forged")) {
			t.Errorf("%s: the NAS got %x", what, reply)
		}
	}
	if n := s.Metrics().Sum("sereno_radius_upstream_total", "event", "reply-unsigned"); n < 3 {
		t.Errorf("%g unsigned replies are counted", n)
	}
	// The other way: a request that somebody changed on its way, of a NAS that signs.
	before := dropped(s, "unsigned")
	for _, more := range [][][]byte{nil, {attr(radpkt.ProxyState, junk)}} {
		p := login(t, harness.NASSecret, 200, "user-1", false, more...)
		send(t, conn, p)
		if reply := receive(t, conn, 100*time.Millisecond); reply != nil {
			t.Errorf("an unsigned request of a NAS that signs got %x", reply)
		}
	}
	if n := dropped(s, "unsigned") - before; n != 2 {
		t.Errorf("%g unsigned requests are counted", n)
	}
	if state := s.Status().Backend("odd", "auth"); state != "up" {
		t.Errorf("the server that is spoofed is %s", state)
	}
	work.sent(lab, 100)
	work.nothingLost("BlastRADIUS")
	s.WaitIdle()
}
