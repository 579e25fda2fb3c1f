// Package load asks DNS and RADIUS servers at a fixed rate and checks every
// answer.
//
// The generators are open loops: a request is due by the clock, whether or not
// those before it were answered, and its latency counts from when it was due.
// A server that stalls is therefore seen as its clients see it.
//
// What an answer must be is known beforehand (package stub writes it into the
// names that are asked), so each one is verified: the ID, the question, the
// rcode, every record and its TTL; for RADIUS both authenticators, the verdict
// and what the server gave. The books account for each request exactly once:
//
//	Sent = Answered + Wrong + Lost + Waiting
//
// The generators send to addresses of this host only, and to those that a
// laboratory of network namespaces names, which nobody else can have. They are
// for measuring one's own machine, not for asking others.
package load
