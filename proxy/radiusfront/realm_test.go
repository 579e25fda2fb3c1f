package radiusfront

import (
	"strings"
	"testing"

	"layeh.com/radius"

	"sereno/proxy/radwire"
)

func TestR36RealmOfAName(t *testing.T) {
	for user, want := range map[string][2]string{
		"alice@example.net": {"example.net", "alice"}, "alice": {"", "alice"}, "CORP/alice": {"CORP", "alice"},
		"a@b@c.net": {"c.net", "a@b"}, "x/y@z.net": {"z.net", "x/y"}, "@": {"", ""}, "a@": {"", "a"}, "/a": {"", "a"}, "": {"", ""}, "a/b/c": {"a", "b/c"},
	} {
		if got := string(realmOf([]byte(user))); got != want[0] {
			t.Errorf("%q: realm %q", user, got)
		}
		if got := string(withoutRealm([]byte(user))); got != want[1] {
			t.Errorf("%q: bare %q", user, got)
		}
	}
}

func TestR36RoutesMatch(t *testing.T) {
	var table realmTable
	for _, r := range []string{"Example.NET", "*.example.net", "*.adsl.example.net", "CORP"} {
		table.add(r, realmRoute{realm: r})
	}
	for realm, want := range map[string]string{
		"example.net": "Example.NET", "EXAMPLE.net": "Example.NET", "a.example.net": "*.example.net", "x.adsl.example.net": "*.adsl.example.net",
		"b.a.example.net": "*.example.net", "adsl.example.net": "*.example.net", "notexample.net": "", "net": "", "corp": "CORP", ".example.net": "", "": "",
		strings.Repeat("x", 300): "",
	} {
		r, ok := table.find([]byte(realm))
		if ok != (want != "") || r.realm != want {
			t.Errorf("%q: %q, want %q", realm, r.realm, want)
		}
	}
}

// partner adds a second pool and routes to a front's options.
func partner(t *testing.T, b *server, routes ...Route) func(*Options) {
	other := newFront(t, setup{backends: []*server{b}})
	return func(o *Options) {
		o.Pools["partner"] = RolePools{Auth: other.auth, Acct: other.acct, HashKey: []string{"User-Name"}, Backends: other.opts.Pools["main"].Backends}
		o.Config.Routes = routes
	}
}

func TestR36RealmsGoToTheirPools(t *testing.T) {
	own, theirs := newServer(t, accept), newServer(t, accept)
	f := newFront(t, setup{backends: []*server{own}, options: partner(t, theirs, Route{Realm: "adsl.example.net", Pool: "partner", StripRealm: true}, Route{Realm: "*.keep.net", Pool: "partner"})})
	auth, acct := newNAS(t, f.authAddr()), newNAS(t, f.acctAddr())
	id := byte(0)
	name := func(attrs ...*radius.AVP) string {
		t.Helper()
		id++
		before := own.count()
		if attrs[0].Type == radwire.AttrAcctSessionID {
			acct.exchange(plainRequest(radwire.AccountingRequest, id, nasSecret, attrs...))
		} else {
			auth.exchange(signed(radwire.AccessRequest, id, nasSecret, attrs...))
		}
		s, where := theirs, "partner:"
		if own.count() > before {
			s, where = own, "own:"
		}
		p, err := radius.Parse(s.wait(s.count())[s.count()-1].raw, []byte(backendSecret))
		if err != nil {
			t.Fatal(err)
		}
		return where + string(p.Get(1))
	}
	eap := avp(radwire.AttrEAPMessage, "eap")
	mschap := avp(radwire.AttrVendorSpecific, "\x00\x00\x01\x37\x19\x04xx")
	for _, tt := range []struct {
		attrs []*radius.AVP
		want  string
	}{
		{[]*radius.AVP{avp(1, "alice")}, "own:alice"},
		{[]*radius.AVP{avp(1, "alice@unknown.net")}, "own:alice@unknown.net"},
		{[]*radius.AVP{avp(1, "bob@ADSL.example.net")}, "partner:bob"},
		{[]*radius.AVP{avp(1, "bob@x.adsl.example.net")}, "own:bob@x.adsl.example.net"},
		{[]*radius.AVP{avp(1, "bob@adsl.example.net"), eap}, "partner:bob@adsl.example.net"},
		{[]*radius.AVP{avp(1, "bob@adsl.example.net"), mschap}, "partner:bob@adsl.example.net"},
		{[]*radius.AVP{avp(1, "c@sub.keep.net")}, "partner:c@sub.keep.net"},
		{[]*radius.AVP{avp(44, "s"), avp(1, "bob@adsl.example.net")}, "partner:bob"},
		{[]*radius.AVP{avp(5, "\x00\x00\x00\x01")}, "own:"},
	} {
		if got := name(tt.attrs...); got != tt.want {
			t.Errorf("%v: %s", tt.want, got)
		}
	}
}
