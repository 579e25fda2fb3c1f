package insight

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// traceRate is how many lines of one trace are shown in a second.
	traceRate = 1000
	// traceQueue is how many lines may wait for a reader.
	traceQueue = 2 * traceRate
)

// Step is one thing that happened to one request.
type Step struct {
	At      time.Time
	Service string
	Request uint64        // lines of one request have the same number
	After   time.Duration // since the request came
	Name    string        // one word: received, gate, cache, backend, reply, answer, …
	Text    string        // in words
	Details []string      // attributes of a packet, one each
}

// Trace is one who follows requests. Whoever has lines for it never waits: what it does not take in time, or what is
// above traceRate lines a second, is counted as lost.
type Trace struct {
	steps chan Step
	lost  atomic.Uint64

	mu     sync.Mutex
	second int64 // that room is of
	room   int
}

// NewTrace is ready to be given to Lenses.Follow.
func NewTrace() *Trace { return &Trace{steps: make(chan Step, traceQueue)} }

// Steps is where they come out.
func (t *Trace) Steps() <-chan Step { return t.steps }

// TakeLost is how many lines were lost since it was last asked.
func (t *Trace) TakeLost() uint64 { return t.lost.Swap(0) }

func (t *Trace) put(l Step) {
	if !t.admit(l.At.Unix()) {
		t.lost.Add(1)
		return
	}
	select {
	case t.steps <- l:
	default:
		t.lost.Add(1)
	}
}

func (t *Trace) admit(second int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if second != t.second {
		t.second, t.room = second, traceRate
	}
	if t.room == 0 {
		return false
	}
	t.room--
	return true
}

// Request is one request that somebody follows. nil: nobody does, and Say does nothing; but its arguments are made all
// the same, so a path that is to cost nothing asks before. Safe for concurrent use.
type Request struct {
	service string
	number  uint64
	came    time.Time
	traces  []*Trace
}

func newRequest(service string, number uint64) *Request {
	return &Request{service: service, number: number, came: time.Now()}
}

// Say tells of a step.
func (r *Request) Say(step, format string, args ...any) {
	if r != nil {
		r.Show(step, fmt.Sprintf(format, args...), nil)
	}
}

// Show tells of a step with details. The slice is kept.
func (r *Request) Show(step, text string, details []string) {
	if r == nil {
		return
	}
	now := time.Now()
	for _, t := range r.traces {
		t.put(Step{At: now, Service: r.service, Request: r.number, After: now.Sub(r.came), Name: step, Text: text, Details: details})
	}
}
