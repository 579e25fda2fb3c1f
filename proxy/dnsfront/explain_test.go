package dnsfront

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestO13ExplainSaysWhatAQueryWouldMeet(t *testing.T) {
	f := newFront(t, setup{config: func(c *Config) {
		c.Routes = []Route{{Zones: []string{"corp.example."}, Pool: "resolvers"}}
		c.Block = []BlockConfig{{File: blockFile(t, "bad.example\n"), Format: "names", Action: "nxdomain", Reason: "blocked"}}
	}})
	f.ask(asking("www.example.", dns.TypeA))
	before := f.Stats()
	explain := func(name, typ, client string) Explanation {
		q := Question{Name: name, Type: typ}
		if client != "" {
			q.Client = netip.MustParseAddr(client)
		}
		e, err := f.Explain(q)
		if err != nil || len(e.Why) == 0 {
			t.Fatal(err, e)
		}
		return e
	}
	if e := explain("WWW.example", "a", "10.0.0.1"); !e.Allowed || e.Cache != "fresh" || e.TTL < 299 || e.Rcode != "NOERROR" || e.Pool != "resolvers" || len(e.Backends) != 2 {
		t.Errorf("%+v", e)
	}
	if e := explain("www.example.", "AAAA", ""); e.Cache != "none" {
		t.Errorf("%+v", e)
	}
	if e := explain("x.corp.example.", "TYPE65280", ""); e.Zone != "corp.example." {
		t.Errorf("%+v", e)
	}
	if e := explain("www.bad.example.", "A", ""); e.Action != "nxdomain" || e.Pool != "" {
		t.Errorf("%+v", e)
	}
	if e := explain("www.example.", "A", "8.8.8.8"); e.Allowed || !strings.Contains(e.Why[0], "REFUSED") {
		t.Errorf("%+v", e)
	}
	if e := explain("www.example.", "ANY", ""); !strings.Contains(e.Why[0], "truncated") {
		t.Errorf("%+v", e)
	}
	f.later(400 * time.Second)
	if e := explain("www.example.", "A", ""); e.Cache != "stale" {
		t.Errorf("%+v", e)
	}
	for _, q := range []Question{{Name: "a..b", Type: "A"}, {Name: "a.", Type: "NONSENSE"}, {Name: "a.", Type: "1"}} {
		if _, err := f.Explain(q); err == nil {
			t.Error(q)
		}
	}
	if after := f.Stats(); after.TotalQueries() != before.TotalQueries() || f.asked() != 1 {
		t.Error("it was counted or asked")
	}
}
