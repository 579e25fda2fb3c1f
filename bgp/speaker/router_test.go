package speaker

import (
	"io"
	"net"
	"net/netip"
	"testing"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/server"
)

// Of ports that looked free some may be another's by the time that the router listens.
func TestRouterTakesAnotherPort(t *testing.T) {
	local := netip.MustParseAddr("127.0.0.1")
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	taken := netip.MustParseAddrPort(other.Addr().String())
	asked := 0
	s := server.NewBgpServer(server.LoggerOption(&logger{out: io.Discard}))
	go s.Serve()
	at, err := listen(t.Context(), s, RouterConfig{ASN: 64500, RouterID: "10.0.0.1", Listen: netip.AddrPortFrom(local, 0)},
		func(a netip.Addr) (uint16, error) {
			if asked++; asked < 3 {
				return taken.Port(), nil
			}
			return freePort(a)
		})
	if err != nil || asked < 3 || at.Port() == taken.Port() {
		t.Errorf("after %d tries it listens on %s (%v), and %s is taken", asked, at, err, taken)
	}
	if _, err := listen(t.Context(), s, RouterConfig{ASN: 64500, RouterID: "10.0.0.1", Listen: taken}, freePort); err == nil {
		t.Error("it listens on another's port")
	}
	if err := s.StopBgp(t.Context(), &api.StopBgpRequest{}); err != nil {
		t.Error(err)
	}
}
