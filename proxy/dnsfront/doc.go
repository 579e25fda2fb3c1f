// Package dnsfront is the DNS service: it answers clients from its cache, or asks one
// of several backends (recursive resolvers), and answers every query by its deadline.
//
// It promises:
//   - every query of a client that is allowed to ask is answered within the pool's
//     timeout: from the cache, a backend, stale, or with SERVFAIL and an extended error;
//   - the counters of one snapshot balance exactly:
//     queries = answers + drops (by reason) + in flight, over all transports;
//   - a hit is answered in the batch in which it came, without an allocation, a lock
//     that another core holds for long, or a parsed answer;
//   - one question has one outstanding query at the backends, with a random ID on a
//     random socket, and state in flight is never overwritten;
//   - Update changes everything that can change in a running service as one swap, or
//     nothing.
//
// The way of a query: Receive (worker.go) → serve: gates, policy, cache (serve.go) →
// the table of questions in flight (flight.go) → an attempt at a backend
// (upstream.go) → its reply, checked (reply.go) → the answer for each waiting client
// (answer.go). Each worker is one goroutine with its own sockets; a question belongs
// to the worker that asked it first, whoever waits for it. Connections of clients
// (stream.go) and to backends over TCP (upstream_tcp.go) have goroutines of their own
// and hand what they cannot answer to a worker.
package dnsfront
