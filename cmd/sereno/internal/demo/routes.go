package demo

import (
	"bufio"
	"encoding/json"
	"io"
	"sync"
	"time"

	"sereno/bgp/speaker"
)

// change is one change of the router's best route to a prefix. Site -1: there is none any more.
type change struct {
	At     time.Time
	Prefix string
	Site   int
}

// routes follows the router's table.
type routes struct {
	siteOf map[string]int // by the neighbor's address

	mu      sync.Mutex
	best    map[string]change
	ready   bool          // the router listens
	changed chan struct{} // closed and replaced at each event
	listen  []func(change)
}

func newRoutes(siteOf map[string]int) *routes {
	return &routes{siteOf: siteOf, best: map[string]change{}, changed: make(chan struct{})}
}

// follow reads the router's events until its output ends. The listeners are called in order, on this goroutine.
func (r *routes) follow(out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var e speaker.RouterEvent
		if json.Unmarshal(lines.Bytes(), &e) == nil {
			r.event(e)
		}
	}
}

func (r *routes) event(e speaker.RouterEvent) {
	r.mu.Lock()
	c := change{At: e.At, Prefix: e.Prefix, Site: -1}
	tell := false
	switch e.Event {
	case "listening":
		r.ready = true
	case "announced", "withdrawn":
		if site, ok := r.siteOf[e.Peer]; ok && e.Event == "announced" {
			c.Site = site
		}
		before, known := r.best[e.Prefix]
		tell = !known || before.Site != c.Site
		if tell {
			r.best[e.Prefix] = c
		}
	}
	close(r.changed)
	r.changed = make(chan struct{})
	listeners := r.listen
	r.mu.Unlock()
	if tell {
		for _, f := range listeners {
			f(c)
		}
	}
}

// onChange adds a listener and tells it the present routes first.
func (r *routes) onChange(f func(change)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.best {
		f(c)
	}
	r.listen = append(r.listen, f)
}

// to gives the best route to a prefix.
func (r *routes) to(prefix string) change {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c, ok := r.best[prefix]; ok {
		return c
	}
	return change{Prefix: prefix, Site: -1}
}

// listening says whether the router accepts sessions.
func (r *routes) listening() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ready
}

// next is closed at the next event.
func (r *routes) next() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}
