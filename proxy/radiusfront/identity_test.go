package radiusfront

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"layeh.com/radius"

	"sereno/proxy/pool"
	"sereno/proxy/radwire"
)

func TestR20AnsweredWithinTheWindowGetsTheSameBytes(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		backend := newServer(t, accept)
		f := newFront(t, setup{backends: []*server{backend}, plain: plain})
		nas := newNAS(t, f.authAddr())
		req := pap(t, 1, "alice", "x")
		nas.send(req)
		first := nas.receive()
		f.clock.advance(9 * time.Second)
		nas.send(req)
		if again := nas.receive(); !bytes.Equal(first, again) {
			t.Error("the duplicate got other bytes")
		}
		st := f.balanced()
		if st.Answers[KindAuth][AnswerAccept][SourceDuplicate] != 1 || st.Answers[KindAuth][AnswerAccept][SourceBackend] != 1 || st.Remembered != 1 {
			t.Errorf("books %+v, %d remembered", st.Answers[KindAuth], st.Remembered)
		}
		f.clock.advance(2 * time.Second)
		f.until("forgetting", func(st *Stats) bool { return st.Remembered == 0 })
		nas.send(req)
		nas.verified(req, nas.receive(), nasSecret)
		if backend.count() != 2 {
			t.Errorf("the backend got %d requests", backend.count())
		}
	})
}

func TestR20DuplicateIdentity(t *testing.T) {
	backend := newServer(t, accept)
	f := newFront(t, setup{backends: []*server{backend}})
	a, b := newNAS(t, f.authAddr()), newNAS(t, f.authAddr())
	req := pap(t, 1, "alice", "x")
	a.exchange(req)
	b.exchange(req) // another source port: another request
	if backend.count() != 2 {
		t.Errorf("the backend got %d requests", backend.count())
	}
}

func TestR20PendingDuplicatesMakeNoSecondTransaction(t *testing.T) {
	backend := newServer(t, silent)
	f := newFront(t, setup{backends: []*server{backend}})
	nas := newNAS(t, f.authAddr())
	req := pap(t, 1, "alice", "x")
	nas.send(req)
	backend.wait(1)
	for i := range 50 { // a mad NAS
		nas.send(req)
		f.untilDropped(KindAuth, ReasonDuplicate, uint64(i+1))
	}
	if st := f.balanced(); st.InFlight[KindAuth] != 1 || backend.count() != 1 {
		t.Errorf("%d in flight, the backend got %d", st.InFlight[KindAuth], backend.count())
	}
}

// TestR20R21NoOtherBackendGetsTheSameBytesAgain: with one backend a NAS's
// retransmission is passed on byte-identical, at most once a second.
func TestR20R21NoOtherBackendGetsTheSameBytesAgain(t *testing.T) {
	for _, k := range []Kind{KindAuth, KindAcct} {
		backend := newServer(t, silent)
		f := newFront(t, setup{backends: []*server{backend}, pool: func(c *pool.Config) { c.AttemptTimeout = 4 * time.Second }})
		nas := newNAS(t, f.listen(k))
		req := pap(t, 1, "alice", "x", avp(radwire.AttrProxyState, "theirs"))
		if k == KindAcct {
			req = acctRequest(1, "s", avp(radwire.AttrAcctDelayTime, "\x00\x00\x00\x00"))
		}
		nas.send(req)
		backend.wait(1)
		f.clock.advance(600 * time.Millisecond)
		nas.send(req)
		f.untilDropped(k, ReasonDuplicate, 1)
		f.clock.advance(500 * time.Millisecond)
		nas.send(req)
		got := backend.wait(2)
		nas.send(req)
		f.untilDropped(k, ReasonDuplicate, 3)
		if len(backend.wait(2)) != 2 || !bytes.Equal(got[0].raw, got[1].raw) || got[0].from != got[1].from {
			t.Errorf("%v: a copy is not byte-identical, or there are %d", k, backend.count())
		}
		backend.send(accept(got[1]), got[1].from)
		nas.verified(req, nas.receive(), nasSecret)
		backend.send(accept(got[0]), got[0].from) // the second copy's answer: its identifier rests
		f.untilReply(ReplyLate, 1)
	}
}

func TestR20DuplicateMovesOnAfterHalfASecond(t *testing.T) {
	slow, quick := newServer(t, silent), newServer(t, accept)
	f := newFront(t, setup{backends: []*server{slow, quick}, pool: func(c *pool.Config) { c.Balance = "ordered" }})
	nas := newNAS(t, f.authAddr())
	req := pap(t, 1, "alice", "x")
	nas.send(req)
	slow.wait(1)
	f.clock.advance(400 * time.Millisecond)
	nas.send(req)
	f.untilDropped(KindAuth, ReasonDuplicate, 1)
	if quick.count() != 0 {
		t.Error("moved before half a second")
	}
	f.clock.advance(200 * time.Millisecond)
	nas.send(req)
	nas.verified(req, nas.receive(), nasSecret)
	if slow.count() != 1 || quick.count() != 1 {
		t.Errorf("%d and %d requests", slow.count(), quick.count())
	}
}

func TestR20AnotherAuthenticatorReplaces(t *testing.T) {
	backend := newServer(t, silent)
	f := newFront(t, setup{backends: []*server{backend}})
	nas := newNAS(t, f.authAddr())
	nas.send(pap(t, 1, "alice", "x"))
	old := backend.wait(1)[0]
	req := pap(t, 1, "bob", "y")
	nas.send(req)
	st := f.untilDropped(KindAuth, ReasonReplaced, 1)
	now := backend.wait(2)[1]
	if st.InFlight[KindAuth] != 1 {
		t.Errorf("%d in flight", st.InFlight[KindAuth])
	}
	backend.send(accept(old), old.from) // must not answer the new one
	f.untilReply(ReplyLate, 1)
	backend.send(accept(now), now.from)
	nas.verified(req, nas.receive(), nasSecret)
}

// TestR20UnsignedNeverReplacesSigned: nor does it suffer from it. A NAS that
// signs only EAP uses an identifier for PAP too.
func TestR20UnsignedNeverReplacesSigned(t *testing.T) {
	backend := newServer(t, silent)
	f := newFront(t, setup{backends: []*server{backend}})
	nas := newNAS(t, f.authAddr())
	eap := signed(radwire.AccessRequest, 1, nasSecret, avp(1, "alice"), avp(radwire.AttrEAPMessage, "eap"))
	nas.send(eap)
	first := backend.wait(1)[0]
	other := plainRequest(radwire.AccessRequest, 1, nasSecret, avp(1, "bob"))
	nas.send(other)
	second := backend.wait(2)[1]
	wrong := signed(radwire.AccessRequest, 1, "wrong", avp(1, "mallory"))
	nas.send(wrong)
	st := f.untilDropped(KindAuth, ReasonMessageAuthenticator, 1)
	if st.InFlight[KindAuth] != 2 {
		t.Errorf("%d in flight", st.InFlight[KindAuth])
	}
	backend.send(accept(first), first.from)
	answer := nas.receive()
	nas.verified(eap, answer, nasSecret)
	backend.send(accept(second), second.from)
	nas.verified(other, nas.receive(), nasSecret)

	// What is remembered of the signed one stays; the unsigned one is replaced
	// by the next of its kind, and both by the next signed one.
	third := plainRequest(radwire.AccessRequest, 1, nasSecret, avp(1, "carol"))
	backend.setAnswer(accept)
	nas.exchange(third)
	nas.send(eap)
	if again := nas.receive(); !bytes.Equal(answer, again) {
		t.Error("the signed one's answer is gone")
	}
	if st := f.balanced(); st.Remembered != 2 {
		t.Errorf("%d remembered", st.Remembered)
	}
	nas.exchange(signed(radwire.AccessRequest, 1, nasSecret, avp(1, "alice"), avp(radwire.AttrEAPMessage, "next")))
	if st := f.balanced(); st.Remembered != 1 {
		t.Errorf("%d remembered", st.Remembered)
	}
}

func TestR21AnotherBackendGetsEverythingAnew(t *testing.T) {
	a, b := newServer(t, silent), newServer(t, silent)
	f := newFront(t, setup{backends: []*server{a, b}, pool: func(c *pool.Config) { c.Balance = "ordered" }})
	nas := newNAS(t, f.authAddr())
	req := pap(t, 1, "alice", "the password")
	nas.send(req)
	first := a.wait(1)[0]
	f.clock.advance(1600 * time.Millisecond)
	second := b.wait(1)[0]
	if bytes.Equal(first.raw[4:20], second.raw[4:20]) {
		t.Error("the authenticator was used again")
	}
	p, err := radius.Parse(second.raw, []byte(backendSecret))
	if err != nil {
		t.Fatal(err)
	}
	if pw, err := radius.UserPassword(p.Get(2), []byte(backendSecret), second.raw[4:20]); err != nil || string(pw) != "the password" {
		t.Errorf("password %q, %v", pw, err)
	}
}

func TestR22IdentifiersRestAndPortsAreOpened(t *testing.T) {
	backend := newServer(t, silent)
	f := newFront(t, setup{backends: []*server{backend}, pool: func(c *pool.Config) { c.Attempts = 1; c.Timeout = 2 * time.Second }})
	auths := map[string]bool{}
	total := 0
	for range 3 { // three source ports of the NAS: 600 at once
		nas := newNAS(t, f.authAddr())
		for id := range 200 {
			nas.send(pap(t, byte(id), "alice", "x"))
			total++
			backend.wait(total)
		}
	}
	type key struct {
		from string
		id   byte
	}
	seen := map[key]bool{}
	for _, r := range backend.wait(600) {
		k := key{r.from.String(), r.raw[1]}
		if seen[k] {
			t.Fatalf("identifier %d of %s is in use twice", k.id, k.from)
		}
		seen[k] = true
		auths[string(r.raw[4:20])] = true
	}
	st := f.balanced()
	if u := st.Upstreams[0]; u.Ports < 3 || u.InUse != 600 || len(auths) != 600 {
		t.Errorf("%+v, %d authenticators", u, len(auths))
	}
	f.clock.advance(2100 * time.Millisecond)
	st = f.untilDropped(KindAuth, ReasonTimeout, 600)
	if u := st.Upstreams[0]; u.InUse != 0 || u.Resting != 600 {
		t.Errorf("after the timeout: %+v", u)
	}
	late := backend.wait(600)[0]
	backend.send(accept(late), late.from)
	f.untilReply(ReplyLate, 1)
	// While they rest none of them is used; afterwards all are.
	nas := newNAS(t, f.authAddr())
	for id := range 100 {
		nas.send(pap(t, byte(id), "bob", "x"))
		backend.wait(601 + id)
	}
	for _, r := range backend.wait(700)[600:] {
		if seen[key{r.from.String(), r.raw[1]}] {
			t.Fatal("a resting identifier was used")
		}
	}
	f.clock.advance(29 * time.Second)
	f.until("all rest", func(st *Stats) bool { return st.Upstreams[0].Resting == 700 && st.Upstreams[0].InUse == 0 })
	f.clock.advance(2 * time.Second)
	f.until("the last rest", func(st *Stats) bool { return st.Upstreams[0].Resting == 100 })
	// Then the ports are closed that only the peak needed.
	f.until("few ports", func(st *Stats) bool {
		f.clock.advance(time.Second)
		return st.Upstreams[0].Resting == 0 && st.Upstreams[0].Ports <= firstPorts*len(f.s.workers)
	})
	nas.send(pap(t, 200, "carol", "x"))
	backend.wait(701)
}

func TestR22ADeadBackendStarvesNoOther(t *testing.T) {
	dead, good := newServer(t, silent), newServer(t, accept)
	f := newFront(t, setup{backends: []*server{dead, good}, pool: func(c *pool.Config) { c.Balance = "ordered"; c.Attempts = 1 },
		backend: func(c *pool.BackendConfig) {
			if c.Name == "b0" {
				c.MaxInFlight = 500
			}
		}})
	answered := newNAS(t, f.authAddr())
	for i := range 3 {
		nas := newNAS(t, f.authAddr())
		for id := range 200 {
			nas.send(pap(t, byte(id), "alice", "x"))
		}
		want := int64(200 * (i + 1))
		f.until("sent", func(st *Stats) bool { return st.InFlight[KindAuth]+int64(st.Sum(KindAuth)) >= want })
	}
	for id := range 200 {
		answered.exchange(pap(t, byte(id), "bob", "x"))
	}
	if st := f.balanced(); st.InFlight[KindAuth] != 500 {
		t.Errorf("%d in flight", st.InFlight[KindAuth])
	}
}

func TestR23AcctDelayTimeIsForwardedAndNeverInvented(t *testing.T) {
	backend := newServer(t, accept)
	f := newFront(t, setup{backends: []*server{backend}})
	acct := newNAS(t, f.acctAddr())
	acct.exchange(acctRequest(1, "s"))
	acct.exchange(acctRequest(2, "s", avp(radwire.AttrAcctDelayTime, "\x00\x00\x00\x07")))
	got := backend.wait(2)
	for i, want := range []string{"", "\x00\x00\x00\x07"} {
		p, err := radius.Parse(got[i].raw, []byte(backendSecret))
		if err != nil || string(p.Get(radwire.AttrAcctDelayTime)) != want {
			t.Errorf("delay %x, want %x", p.Get(radwire.AttrAcctDelayTime), want)
		}
	}
}

func TestR24ProxyState(t *testing.T) {
	for _, on := range []bool{true, false} {
		backend := newServer(t, accept)
		f := newFront(t, setup{backends: []*server{backend}, config: func(c *Config) { c.ProxyState = on }})
		nas := newNAS(t, f.authAddr())
		req := pap(t, 1, "alice", "x", avp(radwire.AttrProxyState, "one"), avp(radwire.AttrProxyState, "two"))
		answer := nas.exchange(req)
		states := func(p *radius.Packet) string {
			var s []string
			for _, a := range p.Attributes {
				if a.Type == radwire.AttrProxyState {
					s = append(s, string(a.Attribute))
				}
			}
			return strings.Join(s, " ")
		}
		if got := states(answer); got != "one two" {
			t.Errorf("the NAS got %q", got)
		}
		sent, err := radius.Parse(backend.wait(1)[0].raw, []byte(backendSecret))
		if err != nil {
			t.Fatal(err)
		}
		got := states(sent)
		if on && (!strings.HasPrefix(got, "one two ") || len(got) != len("one two ")+proxyStateLen) || !on && got != "one two" {
			t.Errorf("proxy_state %v: the backend got %q", on, got)
		}
		backend.setAnswer(func(r received) []byte { return signedReply(r, backendSecret, 1, 0) }) // a backend that returns none
		if got := states(nas.exchange(pap(t, 2, "alice", "x", avp(radwire.AttrProxyState, "one")))); got != "one" {
			t.Errorf("of a forgetful backend the NAS got %q", got)
		}
	}
}

func TestR24OurOwnProxyStateIsALoop(t *testing.T) {
	backend := newServer(t, accept)
	f := newFront(t, setup{backends: []*server{backend}})
	nas := newNAS(t, f.authAddr())
	nas.exchange(pap(t, 1, "alice", "x"))
	sent, err := radius.Parse(backend.wait(1)[0].raw, []byte(backendSecret))
	if err != nil {
		t.Fatal(err)
	}
	nas.send(pap(t, 2, "alice", "x", avp(radwire.AttrProxyState, "theirs"), avp(radwire.AttrProxyState, string(sent.Get(radwire.AttrProxyState)))))
	f.untilDropped(KindAuth, ReasonLoop, 1)
}
