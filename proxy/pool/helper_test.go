package pool

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"sereno/health"
)

// spec is one backend of a test's pool.
type spec struct {
	name   string
	weight int
	backup bool
	max    int
}

// group is a pool and the verdicts that a test bends.
type group struct {
	*Pool
	t       testing.TB
	ahead   atomic.Int64 // of the verdicts' clock
	config  Config
	members []Member
}

func testConfig(balance string) Config {
	var c Config
	c.SetDefaults("dns")
	c.Name, c.Protocol, c.Balance = "resolvers", "dns", balance
	return c
}

// newGroup makes a pool whose backends are all up.
func newGroup(t testing.TB, balance string, specs ...spec) *group {
	t.Helper()
	g := &group{t: t, config: testConfig(balance)}
	for i, s := range specs {
		var c BackendConfig
		c.SetDefaults()
		c.Name, c.Address, c.Backup = s.name, fmt.Sprintf("192.0.2.%d", i+1), s.backup
		if s.weight > 0 {
			c.Weight = s.weight
		}
		if s.max > 0 {
			c.MaxInFlight = s.max
		}
		g.members = append(g.members, Member{Config: c, Addr: netip.AddrPortFrom(netip.MustParseAddr(c.Address), 53), Health: g.verdict(s.name)})
	}
	p, err := New(g.config, "dns", g.members)
	if err != nil {
		t.Fatal(err)
	}
	g.Pool = p
	for _, s := range specs {
		g.good(s.name)
	}
	return g
}

func (g *group) verdict(name string) *health.Backend {
	target := health.Target{Key: health.Key{Pool: "resolvers", Backend: name, Role: "dns"}, Protocol: "dns", AttemptTimeout: time.Second}
	target.Config.SetDefaults("dns")
	return health.NewBackend(target, g.now)
}

// equals makes n specs of weight 1.
func equals(n int) []spec {
	out := make([]spec, n)
	for i := range out {
		out[i].name = fmt.Sprintf("b%d", i)
	}
	return out
}

func (g *group) health(name string) *health.Backend {
	for i := range g.members {
		if g.members[i].Config.Name == name {
			return g.members[i].Health
		}
	}
	g.t.Fatalf("no backend %s", name)
	return nil
}

func (g *group) now() time.Time { return time.Now().Add(time.Duration(g.ahead.Load())) }

func (g *group) good(name string) {
	now := g.now()
	g.health(name).Probed(health.Result{Start: now, End: now, OK: true})
}

func (g *group) bad(name string) {
	now := g.now()
	g.health(name).Probed(health.Result{Start: now, End: now, Reason: health.ReasonProbeFailed, Detail: "no answer"})
}

// down and back are by two probes each, as the defaults have it.
func (g *group) down(name string) { g.bad(name); g.bad(name); g.is(name, health.Down) }
func (g *group) back(name string) { g.good(name); g.good(name); g.is(name, health.Up) }
func (g *group) suspect(name string) {
	g.ahead.Add(int64(time.Second)) // just after a good probe the kernel's word would not count
	g.health(name).Unreachable(errors.New("no route"))
	g.is(name, health.Suspect)
}

func (g *group) is(name string, want health.State) {
	g.t.Helper()
	if got := g.health(name).State(); got != want {
		g.t.Fatalf("%s is %v, not %v", name, got, want)
	}
}

// counts picks n times, gives each slot back at once, and counts by name; ""
// counts picks that found nobody.
func (g *group) counts(n int) map[string]int {
	out := map[string]int{}
	for i := range n {
		b := g.Pick(mix(uint64(i)*0x9e3779b97f4a7c15+1), nil)
		if b == nil {
			out[""]++
			continue
		}
		out[b.Name()]++
		b.Done()
	}
	return out
}

// only tells that nobody but the named was picked.
func (g *group) only(what string, names ...string) {
	g.t.Helper()
	got := g.counts(2000)
	for _, n := range names {
		if got[n] == 0 {
			g.t.Errorf("%s: %s was never picked: %v", what, n, got)
		}
		delete(got, n)
	}
	if len(got) > 0 {
		g.t.Errorf("%s: picked too were %v", what, got)
	}
}

// near checks counts against shares; six standard deviations leave a false alarm
// about once in a billion.
func near(t *testing.T, what string, got map[string]int, want map[string]float64) {
	t.Helper()
	n := 0
	for _, c := range got {
		n += c
	}
	total := 0.0
	for _, w := range want {
		total += w
	}
	for name, w := range want {
		p := w / total
		mean := p * float64(n)
		if off := math.Abs(float64(got[name]) - mean); off > 6*math.Sqrt(mean*(1-p))+1 {
			t.Errorf("%s: %s was picked %d times of %d, not about %.0f", what, name, got[name], n, mean)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: %q was picked %d times", what, name, got[name])
		}
	}
}

var allPolicies = []string{"least-outstanding", "round-robin", "random", "hash", "ordered"}
