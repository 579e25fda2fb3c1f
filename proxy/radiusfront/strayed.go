package radiusfront

import (
	"net"
	"net/netip"
	"slices"
)

// sourceTo is the address that the kernel would send from to addr now; not valid:
// there is no way. A socket that is connected without a source of its own keeps
// what this was when it was opened. If a link was down then, or an address was
// missing, a RADIUS server may not know us by that address, or have no way back to
// it, and no sign of it but silence reaches the socket.
func sourceTo(addr netip.AddrPort) netip.Addr {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr)) // sends nothing
	if err != nil {
		return netip.Addr{}
	}
	defer c.Close()
	return plain(c.LocalAddr().(*net.UDPAddr).AddrPort().Addr())
}

func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// leaveStrayed gives no more requests to ports that have another source than
// this, and closes those of before that no reply can come to any more.
func (up *upstream) leaveStrayed(source netip.Addr) {
	up.left = slices.DeleteFunc(up.left, func(p *port) bool {
		over := p.n == identifiers
		if over {
			_ = p.conn.Close() // being given up: nothing to do about an error
		}
		return over
	})
	up.ports = slices.DeleteFunc(up.ports, func(p *port) bool {
		strayed := source.IsValid() && plain(p.conn.LocalAddr().Addr()) != source
		if strayed {
			up.left = append(up.left, p)
		}
		return strayed
	})
	up.inTurn = min(up.inTurn, len(up.ports))
}
