package udp

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

type echoHandler struct{}

func (echoHandler) Receive(c *Conn, batch []Packet) {
	for i := range batch {
		c.Commit(copy(c.Next(), batch[i].Data), batch[i].Dest)
	}
}
func (echoHandler) Flush() {}

func TestEcho(t *testing.T) {
	for _, plain := range []bool{false, true} {
		g, err := NewGroup(GroupConfig{Plain: plain})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"} {
			c, err := g.Listen(netip.MustParseAddrPort(a), ListenConfig{})
			if err != nil {
				t.Fatal(err)
			}
			to := c.LocalAddr()
			if to.Addr() == netip.IPv4Unspecified() {
				to = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), to.Port())
			}
			if to.Addr() == netip.IPv6Unspecified() {
				to = netip.AddrPortFrom(netip.MustParseAddr("::1"), to.Port())
			}
			if a == "127.0.0.1:0" {
				go g.Run(echoHandler{})
			}
			u, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
			if err != nil {
				t.Fatal(err)
			}
			u.Write([]byte("hello"))
			u.SetReadDeadline(time.Now().Add(2 * time.Second))
			buf := make([]byte, 100)
			n, err := u.Read(buf)
			if err != nil || string(buf[:n]) != "hello" {
				t.Fatal(a, err, n)
			}
			u.Close()
		}
		g.Close()
	}
}
