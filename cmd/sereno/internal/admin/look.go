package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"
)

// Looks is the part of a Node that shows single requests, and with them what names
// subscribers ask and who they are: it is answered over the socket alone.
type Looks interface {
	// Top counts requests for q.For, or until ctx ends, and says who asks most.
	// ErrNotFound: there is no such service.
	Top(ctx context.Context, q TopQuestion) (Top, error)
	// TraceDNS and TraceRADIUS begin to follow the requests that q fits. ErrNotFound where
	// there is no such service, ErrBadArgument.
	TraceDNS(q DNSTrace) (Following, error)
	TraceRADIUS(q RADIUSTrace) (Following, error)
}

// Following is a trace that runs. One goroutine uses it.
type Following interface {
	// Next waits for the next thing that happens. false: ctx has ended.
	Next(ctx context.Context) (TraceLine, bool)
	Close()
}

// TopQuestion asks who asks most.
type TopQuestion struct {
	Service string // "": every one
	For     time.Duration
	Limit   int // entries of each list
}

// Top is the answer of GET /api/v1/top.
type Top struct {
	Window   Seconds          `json:"window_seconds"` // that was counted
	Services List[TopService] `json:"services"`
}

// TopService is who asks one service most.
type TopService struct {
	Name     string        `json:"name"`
	Kind     string        `json:"kind"`     // dns, radius
	Requests uint64        `json:"requests"` // in the window
	Lists    List[TopList] `json:"lists"`
}

// TopList is one ranking.
type TopList struct {
	Of      string         `json:"of"` // names, clients; of RADIUS: users, realms, nases
	Entries List[TopEntry] `json:"entries"`
}

// TopEntry is one of a ranking. It was counted with a sketch of fixed size.
type TopEntry struct {
	Key       string  `json:"key"`
	Requests  uint64  `json:"requests"` // at least
	Over      uint64  `json:"over"`     // it may be so many more
	PerSecond float64 `json:"per_second"`
	Share     float64 `json:"share"` // of the service's requests
}

// DNSTrace says which queries to follow; what is not set fits every one.
type DNSTrace struct {
	Client netip.Prefix
	Name   string // and what is below it
}

// RADIUSTrace says which requests to follow; what is not set fits every one.
type RADIUSTrace struct {
	User string
	NAS  netip.Prefix
}

// TraceLine is one thing that happened to one request. Steps begin, lost and end are about
// the trace itself.
type TraceLine struct {
	At         Instant      `json:"at"`
	Service    string       `json:"service"`
	Request    uint64       `json:"request"` // lines of one request have the same number
	After      Millis       `json:"after_ms"`
	Step       string       `json:"step"`
	Text       string       `json:"text"`
	Attributes List[string] `json:"attributes"` // of a RADIUS packet, secrets not shown
}

const (
	defaultTop, maxTop     = 10 * time.Second, time.Minute
	defaultLimit, maxLimit = 10, 100
	defaultTrace, maxTrace = time.Minute, 10 * time.Minute
	maxFilter              = 255 // bytes of a name or a user
)

func (s *Server) top(w http.ResponseWriter, r *http.Request) {
	arguments := r.URL.Query()
	q := TopQuestion{Service: arguments.Get("service"), Limit: defaultLimit}
	var err error
	if q.For, err = window(arguments, defaultTop, maxTop); err == nil && arguments.Has("limit") {
		if q.Limit, err = strconv.Atoi(arguments.Get("limit")); err != nil || q.Limit < 1 || q.Limit > maxLimit {
			err = fmt.Errorf("%w: limit is a number from 1 to %d, not %s", ErrBadArgument, maxLimit, quote(arguments.Get("limit")))
		}
	}
	s.attend(w, r, err, q.For, func(ctx context.Context, _ *eventWriter) error {
		top, err := s.node.Top(ctx, q)
		if err == nil {
			writeJSON(w, http.StatusOK, top)
		}
		return err
	})
}

func (s *Server) traceDNS(w http.ResponseWriter, r *http.Request) {
	arguments := r.URL.Query()
	q := DNSTrace{Name: arguments.Get("name")}
	var err error
	if q.Client, err = prefix(arguments, "client"); err == nil && (len(q.Name) > maxFilter || !arguments.Has("client") && q.Name == "") {
		err = fmt.Errorf("%w: follow whom? client=IP or PREFIX, name=SUFFIX, or both", ErrBadArgument)
	}
	s.trace(w, r, err, func() (Following, error) { return s.node.TraceDNS(q) })
}

func (s *Server) traceRADIUS(w http.ResponseWriter, r *http.Request) {
	arguments := r.URL.Query()
	q := RADIUSTrace{User: arguments.Get("user")}
	var err error
	if q.NAS, err = prefix(arguments, "nas"); err == nil && (len(q.User) > maxFilter || !arguments.Has("nas") && q.User == "") {
		err = fmt.Errorf("%w: follow whom? user=NAME, nas=IP or PREFIX, or both", ErrBadArgument)
	}
	s.trace(w, r, err, func() (Following, error) { return s.node.TraceRADIUS(q) })
}

// trace sends lines, one JSON document each, until the time is over, the client goes or does
// not take them.
func (s *Server) trace(w http.ResponseWriter, r *http.Request, wrong error, begin func() (Following, error)) {
	d, err := window(r.URL.Query(), defaultTrace, maxTrace)
	if wrong == nil {
		wrong = err
	}
	s.attend(w, r, wrong, d, func(ctx context.Context, to *eventWriter) error {
		following, err := begin()
		if err != nil {
			return err
		}
		defer following.Close()
		w.Header().Set("Content-Type", "application/x-ndjson")
		line := TraceLine{At: Instant{s.now()}, Step: "begin", Text: fmt.Sprintf("for %s at most", d)}
		for more := true; more; {
			if to.line(line) != nil {
				return nil // the client went, or takes nothing
			}
			if line, more = following.Next(ctx); !more && r.Context().Err() == nil {
				_ = to.line(TraceLine{At: Instant{s.now()}, Step: "end", Text: "the time is over, or the node is stopping"})
			}
		}
		return nil
	})
}

func (w *eventWriter) line(l TraceLine) error {
	data, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return w.send(string(data) + "\n")
}

// attend runs something that takes its time, for d at most and beside few others.
func (s *Server) attend(w http.ResponseWriter, r *http.Request, wrong error, d time.Duration, run func(context.Context, *eventWriter) error) {
	if wrong != nil {
		writeJSON(w, codeOf(wrong), bodyOf(wrong))
		return
	}
	if r.Method == http.MethodHead {
		return
	}
	select {
	case s.looks <- struct{}{}:
		defer func() { <-s.looks }()
	default:
		w.Header().Set("Retry-After", "10")
		writeError(w, http.StatusServiceUnavailable, fmt.Errorf("%w: %d traces and counts run already", errBusy, cap(s.looks)))
		return
	}
	to := &eventWriter{w, http.NewResponseController(w), s.limits.event}
	// The server's own deadlines would end it.
	_ = to.control.SetReadDeadline(time.Time{})
	_ = to.control.SetWriteDeadline(time.Now().Add(d + s.limits.write))
	ctx, cancel := context.WithTimeout(r.Context(), d)
	defer cancel()
	defer context.AfterFunc(s.alive, cancel)() // Close does not wait for it
	if err := run(ctx, to); err != nil {
		writeJSON(w, codeOf(err), bodyOf(err))
	}
}

// window reads the argument `for`.
func window(arguments url.Values, normal, most time.Duration) (time.Duration, error) {
	if !arguments.Has("for") {
		return normal, nil
	}
	d, err := ParseFor(arguments.Get("for"))
	if err != nil {
		return 0, err
	}
	if d < time.Second || d > most {
		return 0, fmt.Errorf("%w: for is from 1s to %s, not %s", ErrBadArgument, most, quote(arguments.Get("for")))
	}
	return d, nil
}

// ParsePrefix reads an address or a prefix. Its error is an ErrBadArgument.
func ParsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%w: not an IP address or a prefix: %s", ErrBadArgument, quote(s))
	}
	return p.Masked(), nil
}

func prefix(arguments url.Values, name string) (netip.Prefix, error) {
	if !arguments.Has(name) {
		return netip.Prefix{}, nil
	}
	p, err := ParsePrefix(arguments.Get(name))
	if err != nil {
		return p, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}
