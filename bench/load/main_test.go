package load

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sereno/bench/stub"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var anyPort = netip.MustParseAddrPort("127.0.0.1:0")

func newResolver(t testing.TB) *stub.Resolver {
	t.Helper()
	r, err := stub.NewResolver(stub.ResolverConfig{Addr: anyPort})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func newServer(t testing.TB) (*stub.RADIUS, RADIUSTarget) {
	t.Helper()
	s, err := stub.NewRADIUS(stub.RADIUSConfig{Name: "one", Auth: anyPort, Acct: anyPort, Secret: []byte("s"), Demand: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, RADIUSTarget{s.Addr(stub.Auth), s.Addr(stub.Acct)}
}

// must runs a generator for at most a minute and checks that its books balance.
func must(t testing.TB, run func(context.Context) (Books, error)) Books {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	b, err := run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if b.Waiting != 0 || b.Sent != b.Answered+b.Wrong+b.Lost {
		t.Errorf("the books do not balance: %s, %d waiting", &b, b.Waiting)
	}
	return b
}
