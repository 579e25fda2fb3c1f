package lab

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"sereno/bench/internal/scrape"
)

// sampleEvery is how often a node is looked at.
const sampleEvery = 2 * time.Second

// reading is what a node was like at a moment.
type reading struct {
	at         time.Duration
	site, pid  int
	resident   float64 // memory, MiB
	heap       float64 // of it live and dead objects, MiB
	goroutines float64
	files      int // descriptors
	threads    int
	inFlight   float64
	spooled    float64 // records
	received   float64 // queries and requests
	traffic    bool    // it received some since the reading before
}

const readingHead = "seconds,node,pid,resident_mib,heap_mib,goroutines,descriptors,threads,in_flight,spooled,received\n"

func (r reading) csv() string {
	return fmt.Sprintf("%.1f,%d,%d,%.1f,%.1f,%.0f,%d,%d,%.0f,%.0f,%.0f\n", r.at.Seconds(), r.site, r.pid, r.resident, r.heap, r.goroutines,
		r.files, r.threads, r.inFlight, r.spooled, r.received)
}

// sampler looks at the nodes, and holds each scrape to its equation (O20).
type sampler struct {
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu         sync.Mutex
	readings   []reading
	balanced   int
	unbalanced []string
	never      map[string]string // what was counted that must not be, by metric: when it was seen first
}

// neverCounted are counters that stay at nothing, whatever breaks: packets that the code could not handle, and records
// that the spool gave up.
var neverCounted = []string{"sereno_panics_total", "sereno_spool_set_aside_total", "sereno_spool_dropped_total"}

// sample looks until its end, or until ctx ends.
func sample(ctx context.Context, s *soak) *sampler {
	ctx, stop := context.WithCancel(ctx)
	m := &sampler{stop: stop, never: map[string]string{}}
	for site := 1; site <= s.sites; site++ {
		m.wg.Go(func() {
			ticker := time.NewTicker(sampleEvery)
			defer ticker.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-ticker.C:
				}
				m.look(s, site)
			}
		})
	}
	return m
}

func (m *sampler) end() {
	m.stop()
	m.wg.Wait()
}

// look takes one reading. A node that is dead or stands still gives none.
func (m *sampler) look(s *soak, site int) {
	n := s.nodes[site]
	if !n.running() {
		return
	}
	pid := n.pid()
	metrics, err := n.metrics()
	if err != nil {
		return
	}
	r, err := read(pid, metrics)
	if err != nil {
		return
	}
	r.at, r.site = time.Since(s.start), site
	m.mu.Lock()
	defer m.mu.Unlock()
	m.add(r)
	wrong := metrics.Unbalanced()
	if len(wrong) == 0 {
		m.balanced++
	}
	for _, w := range wrong {
		m.unbalanced = append(m.unbalanced, fmt.Sprintf("node %d at %s: %s", site, r.at.Round(time.Second), w))
	}
	for _, name := range neverCounted {
		if n := metrics.Sum(name); n > 0 && m.never[name] == "" {
			m.never[name] = fmt.Sprintf("%.0f at node %d at %s", n, site, r.at.Round(time.Second))
		}
	}
	s.log.sample(r)
}

// trafficFrom is how much a node that has the traffic receives between two readings, at the least; probes of its own are
// fewer.
const trafficFrom = 50

// add keeps a reading, and says whether the node had the traffic before it.
func (m *sampler) add(r reading) {
	for _, before := range slices.Backward(m.readings) {
		if before.site == r.site {
			r.traffic = before.pid == r.pid && r.received-before.received >= trafficFrom
			break
		}
	}
	m.readings = append(m.readings, r)
}

func read(pid int, m scrape.Metrics) (reading, error) {
	const mib = 1 << 20
	r := reading{pid: pid, heap: m.Sum("go_memstats_heap_alloc_bytes") / mib, goroutines: m.Sum("go_goroutines"),
		inFlight: m.Sum("sereno_dns_in_flight") + m.Sum("sereno_radius_in_flight"), spooled: m.Sum("sereno_spool_records"),
		received: m.Sum("sereno_dns_queries_total") + m.Sum("sereno_radius_requests_total")}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return r, err
	}
	for line := range bytes.Lines(text) {
		fields := strings.Fields(string(line))
		if len(fields) < 2 {
			continue
		}
		number, _ := strconv.Atoi(fields[1]) // of those that are numbers
		switch fields[0] {
		case "VmRSS:":
			r.resident = float64(number) / 1024
		case "Threads:":
			r.threads = number
		}
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	r.files = len(files)
	return r, err
}

// flatAfter is how long a soak must be for its flatness to say something: caches and tables have filled in its first
// fifth.
const flatAfter = 10 * time.Minute

// growth compares what a node that lived all the time was like in the fifth after the first with the last fifth. A node
// with the traffic has its connections, one without has none: of the two, that is compared which both fifths show more of.
type growth struct {
	what        string
	early, late float64 // medians
	most        float64 // that late may be
}

func (g growth) String() string { return fmt.Sprintf("%s %.4g -> %.4g", g.what, g.early, g.late) }

func (m *sampler) growth(site int, whole time.Duration) []growth {
	m.mu.Lock()
	defer m.mu.Unlock()
	var with, without spans
	for _, r := range m.readings {
		of := &without
		if r.traffic {
			of = &with
		}
		switch {
		case r.site != site:
		case r.at > whole/5 && r.at <= 2*whole/5:
			of.early = append(of.early, r)
		case r.at > 4*whole/5 && r.at <= whole:
			of.late = append(of.late, r)
		}
	}
	seen := with
	if without.both() > with.both() {
		seen = without
	}
	var list []growth
	for _, w := range []struct {
		what         string
		of           func(reading) float64
		factor, more float64
	}{
		{"memory (MiB)", func(r reading) float64 { return r.resident }, 1.1, 8},
		{"heap (MiB)", func(r reading) float64 { return r.heap }, 1.15, 8},
		{"goroutines", func(r reading) float64 { return r.goroutines }, 1.1, 10},
		{"descriptors", func(r reading) float64 { return float64(r.files) }, 1.1, 10},
		{"threads", func(r reading) float64 { return float64(r.threads) }, 1.1, 5},
	} {
		g := growth{what: w.what, early: median(seen.early, w.of), late: median(seen.late, w.of)}
		g.most = g.early*w.factor + w.more
		list = append(list, g)
	}
	return list
}

// spans are the readings of the two fifths.
type spans struct{ early, late []reading }

func (s spans) both() int { return min(len(s.early), len(s.late)) }

func median(list []reading, of func(reading) float64) float64 {
	if len(list) == 0 {
		return 0
	}
	sorted := slices.SortedFunc(slices.Values(list), func(a, b reading) int { return cmp.Compare(of(a), of(b)) })
	return of(sorted[len(sorted)/2])
}
