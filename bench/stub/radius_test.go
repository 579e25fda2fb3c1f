package stub

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"
	"layeh.com/radius/rfc2866"

	"sereno/bench/internal/radpkt"
)

var secret = []byte("secret of the test")

func newRADIUS(t *testing.T, demand bool) *RADIUS {
	t.Helper()
	anyPort := netip.MustParseAddrPort("127.0.0.1:0")
	s, err := NewRADIUS(RADIUSConfig{Name: "one", Auth: anyPort, Acct: anyPort, Secret: secret, Demand: demand})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func login(t *testing.T, s *RADIUS, user, password string, state []byte) (*radius.Packet, error) {
	t.Helper()
	p := radius.New(radius.CodeAccessRequest, secret)
	for _, err := range []error{rfc2865.UserName_SetString(p, user), rfc2865.UserPassword_SetString(p, password)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if state != nil {
		if err := rfc2865.State_Set(p, state); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return (&radius.Client{}).Exchange(ctx, p, s.Addr(Auth).String())
}

func TestRADIUSLogins(t *testing.T) {
	s := newRADIUS(t, false)
	for _, c := range []struct {
		user, password string
		want           radius.Code
	}{
		{"mario", "pw-mario", radius.CodeAccessAccept},
		{"mario", "wrong", radius.CodeAccessReject},
		{"reject-1", "pw-reject-1", radius.CodeAccessReject},
		{"challenge-1", "pw-challenge-1", radius.CodeAccessChallenge},
	} {
		p, err := login(t, s, c.user, c.password, nil)
		if err != nil || p.Code != c.want {
			t.Errorf("%s/%s: %v, %v", c.user, c.password, p, err)
			continue
		}
		framed := Login(c.user).Framed
		if got := rfc2865.FramedIPAddress_Get(p); c.want == radius.CodeAccessAccept && !got.Equal(net.IP(framed[:])) {
			t.Errorf("%s got the address %v", c.user, got)
		}
		if state := rfc2865.State_Get(p); c.want == radius.CodeAccessChallenge {
			second, err := login(t, s, c.user, "answer-"+c.user, state)
			if err != nil || second.Code != radius.CodeAccessAccept {
				t.Errorf("after the challenge: %v, %v", second, err)
			}
			foreign, err := login(t, s, c.user, "answer-"+c.user, []byte("other"))
			if err != nil || foreign.Code != radius.CodeAccessReject {
				t.Errorf("with a foreign State: %v, %v", foreign, err)
			}
		}
	}
	got := s.Stats()
	got.Requests, got.NotMessageAuthFirst = 0, 0
	if want := (RADIUSStats{Accepts: 2, Rejects: 3, Challenges: 1, WrongPassword: 1, ForeignState: 1}); got != want {
		t.Errorf("%+v", got)
	}
}

// raw sends one packet and gives the reply, nil if none comes in 200 ms.
func raw(t *testing.T, to netip.AddrPort, packet []byte) []byte {
	t.Helper()
	conn, err := net.Dial("udp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(packet); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, radpkt.MaxSize)
	n, err := conn.Read(buf)
	if err != nil {
		return nil
	}
	return buf[:n]
}

func TestRADIUSBooksAndAcknowledgesAccounting(t *testing.T) {
	s := newRADIUS(t, true)
	p := radius.New(radius.CodeAccountingRequest, secret)
	for _, err := range []error{
		rfc2866.AcctSessionID_SetString(p, "s-1"),
		rfc2866.AcctStatusType_Set(p, rfc2866.AcctStatusType_Value_InterimUpdate),
		rfc2865.ProxyState_SetString(p, "a"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	rfc2865.ProxyState_AddString(p, "b")
	b, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		reply := raw(t, s.Addr(Acct), b)
		if !radius.IsAuthenticResponse(reply, b, secret) {
			t.Fatalf("reply %x", reply)
		}
		if got := radpkt.Count(reply, radpkt.ProxyState); got != 2 || string(radpkt.Find(reply, radpkt.ProxyState)) != "a" {
			t.Errorf("%d Proxy-States in %x", got, reply)
		}
	}
	if n := s.Books().Count(Record{"s-1", AcctInterim}); n != 2 {
		t.Errorf("booked %d times", n)
	}
	b[5] ^= 1
	if reply := raw(t, s.Addr(Acct), b); reply != nil || s.Stats().WrongAuthenticator != 1 {
		t.Errorf("wrong authenticator: %x, %+v", reply, s.Stats())
	}
}

func TestRADIUSDemandsMessageAuthenticator(t *testing.T) {
	s := newRADIUS(t, true)
	k := radpkt.NewKeyer(secret)
	bare := k.HidePassword(radpkt.AttrString(radpkt.Start(nil, radpkt.AccessRequest, 1), radpkt.UserName, "m"), "pw-m", [16]byte{1})
	k.SignRequest(bare, [16]byte{1})
	if reply := raw(t, s.Addr(Auth), bare); reply != nil {
		t.Errorf("without Message-Authenticator: %x", reply)
	}
	status := radpkt.Attr(radpkt.Start(nil, radpkt.StatusServer, 2), radpkt.MessageAuthenticator, make([]byte, 16))
	k.SignRequest(status, [16]byte{2})
	for role, want := range map[Role]byte{Auth: radpkt.AccessAccept, Acct: radpkt.AccountingResponse} {
		reply, err := radpkt.Parse(raw(t, s.Addr(role), status))
		if err != nil || reply[0] != want || k.CheckReply(reply, [16]byte{2}, true) != nil {
			t.Errorf("Status-Server: %x, %v", reply, err)
		}
	}
	if wrongPort := raw(t, s.Addr(Acct), bare); wrongPort != nil {
		t.Errorf("Access-Request on the accounting port: %x", wrongPort)
	}
	if got := s.Stats(); got.WrongMessage != 1 || got.Status != 2 || got.Malformed != 1 {
		t.Errorf("%+v", got)
	}
}

func TestRADIUSFaults(t *testing.T) {
	s := newRADIUS(t, false)
	k := radpkt.NewKeyer(secret)
	request := radpkt.Attr(radpkt.Start(nil, radpkt.AccessRequest, 1), radpkt.MessageAuthenticator, make([]byte, 16))
	request = k.HidePassword(radpkt.AttrString(request, radpkt.UserName, "m"), "pw-m", [16]byte{1})
	k.SignRequest(request, [16]byte{1})
	status := radpkt.Attr(radpkt.Start(nil, radpkt.StatusServer, 2), radpkt.MessageAuthenticator, make([]byte, 16))
	k.SignRequest(status, [16]byte{2})
	set := func(f Fault) {
		t.Helper()
		if err := s.Set(Mode{Fault: f}); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []Fault{Silent, ProbesOnly, Closed} {
		set(f)
		if reply := raw(t, s.Addr(Auth), request); reply != nil {
			t.Errorf("%s: %x", f, reply)
		}
	}
	set(ProbesOnly)
	if raw(t, s.Addr(Auth), status) == nil {
		t.Error("no answer to a probe")
	}
	set(WrongAuthenticator)
	if err := k.CheckReply(raw(t, s.Addr(Auth), request), [16]byte{1}, false); !errors.Is(err, radpkt.ErrAuthenticator) {
		t.Errorf("wrong authenticator: %v", err)
	}
	set(NoMessageAuthenticator)
	if reply := raw(t, s.Addr(Auth), request); k.CheckReply(reply, [16]byte{1}, false) != nil || k.CheckReply(reply, [16]byte{1}, true) == nil {
		t.Errorf("a reply without Message-Authenticator: %x", reply)
	}
	set(Rejects)
	if reply := raw(t, s.Addr(Auth), request); reply[0] != radpkt.AccessReject {
		t.Errorf("rejects: %x", reply)
	}
	if err := s.SetRole(Auth, Mode{}); err != nil {
		t.Fatal(err)
	}
	if reply := raw(t, s.Addr(Auth), request); reply[0] != radpkt.AccessAccept || s.Mode(Acct).Fault != Rejects {
		t.Errorf("one role healed: %x, %s", reply, s.Mode(Acct))
	}
}

// TestRADIUSClosesWhileItCounts: who closes a port waits for the loop, and the loop must not wait for who closes.
func TestRADIUSClosesWhileItCounts(t *testing.T) {
	s, err := NewRADIUS(RADIUSConfig{Secret: []byte("secret"), Auth: netip.MustParseAddrPort("127.0.0.1:0"), Acct: netip.MustParseAddrPort("127.0.0.1:0")})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	h := &radiusUDP{s: s, stats: RADIUSStats{Requests: 1}}
	s.mu.Lock() // as somebody who closes holds it
	go func() {
		h.Flush()
		ended <- nil
	}()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the loop waits for who waits for it")
	}
	s.mu.Unlock()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if s.Stats().Requests != 1 {
		t.Errorf("%+v", s.Stats())
	}
}
