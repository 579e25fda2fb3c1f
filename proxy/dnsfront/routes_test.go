package dnsfront

import (
	"testing"
	"time"

	"github.com/miekg/dns"

	"sereno/proxy/pool"
)

// A pool that waits long does not keep the slots of another's backends (D26).
func TestD26SlotsComeBackByTheirOwnPoolsTimeout(t *testing.T) {
	f := newFront(t, setup{backends: 1, workers: 1, pool: func(c *pool.Config) {
		c.Attempts, c.AttemptTimeout, c.Timeout = 1, 50*time.Millisecond, 100*time.Millisecond
	}})
	patient := newResolver(t, nil)
	patient.set(nil)
	f.resolvers[0].set(nil)
	var m pool.Member
	m.Config.SetDefaults()
	m.Config.Name, m.Config.Address, m.Addr = "x", patient.addr.String(), patient.addr
	c := f.pool.Config()
	c.Name, c.Timeout = "patient", 3*time.Second
	p, err := pool.New(c, "dns", []pool.Member{m})
	if err != nil {
		t.Fatal(err)
	}
	o := f.opts
	o.Pools = map[string]*pool.Pool{"resolvers": f.pool, "patient": p}
	o.Config.Routes = []Route{{Zones: []string{"patient.example."}, Pool: "patient"}}
	if err := f.Update(o); err != nil {
		t.Fatal(err)
	}
	conn := f.stream()
	writeFrame(t, conn, packed(t, asking("www.patient.example.", dns.TypeA)))
	until(t, "the patient pool's backend is asked", func() bool { return patient.asked.Load() == 1 })
	f.ask(asking("www.example.", dns.TypeA))
	until(t, "its slot comes back", func() bool { return f.pool.Backends()[0].InFlight() == 0 })
	if n := p.Backends()[0].InFlight(); n != 1 {
		t.Errorf("%d queries at the patient pool's backend: it was too late to tell", n)
	}
	readFrame(t, conn)
	until(t, "the other's slot comes back", func() bool { return p.Backends()[0].InFlight() == 0 })
}
