package radiusfront

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"

	"sereno/proxy/radwire"
)

// server is a RADIUS server in-process. It fails the test when a request
// breaks what a backend may rely on: an Access-Request without a valid
// Message-Authenticator in front, an accounting authenticator that is wrong,
// an identifier in use again on the same source port while it still counts.
type server struct {
	t      testing.TB
	conn   *net.UDPConn
	secret *radwire.Secret
	key    string
	at     netip.AddrPort // of a server that is another program
	quiet  atomic.Bool    // what it gets is not checked: the test sends nonsense on purpose

	mu      sync.Mutex
	answer  func(r received) []byte // nil: silence
	got     []received
	changed *sync.Cond
}

// received is one request as a backend got it.
type received struct {
	from netip.AddrPort
	raw  []byte
	n    int // how many came before
}

func newServer(t testing.TB, answer func(r received) []byte) *server {
	t.Helper()
	return newServerWith(t, backendSecret, answer)
}

func newServerWith(t testing.TB, key string, answer func(r received) []byte) *server {
	t.Helper()
	return newServerOn(t, "127.0.0.1:0", key, answer)
}

func newServerOn(t testing.TB, addr, key string, answer func(r received) []byte) *server {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, conn: conn, secret: radwire.NewSecret([]byte(key)), key: key, answer: answer}
	s.changed = sync.NewCond(&s.mu)
	done := make(chan struct{})
	go func() { defer close(done); s.serve() }()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return s
}

func (s *server) addr() netip.AddrPort {
	if s.at.IsValid() {
		return s.at
	}
	return s.conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

func (s *server) serve() {
	buf := make([]byte, 8192)
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				continue // ICMP of a peer that went away
			}
			return
		}
		raw := append([]byte(nil), buf[:n]...)
		if !s.quiet.Load() {
			s.check(raw)
		}
		s.mu.Lock()
		r := received{from: from, raw: raw, n: len(s.got)}
		s.got = append(s.got, r)
		answer := s.answer
		s.changed.Broadcast()
		s.mu.Unlock()
		if answer == nil {
			continue
		}
		if reply := answer(r); reply != nil {
			_, _ = s.conn.WriteToUDPAddrPort(reply, from)
		}
	}
}

func (s *server) check(raw []byte) {
	var ix radwire.Index
	p, err := radwire.Walk(raw, &ix)
	if err != nil {
		s.t.Errorf("backend got a malformed packet: %v", err)
		return
	}
	switch radwire.PacketCode(p) {
	case radwire.AccessRequest:
		auth := radwire.PacketAuthenticator(p)
		if ix.First[radwire.AttrMessageAuthenticator] != radwire.HeaderLen || !s.secret.VerifyMessageAuthenticator(p, radwire.HeaderLen, &auth) {
			s.t.Errorf("backend got an Access-Request without a valid Message-Authenticator in front")
		}
	case radwire.AccountingRequest:
		if !radius.IsAuthenticRequest(raw, []byte(s.key)) {
			s.t.Errorf("backend got an Accounting-Request that does not verify")
		}
	case radwire.CoARequest, radwire.DisconnectRequest:
		if !radius.IsAuthenticRequest(raw, []byte(s.key)) || ix.ProxyStates > 0 {
			s.t.Errorf("NAS got a request that does not verify, or a Proxy-State")
		}
	default:
		s.t.Errorf("backend got a %v", radwire.PacketCode(p))
	}
}

// wait gives the requests once there are at least n.
func (s *server) wait(n int) []received {
	s.t.Helper()
	timer := time.AfterFunc(testTimeout, func() { s.mu.Lock(); s.changed.Broadcast(); s.mu.Unlock() })
	defer timer.Stop()
	deadline := time.Now().Add(testTimeout)
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.got) < n {
		if time.Now().After(deadline) {
			s.t.Fatalf("backend got %d requests, want %d", len(s.got), n)
		}
		s.changed.Wait()
	}
	return append([]received(nil), s.got...)
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.got)
}

func (s *server) setAnswer(f func(r received) []byte) {
	s.mu.Lock()
	s.answer = f
	s.mu.Unlock()
}

// send lets the backend send bytes to where a request came from.
func (s *server) send(b []byte, to netip.AddrPort) {
	s.t.Helper()
	if _, err := s.conn.WriteToUDPAddrPort(b, to); err != nil {
		s.t.Fatal(err)
	}
}

// respond builds a reply by the oracle's means, with a Message-Authenticator
// first for Access-* codes, the Proxy-States of the request echoed.
func (r received) respond(code radius.Code, secret string, attrs ...*radius.AVP) []byte {
	req, err := radius.Parse(r.raw, []byte(secret))
	if err != nil {
		panic(err)
	}
	var list []byte
	for _, a := range attrs {
		list = radwire.AppendAttribute(list, byte(a.Type), a.Attribute)
	}
	_ = req
	var ix radwire.Index
	p, err := radwire.Walk(r.raw, &ix)
	if err != nil {
		panic(err)
	}
	out := make([]byte, radwire.MaxLen)
	n, err := radwire.Reply(out, radwire.Code(code), list, p, &ix, radwire.NewSecret([]byte(secret)))
	if err != nil {
		panic(err)
	}
	return out[:n]
}

func accept(r received) []byte {
	if radwire.PacketCode(r.raw) == radwire.AccountingRequest {
		return r.respond(radius.CodeAccountingResponse, backendSecret)
	}
	return r.respond(radius.CodeAccessAccept, backendSecret)
}

func silent(received) []byte { return nil }

func avp(typ byte, value string) *radius.AVP {
	return &radius.AVP{Type: radius.Type(typ), Attribute: radius.Attribute(value)}
}

// nas is a client with one source port.
type nas struct {
	t    testing.TB
	conn *net.UDPConn
	to   netip.AddrPort
}

func newNAS(t testing.TB, to netip.AddrPort) *nas { return newNASFrom(t, "127.0.0.1", to) }

func newNASFrom(t testing.TB, from string, to netip.AddrPort) *nas {
	t.Helper()
	local := net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))
	conn, err := net.DialUDP("udp", local, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &nas{t: t, conn: conn, to: to}
}

func (n *nas) send(b []byte) {
	n.t.Helper()
	if _, err := n.conn.Write(b); err != nil {
		n.t.Fatal(err)
	}
}

// receive is the next datagram; the test fails if none comes.
func (n *nas) receive() []byte {
	n.t.Helper()
	if err := n.conn.SetReadDeadline(time.Now().Add(testTimeout)); err != nil {
		n.t.Fatal(err)
	}
	buf := make([]byte, 8192)
	m, err := n.conn.Read(buf)
	if err != nil {
		n.t.Fatalf("no answer: %v", err)
	}
	return buf[:m]
}

// exchange sends a request and returns its verified answer.
func (n *nas) exchange(req []byte) *radius.Packet {
	n.t.Helper()
	n.send(req)
	return n.verified(req, n.receive(), nasSecret)
}

// verified checks an answer as a NAS does, by the oracle.
func (n *nas) verified(req, answer []byte, secret string) *radius.Packet {
	n.t.Helper()
	if answer[1] != req[1] || !radius.IsAuthenticResponse(answer, req, []byte(secret)) {
		n.t.Fatalf("answer does not verify: %x to %x", answer, req)
	}
	p, err := radius.Parse(answer, []byte(secret))
	if err != nil {
		n.t.Fatal(err)
	}
	var ix radwire.Index
	w, err := radwire.Walk(answer, &ix)
	if err != nil {
		n.t.Fatal(err)
	}
	off := ix.First[radwire.AttrMessageAuthenticator]
	if c := p.Code; c == radius.CodeAccessAccept || c == radius.CodeAccessReject || c == radius.CodeAccessChallenge {
		if off != radwire.HeaderLen {
			n.t.Errorf("%v: Message-Authenticator is not the first attribute", c)
		}
	}
	asked := radwire.PacketAuthenticator(req)
	if off != 0 && !radwire.NewSecret([]byte(secret)).VerifyMessageAuthenticator(w, off, &asked) {
		n.t.Error("the answer's Message-Authenticator does not verify")
	}
	return p
}

// nothing proves that no answer came: a Status-Server sent after it is
// answered, and is the first thing that arrives.
func (n *nas) nothing() {
	n.t.Helper()
	req := statusRequest(255, nasSecret)
	answer := n.exchange(req)
	if answer.Identifier != 255 {
		n.t.Fatalf("an answer came: %v", answer)
	}
}

// quiet proves the same where the service itself may be silent: by a self-probe.
func (n *nas) quiet(f *front) {
	n.t.Helper()
	q := f.probe.Question(254)
	n.send(q)
	if answer := n.receive(); !f.probe.Verify(q, answer) {
		n.t.Fatalf("an answer came: %x", answer)
	}
}

// sign puts a Message-Authenticator in front and signs the request with secret.
func signed(code radwire.Code, id byte, secret string, attrs ...*radius.AVP) []byte {
	p := make([]byte, radwire.HeaderLen)
	p = radwire.AppendAttribute(p, radwire.AttrMessageAuthenticator, make([]byte, 16))
	return finish(p, code, id, secret, radwire.HeaderLen, attrs)
}

// plainRequest has no Message-Authenticator.
func plainRequest(code radwire.Code, id byte, secret string, attrs ...*radius.AVP) []byte {
	return finish(make([]byte, radwire.HeaderLen), code, id, secret, 0, attrs)
}

var authCounter atomic.Uint64

func finish(p []byte, code radwire.Code, id byte, secret string, ma uint16, attrs []*radius.AVP) []byte {
	n := authCounter.Add(1)
	for i := range 8 {
		p[4+i], p[12+i] = byte(n>>(8*i)), byte(i)
	}
	for _, a := range attrs {
		p = radwire.AppendAttribute(p, byte(a.Type), a.Attribute)
	}
	radwire.PutHeader(p, code, id, len(p))
	s := radwire.NewSecret([]byte(secret))
	auth := radwire.MessageAuthOf(p)
	if ma != 0 {
		s.SignMessageAuthenticator(p, ma, &auth)
	}
	if code != radwire.AccessRequest && code != radwire.StatusServer {
		s.SignRequest(p)
	}
	return p
}

func statusRequest(id byte, secret string) []byte { return signed(radwire.StatusServer, id, secret) }

// pap is an Access-Request with a User-Password that the oracle hid.
func pap(t testing.TB, id byte, user, password string, attrs ...*radius.AVP) []byte {
	t.Helper()
	req := radius.New(radius.CodeAccessRequest, []byte(nasSecret))
	req.Identifier = id
	_ = rfc2865.UserName_SetString(req, user)
	if err := rfc2865.UserPassword_SetString(req, password); err != nil {
		t.Fatal(err)
	}
	req.Add(radwire.AttrMessageAuthenticator, make(radius.Attribute, 16))
	for _, a := range attrs {
		req.Add(a.Type, a.Attribute)
	}
	wire, err := req.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var ix radwire.Index
	p, err := radwire.Walk(wire, &ix)
	if err != nil {
		t.Fatal(err)
	}
	auth := radwire.PacketAuthenticator(p)
	radwire.NewSecret([]byte(nasSecret)).SignMessageAuthenticator(p, ix.First[radwire.AttrMessageAuthenticator], &auth)
	return wire
}

func acctRequest(id byte, session string, attrs ...*radius.AVP) []byte {
	return plainRequest(radwire.AccountingRequest, id, nasSecret, append([]*radius.AVP{avp(radwire.AttrAcctSessionID, session), avp(radwire.AttrAcctStatusType, "\x00\x00\x00\x01")}, attrs...)...)
}
