package admin

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"go.uber.org/zap"
)

// events serves GET /api/v1/events: server-sent events (WHATWG HTML, section 9.2), each with
// an ID and an Event as JSON. `?last=N` sends the last N first; a client that comes back with
// Last-Event-ID gets what it missed, as far as it is kept.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	s.follow(w, r, func(sub *subscriber, missed []stamped, to *eventWriter) { s.stream(r, sub, missed, nil, to) })
}

// follow subscribes a client to the events and has run send to it.
func (s *Server) follow(w http.ResponseWriter, r *http.Request, run func(*subscriber, []stamped, *eventWriter)) {
	few, err := lastOf(r.URL.Query())
	if err != nil {
		writeError(w, http.StatusBadRequest, err)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would keep them back
	if r.Method == http.MethodHead {
		return
	}
	sub, missed, ok := s.hub.subscribe(r.Header.Get("Last-Event-ID"), few)
	if !ok {
		s.refusals.count(refusedSubscribers, zap.String("by", peer(r)))
		w.Header().Set("Retry-After", "10")
		writeError(w, http.StatusServiceUnavailable, errors.New("too many subscribers, or the node is stopping"))
		return
	}
	defer s.hub.unsubscribe(sub)
	to := &eventWriter{w, http.NewResponseController(w), s.limits.event}
	// The server's deadline for reading a request would end the stream.
	if err := to.control.SetReadDeadline(time.Time{}); err != nil {
		return
	}
	if err := to.send("retry: 2000\n\n"); err != nil {
		return
	}
	run(sub, missed, to)
}

// stream sends events, and frames if there are any, until the client goes, is too slow, or
// the hub closes.
func (s *Server) stream(r *http.Request, sub *subscriber, missed []stamped, frames <-chan []byte, w *eventWriter) {
	for _, e := range missed {
		if err := w.event(s.hub.id(e), e.data); err != nil {
			return
		}
	}
	alive := time.NewTicker(s.limits.keepalive)
	defer alive.Stop()
	for {
		var err error
		select {
		case <-r.Context().Done():
			return
		case e, ok := <-sub.events:
			if !ok {
				return
			}
			err = w.event(s.hub.id(e), e.data)
		case f, ok := <-frames:
			if !ok {
				return
			}
			err = w.send(string(f))
		case <-alive.C:
			err = w.send(": alive\n\n")
		}
		if err != nil {
			return
		}
	}
}

// eventWriter writes to one subscriber, who has a bounded time to take each piece.
type eventWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	within  time.Duration
}

func (w *eventWriter) event(id string, data []byte) error {
	return w.send(fmt.Sprintf("id: %s\ndata: %s\n\n", id, data))
}

func (w *eventWriter) send(text string) error {
	if err := w.control.SetWriteDeadline(time.Now().Add(w.within)); err != nil {
		return err
	}
	if _, err := w.Write([]byte(text)); err != nil {
		return err
	}
	return w.control.Flush()
}

// lastOf reads how many of the last events a subscriber wants first.
func lastOf(arguments url.Values) (int, error) {
	if !arguments.Has("last") {
		return 0, nil
	}
	n, err := strconv.Atoi(arguments.Get("last"))
	if err != nil || n < 0 || n > keptEvents {
		return 0, fmt.Errorf("%w: last is a number from 0 to %d, not %s", ErrBadArgument, keptEvents, quote(arguments.Get("last")))
	}
	return n, nil
}
