package dnsfront

import (
	"fmt"
	"hash/maphash"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"sereno/proxy/dnswire"
)

func blockFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestD64Names(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		file := blockFile(t, "\ufeff# a court's order\nBad.Example\nevil.test.   # with a remark\n\nnot a name\n"+strings.Repeat("x", 64)+"\nbücher.example\n*.wild.example\n*.\n")
		f := newFront(t, setup{plain: plain, config: func(c *Config) {
			c.Block = []BlockConfig{{File: file, Format: "names", Action: "nxdomain", Reason: "censored"}}
		}})
		for name, blocked := range map[string]bool{
			"bad.example.": true, "WWW.bad.Example.": true, "a.b.evil.test.": true, "xbad.example.": false, "example.": false, "test.": false,
			"www.xn--bcher-kva.example.": true, "www.good.example.": false,
			"www.wild.example.": true, "wild.example.": false,
		} {
			m := f.ask(withOPT(asking(name, dns.TypeA), 1232, false))
			if blocked != (m.Rcode == dns.RcodeNameError) || blocked != (ede(m) == 16) {
				t.Errorf("%s: %s", name, m)
			}
			if blocked && (len(m.Ns) != 1 || m.Ns[0].Header().Rrtype != dns.TypeSOA) {
				t.Error("no SOA: ", m)
			}
		}
		if said := f.settings.Load().blockSaid[0]; said.names != 4 || said.ignored != 3 || !strings.Contains(said.example, "line 5") {
			t.Errorf("%+v", said)
		}
	})
}

func TestD64Actions(t *testing.T) {
	file := blockFile(t, "bad.example\n")
	f := newFront(t, setup{})
	set := func(action, reason string) {
		o := f.opts
		o.Config.Block = []BlockConfig{{File: file, Format: "names", Action: action, Reason: reason}}
		if err := f.Update(o); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(typ uint16) *dns.Msg { return f.ask(withOPT(asking("www.bad.example.", typ), 1232, false)) }
	set("refuse", "filtered")
	if m := ask(dns.TypeA); m.Rcode != dns.RcodeRefused || ede(m) != 17 {
		t.Error(m)
	}
	set("nodata", "blocked")
	if m := ask(dns.TypeA); m.Rcode != 0 || len(m.Answer) != 0 || ede(m) != 15 {
		t.Error(m)
	}
	set("192.0.2.99", "blocked")
	if m := ask(dns.TypeA); len(m.Answer) != 1 || m.Answer[0].(*dns.A).A.String() != "192.0.2.99" {
		t.Error(m)
	}
	if m := ask(dns.TypeAAAA); m.Rcode != 0 || len(m.Answer) != 0 {
		t.Error(m)
	}
	set("2001:db8::99", "blocked")
	if m := ask(dns.TypeAAAA); len(m.Answer) != 1 || m.Answer[0].(*dns.AAAA).AAAA.String() != "2001:db8::99" {
		t.Error(m)
	}
	set("drop", "blocked")
	if out := f.send(packed(t, asking("bad.example.", dns.TypeA)), 50*time.Millisecond); out != nil {
		t.Error("answered")
	}
	if s := f.Stats(); s.Drops[UDP][DropBlocked] != 1 || f.asked() != 0 {
		t.Error(s.Drops, f.asked())
	}
	// A changed file is taken up by a reload, a missing one refuses it.
	if err := os.WriteFile(file, []byte("other.example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	set("nxdomain", "blocked")
	if m := ask(dns.TypeA); m.Rcode != 0 {
		t.Error(m)
	}
	o := f.opts
	o.Config.Block = []BlockConfig{{File: file + "x", Format: "names", Action: "drop", Reason: "blocked"}}
	if err := f.Update(o); err == nil {
		t.Error("a missing file was accepted")
	}
}

func TestD64Hosts(t *testing.T) {
	file := blockFile(t, "127.0.0.1 localhost localhost.localdomain\n::1 ip6-localhost\n0.0.0.0 0.0.0.0\n0.0.0.0 ads.example tracker.example # two\nnonsense\n")
	f := newFront(t, setup{config: func(c *Config) {
		c.Block = []BlockConfig{{File: file, Format: "hosts", Action: "nxdomain", Reason: "blocked"}}
	}})
	for name, blocked := range map[string]bool{"ads.example.": true, "tracker.example.": true, "www.ads.example.": false, "localhost.": false, "0.0.0.0.": false} {
		if m := f.ask(asking(name, dns.TypeA)); blocked != (m.Rcode == dns.RcodeNameError) {
			t.Errorf("%s: %s", name, m)
		}
	}
	if said := f.settings.Load().blockSaid[0]; said.names != 2 || said.ignored != 1 {
		t.Errorf("%+v", said)
	}
}

const rpz = `$TTL 60
@ SOA localhost. root.localhost. 1 2 3 4 5
@ NS localhost.
nx.example CNAME .
*.nx.example CNAME .
only.example CNAME *.
*.wild.example CNAME .
good.wild.example CNAME rpz-passthru.
drop.example CNAME rpz-drop.
tcp.example CNAME rpz-tcp-only.
data.example A 192.0.2.77
data.example A 192.0.2.78
data.example TXT "walled"
alias.example CNAME garden.example.
*.alias.example CNAME *.garden.example.
32.1.2.0.192.rpz-ip CNAME .
ns.evil.rpz-nsdname CNAME .
`

func TestD64RPZ(t *testing.T) {
	for _, zone := range []string{rpz, "$ORIGIN rpz.provider.test.\n" + rpz} {
		f := newFront(t, setup{config: func(c *Config) {
			c.Block = []BlockConfig{{File: blockFile(t, zone), Format: "rpz", Action: "refuse", Reason: "filtered"},
				{File: blockFile(t, "good.wild.example\nlater.example\n"), Format: "names", Action: "refuse", Reason: "blocked"}}
		}})
		ask := func(name string, typ uint16) *dns.Msg { return f.ask(withOPT(asking(name, typ), 1232, false)) }
		for name, want := range map[string]int{
			"nx.example.": 3, "a.b.nx.example.": 3, "wild.example.": 0, "x.wild.example.": 3, "good.wild.example.": 0, "only.example.": 0,
			"x.only.example.": 0, "later.example.": 5, "free.example.": 0,
		} {
			if m := ask(name, dns.TypeA); m.Rcode != want || want == 3 && ede(m) != 17 {
				t.Errorf("%s: %s", name, m)
			}
		}
		if m := ask("only.example.", dns.TypeA); len(m.Answer) != 0 {
			t.Error(m)
		}
		if m := ask("x.only.example.", dns.TypeA); len(m.Answer) != 1 {
			t.Error(m)
		}
		if m := ask("data.example.", dns.TypeA); len(m.Answer) != 2 || m.Answer[0].Header().Ttl != 60 {
			t.Error(m)
		}
		if m := ask("data.example.", dns.TypeTXT); len(m.Answer) != 1 || m.Answer[0].(*dns.TXT).Txt[0] != "walled" {
			t.Error(m)
		}
		if m := ask("data.example.", dns.TypeMX); m.Rcode != 0 || len(m.Answer) != 0 {
			t.Error(m)
		}
		for range 2 {
			for name, target := range map[string]string{"alias.example.": "garden.example.", "A.b.Alias.example.": "a.b.alias.example.garden.example."} {
				m := ask(name, dns.TypeA)
				if len(m.Answer) != 2 || m.Answer[0].(*dns.CNAME).Target != target || m.Answer[1].(*dns.A).Hdr.Name != target {
					t.Errorf("%s: %s", name, m)
				}
			}
		}
		if m := ask("tcp.example.", dns.TypeA); !m.Truncated {
			t.Error(m)
		}
		if m := f.askTCP(asking("tcp.example.", dns.TypeA)); len(m.Answer) != 1 {
			t.Error(m)
		}
		if out := f.send(packed(t, asking("drop.example.", dns.TypeA)), 50*time.Millisecond); out != nil {
			t.Error("answered")
		}
		if said := f.settings.Load().blockSaid[0]; said.ignored != 2 || said.names != 10 {
			t.Errorf("%+v", said)
		}
	}
}

// A wildcard whose alias leads to the name that it stands below is local data, and no
// rpz-passthru of the old form, which leads to itself.
func TestD64RPZWildcardThatLeadsToItsBase(t *testing.T) {
	f := newFront(t, setup{config: func(c *Config) {
		c.Block = []BlockConfig{{File: blockFile(t, "@ SOA localhost. root.localhost. 1 2 3 4 5\n*.walled.example CNAME walled.example.\n"+
			"self.example CNAME self.example.\n"), Format: "rpz", Action: "refuse", Reason: "filtered"}}
	}})
	if m := f.ask(asking("x.walled.example.", dns.TypeA)); len(m.Answer) != 2 || m.Answer[0].(*dns.CNAME).Target != "walled.example." {
		t.Error(m)
	}
	for _, name := range []string{"walled.example.", "self.example."} {
		if m := f.ask(asking(name, dns.TypeA)); len(m.Answer) != 1 {
			t.Error(m)
		}
	}
}

func TestD64HundredsOfThousandsOfNames(t *testing.T) {
	var text strings.Builder
	const n = 300000
	for i := range n {
		fmt.Fprintf(&text, "blocked-%d.example%d.net\n", i, i%100)
	}
	c := BlockConfig{File: blockFile(t, text.String()), Format: "names", Action: "nxdomain", Reason: "censored"}
	text.Reset()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	b, said, err := loadBlock(&c)
	if err != nil || said.names != n {
		t.Fatal(err, said)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if per := float64(after.HeapAlloc-before.HeapAlloc) / n; per > 200 {
		t.Errorf("%.0f octets for each name", per)
	}
	for i := range n {
		name := wire(fmt.Sprintf("www.blocked-%d.example%d.net.", i, i%100))
		if b.find(name) == nil || b.find(name[4:]) == nil {
			t.Fatal(i)
		}
	}
	if b.find(wire("blocked-1.example2.net.")) != nil || b.find(wire("example1.net.")) != nil {
		t.Error("too much is blocked")
	}
}

// A list that is longer than any list is refused before it takes the memory; in a zone one
// line can make many records.
func TestO30ABlockListIsBounded(t *testing.T) {
	for format, text := range map[string]string{
		"names": strings.Repeat("a.example\n", 500) + "b.example\nc.example\nd.example\n",
		"hosts": "0.0.0.0 a.example b.example\n0.0.0.0 c.example d.example\n",
		"rpz":   "@ SOA a. b. 1 2 3 4 5\n$GENERATE 1-65535 host-$ CNAME .\n",
	} {
		b := &blockList{seed: maphash.MakeSeed(), max: 3}
		rep := blockReport{file: "list"}
		read := func() error { return b.readLines(strings.NewReader(text), format == "hosts", &rep) }
		if format == "rpz" {
			read = func() error { return b.readRPZ(strings.NewReader(text), &rep) }
		}
		if err := read(); err == nil || !strings.Contains(err.Error(), "more than 3 names") || b.exact.count > 4 {
			t.Errorf("%s: %v, %d names", format, err, b.exact.count)
		}
	}
	b := &blockList{seed: maphash.MakeSeed(), max: 3}
	if err := b.readLines(strings.NewReader(strings.Repeat("x", maxBlockLine+1)), false, &blockReport{}); err == nil {
		t.Error("a line without an end was taken")
	}
	if maxBlockNames*dnswire.MaxName >= 1<<32 {
		t.Error("places in the arena of names do not fit")
	}
}
