package radiusfront

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sereno/health"
	"sereno/proxy/pool"
)

// Question is a request that nobody sent: what is known of it.
type Question struct {
	User string
	NAS  netip.Addr // the packet's source; zero: not known
	// Keys are values of hash_key's attributes by name, besides User-Name, for
	// example Calling-Station-Id. Optional.
	Keys map[string]string
}

// Explanation is what a request would meet, and why (O13).
type Explanation struct {
	Service string `json:"service"`
	// Client is the NAS's client, its posture and what was learnt of the
	// address; "" when it is not known, or has none.
	Client  string  `json:"client"`
	Posture string  `json:"posture"`
	Learnt  *Learnt `json:"learnt"` // nil: nothing yet
	// Realm is the user's, Route the route that it matches ("": none), Pool
	// where it goes, and UserName what the backend sees.
	Realm    string `json:"realm"`
	Route    string `json:"route"`
	Pool     string `json:"pool"`
	UserName string `json:"user_name"`
	// HashBy names the attribute that decides over the backend, as far as the
	// question tells; "NAS address" when none of hash_key is there.
	HashBy string          `json:"hash_by"`
	Roles  []ExplainedRole `json:"roles"`
	// Why says all that in sentences, in the order in which a request meets it.
	Why []string `json:"-"`
}

// ExplainedRole is one role of the pool.
type ExplainedRole struct {
	Role       string `json:"role"` // auth or acct
	Balance    string `json:"balance"`
	Healthy    int    `json:"healthy"`
	MinHealthy int    `json:"min_healthy"`
	// Backends in the order in which the request would try them where the
	// policy fixes it (hash, ordered); else in the order of the configuration.
	Backends []ExplainedBackend `json:"backends"`
	Ordered  bool               `json:"ordered"`
}

// ExplainedBackend is one backend of a role.
type ExplainedBackend struct {
	Name        string  `json:"name"`
	Address     string  `json:"address"`
	State       string  `json:"state"`
	Reason      string  `json:"reason"`
	Share       float64 `json:"share"`
	InFlight    int64   `json:"in_flight"`
	MaxInFlight int64   `json:"max_in_flight"`
	// Tried: the request would come here, at first or when those before are
	// silent; false beyond `attempts`, for drained ones and where the policy
	// does not say.
	Tried bool `json:"tried"`
}

// Explain says what a request would meet, without sending it and without counting
// it.
func (s *Service) Explain(q Question) Explanation {
	s.mu.Lock()
	w, o := s.workers[0], &s.options
	w.mu.Lock()
	v := w.view
	w.mu.Unlock()
	e := Explanation{Service: o.Config.Name, UserName: q.User}
	rp := map[string]RolePools{}
	for name, p := range o.Pools {
		rp[name] = p
	}
	now := s.now()
	s.mu.Unlock()

	e.explainClient(s, v, q.NAS)
	t := e.explainRealm(v, q.User)
	e.explainSurvival(v, t, q.User)
	hash := e.explainHash(rp[t.name], q)
	for _, k := range []Kind{KindAuth, KindAcct} {
		if p := t.roles[k]; p != nil {
			e.explainRole(k, p, t.limits[k], hash, now)
		} else {
			e.say("no backend of %s does %s", t.name, k)
		}
	}
	return e
}

func (e *Explanation) say(format string, args ...any) {
	e.Why = append(e.Why, fmt.Sprintf(format, args...))
}

func (e *Explanation) explainClient(s *Service, v *view, nas netip.Addr) {
	if !nas.IsValid() {
		return
	}
	nas = nas.Unmap()
	c := v.clients.lookup(nas)
	if c == nil {
		e.say("%s is no client: its packets are dropped (%s)", nas, ReasonUnknownClient)
		return
	}
	e.Client, e.Posture = c.name, c.posture.String()
	e.say("%s is client %s (%s)", nas, c.name, c.prefix)
	known := s.Learnt()
	if i := slices.IndexFunc(known, func(l Learnt) bool { return l.Address == nas }); i >= 0 {
		e.Learnt = &known[i]
	}
	switch {
	case c.posture == postureRequire:
		e.say("an Access-Request without Message-Authenticator is dropped: the client is set to require")
	case c.posture == postureAuto && e.Learnt != nil && e.Learnt.Signs:
		e.say("an Access-Request without Message-Authenticator is dropped: the address has sent one before")
	case c.posture == postureAuto && e.Learnt != nil && !e.Learnt.Proxy:
		e.say("an Access-Request with Proxy-State and without Message-Authenticator is dropped: the address is no proxy")
	}
	if n := c.inFlight.Load(); n >= c.maxInFlight {
		e.say("dropped (%s): %d of max_in_flight %d", ReasonClientLimit, n, c.maxInFlight)
	}
}

func (e *Explanation) explainRealm(v *view, user string) *target {
	e.Realm = strings.ToLower(string(realmOf([]byte(user))))
	r, ok := v.realms.find([]byte(e.Realm))
	if !ok {
		e.Pool = v.fallback.name
		if e.Realm == "" {
			e.say("%q has no realm: pool %s", user, e.Pool)
		} else {
			e.say("no route for realm %s: pool %s", e.Realm, e.Pool)
		}
		return v.fallback
	}
	e.Route, e.Pool = r.realm, r.target.name
	e.say("realm %s matches route %s: pool %s", e.Realm, r.realm, e.Pool)
	if bare := withoutRealm([]byte(user)); r.strip && len(bare) > 0 {
		e.UserName = string(bare)
		e.say("the backend sees user %q, unless the request is EAP or MS-CHAP", e.UserName)
	}
	return r.target
}

func (e *Explanation) explainHash(rp RolePools, q Question) uint64 {
	missing := []string{}
	for _, key := range rp.HashKey {
		value := q.Keys[key]
		if key == "User-Name" {
			value = q.User
		}
		if value == "" {
			missing = append(missing, key)
			continue
		}
		e.HashBy = key
		if len(missing) > 0 {
			e.say("hashed by %s, if the request has no %s", key, strings.Join(missing, " and no "))
		} else {
			e.say("hashed by %s", key)
		}
		return hashBytes([]byte(value))
	}
	e.HashBy = "NAS address"
	e.say("hashed by the NAS's address")
	a := q.NAS.As16()
	if !q.NAS.IsValid() {
		a = [16]byte{}
	}
	return hashBytes(a[:])
}

// explainRole says which backends a request would try, attempt by attempt.
func (e *Explanation) explainRole(k Kind, p *pool.Pool, l limits, hash uint64, now time.Time) {
	cfg := p.Config()
	r := ExplainedRole{Role: k.String(), Balance: cfg.Balance}
	r.Healthy, r.MinHealthy = p.Healthy()
	r.Ordered = cfg.Balance == "hash" || cfg.Balance == "ordered"
	seen := map[*pool.Backend]bool{}
	for _, b := range p.Peek(hash, l.attempts) {
		seen[b] = true
		r.Backends = append(r.Backends, explainBackend(b, now, true))
	}
	for _, b := range p.Backends() {
		if !seen[b] {
			r.Backends = append(r.Backends, explainBackend(b, now, false))
		}
	}
	switch {
	case r.Ordered && len(seen) == 0:
		e.say("%s: no backend can take it: dropped (%s)", r.Role, ReasonNoBackend)
	case r.Ordered:
		var names []string
		for _, b := range r.Backends[:len(seen)] {
			names = append(names, fmt.Sprintf("%s (%s)", b.Name, b.State))
		}
		e.say("%s: by %s to %s", r.Role, cfg.Balance, strings.Join(names, ", then to "))
	default:
		e.say("%s: by %s to one of %d backends that are up or suspect", r.Role, cfg.Balance, r.Healthy)
	}
	e.Roles = append(e.Roles, r)
}

func explainBackend(b *pool.Backend, now time.Time, tried bool) ExplainedBackend {
	st := b.Health().Status()
	out := ExplainedBackend{Name: b.Name(), Address: b.Addr().String(), State: st.State.String(), Reason: string(st.Reason),
		InFlight: b.InFlight(), MaxInFlight: b.MaxInFlight(), Tried: tried}
	if st.State == health.Up {
		out.Share = b.Health().Share(now)
	}
	return out
}

// String is the posture as the configuration writes it.
func (p posture) String() string {
	switch p {
	case postureRequire:
		return "require"
	case postureAccept:
		return "accept"
	}
	return "auto"
}
