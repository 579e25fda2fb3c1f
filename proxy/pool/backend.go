package pool

import (
	"net/netip"
	"sync/atomic"
	"time"

	"sereno/health"
)

// Backend is one backend of a pool in one role: what the fronts count on it and
// keep with it. It lives as long as its name and address stay in the pool, over
// reloads too. All methods are safe for concurrent use and take no lock, except
// Penalize.
type Backend struct {
	name string
	addr netip.AddrPort

	health atomic.Pointer[health.Backend]
	source atomic.Pointer[netip.Addr]
	tag    atomic.Pointer[any]
	max    atomic.Int64 // max_in_flight
	weight atomic.Int64

	// What every request writes has cache lines of its own, so that a backend's
	// traffic does not slow the picks that read another's.
	_        [64]byte
	inFlight atomic.Int64
	penalty  penalty
	_        [64]byte
	requests atomic.Uint64
	missed   atomic.Uint64 // in a row, without a reply
	failures [failureCount]atomic.Uint64
	latency  latency
	_        [64]byte
}

func newBackend(name string, addr netip.AddrPort) *Backend {
	return &Backend{name: name, addr: addr, penalty: penalty{base: time.Now()}}
}

// adopt takes what a reload may change of a backend that stays.
func (b *Backend) adopt(c *BackendConfig, h *health.Backend) {
	source, _ := c.sourceAddr() // Update has looked at it
	b.source.Store(&source)
	b.health.Store(h)
	b.weight.Store(int64(max(1, c.Weight)))
	b.max.Store(int64(max(1, c.MaxInFlight)))
}

// unprobed is the verdict on a member that nobody judges: up until real requests
// say otherwise.
func unprobed(m *Member) *health.Backend {
	var c health.Config
	c.SetDefaults("radius")
	c.RADIUS.AcctProbe = "none"
	return health.NewBackend(health.Target{
		Key: health.Key{Backend: m.Config.Name, Role: "acct"}, Protocol: "radius", Addr: m.Addr, Config: c,
	}, time.Now)
}

// Name is the backend's name in the configuration.
func (b *Backend) Name() string { return b.name }

// Addr is where this role's requests go.
func (b *Backend) Addr() netip.AddrPort { return b.addr }

// Source is the local address to send from; zero: the kernel's choice.
func (b *Backend) Source() netip.Addr { return *b.source.Load() }

// Health is the verdict, to which the fronts report. It may be another one after
// a reload.
func (b *Backend) Health() *health.Backend { return b.health.Load() }

// Weight is the configured weight.
func (b *Backend) Weight() int { return int(b.weight.Load()) }

// MaxInFlight is the configured bound on requests in flight.
func (b *Backend) MaxInFlight() int64 { return b.max.Load() }

// Tag is the owner's mark, nil if none was set.
func (b *Backend) Tag() any {
	if t := b.tag.Load(); t != nil {
		return *t
	}
	return nil
}

// SetTag sets the owner's mark.
func (b *Backend) SetTag(tag any) { b.tag.Store(&tag) }

// Take takes an in-flight slot of this very backend, for a request that must go
// to it whatever the policy says (RADIUS State). false: it has max_in_flight.
// Each Take that is true needs one Done.
func (b *Backend) Take() bool {
	if b.inFlight.Add(1) > b.max.Load() {
		b.inFlight.Add(-1)
		b.Fail(Full)
		return false
	}
	b.requests.Add(1)
	return true
}

// takeBelow takes a slot if fewer than room are taken.
func (b *Backend) takeBelow(room int64) bool {
	room = min(room, b.max.Load())
	for n := b.inFlight.Load(); n < room; n = b.inFlight.Load() {
		if b.inFlight.CompareAndSwap(n, n+1) {
			b.requests.Add(1)
			return true
		}
	}
	return false
}

// Done gives an in-flight slot back, exactly once for each Pick and each Take. A
// slot given back twice is a defect of the caller that would let the backend get
// more than max_in_flight: it panics where that shows.
func (b *Backend) Done() {
	if b.inFlight.Add(-1) < 0 {
		panic("pool: Done without Pick or Take")
	}
}

// InFlight is how many requests are at the backend.
func (b *Backend) InFlight() int64 { return b.inFlight.Load() }

// Penalize makes the backend count as having one more request outstanding for a
// second, so that failing fast does not draw traffic to it (D25).
func (b *Backend) Penalize(now time.Time) { b.penalty.add(now) }
