package admin

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"
	"time"
)

// world is a node's counters, which the test turns.
type world struct {
	now       time.Time
	queries   uint64
	hits      uint64
	bad       uint64
	backends  []string
	down      map[string]bool
	latencies []uint64 // by bucket
}

func newWorld() *world {
	return &world{
		now:      time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC),
		backends: []string{"fulmine", "tempesta"}, down: map[string]bool{}, latencies: make([]uint64, 4),
	}
}

// snapshot also shows a query that was answered late, and one of each kind that was not.
func (w *world) snapshot() *Snapshot {
	s := &Snapshot{
		DNS: []DNSMetrics{{
			Service: "resolver", Queries: map[string]uint64{"udp": w.queries}, Answers: map[DNSAnswer]uint64{{"udp", "cache", "NOERROR"}: w.queries},
			CacheEntries: 5, CacheHits: w.hits, CacheMisses: w.queries - w.hits, Good: w.queries - w.bad, Valid: w.queries,
			Latency: map[string]*Histogram{"cache": {Bounds: []float64{0.001, 0.01, 0.1}, Counts: append([]uint64(nil), w.latencies...), SumSeconds: 1}},
		}},
		RADIUS: []RADIUSMetrics{{
			Service: "pppoe", Requests: map[string]uint64{"auth": w.queries}, Sessions: 7, Spool: &SpoolMetrics{Records: 3, OldestSeconds: 9},
			Answers: map[RADIUSAnswer]uint64{{"auth", "Access-Accept", "backend"}: w.queries / 2, {"auth", "Access-Accept", "duplicate"}: w.queries},
			Drops:   map[RADIUSDrop]uint64{{"auth", "duplicate"}: w.queries, {"auth", "timeout"}: w.queries / 10},
		}},
		Neighbors: []NeighborMetrics{{Neighbor: "core-1", LeaseMarginSeconds: 2.95}},
	}
	for _, b := range w.backends {
		state := StateUp
		if w.down[b] {
			state = StateDown
		}
		s.Backends = append(s.Backends, BackendMetrics{Pool: "resolvers", Backend: b, Role: "dns", State: state, Requests: w.queries, Failures: map[string]uint64{"timeout": w.bad}})
	}
	return s
}

// pass lets time pass in steps of 2 s, in each of which n queries come.
func (w *world) pass(r *recorder, d time.Duration, n uint64) (last []History) {
	for ; d > 0; d -= 2 * time.Second {
		w.now = w.now.Add(2 * time.Second)
		w.queries, w.hits, w.latencies[1] = w.queries+n, w.hits+n*3/4, w.latencies[1]+n
		last = r.take(w.now, w.snapshot())
	}
	return last
}

func TestO21HistoryShowsWhatHappenedInEachStep(t *testing.T) {
	w, r := newWorld(), &recorder{}
	if got := r.take(w.now, w.snapshot()); got != nil {
		t.Errorf("a sample of no time: %+v", got)
	}
	w.pass(r, 20*time.Second, 200)
	h := r.history(0)
	if len(h.Times) != 10 || h.Step != 2 || h.Times[9]-h.Times[0] != 18 {
		t.Fatalf("%d times, step %v", len(h.Times), h.Step)
	}
	dns, radius := h.Services[0], h.Services[1]
	if dns.Requests[9] != 100 || dns.Answers[9] != 100 || dns.Failures[9] != 0 || dns.HitRatio[9] != 0.75 {
		t.Errorf("%+v", dns)
	}
	if p := float64(dns.P50[9]); math.Abs(p-0.0055) > 1e-6 {
		t.Errorf("p50 %v, want the middle of the bucket", p)
	}
	if radius.Accepted[9] != 50 || radius.Drops[9] != 10 || radius.Sessions[9] != 7 || radius.Spooled[9] != 3 || radius.Oldest[9] != 9 || dns.Entries[9] != 5 || radius.HitRatio != nil || dns.Accepted != nil {
		t.Errorf("%+v", radius)
	}
	if !math.IsNaN(float64(radius.P99[9])) {
		t.Errorf("a percentile of nothing: %v", radius.P99[9])
	}
	if h.Roles[0].Healthy[9] != 2 || h.Roles[0].Members[9] != 2 || h.Neighbors[0].LeaseMargin[9] != Figure(float32(2.95)) {
		t.Errorf("%+v %+v", h.Roles, h.Neighbors)
	}
	if h := r.history(1); len(h.Times) != 2 || h.Services[0].Requests[1] != 100 {
		t.Errorf("every 10 s: %+v", h.Services)
	}
}

func TestO21ASampleIsAHistoryOfOneColumn(t *testing.T) {
	w, r := newWorld(), &recorder{}
	r.take(w.now, w.snapshot())
	w.down["fulmine"], w.bad = true, w.bad+20
	got := w.pass(r, 2*time.Second, 200)
	if len(got) != 1 || len(got[0].Times) != 1 || got[0].Roles[0].Healthy[0] != 1 || got[0].Services[0].Failures[0] != 10 || got[0].Backends[0].Failures[0] != 10 {
		t.Errorf("%+v", got)
	}
}

func TestO21HistoryHasABound(t *testing.T) {
	w, r := newWorld(), &recorder{}
	r.take(w.now, w.snapshot())
	w.pass(r, 27*time.Hour, 3)
	for i, k := range kept {
		h := r.history(i)
		if len(h.Times) != k.most || len(h.Services[0].Requests) != k.most || len(h.Backends[1].Latency) != k.most {
			t.Errorf("%s: %d times, want %d", k.name, len(h.Times), k.most)
		}
		if last := float64(h.Times[k.most-1]); math.Abs(last-float64(w.now.Unix())) > k.step.Seconds() {
			t.Errorf("%s ends %v s ago", k.name, float64(w.now.Unix())-last)
		}
		if c := cap(r.rings[i].samples); c > 2*k.most {
			t.Errorf("%s: room for %d samples", k.name, c)
		}
	}
}

func TestO21HistoryAfterAReload(t *testing.T) {
	w, r := newWorld(), &recorder{}
	r.take(w.now, w.snapshot())
	w.pass(r, 10*time.Second, 10)
	w.backends = []string{"grecale", "tempesta"}
	w.pass(r, 4*time.Second, 10)
	h := r.history(0)
	if len(h.Backends) != 2 || h.Backends[0].Name != "grecale" || h.Backends[1].Name != "tempesta" {
		t.Fatalf("%+v", h.Backends)
	}
	requests := fmt.Sprint(h.Backends[0].Requests, h.Backends[1].Requests)
	if requests != "[NaN NaN NaN NaN NaN NaN 5] [5 5 5 5 5 5 5]" {
		t.Error(requests)
	}
	// A service that was made anew begins to count at 0.
	w.queries, w.hits, w.bad, w.latencies = 0, 0, 0, make([]uint64, 4)
	w.pass(r, 2*time.Second, 10)
	h = r.history(0)
	if got := h.Services[0].Requests[len(h.Times)-1]; got != 5 {
		t.Errorf("%v queries a second", got)
	}
}

func TestO21HistoryAndTheClock(t *testing.T) {
	w, r := newWorld(), &recorder{}
	r.take(w.now, w.snapshot())
	w.pass(r, 10*time.Second, 10)
	w.now = w.now.Add(10 * time.Minute) // stood still, or the clock was set ahead
	w.pass(r, 2*time.Second, 10)
	h := r.history(0)
	if n := len(h.Times); n != 7 || !math.IsNaN(float64(h.Services[0].Requests[5])) || h.Times[5]-h.Times[4] != 2 {
		t.Errorf("no gap: %v %v", h.Times, h.Services[0].Requests)
	}
	w.now = w.now.Add(-time.Hour)
	w.pass(r, 6*time.Second, 10)
	h = r.history(0)
	for i := 1; i < len(h.Times); i++ {
		if h.Times[i] <= h.Times[i-1] {
			t.Errorf("times are not in order: %v", h.Times)
		}
	}
	if len(h.Times) != 2 {
		t.Errorf("%d times after the clock was set back", len(h.Times))
	}
}

func TestO21QuantilesOfAHistogram(t *testing.T) {
	h := Histogram{Bounds: []float64{1, 2, 4}, Counts: []uint64{10, 0, 80, 10}}
	for q, want := range map[float64]Figure{0.05: 0.5, 0.10: 1, 0.5: 3, 0.9: 4, 0.99: 4} {
		if got := h.quantile(q); math.Abs(float64(got-want)) > 1e-6 {
			t.Errorf("%v: %v, want %v", q, got, want)
		}
	}
	if got := (&Histogram{}).quantile(0.5); !math.IsNaN(float64(got)) {
		t.Errorf("of nothing: %v", got)
	}
	h.add(&Histogram{Bounds: []float64{1}, Counts: []uint64{5, 5}})
	h.add(nil)
	if h.total() != 100 {
		t.Error("a histogram of other bounds was added")
	}
}

func TestO21FiguresAreShort(t *testing.T) {
	got, err := json.Marshal(List[Figure]{none, 0, 0.00012345, 1.23456, 1234.56, Figure(math.Inf(1))})
	if err != nil || string(got) != "[null,0,0.000123,1.235,1235,null]" {
		t.Errorf("%s, %v", got, err)
	}
}

func BenchmarkRecorderTake(b *testing.B) {
	w, r := newWorld(), &recorder{}
	for i := range 50 {
		w.backends = append(w.backends, fmt.Sprint("backend-", i))
	}
	for b.Loop() {
		w.pass(r, 2*time.Second, 10)
	}
}
