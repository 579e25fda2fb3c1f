package pool

import (
	"sync/atomic"
	"time"
)

// Failure is why a request that was given to a backend came to nothing there.
type Failure uint8

// The closed list of failures.
const (
	Timeout     Failure = iota // attempt_timeout of silence
	Unreachable                // ICMP, a closed port
	SendError                  // the packet did not leave this host
	Servfail                   // DNS: SERVFAIL
	Refused                    // DNS: REFUSED
	BadRcode                   // DNS: NOTIMP, FORMERR and others that another backend may know better
	BadReply                   // a reply that does not fit: id, question, authenticator, form
	Full                       // max_in_flight: it was not sent
	Closed                     // a connection ended before the reply
	failureCount
)

// String is the failure as the metrics write it (label `reason`).
func (f Failure) String() string {
	switch f {
	case Timeout:
		return "timeout"
	case Unreachable:
		return "unreachable"
	case SendError:
		return "send-error"
	case Servfail:
		return "servfail"
	case Refused:
		return "refused"
	case BadRcode:
		return "bad-rcode"
	case BadReply:
		return "bad-reply"
	case Full:
		return "full"
	case Closed:
		return "closed"
	}
	return "unknown"
}

// Failures lists all failures.
func Failures() []Failure {
	out := make([]Failure, failureCount)
	for i := range out {
		out[i] = Failure(i) //nolint:gosec // failureCount is small
	}
	return out
}

// LatencyBounds are the upper bounds of the latency histogram's buckets in
// seconds, ascending and inclusive; one more bucket is for all above.
func LatencyBounds() []float64 {
	out := make([]float64, len(latencyBounds))
	for i, d := range latencyBounds {
		out[i] = d.Seconds()
	}
	return out
}

var latencyBounds = [...]time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second,
}

// latency is a histogram and a moving average of the time until a reply.
type latency struct {
	buckets [len(latencyBounds) + 1]atomic.Uint64
	sum     atomic.Int64 // ns
	mean    atomic.Int64 // ns, exponentially weighted; 0: no reply yet
}

// Observe notes how long a reply to a real request took. Also the late reply of a
// request that went elsewhere meanwhile tells how long the backend takes.
func (b *Backend) Observe(d time.Duration) {
	if b.missed.Load() > 0 {
		b.missed.Store(0)
	}
	l := &b.latency
	i := 0
	for i < len(latencyBounds) && d > latencyBounds[i] {
		i++
	}
	l.buckets[i].Add(1)
	l.sum.Add(int64(d))
	// Two observations at once may cost the average one of them; it is for the eye.
	mean := l.mean.Load()
	if mean == 0 {
		l.mean.Store(max(1, int64(d)))
		return
	}
	l.mean.Store(max(1, mean+(int64(d)-mean)/16))
}

// Fail counts one failure.
func (b *Backend) Fail(f Failure) {
	if f < failureCount {
		b.failures[f].Add(1)
	}
	switch f {
	case Timeout, Unreachable, SendError:
		b.missed.Add(1)
	}
}

// silentAfter is how many requests in a row come to nothing until a backend counts as
// silent among those that are judged no better.
const silentAfter = 3

// silent tells whether the last requests had no reply at all.
func (b *Backend) silent() bool { return b.missed.Load() >= silentAfter }

// Counters are a backend's figures since it was first configured.
type Counters struct {
	Requests uint64               // given to it by Pick or Take, second attempts included
	Failures [failureCount]uint64 // by Failure
	Buckets  []uint64             // of LatencyBounds, not cumulative; the last is for what is above every bound
	Sum      time.Duration        // of all observed latencies
	Latency  time.Duration        // moving average; 0: no reply yet
	InFlight int64
}

// Counters reads the figures. Each is exact; they are not of the same instant.
func (b *Backend) Counters() Counters {
	c := Counters{
		Requests: b.requests.Load(), Sum: time.Duration(b.latency.sum.Load()),
		Latency: time.Duration(b.latency.mean.Load()), InFlight: b.inFlight.Load(),
		Buckets: make([]uint64, len(b.latency.buckets)),
	}
	for i := range b.latency.buckets {
		c.Buckets[i] = b.latency.buckets[i].Load()
	}
	for i := range b.failures {
		c.Failures[i] = b.failures[i].Load()
	}
	return c
}
