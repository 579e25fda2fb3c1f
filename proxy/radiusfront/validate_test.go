package radiusfront

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

func goodConfig() Config {
	var c Config
	c.SetDefaults()
	c.Name, c.Pool = "pppoe", "main"
	c.Auth, c.Acct, c.CoA = []string{"192.0.2.18:1812"}, []string{"[2001:db8::18]:1813"}, []string{"10.0.0.2:3799"}
	c.Clients = []ClientConfig{testClient("nas", "10.1.0.1"), testClient("rest", "10.1.0.0/16")}
	c.Routes = []Route{{Realm: "example.net", Pool: "p"}, {Realm: "*.example.net", Pool: "p"}}
	return c
}

func problems(validate func(func(key, message string))) []string {
	var out []string
	validate(func(key, message string) { out = append(out, key+": "+message) })
	return out
}

// TestO01OneMistakeOneMessage: each mistake is named by its key, and alone.
func TestO01OneMistakeOneMessage(t *testing.T) {
	c := goodConfig()
	if got := problems(c.Validate); got != nil {
		t.Fatalf("a good one: %q", got)
	}
	for want, change := range map[string]func(*Config){
		"name: a service needs":            func(c *Config) { c.Name = "" },
		"auth: a service needs an address": func(c *Config) { c.Auth, c.Acct = nil, nil },
		"auth[0]: \"192.0.2.18\" is not an address with a port; write 192.0.2.18:1812":         func(c *Config) { c.Auth[0] = "192.0.2.18" },
		"acct[0]: \"2001:db8::1\" is not an address with a port; write [2001:db8::1]:1813":     func(c *Config) { c.Acct[0] = "2001:db8::1" },
		"coa[0]: \"nowhere\" is not an address":                                                func(c *Config) { c.CoA[0] = "nowhere" },
		"auth[0]: port 0":                                                                      func(c *Config) { c.Auth[0] = "10.0.0.1:0" },
		"acct[0]: 192.0.2.18:1812 is auth[0] already":                                          func(c *Config) { c.Acct[0] = "192.0.2.18:1812" },
		"coa_source: \"x\" is not":                                                             func(c *Config) { c.CoASource = "x" },
		"duplicate_window: must be":                                                            func(c *Config) { c.DuplicateWindow = time.Hour },
		"routes[0].realm: a route needs":                                                       func(c *Config) { c.Routes[0].Realm = "" },
		"routes[0].realm: \"a@b\" is not a realm":                                              func(c *Config) { c.Routes[0].Realm = "a@b" },
		"routes[0].realm: \"*x.net\" is not a realm":                                           func(c *Config) { c.Routes[0].Realm = "*x.net" },
		"routes[0].realm: is longer":                                                           func(c *Config) { c.Routes[0].Realm = strings.Repeat("x", 300) },
		"routes[1].realm: EXAMPLE.net is routes[0]":                                            func(c *Config) { c.Routes[1].Realm = "EXAMPLE.net" },
		"clients[0].name: a client needs":                                                      func(c *Config) { c.Clients[0].Name = "" },
		"clients[0].address: \"10.1.0.1/16\" has bits set after the prefix; write 10.1.0.0/16": func(c *Config) { c.Clients[0].Address = "10.1.0.1/16" },
		"clients[1].address: \"bras\" is neither":                                              func(c *Config) { c.Clients[1].Address = "bras" },
		"clients[0].secret: 3 secrets":                                                         func(c *Config) { c.Clients[0].Secret = []string{"a", "b", "c"} },
		"clients[0].secret: is empty":                                                          func(c *Config) { c.Clients[0].Secret = []string{"a", ""} },
		"clients[0].message_authenticator: \"yes\" is not":                                     func(c *Config) { c.Clients[0].MessageAuthenticator = "yes" },
		"clients[0].coa_port: must":                                                            func(c *Config) { c.Clients[0].CoAPort = 70000 },
		"clients[0].max_in_flight: must":                                                       func(c *Config) { c.Clients[0].MaxInFlight = 0 },
		"accounting.spool_max: must":                                                           func(c *Config) { c.Accounting.SpoolMax = 5 },
		"accounting.ack: \"now\" is not":                                                       func(c *Config) { c.Accounting.Ack = "now" },
		"accounting.ack: after-spool needs":                                                    func(c *Config) { c.Accounting.Ack, c.Accounting.Spool = "after-spool", false },
		"survival.mode: \"always\" is not":                                                     func(c *Config) { c.Survival.Mode = "always" },
		"survival.max_age: must":                                                               func(c *Config) { c.Survival.MaxAge = 0 },
		"survival.session_timeout: must":                                                       func(c *Config) { c.Survival.SessionTimeout = time.Second },
		"survival.realms[0]: \"other.example\" is not":                                         func(c *Config) { c.Survival.Realms = []string{"other.example"} },
		"survival.static_prefixes[0]: is not":                                                  func(c *Config) { c.Survival.StaticPrefixes = []netip.Prefix{{}} },
		"survival.static_prefixes[0]: has bits":                                                func(c *Config) { c.Survival.StaticPrefixes = []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")} },
	} {
		c := goodConfig()
		change(&c)
		if got := problems(c.Validate); len(got) != 1 || !strings.HasPrefix(got[0], want) {
			t.Errorf("%s: %q", want, got)
		}
	}
}

func TestO01Backend(t *testing.T) {
	check := func(protocol string, change func(*BackendConfig)) []string {
		var c BackendConfig
		c.SetDefaults()
		change(&c)
		return problems(func(report func(key, message string)) { c.Validate(protocol, report) })
	}
	if got := check("radius", func(*BackendConfig) {}); got != nil {
		t.Errorf("a good one: %q", got)
	}
	if got := check("dns", func(c *BackendConfig) { c.AuthPort = -1 }); got != nil {
		t.Errorf("of a DNS pool: %q", got)
	}
	if got := check("radius", func(c *BackendConfig) { c.AuthPort, c.AcctPort, c.MessageAuthenticator = -1, 70000, "x" }); len(got) != 3 {
		t.Errorf("three mistakes: %q", got)
	}
}

func TestO02AcceptIsWarnedOf(t *testing.T) {
	c, b := testClient("nas", "10.0.0.1"), BackendConfig{MessageAuthenticator: "accept"}
	if got := problems(c.Warnings); got != nil {
		t.Errorf("auto: %q", got)
	}
	c.MessageAuthenticator = "accept"
	for _, got := range [][]string{problems(c.Warnings), problems(b.Warnings)} {
		if len(got) != 1 || !strings.HasPrefix(got[0], "message_authenticator: accept") {
			t.Errorf("%q", got)
		}
	}
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]Bytes{"1GiB": 1 << 30, "512 MiB": 512 << 20, "0": 0, "1000": 1000, " 3KiB ": 3 << 10} {
		var b Bytes
		if err := b.UnmarshalText([]byte(text)); err != nil || b != want {
			t.Errorf("%q: %d, %v", text, b, err)
		}
		out, err := b.MarshalText()
		var again Bytes
		if err2 := again.UnmarshalText(out); err != nil || err2 != nil || again != b {
			t.Errorf("%q is written %q", text, out)
		}
	}
	for _, text := range []string{"", "-1", "x", "1GB", "99999999999TiB", "GiB"} {
		var b Bytes
		if err := b.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is %d", text, b)
		}
	}
}

// TestLabelsAreDistinct: every value of the closed lists has a word of its own.
func TestLabelsAreDistinct(t *testing.T) {
	seen := map[string]bool{}
	add := func(list, word string) {
		if word == "" || word == "unknown" || word == "other" || seen[list+word] {
			t.Errorf("%s: %q", list, word)
		}
		seen[list+word] = true
	}
	for k := range NumKinds {
		add("kind ", k.String())
	}
	for s := range NumSources {
		add("source ", s.String())
	}
	for c := range NumAnswerCodes {
		add("code ", c.String())
	}
	for r := range NumReasons {
		add("reason ", r.String())
	}
	for r := range NumReplyReasons {
		add("reply ", r.String())
	}
	if NumKinds.String() != "unknown" || NumReasons.String() != "unknown" || !reflect.DeepEqual(LatencyBounds()[11:13], []float64{2, 3}) {
		t.Error("outside the lists, or good_within is no bound of a bucket")
	}
}

func TestR22EveryIdentifierInUse(t *testing.T) {
	f := newFront(t, setup{backends: []*server{newServer(t, silent)}})
	w := f.s.workers[0]
	w.mu.Lock()
	defer w.mu.Unlock()
	up := w.upstream(f.auth.Backends()[0], w.view.fallback, KindAuth)
	seen := map[*port][identifiers]bool{}
	for range maxPorts {
		up.ports = append(up.ports, newPort(up))
	}
	for i := range maxPorts * identifiers {
		p, id, err := up.take(w)
		if err != nil {
			t.Fatalf("after %d: %v", i, err)
		}
		ids := seen[p]
		if ids[id] {
			t.Fatalf("identifier %d of a port was given twice", id)
		}
		ids[id] = true
		seen[p] = ids
	}
	if _, _, err := up.take(w); err == nil {
		t.Error("one more than there are")
	}
	up.ports[3].give(77)
	if p, id, err := up.take(w); err != nil || p != up.ports[3] || id != 77 {
		t.Errorf("the free one is not found: %d, %v", id, err)
	}
	up.ports = nil
}
