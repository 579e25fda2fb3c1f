package app

import (
	"cmp"
	"maps"
	"slices"

	"sereno/cmd/sereno/internal/admin"
)

// subject is something whose state nobody tells when it changes: the node, a
// pool's role, a neighbor.
type subject struct{ kind, name string }

// condition is its state, and why.
type condition struct{ state, detail string }

// conditions are the states of all subjects now.
func (n *Node) conditions() map[subject]condition {
	s, routes := n.shape.Load(), n.routes.Status()
	out := map[subject]condition{{admin.EventNode, n.first.Node.Name}: {state: n.stateOf()}}
	for key, p := range s.pools {
		if len(p.Backends()) > 0 {
			out[subject{admin.EventRole, key.pool + " (" + key.role + ")"}] = condition{state: roleState(p)}
		}
	}
	for _, b := range routes.BGP.Neighbors {
		c := condition{state: b.State}
		if b.State != admin.StateEstablished {
			c.detail = b.LastError
		}
		out[subject{admin.EventNeighbor, b.Name}] = c
	}
	return out
}

// watch publishes what has changed since was, and returns what is. The log has
// these changes from those who make them.
func (n *Node) watch(was map[subject]condition) map[subject]condition {
	now := n.conditions()
	both := maps.Clone(was)
	maps.Copy(both, now)
	inOrder := func(a, b subject) int { return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.name, b.name)) }
	for _, s := range slices.SortedFunc(maps.Keys(both), inOrder) {
		from, to := was[s], now[s]
		gone := to.state == "" // taken away by a reload, whose event it is
		if from.state != to.state && !gone {
			n.publish(s.kind, s.name, from.state, to.state, "", to.detail)
		}
	}
	return now
}
