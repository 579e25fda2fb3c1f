package demo

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sereno/bench/load"
	"sereno/bench/stub"
	"sereno/cmd/sereno/internal/admin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeWorld obeys the story by the book, on a clock of its own: a dead backend is seen after 300 ms, a route moves
// 40 ms later, and comes back 3 s after its backend.
type fakeWorld struct {
	t           *testing.T
	clock       time.Time
	broken      map[string]time.Time // since when
	healed      map[string]time.Time
	clients     bool
	dns         load.Books
	radius      load.Books
	missing     uint64
	unaccounted uint64
	troubles    chan error
	onWait      func()
}

func newFakeWorld(t *testing.T) *fakeWorld {
	return &fakeWorld{
		t: t, clock: time.Unix(1_800_000_000, 0).UTC(), broken: map[string]time.Time{}, healed: map[string]time.Time{},
		troubles: make(chan error, 1),
	}
}

func (f *fakeWorld) now() time.Time        { return f.clock }
func (f *fakeWorld) page(int) string       { return "http://127.64.1.1:8053/" }
func (f *fakeWorld) listening() bool       { return true }
func (f *fakeWorld) trouble() <-chan error { return f.troubles }

func (f *fakeWorld) startClients() error {
	if f.clients {
		f.t.Error("the clients were started twice")
	}
	f.clients = true
	return nil
}

// wait lets the clients work for d: each is answered, in 2 ms.
func (f *fakeWorld) wait(ctx context.Context, d time.Duration) error {
	f.clock = f.clock.Add(d)
	if f.onWait != nil {
		f.onWait()
	}
	if !f.clients {
		return ctx.Err()
	}
	for b, rate := range map[*load.Books]uint64{&f.dns: dnsRate, &f.radius: radiusRate} {
		n := uint64(d.Milliseconds()) * rate / 1000
		b.Sent += n
		b.Answered += n
		for range n {
			b.Latency.Add(2 * time.Millisecond)
		}
	}
	return ctx.Err()
}

func (f *fakeWorld) traffic() (dns, radius load.Books) { return f.dns, f.radius }

func (f *fakeWorld) stopClients() (dns, radius load.Books, missing uint64) {
	if !f.clients {
		f.t.Error("clients were stopped that do not run")
	}
	return f.dns, f.radius, f.missing
}

func (f *fakeWorld) set(backend string, fault stub.Fault) error {
	if fault == stub.Healthy {
		delete(f.broken, backend)
		f.healed[backend] = f.clock
		return nil
	}
	if _, ok := f.broken[backend]; ok {
		return errors.New("already broken: " + backend)
	}
	f.broken[backend] = f.clock
	return nil
}

// seenDown says whether site 1 has noticed that a backend is broken.
func (f *fakeWorld) seenDown(backend string) bool {
	at, ok := f.broken[backend]
	return ok && f.clock.Sub(at) >= 300*time.Millisecond
}

func (f *fakeWorld) route(prefix string) change {
	if prefix == dnsPrefix && f.seenDown("dns-1") && f.seenDown("dns-2") {
		return change{f.broken["dns-2"].Add(340 * time.Millisecond), prefix, 1}
	}
	if back, ok := f.healed["dns-2"]; ok && prefix == dnsPrefix {
		if f.clock.Sub(back) < 3*time.Second {
			return change{back, prefix, 1}
		}
		return change{back.Add(3 * time.Second), prefix, 0}
	}
	return change{f.clock, prefix, 0}
}

// changed lets 10 ms pass.
func (f *fakeWorld) changed() <-chan struct{} {
	f.clock = f.clock.Add(10 * time.Millisecond)
	c := make(chan struct{})
	close(c)
	return c
}

func (f *fakeWorld) status(site int) (*admin.Status, error) {
	st := &admin.Status{
		Anycast:  []admin.Anycast{{State: admin.StateAnnounced}},
		BGP:      admin.BGP{Neighbors: []admin.Neighbor{{State: admin.StateEstablished}}},
		Services: []admin.Service{{Name: "resolver", Requests: 9 + f.unaccounted, Answers: 6, Drops: 2, InFlight: 1}},
	}
	if site != 0 {
		return st, nil
	}
	for name, role := range map[string]string{"dns-1": "dns", "dns-2": "dns", "radius-1": "auth"} {
		b := admin.Backend{Name: name, Role: role, State: admin.StateUp}
		if f.seenDown(name) {
			b.State, b.Reason = admin.StateDown, "refused"
		}
		pool := admin.Pool{Backends: []admin.Backend{b}}
		if role == "auth" {
			b.Role = "acct"
			pool.Backends = append(pool.Backends, b)
		}
		st.Pools = append(st.Pools, pool)
	}
	return st, nil
}
