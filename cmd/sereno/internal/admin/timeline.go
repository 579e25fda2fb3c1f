package admin

import (
	"context"
	"net/url"
	"time"
)

// Timeline is the answer of GET /api/v1/timeline: in which state each service and backend
// was, and when, by the books of availability.
type Timeline struct {
	Node    string       `json:"node"`
	From    Time         `json:"from"`
	To      Time         `json:"to"` // now, by the books
	Objects List[Course] `json:"objects"`
}

// Course is that of one object. Outages are the last ones of the window, oldest first.
type Course struct {
	Kind         string       `json:"kind"` // service, backend
	Name         string       `json:"name"`
	Pool         string       `json:"pool"`   // of a backend
	Role         string       `json:"role"`   // of a backend: dns, auth, acct
	First        Time         `json:"first"`  // where the books begin: what was before is unknown
	Coarse       bool         `json:"coarse"` // too many changes: each span shows the worst that was in it
	Spans        List[Span]   `json:"spans"`
	Outages      List[Outage] `json:"outages"`
	OutagesTotal int          `json:"outages_total"`
}

// Span is a stretch of time in one state; it lasts until the next one begins.
type Span struct {
	From  Instant `json:"from"`
	State string  `json:"state"` // up, degraded, drained, down, unknown
	Cause string  `json:"cause"`
}

// What one object of a timeline is bounded by.
const (
	MaxSpans   = 400
	MaxOutages = 100
)

func (s *Server) timeline(_ context.Context, arguments url.Values) (any, error) {
	length := 24 * time.Hour
	if since := arguments.Get("since"); since != "" {
		var err error
		if length, err = ParseFor(since); err != nil {
			return nil, err
		}
	}
	t, err := s.node.Timeline(arguments.Get("service"), length)
	return columns{t}, err
}
