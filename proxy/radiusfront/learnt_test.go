package radiusfront

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"layeh.com/radius"

	"sereno/proxy/insight"
	"sereno/proxy/radwire"
)

func TestR13AutoRequiresOnceAnAddressHasSigned(t *testing.T) {
	f := newFront(t, setup{backends: []*server{newServer(t, accept)}, workers: 2, config: func(c *Config) { c.Clients[0].Address = "127.0.0.0/24" }})
	one, two := newNAS(t, f.authAddr()), newNASFrom(t, "127.0.0.2", f.authAddr())
	id := byte(0)
	request := func(sign bool, attrs ...string) []byte {
		id++
		build := plainRequest
		if sign {
			build = signed
		}
		avps := attrsOf(attrs)
		return build(radwire.AccessRequest, id, nasSecret, avps...)
	}
	one.exchange(request(false))
	one.exchange(request(true, "eap")) // with EAP everybody signs
	one.exchange(request(false))
	one.exchange(request(true))
	one.send(request(false))
	f.untilDropped(KindAuth, ReasonUnsigned, 1)
	newNAS(t, f.authAddr()).send(request(false)) // by address, not by port
	f.untilDropped(KindAuth, ReasonUnsigned, 2)
	one.exchange(request(true))
	two.exchange(request(false)) // another address of the same client
	st := f.balanced()
	if st.Clients[0].Unsigned != 5 {
		t.Errorf("%d unsigned", st.Clients[0].Unsigned)
	}
	got := f.s.Learnt()
	if len(got) != 2 || !got[0].Signs || got[0].Unsigned != 4 || got[1].Signs || got[1].Unsigned != 1 || got[1].Client != "nas" || got[1].LastUnsigned.IsZero() {
		t.Errorf("learnt: %+v", got)
	}
	if n := f.s.ForgetLearnt(netip.MustParseAddr("127.0.0.1")); n != 1 || f.s.ForgetLearnt(netip.MustParseAddr("127.0.0.9")) != 0 {
		t.Errorf("%d forgotten", n)
	}
	one.exchange(request(false))
	if n := f.s.ForgetLearnt(netip.Addr{}); n != 3 { // two addresses and the backend
		t.Errorf("%d forgotten", n)
	}
}

func TestR13ProxyStateWithoutMessageAuthenticator(t *testing.T) {
	for _, tt := range []struct {
		posture   string
		first     string // attribute of the address's first request
		dropped   bool
		firstDrop bool
	}{
		{"auto", "state", false, false}, {"auto", "", true, false}, {"require", "state", true, true}, {"accept", "", false, false},
	} {
		f := newFront(t, setup{backends: []*server{newServer(t, accept)}, config: func(c *Config) { c.Clients[0].MessageAuthenticator = tt.posture }})
		nas := newNAS(t, f.authAddr())
		drops := uint64(0)
		send := func(id byte, dropped bool, attrs ...string) {
			t.Helper()
			req := plainRequest(radwire.AccessRequest, id, nasSecret, attrsOf(attrs)...)
			if dropped {
				drops++
				nas.send(req)
				f.untilDropped(KindAuth, ReasonUnsigned, drops)
				return
			}
			nas.exchange(req)
		}
		send(1, tt.firstDrop, tt.first)
		send(2, tt.dropped, "state")
	}
}

func TestR13BackendsUnderAuto(t *testing.T) {
	backend := newServer(t, nil)
	f := newFront(t, setup{backends: []*server{backend}})
	nas := newNAS(t, f.authAddr())
	backend.setAnswer(func(r received) []byte { return signedReply(r, backendSecret, 0, 0) })
	nas.exchange(pap(t, 1, "a", "b"))
	if st := f.balanced(); st.Upstreams[0].Unsigned != 1 {
		t.Errorf("%+v", st.Upstreams)
	}
	// With EAP-Message every reply has one: that says nothing of the others.
	backend.setAnswer(func(r received) []byte {
		return signedReply(r, backendSecret, 1, 0, avp(radwire.AttrEAPMessage, "success"))
	})
	nas.exchange(signed(radwire.AccessRequest, 2, nasSecret, avp(1, "a"), avp(radwire.AttrEAPMessage, "eap")))
	backend.setAnswer(func(r received) []byte { return signedReply(r, backendSecret, 0, 0) })
	nas.exchange(pap(t, 3, "a", "b"))
	backend.setAnswer(accept)
	nas.exchange(pap(t, 4, "a", "b"))
	backend.setAnswer(func(r received) []byte { return signedReply(r, backendSecret, 0, 0) })
	nas.send(pap(t, 5, "a", "b"))
	f.untilReply(ReplyUnsigned, 1)
}

func TestR13IsKeptOverARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	backend := newServer(t, accept)
	inDir := func(o *Options) { o.StateDir = dir }
	first := newFront(t, setup{backends: []*server{backend}, options: inDir})
	newNAS(t, first.authAddr()).exchange(pap(t, 1, "alice", "x"))
	if err := first.s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "radius-learnt-pppoe.json")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	second := newFront(t, setup{backends: []*server{backend}, options: inDir})
	newNAS(t, second.authAddr()).send(plainRequest(radwire.AccessRequest, 2, nasSecret))
	second.untilDropped(KindAuth, ReasonUnsigned, 1)
	backend.setAnswer(func(r received) []byte { return signedReply(r, backendSecret, 0, 0) })
	newNAS(t, second.authAddr()).send(pap(t, 3, "a", "b"))
	second.untilReply(ReplyUnsigned, 1)

	for name, text := range map[string]string{"torn": `{"sources":[{"addr`, "empty": "", "wrong": "[]", "huge address": `{"sources":[{"address":"999.1.1.1"}]}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		third := newFront(t, setup{backends: []*server{newServer(t, accept)}, options: inDir})
		if got := newNAS(t, third.authAddr()).exchange(plainRequest(radwire.AccessRequest, 2, nasSecret)); got == nil {
			t.Errorf("%s: does not serve", name)
		}
	}
}

func TestR13WhatIsKeptOfASource(t *testing.T) {
	dir := t.TempDir()
	learnt := func() *learnt { return newLearnt(dir, "pppoe", zap.NewNop(), insight.NewRepeats(nil)) }
	nas, proxy, signer := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")
	l := learnt()
	l.source(nas, false)
	l.source(proxy, true)
	l.set(&l.source(signer, false).signs)
	l.save()
	l = learnt()
	l.load()
	for a, want := range map[netip.Addr][2]bool{nas: {false, false}, proxy: {true, false}, signer: {false, true}} {
		if s := l.source(a, !want[0]); s.proxy != want[0] || s.signs.Load() != want[1] {
			t.Errorf("%s: proxy %v, signs %v", a, s.proxy, s.signs.Load())
		}
	}
}

func TestR13MemoryIsBounded(t *testing.T) {
	l := newLearnt("", "x", zap.NewNop(), insight.NewRepeats(nil))
	a := netip.MustParseAddr("10.0.0.0")
	for range maxSources + 1000 {
		a = a.Next()
		l.source(a, false)
	}
	if len(l.sources) != maxSources {
		t.Errorf("%d sources", len(l.sources))
	}
	for _, s := range l.sources {
		s.signs.Store(true)
	}
	if s := l.source(netip.MustParseAddr("192.0.2.1"), true); s == nil || len(l.sources) != maxSources || l.sources[netip.MustParseAddr("192.0.2.1")] != nil {
		t.Error("an address that signs was forgotten for one that may not")
	}
}

func attrsOf(names []string) (out []*radius.AVP) {
	for _, n := range names {
		switch {
		case n == "eap":
			out = append(out, avp(radwire.AttrEAPMessage, "eap"))
		case strings.HasPrefix(n, "state"):
			out = append(out, avp(radwire.AttrProxyState, "theirs"))
		}
	}
	return out
}
