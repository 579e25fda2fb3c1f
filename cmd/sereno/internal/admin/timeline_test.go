package admin

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func (n *fakeNode) Timeline(service string, length time.Duration) (Timeline, error) {
	t := Timeline{Node: "garibaldi-1", From: At(time.Unix(0, 0)), To: At(time.Unix(3600, 0))}
	t.Objects = append(t.Objects, Course{
		Kind: "backend", Name: "<script>alert(1)</script>", Pool: "resolvers", Role: "dns",
		Spans: []Span{{From: Instant{time.UnixMilli(1500)}, State: "down", Cause: "timeouts"}},
	})
	return t, n.note("timeline %s %v", service, length)
}

func TestO21TimelineOverTheAPI(t *testing.T) {
	s := startServer(t, nil)
	code, body, header := ask(t, s.overListen, "GET", s.url("/api/v1/timeline?service=resolver&since=30d"))
	var a Timeline
	if err := json.Unmarshal([]byte(body), &a); err != nil || code != 200 || header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %v %v", code, header, err)
	}
	if span := a.Objects[0].Spans[0]; span.State != "down" || span.From.UnixMilli() != 1500 {
		t.Errorf("%+v", span)
	}
	if strings.Contains(body, "<script") {
		t.Error(body)
	}
	ask(t, s.overSocket, "GET", "http://node/api/v1/timeline")
	if calls := s.node.taken(); len(calls) != 2 || calls[0] != "timeline resolver 720h0m0s" || calls[1] != "timeline  24h0m0s" {
		t.Errorf("%v", calls)
	}
	if code, body, _ = ask(t, s.overListen, "GET", s.url("/api/v1/timeline?since=yesterday")); code != 400 || !strings.Contains(body, "yesterday") {
		t.Errorf("%d %s", code, body)
	}
}
