package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

// endpoint is what stands behind one path.
type endpoint struct {
	change  bool // POST, with full control; everything else is GET or HEAD
	machine bool // for monitoring: see guard.check
	local   bool // at the socket alone
	// answer makes the document that is sent as JSON with code 200, or with that of a coded.
	// Reads are bounded in number; changes run to their end even if the client goes away.
	answer func(ctx context.Context, arguments url.Values) (any, error)
	// takes are its arguments, and no other reaches it. With a change another one is refused: it is a slip of the pen
	// that might do harm.
	takes []string
	// serve is instead of answer for what is not one JSON document.
	serve http.HandlerFunc
}

// coded is a document with another code than 200.
type coded struct {
	code int
	body any
}

// columns is a document of many numbers: it is sent in one line, and packed for those who can
// unpack it.
type columns struct{ body any }

// endpoints are all paths there are, at both doors.
func (s *Server) endpoints() map[string]*endpoint {
	return map[string]*endpoint{
		"/healthz":                {machine: true, serve: s.healthz},
		"/readyz":                 {machine: true, answer: s.readyz},
		"/metrics":                {machine: true, serve: s.metrics(), takes: []string{"name[]"}},
		"/api/v1/openapi.yaml":    {serve: describe},
		"/api/v1/status":          {answer: s.status},
		"/api/v1/events":          {serve: s.events, takes: []string{"last"}},
		"/api/v1/live":            {serve: s.live, takes: []string{"last"}},
		"/api/v1/history":         {answer: s.history, takes: []string{"span"}},
		"/api/v1/availability":    {serve: s.availability, takes: []string{"service", "since", "format"}},
		"/api/v1/timeline":        {answer: s.timeline, takes: []string{"service", "since"}},
		"/api/v1/drain":           {change: true, answer: s.drain, takes: []string{"target", "for", "force"}},
		"/api/v1/undrain":         {change: true, answer: s.undrain, takes: []string{"target"}},
		"/api/v1/reload":          {change: true, answer: s.reload, takes: []string{"allow_empty"}},
		"/api/v1/flush":           {change: true, answer: s.flush, takes: []string{"service", "name", "subtree"}},
		"/api/v1/forget":          {change: true, answer: s.forget, takes: []string{"service", "address"}},
		"/api/v1/spool":           {local: true, answer: s.spool, takes: []string{"record", "service", "session", "user", "nas", "set_aside", "after", "limit"}},
		"/api/v1/spool/record":    {local: true, answer: s.spoolRecord, takes: []string{"record"}},
		"/api/v1/spool/export":    {local: true, serve: s.spoolExport, takes: []string{"record", "service", "session", "user", "nas", "set_aside", "after", "format"}},
		"/api/v1/spool/retry":     {local: true, change: true, answer: s.spoolRetry, takes: []string{"record", "service", "session", "user", "nas", "all"}},
		"/api/v1/spool/drop":      {local: true, change: true, answer: s.spoolDrop, takes: []string{"record", "service", "session", "user", "nas", "set_aside", "all"}},
		"/api/v1/explain/dns":     {answer: s.explainDNS, takes: []string{"name", "type", "client"}},
		"/api/v1/explain/radius":  {answer: s.explainRADIUS, takes: []string{"user", "nas"}},
		"/api/v1/explain/anycast": {answer: s.explainAnycast, takes: []string{"name"}},
		"/api/v1/top":             {local: true, serve: s.top, takes: []string{"service", "for", "limit"}},
		"/api/v1/trace/dns":       {local: true, serve: s.traceDNS, takes: []string{"client", "name", "for"}},
		"/api/v1/trace/radius":    {local: true, serve: s.traceRADIUS, takes: []string{"user", "nas", "for"}},
	}
}

// handler serves the endpoints at one door, which listens on host.
func (s *Server) handler(kind, host string) http.Handler {
	endpoints, page, guard := s.endpoints(), pageFiles(), newGuard(host, s.name)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer s.recover(w, r)
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		e := endpoints[r.URL.Path]
		if e == nil {
			e = &endpoint{serve: page[r.URL.Path]}
		}
		if kind == doorListen {
			if err := guard.check(r, e); err != nil {
				s.turnAway(w, r, http.StatusForbidden, err)
				return
			}
			if e.local {
				s.turnAway(w, r, http.StatusForbidden, errSocketOnly)
				return
			}
		}
		switch {
		case e.answer == nil && e.serve == nil:
			writeError(w, http.StatusNotFound, fmt.Errorf("no such path: %s", quote(r.URL.Path)))
			return
		case !slices.Contains(e.methods(), r.Method):
			w.Header().Set("Allow", strings.Join(e.methods(), ", "))
			writeError(w, http.StatusMethodNotAllowed, fmt.Errorf("%s takes %s", r.URL.Path, e.methods()[0]))
			return
		}
		if e.change && kind == doorListen {
			if err := s.token.Load().check(r); err != nil {
				s.turnAway(w, r, http.StatusForbidden, err)
				return
			}
		}
		if err := refuseBody(r); err != nil {
			w.Header().Set("Connection", "close")
			writeError(w, http.StatusBadRequest, err)
			return
		}
		s.serve(w, r, e)
	})
}

func (e *endpoint) methods() []string {
	if e.change {
		return []string{http.MethodPost}
	}
	return []string{http.MethodGet, http.MethodHead}
}

// refuseBody reads at most one byte: every argument is in the query, so that a body is
// either a mistake or an attack.
func refuseBody(r *http.Request) error {
	n := r.ContentLength
	if n < 0 {
		read, _ := r.Body.Read(make([]byte, 1)) // the server's deadline bounds it
		n = int64(read)
	}
	if n > 0 {
		return fmt.Errorf("%w: a request has no body: its arguments are in the query", ErrBadArgument)
	}
	return nil
}

// serve answers an admitted request.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, e *endpoint) {
	arguments, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		writeError(w, http.StatusBadRequest, fmt.Errorf("%w: the query cannot be read", ErrBadArgument))
		return
	}
	if !e.change {
		maps.DeleteFunc(arguments, func(name string, _ []string) bool { return !slices.Contains(e.takes, name) })
	}
	if e.serve != nil {
		r.URL.RawQuery = arguments.Encode()
		e.serve(w, r)
		return
	}
	var body any
	if e.change {
		body, err = s.change(w, r, e, arguments)
	} else {
		if !s.bounded(r, func() { body, err = e.answer(r.Context(), arguments) }) {
			err = errBusy
		}
	}
	if err != nil {
		writeJSON(w, codeOf(err), bodyOf(err))
		return
	}
	switch b := body.(type) {
	case coded:
		writeJSON(w, b.code, b.body)
	case columns:
		writeColumns(w, r, b.body)
	default:
		writeJSON(w, http.StatusOK, body)
	}
}

// bounded runs read while few others do. It returns false if it did not, because the client
// went away or its time was over first.
func (s *Server) bounded(r *http.Request, read func()) bool {
	select {
	case s.reads <- struct{}{}:
		defer func() { <-s.reads }()
		read()
		return true
	case <-r.Context().Done():
		return false
	}
}

// change makes a change and notes who asked for it.
func (s *Server) change(w http.ResponseWriter, r *http.Request, e *endpoint, arguments url.Values) (any, error) {
	for name, values := range arguments {
		if !slices.Contains(e.takes, name) {
			return nil, fmt.Errorf("%w: no such argument: %s: %s takes %s", ErrBadArgument, quote(name), r.URL.Path, strings.Join(e.takes, ", "))
		}
		if len(values) > 1 {
			return nil, fmt.Errorf("%w: %s is there more than once", ErrBadArgument, name)
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), s.limits.change)
	defer cancel()
	// The answer may take as long as the change.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.limits.change + s.limits.write))
	body, err := e.answer(ctx, arguments)
	fields := []zap.Field{zap.String("path", r.URL.Path), zap.String("query", head(arguments.Encode())), zap.String("by", peer(r)), zap.Error(err)}
	if err != nil {
		s.repeats.Line(zap.WarnLevel, "admin: change refused", zap.String("path", r.URL.Path)).Say(func() []zap.Field { return fields[1:] })
	} else {
		s.log.Info("admin: change made", fields...)
	}
	return body, err
}

// turnAway refuses somebody who may not do what he asks for, and counts it.
func (s *Server) turnAway(w http.ResponseWriter, r *http.Request, code int, err error) {
	reason := refusedToken
	switch {
	case errors.Is(err, errForeignHost):
		reason = refusedHost
	case errors.Is(err, errForeignOrigin):
		reason = refusedOrigin
	case errors.Is(err, errTokenOff):
		reason = refusedTokenOff
	case errors.Is(err, errSocketOnly):
		reason = refusedSocketOnly
	case errors.Is(err, errNoToken):
		reason, code = refusedNoToken, http.StatusUnauthorized
		w.Header().Set("WWW-Authenticate", `Bearer realm="sereno"`)
	}
	s.refusals.count(reason, zap.String("by", peer(r)), zap.String("path", head(r.URL.Path)))
	// Nothing of the request's body is read.
	w.Header().Set("Connection", "close")
	writeError(w, code, err)
}

// recover turns a fault of ours into an answer that says so.
func (s *Server) recover(w http.ResponseWriter, r *http.Request) {
	fault := recover()
	if fault == nil {
		return
	}
	if err, ok := fault.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(fault) // meant: the connection ends without the end of its answer
	}
	s.panics.Add(1)
	s.repeats.Line(zap.ErrorLevel, "admin: a request failed by a fault of ours").Say(func() []zap.Field {
		return []zap.Field{zap.String("path", head(r.URL.Path)), zap.Any("fault", fault), zap.ByteString("stack", debug.Stack())}
	})
	writeError(w, http.StatusInternalServerError, errors.New("a fault in the node; its log says more"))
}

// peer says who asks.
func peer(r *http.Request) string {
	who, _ := r.Context().Value(peerKey{}).(string)
	return who
}

func writeError(w http.ResponseWriter, code int, err error) { writeJSON(w, code, bodyOf(err)) }

// writeJSON sends a document, indented for people. <, > and & are escaped in it, so that no
// browser can take it for something else.
func writeJSON(w http.ResponseWriter, code int, body any) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(body); err != nil {
		code = http.StatusInternalServerError
		buffer.Reset()
		_ = encoder.Encode(ErrorBody{Error: err.Error()})
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(buffer.Bytes()) // a client that went away needs no answer
}

func writeColumns(w http.ResponseWriter, r *http.Request, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		writeError(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Vary", "Accept-Encoding")
	if unpacks(r) {
		w.Header().Set("Content-Encoding", "gzip")
		data = packed(data)
	}
	_, _ = w.Write(data) // a client that went away needs no answer
}
