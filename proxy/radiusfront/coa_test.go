package radiusfront

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"layeh.com/radius"

	"sereno/proxy/radwire"
)

// coaFront is a front with one NAS at 127.0.0.2 that listens for CoA, and one
// backend at 127.0.0.1.
type coaFront struct {
	*front
	nas     *server // the NAS's CoA port
	backend *server
	from    *nas // the backend as the sender of CoA
}

func newCoAFront(t *testing.T, plain bool, answer func(r received) []byte, more ...func(*Options)) *coaFront {
	t.Helper()
	c := &coaFront{nas: newServerOn(t, "127.0.0.2:0", nasSecret, answer), backend: newServer(t, accept)}
	c.front = newFront(t, setup{backends: []*server{c.backend}, plain: plain, config: func(cfg *Config) {
		cfg.CoA = []string{"127.0.0.1:0"}
		cfg.Clients = []ClientConfig{testClient("bras-1", "127.0.0.2"), testClient("bras-2", "127.0.0.3")}
		for i := range cfg.Clients {
			cfg.Clients[i].CoAPort = int(c.nas.addr().Port())
		}
	}, options: func(o *Options) {
		for _, f := range more {
			f(o)
		}
	}})
	c.from = newNAS(t, c.listen(KindCoA))
	return c
}

// start makes a session known by accounting from a NAS's address.
func (c *coaFront) start(from, session, user string, attrs ...*radius.AVP) {
	c.t.Helper()
	attrs = append(attrs, avp(1, user))
	acct := newNASFrom(c.t, from, c.acctAddr())
	acct.exchange(acctRequest(1, session, attrs...))
}

func coaRequest(code radwire.Code, id byte, attrs ...*radius.AVP) []byte {
	return plainRequest(code, id, backendSecret, attrs...)
}

func ack(r received) []byte {
	return r.respond(radius.Code(r.raw[0]+1), nasSecret)
}

func nasIP(last byte) *radius.AVP {
	return avp(radwire.AttrNASIPAddress, string([]byte{127, 0, 0, last}))
}

func TestR50CoAAndDisconnectToTheNAS(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		c := newCoAFront(t, plain, ack)
		for i, code := range []radwire.Code{radwire.CoARequest, radwire.DisconnectRequest} {
			req := signed(code, byte(i), backendSecret, nasIP(2), avp(1, "alice"), avp(44, "s1"), avp(radwire.AttrProxyState, "backend's"), avp(200, "as it came"))
			c.from.send(req)
			got := c.from.verified(req, c.from.receive(), backendSecret)
			if byte(got.Code) != byte(code)+1 || string(got.Get(radwire.AttrProxyState)) != "backend's" {
				t.Errorf("%v: %v", code, got)
			}
			r := c.nas.wait(i + 1)[i]
			p, err := radius.Parse(r.raw, []byte(nasSecret))
			if err != nil || string(p.Get(200)) != "as it came" || string(p.Get(1)) != "alice" {
				t.Errorf("%v: the NAS got %v, %v", code, p, err)
			}
			var ix radwire.Index
			if w, err := radwire.Walk(r.raw, &ix); err != nil || !c.nas.secret.VerifyMessageAuthenticator(w, ix.First[80], &radwire.Authenticator{}) {
				t.Errorf("%v: the Message-Authenticator was not computed anew: %v", code, err)
			}
		}
		st := c.balanced()
		if st.Answers[KindCoA][AnswerCoAACK][SourceBackend] != 1 || st.Answers[KindCoA][AnswerDisconnectACK][SourceBackend] != 1 {
			t.Errorf("books: %+v", st.Answers[KindCoA])
		}
	})
}

// TestR12ANASThatSignsOverZeros: as FreeRADIUS does, whose own client wants the request's authenticator.
func TestR12ANASThatSignsOverZeros(t *testing.T) {
	c := newCoAFront(t, false, func(r received) []byte {
		p := ack(r)
		s, asked := radwire.NewSecret([]byte(nasSecret)), radwire.PacketAuthenticator(r.raw)
		s.SignMessageAuthenticator(p, radwire.HeaderLen, &radwire.Authenticator{})
		s.SignResponse(p, &asked)
		return p
	})
	for i, code := range []radwire.Code{radwire.CoARequest, radwire.DisconnectRequest} {
		req := signed(code, byte(i), backendSecret, nasIP(2))
		c.from.send(req)
		if got := c.from.verified(req, c.from.receive(), backendSecret); byte(got.Code) != byte(code)+1 || len(got.Get(radwire.AttrMessageAuthenticator)) != 16 {
			t.Errorf("%v: %v", code, got)
		}
	}
}

func TestR50FindsTheNAS(t *testing.T) {
	c := newCoAFront(t, false, ack)
	c.start("127.0.0.2", "s1", "alice", avp(radwire.AttrNASIdentifier, "pop-east"), avp(radwire.AttrNASIPAddress, "\x0a\x63\x00\x01"), avp(radwire.AttrFramedIPAddress, "\x64\x40\x00\x01"))
	c.start("127.0.0.3", "s2", "bob", avp(radwire.AttrNASIdentifier, "pop-west"), avp(radwire.AttrFramedIPAddress, "\x64\x40\x00\x02"))
	c.start("127.0.0.3", "both", "carol")
	c.start("127.0.0.2", "both", "dave")
	for i, tt := range []struct {
		attrs []*radius.AVP
		cause uint32 // 0: the NAS at 127.0.0.2 gets it
	}{
		{[]*radius.AVP{avp(radwire.AttrNASIdentifier, "pop-east")}, 0},
		{[]*radius.AVP{avp(radwire.AttrNASIdentifier, "bras-1")}, 0}, // its name in the configuration
		{[]*radius.AVP{avp(radwire.AttrNASIPAddress, "\x0a\x63\x00\x01")}, 0},
		{[]*radius.AVP{nasIP(2)}, 0},
		{[]*radius.AVP{avp(44, "s1")}, 0},
		{[]*radius.AVP{avp(1, "alice")}, 0},
		{[]*radius.AVP{avp(radwire.AttrFramedIPAddress, "\x64\x40\x00\x01")}, 0},
		{[]*radius.AVP{avp(44, "both"), avp(1, "dave")}, 0},
		{[]*radius.AVP{avp(44, "both")}, causeSessionNotFound}, // on two NASes
		{[]*radius.AVP{avp(44, "s1"), avp(1, "bob")}, causeSessionNotFound},
		{[]*radius.AVP{avp(44, "unknown")}, causeSessionNotFound},
		{nil, causeSessionNotFound},
		{[]*radius.AVP{avp(radwire.AttrNASIdentifier, "nobody")}, causeNotRoutable},
		{[]*radius.AVP{nasIP(77), avp(44, "s1")}, causeNotRoutable},
	} {
		for _, code := range []radwire.Code{radwire.CoARequest, radwire.DisconnectRequest} {
			before := c.nas.count()
			req := coaRequest(code, byte(i), append(tt.attrs, avp(radwire.AttrProxyState, "ps"))...)
			c.from.send(req)
			got := c.from.verified(req, c.from.receive(), backendSecret)
			wantCode, wantCount := byte(code)+1, 1
			if tt.cause != 0 {
				wantCode, wantCount = byte(code)+2, 0
				if v := got.Get(radwire.AttrErrorCause); len(v) != 4 || binary.BigEndian.Uint32(v) != tt.cause {
					t.Errorf("case %d: error-cause %x, want %d", i, v, tt.cause)
				}
			}
			if byte(got.Code) != wantCode || c.nas.count()-before != wantCount || string(got.Get(radwire.AttrProxyState)) != "ps" {
				t.Errorf("case %d: %v, %d to the NAS", i, got.Code, c.nas.count()-before)
			}
		}
	}
}

func TestR50SessionsFollowAccounting(t *testing.T) {
	c := newCoAFront(t, false, ack)
	status := func(session string, value byte) {
		t.Helper()
		acct := newNASFrom(t, "127.0.0.2", c.acctAddr())
		acct.exchange(plainRequest(radwire.AccountingRequest, value, nasSecret, avp(44, session), avp(1, "u"), avp(radwire.AttrAcctStatusType, string([]byte{0, 0, 0, value}))))
	}
	for _, tt := range []struct {
		session string
		status  byte
		open    int
	}{{"a", acctStart, 1}, {"a", acctStart, 1}, {"b", acctInterim, 2}, {"a", acctStop, 1}, {"a", acctStop, 1}, {"c", acctStart, 2}, {"", acctOn, 0}, {"c", acctInterim, 1}, {"", acctOff, 0}, {"c", acctStop, 0}} {
		status(tt.session, tt.status)
		if got := c.balanced().Sessions; got != tt.open {
			t.Errorf("after %d of %q: %d open, want %d", tt.status, tt.session, got, tt.open)
		}
	}
}

func TestR50OnlyFromABackendOfTheServingPool(t *testing.T) {
	theirs := newServerOn(t, "127.0.0.9:0", backendSecret, accept)
	c := newCoAFront(t, false, ack, partner(t, theirs, Route{Realm: "partner.net", Pool: "partner"}))
	partnerBackend := newNASFrom(t, "127.0.0.9", c.listen(KindCoA))
	c.start("127.0.0.2", "ours", "alice")
	c.start("127.0.0.2", "theirs", "bob@partner.net")
	drops := uint64(0)
	try := func(n *nas, id byte, allowed bool, attrs ...*radius.AVP) {
		t.Helper()
		req := coaRequest(radwire.DisconnectRequest, id, attrs...)
		n.send(req)
		if allowed {
			n.verified(req, n.receive(), backendSecret)
			return
		}
		drops++
		c.untilDropped(KindCoA, ReasonForbidden, drops)
	}
	try(c.from, 1, true, avp(44, "ours"))
	try(partnerBackend, 1, true, avp(44, "theirs"))
	try(partnerBackend, 2, false, avp(44, "ours"))
	try(c.from, 2, false, avp(44, "theirs"))
	try(partnerBackend, 3, false, nasIP(2), avp(1, "alice"))
	try(partnerBackend, 4, true, nasIP(2), avp(1, "new@partner.net"))
	try(partnerBackend, 5, false, nasIP(2))
	try(c.from, 5, true, nasIP(2))
}

func TestR50BadRequests(t *testing.T) {
	c := newCoAFront(t, false, ack)
	now := c.clock.now().Unix()
	at := func(unix int64) *radius.AVP {
		return avp(radwire.AttrEventTimestamp, string(binary.BigEndian.AppendUint32(nil, uint32(unix))))
	}
	c.from.send(plainRequest(radwire.CoARequest, 1, "wrong", nasIP(2)))
	c.untilDropped(KindCoA, ReasonAuthenticator, 1)
	newNASFrom(t, "127.0.0.2", c.listen(KindCoA)).send(coaRequest(radwire.CoARequest, 1, nasIP(2))) // a NAS is no backend
	c.untilDropped(KindCoA, ReasonUnknownClient, 1)
	c.from.send(pap(t, 1, "alice", "x"))
	c.untilDropped(KindCoA, ReasonCode, 1)
	c.from.send(statusRequest(1, backendSecret))
	c.untilDropped(KindCoA, ReasonCode, 2)
	c.from.send([]byte("noise"))
	c.untilDropped(KindCoA, ReasonMalformed, 1)
	for i, off := range []int64{-301, 301, 1 << 31} {
		c.from.send(coaRequest(radwire.CoARequest, 2, nasIP(2), at(now+off)))
		c.untilDropped(KindCoA, ReasonStale, uint64(i+1))
	}
	bad := signed(radwire.CoARequest, 3, backendSecret, nasIP(2))
	bad[23] ^= 1
	radwire.NewSecret([]byte(backendSecret)).SignRequest(bad)
	c.from.send(bad)
	c.untilDropped(KindCoA, ReasonMessageAuthenticator, 1)
	if c.nas.count() != 0 {
		t.Error("the NAS heard of it")
	}
	for i, off := range []int64{-299, 299} {
		req := coaRequest(radwire.CoARequest, byte(4+i), nasIP(2), at(now+off))
		c.from.send(req)
		c.from.verified(req, c.from.receive(), backendSecret)
	}
	q := c.probe.Question(9) // the self-probe reaches this port too
	c.from.send(q)
	if !c.probe.Verify(q, c.from.receive()) {
		t.Error("self-probe")
	}
}

// TestR50DuplicatesGetTheFirstAnswerWhileTheyAreCurrent: a request that is dated 300 s ahead is current for 600 s.
func TestR50DuplicatesGetTheFirstAnswerWhileTheyAreCurrent(t *testing.T) {
	c := newCoAFront(t, false, ack)
	ahead := string(binary.BigEndian.AppendUint32(nil, uint32(c.clock.now().Unix()+300)))
	req := coaRequest(radwire.CoARequest, 1, nasIP(2), avp(radwire.AttrEventTimestamp, ahead))
	c.from.send(req)
	first := c.from.receive()
	other := coaRequest(radwire.CoARequest, 1, nasIP(2), avp(44, "x")) // the identifier is used again
	c.from.send(other)
	c.from.receive()
	c.clock.advance(599 * time.Second)
	c.from.send(req)
	if again := c.from.receive(); string(again) != string(first) || c.nas.count() != 2 {
		t.Errorf("another answer, or the NAS got %d", c.nas.count())
	}
	c.until("the other to be forgotten", func(st *Stats) bool {
		return st.Answers[KindCoA][AnswerCoAACK][SourceDuplicate] == 1 && c.s.remembered.Load() == 1
	})
}

func TestR50RetransmittedToASilentNAS(t *testing.T) {
	c := newCoAFront(t, false, silent)
	req := coaRequest(radwire.DisconnectRequest, 1, nasIP(2))
	c.from.send(req)
	c.nas.wait(1)
	c.clock.advance(2100 * time.Millisecond)
	c.nas.wait(2)
	c.from.send(req) // too soon after the last copy
	c.untilDropped(KindCoA, ReasonDuplicate, 1)
	c.clock.advance(4300 * time.Millisecond)
	got := c.nas.wait(3)
	for _, r := range got {
		if string(r.raw) != string(got[0].raw) || r.from != got[0].from {
			t.Error("a copy is not byte-identical")
		}
	}
	c.clock.advance(10 * time.Second)
	c.untilDropped(KindCoA, ReasonTimeout, 1)
	c.nas.send(ack(got[0]), got[0].from)
	c.untilReply(ReplyLate, 1)
}

func TestR50AClosedPortOfTheNASHurtsNobody(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		c := newCoAFront(t, plain, silent)
		_ = c.nas.conn.Close()
		c.from.send(coaRequest(radwire.CoARequest, 1, nasIP(2)))
		c.until("in flight", func(st *Stats) bool { return st.InFlight[KindCoA] == 1 })
		newNASFrom(t, "127.0.0.3", c.authAddr()).exchange(pap(t, 1, "alice", "x"))
		c.clock.advance(16 * time.Second)
		c.untilDropped(KindCoA, ReasonTimeout, 1)
	})
}

func TestR50AnswersWhatIsInFlightWhenTheListenerLeaves(t *testing.T) {
	c := newCoAFront(t, false, silent)
	req := coaRequest(radwire.CoARequest, 1, nasIP(2))
	c.from.send(req)
	r := c.nas.wait(1)[0]
	o := c.opts
	o.Config.Auth, o.Config.Acct, o.Config.CoA = []string{c.authAddr().String()}, []string{c.acctAddr().String()}, nil
	if err := c.s.Update(o); err != nil {
		t.Fatal(err)
	}
	c.clock.advance(6 * time.Second) // longer than the pool's timeout
	c.nas.wait(2)
	c.nas.send(ack(r), r.from)
	c.from.verified(req, c.from.receive(), backendSecret)
	c.from.send(coaRequest(radwire.CoARequest, 2, nasIP(2)))
	c.untilDropped(KindCoA, ReasonUnknownClient, 1) // nobody sends CoA any more
}

func TestR50LeavesFromCoASource(t *testing.T) {
	c := newCoAFront(t, false, ack, func(o *Options) { o.Config.CoASource = "127.0.0.66" })
	req := coaRequest(radwire.CoARequest, 1, nasIP(2))
	c.from.send(req)
	c.from.verified(req, c.from.receive(), backendSecret)
	if from := c.nas.wait(1)[0].from.Addr(); from != netip.MustParseAddr("127.0.0.66") {
		t.Errorf("sent from %s", from)
	}
	o := c.opts
	o.Config.CoASource = "127.0.0.67"
	o.Config.Auth, o.Config.Acct, o.Config.CoA = []string{c.authAddr().String()}, []string{c.acctAddr().String()}, []string{c.listen(KindCoA).String()}
	if err := c.s.Update(o); err != nil {
		t.Fatal(err)
	}
	req = coaRequest(radwire.CoARequest, 2, nasIP(2))
	c.from.send(req)
	c.from.verified(req, c.from.receive(), backendSecret)
	if from := c.nas.wait(2)[1].from.Addr(); from != netip.MustParseAddr("127.0.0.67") {
		t.Errorf("after a reload sent from %s", from)
	}
	c.clock.advance(11 * time.Minute)
	c.until("idle sockets closed", func(st *Stats) bool {
		for _, u := range st.Upstreams {
			if u.Role == "coa" && u.Ports > 0 {
				return false
			}
		}
		return true
	})
}

func TestR50SessionTableIsBounded(t *testing.T) {
	s := newSessions(1000)
	nas := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}
	for round := range 3 {
		for i := range 5000 {
			req := plainRequest(radwire.AccountingRequest, 1, nasSecret, avp(44, fmt.Sprint(i%1500)), avp(1, fmt.Sprint("u", i%70)),
				avp(8, fmt.Sprintf("%04d", i%900)), avp(40, string([]byte{0, 0, 0, byte(1 + i%3)})))
			var ix radwire.Index
			p, err := radwire.Walk(req, &ix)
			if err != nil {
				t.Fatal(err)
			}
			s.account(nas[i%2], "main", nil, p, &ix)
			if s.known.n > 1000 {
				t.Fatalf("round %d: %d sessions", round, s.known.n)
			}
		}
	}
	chained := map[sessionBy]int{}
	for by := range sessionIndexes {
		for i := range s.known.indexes[by] {
			for _, slot := range s.known.indexes[by][i].slots {
				for r := slot.ref; r != 0; r = s.known.at(r).links[by].next {
					chained[by]++
				}
			}
		}
	}
	aged := 0
	for r := s.known.newest; r != 0; r = s.known.at(r).older {
		aged++
	}
	if n := s.known.n; chained[byID] != n || chained[byUser] != n || chained[byIP] != n || aged != n || s.count() != n {
		t.Errorf("%v in chains, %d by age, %d open, total %d", chained, aged, s.count(), n)
	}
	for i := range maxNames + 100 {
		n, _ := makeNASName(32, fmt.Append(nil, i))
		s.name(n, nas[0], true)
	}
	if len(s.names) != maxNames {
		t.Errorf("%d names", len(s.names))
	}
}
