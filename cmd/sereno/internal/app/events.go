package app

import (
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"sereno/bgp"
	"sereno/cmd/sereno/internal/admin"
	"sereno/config"
	"sereno/health"
)

// backendChanged hears every change of a backend: one line, one event.
func (n *Node) backendChanged(e health.Event) {
	n.books.changed(backendObject(e.Key), backendStates[e.To], string(e.Reason))
	level := zapcore.InfoLevel
	if e.To == health.Down || e.To == health.Suspect {
		level = zapcore.WarnLevel
	}
	n.log.Log(level, "backend "+e.To.String(), zap.String("pool", e.Pool), zap.String("backend", e.Backend), zap.String("role", e.Role),
		zap.Stringer("from", e.From), zap.String("reason", string(e.Reason)), zap.String("detail", e.Detail))
	n.publish(admin.EventBackend, e.Pool+"/"+e.Backend+" ("+e.Role+")", e.From.String(), e.To.String(), string(e.Reason), e.Detail)
}

// serviceChanged hears every change of a service, and brings it to the routes first.
func (n *Node) serviceChanged(e health.ServiceEvent) {
	n.tellRoutes()
	n.books.changed(serviceObject(e.Service), serviceStates[e.To], string(e.Reason))
	level := zapcore.InfoLevel
	switch e.To {
	case health.ServiceDown:
		level = zapcore.ErrorLevel
	case health.ServiceDegraded:
		level = zapcore.WarnLevel
	case health.ServiceStarting, health.ServiceUp, health.ServiceDrained:
	}
	n.log.Log(level, "service "+string(e.To), zap.String("service", e.Service), zap.String("kind", e.Kind),
		zap.String("from", string(e.From)), zap.String("reason", string(e.Reason)), zap.String("detail", e.Detail))
	n.publish(admin.EventService, e.Service, string(e.From), string(e.To), string(e.Reason), e.Detail)
}

// routeChanged hears every change of a route, after it has left for the speakers.
// It is called with the controller's lock held.
func (n *Node) routeChanged(e bgp.Event) {
	level := zapcore.InfoLevel
	if e.To != bgp.Announced && e.Reason != bgp.ReasonStarting && !n.stopping.Load() {
		level = zapcore.WarnLevel
	}
	n.log.Log(level, "route "+string(e.To), zap.String("anycast", e.Anycast), zap.String("from", string(e.From)),
		zap.String("reason", string(e.Reason)), zap.String("waits_for", e.WaitsFor))
	n.publish(admin.EventAnycast, e.Anycast, string(e.From), string(e.To), string(e.Reason), e.WaitsFor)
	meant := e.Reason == bgp.ReasonDrained || e.Reason == bgp.ReasonServiceDrained || e.Reason == bgp.ReasonStopping
	n.demotedMu.Lock()
	n.demoted[e.Anycast] = e.To == bgp.Demoted && !meant
	n.demotedMu.Unlock()
	n.markDemoted(n.shape.Load().config)
}

// markDemoted tells health which services serve behind a demoted route: they
// are degraded. Those of a drain or a stop are not: that is meant.
func (n *Node) markDemoted(c *config.Config) {
	n.demotedMu.Lock()
	defer n.demotedMu.Unlock()
	maps.DeleteFunc(n.demoted, func(name string, _ bool) bool { return !exists(c, admin.Target{Kind: admin.TargetAnycast, Name: name}) })
	for _, service := range serviceNames(c) {
		n.services.Demote(service, slices.ContainsFunc(c.Anycast, func(a bgp.AnycastConfig) bool {
			return n.demoted[a.Name] && slices.Contains(a.Requires, service)
		}))
	}
}

// paused hears when this process stood still.
func (n *Node) paused(p health.Pause) {
	n.log.Warn("this process stood still; everything is probed anew", zap.Duration("for", p.Length().Round(time.Millisecond)))
}

// publish gives an event to the subscribers of the API.
func (n *Node) publish(kind, name, from, to, reason, detail string) {
	n.door.Publish(admin.Event{
		At: admin.Instant{Time: n.now()}, Kind: kind, Name: name, From: from, To: to, Reason: reason, Detail: detail,
	})
}
