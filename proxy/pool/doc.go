// Package pool chooses a backend for each request.
//
// A Pool is a group of backends that can stand in for one another, in one role.
// It follows their health by itself: every change of a verdict, and every step of
// a slow start, makes a new immutable snapshot, which Pick reads without a lock.
//
// What it promises: Pick allocates nothing and costs about the same for 2 and for
// 64 backends; only the best tier that has a backend left gets requests (up, then
// hot spares that are up, then suspect or not yet known, then down; drained never,
// A05); no backend ever has more than max_in_flight requests; a backend that comes
// back gets its share little by little, under every policy but with the same
// backend for the same key under `hash`; retries stay inside their budget.
//
// In the order of a request: pool.go (Pick), tiers.go (the snapshot), balance.go
// and its policies (least.go, rendezvous.go, sequence.go, alias.go), run.go (what
// requests of one batch share), backend.go (what a backend counts), budget.go (retries). peek.go tells what Pick would give
// without asking it.
package pool
