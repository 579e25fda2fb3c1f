package dnsfront

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"sereno/proxy/dnswire"
	"sereno/proxy/pool"
	"sereno/proxy/udp"
)

// upstreamSize is the EDNS size that backends are told (D30; RFC 9715).
const upstreamSize = 1232

// settings is what counts now, compiled for the packet path. Immutable: a reload makes
// another one and swaps.
type settings struct {
	cfg        Config
	pools      map[string]*pool.Pool
	pool       *pool.Pool
	routes     map[string]*pool.Pool // by zone, on the wire in lower case
	allPools   []*pool.Pool          // each once
	allow      prefixSet
	denyDrop   bool
	listeners  []*listener
	ports      []uint16 // of our own UDP sockets, each once: what comes from them may be a loop
	own        map[netip.AddrPort]bool
	tls, https *certificate    // nil: no such listener
	designated [][]byte        // RDATA of SVCB records for our encrypted listeners
	wildcard   map[uint16]bool // ports that we listen on at every address

	ecsPass    bool
	cookies    cookieSecrets
	limiter    *limiter
	dns64      *dns64 // nil: off
	block      []*blockList
	blockSaid  []blockReport
	cache      *cache // nil: off
	maxTTL     uint32 // seconds, as all of these
	minTTL     uint32
	negTTL     uint32
	failureTTL uint32
	staleTTL   uint32
	stale      bool
	staleAfter int64 // ns
}

// compile checks what Validate cannot see and prepares everything but the listeners.
func compile(o *Options) (*settings, error) {
	c := o.Config
	var errs []error
	c.Validate(func(key, message string) { errs = append(errs, fmt.Errorf("%s: %s", key, message)) })
	if len(errs) > 0 {
		return nil, fmt.Errorf("service %q: %w", c.Name, errors.Join(errs...))
	}
	s := &settings{
		cfg: c, pools: o.Pools, routes: map[string]*pool.Pool{}, allow: newPrefixSet(c.Allow), denyDrop: c.Deny == "drop",
		maxTTL: seconds(c.Cache.MaxTTL), minTTL: seconds(c.Cache.MinTTL), negTTL: seconds(c.Cache.NegativeTTL),
		failureTTL: min(seconds(c.Cache.FailureTTL), 300), staleTTL: seconds(c.Cache.Stale.TTL),
		stale: c.Cache.Enabled && c.Cache.Stale.For > 0, staleAfter: int64(c.Cache.Stale.After),
	}
	s.dns64 = newDNS64(&c.DNS64)
	s.ecsPass = c.ECS == "pass"
	if c.CookieSecretFile != "" {
		var err error
		if s.cookies, err = readCookieSecrets(c.CookieSecretFile); err != nil {
			errs = append(errs, err)
		}
	}
	for i := range c.Block {
		b, said, err := loadBlock(&c.Block[i])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s.block, s.blockSaid = append(s.block, b), append(s.blockSaid, said)
	}
	use := func(name string) *pool.Pool {
		p := o.Pools[name]
		if p == nil {
			errs = append(errs, fmt.Errorf("pool %q was not given", name))
			return nil
		}
		for _, known := range s.allPools {
			if known == p {
				return p
			}
		}
		s.allPools = append(s.allPools, p)
		return p
	}
	s.pool = use(c.Pool)
	for _, r := range c.Routes {
		p := use(r.Pool)
		for _, z := range r.Zones {
			if name, ok := dnswire.ParseName(nil, z); ok {
				s.routes[string(name)] = p
			}
		}
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("service %q: %w", c.Name, errors.Join(errs...))
	}
	return s, nil
}

// seconds rounds up, so that what is not zero does not become zero.
func seconds(d time.Duration) uint32 {
	return uint32(min(int64((d+time.Second-1)/time.Second), math.MaxInt32))
}

// limits is what the cache may take.
func (c *CacheConfig) limits() cacheLimits {
	return cacheLimits{entries: c.Entries, negativeShare: c.NegativeShare, staleFor: c.Stale.For}
}

// route finds the pool for a question's name: that of the longest zone it lies in (D62).
func (s *settings) route(name []byte) *pool.Pool {
	if len(s.routes) > 0 {
		for {
			if p := s.routes[string(name)]; p != nil {
				return p
			}
			if len(name) <= 1 {
				break
			}
			name = name[int(name[0])+1:]
		}
	}
	return s.pool
}

// addOwn learns the addresses that we listen on, for the check against loops.
func (s *settings) addOwn() {
	s.ports, s.own, s.wildcard = nil, map[netip.AddrPort]bool{}, map[uint16]bool{}
	for _, l := range s.listeners {
		if l.transport != UDP {
			continue
		}
		if !slices.Contains(s.ports, l.addr.Port()) {
			s.ports = append(s.ports, l.addr.Port())
		}
		s.own[l.addr] = true
		if l.addr.Addr().IsUnspecified() {
			s.wildcard[l.addr.Port()] = true
		}
	}
}

// isOwn tells whether a datagram comes from one of our own listening sockets (D02).
func (s *settings) isOwn(d *udp.Dest) bool {
	if !slices.Contains(s.ports, d.Peer.Port()) {
		return false
	}
	return s.own[d.Peer] || s.wildcard[d.Peer.Port()] && d.Peer.Addr() == d.Local
}

// hints are the addresses of some listeners, as SVCB's hints want them (RFC 9460 §7.3).
type hints struct{ v4, v6 []byte }

// portsOf sorts listening addresses by port. A wildcard is no address to lead to.
func portsOf(list []string) map[uint16]*hints {
	out := map[uint16]*hints{}
	for _, text := range list {
		a, err := netip.ParseAddrPort(text)
		if err != nil {
			continue
		}
		h := out[a.Port()]
		if h == nil {
			h = &hints{}
			out[a.Port()] = h
		}
		switch {
		case a.Addr().IsUnspecified():
		case a.Addr().Is4():
			h.v4 = append(h.v4, a.Addr().AsSlice()...)
		default:
			h.v6 = append(h.v6, a.Addr().AsSlice()...)
		}
	}
	return out
}
