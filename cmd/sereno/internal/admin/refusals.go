package admin

import (
	"sync"
	"time"

	"go.uber.org/zap"
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

func refusalReasons() []string {
	return []string{refusedConnections, refusedHost, refusedOrigin, refusedNoToken, refusedToken, refusedTokenOff, refusedSubscribers, refusedSocketOnly}
}

// refusals counts who is turned away. The log gets the first of a reason at once, and
// after that at most one line a minute with the number since.
type refusals struct {
	log *zap.Logger
	now func() time.Time

	mu     sync.Mutex
	totals map[string]uint64
	logged map[string]loggedRefusal
}

type loggedRefusal struct {
	at    time.Time
	total uint64
}

const refusalLogInterval = time.Minute

func newRefusals(log *zap.Logger, now func() time.Time) *refusals {
	return &refusals{log: log, now: now, totals: map[string]uint64{}, logged: map[string]loggedRefusal{}}
}

func (r *refusals) count(reason string, fields ...zap.Field) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.totals[reason]++
	total, last, now := r.totals[reason], r.logged[reason], r.now()
	if last.total > 0 && now.Sub(last.at) < refusalLogInterval {
		return
	}
	r.logged[reason] = loggedRefusal{now, total}
	r.log.Warn("admin: turned away", append(fields, zap.String("reason", reason), zap.Uint64("times", total-last.total))...)
}

func (r *refusals) total(reason string) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.totals[reason]
}
