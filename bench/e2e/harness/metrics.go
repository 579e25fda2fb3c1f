package harness

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"sereno/bench/internal/scrape"
)

// Metrics is one scrape.
type Metrics = scrape.Metrics

// Metrics scrapes the node.
func (s *Sereno) Metrics() Metrics {
	s.lab.t.Helper()
	m, err := s.scrape()
	if err != nil {
		s.lab.t.Fatal(err)
	}
	return m
}

// TryMetrics scrapes the node, which may be too busy to answer in time.
func (s *Sereno) TryMetrics() (Metrics, error) { return s.scrape() }

func (s *Sereno) scrape() (Metrics, error) {
	code, body, err := s.get("/metrics")
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("status %d", code)
	}
	if err != nil {
		return nil, fmt.Errorf("scraping: %w", err)
	}
	return scrape.Parse(string(body))
}

// CheckBalance fails the test unless received = answers + drops + in flight for each service, and logs what was
// dropped. It looks once: one scrape must balance, whatever is going on.
func (s *Sereno) CheckBalance() {
	s.lab.t.Helper()
	m := s.Metrics()
	for _, wrong := range m.Unbalanced() {
		s.lab.t.Errorf("the counters do not balance: %s", wrong)
	}
	for _, sample := range m {
		if strings.HasSuffix(sample.Name, "_drops_total") && sample.Value > 0 {
			s.lab.t.Logf("%s%v %g", sample.Name, sample.Labels, sample.Value)
		}
	}
}

// lastBalance checks the balance of a node that runs when its test ends. One that has been told to end needs not answer.
func (s *Sereno) lastBalance() {
	if !s.Running() {
		return
	}
	m, err := s.scrape()
	if err != nil && !s.endsWithin(10*time.Second) {
		s.lab.t.Errorf("the balance at the end: %v", err)
	}
	for _, wrong := range m.Unbalanced() {
		s.lab.t.Errorf("the counters do not balance at the end: %s", wrong)
	}
}

// WaitIdle waits until nothing is in flight, and then checks the balance.
func (s *Sereno) WaitIdle() {
	s.lab.t.Helper()
	s.lab.Eventually(15*time.Second, "nothing is in flight", func() bool {
		m := s.Metrics()
		return m.Sum("sereno_dns_in_flight")+m.Sum("sereno_radius_in_flight") == 0
	})
	s.CheckBalance()
}
