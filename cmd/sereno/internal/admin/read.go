package admin

import (
	"bytes"
	"context"
	_ "embed" // the description of the API
	"fmt"
	"net/http"
	"net/url"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"sereno/proxy/insight"
)

//go:embed openapi.yaml
var openAPI []byte

// describe serves the description of the API, which its tests hold against the code.
func describe(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(openAPI) // a client that went away needs no answer
}

// Health is the answer of GET /healthz.
type Health struct {
	Alive bool `json:"alive"`
}

// Readiness is the answer of GET /readyz.
type Readiness struct {
	Ready   bool         `json:"ready"`
	Reasons List[string] `json:"reasons"`
}

// healthz asks the node nothing: it says that the process lives and answers.
// It waits for nobody, so that a node that is stuck is not taken for a dead one.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, Health{true})
}

func (s *Server) readyz(context.Context, url.Values) (any, error) {
	ready, reasons := s.node.Ready()
	if !ready {
		return coded{http.StatusServiceUnavailable, Readiness{false, reasons}}, nil
	}
	return Readiness{true, reasons}, nil
}

func (s *Server) status(context.Context, url.Values) (any, error) { return s.node.Status(), nil }

// metrics makes the whole page before it sends any of it, so that a slow client holds
// nothing but its own connection. A metric that is wrong costs itself, not the page.
func (s *Server) metrics() http.HandlerFunc {
	inner := promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError,
		ErrorLog:      metricsLog{s.repeats.Line(zap.ErrorLevel, "admin: a metric is wrong")},
	})
	return func(w http.ResponseWriter, r *http.Request) {
		page := &bufferedPage{header: w.Header(), code: http.StatusOK}
		if !s.bounded(r, func() { inner.ServeHTTP(page, r) }) {
			writeError(w, codeOf(errBusy), errBusy)
			return
		}
		w.WriteHeader(page.code)
		_, _ = w.Write(page.body.Bytes())
	}
}

// bufferedPage is an answer that is not sent yet.
type bufferedPage struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

// Header is the header of the answer.
func (p *bufferedPage) Header() http.Header { return p.header }

// WriteHeader notes the code.
func (p *bufferedPage) WriteHeader(code int) { p.code = code }

// Write appends to the body and cannot fail.
func (p *bufferedPage) Write(b []byte) (int, error) { return p.body.Write(b) }

// metricsLog lets promhttp write to our log.
type metricsLog struct{ *insight.Line }

// Println logs one message.
func (l metricsLog) Println(v ...any) {
	l.Say(func() []zap.Field { return []zap.Field{zap.String("text", fmt.Sprintln(v...))} })
}
