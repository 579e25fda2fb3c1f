package radiusfront

import (
	"net"
	"net/netip"
)

// strayed tells whether a socket that was connected to addr without a source of
// its own has another address than the kernel would choose now. It was opened
// while a link was down or an address was missing, and keeps for its life what it
// got then; a RADIUS server knows its clients by their address, and may have no
// way back to that one. No sign of it but silence reaches the socket.
func strayed(addr netip.AddrPort, local netip.Addr) bool {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return false // there is no way at all now, and nothing better to be had
	}
	defer c.Close() // nothing was sent
	return plain(c.LocalAddr().(*net.UDPAddr).AddrPort().Addr()) != plain(local)
}

func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// leaveStrayed has a backend's strayed ports take no new requests, once it was
// silent; sweep calls it, and closes them when nothing waits on them any more.
func (up *upstream) leaveStrayed() {
	if up.silence && !up.source.IsValid() {
		for _, p := range up.ports {
			p.strayed = p.strayed || strayed(up.addr, p.conn.LocalAddr().Addr())
		}
	}
	up.silence = false
	kept := up.ports[:0]
	for _, p := range up.ports {
		if p.strayed && p.idle() {
			_ = p.conn.Close() // being given up: nothing to do about an error
			continue
		}
		kept = append(kept, p)
	}
	clear(up.ports[len(kept):])
	up.ports = kept
}

// idle tells whether no request waits on the port; identifiers may rest.
func (p *port) idle() bool {
	for i := range p.slots {
		if p.slots[i].f != nil {
			return false
		}
	}
	return true
}
