package dnsfront

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"sereno/proxy/dnswire"
	"sereno/proxy/pool"
)

// Question is a query that nobody sent: RD=1, class IN, over UDP with EDNS.
type Question struct {
	Name   string
	Type   string     // a mnemonic, or TYPE65280 (RFC 3597)
	Client netip.Addr // zero: not known
}

// Explanation is what a query would meet, and why (O13).
type Explanation struct {
	Service string `json:"service"`
	Allowed bool   `json:"allowed"` // true if the client is not known
	Block   string `json:"block"`   // the file of the block list that names it; "": none
	Action  string `json:"action"`  // what that list does
	Cache   string `json:"cache"`   // fresh, stale, failed (stale, and given at once), none, off
	Rcode   string `json:"rcode"`   // of what is in the cache
	TTL     uint32 `json:"ttl"`     // seconds that it is fresh for
	Zone    string `json:"zone"`    // of the route that it matches; "": none
	Pool    string `json:"pool"`
	Hashed  bool   `json:"hashed"` // the pool chooses by the name
	// Backends of the pool in the order of the configuration.
	Backends []ExplainedBackend `json:"backends"`
	// Why says all that in sentences, in the order in which a query meets it.
	Why []string `json:"-"`
}

// ExplainedBackend is one backend of the pool.
type ExplainedBackend struct {
	Name        string `json:"name"`
	Address     string `json:"address"`
	State       string `json:"state"`
	InFlight    int64  `json:"in_flight"`
	MaxInFlight int64  `json:"max_in_flight"`
}

func (e *Explanation) say(format string, args ...any) {
	e.Why = append(e.Why, fmt.Sprintf(format, args...))
}

// Explain says what a query would meet, without sending it and without counting it. It
// fails for a name or type that does not exist.
func (s *Service) Explain(q Question) (Explanation, error) {
	name, ok := dnswire.ParseName(nil, q.Name)
	if !ok {
		return Explanation{}, fmt.Errorf("explaining %q: it is not a domain name", q.Name)
	}
	typ, ok := typeOf(q.Type)
	if !ok {
		return Explanation{}, fmt.Errorf("explaining %s: there is no type %q", q.Name, q.Type)
	}
	s.mu.Lock() // no reload takes the cache away meanwhile
	defer s.mu.Unlock()
	set := s.settings.Load()
	e := Explanation{Service: s.Name(), Allowed: true}
	if q.Client.IsValid() {
		e.explainClient(set, q.Client.Unmap())
	}
	if e.Allowed && !e.explainOwn(set, name, typ) && !e.explainBlock(set, name) {
		e.explainCache(s, set, name, typ)
		e.explainPool(set, name)
	}
	return e, nil
}

func typeOf(s string) (uint16, bool) {
	s = strings.ToUpper(s)
	if t, ok := dns.StringToType[s]; ok {
		return t, true
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(s, "TYPE"), 10, 16)
	return uint16(n), err == nil && strings.HasPrefix(s, "TYPE")
}

func (e *Explanation) explainClient(set *settings, client netip.Addr) {
	e.Allowed = set.allow.contains(client)
	switch {
	case e.Allowed:
		e.say("%s is inside allow", client)
	case set.denyDrop:
		e.say("%s is outside allow: dropped (%s)", client, DropNotAllowed)
	default:
		e.say("%s is outside allow: REFUSED", client)
	}
	if l := set.limiter; e.Allowed && l != nil && l.exempt.contains(client) {
		e.say("%s is exempt from the rate limit", client)
	}
}

// explainOwn handles what never comes to the cache.
func (e *Explanation) explainOwn(set *settings, name []byte, typ uint16) bool {
	switch {
	case typ == dnswire.TypeAXFR, typ == dnswire.TypeIXFR:
		e.say("zone transfers are REFUSED")
	case typ == dnswire.TypeANY && set.cfg.Any == "refuse":
		e.say("ANY over UDP is REFUSED (any: refuse); over TCP it goes on")
	case typ == dnswire.TypeANY && set.cfg.Any == "tcp":
		e.say("ANY over UDP is truncated (any: tcp); over TCP it goes on")
	case string(name) == string(nameResolverArpa):
		e.say("answered here: discovery of encrypted listeners")
	default:
		return false
	}
	return true
}

func (e *Explanation) explainBlock(set *settings, name []byte) bool {
	for i, b := range set.block {
		r := b.find(name)
		if r == nil {
			continue
		}
		e.Block, e.Action = set.blockSaid[i].file, r.action.String()
		e.say("block list %s names it: %s", e.Block, e.Action)
		if r.action == blockPass {
			return false
		}
		return r.action != blockTCPOnly && r.cname(0) == nil
	}
	return false
}

// String is the action in words.
func (a blockAction) String() string {
	return [...]string{"nxdomain", "nodata", "refuse", "drop", "passthru", "tcp-only", "local data"}[a]
}

func (e *Explanation) explainCache(s *Service, set *settings, name []byte, typ uint16) {
	if set.cache == nil {
		e.Cache = "off"
		e.say("the cache is off")
		return
	}
	key := append(append([]byte{}, name...), byte(typ>>8), byte(typ), 0, dnswire.ClassIN, keyRD)
	var h hit
	buf := make([]byte, dnswire.MaxMessage)
	if !set.cache.get(key, s.hash(key), tickOf(s.clock()), buf, len(buf), true, set.staleTTL, &h) {
		e.Cache = "none"
		e.say("the cache does not have it (without DO and CD)")
		return
	}
	rcode := int(buf[3]&dnswire.RcodeMask) | int(h.extRcode)<<4
	e.Rcode, e.TTL, e.Cache = dns.RcodeToString[rcode], h.left, "fresh"
	switch {
	case h.stale && h.recheck:
		e.Cache = "failed"
		e.say("the cache has %s, expired; asking has just failed, so it is given at once", e.Rcode)
	case h.stale:
		e.Cache = "stale"
		e.say("the cache has %s, expired: it is given if no backend answers in time", e.Rcode)
	default:
		e.say("the cache has %s for %d s more: no backend is asked", e.Rcode, h.left)
	}
}

func (e *Explanation) explainPool(set *settings, name []byte) {
	p := set.pool
	for zone := name; len(set.routes) > 0; zone = zone[int(zone[0])+1:] {
		if to := set.routes[string(zone)]; to != nil {
			p, e.Zone = to, dnswire.NameString(zone)
			break
		}
		if len(zone) <= 1 {
			break
		}
	}
	cfg := p.Config()
	e.Pool, e.Hashed = cfg.Name, cfg.Balance == "hash"
	if e.Zone != "" {
		e.say("the route of zone %s leads to pool %s", e.Zone, e.Pool)
	} else {
		e.say("it goes to pool %s", e.Pool)
	}
	e.say("balance is %s; up to %d backends are tried, each for %v, all within %v", cfg.Balance, cfg.Attempts, cfg.AttemptTimeout, cfg.Timeout)
	for _, b := range p.Backends() {
		e.Backends = append(e.Backends, explained(b))
	}
	if healthy, least := p.Healthy(); healthy < least {
		e.say("%d of its backends are healthy, %d must be: all that are not drained are tried nonetheless", healthy, least)
	}
}

func explained(b *pool.Backend) ExplainedBackend {
	return ExplainedBackend{Name: b.Name(), Address: b.Addr().String(), State: b.Health().State().String(), InFlight: b.InFlight(), MaxInFlight: b.MaxInFlight()}
}
