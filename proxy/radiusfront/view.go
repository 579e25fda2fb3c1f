package radiusfront

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"sereno/proxy/pool"
	"sereno/proxy/radwire"
)

// view is one configuration as one worker sees it. It is not changed after it
// was built; a reload puts another in its place.
type view struct {
	name      string // of the service
	clients   *clientTable
	targets   []*target          // every pool once
	byPool    map[string]*target //
	fallback  *target            // of Config.Pool
	realms    realmTable
	window    int64                    // duplicate_window in ns
	addState  bool                     // proxy_state
	spool     bool                     // accounting that no backend answers is stored
	spoolAcks bool                     // `ack: after-spool`
	mayFlight int64                    // MaxInFlight
	coaPeers  map[netip.Addr][]coaPeer // empty without `coa`
	coaSource netip.Addr               // zero: the route's own
	survival  *survival                // nil: off
}

// target is a pool that requests go to.
type target struct {
	name     string
	roles    [2]*pool.Pool // by KindAuth and KindAcct
	limits   [2]limits
	hashKey  []byte // attribute types
	backends map[string]*peer
}

// limits are a pool's figures, read once for each configuration.
type limits struct {
	attempts       int
	attemptTimeout int64 // ns
	timeout        int64 // ns
}

// peer is a backend's configuration.
type peer struct {
	secret  *radwire.Secret
	posture posture
}

// newView builds one worker's view; every worker has its own, since secrets
// keep hash states.
func newView(o *Options, states map[netip.Prefix]*clientState) (*view, error) {
	v := &view{
		name:   o.Config.Name,
		byPool: map[string]*target{}, window: int64(o.Config.DuplicateWindow), addState: o.Config.ProxyState,
		mayFlight: int64(o.MaxInFlight),
		survival:  newSurvival(&o.Config.Survival),
		spool:     o.Config.Accounting.Spool, spoolAcks: o.Config.Accounting.Spool && o.Config.Accounting.Ack == "after-spool",
	}
	var err error
	if v.clients, err = newClientTable(o.Config.Clients, states); err != nil {
		return nil, err
	}
	if v.fallback, err = v.target(o, o.Config.Pool); err != nil {
		return nil, err
	}
	for _, r := range o.Config.Routes {
		t, err := v.target(o, r.Pool)
		if err != nil {
			return nil, err
		}
		v.realms.add(r.Realm, realmRoute{realm: r.Realm, target: t, strip: r.StripRealm})
	}
	if o.Config.CoASource != "" {
		if v.coaSource, err = netip.ParseAddr(o.Config.CoASource); err != nil {
			return nil, fmt.Errorf("coa_source %q is not an IP address", o.Config.CoASource)
		}
		v.coaSource = v.coaSource.Unmap()
	}
	if len(o.Config.CoA) > 0 {
		v.findCoAPeers()
	}
	return v, nil
}

// longest is for how long a request of each kind may wait for its answer, in whatever pool: for the backends, and
// accounting for the disk after them.
func (v *view) longest() [NumKinds]time.Duration {
	out := [NumKinds]time.Duration{KindCoA: time.Duration(coaTimeout)}
	for _, t := range v.targets {
		out[KindAuth] = max(out[KindAuth], time.Duration(t.limits[KindAuth].timeout))
		out[KindAcct] = max(out[KindAcct], time.Duration(t.limits[KindAcct].timeout+acctPatience))
	}
	return out
}

// findCoAPeers collects the addresses that backends send CoA from: their own.
func (v *view) findCoAPeers() {
	v.coaPeers = map[netip.Addr][]coaPeer{}
	for _, t := range v.targets {
		seen := map[string]bool{}
		for _, p := range t.roles {
			if p == nil {
				continue
			}
			for _, b := range p.Backends() {
				if peer := t.backends[b.Name()]; peer != nil && !seen[b.Name()] {
					seen[b.Name()] = true
					a := b.Addr().Addr().Unmap()
					v.coaPeers[a] = append(v.coaPeers[a], coaPeer{target: t, secret: peer.secret})
				}
			}
		}
	}
}

// target builds a pool's target once.
func (v *view) target(o *Options, name string) (*target, error) {
	if t := v.byPool[name]; t != nil {
		return t, nil
	}
	rp := o.Pools[name]
	t := &target{name: name, roles: [2]*pool.Pool{KindAuth: rp.Auth, KindAcct: rp.Acct}, backends: map[string]*peer{}}
	for i, p := range t.roles {
		if p == nil {
			continue
		}
		c := p.Config()
		t.limits[i] = limits{attempts: min(max(c.Attempts, 1), MaxAttempts), attemptTimeout: int64(c.AttemptTimeout), timeout: int64(c.Timeout)}
	}
	for _, key := range rp.HashKey {
		typ, ok := HashAttribute(key)
		if !ok {
			return nil, fmt.Errorf("pool %q: hash_key %q is not an attribute that can be hashed", name, key)
		}
		t.hashKey = append(t.hashKey, typ)
	}
	for backend, cfg := range rp.Backends {
		p := &peer{secret: radwire.NewSecret([]byte(cfg.Secret))}
		p.posture, _ = parsePosture(cfg.MessageAuthenticator)
		t.backends[backend] = p
	}
	v.byPool[name] = t
	v.targets = append(v.targets, t)
	return t, nil
}

// generation changes whenever a backend of any pool changes its state.
func (v *view) generation() uint64 {
	var g uint64
	for _, t := range v.targets {
		for _, p := range t.roles {
			if p != nil {
				g += p.Generation()
			}
		}
	}
	return g
}

// realmTable finds the route of a user's realm (R36).
type realmTable struct {
	exact    map[string]realmRoute // lower case
	suffixes map[string]realmRoute // of "*.example.net", without the "*": ".example.net"
}

type realmRoute struct {
	realm  string // as configured
	target *target
	strip  bool
}

func (t *realmTable) add(realm string, r realmRoute) {
	realm = strings.ToLower(realm)
	if rest, ok := strings.CutPrefix(realm, "*"); ok && strings.HasPrefix(rest, ".") {
		if t.suffixes == nil {
			t.suffixes = map[string]realmRoute{}
		}
		t.suffixes[rest] = r
		return
	}
	if t.exact == nil {
		t.exact = map[string]realmRoute{}
	}
	t.exact[realm] = r
}
