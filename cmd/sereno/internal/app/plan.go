package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"sereno/config"
	"sereno/proxy/udp"
)

// move is what becomes of one service of the next configuration.
type move struct {
	is  description
	at  int    // its place in the configuration
	old front  // that it is made of; nil: it is new
	was string // old's name
}

// socket is a listening address of a service, as configured.
type socket struct {
	network string // udp or tcp
	addr    netip.AddrPort
}

func (s socket) String() string { return s.network + " " + s.addr.String() }

// socketsOf are the listening addresses of a service; port 0 names none.
func socketsOf(c *config.Config, d description) (out []socket) {
	add := func(network string, list []string) {
		for _, text := range list {
			if a, err := netip.ParseAddrPort(text); err == nil && a.Port() != 0 {
				out = append(out, socket{network, netip.AddrPortFrom(a.Addr().Unmap(), a.Port())})
			}
		}
	}
	for i := range c.DNS {
		if s := &c.DNS[i]; d.kind == "dns" && s.Name == d.name {
			add("udp", s.Listen)
			add("tcp", s.Listen)
			add("tcp", s.TLS.Listen)
			add("tcp", s.HTTPS.Listen)
		}
	}
	for i := range c.RADIUS {
		if s := &c.RADIUS[i]; d.kind == "radius" && s.Name == d.name {
			add("udp", s.Auth)
			add("udp", s.Acct)
			add("udp", s.CoA)
		}
	}
	return out
}

// plan matches the services of the next configuration with those that run, and
// refuses what could not be opened, before anything is touched. A service under
// a new name that takes over an address of one of its kind that goes is that
// one, renamed: nothing of it is closed. The moves are in the order in which
// addresses can change hands: who gives one away comes before who takes it.
func (n *Node) plan(running *shape, next *config.Config) ([]move, error) {
	held := map[socket]description{}
	for _, d := range frontsOf(running.config) {
		for _, s := range socketsOf(running.config, d) {
			held[s] = d
		}
	}
	moves := match(running, next, held)
	after := make([][]int, len(moves))
	for i := range moves {
		m := &moves[i]
		for _, s := range socketsOf(next, m.is) {
			h, ok := held[s]
			switch {
			case ok && h.name == m.was && h.kind == m.is.kind:
			case m.old != nil && slices.Contains(m.old.retired(), s): // it takes it back
			case ok:
				giver := slices.IndexFunc(moves, func(g move) bool { return g.was == h.name && g.is.kind == h.kind })
				if giver < 0 || !moves[giver].old.closesAtOnce() {
					return nil, fmt.Errorf("service %s wants %s, which service %s holds until this reload is done: take it away in one reload and give it in the next", m.is.name, s, h.name)
				}
				after[i] = append(after[i], giver)
			default:
				if err := n.free(s, m.is); err != nil {
					return nil, err
				}
			}
		}
	}
	return inOrder(moves, after)
}

// match finds for each service of the next configuration the running one that it is.
func match(running *shape, next *config.Config, held map[socket]description) []move {
	names, wanted := frontsOf(running.config), frontsOf(next)
	var moves []move
	for at, d := range wanted {
		m := move{is: d, at: at}
		from := slices.Index(names, d)
		for _, s := range socketsOf(next, d) {
			if h, ok := held[s]; ok && from < 0 && h.kind == d.kind && !slices.Contains(wanted, h) && !taken(moves, h) {
				from = slices.Index(names, h)
			}
		}
		if from >= 0 {
			m.old, m.was = running.fronts[from], names[from].name
		}
		moves = append(moves, m)
	}
	return moves
}

// inOrder puts each move after those that it waits for.
func inOrder(moves []move, after [][]int) ([]move, error) {
	out, done := make([]move, 0, len(moves)), make([]bool, len(moves))
	for len(out) < len(moves) {
		ready := -1
		for i := range moves {
			waits := slices.ContainsFunc(after[i], func(j int) bool { return !done[j] })
			if !done[i] && !waits {
				ready = i
				break
			}
		}
		if ready < 0 {
			stuck := slices.Index(done, false)
			return nil, fmt.Errorf("service %s and service %s would exchange addresses: take them away in one reload and give them in the next",
				moves[stuck].is.name, moves[after[stuck][0]].is.name)
		}
		done[ready] = true
		out = append(out, moves[ready])
	}
	return out, nil
}

func taken(moves []move, d description) bool {
	return slices.ContainsFunc(moves, func(m move) bool { return m.was == d.name && m.is.kind == d.kind })
}

// free tells whether a socket could be opened for a service.
func (n *Node) free(s socket, d description) error {
	var err error
	if s.network == "udp" {
		err = udp.Probe(s.addr)
	} else {
		err = probeTCP(s.addr)
	}
	if err == nil {
		return nil
	}
	for _, h := range n.partings() {
		if slices.Contains(h.sockets, s) {
			return fmt.Errorf("service %s wants %s, where service %s, which an earlier reload took away, still answers what it has: try again in a moment", d.name, s, h.name)
		}
	}
	for _, f := range n.shape.Load().fronts {
		if slices.Contains(f.retired(), s) {
			return fmt.Errorf("service %s wants %s, where service %s, from which an earlier reload took it away, still answers what it has: try again in a moment", d.name, s, f.name())
		}
	}
	return fmt.Errorf("service %s: %w", d.name, err)
}

// probeTCP tells whether a port is taken. That its address is not on this host
// is no error: it may come later.
func probeTCP(addr netip.AddrPort) error {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", addr.String())
	switch {
	case err == nil:
		return l.Close()
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("TCP %s is in use by another instance or another server: %w", addr, err)
	}
	return nil
}
