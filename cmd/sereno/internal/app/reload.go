package app

import (
	"context"
	"fmt"
	"maps"
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
	n.reading.Lock()
	defer n.reading.Unlock()
	next, report := config.Load(n.o.Path, config.Options{}) // a file system that hangs holds up no drain and no stop
	n.change.Lock()
	defer n.change.Unlock()
	if n.stopping.Load() {
		return admin.Changes{}, admin.Refused("the node is stopping")
	}
	changes, err := n.reload(next, report, allowEmpty)
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

func (n *Node) reload(next *config.Config, report *config.Report, allowEmpty bool) (admin.Changes, error) {
	running := n.shape.Load()
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

// parting is a service that a reload took away and that still answers.
type parting struct {
	name    string
	sockets []socket
}

func (n *Node) partings() []parting {
	n.partingMu.Lock()
	defer n.partingMu.Unlock()
	return slices.Collect(maps.Values(n.parting))
}

// part closes a service; what it has in flight is answered.
func (n *Node) part(f front) {
	ctx, cancel := context.WithTimeout(n.alive, partingTime)
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
	n.partingMu.Lock()
	n.parting[f] = parting{f.name(), socketsOf(was, description{f.kind(), f.name()})}
	n.partingMu.Unlock()
	n.leaving.Go(func() {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-n.done:
		}
		n.part(f)
		n.partingMu.Lock()
		delete(n.parting, f)
		n.partingMu.Unlock()
	})
}

func adminChange(c config.Change) admin.Change {
	text := ""
	if c.Old != "" || c.New != "" {
		text = c.Old + " → " + c.New
	}
	return admin.Change{Action: string(c.Kind), Key: strings.TrimSpace(c.Name), Text: text}
}
