package app

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"go.uber.org/zap"

	"sereno/cmd/sereno/internal/admin"
	"sereno/config"
	"sereno/health"
)

// settleTime bounds how long a reload waits for the first verdict on a service
// that is new, before routes come to rest on it.
const settleTime = 3 * time.Second

// undo is how the steps of a reload that are done are undone, in their order.
type undo []func()

func (u undo) all() {
	slices.Reverse(u)
	for _, f := range u {
		f()
	}
}

// turnInto makes the node what next says, whole, or leaves it as it is.
func (n *Node) turnInto(running *shape, next *config.Config) error {
	moves, err := n.plan(running, next)
	if err != nil {
		return err
	}
	s := &shape{config: next, loaded: n.now()}
	undo, err := n.prepare(running, s, moves)
	if err != nil {
		undo.all()
		return err
	}
	n.commit(running, s)
	return nil
}

// prepare does all that can fail. What next has no more stays until commit,
// so that undoing loses no verdict and no session.
func (n *Node) prepare(running, s *shape, moves []move) (undo undo, err error) {
	next := s.config
	undo = append(undo, func() { n.undid(n.addresses.Apply(running.config.Anycast)) })
	if err := n.assignMore(running.config, next); err != nil {
		return undo, err
	}
	if err := n.openDoors(next); err != nil {
		return undo, err
	}
	undo = append(undo, func() { n.undid(n.door.Update(doorsOf(running.config))) })

	// Verdicts and pools: what stays keeps its state.
	undo = append(undo, func() {
		_, err := running.pools.apply(running.config, n.monitor.Apply(targetsOf(running.config)))
		n.undid(err)
	})
	n.drainBackends(next)
	if s.pools, err = running.pools.apply(next, n.monitor.Apply(targetsOfBoth(next, running.config))); err != nil {
		return undo, err
	}

	// Services: those that stay are updated in place, new ones are opened.
	n.processors(len(moves) + n.leavers(running, moves))
	n.memory(next)
	undo = append(undo, func() { n.memory(running.config) })
	s.fronts = make([]front, len(moves))
	for _, m := range moves {
		if m.old == nil {
			f, err := n.open(m.is, next, s.pools)
			if err != nil {
				return undo, err
			}
			undo = append(undo, func() { n.part(f) })
			s.fronts[m.at] = f
			continue
		}
		if err := m.old.update(n, m.is.name, next, s.pools); err != nil {
			return undo, err
		}
		undo = append(undo, func() { n.undid(m.old.update(n, m.was, running.config, running.pools)) })
		s.fronts[m.at] = m.old
	}
	return undo, nil
}

// openDoors opens the API's doors as next has them. A node that was started with the socket
// elsewhere may have given away writing at its new place.
func (n *Node) openDoors(next *config.Config) error {
	err := n.door.Update(doorsOf(next))
	moved := filepath.Dir(next.Admin.Socket) != filepath.Dir(n.first.Admin.Socket)
	if n.o.Confine && moved && errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w (a running node makes a socket only in the directory where it was started with one: leave it there, or restart)", err)
	}
	return err
}

func (n *Node) undid(err error) {
	if err != nil {
		n.log.Error("undoing a reload", zap.Error(err))
	}
}

// commit makes what is prepared count. Nothing in it fails.
func (n *Node) commit(running, s *shape) {
	next := s.config
	n.drainServices(next)
	n.judge(s, running)
	n.settle(running.config, next)
	n.tellRoutes()

	n.shape.Store(s)
	if err := n.level.UnmarshalText([]byte(next.Log.Level)); err != nil {
		n.log.Error("changing log.level", zap.Error(err))
	}
	if err := n.routes.SetConfig(routingOf(next), true, drainedAnycasts(n.drains, next)...); err != nil {
		n.log.Error("changing the routes", zap.Error(err))
	}
	n.judge(s, nil)
	n.monitor.Apply(targetsOf(next))
	n.applyDrains(next)
	n.markDemoted(next)
	for _, f := range running.fronts {
		if !slices.Contains(s.fronts, f) {
			n.partAfterItsRoutes(f, running.config)
		}
	}
	n.assignLess(running.config)
}

// targetsOfBoth are the backends of next, and those of running that next has no
// more.
func targetsOfBoth(next, running *config.Config) []health.Target {
	out := targetsOf(next)
	has := make(map[health.Key]bool, len(out))
	for i := range out {
		has[out[i].Key] = true
	}
	for _, t := range targetsOf(running) {
		if !has[t.Key] {
			out = append(out, t)
		}
	}
	return out
}

// judge has health judge exactly the services of s, and those of leaving (nil:
// none) that s has no more: routes may still rest on them.
func (n *Node) judge(s, leaving *shape) {
	least := map[string]int{}
	var services []health.Service
	add := func(f front, name string) {
		j := f.judged()
		j.Name = name
		services = append(services, j)
	}
	for _, f := range s.fronts {
		add(f, f.name())
	}
	if leaving != nil {
		for i := range leaving.config.Pools {
			least[leaving.config.Pools[i].Name] = leaving.config.Pools[i].MinHealthy
		}
		names, now := frontsOf(leaving.config), serviceNames(s.config)
		for i, f := range leaving.fronts {
			if !slices.Contains(now, names[i].name) {
				add(f, names[i].name)
			}
		}
	}
	for i := range s.config.Pools {
		least[s.config.Pools[i].Name] = s.config.Pools[i].MinHealthy
	}
	n.services.Apply(least, services)
	n.tellRoutes()
}

// settle waits for a verdict on the services that are new and that routes come
// to rest on, so that no route goes away for the moment that a first
// self-probe takes.
func (n *Node) settle(running, next *config.Config) {
	var fresh []string
	for _, d := range frontsOf(next) {
		if slices.Contains(frontsOf(running), d) {
			continue
		}
		for i := range next.Anycast {
			if slices.Contains(next.Anycast[i].Requires, d.name) && exists(running, admin.Target{Kind: admin.TargetAnycast, Name: next.Anycast[i].Name}) {
				fresh = append(fresh, d.name)
			}
		}
	}
	starting := func(name string) bool {
		v, ok := n.services.Status(name)
		return ok && v.State == health.ServiceStarting
	}
	end := time.NewTimer(settleTime)
	defer end.Stop()
	every := time.NewTicker(5 * time.Millisecond)
	defer every.Stop()
	for slices.ContainsFunc(fresh, starting) {
		select {
		case <-end.C:
			return
		case <-every.C:
		}
	}
}
