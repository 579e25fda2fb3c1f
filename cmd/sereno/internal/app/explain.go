package app

import (
	"fmt"
	"net/netip"

	"sereno/cmd/sereno/internal/admin"
	"sereno/proxy/dnsfront"
	"sereno/proxy/radiusfront"
)

// Flush forgets cached answers of a DNS service (D38).
func (n *Node) Flush(service, name string, subtree bool) (int, error) {
	f, ok := n.shape.Load().front(service).(*dnsService)
	if !ok {
		return 0, fmt.Errorf("%w: there is no DNS service %q", admin.ErrNotFound, service)
	}
	entries, err := f.Flush(name, subtree)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", admin.ErrBadArgument, err)
	}
	return entries, nil
}

// Forget makes a RADIUS service forget what it learnt of Message-Authenticators
// (R13).
func (n *Node) Forget(service string, address netip.Addr) (int, error) {
	f, ok := n.shape.Load().front(service).(*radiusService)
	if !ok {
		return 0, fmt.Errorf("%w: there is no RADIUS service %q", admin.ErrNotFound, service)
	}
	return f.ForgetLearnt(address), nil
}

// ExplainDNS says for each DNS service what a query would meet (O13).
func (n *Node) ExplainDNS(q admin.DNSQuestion) ([]admin.Explanation, error) {
	var out []admin.Explanation
	for _, f := range n.shape.Load().fronts {
		s, ok := f.(*dnsService)
		if !ok {
			continue
		}
		e, err := s.Explain(dnsfront.Question{Name: q.Name, Type: q.Type, Client: q.Client})
		if err != nil {
			return nil, fmt.Errorf("%w: %w", admin.ErrBadArgument, err)
		}
		out = append(out, admin.Explanation{Subject: s.name(), Words: e.Why, Evidence: e})
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: this node has no DNS service", admin.ErrNotFound)
	}
	return out, nil
}

// ExplainRADIUS says for each RADIUS service what a login would meet (O13).
func (n *Node) ExplainRADIUS(q admin.RADIUSQuestion) ([]admin.Explanation, error) {
	var out []admin.Explanation
	for _, f := range n.shape.Load().fronts {
		if s, ok := f.(*radiusService); ok {
			e := s.Explain(radiusfront.Question{User: q.User, NAS: q.NAS})
			out = append(out, admin.Explanation{Subject: s.name(), Words: e.Why, Evidence: e})
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: this node has no RADIUS service", admin.ErrNotFound)
	}
	return out, nil
}

// ExplainAnycast says why an entry's prefixes are or are not announced (A25).
func (n *Node) ExplainAnycast(name string) (admin.Explanation, error) {
	n.tellRoutes() // with the counts of backends as they are now: bgp hears of verdicts only when they change
	e, err := n.routes.Explain(name)
	if err != nil {
		return admin.Explanation{}, fmt.Errorf("%w: %w %q", admin.ErrNotFound, err, name)
	}
	return admin.Explanation{Subject: name, Words: e.Words, Evidence: e}, nil
}
