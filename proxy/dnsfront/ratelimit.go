package dnsfront

import (
	"hash/maphash"
	"math"
	"net/netip"
	"sync"
)

// A token bucket for each client prefix, in a table of fixed size: 64 shards of 1024
// sets of four. A prefix that finds its set full takes the place of the one that was
// heard last the longest ago, so a flood of prefixes can cost others their debts, never
// memory.
const (
	limitShards = 64
	limitSets   = 1024
	limitWays   = 4
)

type limiter struct {
	rate, burst float64
	v4, v6      int
	exempt      prefixSet
	seed        maphash.Seed
	shards      *[limitShards]limitShard
}

type limitShard struct {
	mu   sync.Mutex
	sets [limitSets][limitWays]bucket
	_    [64]byte
}

type bucket struct {
	prefix uint64 // hash; 0: free
	tokens float64
	at     int64 // ns
	slip   bool  // the last query over the limit was dropped: the next is told to come over TCP
}

// client is the prefix that an address counts for, wherever clients are told apart: a
// subscriber has 2^64 addresses of IPv6 and more.
func (c *RateLimitConfig) client(a netip.Addr) netip.Prefix {
	bits := c.IPv6Prefix
	if a.Is4() {
		bits = c.IPv4Prefix
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{} // bits are checked
	}
	return p
}

// verdict of the limiter on one query.
type limited uint8

const (
	within limited = iota
	overDrop
	overTruncate
)

// newLimiter returns nil if the limit is off. The table of old is kept if it fits.
func newLimiter(c *RateLimitConfig, seed maphash.Seed, old *limiter) *limiter {
	if c.QueriesPerSecond == 0 {
		return nil
	}
	l := &limiter{rate: float64(c.QueriesPerSecond), burst: float64(c.Burst), v4: c.IPv4Prefix, v6: c.IPv6Prefix,
		exempt: newPrefixSet(c.Exempt), seed: seed}
	if l.burst == 0 {
		l.burst = l.rate
	}
	l.burst = max(l.burst, 1)
	if old != nil && old.v4 == l.v4 && old.v6 == l.v6 {
		l.shards = old.shards
	} else {
		l.shards = new([limitShards]limitShard)
	}
	return l
}

// take takes a token of the client's prefix. Over the limit every second query is to be
// answered with TC=1, so that a real client comes back over TCP, which nobody forges.
func (l *limiter) take(client netip.Addr, now int64) limited {
	if l.exempt.contains(client) {
		return within
	}
	var key [17]byte
	n := l.v4
	if client.Is4() {
		a := client.As4()
		copy(key[:], a[:])
		key[16] = 4
	} else {
		a := client.As16()
		copy(key[:], a[:])
		n = l.v6
	}
	clearBits(key[:16], n)
	h := maphash.Bytes(l.seed, key[:])
	s := &l.shards[h>>58]
	id := h | 1
	s.mu.Lock()
	defer s.mu.Unlock()
	set := &s.sets[(h>>16)%limitSets]
	b := &set[0]
	for i := range set {
		if set[i].prefix == id {
			b = &set[i]
			break
		}
		if set[i].at < b.at {
			b = &set[i]
		}
	}
	if b.prefix != id {
		*b = bucket{prefix: id, tokens: l.burst, at: now}
	}
	b.tokens = math.Min(l.burst, b.tokens+l.rate*float64(now-b.at)/1e9)
	b.at = now
	if b.tokens >= 1 {
		b.tokens--
		return within
	}
	b.slip = !b.slip
	if b.slip {
		return overDrop
	}
	return overTruncate
}

// clearBits clears what is behind the first n bits of an address.
func clearBits(b []byte, n int) {
	for i := range b {
		switch {
		case n >= 8:
			n -= 8
		case n > 0:
			b[i] &= 0xff << (8 - n)
			n = 0
		default:
			b[i] = 0
		}
	}
}
