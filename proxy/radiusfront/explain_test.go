package radiusfront

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"sereno/proxy/pool"
	"sereno/proxy/radwire"
)

func TestO13ExplainSaysWhatARequestMeets(t *testing.T) {
	own, second, theirs := newServer(t, accept), newServer(t, accept), newServer(t, accept)
	f := newFront(t, setup{backends: []*server{own, second}, options: partner(t, theirs, Route{Realm: "*.adsl.net", Pool: "partner", StripRealm: true})})
	nas := newNAS(t, f.authAddr())
	addr := netip.MustParseAddr("127.0.0.1")

	for i := range 20 { // what it says is what happens
		user := fmt.Sprintf("user-%d", i)
		e := f.s.Explain(Question{User: user, NAS: addr})
		before := own.count()
		nas.exchange(signed(radwire.AccessRequest, byte(i), nasSecret, avp(1, user)))
		want := "b1"
		if own.count() > before {
			want = "b0"
		}
		if got := e.Roles[0].Backends[0]; got.Name != want || !got.Tried || got.State != "up" || got.Share != 1 {
			t.Fatalf("%s: %+v, went to %s", user, got, want)
		}
	}
	explainsRealm(t, f, addr)
	e := f.s.Explain(Question{User: "carol", NAS: netip.MustParseAddr("192.0.2.1")})
	if e.Client != "" || e.Pool != "main" || !strings.Contains(strings.Join(e.Why, "\n"), "unknown-client") || !strings.Contains(strings.Join(e.Why, "\n"), "no Calling-Station-Id") {
		t.Errorf("%q", e.Why)
	}
	f.setDown("b0", "auth")
	for i := range 20 {
		if e = f.s.Explain(Question{User: fmt.Sprint(i)}); e.Roles[0].Backends[0].Name != "b1" || e.Roles[0].Backends[1].State != "down" {
			t.Errorf("with b0 down: %+v", e.Roles[0])
		}
	}
	if n := f.auth.Backends()[0].InFlight() + f.auth.Backends()[1].InFlight(); n != 0 {
		t.Errorf("%d slots are not given back", n)
	}
	counted := uint64(0)
	for _, b := range f.auth.Backends() {
		counted += b.Counters().Requests
	}
	if counted != 20 {
		t.Errorf("%d requests at the backends: explaining counts", counted)
	}
	if st := f.balanced(); st.Requests[KindAuth] != 20 {
		t.Errorf("%d requests in the books", st.Requests[KindAuth])
	}
	if e := f.s.Explain(Question{}); e.HashBy != "NAS address" {
		t.Errorf("%+v", e)
	}
}

func TestO13ExplainWhereThePolicyDoesNotSay(t *testing.T) {
	f := newFront(t, setup{backends: []*server{newServer(t, accept), newServer(t, accept)}, pool: func(c *pool.Config) { c.Balance = "round-robin" }})
	e := f.s.Explain(Question{User: "x"})
	if e.Roles[0].Ordered || e.Roles[0].Backends[0].Tried || e.Roles[0].Backends[0].Name != "b0" || e.Roles[1].Role != "acct" {
		t.Errorf("%+v", e.Roles)
	}
}

func explainsRealm(t *testing.T, f *front, addr netip.Addr) {
	t.Helper()
	e := f.s.Explain(Question{User: "bob@X.adsl.net", NAS: addr, Keys: map[string]string{"Calling-Station-Id": "m"}})
	if e.Client != "nas" || e.Posture != "auto" || e.Learnt == nil || !e.Learnt.Signs || e.Realm != "x.adsl.net" || e.Route != "*.adsl.net" ||
		e.Pool != "partner" || e.UserName != "bob" || e.HashBy != "User-Name" || len(e.Roles) != 2 || len(e.Roles[0].Backends) != 1 {
		t.Errorf("%+v", e)
	}
}
