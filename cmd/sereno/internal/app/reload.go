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

// partingTime is how long a service that a reload took away goes on answering
// what is in flight.
const partingTime = 5 * time.Second

// reloadResult is how the last reload ended; err is "" if it was applied.
type reloadResult struct{ err string }

// Reload reads the configuration again and applies it whole, or keeps the
// running one whole and says why (O04).
func (n *Node) Reload(_ context.Context, allowEmpty bool) (admin.Changes, error) {
	n.change.Lock()
	defer n.change.Unlock()
	changes, err := n.reload(allowEmpty)
	result := &reloadResult{}
	if err != nil {
		result.err = err.Error()
		n.log.Error("reload refused, the running configuration stays", zap.Error(err))
		n.publish(admin.EventReload, n.o.Path, "", "refused", "", err.Error())
	} else {
		n.log.Info("reload applied", zap.Int("changes", len(changes.Changes)), zap.Strings("needs_restart", changes.Restart))
		n.publish(admin.EventReload, n.o.Path, "", "applied", "", fmt.Sprintf("%d changes", len(changes.Changes)))
	}
	n.reloads.Store(result)
	return changes, err
}

func (n *Node) reload(allowEmpty bool) (admin.Changes, error) {
	if n.stopping.Load() {
		return admin.Changes{}, admin.Refused("the node is stopping")
	}
	running := n.shape.Load()
	next, report := config.Load(n.o.Path, config.Options{})
	if err := report.Err(); err != nil {
		var lines []string
		for _, p := range report.Errors {
			lines = append(lines, p.String())
		}
		return admin.Changes{}, admin.Refused("the configuration has errors", lines...)
	}
	if err := bgp.CheckReload(routingOf(running.config), routingOf(next), allowEmpty); err != nil {
		return admin.Changes{}, admin.Refused(err.Error())
	}
	out := changesOf(n.first, running.config, next, report)
	if err := n.turnInto(running, next); err != nil {
		return admin.Changes{}, admin.Refused(err.Error())
	}
	return out, nil
}

// changesOf tells what a reload changes.
func changesOf(first, running, next *config.Config, report *config.Report) admin.Changes {
	out := admin.Changes{Hash: next.Hash}
	for _, c := range config.Diff(running, next) {
		out.Changes = append(out.Changes, adminChange(c))
	}
	for _, c := range config.NeedsRestart(config.Diff(first, next)) {
		out.Restart = append(out.Restart, c.Key)
	}
	for _, line := range bgp.Difference(routingOf(running), routingOf(next)) {
		out.Routes = append(out.Routes, admin.Change{Action: "changed", Text: line})
	}
	for _, w := range report.Warnings {
		out.Warnings = append(out.Warnings, w.String())
	}
	return out
}

// turnInto applies the next configuration in order. Each step that is done has
// its undo; when one fails, those before it are undone in reverse.
func (n *Node) turnInto(running *shape, next *config.Config) error {
	var undo []func()
	failed := func(err error) error {
		slices.Reverse(undo)
		for _, u := range undo {
			u()
		}
		return err
	}
	s := &shape{config: next, loaded: n.now()}

	// Verdicts and pools. What stays keeps its state.
	undo = append(undo, func() {
		if _, err := running.pools.apply(running.config, n.monitor.Apply(targetsOf(running.config))); err != nil {
			n.log.Error("undoing a reload", zap.Error(err))
		}
	})
	var err error
	if s.pools, err = running.pools.apply(next, n.monitor.Apply(targetsOf(next))); err != nil {
		return failed(err)
	}

	// Services: those that stay are updated in place, new ones are opened.
	for _, d := range frontsOf(next) {
		old := running.front(d.name)
		if old != nil && old.kind() == d.kind {
			if err := old.update(n, next, s.pools); err != nil {
				return failed(err)
			}
			undo = append(undo, func() {
				if err := old.update(n, running.config, running.pools); err != nil {
					n.log.Error("undoing a reload", zap.String("service", old.name()), zap.Error(err))
				}
			})
			s.fronts = append(s.fronts, old)
			continue
		}
		f, err := n.open(d, next, s.pools)
		if err != nil {
			return failed(err)
		}
		undo = append(undo, func() { n.part(f) })
		s.fronts = append(s.fronts, f)
	}

	// The API's doors, then the routes: the last step that can fail is the first
	// that others see.
	if door := n.door.Load(); door != nil {
		if err := door.Update(doorsOf(next)); err != nil {
			return failed(err)
		}
		undo = append(undo, func() {
			if err := door.Update(doorsOf(running.config)); err != nil {
				n.log.Error("undoing a reload", zap.Error(err))
			}
		})
	}
	if err := n.routes.SetConfig(routingOf(next), true); err != nil {
		return failed(err)
	}

	n.shape.Store(s)
	if err := n.level.UnmarshalText([]byte(next.Log.Level)); err != nil {
		n.log.Error("changing log.level", zap.Error(err))
	}
	n.judge(s)
	n.applyDrains(next)
	for _, f := range running.fronts {
		if !slices.Contains(s.fronts, f) {
			n.partAfterItsRoutes(f, running.config)
		}
	}
	return nil
}

// part closes a service; what it has in flight is answered.
func (n *Node) part(f front) {
	ctx, cancel := context.WithTimeout(context.Background(), partingTime)
	defer cancel()
	if err := f.Close(ctx); err != nil {
		n.log.Warn("closing a service", zap.String("service", f.name()), zap.Error(err))
	}
}

// partAfterItsRoutes closes a service that the configuration has no more, once
// routers have had the time to follow the withdrawal of its routes.
func (n *Node) partAfterItsRoutes(f front, was *config.Config) {
	wait := time.Duration(0)
	for i := range was.Anycast {
		if a := &was.Anycast[i]; slices.Contains(a.Requires, f.name()) {
			wait = max(wait, a.DrainTime/2)
		}
	}
	n.parting.Go(func() {
		select {
		case <-time.After(wait):
		case <-n.done:
		}
		n.part(f)
	})
}

func adminChange(c config.Change) admin.Change {
	text := ""
	if c.Old != "" || c.New != "" {
		text = c.Old + " → " + c.New
	}
	return admin.Change{Action: string(c.Kind), Key: strings.TrimSpace(c.Name), Text: text}
}
