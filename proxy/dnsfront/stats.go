package dnsfront

import (
	"sync"
	"time"

	"sereno/proxy/insight"
)

// Transport is how a query came.
type Transport uint8

// The transports, by RFC 1035, 7766, 7858 and 8484.
const (
	UDP Transport = iota
	TCP
	TLS
	HTTPS
	NumTransports
)

// String is the transport as a metric's label.
func (t Transport) String() string {
	return [...]string{"udp", "tcp", "tls", "https", "unknown"}[min(t, NumTransports)]
}

// Source is where an answer came from.
type Source uint8

// The sources.
const (
	FromCache   Source = iota // fresh, from the cache
	FromStale                 // expired, from the cache (RFC 8767)
	FromBackend               // a backend's reply
	FromSelf                  // made here: errors, policy, the node's own names
	NumSources
)

// String is the source as a metric's label.
func (s Source) String() string {
	return [...]string{"cache", "stale", "backend", "self", "unknown"}[min(s, NumSources)]
}

// Drop says why a query got no answer.
type Drop uint8

// The reasons.
const (
	DropShort      Drop = iota // fewer than 12 octets
	DropResponse               // QR is set
	DropPort                   // source port 0
	DropLoop                   // from one of our own listening sockets
	DropNotAllowed             // outside `allow`, and `deny` is drop
	DropRateLimit              // over `rate_limit`
	DropBlocked                // a block list says drop
	DropClosing                // the service is being closed
	DropClientGone             // the client closed its connection before the answer was ready
	DropUnanswered             // still in flight when the time to close was over
	DropNoListener             // its listening socket was closed by a reload before the answer was ready
	DropPanic                  // a fault of ours
	NumDrops
)

// String is the reason as a metric's label.
func (d Drop) String() string {
	return [...]string{"short", "response", "port-zero", "loop", "not-allowed", "rate-limit", "blocked", "closing",
		"client-gone", "unanswered", "no-listener", "panic", "unknown"}[min(d, NumDrops)]
}

// NumRcodes is how many rcodes are counted apart; the last place is for all others.
const NumRcodes = 25

// latencyBounds are the upper bounds of the histogram's buckets.
var latencyBounds = [...]time.Duration{
	50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2 * time.Second, 2500 * time.Millisecond, 5 * time.Second, // 2 s is availability.good_within.dns
}

// LatencyBounds returns the upper bounds of the buckets of Histogram.Counts in
// seconds; the last bucket has none.
func LatencyBounds() []float64 {
	out := make([]float64, len(latencyBounds))
	for i, d := range latencyBounds {
		out[i] = d.Seconds()
	}
	return out
}

// Histogram counts durations. Counts are for each bucket alone, not cumulative.
type Histogram struct {
	Counts [len(latencyBounds) + 1]uint64
	Sum    time.Duration
}

// Count is the number of durations.
func (h *Histogram) Count() (n uint64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}

func (h *Histogram) observe(d time.Duration, n uint64) {
	i := 0
	for i < len(latencyBounds) && d > latencyBounds[i] {
		i++
	}
	h.Counts[i] += n
	h.Sum += d * time.Duration(n)
}

func (h *Histogram) add(o *Histogram) {
	for i, c := range o.Counts {
		h.Counts[i] += c
	}
	h.Sum += o.Sum
}

// Upstream counts what happens between us and the backends.
type Upstream struct {
	Asked        uint64 // queries sent, retries and those over TCP with them
	Replies      uint64 // replies that were accepted
	Late         uint64 // accepted, but the question had been answered
	Wrong        uint64 // replies with a wrong ID or question, or that do not parse; never used
	WrongToTCP   uint64 // questions moved to TCP because of wrong replies: somebody may be guessing
	Retries      uint64 // further attempts, charged to the retry budget
	Moved        uint64 // further attempts because the backend became suspect or down
	NoBudget     uint64 // attempts not made because the retry budget was used up
	Silent       uint64 // attempts that waited attempt_timeout
	Refused      uint64 // attempts that ended by a socket error
	FailureRcode uint64 // SERVFAIL, REFUSED, NOTIMP or FORMERR that made us ask another backend
	Truncated    uint64 // replies with TC that were asked again over TCP
	Coalesced    uint64 // queries that waited for an equal one
	NoBackend    uint64 // questions for which no backend could be picked
	Overload     uint64 // queries over the bound of all in flight
}

func (u *Upstream) add(o *Upstream) {
	u.Asked += o.Asked
	u.Replies += o.Replies
	u.Late += o.Late
	u.Wrong += o.Wrong
	u.WrongToTCP += o.WrongToTCP
	u.Retries += o.Retries
	u.Moved += o.Moved
	u.NoBudget += o.NoBudget
	u.Silent += o.Silent
	u.Refused += o.Refused
	u.FailureRcode += o.FailureRcode
	u.Truncated += o.Truncated
	u.Coalesced += o.Coalesced
	u.NoBackend += o.NoBackend
	u.Overload += o.Overload
}

// Counts are the counters of a service. For each transport and in sum:
// Queries = Answers + Drops + InFlight, exactly, in every Stats.
type Counts struct {
	Queries  [NumTransports]uint64
	Answers  [NumTransports][NumSources][NumRcodes]uint64
	Drops    [NumTransports][NumDrops]uint64
	InFlight [NumTransports]int64
	Hits     uint64 // answered from the cache, fresh
	Misses   uint64 // looked up and not found fresh
	Latency  [NumSources]Histogram
	Upstream Upstream
}

func (c *Counts) add(o *Counts) {
	for t := range NumTransports {
		c.Queries[t] += o.Queries[t]
		c.InFlight[t] += o.InFlight[t]
		for s := range NumSources {
			for r, n := range o.Answers[t][s] {
				c.Answers[t][s][r] += n
			}
		}
		for d, n := range o.Drops[t] {
			c.Drops[t][d] += n
		}
	}
	c.Hits += o.Hits
	c.Misses += o.Misses
	for s := range c.Latency {
		c.Latency[s].add(&o.Latency[s])
	}
	c.Upstream.add(&o.Upstream)
}

// CacheStats is what the cache holds.
type CacheStats struct {
	Entries, Bytes int
}

// Stats is one consistent snapshot of a service.
type Stats struct {
	Counts
	Cache       CacheStats
	Connections int64 // of clients, over TCP, TLS and HTTPS
	Refused     [NumRefusals]uint64
	Tables      []insight.Table
	Panics      uint64 // faults of ours that were caught
	// CertificateExpires is when the certificate that a transport shows runs out; zero
	// for a transport without one.
	CertificateExpires [NumTransports]time.Time
}

// TotalQueries is the number of queries over all transports.
func (c *Counts) TotalQueries() (n uint64) {
	for _, q := range c.Queries {
		n += q
	}
	return n
}

// TotalAnswers is the number of answers.
func (c *Counts) TotalAnswers() (n uint64) {
	for t := range c.Answers {
		for s := range c.Answers[t] {
			for _, k := range c.Answers[t][s] {
				n += k
			}
		}
	}
	return n
}

// TotalDrops is the number of queries that were not answered on purpose.
func (c *Counts) TotalDrops() (n uint64) {
	for t := range c.Drops {
		for _, k := range c.Drops[t] {
			n += k
		}
	}
	return n
}

// TotalInFlight is the number of queries that wait for their answer.
func (c *Counts) TotalInFlight() (n int64) {
	for _, k := range c.InFlight {
		n += k
	}
	return n
}

// book is one block of counters with its lock. A worker holds it for a whole batch, so
// that it costs nothing for each query; what ends elsewhere is counted in a book of its
// own. InFlight of one book may be negative: a query counted there as it came may be
// counted out in another. Whoever wants the sum holds all books at once.
type book struct {
	mu sync.Mutex
	Counts
	_ [64]byte
}

// came counts a query in. The book is locked, as for all of these.
func (b *book) came(t Transport) { b.Queries[t]++ }

// answered counts an answer that was given at once; the latency of hits is counted by
// the batch.
func (b *book) answered(t Transport, s Source, rcode int) {
	b.Answers[t][s][min(max(rcode, 0), NumRcodes-1)]++
}

func (b *book) dropped(t Transport, why Drop) { b.Drops[t][why]++ }

// settle counts what a panic left neither answered nor dropped nor in flight as dropped.
// Between two packets each book balances by itself.
func (b *book) settle() {
	for t := range NumTransports {
		left := int64(b.Queries[t]) - b.InFlight[t] //nolint:gosec // counts since the start stay far below 2^63
		for s := range b.Answers[t] {
			for _, n := range b.Answers[t][s] {
				left -= int64(n) //nolint:gosec // likewise
			}
		}
		for _, n := range b.Drops[t] {
			left -= int64(n) //nolint:gosec // likewise
		}
		b.Drops[t][DropPanic] += uint64(max(0, left)) //nolint:gosec // not negative
	}
}
