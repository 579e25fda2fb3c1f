package app

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"sereno/cmd/sereno/internal/admin"
	"sereno/proxy/dnsfront"
	"sereno/proxy/dnswire"
	"sereno/proxy/insight"
	"sereno/proxy/radiusfront"
)

// counted is a front as Top counts it.
type counted struct {
	front front
	top   *insight.Top
	stop  func()
	of    []string            // its lists
	words func(string) string // of a key that is no address
}

// Top counts who asks most (O24).
func (n *Node) Top(ctx context.Context, q admin.TopQuestion) (admin.Top, error) {
	var all []counted
	for _, f := range n.shape.Load().fronts {
		if q.Service != "" && f.name() != q.Service {
			continue
		}
		switch s := f.(type) {
		case *dnsService:
			top := insight.NewTop(dnsfront.NumTops)
			all = append(all, counted{f, top, s.Count(top), []string{dnsfront.TopNames: "names", dnsfront.TopClients: "clients"},
				func(key string) string { return dnswire.NameString([]byte(key)) }})
		case *radiusService:
			top := insight.NewTop(radiusfront.NumTops)
			all = append(all, counted{f, top, s.Count(top), []string{radiusfront.TopUsers: "users", radiusfront.TopRealms: "realms", radiusfront.TopNASes: "nases"},
				func(key string) string { return key }})
		}
	}
	if len(all) == 0 {
		return admin.Top{}, fmt.Errorf("%w: there is no service %q", admin.ErrNotFound, q.Service)
	}
	begin := time.Now()
	wait := time.NewTimer(q.For)
	defer wait.Stop()
	select {
	case <-ctx.Done():
	case <-wait.C:
	}
	took := time.Since(begin)
	out := admin.Top{Window: admin.SecondsOf(took)}
	for _, c := range all {
		c.stop()
		out.Services = append(out.Services, c.read(took, q.Limit))
	}
	return out, nil
}

func (c *counted) read(took time.Duration, limit int) admin.TopService {
	requests, lists := c.top.Read(limit)
	out := admin.TopService{Name: c.front.name(), Kind: c.front.kind(), Requests: requests}
	for kind, ranked := range lists {
		list := admin.TopList{Of: c.of[kind]}
		for _, r := range ranked {
			e := admin.TopEntry{Requests: r.Count - r.Over, Over: r.Over, PerSecond: float64(r.Count-r.Over) / took.Seconds()}
			if list.Of == "clients" || list.Of == "nases" {
				a, _ := netip.AddrFromSlice([]byte(r.Key)) // the fronts count 4 or 16 octets
				e.Key = a.String()
			} else {
				e.Key = c.words(r.Key)
			}
			if requests > 0 {
				e.Share = float64(e.Requests) / float64(requests)
			}
			list.Entries = append(list.Entries, e)
		}
		out.Lists = append(out.Lists, list)
	}
	return out
}

// following is a trace over all services of a kind. One that a reload adds is not in it.
type following struct {
	trace *insight.Trace
	stops []func()
	lost  *time.Ticker
}

// TraceDNS follows queries (O24).
func (n *Node) TraceDNS(q admin.DNSTrace) (admin.Following, error) {
	f := &following{trace: insight.NewTrace()}
	for _, x := range n.shape.Load().fronts {
		if s, ok := x.(*dnsService); ok {
			stop, err := s.Trace(dnsfront.TraceFilter{Client: q.Client, Name: q.Name}, f.trace)
			if err != nil {
				f.Close()
				return nil, fmt.Errorf("%w: %w", admin.ErrBadArgument, err)
			}
			f.stops = append(f.stops, stop)
		}
	}
	return f.begun("DNS")
}

// TraceRADIUS follows requests (O24).
func (n *Node) TraceRADIUS(q admin.RADIUSTrace) (admin.Following, error) {
	f := &following{trace: insight.NewTrace()}
	for _, x := range n.shape.Load().fronts {
		if s, ok := x.(*radiusService); ok {
			f.stops = append(f.stops, s.Trace(radiusfront.TraceFilter{User: q.User, NAS: q.NAS}, f.trace))
		}
	}
	return f.begun("RADIUS")
}

func (f *following) begun(kind string) (admin.Following, error) {
	if len(f.stops) == 0 {
		return nil, fmt.Errorf("%w: this node has no %s service", admin.ErrNotFound, kind)
	}
	f.lost = time.NewTicker(time.Second)
	return f, nil
}

// Next waits for the next step; once a second it may be how many were lost.
func (f *following) Next(ctx context.Context) (admin.TraceLine, bool) {
	for {
		select {
		case <-ctx.Done():
			return admin.TraceLine{}, false
		case s := <-f.trace.Steps():
			return admin.TraceLine{
				At: admin.Instant{Time: s.At}, Service: s.Service, Request: s.Request, After: admin.MillisOf(s.After), Step: s.Name, Text: s.Text, Attributes: s.Details,
			}, true
		case at := <-f.lost.C:
			if n := f.trace.TakeLost(); n > 0 {
				return admin.TraceLine{At: admin.Instant{Time: at}, Step: "lost", Text: fmt.Sprintf("%d lines are left out: more than 1,000 a second, or than you take", n)}, true
			}
		}
	}
}

// Close ends it.
func (f *following) Close() {
	for _, stop := range f.stops {
		stop()
	}
	if f.lost != nil {
		f.lost.Stop()
	}
}
