package radiusfront

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"sereno/health"
	"sereno/proxy/pool"
	"sereno/proxy/radwire"
	"sereno/proxy/udp"
)

const (
	nasSecret     = "nas-secret"
	backendSecret = "backend-secret"
	testTimeout   = 10 * time.Second // of a test that would hang otherwise; nothing is proven by it
)

// clock is the service's time: it stands still unless it is moved.
type clock struct{ ns atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(1_000_000, c.ns.Load()) }
func (c *clock) advance(d time.Duration) { c.ns.Add(int64(d)) }

// front is a service with its surroundings.
type front struct {
	t     testing.TB
	s     *Service
	clock *clock
	opts  Options
	auth  *pool.Pool
	acct  *pool.Pool
	h     map[string]*health.Backend // by backend and role
	probe radwire.ProbeSecret
}

// setup is what a test may change of the configuration.
type setup struct {
	backends []*server // for both roles
	authOnly []*server // for authentication instead of backends
	acctOnly []*server
	config   func(*Config)
	pool     func(*pool.Config)
	backend  func(*pool.BackendConfig)
	radius   func(*BackendConfig)
	options  func(*Options)
	plain    bool
	workers  int
}

func newFront(t testing.TB, su setup) *front {
	t.Helper()
	f := &front{t: t, clock: &clock{}, h: map[string]*health.Backend{}, probe: radwire.NewProbeSecret()}
	var cfg Config
	cfg.SetDefaults()
	cfg.Name, cfg.Pool = "pppoe", "main"
	cfg.Auth, cfg.Acct = []string{"127.0.0.1:0"}, []string{"127.0.0.1:0"}
	cfg.Clients = []ClientConfig{testClient("nas", "127.0.0.1")}
	if su.config != nil {
		su.config(&cfg)
	}
	auth, acct := su.backends, su.backends
	if su.authOnly != nil || su.acctOnly != nil {
		auth, acct = su.authOnly, su.acctOnly
	}
	rp := RolePools{HashKey: []string{"Calling-Station-Id", "User-Name"}, Backends: map[string]BackendConfig{}}
	rp.Auth = f.newPool(su, "auth", auth, rp.Backends)
	rp.Acct = f.newPool(su, "acct", acct, rp.Backends)
	f.auth, f.acct = rp.Auth, rp.Acct
	f.opts = Options{Config: cfg, Pools: map[string]RolePools{"main": rp}, Node: "test", Workers: max(su.workers, 1), Plain: su.plain,
		ProbeSecret: f.probe, Now: f.clock.now}
	if su.options != nil {
		su.options(&f.opts)
	}
	s, err := New(f.opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	f.s = s
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.Close(ctx) // requests of the test may be in flight
		f.balanced()
	})
	return f
}

func testClient(name, address string) ClientConfig {
	var c ClientConfig
	c.SetDefaults()
	c.Name, c.Address, c.Secret = name, address, []string{nasSecret}
	return c
}

func (f *front) newPool(su setup, role string, servers []*server, configs map[string]BackendConfig) *pool.Pool {
	f.t.Helper()
	var pc pool.Config
	pc.SetDefaults("radius")
	pc.Name, pc.Protocol = "main", "radius"
	if su.pool != nil {
		su.pool(&pc)
	}
	var members []pool.Member
	for i, srv := range servers {
		var bc pool.BackendConfig
		bc.SetDefaults()
		bc.Name, bc.Address = fmt.Sprintf("b%d", i), srv.addr().Addr().String()
		if su.backend != nil {
			su.backend(&bc)
		}
		var rc BackendConfig
		rc.SetDefaults()
		rc.Secret = srv.key
		if su.radius != nil {
			su.radius(&rc)
		}
		configs[bc.Name] = rc
		var hc health.Config
		hc.SetDefaults("radius")
		hc.SlowStart = 0
		h := health.NewBackend(health.Target{Key: health.Key{Pool: "main", Backend: bc.Name, Role: role}, Protocol: "radius", Addr: srv.addr(), Config: hc, AttemptTimeout: pc.AttemptTimeout}, f.clock.now)
		f.h[bc.Name+"/"+role] = h
		f.setUp(bc.Name, role)
		members = append(members, pool.Member{Config: bc, Addr: srv.addr(), Health: h})
	}
	p, err := pool.New(pc, role, members)
	if err != nil {
		f.t.Fatal(err)
	}
	return p
}

func (f *front) setUp(backend, role string) {
	h := f.h[backend+"/"+role]
	for i := 0; i < 10 && h.State() != health.Up; i++ {
		now := f.clock.now()
		h.Probed(health.Result{Start: now, End: now, OK: true})
	}
	if h.State() != health.Up {
		f.t.Fatalf("%s/%s is %v", backend, role, h.State())
	}
}

func (f *front) setDown(backend, role string) {
	h := f.h[backend+"/"+role]
	for i := 0; i < 30 && h.State() != health.Down; i++ {
		now := f.clock.now()
		h.Probed(health.Result{Start: now, End: now, Reason: health.ReasonProbeFailed})
	}
	if h.State() != health.Down {
		f.t.Fatalf("%s/%s is %v", backend, role, h.State())
	}
}

// reload is an Update by which nothing changes but what change, if there is one, makes of the options; the ports stay.
func (f *front) reload(change func(*Options)) {
	f.t.Helper()
	o := f.opts
	o.Config.Auth, o.Config.Acct = []string{f.authAddr().String()}, []string{f.acctAddr().String()}
	if change != nil {
		change(&o)
	}
	if err := f.s.Update(o); err != nil {
		f.t.Fatal(err)
	}
}

// authAddr and acctAddr are where NASes send to.
func (f *front) authAddr() netip.AddrPort { return f.listen(KindAuth) }
func (f *front) acctAddr() netip.AddrPort { return f.listen(KindAcct) }

func (f *front) listen(k Kind) netip.AddrPort {
	f.t.Helper()
	for _, l := range f.s.Listeners() {
		if l.Kind == k {
			return l.Address
		}
	}
	f.t.Fatalf("no listener of kind %v", k)
	return netip.AddrPort{}
}

// balanced checks the equation of the books for every kind.
func (f *front) balanced() Stats {
	f.t.Helper()
	st := f.s.Stats()
	for k := range NumKinds {
		if n := st.Missing(k); n != 0 {
			f.t.Errorf("%v: %d requests, %d answers, %d drops, %d in flight: %d missing", k, st.Requests[k], st.Sum(k), st.Dropped(k), st.InFlight[k], n)
		}
	}
	return st
}

// until waits for a condition on the books.
func (f *front) until(what string, ok func(*Stats) bool) Stats {
	f.t.Helper()
	deadline := time.Now().Add(testTimeout)
	for {
		st := f.balanced()
		if ok(&st) {
			return st
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("waiting for %s: drops %s, replies %v, answers %d/%d", what, dropsOf(&st), st.Replies, st.Sum(KindAuth), st.Sum(KindAcct))
		}
		time.Sleep(time.Millisecond) // polls; no timing is proven by it
	}
}

func dropsOf(st *Stats) string {
	out := ""
	for k := range NumKinds {
		for r := range NumReasons {
			if n := st.Drops[k][r]; n > 0 {
				out += fmt.Sprintf("%v/%v=%d ", k, r, n)
			}
		}
	}
	return out
}

func (f *front) untilDropped(k Kind, r Reason, n uint64) Stats {
	f.t.Helper()
	return f.until(fmt.Sprintf("%d %v/%v", n, k, r), func(st *Stats) bool { return st.Drops[k][r] >= n })
}

func (f *front) untilReply(r ReplyReason, n uint64) Stats {
	f.t.Helper()
	return f.until(fmt.Sprintf("%d replies %v", n, r), func(st *Stats) bool { return st.Replies[r] >= n })
}

// legs runs a test over both ways of moving datagrams.
func legs(t *testing.T, f func(t *testing.T, plain bool)) {
	t.Run("batched", func(t *testing.T) { f(t, false) })
	t.Run("plain", func(t *testing.T) { f(t, true) })
}

func testDest(peer string) udp.Dest { return udp.Dest{Peer: netip.MustParseAddrPort(peer)} }
