package admin

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"sereno/proxy/insight"
)

// fullSnapshot has every metric.
func fullSnapshot() Snapshot {
	h := func() *Histogram {
		return &Histogram{Bounds: []float64{0.001, 0.1}, Counts: []uint64{5, 3, 2}, SumSeconds: 1.5}
	}
	return Snapshot{
		DNS: []DNSMetrics{{
			Service: "resolver", Queries: map[string]uint64{"udp": 100, "tcp": 10},
			Answers:  map[DNSAnswer]uint64{{"udp", "cache", "NOERROR"}: 90, {"tcp", "backend", "NXDOMAIN"}: 9},
			Drops:    map[string]uint64{"duplicate": 4, "malformed": 0},
			InFlight: 7, CacheEntries: 50, CacheBytes: 5000, CacheHits: 90, CacheMisses: 16, Latency: map[string]*Histogram{"cache": h()},
			Upstream: map[string]uint64{"asked": 20}, CertificateExpires: map[string]int64{"tls": 1800000000},
			Refused: map[string]uint64{"max-per-client": 2}, Tables: []insight.Table{{Name: insight.TableConnections, Entries: 3, Limit: 10000}},
		}},
		RADIUS: []RADIUSMetrics{{
			Service: "pppoe", Requests: map[string]uint64{"auth": 50, "acct": 20},
			Answers: map[RADIUSAnswer]uint64{
				{"auth", "Access-Accept", "backend"}: 30, {"auth", "Access-Accept", "duplicate"}: 2, {"auth", "Access-Reject", "backend"}: 5,
				{"auth", "Access-Challenge", "backend"}: 3, {"acct", "Accounting-Response", "spool"}: 18,
			},
			Drops: map[RADIUSDrop]uint64{{"auth", "bad-authenticator"}: 10}, InFlight: 2, Sessions: 77,
			Upstream: map[string]uint64{"moved": 1}, Unsigned: map[string]uint64{"bras-1": 3}, BadAuth: map[string]uint64{"bras-2": 4},
			Tables:  []insight.Table{{Name: insight.TableRemembered, Entries: 5, Limit: 524288}},
			Latency: map[string]*Histogram{"auth": h()}, Known: new(int), Spool: &SpoolMetrics{
				Records: 18, Bytes: 4000, OldestSeconds: 12.5, Aside: 1, Disk: 5000, Max: 10000, Accepts: true, PerSecond: 2.5, Stored: 30, Recovered: 4,
				Delivered: 15, SetAside: 2, Damaged: 1, Coalesced: 6, TakenBack: 7, Dropped: 8, DiskFailed: 9,
				Resent: map[string]uint64{"silent": 3, "anew": 2}, Refused: map[string]uint64{"interim": 5, "start": 0, "stop": 0},
			},
		}},
		Backends: []BackendMetrics{{
			Pool: "resolvers", Backend: "fulmine", Role: "dns", State: StateSuspect, Requests: 12, Failures: map[string]uint64{"timeout": 3}, Latency: h(),
		}},
		Anycast: []AnycastMetrics{
			{Anycast: "dns-vip", Prefixes: []string{"192.0.2.53/32", "2001:db8::53/128"}, State: StateDemoted},
			{Anycast: "radius-vip", Prefixes: []string{"192.0.2.18/32"}, State: StateWithdrawn},
		},
		Neighbors: []NeighborMetrics{{Neighbor: "core-1", Up: true, LeaseMarginSeconds: 2.95}},
		Listeners: []ListenerMetrics{
			{"resolver udp 192.0.2.53:53", 3, map[string]uint64{"queue_full": 1}}, {"resolver udp 192.0.2.53:53", 4, map[string]uint64{"queue_full": 2}},
		},
		Services:   []ServiceMetrics{{"resolver", StateDegraded}},
		Alarms:     []string{"neighbor-down", "neighbor-down"},
		EventsLost: 3, LogLinesLost: 4,
	}
}

func registryOf(t *testing.T, snapshot func() Snapshot) *prometheus.Registry {
	t.Helper()
	registry, err := NewRegistry(Build{"0.1.0", "abc", "2026-11-23", "go1.26.0"}, snapshot)
	if err != nil {
		t.Fatal(err)
	}
	return registry
}

// labelsOf lists metric names with their labels, of ours alone.
func labelsOf(t *testing.T, registry prometheus.Gatherer) map[string]string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, family := range families {
		var labels []string
		for _, pair := range family.GetMetric()[0].GetLabel() {
			labels = append(labels, pair.GetName())
		}
		slices.Sort(labels)
		out[family.GetName()] = strings.Join(labels, " ") + "; " + strings.ToLower(family.GetType().String())
	}
	return out
}

func TestO20ContractNamesWithTheirLabels(t *testing.T) {
	got := labelsOf(t, registryOf(t, fullSnapshot))
	for name, want := range map[string]string{
		"sereno_dns_queries_total":               "service transport; counter",
		"sereno_dns_answers_total":               "rcode service source transport; counter",
		"sereno_dns_drops_total":                 "reason service; counter",
		"sereno_dns_cache_entries":               "service; gauge",
		"sereno_dns_latency_seconds":             "service source; histogram",
		"sereno_dns_certificate_expires_seconds": "service transport; gauge",
		"sereno_dns_in_flight":                   "service; gauge",
		"sereno_radius_requests_total":           "kind service; counter",
		"sereno_radius_answers_total":            "code kind service source; counter",
		"sereno_radius_drops_total":              "kind reason service; counter",
		"sereno_radius_in_flight":                "service; gauge",
		"sereno_radius_sessions":                 "service; gauge",
		"sereno_radius_survival_known":           "service; gauge",
		"sereno_radius_latency_seconds":          "kind service; histogram",
		"sereno_backend_state":                   "backend pool role state; gauge",
		"sereno_backend_requests_total":          "backend pool role; counter",
		"sereno_backend_failures_total":          "backend pool reason role; counter",
		"sereno_backend_latency_seconds":         "backend pool role; histogram",
		"sereno_spool_records":                   "service; gauge",
		"sereno_spool_oldest_seconds":            "service; gauge",
		"sereno_spool_bytes":                     "service; gauge",
		"sereno_spool_set_aside_records":         "service; gauge",
		"sereno_spool_disk_bytes":                "service; gauge",
		"sereno_spool_max_bytes":                 "service; gauge",
		"sereno_spool_accepts":                   "service; gauge",
		"sereno_spool_delivered_per_second":      "service; gauge",
		"sereno_spool_stored_total":              "service; counter",
		"sereno_spool_recovered_total":           "service; counter",
		"sereno_spool_delivered_total":           "service; counter",
		"sereno_spool_resent_total":              "reason service; counter",
		"sereno_spool_set_aside_total":           "service; counter",
		"sereno_spool_damaged_total":             "service; counter",
		"sereno_spool_coalesced_total":           "service; counter",
		"sereno_spool_taken_back_total":          "service; counter",
		"sereno_spool_dropped_total":             "service; counter",
		"sereno_spool_refused_total":             "class service; counter",
		"sereno_spool_disk_failed_total":         "service; counter",
		"sereno_anycast_announced":               "anycast prefix; gauge",
		"sereno_bgp_neighbor_up":                 "neighbor; gauge",
		"sereno_bgp_lease_margin_seconds":        "neighbor; gauge",
		"sereno_kernel_drops_total":              "listener; counter",
		"sereno_config_last_reload_success":      "; gauge",
		"sereno_health_events_lost_total":        "; counter",
		"sereno_log_lines_lost_total":            "; counter",
		"sereno_build_info":                      "commit goversion version; gauge",
		"go_goroutines":                          "; gauge",
		"process_resident_memory_bytes":          "; gauge",
	} {
		if got[name] != want {
			t.Errorf("%s has %q, not %q", name, got[name], want)
		}
	}
}

func TestO20Values(t *testing.T) {
	want := `
# HELP sereno_alarms Alarms that stand, by name.
# TYPE sereno_alarms gauge
sereno_alarms{alarm="neighbor-down"} 2
# HELP sereno_anycast_announced 1 while the prefix is announced, demoted or not.
# TYPE sereno_anycast_announced gauge
sereno_anycast_announced{anycast="dns-vip",prefix="192.0.2.53/32"} 1
sereno_anycast_announced{anycast="dns-vip",prefix="2001:db8::53/128"} 1
sereno_anycast_announced{anycast="radius-vip",prefix="192.0.2.18/32"} 0
# HELP sereno_backend_state 1 for the state that the backend is in.
# TYPE sereno_backend_state gauge
sereno_backend_state{backend="fulmine",pool="resolvers",role="dns",state="down"} 0
sereno_backend_state{backend="fulmine",pool="resolvers",role="dns",state="drained"} 0
sereno_backend_state{backend="fulmine",pool="resolvers",role="dns",state="starting"} 0
sereno_backend_state{backend="fulmine",pool="resolvers",role="dns",state="suspect"} 1
sereno_backend_state{backend="fulmine",pool="resolvers",role="dns",state="up"} 0
# HELP sereno_build_info Always 1; the labels say which program this is.
# TYPE sereno_build_info gauge
sereno_build_info{commit="abc",goversion="go1.26.0",version="0.1.0"} 1
# HELP sereno_config_last_reload_success 1 if the last reload of the configuration was applied, 0 if it was refused.
# TYPE sereno_config_last_reload_success gauge
sereno_config_last_reload_success 1
# HELP sereno_dns_certificate_expires_seconds Unix time at which the certificate of DNS over TLS or HTTPS runs out.
# TYPE sereno_dns_certificate_expires_seconds gauge
sereno_dns_certificate_expires_seconds{service="resolver",transport="tls"} 1.8e+09
# HELP sereno_dns_latency_seconds Time from a DNS query to its answer.
# TYPE sereno_dns_latency_seconds histogram
sereno_dns_latency_seconds_bucket{service="resolver",source="cache",le="0.001"} 5
sereno_dns_latency_seconds_bucket{service="resolver",source="cache",le="0.1"} 8
sereno_dns_latency_seconds_bucket{service="resolver",source="cache",le="+Inf"} 10
sereno_dns_latency_seconds_sum{service="resolver",source="cache"} 1.5
sereno_dns_latency_seconds_count{service="resolver",source="cache"} 10
# HELP sereno_health_events_lost_total Changes of state that were not told, because whoever hears them hangs: a fault of ours.
# TYPE sereno_health_events_lost_total counter
sereno_health_events_lost_total 3
# HELP sereno_kernel_drops_total Datagrams that the kernel dropped because a socket's buffer was full.
# TYPE sereno_kernel_drops_total counter
sereno_kernel_drops_total{listener="resolver udp 192.0.2.53:53"} 7
# HELP sereno_log_lines_lost_total Log lines that nobody took: whoever reads the log hangs or is gone.
# TYPE sereno_log_lines_lost_total counter
sereno_log_lines_lost_total 4
# HELP sereno_radius_logins_total Access-Accepts and Access-Rejects, repeated answers not counted again.
# TYPE sereno_radius_logins_total counter
sereno_radius_logins_total{result="accepted",service="pppoe"} 30
sereno_radius_logins_total{result="rejected",service="pppoe"} 5
# HELP sereno_service_state 1 for the state that the service is in.
# TYPE sereno_service_state gauge
sereno_service_state{service="resolver",state="degraded"} 1
sereno_service_state{service="resolver",state="down"} 0
sereno_service_state{service="resolver",state="drained"} 0
sereno_service_state{service="resolver",state="starting"} 0
sereno_service_state{service="resolver",state="up"} 0
`
	if err := testutil.GatherAndCompare(registryOf(t, fullSnapshot), strings.NewReader(want),
		"sereno_alarms", "sereno_anycast_announced", "sereno_backend_state", "sereno_build_info", "sereno_config_last_reload_success",
		"sereno_dns_certificate_expires_seconds", "sereno_dns_latency_seconds", "sereno_health_events_lost_total", "sereno_kernel_drops_total", "sereno_log_lines_lost_total", "sereno_radius_logins_total", "sereno_service_state"); err != nil {
		t.Error(err)
	}
}

func TestO20PromlintFindsNothing(t *testing.T) {
	s := startServer(t, nil)
	_, ours, _ := ask(t, s.overSocket, "GET", "http://node/metrics")
	full := registryOf(t, fullSnapshot)
	problems, err := testutil.GatherAndLint(full)
	if err != nil {
		t.Fatal(err)
	}
	more, err := promlint.New(strings.NewReader(ours)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range append(problems, more...) {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestO20CountersBalanceInOneScrape scrapes while everything is counted on: each
// scrape must show one snapshot, not figures of several moments.
func TestO20CountersBalanceInOneScrape(t *testing.T) {
	var mu sync.Mutex
	now := fullSnapshot()
	snapshot := func() Snapshot {
		mu.Lock()
		defer mu.Unlock()
		now.DNS[0].Queries["udp"] += 3
		now.DNS[0].Answers[DNSAnswer{"udp", "cache", "NOERROR"}]++
		now.DNS[0].Drops["malformed"]++
		now.DNS[0].InFlight++
		now.RADIUS[0].Requests["auth"] += 2
		now.RADIUS[0].Answers[RADIUSAnswer{"auth", "Access-Accept", "backend"}]++
		now.RADIUS[0].Drops[RADIUSDrop{"auth", "bad-authenticator"}]++
		out := now
		out.DNS = slices.Clone(now.DNS)
		out.DNS[0].Queries, out.DNS[0].Answers, out.DNS[0].Drops = maps.Clone(now.DNS[0].Queries), maps.Clone(now.DNS[0].Answers), maps.Clone(now.DNS[0].Drops)
		out.RADIUS = slices.Clone(now.RADIUS)
		out.RADIUS[0].Requests, out.RADIUS[0].Answers, out.RADIUS[0].Drops = maps.Clone(now.RADIUS[0].Requests), maps.Clone(now.RADIUS[0].Answers), maps.Clone(now.RADIUS[0].Drops)
		if out.DNS[0].Missing() != 0 || out.RADIUS[0].Missing() != 0 {
			t.Errorf("the snapshot itself does not balance: %d, %d", out.DNS[0].Missing(), out.RADIUS[0].Missing())
		}
		return out
	}
	registry := registryOf(t, snapshot)
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for range 20 {
				sums := sumsOf(t, registry)
				for _, front := range []struct{ received, prefix string }{{"sereno_dns_queries_total", "sereno_dns"}, {"sereno_radius_requests_total", "sereno_radius"}} {
					received := sums[front.received]
					known := sums[front.prefix+"_answers_total"] + sums[front.prefix+"_drops_total"] + sums[front.prefix+"_in_flight"]
					if received != known || received == 0 {
						t.Errorf("%s: %v received, %v accounted for", front.prefix, received, known)
					}
				}
			}
		})
	}
	wait.Wait()
}

// sumsOf adds up each counter and gauge over its labels.
func sumsOf(t *testing.T, registry prometheus.Gatherer) map[string]float64 {
	families, err := registry.Gather()
	if err != nil {
		t.Error(err)
	}
	sums := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			sums[family.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sums
}

func TestMissingTellsWhatDoesNotBalance(t *testing.T) {
	s := fullSnapshot()
	s.DNS[0].InFlight++
	s.RADIUS[0].Requests["coa"] += 5
	if s.DNS[0].Missing() != -1 || s.RADIUS[0].Missing() != 5 {
		t.Errorf("missing: %d, %d", s.DNS[0].Missing(), s.RADIUS[0].Missing())
	}
}

func TestOddNamesAndFiguresCostThemselvesAlone(t *testing.T) {
	odd := fullSnapshot()
	evil := "<script>\"\n\\\xff\x00"
	odd.DNS[0].Service = evil
	odd.RADIUS[0].Latency["auth"].Counts = []uint64{1}
	odd.Neighbors[0].LeaseMarginSeconds = math.NaN()
	odd.LastReloadFailed = true
	s := startServer(t, func(o *Options, _ *limits) { o.Registry = registryOf(t, func() Snapshot { return odd }) })
	code, body, header := ask(t, s.overSocket, "GET", "http://node/metrics")
	if code != http.StatusOK || !strings.HasPrefix(header.Get("Content-Type"), "text/plain") {
		t.Fatalf("%d %v", code, header)
	}
	for _, want := range []string{
		fmt.Sprintf("sereno_dns_in_flight{service=\"%s\"} 7\n", `<script>\"\n\\`+"\uFFFD\x00"),
		"sereno_config_last_reload_success 0\n", "sereno_bgp_lease_margin_seconds{neighbor=\"core-1\"} NaN\n",
		"sereno_radius_sessions{service=\"pppoe\"} 77\n",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is not shown", want)
		}
	}
	if strings.Contains(body, "sereno_radius_latency_seconds") {
		t.Error("a histogram without sense is shown")
	}
}

func buildInfo(version string, settings ...string) *debug.BuildInfo {
	info := &debug.BuildInfo{Main: debug.Module{Version: version}}
	for i := 0; i < len(settings); i += 2 {
		info.Settings = append(info.Settings, debug.BuildSetting{Key: settings[i], Value: settings[i+1]})
	}
	return info
}

func TestBuild(t *testing.T) {
	if got := ReadBuild("0.1.0", "abc", "2026-11-23").String(); !strings.HasPrefix(got, "sereno 0.1.0 (abc, 2026-11-23, go1.") {
		t.Errorf("told by the linker: %s", got)
	}
	if got := ReadBuild("", "", ""); got.Version == "" || got.Commit == "" || got.Date == "" {
		t.Errorf("not told: %+v", got)
	}
	if got := completeBuild(Build{GoVersion: "go1"}, nil).String(); got != "sereno devel (unknown, unknown, go1)" {
		t.Errorf("nothing known: %s", got)
	}
	info := buildInfo("v0.2.0", "vcs.revision", "0123456789abcdef", "vcs.time", "2026-11-23T08:00:00Z", "vcs.modified", "true")
	if got := completeBuild(Build{GoVersion: "go1"}, info).String(); got != "sereno v0.2.0 (0123456789ab-dirty, 2026-11-23T08:00:00Z, go1)" {
		t.Errorf("noted by the toolchain: %s", got)
	}
}
