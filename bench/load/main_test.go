package load

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sereno/bench/stub"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var anyPort = netip.MustParseAddrPort("127.0.0.1:0")

func newResolver(t testing.TB) *stub.Resolver {
	t.Helper()
	return newResolverAt(t, "127.0.0.1:0")
}

func newResolverAt(t testing.TB, addr string) *stub.Resolver {
	t.Helper()
	r, err := stub.NewResolver(stub.ResolverConfig{Addr: netip.MustParseAddrPort(addr)})
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

// newTLSFront takes TLS off connections and passes them on to a resolver's TCP port.
func newTLSFront(t *testing.T, to netip.AddrPort) (netip.AddrPort, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"resolver.test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, about, about, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(certificate)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to.String())
			if err != nil {
				t.Error(err)
				return
			}
			wg.Go(func() { _, _ = io.Copy(out, in); _ = out.Close() })
			wg.Go(func() { _, _ = io.Copy(in, out); _ = in.Close() })
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().(*net.TCPAddr).AddrPort(), roots
}
