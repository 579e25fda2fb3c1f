package radiusfront

import (
	"bytes"
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"

	"sereno/proxy/radwire"
)

// known is a front with survival whose one backend accepts the password "right" with the
// given attributes and rejects every other.
type known struct {
	*front
	nas    *nas
	server *server
	id     byte
}

func acceptRight(attrs ...*radius.AVP) func(r received) []byte {
	return func(r received) []byte {
		req, err := radius.Parse(r.raw, []byte(backendSecret))
		if err != nil {
			panic(err)
		}
		if req.Code != radius.CodeAccessRequest {
			return r.respond(radius.CodeAccountingResponse, backendSecret)
		}
		if rfc2865.UserPassword_GetString(req) == "right" {
			return r.respond(radius.CodeAccessAccept, backendSecret, attrs...)
		}
		return r.respond(radius.CodeAccessReject, backendSecret)
	}
}

func newKnown(t *testing.T, config func(*Config), options func(*Options), attrs ...*radius.AVP) *known {
	t.Helper()
	s := newServer(t, acceptRight(attrs...))
	f := newFront(t, setup{backends: []*server{s}, options: options, config: func(c *Config) {
		c.Survival.Mode = "known-password"
		c.Survival.StaticPrefixes = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}
		if config != nil {
			config(c)
		}
	}})
	return &known{front: f, nas: newNAS(t, f.authAddr()), server: s}
}

func (k *known) pap(user, password string, attrs ...*radius.AVP) []byte {
	k.id++
	return pap(k.t, k.id, user, password, attrs...)
}

// login expects an answer.
func (k *known) login(user, password string, attrs ...*radius.AVP) *radius.Packet {
	k.t.Helper()
	return k.nas.exchange(k.pap(user, password, attrs...))
}

// fall takes the backend away.
func (k *known) fall() {
	k.server.setAnswer(silent)
	k.setDown("b0", "auth")
}

// rise brings it back.
func (k *known) rise(attrs ...*radius.AVP) {
	k.server.setAnswer(acceptRight(attrs...))
	k.setUp("b0", "auth")
}

// accepted expects an Access-Accept from memory.
func (k *known) accepted(user, password string, attrs ...*radius.AVP) *radius.Packet {
	k.t.Helper()
	before := k.balanced().Answers[KindAuth][AnswerAccept][SourceSurvival]
	got := k.nas.verified(k.unanswered(k.pap(user, password, attrs...)), k.nas.receive(), nasSecret)
	if n := k.balanced().Answers[KindAuth][AnswerAccept][SourceSurvival]; got.Code != radius.CodeAccessAccept || n != before+1 {
		k.t.Fatalf("%s: %v, %d answers from memory after %d", user, got.Code, n, before)
	}
	return got
}

// unanswered sends a request whose backend is asked, and does not answer within
// attempt_timeout.
func (k *known) unanswered(req []byte) []byte {
	k.t.Helper()
	n := k.server.count()
	k.nas.send(req)
	k.server.wait(n + 1)
	k.clock.advance(1600 * time.Millisecond)
	return req
}

// silence expects that a request is not answered: it goes the way of every request
// without a backend, to its end.
func (k *known) silence(req []byte) {
	k.t.Helper()
	before := k.balanced().Drops[KindAuth][ReasonTimeout]
	k.nas.send(req)
	k.until("it is in flight", func(st *Stats) bool { return st.InFlight[KindAuth] > 0 })
	k.clock.advance(6 * time.Second)
	k.untilDropped(KindAuth, ReasonTimeout, before+1)
	k.nas.quiet(k.front)
}

func timeoutOf(p *radius.Packet) time.Duration {
	return time.Duration(rfc2865.SessionTimeout_Get(p)) * time.Second
}

func TestR60TimeoutsAreSpreadByATenth(t *testing.T) {
	s := survival{sessionTimeout: 1000}
	for random, want := range map[uint32]uint32{0: 900, 100: 1000, 200: 1100, 201: 900} {
		if got := s.jittered(random); got != want {
			t.Errorf("%d: %d s, want %d", random, got, want)
		}
	}
}

func TestR60AKnownPasswordIsAcceptedWhileEveryBackendIsDown(t *testing.T) {
	for _, plain := range []bool{false, true} {
		k := newKnown(t, nil, func(o *Options) { o.Plain = plain }, avp(radwire.AttrReplyMessage, "welcome"), avp(radwire.AttrSessionTimeout, "\x00\x01\x51\x80"))
		k.login("alice", "right")
		if st := k.balanced(); st.Survival.Known != 1 || st.Answers[KindAuth][AnswerAccept][SourceSurvival] != 0 {
			t.Fatalf("%+v", st.Survival)
		}
		k.fall()
		req := k.pap("alice", "right", avp(radwire.AttrProxyState, "theirs"))
		k.unanswered(req)
		answer := k.nas.receive()
		got := k.nas.verified(req, answer, nasSecret)
		if got.Code != radius.CodeAccessAccept || rfc2865.ReplyMessage_GetString(got) != "welcome" || rfc2865.ProxyState_GetString(got) != "theirs" {
			t.Errorf("got %v %v", got.Code, got.Attributes)
		}
		if d := timeoutOf(got); d < 27*time.Minute || d > 33*time.Minute {
			t.Errorf("Session-Timeout %v", d)
		}
		if answer[radwire.HeaderLen] != radwire.AttrMessageAuthenticator {
			t.Error("Message-Authenticator is not first")
		}
		k.nas.send(req) // a duplicate gets the same bytes
		if again := k.nas.receive(); !bytes.Equal(again, answer) {
			t.Error("a duplicate got another answer")
		}
		if k.server.count() != 2 { // it was asked first
			t.Errorf("the backend got %d requests", k.server.count())
		}
		// A real answer is a real answer again, at once.
		k.rise()
		if got := k.login("alice", "right"); timeoutOf(got) != 0 {
			t.Error("answered from memory while a backend is up")
		}
	}
}

func TestR60ARequestIsAnsweredWhenItsBackendsFallWhileItWaits(t *testing.T) {
	k := newKnown(t, nil, nil)
	k.login("alice", "right")
	k.server.setAnswer(silent)
	req := k.pap("alice", "right")
	k.nas.send(req)
	k.server.wait(2)
	k.clock.advance(3 * time.Second)
	k.nas.quiet(k.front)
	k.setDown("b0", "auth")
	k.clock.advance(2100 * time.Millisecond)
	if got := k.nas.verified(req, k.nas.receive(), nasSecret); got.Code != radius.CodeAccessAccept {
		t.Errorf("got %v", got.Code)
	}
	if st := k.balanced(); st.Answers[KindAuth][AnswerAccept][SourceSurvival] != 1 || st.InFlight[KindAuth] != 0 {
		t.Errorf("%d from memory, %d in flight", st.Answers[KindAuth][AnswerAccept][SourceSurvival], st.InFlight[KindAuth])
	}
}

func TestR60WhatIsNotKnownHearsNothing(t *testing.T) {
	k := newKnown(t, nil, nil)
	for _, user := range []string{"alice", "bob"} {
		k.login(user, "right")
	}
	k.fall()
	t.Run("another password", func(*testing.T) { k.silence(k.pap("alice", "wrong")) })
	t.Run("an empty password", func(*testing.T) { k.silence(k.pap("alice", "")) })
	t.Run("another user", func(*testing.T) { k.silence(k.pap("carol", "right")) })
	t.Run("the name in other letters", func(*testing.T) { k.silence(k.pap("Alice", "right")) })
	t.Run("a conversation", func(*testing.T) { k.silence(k.pap("alice", "right", avp(radwire.AttrState, "s"))) })
	t.Run("an administrator", func(*testing.T) { k.silence(k.pap("alice", "right", avp(attrServiceType, "\x00\x00\x00\x06"))) })
	t.Run("CHAP", func(*testing.T) {
		k.id++
		k.silence(signed(radwire.AccessRequest, k.id, nasSecret, avp(radwire.AttrUserName, "alice"), avp(radwire.AttrCHAPPassword, "\x01"+strings.Repeat("x", 16))))
	})
	t.Run("EAP", func(*testing.T) {
		k.id++
		k.silence(signed(radwire.AccessRequest, k.id, nasSecret, avp(radwire.AttrUserName, "alice"), avp(radwire.AttrEAPMessage, "\x02\x00\x00\x06\x01a")))
	})
	t.Run("MS-CHAP", func(*testing.T) {
		k.silence(k.pap("alice", "right", avp(radwire.AttrVendorSpecific, "\x00\x00\x01\x37\x0b\x0aabcdefgh")))
	})
	if n := k.balanced().Answers[KindAuth][AnswerReject]; n != ([NumSources]uint64{}) {
		t.Errorf("rejected: %v", n)
	}
	k.accepted("bob", "right")
}

func TestR60NotWhileABackendMayAnswer(t *testing.T) {
	k := newKnown(t, nil, nil)
	k.login("alice", "right")
	k.server.setAnswer(silent)
	b := k.h["b0/auth"]
	b.Unreachable(errors.New("no route to host"))
	if b.State().String() != "suspect" {
		t.Fatalf("%v", b.State())
	}
	k.silence(k.pap("alice", "right"))
}

func TestR60AChangedPassword(t *testing.T) {
	k := newKnown(t, nil, nil)
	k.login("alice", "right")
	k.server.setAnswer(accept) // the password is another now
	k.login("alice", "new")
	k.fall()
	k.silence(k.pap("alice", "right"))
	k.accepted("alice", "new")
}

func TestR60RejectedChallengedOrDisconnectedIsForgotten(t *testing.T) {
	k := newKnown(t, nil, nil)
	for _, user := range []string{"alice", "bob"} {
		k.login(user, "right")
	}
	if got := k.login("alice", "wrong"); got.Code != radius.CodeAccessReject {
		t.Fatal(got.Code)
	}
	k.server.setAnswer(func(r received) []byte {
		return r.respond(radius.CodeAccessChallenge, backendSecret, avp(radwire.AttrState, "s"))
	})
	k.login("bob", "right")
	if n := k.balanced().Survival.Known; n != 0 {
		t.Fatalf("%d known", n)
	}
	k.fall()
	k.silence(k.pap("alice", "right"))
	k.silence(k.pap("bob", "right"))
}

// Sessions of a user whose realm is taken off for the backend are told by the name that
// the backend knows, or by the session alone.
func TestR60ADisconnectForgetsTheUser(t *testing.T) {
	for name, by := range map[string][]*radius.AVP{
		"by name":         {avp(radwire.AttrUserName, "alice")},
		"by session":      {avp(radwire.AttrAcctSessionID, "s1")},
		"by address":      {avp(radwire.AttrFramedIPAddress, "\xc0\x00\x02\x07")},
		"by both of them": {avp(radwire.AttrUserName, "alice"), avp(radwire.AttrAcctSessionID, "s1")},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCoAFront(t, false, ack, func(o *Options) {
				o.Config.Survival.Mode, o.Config.Survival.Realms = "known-password", []string{"example.net"}
				o.Config.Routes = []Route{{Realm: "example.net", Pool: "main", StripRealm: true}}
			})
			c.start("127.0.0.2", "s1", "alice@example.net", avp(radwire.AttrFramedIPAddress, "\xc0\x00\x02\x07"))
			newNASFrom(t, "127.0.0.2", c.authAddr()).exchange(pap(t, 1, "alice@example.net", "right"))
			if n := c.s.Stats().Survival.Known; n != 1 {
				t.Fatalf("%d known", n)
			}
			req := coaRequest(radwire.DisconnectRequest, 9, append([]*radius.AVP{nasIP(2)}, by...)...)
			c.from.send(req)
			if got := c.from.verified(req, c.from.receive(), backendSecret); got.Code != radius.CodeDisconnectACK {
				t.Errorf("got %v", got.Code)
			}
			if n := c.s.Stats().Survival.Known; n != 0 {
				t.Errorf("%d known after the Disconnect", n)
			}
		})
	}
}

func TestR60OnlyOwnUsersAndListedRealms(t *testing.T) {
	k := newKnown(t, func(c *Config) {
		c.Routes = []Route{{Realm: "partner.example", Pool: "main"}, {Realm: "*.Ours.example", Pool: "main"}}
		c.Survival.Realms = []string{"*.ours.example"}
	}, nil)
	users := []string{"alice", "bob@unknown.example", "carol@partner.example", "dave@x.ours.example"}
	for _, user := range users {
		k.login(user, "right")
	}
	if n := k.balanced().Survival.Known; n != 3 {
		t.Errorf("%d known, want 3: a third party's users are not even kept", n)
	}
	k.fall()
	k.accepted(users[0], "right")
	k.accepted(users[1], "right")
	k.silence(k.pap(users[2], "right"))
	k.accepted(users[3], "right")
}

func TestR60AddressesOnlyInsideStaticPrefixes(t *testing.T) {
	prefix6 := func(bits byte, a string) string {
		b := netip.MustParseAddr(a).As16()
		return string([]byte{0, bits}) + string(b[:])
	}
	cisco := func(text string) string {
		return "\x00\x00\x00\x09\x01" + string(byte(len(text)+2)) + text
	}
	for _, tt := range []struct {
		name string
		attr *radius.AVP
		kept bool
	}{
		{"a static address", avp(radwire.AttrFramedIPAddress, "\xc0\x00\x02\x07"), true},
		{"an address of a pool", avp(radwire.AttrFramedIPAddress, "\x64\x40\x00\x01"), false},
		{"the NAS chooses", avp(radwire.AttrFramedIPAddress, "\xff\xff\xff\xfe"), true},
		{"an address of no length", avp(radwire.AttrFramedIPAddress, "\xc0\x00"), false},
		{"a static prefix", avp(attrDelegatedIPv6Prefix, prefix6(56, "2001:db8:1::")), true},
		{"a prefix of a pool", avp(attrDelegatedIPv6Prefix, prefix6(56, "2001:db9:1::")), false},
		{"a prefix around a static one", avp(attrFramedIPv6Prefix, prefix6(24, "2001:d00::")), false},
		{"an IPv6 address of a pool", avp(attrFramedIPv6Address, prefix6(0, "2001:db9::1")[2:]), false},
		{"a static IPv6 address", avp(attrFramedIPv6Address, prefix6(0, "2001:db8::1")[2:]), true},
		{"a static route", avp(attrFramedRoute, "192.0.2.128/25 0.0.0.0 1"), true},
		{"another route", avp(attrFramedRoute, "198.51.100.0/24 0.0.0.0 1"), false},
		{"Cisco's address", avp(radwire.AttrVendorSpecific, cisco("ip:addr=100.64.0.1")), false},
		{"Cisco's pool", avp(radwire.AttrVendorSpecific, cisco("ip:addr-pool=dsl")), true},
		{"Cisco's rate", avp(radwire.AttrVendorSpecific, cisco("sub:Ingress-Committed=1")), true},
		{"Class", avp(radwire.AttrClass, "c"), false},
		{"State", avp(radwire.AttrState, "s"), false},
		{"Tunnel-Password", avp(radwire.AttrTunnelPassword, "\x00\x80\x01"+strings.Repeat("x", 16)), false},
		{"MS-MPPE-Send-Key", avp(radwire.AttrVendorSpecific, "\x00\x00\x01\x37\x10\x14\x80\x01"+strings.Repeat("x", 16)), false},
		{"MikroTik's rate", avp(radwire.AttrVendorSpecific, "\x00\x00\x3a\x8c\x08\x0510M"), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newKnown(t, nil, nil, avp(attrServiceType, "\x00\x00\x00\x02"), tt.attr)
			k.login("alice", "right")
			k.fall()
			got := k.accepted("alice", "right")
			kept := false
			for _, a := range got.Attributes {
				kept = kept || a.Type == tt.attr.Type && bytes.Equal(a.Attribute, tt.attr.Attribute)
			}
			if kept != tt.kept {
				t.Errorf("kept: %v, want %v: %v", kept, tt.kept, got.Attributes)
			}
		})
	}
}

func TestR60ANetmaskStaysWithItsAddress(t *testing.T) {
	for address, want := range map[string]int{"\xc0\x00\x02\x07": 1, "\x64\x40\x00\x01": 0} {
		k := newKnown(t, nil, nil, avp(attrFramedIPNetmask, "\xff\xff\xff\xff"), avp(radwire.AttrFramedIPAddress, address))
		k.login("alice", "right")
		k.fall()
		n := 0
		for _, a := range k.accepted("alice", "right").Attributes {
			if a.Type == attrFramedIPNetmask {
				n++
			}
		}
		if n != want {
			t.Errorf("%d netmasks for %x, want %d", n, address, want)
		}
	}
}

func TestR60AShorterSessionTimeoutOfTheServerStays(t *testing.T) {
	k := newKnown(t, nil, nil, avp(radwire.AttrSessionTimeout, "\x00\x00\x00\x3c"))
	k.login("alice", "right")
	k.fall()
	if d := timeoutOf(k.accepted("alice", "right")); d != time.Minute {
		t.Errorf("Session-Timeout %v", d)
	}
}

func TestR60AnAdministratorsAcceptIsNotKept(t *testing.T) {
	k := newKnown(t, nil, nil, avp(attrServiceType, "\x00\x00\x00\x06"))
	k.login("root", "right")
	if n := k.balanced().Survival.Known; n != 0 {
		t.Errorf("%d known", n)
	}
}

func TestR60MaxAge(t *testing.T) {
	k := newKnown(t, func(c *Config) { c.Survival.MaxAge = time.Hour }, nil)
	k.login("alice", "right")
	k.login("bob", "right")
	k.clock.advance(50 * time.Minute)
	k.login("bob", "right")
	k.clock.advance(11 * time.Minute)
	k.fall()
	k.silence(k.pap("alice", "right"))
	k.accepted("bob", "right")
	k.s.survivors.prune(k.clock.now(), int64(time.Hour))
	if n := k.balanced().Survival.Known; n != 1 {
		t.Errorf("%d known", n)
	}
}

func TestR60OffByDefaultAndByReload(t *testing.T) {
	dir := t.TempDir()
	f := newFront(t, setup{backends: []*server{newServer(t, acceptRight())}, options: func(o *Options) { o.StateDir = dir }})
	nas := newNAS(t, f.authAddr())
	nas.exchange(pap(t, 1, "alice", "right"))
	if st := f.balanced(); st.Survival != nil {
		t.Fatalf("%+v", st.Survival)
	}
	f.reload(func(o *Options) { o.Config.Survival.Mode = "known-password" })
	nas.exchange(pap(t, 2, "alice", "right"))
	if st := f.balanced(); st.Survival == nil || st.Survival.Known != 1 {
		t.Fatalf("%+v", st.Survival)
	}
	if err := f.s.survivors.flush(f.clock.now()); err != nil {
		t.Fatal(err)
	}
	f.reload(nil)
	if st := f.balanced(); st.Survival != nil {
		t.Errorf("%+v", st.Survival)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "radius-survival-*")); len(left) != 0 {
		t.Errorf("left on disk: %v", left)
	}
}

// TestR60ANameThatIsARealmAlone: there is no name without it, so it stays (R36), and its Reject is its own.
func TestR60ANameThatIsARealmAlone(t *testing.T) {
	k := newKnown(t, func(c *Config) {
		c.Routes = []Route{{Realm: "adsl", Pool: "main", StripRealm: true}}
		c.Survival.Realms = []string{"adsl"}
	}, nil)
	k.login("@adsl", "right")
	if got := attr(t, k.server.wait(1)[0].raw, radwire.AttrUserName); string(got) != "@adsl" {
		t.Errorf("the backend got the name %q", got)
	}
	if n := k.balanced().Survival.Known; n != 1 {
		t.Errorf("%d known", n)
	}
	k.login("@adsl", "wrong")
	if n := k.balanced().Survival.Known; n != 0 {
		t.Errorf("%d known after a Reject", n)
	}
}
