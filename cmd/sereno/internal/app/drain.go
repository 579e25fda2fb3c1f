package app

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"sereno/bgp"
	"sereno/cmd/sereno/internal/admin"
	"sereno/config"
)

// Drain takes a target out of use (O12). It is in force when it returns, and on
// disk where its answer warns of nothing.
func (n *Node) Drain(_ context.Context, t admin.Target, d time.Duration, force bool) (admin.Drained, error) {
	n.change.Lock()
	defer n.change.Unlock()
	if n.stopping.Load() {
		return admin.Drained{}, admin.Refused("the node is stopping")
	}
	now := n.shape.Load()
	if !exists(now.config, t) {
		return admin.Drained{}, fmt.Errorf("%w: %s", admin.ErrNotFound, t)
	}
	if !force && !n.drains.has(t.String()) {
		if reason := n.harmOf(now, t); reason != "" {
			return admin.Drained{}, admin.Refused(reason + " (--force does it all the same)")
		}
	}
	at := n.now()
	var until *time.Time
	if d > 0 {
		end := at.Add(d).UTC()
		until = &end
	}
	if err := n.drains.add(t.String(), at, until); err != nil {
		return admin.Drained{}, err
	}
	n.applyDrains(now.config)
	n.log.Info("drained", zap.String("target", t.String()), zap.String("until", untilText(until)))
	n.publish(admin.EventDrain, t.String(), "", admin.StateDrained, "drained", "")
	warning := n.writeDrains("a restart would end this drain")
	for _, x := range n.drains.list() {
		if x.Target == t.String() {
			shown := adminDrain(x)
			return admin.Drained{Target: shown.Target, Since: shown.Since, Until: shown.Until, Warning: warning}, nil
		}
	}
	return admin.Drained{}, fmt.Errorf("draining %s: it ended at once", t)
}

// Undrain ends a drain.
func (n *Node) Undrain(_ context.Context, t admin.Target) (admin.Undrained, error) {
	n.change.Lock()
	defer n.change.Unlock()
	if n.stopping.Load() {
		return admin.Undrained{}, admin.Refused("the node is stopping")
	}
	if !n.drains.remove(t.String()) {
		return admin.Undrained{}, fmt.Errorf("%w: %s is not drained", admin.ErrNotFound, t)
	}
	n.undrained(t.String(), "by an operator")
	return admin.Undrained{Target: t.String(), Warning: n.writeDrains("a restart may drain it again")}, nil
}

// writeDrains writes down what is in force already. Where that fails it says what a
// restart would do then.
func (n *Node) writeDrains(otherwise string) (warning string) {
	err := n.drains.save()
	if err == nil {
		return ""
	}
	n.log.Warn("in force, but not written down: "+otherwise, zap.Error(err))
	return fmt.Sprintf("it could not be written down, and %s: %v (it is tried again every %v)", otherwise, err, saveAgain)
}

// expireDrains ends the drains whose time is over, and writes down what could not be
// before; it is called every second.
func (n *Node) expireDrains() {
	n.change.Lock()
	defer n.change.Unlock()
	if n.stopping.Load() {
		return
	}
	for _, target := range n.drains.expire(n.now()) {
		n.undrained(target, "its time is over")
	}
	n.drains.retry(n.now())
}

func (n *Node) undrained(target, why string) {
	n.applyDrains(n.shape.Load().config)
	n.log.Info("drain ended", zap.String("target", target), zap.String("why", why))
	n.publish(admin.EventDrain, target, admin.StateDrained, "", "", why)
}

// applyDrains makes what is drained be drained everywhere, and nothing else. It
// is the same call for a drain, its end and a reload.
func (n *Node) applyDrains(c *config.Config) {
	n.drainBackends(c)
	n.drainServices(c)
	drained := drainedAnycasts(n.drains, c)
	for i := range c.Anycast {
		a := &c.Anycast[i]
		act := n.routes.Undrain
		if slices.Contains(drained, a.Name) {
			act = n.routes.Drain
		}
		if err := act(a.Name); err != nil {
			n.log.Error("draining a route", zap.String("anycast", a.Name), zap.Error(err))
		}
	}
}

// drainBackends drains backends, also those that are yet to come.
func (n *Node) drainBackends(c *config.Config) {
	for _, t := range targetsOf(c) {
		n.monitor.Drain(t.Key, n.drains.has(admin.Target{Kind: admin.TargetBackend, Name: t.Pool, Backend: t.Backend}.String()))
	}
}

// drainServices drains services, also those that are yet to come.
func (n *Node) drainServices(c *config.Config) {
	for _, name := range serviceNames(c) {
		n.services.Drain(name, n.drains.has(admin.Target{Kind: admin.TargetService, Name: name}.String()))
	}
}

// drainedAnycasts are the entries that are drained by themselves or with the
// node; those of a drained service are known to bgp by the service's state.
func drainedAnycasts(book *drainBook, c *config.Config) []string {
	all := book.has(string(admin.TargetNode))
	var out []string
	for i := range c.Anycast {
		if name := c.Anycast[i].Name; all || book.has(admin.Target{Kind: admin.TargetAnycast, Name: name}.String()) {
			out = append(out, name)
		}
	}
	return out
}

// exists tells whether the configuration has the target.
func exists(c *config.Config, t admin.Target) bool {
	switch t.Kind {
	case admin.TargetNode:
		return true
	case admin.TargetService:
		return slices.Contains(serviceNames(c), t.Name)
	case admin.TargetAnycast:
		return slices.ContainsFunc(c.Anycast, func(a bgp.AnycastConfig) bool { return a.Name == t.Name })
	case admin.TargetBackend:
		p := c.Pool(t.Name)
		return p != nil && slices.ContainsFunc(p.Backends, func(b config.Backend) bool { return b.Name == t.Backend })
	}
	return false
}

// harmOf says why draining the target would hurt; "" if it would not.
func (n *Node) harmOf(now *shape, t admin.Target) string {
	if t.Kind == admin.TargetBackend {
		for _, role := range rolesOf(now.config.Pool(t.Name).Protocol) {
			healthy, least, has := now.pools.healthyAfter(poolRole{t.Name, role}, t.Backend)
			if has && healthy < least {
				return fmt.Sprintf("draining %s would leave %d healthy backends of role %s in pool %s, and min_healthy is %d", t, max(healthy, 0), role, t.Name, least)
			}
		}
		return ""
	}
	var standing, left []string
	for _, a := range n.routes.Status().Anycast {
		if a.State == bgp.Withdrawn || a.Reason == bgp.ReasonDrained || a.Reason == bgp.ReasonServiceDrained {
			continue
		}
		standing = append(standing, a.Name)
		if !covers(now.config, t, a.Name) {
			left = append(left, a.Name)
		}
	}
	if len(standing) > 0 && len(left) == 0 {
		return fmt.Sprintf("draining %s would withdraw the last announced anycast of this node (%s)", t, strings.Join(standing, ", "))
	}
	return ""
}

// covers tells whether draining the target withdraws the anycast entry.
func covers(c *config.Config, t admin.Target, anycast string) bool {
	switch t.Kind {
	case admin.TargetNode:
		return true
	case admin.TargetAnycast:
		return t.Name == anycast
	case admin.TargetService:
		return slices.ContainsFunc(c.Anycast, func(a bgp.AnycastConfig) bool {
			return a.Name == anycast && slices.Contains(a.Requires, t.Name)
		})
	}
	return false
}

// serviceNames are the names of all services of a configuration, in its order.
func serviceNames(c *config.Config) []string {
	var out []string
	for i := range c.DNS {
		out = append(out, c.DNS[i].Name)
	}
	for i := range c.RADIUS {
		out = append(out, c.RADIUS[i].Name)
	}
	return out
}

// untilText is the end of a drain in the log.
func untilText(until *time.Time) string {
	if until == nil {
		return "it is undrained"
	}
	return until.Format(time.RFC3339)
}

func adminDrain(d drain) admin.Drain {
	out := admin.Drain{Target: d.Target, Since: admin.Time{Time: d.Since}}
	if d.Until != nil {
		out.Until = admin.Time{Time: *d.Until}
	}
	return out
}
