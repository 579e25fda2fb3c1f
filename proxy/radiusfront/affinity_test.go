package radiusfront

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"layeh.com/radius"

	"sereno/health"
	"sereno/proxy/pool"
	"sereno/proxy/radwire"
)

// conversation is a backend that takes several rounds and rejects a State
// that it did not issue, as every EAP server does.
func conversation(t *testing.T, name string, rounds int) *server {
	return newServer(t, func(r received) []byte {
		p, err := radius.Parse(r.raw, []byte(backendSecret))
		if err != nil {
			t.Error(err)
			return nil
		}
		round := 0
		if state := string(p.Get(radwire.AttrState)); state != "" {
			var by string
			if n, _ := fmt.Sscanf(state, "%1s-%d", &by, &round); n != 2 || by != name {
				return r.respond(radius.CodeAccessReject, backendSecret, avp(radwire.AttrEAPMessage, "failure"))
			}
		}
		if round == rounds {
			return r.respond(radius.CodeAccessAccept, backendSecret, avp(radwire.AttrEAPMessage, "success"))
		}
		return r.respond(radius.CodeAccessChallenge, backendSecret, avp(radwire.AttrState, fmt.Sprintf("%s-%d", name, round+1)), avp(radwire.AttrEAPMessage, "more"))
	})
}

func TestR32ConversationsThroughTwoBackends(t *testing.T) {
	a, b := conversation(t, "a", 6), conversation(t, "b", 6)
	// round-robin would tear every conversation apart
	f := newFront(t, setup{backends: []*server{a, b}, workers: 2, pool: func(c *pool.Config) { c.Balance = "round-robin" }})
	for u := range 20 {
		var state []*radius.AVP
		for round := range 7 {
			nas := newNAS(t, f.authAddr()) // another source port, so maybe another worker, every time
			got := nas.exchange(signed(radwire.AccessRequest, byte(round), nasSecret, append([]*radius.AVP{avp(1, fmt.Sprint("user", u)), avp(radwire.AttrEAPMessage, "eap")}, state...)...))
			switch {
			case got.Code == radius.CodeAccessReject:
				t.Fatalf("user %d, round %d: rejected", u, round)
			case round == 6 && got.Code != radius.CodeAccessAccept:
				t.Fatalf("user %d: %v at the end", u, got.Code)
			}
			state = []*radius.AVP{avp(radwire.AttrState, string(got.Get(radwire.AttrState)))}
			_ = nas.conn.Close()
		}
	}
	if a.count() == 0 || b.count() == 0 {
		t.Errorf("%d and %d requests", a.count(), b.count())
	}
}

func TestR32TheIssuerIsDown(t *testing.T) {
	challenge := func(r received) []byte {
		return r.respond(radius.CodeAccessChallenge, backendSecret, avp(radwire.AttrState, "issued by a"))
	}
	a, b := newServer(t, challenge), newServer(t, accept)
	f := newFront(t, setup{backends: []*server{a, b}, pool: ordered})
	nas := newNAS(t, f.authAddr())
	nas.exchange(signed(radwire.AccessRequest, 1, nasSecret, avp(1, "x")))
	f.setDown("b0", "auth")
	nas.send(signed(radwire.AccessRequest, 2, nasSecret, avp(radwire.AttrState, "issued by a"), avp(radwire.AttrEAPMessage, "eap")))
	f.untilDropped(KindAuth, ReasonStateLost, 1)
	if b.count() != 0 {
		t.Error("an EAP conversation moved")
	}
	got := nas.exchange(signed(radwire.AccessRequest, 3, nasSecret, avp(radwire.AttrState, "issued by a")))
	if got.Code != radius.CodeAccessAccept || b.count() != 1 {
		t.Errorf("without EAP: %v", got.Code)
	}
	// A State from elsewhere goes by the policy.
	nas.exchange(signed(radwire.AccessRequest, 4, nasSecret, avp(radwire.AttrState, "of another node"), avp(radwire.AttrEAPMessage, "eap")))
	if b.count() != 2 {
		t.Errorf("b got %d", b.count())
	}
}

// keep makes the pool one of these backends alone, with verdicts of their own.
func (f *front) keep(servers map[string]*server, verdicts map[string]*health.Backend) {
	f.t.Helper()
	var members []pool.Member
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		var c pool.BackendConfig
		c.SetDefaults()
		c.Name, c.Address = name, servers[name].addr().Addr().String()
		members = append(members, pool.Member{Config: c, Addr: servers[name].addr(), Health: verdicts[name]})
	}
	if err := f.auth.Update(f.auth.Config(), members); err != nil {
		f.t.Fatal(err)
	}
}

// TestR32ADrainedIssuerEndsItsConversations: it gets no new ones.
func TestR32ADrainedIssuerEndsItsConversations(t *testing.T) {
	m := health.NewMonitor(health.Options{})
	defer m.Close()
	target := health.Target{Key: health.Key{Pool: "main", Backend: "b0", Role: "acct"}, Protocol: "radius"}
	target.Config.SetDefaults("radius")
	target.Config.RADIUS.AcctProbe = "none" // only the drain is of interest
	drained := m.Apply([]health.Target{target})[target.Key]

	a, b := conversation(t, "a", 2), conversation(t, "b", 2)
	f := newFront(t, setup{backends: []*server{a, b}, pool: ordered})
	nas := newNAS(t, f.authAddr())
	ask := func(id byte, state string) *radius.Packet {
		t.Helper()
		attrs := []*radius.AVP{avp(1, "x"), avp(radwire.AttrEAPMessage, "eap")}
		if state != "" {
			attrs = append(attrs, avp(radwire.AttrState, state))
		}
		return nas.exchange(signed(radwire.AccessRequest, id, nasSecret, attrs...))
	}
	ask(1, "")
	f.keep(map[string]*server{"b0": a, "b1": b}, map[string]*health.Backend{"b0": drained, "b1": f.h["b1/auth"]})
	m.Drain(target.Key, true)
	if got := string(ask(2, "a-1").Get(radwire.AttrState)); got != "a-2" {
		t.Errorf("the second round gives %q", got)
	}
	if got := ask(3, "a-2"); got.Code != radius.CodeAccessAccept {
		t.Errorf("it ends with %v", got.Code)
	}
	if got := string(ask(4, "").Get(radwire.AttrState)); got != "b-1" {
		t.Errorf("a new one gives %q", got)
	}
}

// TestR32TheIssuerLeftTheConfiguration: another server would reject what it does not know.
func TestR32TheIssuerLeftTheConfiguration(t *testing.T) {
	a, b := conversation(t, "a", 2), conversation(t, "b", 2)
	f := newFront(t, setup{backends: []*server{a, b}, pool: ordered})
	nas := newNAS(t, f.authAddr())
	nas.exchange(signed(radwire.AccessRequest, 1, nasSecret, avp(1, "x"), avp(radwire.AttrEAPMessage, "eap")))
	f.keep(map[string]*server{"b1": b}, map[string]*health.Backend{"b1": f.h["b1/auth"]})
	nas.send(signed(radwire.AccessRequest, 2, nasSecret, avp(1, "x"), avp(radwire.AttrEAPMessage, "eap"), avp(radwire.AttrState, "a-1")))
	f.untilDropped(KindAuth, ReasonStateLost, 1)
	if b.count() != 0 {
		t.Error("the conversation moved")
	}
}

func TestR32EAPStaysWithASilentIssuer(t *testing.T) {
	a, b := conversation(t, "a", 2), conversation(t, "b", 2)
	f := newFront(t, setup{backends: []*server{a, b}, pool: ordered})
	nas := newNAS(t, f.authAddr())
	nas.exchange(signed(radwire.AccessRequest, 1, nasSecret, avp(1, "x"), avp(radwire.AttrEAPMessage, "eap")))
	a.setAnswer(silent)
	next := signed(radwire.AccessRequest, 2, nasSecret, avp(1, "x"), avp(radwire.AttrEAPMessage, "eap"), avp(radwire.AttrState, "a-1"))
	nas.send(next)
	a.wait(2)
	f.clock.advance(1600 * time.Millisecond)
	nas.nothing()
	nas.send(next) // the NAS's retransmission reaches the issuer again
	got := a.wait(3)
	if b.count() != 0 || string(got[1].raw) != string(got[2].raw) {
		t.Errorf("moved to another backend (%d), or the copy differs", b.count())
	}
	a.send(got[2].respond(radius.CodeAccessChallenge, backendSecret, avp(radwire.AttrState, "a-2"), avp(radwire.AttrEAPMessage, "more")), got[2].from)
	nas.verified(next, nas.receive(), nasSecret)
}

func TestR32AffinityIsBoundedAndForgets(t *testing.T) {
	f := newFront(t, setup{backends: []*server{newServer(t, accept)}})
	b, a := f.auth.Backends()[0], newAffinity()
	for i := range 200_000 {
		a.put("main", fmt.Appendf(nil, "state %d", i), b, int64(i))
	}
	if a.get("main", []byte("state 199999"), 200_000) != b {
		t.Error("the newest is forgotten")
	}
	if a.get("other", []byte("state 199999"), 200_000) != nil || a.get("main", []byte("state 199999"), 200_000+affinityTime) != nil {
		t.Error("of another pool, or too old, and still known")
	}
}

func TestR14HiddenAttributesThroughTheFront(t *testing.T) {
	backend := newServer(t, func(r received) []byte {
		salted, err := radius.NewTunnelPassword([]byte("tunnel secret"), []byte{0x80, 1}, []byte(backendSecret), r.raw[4:20])
		if err != nil {
			t.Error(err)
		}
		return r.respond(radius.CodeAccessAccept, backendSecret,
			avp(radwire.AttrTunnelPassword, "\x01"+string(salted)), avp(radwire.AttrTunnelPassword, "\x02"+string(salted)),
			avp(radwire.AttrVendorSpecific, "\x00\x00\x13\x0a\x3a"+string(rune(2+len(salted)))+string(salted)))
	})
	f := newFront(t, setup{backends: []*server{backend}})
	nas := newNAS(t, f.authAddr())
	req := pap(t, 1, "alice", "x")
	got := nas.exchange(req)
	n := 0
	for _, a := range got.Attributes {
		var v []byte
		switch a.Type {
		case radwire.AttrTunnelPassword:
			v = a.Attribute[1:]
		case radwire.AttrVendorSpecific:
			v = a.Attribute[6:]
		default:
			continue
		}
		n++
		if p, _, err := radius.TunnelPassword(v, []byte(nasSecret), req[4:20]); err != nil || string(p) != "tunnel secret" {
			t.Errorf("attribute %d: %q, %v", a.Type, p, err)
		}
	}
	if n != 3 {
		t.Errorf("%d hidden attributes arrived", n)
	}
}
