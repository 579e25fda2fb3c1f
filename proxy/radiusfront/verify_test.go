package radiusfront

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"layeh.com/radius"

	"sereno/health"
	"sereno/proxy/radwire"
)

func TestR10WrongSecretOnTheNASSide(t *testing.T) {
	backend := newServer(t, accept)
	f := newFront(t, setup{backends: []*server{backend}})
	acct := newNAS(t, f.acctAddr())
	acct.send(plainRequest(radwire.AccountingRequest, 1, "wrong", avp(44, "s")))
	st := f.untilDropped(KindAcct, ReasonAuthenticator, 1)
	if st.Clients[0].BadAuth != 1 || st.Clients[0].Name != "nas" {
		t.Errorf("clients: %+v", st.Clients)
	}
	zero := acctRequest(2, "s")
	clear(zero[4:20])
	acct.send(zero) // RFC 5080 section 2.3.3: all zeros is not an authenticator either
	f.untilDropped(KindAcct, ReasonAuthenticator, 2)
	newNAS(t, f.authAddr()).send(signed(radwire.AccessRequest, 1, "wrong", avp(1, "alice")))
	f.untilDropped(KindAuth, ReasonMessageAuthenticator, 1)
	if backend.count() != 0 {
		t.Error("the backend heard of it")
	}
}

// TestR10R11RepliesThatDoNotFit: none of them answers the NAS, changes health
// or ends the wait; the right one still does.
func TestR10R11RepliesThatDoNotFit(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		backend := newServer(t, nil)
		f := newFront(t, setup{backends: []*server{backend}, plain: plain})
		nas := newNAS(t, f.authAddr())
		req := pap(t, 1, "alice", "x")
		nas.send(req)
		r := backend.wait(1)[0]
		state := f.h["b0/auth"].Status()
		good := accept(r)
		reply := func(name string, b []byte, reason ReplyReason, n uint64) {
			t.Helper()
			backend.send(b, r.from)
			if st := f.untilReply(reason, n); st.InFlight[KindAuth] != 1 {
				t.Errorf("%s: ended the request", name)
			}
		}
		reply("wrong secret", r.respond(radius.CodeAccessAccept, "wrong"), ReplyAuthenticator, 1)
		other := bytes.Clone(good)
		other[1]++
		reply("wrong identifier", other, ReplyUnmatched, 1)
		bent := bytes.Clone(good)
		bent[5] ^= 1
		reply("wrong authenticator", bent, ReplyAuthenticator, 2)
		reply("accounting response", r.respond(radius.CodeAccountingResponse, backendSecret), ReplyCode, 1)
		reply("a request's code", r.respond(radius.CodeAccessRequest, backendSecret), ReplyCode, 2)
		reply("truncated", good[:len(good)-1], ReplyMalformed, 1)
		reply("noise", []byte("no radius at all"), ReplyMalformed, 2)
		reply("two message-authenticators", signedReply(r, backendSecret, 2, 0), ReplyMessageAuthenticator, 1)
		reply("bad message-authenticator", signedReply(r, backendSecret, 1, 1), ReplyMessageAuthenticator, 2)
		reply("eap without one", signedReply(r, backendSecret, 0, 0, avp(radwire.AttrEAPMessage, "eap")), ReplyUnsigned, 1)

		spoofer := newServer(t, nil) // right in everything but its address and port
		spoofer.send(good, r.from)
		nas.nothing()
		if now := f.h["b0/auth"].Status(); now.State != state.State || now.Reason != state.Reason {
			t.Errorf("health moved from %+v to %+v", state, now)
		}
		backend.send(append(bytes.Clone(good), 9, 9, 9), r.from) // padded
		if got := nas.verified(req, nas.receive(), nasSecret); got.Code != radius.CodeAccessAccept {
			t.Errorf("the right one gives %v", got.Code)
		}
		st := f.balanced()
		if st.Upstreams[0].Replies[ReplyCode] != 2 || st.Upstreams[0].Backend != "b0" || st.Upstreams[0].Role != "auth" {
			t.Errorf("upstreams: %+v", st.Upstreams)
		}
	})
}

// signedReply builds an Access-Accept with a number of Message-Authenticators,
// the last of which is off by one in its first byte if bend is 1.
func signedReply(r received, secret string, count int, bend byte, attrs ...*radius.AVP) []byte {
	p := make([]byte, radwire.HeaderLen)
	for range count {
		p = radwire.AppendAttribute(p, radwire.AttrMessageAuthenticator, make([]byte, 16))
	}
	for _, a := range attrs {
		p = radwire.AppendAttribute(p, byte(a.Type), a.Attribute)
	}
	radwire.PutHeader(p, radwire.AccessAccept, r.raw[1], len(p))
	s, asked := radwire.NewSecret([]byte(secret)), radwire.PacketAuthenticator(r.raw)
	if count > 0 {
		s.SignMessageAuthenticator(p, radwire.HeaderLen, &asked)
		p[radwire.HeaderLen+2] ^= bend
	}
	s.SignResponse(p, &asked)
	return p
}

func TestR12EAPWithoutMessageAuthenticatorIsDropped(t *testing.T) {
	backend := newServer(t, accept)
	f := newFront(t, setup{backends: []*server{backend}, config: func(c *Config) { c.Clients[0].MessageAuthenticator = "accept" }})
	nas := newNAS(t, f.authAddr())
	nas.send(plainRequest(radwire.AccessRequest, 1, nasSecret, avp(1, "alice"), avp(radwire.AttrEAPMessage, "eap")))
	f.untilDropped(KindAuth, ReasonUnsigned, 1)
	nas.exchange(plainRequest(radwire.AccessRequest, 2, nasSecret, avp(1, "alice")))
}

// TestR12AccountingKeepsItsMessageAuthenticator: also where the backend computes it as FreeRADIUS does, over zeros.
func TestR12AccountingKeepsItsMessageAuthenticator(t *testing.T) {
	for _, zeros := range []bool{false, true} {
		backend := newServer(t, func(r received) []byte { return acctReply(r, zeros) })
		f := newFront(t, setup{backends: []*server{backend}})
		acct := newNAS(t, f.acctAddr())
		req := signed(radwire.AccountingRequest, 1, nasSecret, avp(44, "s"))
		acct.send(req)
		var ix radwire.Index
		asked := radwire.PacketAuthenticator(req)
		over := asked
		if zeros {
			over = radwire.Authenticator{}
		}
		p, err := radwire.Walk(acct.receive(), &ix)
		if s := radwire.NewSecret([]byte(nasSecret)); err != nil || !ix.Has(80) || !s.VerifyMessageAuthenticator(p, ix.First[80], &over) || !s.VerifyResponse(p, &asked) {
			t.Errorf("zeros %v: the answer is %x, %v", zeros, p, err)
		}
		p, err = radwire.Walk(backend.wait(1)[0].raw, &ix)
		if err != nil || !backend.secret.VerifyMessageAuthenticator(p, ix.First[80], &radwire.Authenticator{}) {
			t.Errorf("the backend's does not verify: %v", err)
		}
	}
}

// acctReply is an Accounting-Response with a Message-Authenticator over the request's authenticator or over zeros.
func acctReply(r received, zeros bool) []byte {
	p := radwire.AppendAttribute(make([]byte, radwire.HeaderLen), radwire.AttrMessageAuthenticator, make([]byte, 16))
	radwire.PutHeader(p, radwire.AccountingResponse, r.raw[1], len(p))
	s, asked := radwire.NewSecret([]byte(backendSecret)), radwire.PacketAuthenticator(r.raw)
	over := asked
	if zeros {
		over = radwire.Authenticator{}
	}
	s.SignMessageAuthenticator(p, radwire.HeaderLen, &over)
	s.SignResponse(p, &asked)
	return p
}

// TestR40AcknowledgedOverZeros: what a FreeRADIUS that signs acknowledges does not stay in the spool, and what the spool
// acknowledges to a NAS that signs has nothing that NASes verify differently.
func TestR40AcknowledgedOverZeros(t *testing.T) {
	backend := newServer(t, func(r received) []byte { return acctReply(r, true) })
	f := newFront(t, withSpool(t.TempDir(), setup{backends: []*server{backend}, config: func(c *Config) { c.Accounting.Ack = "after-spool" }}))
	answer := newNAS(t, f.acctAddr()).exchange(signed(radwire.AccountingRequest, 1, nasSecret, avp(44, "s"), avp(radwire.AttrAcctStatusType, "\x00\x00\x00\x01")))
	if answer.Code != radius.CodeAccountingResponse || len(answer.Attributes) != 0 {
		t.Errorf("the answer is %v", answer)
	}
	f.untilSpool("delivery", func(s *SpoolStats) bool { return s.Delivered == 1 && s.Records == 0 })
}

func TestR12AccountingThatIsSignedWrong(t *testing.T) {
	backend := newServer(t, accept)
	f := newFront(t, setup{backends: []*server{backend}})
	acct := newNAS(t, f.acctAddr())
	bad := signed(radwire.AccountingRequest, 2, nasSecret, avp(44, "s"))
	bad[22] ^= 1
	radwire.NewSecret([]byte(nasSecret)).SignRequest(bad)
	acct.send(bad)
	f.untilDropped(KindAcct, ReasonMessageAuthenticator, 1)
	acct.exchange(acctRequest(3, "s2"))
	var ix radwire.Index
	if _, err := radwire.Walk(backend.wait(1)[0].raw, &ix); err != nil || ix.Has(80) {
		t.Errorf("one was added to accounting: %v", err)
	}
}

func TestR13RequireDropsUnsigned(t *testing.T) {
	backend := newServer(t, accept)
	f := newFront(t, setup{backends: []*server{backend}, config: func(c *Config) { c.Clients[0].MessageAuthenticator = "require" }})
	nas := newNAS(t, f.authAddr())
	nas.send(plainRequest(radwire.AccessRequest, 1, nasSecret, avp(1, "alice")))
	st := f.untilDropped(KindAuth, ReasonUnsigned, 1)
	if st.Clients[0].Unsigned != 1 {
		t.Errorf("clients: %+v", st.Clients)
	}
	nas.exchange(signed(radwire.AccessRequest, 2, nasSecret, avp(1, "alice")))
}

func TestR13BackendMustSign(t *testing.T) {
	for _, tt := range []struct {
		posture string
		refused bool
	}{{"require", true}, {"accept", false}} {
		backend := newServer(t, func(r received) []byte { return signedReply(r, backendSecret, 0, 0) })
		f := newFront(t, setup{backends: []*server{backend}, radius: func(c *BackendConfig) { c.MessageAuthenticator = tt.posture }})
		nas := newNAS(t, f.authAddr())
		req := pap(t, 1, "alice", "x")
		nas.send(req)
		if tt.refused {
			f.untilReply(ReplyUnsigned, 1)
			continue
		}
		nas.verified(req, nas.receive(), nasSecret)
	}
}

func TestR15TwoSecretsDuringARotation(t *testing.T) {
	backend := newServer(t, accept)
	f := newFront(t, setup{backends: []*server{backend}, config: func(c *Config) { c.Clients[0].Secret = []string{"new", "old"} }})
	auth, acct := newNAS(t, f.authAddr()), newNAS(t, f.acctAddr())
	for i, secret := range []string{"old", "new", "new", "old"} {
		req := signed(radwire.AccessRequest, byte(i), secret, avp(1, "alice"))
		auth.send(req)
		auth.verified(req, auth.receive(), secret)
		req = plainRequest(radwire.AccountingRequest, byte(i), secret, avp(44, "s"))
		acct.send(req)
		acct.verified(req, acct.receive(), secret)
		req = statusRequest(byte(100+i), secret)
		auth.send(req)
		auth.verified(req, auth.receive(), secret)
	}
	auth.send(signed(radwire.AccessRequest, 9, "older", avp(1, "alice")))
	f.untilDropped(KindAuth, ReasonMessageAuthenticator, 1)
}

// TestR15NothingShowsASecret looks for secrets and passwords in all that is
// logged, counted or printed while things go wrong.
func TestR15NothingShowsASecret(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	backend := newServer(t, nil)
	f := newFront(t, setup{backends: []*server{backend}, options: func(o *Options) { o.Logger = zap.New(core) }})
	nas := newNAS(t, f.authAddr())
	nas.send(pap(t, 1, "alice", "hunter2"))
	backend.wait(1)
	newNASFrom(t, "127.0.1.1", f.authAddr()).send(pap(t, 1, "alice", "hunter2"))
	st := f.untilDropped(KindAuth, ReasonUnknownClient, 1)
	text := fmt.Sprintf("%+v %+v %v %+v %#v", st, f.s.Listeners(), f.opts, f.opts, f.opts)
	for _, v := range []any{f.opts.Config, f.opts.Pools["main"].Backends} {
		out, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		text += string(out)
	}
	for _, e := range logs.All() {
		text += fmt.Sprintf("%v %v", e.Message, e.ContextMap())
	}
	for _, w := range f.s.workers {
		w.mu.Lock()
		for _, c := range w.view.clients.all {
			text += fmt.Sprintf("%v %+v", c.secrets, c.secrets)
		}
		w.mu.Unlock()
	}
	for _, s := range []string{nasSecret, backendSecret, "hunter2"} {
		if strings.Contains(text, s) {
			t.Errorf("%q is shown", s)
		}
	}
	if logs.Len() == 0 {
		t.Error("an unknown client is not logged")
	}
}

func TestR35StatusServer(t *testing.T) {
	backend := newServer(t, accept)
	f := newFront(t, setup{backends: []*server{backend}})
	auth, acct := newNAS(t, f.authAddr()), newNAS(t, f.acctAddr())
	if got := auth.exchange(statusRequest(1, nasSecret)); got.Code != radius.CodeAccessAccept {
		t.Errorf("authentication port: %v", got.Code)
	}
	got := acct.exchange(signed(radwire.StatusServer, 2, nasSecret, avp(radwire.AttrProxyState, "theirs")))
	if got.Code != radius.CodeAccountingResponse || string(got.Get(radwire.AttrProxyState)) != "theirs" {
		t.Errorf("accounting port: %v", got)
	}
	auth.send(plainRequest(radwire.StatusServer, 3, nasSecret))
	f.untilDropped(KindStatus, ReasonUnsigned, 1)
	auth.send(statusRequest(4, "wrong"))
	f.untilDropped(KindStatus, ReasonMessageAuthenticator, 1)
	f.setDown("b0", "auth")
	auth.send(statusRequest(5, nasSecret))
	f.untilDropped(KindStatus, ReasonNoBackend, 1)
	if got := acct.exchange(statusRequest(6, nasSecret)); got.Code != radius.CodeAccountingResponse {
		t.Errorf("accounting while authentication is down: %v", got.Code)
	}
	if backend.count() != 0 {
		t.Error("a Status-Server was forwarded")
	}
	if st := f.balanced(); st.Answers[KindStatus][AnswerAccept][SourceSelf] != 1 || st.Answers[KindStatus][AnswerAccounting][SourceSelf] != 2 {
		t.Errorf("books: %+v", st.Answers[KindStatus])
	}
}

func TestA07SelfProbeIsAnsweredOffTheBooks(t *testing.T) {
	backend := newServer(t, accept)
	f := newFront(t, setup{backends: []*server{backend}, config: func(c *Config) { c.Clients = nil }})
	f.setDown("b0", "auth") // backends do not enter
	if f.h["b0/auth"].State() != health.Down {
		t.Fatal("not down")
	}
	for _, addr := range []radwire.ProbeSecret{f.probe} {
		for _, to := range []*nas{newNAS(t, f.authAddr()), newNAS(t, f.acctAddr())} {
			q := addr.Question(7)
			to.send(q)
			if !addr.Verify(q, to.receive()) {
				t.Error("the answer proves nothing")
			}
		}
	}
	if st := f.balanced(); st.Requests != [NumKinds]uint64{} {
		t.Errorf("the books have it: %+v", st.Requests)
	}
	stranger := radwire.NewProbeSecret()
	newNAS(t, f.authAddr()).send(stranger.Question(7))
	f.untilDropped(KindStatus, ReasonUnknownClient, 1)
	if f.s.Packets() < 2 {
		t.Errorf("%d packets", f.s.Packets())
	}
}

// TestR35SilenceWhileClosing: a NAS goes elsewhere at once.
func TestR35SilenceWhileClosing(t *testing.T) {
	backend := newServer(t, silent)
	f := newFront(t, setup{backends: []*server{backend}})
	nas, req := newNAS(t, f.authAddr()), pap(t, 1, "alice", "x")
	nas.send(req)
	got := backend.wait(1)
	done := make(chan error)
	go func() { done <- f.s.Close(context.Background()) }()
	f.until("it is closing", func(*Stats) bool {
		w := f.s.workers[0]
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.closing
	})
	nas.send(statusRequest(9, nasSecret))
	f.untilDropped(KindStatus, ReasonClosing, 1)
	backend.send(accept(got[0]), got[0].from)
	nas.verified(req, nas.receive(), nasSecret)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
