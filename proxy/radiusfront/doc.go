// Package radiusfront is the RADIUS service: it stands between NASes and RADIUS
// servers, forwards authentication and accounting on raw packets, and moves a
// request to another server when one is silent.
//
// It promises:
//   - A failure of a backend is never turned into an Access-Reject (R30). What
//     a NAS hears was decided by a backend; when none answers it hears nothing.
//   - What there is no reason to change leaves byte for byte and in order (R03).
//   - An Accounting-Response means that a backend has the record or that it is
//     on our disk, synced (R40). The workers never wait for the disk.
//   - Memory is bounded (R37): in flight, remembered answers and identifiers
//     each have a limit, and over it the newest is dropped and counted.
//   - No allocation for a forwarded packet in the steady state.
//   - The books balance in every snapshot, for each kind of request:
//     requests = answers + drops by reason + in flight.
//     A duplicate counts as a request, and as an answer of source "duplicate"
//     or as a drop of reason "duplicate". Our own self-probes are not in them.
//
// One worker per core: a udp.Group with its own listening sockets, its own
// sockets to the backends, its own tables. SO_REUSEPORT keeps a NAS's source
// port on one worker, so that a duplicate always meets its first. A worker's
// mutex is taken once for each batch; whoever looks from outside takes all of
// them.
//
// The way of a request: worker.go (batches) → request.go (gates, client,
// duplicates, verification, admission; learnt.go for what its address has
// shown before) → forward.go (realm.go, affinity.go; backend, identifier,
// rewrite) → reply.go; time passes in timers.go. CoA and Disconnect go the
// other way: coa.go, with sessions.go to find the NAS. explain.go says where a
// request would go without sending it.
//
// Accounting that no backend answers goes to the spool: accounting.go (into it,
// and the answer once it is synced), parcel.go (what is stored), deliver.go and
// outlet.go (out of it, with sockets of their own, beside the workers).
//
// Logins while every backend is down: survival.go says what is answered, and why.
//
// A worker's memory: an entry for each request in flight or remembered
// (table.go), and a flight with the request's bytes only while it is in flight.
// Sessions and what was learnt are the service's, each behind its own lock.
package radiusfront
