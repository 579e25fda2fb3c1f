package insight

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Lens is who looks at a service right now: never changed, but replaced.
type Lens[Filter any] struct {
	Traces []Watch[Filter]
	Tops   []*Top
}

// Watch is a trace and the requests that it is about.
type Watch[Filter any] struct {
	Filter Filter
	Trace  *Trace
}

// Lenses is the place in a service where somebody may look. The zero value is ready. A worker loads it once for each
// batch; while nobody looks that is all it pays.
type Lenses[Filter any] struct {
	lens    atomic.Pointer[Lens[Filter]]
	numbers atomic.Uint64

	mu sync.Mutex // one change at a time
}

// Load is who looks; nil: nobody.
func (l *Lenses[Filter]) Load() *Lens[Filter] { return l.lens.Load() }

// Follow gives the requests that fit f to t until stop is called.
func (l *Lenses[Filter]) Follow(f Filter, t *Trace) (stop func()) {
	l.change(func(n *Lens[Filter]) { n.Traces = append(n.Traces, Watch[Filter]{f, t}) })
	return func() {
		l.change(func(n *Lens[Filter]) {
			n.Traces = slices.DeleteFunc(n.Traces, func(w Watch[Filter]) bool { return w.Trace == t })
		})
	}
}

// Count has requests counted into t until stop is called. Workers that are in the middle of a batch may go on for that
// batch.
func (l *Lenses[Filter]) Count(t *Top) (stop func()) {
	l.change(func(n *Lens[Filter]) { n.Tops = append(n.Tops, t) })
	return func() {
		l.change(func(n *Lens[Filter]) { n.Tops = slices.DeleteFunc(n.Tops, func(x *Top) bool { return x == t }) })
	}
}

func (l *Lenses[Filter]) change(f func(*Lens[Filter])) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := &Lens[Filter]{}
	if now := l.lens.Load(); now != nil {
		next.Traces, next.Tops = slices.Clone(now.Traces), slices.Clone(now.Tops)
	}
	f(next)
	if len(next.Traces)+len(next.Tops) == 0 {
		next = nil
	}
	l.lens.Store(next)
}

// Request begins to trace one request for all that match; nil if none does.
func (l *Lenses[Filter]) Request(lens *Lens[Filter], service string, match func(*Filter) bool) *Request {
	var r *Request
	for i := range lens.Traces {
		w := &lens.Traces[i]
		if !match(&w.Filter) {
			continue
		}
		if r == nil {
			r = newRequest(service, l.numbers.Add(1))
		}
		r.traces = append(r.traces, w.Trace)
	}
	return r
}
