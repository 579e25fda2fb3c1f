package admin

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Options are what a Server needs.
type Options struct {
	Node     Node
	Registry *prometheus.Registry // NewRegistry's: what /metrics shows; New adds the API's own
	Name     string               // of the node: a name under which `listen` may be asked
	Logger   *zap.Logger
	Now      func() time.Time // nil: time.Now
	Doors    Doors
}

// Doors are the ways in. An empty Socket or Listen is turned off. An empty Token lets
// nobody change anything over Listen.
type Doors struct {
	Socket string // path of the Unix socket
	Listen string // HOST:PORT
	Token  string
}

// Server serves the API. Its methods are safe for concurrent use.
type Server struct{}

// New is a Server that is not open yet.
func New(o Options) (*Server, error) { return &Server{}, nil }

// Start opens every door; on an error none is open.
func (s *Server) Start() error { return nil }

// Update opens, closes and keeps doors until they are as d says; on an error nothing has
// changed. Requests that are being answered at a door that closes are finished. It is the
// reload of the `admin` section, and its own undo.
func (s *Server) Update(d Doors) error { return nil }

// Publish gives an event to the subscribers of /api/v1/events. It never blocks.
func (s *Server) Publish(e Event) {}

// Close ends the event streams, finishes the requests that are being answered until ctx
// ends, and closes every door. The socket's file is removed if it is still ours.
func (s *Server) Close(ctx context.Context) error { return nil }
