package admin

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

func clock(t *testing.T, text string) Time {
	t.Helper()
	at, err := time.Parse(time.TimeOnly, text)
	if err != nil {
		t.Fatal(err)
	}
	// Not UTC, with a fraction: the document must show neither.
	return At(time.Date(2026, 11, 23, at.Hour()+1, at.Minute(), at.Second(), 123456789, time.FixedZone("CET", 3600)))
}

// contractStatus is the example of the contract, and a RADIUS service with a spool.
func contractStatus(t *testing.T) Status {
	t.Helper()
	return Status{
		Node: "garibaldi-1", Version: "0.1.0", Started: clock(t, "08:00:00"), State: StateUp,
		Config: ConfigStatus{Path: "sereno.yaml", Hash: "9f2c", Loaded: clock(t, "08:00:00")},
		Services: []Service{
			{
				Name: "resolver", Kind: "dns", State: StateUp, Since: clock(t, "08:00:01"), Pool: "resolvers", Listen: []string{"192.0.2.53:53"},
				Requests: 120394, Answers: 120391, Drops: 3, Cache: &Cache{Entries: 51234, Bytes: 9300000, Hits: 100321, Misses: 20070},
			},
			{
				Name: "pppoe", Kind: "radius", State: StateDown, Reason: "no-healthy-backend", Since: clock(t, "08:00:01"), Pool: "radius-pppoe",
				Listen: []string{"192.0.2.18:1812", "192.0.2.18:1813"}, Requests: 12, Answers: 9, Drops: 1, InFlight: 2,
				Spool: &Spool{
					Records: 3, Bytes: 900, Oldest: 61.5, SetAside: 1, Used: 0.25, Accepts: true, Stored: 9, Recovered: 2, Delivered: 6,
					PerSecond: 1.5, Resent: Counts{"silent": 1}, Refused: Counts{"interim": 2},
				},
				Survival: &Survival{Known: 812, Answers: 4},
			},
		},
		Pools: []Pool{{
			Name: "resolvers", Protocol: "dns", Roles: []Role{{Role: "dns", State: StateUp, Healthy: 2, MinHealthy: 1}},
			Backends: []Backend{{
				Name: "fulmine", Address: "10.0.0.11:53", Role: "dns", State: StateUp, Since: clock(t, "08:00:01"), Weight: 1, Share: 1,
				Latency: MillisOf(400 * time.Microsecond), LastProbe: LastProbe{At: clock(t, "08:10:00"), OK: true},
			}},
		}},
		Anycast: []Anycast{{Name: "dns-vip", Prefixes: []string{"192.0.2.53/32"}, State: StateAnnounced, Since: clock(t, "08:00:02")}},
		BGP: BGP{Neighbors: []Neighbor{{
			Name: "core-1", Speaker: StateUp, LeaseMargin: SecondsOf(2950 * time.Millisecond), Address: "10.0.0.1", ASN: 64500,
			State: StateEstablished, Since: clock(t, "08:00:02"), Advertised: []string{"192.0.2.53/32"},
		}}},
		Drains: []Drain{{Target: "pool/resolvers/tempesta", Since: clock(t, "08:05:00")}},
		Alarms: []Alarm{{Name: "neighbor-down", Subject: "core-2", Since: clock(t, "08:05:00"), Text: "core-2 (10.0.0.3): connection refused"}},
	}
}

func TestO22StatusDocumentIsTheContract(t *testing.T) {
	want, err := os.ReadFile("testdata/status.json")
	if err != nil {
		t.Fatal(err)
	}
	status := contractStatus(t)
	got, err := json.MarshalIndent(status, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if string(got)+"\n" != string(want) {
		t.Errorf("the document is\n%s\nnot\n%s", got, want)
	}
	var back Status
	decoder := json.NewDecoder(bytes.NewReader(want))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&back); err != nil {
		t.Fatal(err)
	}
	again, err := json.MarshalIndent(back, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again, got) {
		t.Errorf("read and written again, the document is\n%s", again)
	}
}

func TestO22ListsAreNeverNull(t *testing.T) {
	full := Status{
		Services: []Service{{Spool: &Spool{}}}, Pools: []Pool{{}, {Backends: []Backend{{}}}}, Anycast: []Anycast{{}},
		BGP: BGP{Neighbors: []Neighbor{{}}}, Drains: []Drain{{}},
	}
	// What the contract lets be null: no cache, no spool, no survival, no end of a drain, a moment that never came.
	mayBeNull := map[string]bool{"cache": true, "spool": true, "survival": true, "until": true, "since": true, "at": true, "started": true, "loaded": true}
	for _, document := range []any{Status{}, full, Changes{}, Readiness{}} {
		b, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		var tree any
		if err := json.Unmarshal(b, &tree); err != nil {
			t.Fatal(err)
		}
		if name := findNull(tree, mayBeNull); name != "" {
			t.Errorf("%q is null in %s", name, b)
		}
	}
}

func findNull(tree any, except map[string]bool) string {
	switch node := tree.(type) {
	case map[string]any:
		for key, value := range node {
			if value == nil && !except[key] {
				return key
			}
			if name := findNull(value, except); name != "" {
				return name
			}
		}
	case []any:
		for _, value := range node {
			if name := findNull(value, except); name != "" {
				return name
			}
		}
	}
	return ""
}

func TestNumbersThatAreNoneDoNotCostTheDocument(t *testing.T) {
	for _, f := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		b, err := json.Marshal(Backend{Share: Ratio(f), Latency: Millis(f)})
		if err != nil || !strings.Contains(string(b), `"share":0,`) || !strings.Contains(string(b), `"latency_ms":0,`) {
			t.Errorf("%v is written as %s, %v", f, b, err)
		}
	}
}

func TestTimesAndDurations(t *testing.T) {
	at := time.Date(2026, 11, 23, 9, 0, 0, 987654321, time.FixedZone("CET", 3600))
	type document struct {
		Time    Time
		Instant Instant
		Seconds Seconds
		Millis  Millis
	}
	b, err := json.Marshal(document{Time{at}, Instant{at}, SecondsOf(1234567 * time.Microsecond), MillisOf(1234567 * time.Nanosecond)})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"Time":"2026-11-23T08:00:00Z","Instant":"2026-11-23T08:00:00.987Z","Seconds":1.235,"Millis":1.235}`
	if string(b) != want {
		t.Errorf("got %s, want %s", b, want)
	}
	var back document
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if back.Seconds.Duration() != 1235*time.Millisecond || back.Millis != 1.235 || !back.Instant.Equal(at.Truncate(time.Millisecond)) {
		t.Errorf("read back: %+v", back)
	}
	for _, bad := range []string{`{"Time":3}`, `{"Instant":"yesterday"}`, `{"Seconds":"3s"}`, `{"Millis":[]}`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

func TestO12Targets(t *testing.T) {
	good := map[string]Target{
		"node":                   {Kind: TargetNode},
		"service/resolver":       {Kind: TargetService, Name: "resolver"},
		"anycast/dns-vip":        {Kind: TargetAnycast, Name: "dns-vip"},
		"pool/resolvers/fulmine": {Kind: TargetBackend, Name: "resolvers", Backend: "fulmine"},
		"service/é <b>":          {Kind: TargetService, Name: "é <b>"},
	}
	for text, want := range good {
		if got, err := ParseTarget(text); err != nil || got != want || got.String() != text {
			t.Errorf("ParseTarget(%q) = %v (%s), %v", text, got, got, err)
		}
	}
	bad := []string{
		"", "node/", "node/x", "nodes", "service", "service/", "service/a/b", "anycast/", "pool", "pool/", "pool/a", "pool/a/", "pool//b", "pool/a/b/c",
		"service/a\x00", "service/a\nb", "service/\xff", "service/\u202ea", "/", "//", "service/" + strings.Repeat("a", 2000),
	}
	for _, text := range bad {
		if got, err := ParseTarget(text); !isBadArgument(err) || got != (Target{}) {
			t.Errorf("ParseTarget(%q) = %v, %v", text, got, err)
		}
	}
}

func TestO12HowLongADrainLasts(t *testing.T) {
	for text, want := range map[string]time.Duration{"30m": 30 * time.Minute, "1h30m": 90 * time.Minute, "2d": 48 * time.Hour, "0.5d": 12 * time.Hour, "366d": MaxDrain} {
		if got, err := ParseFor(text); err != nil || got != want {
			t.Errorf("ParseFor(%q) = %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", "0s", "-1m", "30", "d", "367d", "9999999h", "999999999d", "-999999d", "2000000h", "soon", "1d1h", strings.Repeat("9", 4000) + "h"} {
		if got, err := ParseFor(text); !isBadArgument(err) || got != 0 || len(err.Error()) > 1500 {
			t.Errorf("ParseFor(%.20q) = %v, %v", text, got, err)
		}
	}
}

func TestContractOfStates(t *testing.T) {
	if !reflect.DeepEqual(backendStates, []string{"starting", "up", "suspect", "down", "drained"}) ||
		!reflect.DeepEqual(serviceStates, []string{"starting", "up", "degraded", "down", "drained"}) {
		t.Error("the states of the metrics are not those of the contract")
	}
}
