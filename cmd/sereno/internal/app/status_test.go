package app

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"sereno/cmd/sereno/internal/admin"
)

// contract is the status of interfaces.md.
const contract = `{
  "node": "garibaldi-1", "version": "0.1.0", "started": "2026-11-23T08:00:00Z", "state": "up",
  "config": {"path": "sereno.yaml", "hash": "9f2c", "loaded": "2026-11-23T08:00:00Z", "last_error": ""},
  "services": [
    {"name": "resolver", "kind": "dns", "state": "up", "reason": "", "since": "2026-11-23T08:00:01Z", "pool": "resolvers",
     "listen": ["192.0.2.53:53"], "requests": 120394, "answers": 120391, "drops": 3, "in_flight": 0,
     "cache": {"entries": 51234, "bytes": 9300000, "hits": 100321, "misses": 20070}, "spool": null}],
  "pools": [
    {"name": "resolvers", "protocol": "dns", "roles": [{"role": "dns", "state": "up", "healthy": 2, "min_healthy": 1}],
     "backends": [
       {"name": "fulmine", "address": "10.0.0.11:53", "role": "dns", "state": "up", "reason": "", "since": "2026-11-23T08:00:01Z",
        "weight": 1, "share": 1.0, "in_flight": 0, "latency_ms": 0.4, "backup": false,
        "last_probe": {"at": "2026-11-23T08:10:00Z", "ok": true, "error": ""}}]}],
  "anycast": [
    {"name": "dns-vip", "prefixes": ["192.0.2.53/32"], "state": "announced", "reason": "", "since": "2026-11-23T08:00:02Z", "waits_for": ""}],
  "bgp": {"neighbors": [{"name": "core-1", "speaker": "up", "lease_margin_seconds": 2.95, "address": "10.0.0.1", "asn": 64500, "state": "established", "since": "2026-11-23T08:00:02Z",
     "advertised": ["192.0.2.53/32"], "received": 0, "last_error": ""}]},
  "drains": [{"target": "pool/resolvers/tempesta", "since": "2026-11-23T08:05:00Z", "until": null}],
  "alarms": [{"name": "neighbor-down", "since": "2026-11-23T08:05:00Z", "text": "core-2 (10.0.0.3): connection refused"}]
}`

// sameShape holds that got has every key of want, with values of the same kind.
func sameShape(t *testing.T, at string, want, got any) {
	t.Helper()
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			t.Errorf("%s is %T", at, got)
			return
		}
		for key := range w {
			if _, ok := g[key]; !ok {
				t.Errorf("%s.%s is missing", at, key)
				continue
			}
			sameShape(t, at+"."+key, w[key], g[key])
		}
	case []any:
		g, ok := got.([]any)
		if !ok {
			t.Errorf("%s is %T: lists are never null", at, got)
			return
		}
		for i := range g {
			sameShape(t, fmt.Sprintf("%s[%d]", at, i), w[0], g[i])
		}
	default:
		if got != nil && want != nil && fmt.Sprintf("%T", got) != fmt.Sprintf("%T", want) {
			t.Errorf("%s is %T, not %T", at, got, want)
		}
	}
}

// statusSite is a node with everything that the status can show.
func statusSite(t *testing.T) *site {
	t.Helper()
	r := startRouter(t)
	s := newSite(t)
	delete(s.text, "radius")
	s.text["pools"] = "pools:\n" + s.dnsPool("resolvers", "fulmine", "tempesta")
	s.text["bgp"] = r.section()
	s.text["anycast"] = "anycast:\n" + anycast("dns-vip", "192.0.2.53/32", "resolver", "")
	n := s.start()
	until(t, 15*time.Second, "the route", func() bool { return r.has("192.0.2.53/32") && len(n.Status().BGP.Neighbors[0].Advertised) == 1 })
	if _, err := n.Drain(context.Background(), admin.Target{Kind: admin.TargetBackend, Name: "resolvers", Backend: "tempesta"}, 0, false); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStatusKeepsTheContract(t *testing.T) {
	s := statusSite(t)
	n := s.node
	var want, got any
	data, err := json.Marshal(n.Status())
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(contract), &want); err != nil {
		t.Fatal(err)
	}
	sameShape(t, "status", want, got)
	statusValues(t, s, n.Status())
}

func statusValues(t *testing.T, s *site, st admin.Status) {
	t.Helper()
	if st.Node != "test-1" || st.Version != "0.0.1" || st.Config.Path != s.path() || len(st.Config.Hash) < 8 || st.Started.IsZero() {
		t.Errorf("the node: %+v", st)
	}
	if v := st.Services[0]; v.Name != "resolver" || v.Kind != "dns" || v.Pool != "resolvers" || !slices.Equal(v.Listen, []string{s.dns}) || v.Cache == nil || v.Spool != nil || v.Since.IsZero() {
		t.Errorf("the service: %+v", v)
	}
	if p := st.Pools[0]; p.Roles[0] != (admin.Role{Role: "dns", State: "up", Healthy: 1, MinHealthy: 1}) || p.Backends[1].State != admin.StateDrained || p.Backends[1].Reason != "drained" {
		t.Errorf("the pool: %+v", p)
	}
	routingValues(t, st)
	if b := st.Pools[0].Backends[0]; b.Address != s.resolvers[0].Addr().String() || b.Weight != 1 || b.Share != 1 || !b.LastProbe.OK || b.LastProbe.At.IsZero() || b.Latency <= 0 {
		t.Errorf("the backend: %+v", b)
	}
}

func routingValues(t *testing.T, st admin.Status) {
	t.Helper()
	if b := st.BGP.Neighbors[0]; b.State != "established" || b.Speaker != "up" || b.ASN != 64500 || b.LeaseMargin <= 0 {
		t.Errorf("the neighbor: %+v", b)
	}
	if st.Anycast[0].State != admin.StateAnnounced || st.Anycast[0].Reason != "" {
		t.Errorf("the route: %+v", st.Anycast[0])
	}
}
