package radiusfront

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

// TestR41ASourceThatIsNoMoreTheRightOneIsLeft: a socket that was made while the link to the backend was down has
// another link's address. Its records wait for their answers, new ones leave by a new socket, and it is closed when no
// answer can come any more.
func TestR41ASourceThatIsNoMoreTheRightOneIsLeft(t *testing.T) {
	old, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)}, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1813})
	if err != nil {
		t.Fatal(err)
	}
	o := &outlet{}
	addr := netip.MustParseAddrPort("127.0.0.1:1813")
	good, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	stale, fresh := &outSocket{outlet: o, conn: old}, &outSocket{outlet: o, conn: good}
	stale.slots[7].until = int64(10 * time.Second)
	o.sockets = []*outSocket{stale, fresh}
	o.leave(sourceTo(addr), 1)
	if len(o.sockets) != 1 || o.sockets[0] != fresh || len(o.left) != 1 || o.idle() != true {
		t.Fatalf("%+v", o)
	}
	if _, err := old.Write([]byte("x")); err != nil {
		t.Errorf("it is closed while an answer may come: %v", err)
	}
	o.leave(sourceTo(addr), int64(11*time.Second))
	if len(o.left) != 0 {
		t.Error("it is still there")
	}
	if _, err := old.Write([]byte("x")); err == nil {
		t.Error("it is still open")
	}
	o.close()
}
