package admin

import (
	"context"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"time"
)

// History is the answer of GET /api/v1/history: the figures of the last time, one column
// of each for each of Times. Only what is in the configuration now is shown. A sample of
// the live stream is a History of one column.
type History struct {
	Node      string                `json:"node"`
	Step      Seconds               `json:"step_seconds"`
	Times     List[Stamp]           `json:"times"`
	Services  List[ServiceHistory]  `json:"services"`
	Backends  List[BackendHistory]  `json:"backends"`
	Roles     List[RoleHistory]     `json:"roles"`
	Neighbors List[NeighborHistory] `json:"neighbors"`
}

// ServiceHistory are the figures of one service. Those of the other kind are left out.
type ServiceHistory struct {
	Name     string       `json:"name"`
	Kind     string       `json:"kind"`
	Requests List[Figure] `json:"requests"`    // a second
	Answers  List[Figure] `json:"answers"`     // a second
	Drops    List[Figure] `json:"drops"`       // a second, duplicates not among them
	Failures List[Figure] `json:"failures"`    // a second: not answered well (A31), which uses up the error budget
	P50      List[Figure] `json:"p50_seconds"` // latency of half of the answers is at most this; null without any
	P95      List[Figure] `json:"p95_seconds"`
	P99      List[Figure] `json:"p99_seconds"`
	InFlight List[Figure] `json:"in_flight"`

	HitRatio List[Figure] `json:"hit_ratio,omitempty"` // DNS: of the queries that the cache was asked for
	Stale    List[Figure] `json:"stale,omitempty"`     // DNS: stale answers a second
	Entries  List[Figure] `json:"cache_entries,omitempty"`

	Accepted List[Figure] `json:"accepted,omitempty"` // RADIUS: logins a second
	Rejected List[Figure] `json:"rejected,omitempty"`
	Sessions List[Figure] `json:"sessions,omitempty"`
	Spooled  List[Figure] `json:"spool_records,omitempty"`
	Oldest   List[Figure] `json:"spool_oldest_seconds,omitempty"`
}

// BackendHistory are the figures of one backend in one role.
type BackendHistory struct {
	Pool     string       `json:"pool"`
	Name     string       `json:"name"`
	Role     string       `json:"role"`
	Requests List[Figure] `json:"requests"`        // a second
	Failures List[Figure] `json:"failures"`        // a second
	Latency  List[Figure] `json:"latency_seconds"` // mean; null without a reply
}

// RoleHistory tells how many backends of a pool could serve.
type RoleHistory struct {
	Pool    string       `json:"pool"`
	Role    string       `json:"role"`
	Healthy List[Figure] `json:"healthy"` // up or suspect
	Members List[Figure] `json:"members"`
}

// NeighborHistory are the figures of one BGP session.
type NeighborHistory struct {
	Name        string       `json:"name"`
	LeaseMargin List[Figure] `json:"lease_margin_seconds"`
}

// Stamp is a moment in seconds since 1970, to the millisecond, as charts want it.
type Stamp float64

// MarshalJSON writes a number.
func (s Stamp) MarshalJSON() ([]byte, error) { return number(float64(s)), nil }

func stampOf(t time.Time) Stamp { return Stamp(float64(t.UnixMilli()) / 1e3) }

// Figure is one value of a chart, about four digits of it; null for what is none (NaN).
type Figure float32

var none = Figure(math.NaN())

// MarshalJSON writes a number or null.
func (f Figure) MarshalJSON() ([]byte, error) {
	v := float64(f)
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return []byte("null"), nil
	}
	places := 1e6
	switch {
	case math.Abs(v) >= 1000:
		places = 1
	case math.Abs(v) >= 1:
		places = 1e3
	}
	return strconv.AppendFloat(nil, math.Round(v*places)/places, 'f', -1, 64), nil
}

// spanOfTime is one length of time that is kept: so many samples, one every step.
type spanOfTime struct {
	name string
	step time.Duration
	most int
}

// kept are the lengths of time that history knows. Memory is bounded by the configuration:
// 948 samples of 64 bytes for each service, 12 for each backend, 8 for each role of a pool
// and 4 for each neighbor.
var kept = [...]spanOfTime{
	{"10m", 2 * time.Second, 300},
	{"1h", 10 * time.Second, 360},
	{"24h", 5 * time.Minute, 288},
}

func (s *Server) history(_ context.Context, arguments url.Values) (any, error) {
	span := arguments.Get("span")
	if span == "" {
		span = kept[1].name
	}
	for i := range kept {
		if kept[i].name == span {
			h := s.recorder.history(i)
			h.Node = s.name
			return columns{h}, nil
		}
	}
	return nil, fmt.Errorf("%w: the span is %s, %s or %s, not %s", ErrBadArgument, kept[0].name, kept[1].name, kept[2].name, quote(span))
}
