package lab

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// glance is how often a router is asked, where a setup says nothing else.
const glance = 4 * time.Millisecond

// prefixes that the nodes announce.
const (
	dnsPrefix    = "192.0.2.53/32"
	dnsPrefix6   = "2001:db8:53::53/128"
	radiusPrefix = "192.0.2.18/32"
)

// service is one of those that the nodes have, with the prefix that scenarios mean.
type service struct{ name, prefix string }

var (
	dnsService    = service{"DNS", dnsPrefix}
	radiusService = service{"RADIUS", radiusPrefix}
	services      = []service{dnsService, radiusService}
)

// both gives the prefixes that scenarios mean by one of them: DNS has one of each family, in one anycast entry.
func both(prefix string) []string {
	if prefix == dnsPrefix {
		return []string{dnsPrefix, dnsPrefix6}
	}
	return []string{prefix}
}

// moment is when a router's view of a prefix changed.
type moment struct {
	at time.Time
	view
}

// watcher asks a router all the time, and remembers every change.
type watcher struct {
	router
	mu      sync.Mutex
	history map[string][]moment // by prefix
	ended   chan struct{}
}

// watch asks until ctx ends.
func watch(ctx context.Context, r router, every time.Duration) *watcher {
	w := &watcher{router: r, history: map[string][]moment{}, ended: make(chan struct{})}
	go func() {
		defer close(w.ended)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for ctx.Err() == nil {
			for _, prefix := range []string{dnsPrefix, dnsPrefix6, radiusPrefix} {
				v, err := r.ask(prefix)
				if err != nil {
					v = view{down: true}
					_ = r.connect() // tried again at the next turn
				}
				w.note(prefix, v)
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
			}
		}
	}()
	return w
}

func (w *watcher) note(prefix string, v view) {
	w.mu.Lock()
	defer w.mu.Unlock()
	h := w.history[prefix]
	if len(h) == 0 || !h[len(h)-1].equal(v) {
		w.history[prefix] = append(h, moment{time.Now(), v})
	}
}

// all gives the first moment, from since on, by which the router's view of a prefix was as wanted, in both families.
func (w *watcher) all(prefix string, since time.Time, want func(view) bool) (last time.Time, ok bool) {
	for _, p := range both(prefix) {
		at, ok := w.first(p, since, want)
		if !ok {
			return at, false
		}
		if at.After(last) {
			last = at
		}
	}
	return last, true
}

// some gives the first moment, from since on, at which the router's view of a prefix was such, in any family.
func (w *watcher) some(prefix string, since time.Time, bad func(view) bool) (first time.Time, ok bool) {
	for _, p := range both(prefix) {
		if at, was := w.first(p, since, bad); was && (!ok || at.Before(first)) {
			first, ok = at, true
		}
	}
	return first, ok
}

// first is both for one family.
func (w *watcher) first(prefix string, since time.Time, want func(view) bool) (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	h := w.history[prefix]
	for i, m := range h {
		if i+1 < len(h) && !h[i+1].at.After(since) {
			continue // over before
		}
		if want(m.view) {
			if m.at.Before(since) {
				return since, true
			}
			return m.at, true
		}
	}
	return time.Time{}, false
}

// tell writes the history of a prefix since then, for a report of what went wrong.
func (w *watcher) tell(prefix string, since time.Time) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var s strings.Builder
	for _, p := range both(prefix) {
		for _, m := range w.history[p] {
			fmt.Fprintf(&s, "  %s %s %+.3fs: best %q, paths %v, down %v\n", w.label(), p, m.at.Sub(since).Seconds(), m.best, m.paths, m.down)
		}
	}
	return s.String()
}

// The views that scenarios wait for.
func is(site, state int) func(view) bool {
	return func(v view) bool { return !v.down && v.paths[nodeSpace(site)] == state }
}

func not(site, state int) func(view) bool {
	return func(v view) bool { return v.down || v.paths[nodeSpace(site)] != state }
}

func movedFrom(site int) func(view) bool {
	return func(v view) bool { return !v.down && v.best != "" && v.best != nodeSpace(site) }
}
