package admin

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
)

// Explained is the answer of GET /api/v1/explain/…: one explanation for each service
// that the question could come to.
type Explained struct {
	Explanations List[Explanation] `json:"explanations"`
}

// Explanation says what a request would meet, or why a route is as it is, and why.
type Explanation struct {
	Subject  string       `json:"subject"`  // the service or the anycast entry
	Words    List[string] `json:"words"`    // the whole in sentences, in the order in which a request meets it
	Evidence any          `json:"evidence"` // what the words rest on, for programs; its fields depend on the kind
}

// DNSQuestion is a query that nobody sends.
type DNSQuestion struct {
	Name   string
	Type   string     // "A" if it was left out
	Client netip.Addr // zero: not told
}

// RADIUSQuestion is a request that nobody sends.
type RADIUSQuestion struct {
	User string
	NAS  netip.Addr // zero: not told
}

// Flushed is the answer of POST /api/v1/flush.
type Flushed struct {
	Service string `json:"service"`
	Entries int    `json:"entries"` // cached answers that were forgotten
}

// Forgotten is the answer of POST /api/v1/forget.
type Forgotten struct {
	Service string `json:"service"`
	Sources int    `json:"sources"` // addresses and backends that nothing is known of any more
}

func (s *Server) forget(_ context.Context, arguments url.Values) (any, error) {
	service := arguments.Get("service")
	if service == "" {
		return nil, fmt.Errorf("%w: the service is missing", ErrBadArgument)
	}
	a, err := address(arguments, "address")
	if err != nil {
		return nil, err
	}
	n, err := s.node.Forget(service, a)
	return Forgotten{service, n}, err
}

func (s *Server) explainDNS(_ context.Context, arguments url.Values) (any, error) {
	q := DNSQuestion{Name: arguments.Get("name"), Type: arguments.Get("type")}
	if q.Name == "" {
		return nil, fmt.Errorf("%w: the name is missing", ErrBadArgument)
	}
	if q.Type == "" {
		q.Type = "A"
	}
	var err error
	if q.Client, err = address(arguments, "client"); err != nil {
		return nil, err
	}
	list, err := s.node.ExplainDNS(q)
	return Explained{list}, err
}

func (s *Server) explainRADIUS(_ context.Context, arguments url.Values) (any, error) {
	q := RADIUSQuestion{User: arguments.Get("user")}
	if q.User == "" {
		return nil, fmt.Errorf("%w: the user is missing", ErrBadArgument)
	}
	var err error
	if q.NAS, err = address(arguments, "nas"); err != nil {
		return nil, err
	}
	list, err := s.node.ExplainRADIUS(q)
	return Explained{list}, err
}

func (s *Server) explainAnycast(_ context.Context, arguments url.Values) (any, error) {
	name := arguments.Get("name")
	if name == "" {
		return nil, fmt.Errorf("%w: the name of the anycast entry is missing", ErrBadArgument)
	}
	e, err := s.node.ExplainAnycast(name)
	return Explained{List[Explanation]{e}}, err
}

func (s *Server) flush(_ context.Context, arguments url.Values) (any, error) {
	service, name := arguments.Get("service"), arguments.Get("name")
	if service == "" {
		return nil, fmt.Errorf("%w: the service is missing", ErrBadArgument)
	}
	subtree, err := flag(arguments, "subtree")
	if err != nil {
		return nil, err
	}
	if subtree && name == "" {
		return nil, fmt.Errorf("%w: subtree of which name? Without both, everything is flushed", ErrBadArgument)
	}
	n, err := s.node.Flush(service, name, subtree)
	return Flushed{service, n}, err
}

// address reads an argument that is an IP address; without it, the zero Addr.
func address(arguments url.Values, name string) (netip.Addr, error) {
	if !arguments.Has(name) {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(arguments.Get(name))
	if err != nil {
		return a, fmt.Errorf("%w: %s is an IP address, not %s", ErrBadArgument, name, quote(arguments.Get(name)))
	}
	return a.Unmap(), nil
}
