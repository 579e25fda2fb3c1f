// Package load asks DNS and RADIUS servers and checks every answer.
//
// The generators are open loops: a request is due by the clock, whether or not those before it were answered, and its
// latency counts from when it was due to when the kernel got the answer. A server that stalls is therefore seen as its
// clients see it. With a Window they are closed loops, which only ever wait for a server: good for its throughput, and
// blind to its stalls.
//
// Requests are due in bursts, a Grain apart, and leave as few messages to the kernel (UDP_SEGMENT, sendmmsg); one thread
// sends, sleeps and receives, and nothing is allocated for a request. Books.Lag tells how late the generator itself was.
//
// What an answer must be is known beforehand (package stub writes it into the names that are asked, a list of names may
// say it), so each one is verified: the ID, the question, the rcode, every record and its TTL; for RADIUS both
// authenticators, the verdict and what the server gave. The books account for each request exactly once:
//
//	Sent = Answered + Wrong + Lost + Waiting
//
// The generators send to addresses of this host only, and to those that a laboratory of network namespaces names, which
// nobody else can have, unless the operator says that others are his own (Common.Anywhere). They are for measuring one's
// own machines, not for asking others.
package load
