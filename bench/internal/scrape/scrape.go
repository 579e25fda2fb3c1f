// Package scrape reads what a node says of itself, at /metrics and at
// /api/v1/status, and holds its counters to their equation (O20).
package scrape

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Sample is one line of /metrics.
type Sample struct {
	Name   string
	Labels map[string]string
	Value  float64
}

// Metrics is one scrape.
type Metrics []Sample

// Parse reads Prometheus's text format, as far as sereno writes it.
func Parse(text string) (Metrics, error) {
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

// Unbalanced gives one line for each service whose counters do not balance (O20): what was received is what was
// answered, dropped, or is in flight.
func (m Metrics) Unbalanced() []string {
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
