package harness

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Sample is one line of /metrics.
type Sample struct {
	Name   string
	Labels map[string]string
	Value  float64
}

// Metrics is one scrape.
type Metrics []Sample

// Metrics scrapes the node.
func (s *Sereno) Metrics() Metrics {
	s.lab.t.Helper()
	m, err := s.scrape()
	if err != nil {
		s.lab.t.Fatal(err)
	}
	return m
}

func (s *Sereno) scrape() (Metrics, error) {
	code, body, err := s.get("/metrics")
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("status %d", code)
	}
	if err != nil {
		return nil, fmt.Errorf("scraping: %w", err)
	}
	return parseMetrics(string(body))
}

// parseMetrics reads Prometheus's text format, as far as sereno writes it.
func parseMetrics(text string) (Metrics, error) {
	var m Metrics
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		if at < 0 {
			return nil, fmt.Errorf("metrics: %q has no value", line)
		}
		value, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("metrics: %q: %w", line, err)
		}
		name, rest, labelled := strings.Cut(line[:at], "{")
		sample := Sample{Name: name, Labels: map[string]string{}, Value: value}
		for labelled {
			var key string
			var ok bool
			if key, rest, ok = strings.Cut(rest, `="`); !ok {
				break
			}
			end := strings.IndexByte(rest, '"')
			for end > 0 && rest[end-1] == '\\' {
				next := strings.IndexByte(rest[end+1:], '"')
				if next < 0 {
					break
				}
				end += 1 + next
			}
			if end < 0 {
				return nil, fmt.Errorf("metrics: %q: a label has no end", line)
			}
			sample.Labels[strings.Trim(key, ", ")] = rest[:end]
			rest = rest[end+1:]
		}
		m = append(m, sample)
	}
	return m, nil
}

// Sum adds up the samples of a name that have these labels (key, value, ...).
func (m Metrics) Sum(name string, labels ...string) float64 {
	sum := 0.0
	for _, s := range m {
		if s.Name == name && matches(s, labels) {
			sum += s.Value
		}
	}
	return sum
}

func matches(s Sample, labels []string) bool {
	for i := 0; i+1 < len(labels); i += 2 {
		if s.Labels[labels[i]] != labels[i+1] {
			return false
		}
	}
	return true
}

// unbalanced gives one line for each service whose counters do not balance (O20): what was received is what was
// answered, dropped, or is in flight.
func (m Metrics) unbalanced() []string {
	var wrong []string
	for _, protocol := range []struct{ received, answered, dropped, waiting string }{
		{"sereno_dns_queries_total", "sereno_dns_answers_total", "sereno_dns_drops_total", "sereno_dns_in_flight"},
		{"sereno_radius_requests_total", "sereno_radius_answers_total", "sereno_radius_drops_total", "sereno_radius_in_flight"},
	} {
		var services []string
		for _, s := range m {
			if s.Name == protocol.received && !slices.Contains(services, s.Labels["service"]) {
				services = append(services, s.Labels["service"])
			}
		}
		for _, service := range services {
			sum := func(name string) float64 { return m.Sum(name, "service", service) }
			received, answered, dropped, waiting := sum(protocol.received), sum(protocol.answered), sum(protocol.dropped), sum(protocol.waiting)
			if received != answered+dropped+waiting {
				wrong = append(wrong, fmt.Sprintf("service %s: received %g, but answered %g + dropped %g + in flight %g",
					service, received, answered, dropped, waiting))
			}
		}
	}
	return wrong
}

// CheckBalance fails the test unless received = answers + drops + in flight for each service, and logs what was
// dropped. It looks once: one scrape must balance, whatever is going on.
func (s *Sereno) CheckBalance() {
	s.lab.t.Helper()
	m := s.Metrics()
	for _, wrong := range m.unbalanced() {
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
	for _, wrong := range m.unbalanced() {
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
