package e2e

import (
	"bytes"
	"crypto/md5"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"sereno/bench/e2e/harness"
	"sereno/bench/internal/radpkt"
)

// oddServer is a RADIUS server whose answers a test writes by hand. It answers Status-Server as it should, so that
// only what the test sends is odd.
type oddServer struct {
	t      *testing.T
	addr   netip.Addr
	answer func(s *oddServer, request []byte)
	keyer  *radpkt.Keyer
	auth   *net.UDPConn
	other  *net.UDPConn // another port of the same address
	peer   netip.AddrPort

	mu  sync.Mutex
	got [][]byte
}

func newOddServer(t *testing.T, addr netip.Addr, answer func(*oddServer, []byte)) *oddServer {
	t.Helper()
	s := &oddServer{t: t, addr: addr, answer: answer, keyer: radpkt.NewKeyer([]byte(harness.BackendSecret))}
	open := func(port uint16) *net.UDPConn {
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, port)))
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	s.auth, s.other = open(harness.AuthPort), open(harness.AuthPort+1000)
	acct := open(harness.AcctPort)
	var done sync.WaitGroup
	var one sync.Mutex // the keyer and the test's function are not for two at once
	for _, conn := range []*net.UDPConn{s.auth, acct} {
		done.Go(func() { s.serve(conn, &one) })
	}
	t.Cleanup(func() {
		for _, conn := range []*net.UDPConn{s.auth, s.other, acct} {
			_ = conn.Close()
		}
		done.Wait()
	})
	return s
}

func (s *oddServer) serve(conn *net.UDPConn, one *sync.Mutex) {
	var b [8192]byte
	for {
		n, from, err := conn.ReadFromUDPAddrPort(b[:])
		if errors.Is(err, net.ErrClosed) {
			return
		}
		request, perr := radpkt.Parse(bytes.Clone(b[:n]))
		one.Lock()
		switch {
		case err != nil || perr != nil:
			s.t.Errorf("the server got %x: %v, %v", b[:n], err, perr)
		case s.keyer.CheckRequest(request, request[0] != radpkt.AccountingRequest) != nil:
			s.t.Errorf("the server got what does not verify: %x", request)
		case request[0] == radpkt.StatusServer:
			code := byte(radpkt.AccessAccept)
			if conn != s.auth {
				code = radpkt.AccountingResponse
			}
			_, _ = conn.WriteToUDPAddrPort(s.reply(request, code), from) // a lost probe is the prober's trouble
		case conn == s.auth:
			s.mu.Lock()
			s.got = append(s.got, request)
			s.mu.Unlock()
			s.peer = from
			s.answer(s, request)
		}
		one.Unlock()
	}
}

// requests gives what came since the last call, Status-Server apart.
func (s *oddServer) requests() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.got
	s.got = nil
	return got
}

// reply makes a right answer, with further attributes.
func (s *oddServer) reply(request []byte, code byte, more ...[]byte) []byte {
	p := radpkt.Attr(radpkt.Start(nil, code, request[1]), radpkt.MessageAuthenticator, make([]byte, 16))
	return s.finish(append(p, bytes.Join(more, nil)...), request)
}

// finish adds the request's Proxy-States and signs.
func (s *oddServer) finish(p, request []byte) []byte {
	for off := radpkt.HeaderSize; off < len(request); off += int(request[off+1]) {
		if request[off] == radpkt.ProxyState {
			p = append(p, request[off:off+int(request[off+1])]...)
		}
	}
	s.keyer.SignReply(p, [16]byte(request[4:20]))
	return p
}

// send sends from the port that was asked.
func (s *oddServer) send(p []byte) {
	if _, err := s.auth.WriteToUDPAddrPort(p, s.peer); err != nil {
		s.t.Error(err)
	}
}

// rightly answers as it should.
func rightly(s *oddServer, request []byte) {
	s.send(s.reply(request, radpkt.AccessAccept, attr(radpkt.Class, []byte("right"))))
}

// wrongly are answers that must not count, by the user's name.
var wrongly = map[string]func(s *oddServer, request []byte){
	"authenticator": func(s *oddServer, request []byte) {
		p := s.reply(request, radpkt.AccessReject)
		p[7] ^= 1
		s.send(p)
	},
	"secret": func(s *oddServer, request []byte) {
		p := radpkt.Attr(radpkt.Start(nil, radpkt.AccessReject, request[1]), radpkt.MessageAuthenticator, make([]byte, 16))
		radpkt.NewKeyer([]byte("not-the-secret")).SignReply(p, [16]byte(request[4:20]))
		s.send(p)
	},
	"message-authenticator": func(s *oddServer, request []byte) {
		p := s.reply(request, radpkt.AccessReject)
		p[25] ^= 1 // of the Message-Authenticator; the Response Authenticator is right (RFC 2865 section 3)
		sum := md5.Sum(bytes.Join([][]byte{p[:4], request[4:20], p[20:], []byte(harness.BackendSecret)}, nil))
		copy(p[4:20], sum[:])
		s.send(p)
	},
	"two-message-authenticators": func(s *oddServer, request []byte) {
		s.send(s.reply(request, radpkt.AccessReject, attr(radpkt.MessageAuthenticator, make([]byte, 16))))
	},
	"eap-unsigned": func(s *oddServer, request []byte) {
		s.send(s.finish(radpkt.Attr(radpkt.Start(nil, radpkt.AccessReject, request[1]), eapMessage, []byte{4, 1, 0, 4}), request))
	},
	"identifier": func(s *oddServer, request []byte) {
		p := s.reply(request, radpkt.AccessReject)
		p[1]++
		s.send(p)
	},
	"accounting-response": func(s *oddServer, request []byte) { s.send(s.reply(request, radpkt.AccountingResponse)) },
	"access-request":      func(s *oddServer, request []byte) { s.send(s.reply(request, radpkt.AccessRequest)) },
	"coa-ack":             func(s *oddServer, request []byte) { s.send(s.reply(request, 44)) },
	"short":               func(s *oddServer, request []byte) { s.send(s.reply(request, radpkt.AccessReject)[:19]) },
	"length":              func(s *oddServer, request []byte) { s.send(lie(s.reply(request, radpkt.AccessReject), 3000)) },
	"attribute":           func(s *oddServer, request []byte) { s.send(s.reply(request, radpkt.AccessReject, []byte{18, 0})) },
	"grows": func(s *oddServer, request []byte) {
		p := radpkt.Start(nil, radpkt.AccessReject, request[1])
		s.send(s.finish(append(p, filler(4096-20-21)...), request))
	},
	"spoofed": func(s *oddServer, request []byte) {
		if _, err := s.other.WriteToUDPAddrPort(s.reply(request, radpkt.AccessReject), s.peer); err != nil {
			s.t.Error(err)
		}
	},
}

// TestE2EAttackRADIUSR11BadRepliesDoNotCount has a server that first answers each login with something that is not an answer
// to it, a Reject mostly, and then rightly, and once more: the NAS gets the right one, once, and the server stays up.
func TestE2EAttackRADIUSR11BadRepliesDoNotCount(t *testing.T) {
	lab := harness.New(t)
	odd := newOddServer(t, lab.Addr(hostStub), func(s *oddServer, request []byte) {
		name, _, _ := strings.Cut(string(radpkt.Find(request, radpkt.UserName)), "@")
		if wrong := wrongly[name]; wrong != nil {
			wrong(s, request)
		}
		rightly(s, request)
		rightly(s, request) // late
		s.send(s.reply(request, radpkt.AccessReject))
	})
	f := oddPool(lab, odd)
	f.servers = addrs(full(lab, 1, ""))
	s := f.start(lab)
	work := wellBehaved(t, s)
	id := byte(0)
	keyer := radpkt.NewKeyer([]byte(harness.NASSecret))
	for name := range wrongly {
		id++
		conn := from(t, lab.Addr(hostSource), 0, s.Auth)
		request := login(t, harness.NASSecret, id, name+"@odd.example", true)
		send(t, conn, request)
		reply := receive(t, conn, 3*time.Second)
		if reply == nil || reply[0] != radpkt.AccessAccept || string(radpkt.Find(reply, radpkt.Class)) != "right" {
			t.Errorf("%s: %x", name, reply)
			continue
		}
		if err := keyer.CheckReply(reply, [16]byte(request[4:20]), true); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if second := receive(t, conn, 30*time.Millisecond); second != nil {
			t.Errorf("%s: a second answer: %x", name, second)
		}
	}
	if state := s.Status().Backend("odd", "auth"); state != "up" {
		t.Errorf("the server that is spoofed is %s", state)
	}
	work.sent(lab, 200)
	work.nothingLost("bad replies")
	s.WaitIdle()
	m := s.Metrics()
	if n := m.Sum("sereno_radius_answers_total", "code", "Access-Reject"); n != 0 {
		t.Errorf("%g Access-Rejects", n)
	}
	if n := m.Sum("sereno_backend_failures_total", "backend", "odd"); n == 0 {
		t.Error("no bad reply is counted")
	}
	for event, least := range map[string]float64{
		"reply-authenticator": 2, "reply-code": 3, "reply-message-authenticator": 2, "reply-malformed": 3, "reply-unsigned": 1,
	} {
		if n := m.Sum("sereno_radius_upstream_total", "event", event); n < least {
			t.Errorf("%s is counted %g times", event, n)
		}
	}
}

// TestE2ERADIUSR10WrongSecretOfAServer has one of two servers configured with a wrong secret: it never comes up, and
// nobody is hurt.
func TestE2ERADIUSR10WrongSecretOfAServer(t *testing.T) {
	lab := harness.New(t)
	one, two := full(lab, 1, ""), full(lab, 2, "")
	s := front{
		servers: addrs(one), more: "      - {name: server-2, address: " + two.Addr.String() + ", secret: not-the-secret}\n",
	}.start(lab)
	work := wellBehaved(t, s)
	s.WaitBackend("server-2", "auth", "down")
	s.WaitBackend("server-2", "acct", "down")
	work.sent(lab, 300)
	work.nothingLost("one of two secrets wrong")
	s.WaitIdle()
	m := s.Metrics()
	if n := m.Sum("sereno_radius_answers_total", "code", "Access-Reject"); n != 0 {
		t.Errorf("%g Access-Rejects", n)
	}
}
