package admin

import (
	"sync"

	"go.uber.org/zap"

	"sereno/proxy/insight"
)

// Reasons for which the API turns somebody away; the values of the label `reason`.
const (
	refusedConnections = "connections"
	refusedHost        = "host"
	refusedOrigin      = "origin"
	refusedNoToken     = "no-token"
	refusedToken       = "wrong-token"
	refusedTokenOff    = "token-off"
	refusedSubscribers = "subscribers"
	refusedSocketOnly  = "socket-only"
)

// RefusalReasons are all of them.
func RefusalReasons() []string {
	return []string{refusedConnections, refusedHost, refusedOrigin, refusedNoToken, refusedToken, refusedTokenOff, refusedSubscribers, refusedSocketOnly}
}

// refusals counts who is turned away. The log has the first of a reason at once, and a
// sum once a minute after that.
type refusals struct {
	repeats *insight.Repeats

	mu     sync.Mutex
	totals map[string]uint64
}

func newRefusals(repeats *insight.Repeats) *refusals {
	return &refusals{repeats: repeats, totals: map[string]uint64{}}
}

func (r *refusals) count(reason string, fields ...zap.Field) {
	r.mu.Lock()
	r.totals[reason]++
	r.mu.Unlock()
	r.repeats.Line(zap.WarnLevel, "admin: turned away", zap.String("reason", reason)).Say(func() []zap.Field { return fields })
}

func (r *refusals) total(reason string) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.totals[reason]
}
