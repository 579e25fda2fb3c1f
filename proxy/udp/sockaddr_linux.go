package udp

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sockaddr is a struct sockaddr_in or sockaddr_in6.
type sockaddr [unix.SizeofSockaddrInet6]byte

// decode gives the peer, and the interface if the address is link-local.
func (a *sockaddr) decode() (netip.AddrPort, uint32) {
	port := binary.BigEndian.Uint16(a[2:])
	switch binary.NativeEndian.Uint16(a[:]) {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(a[4:8])), port), 0
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(a[8:24])), port), binary.NativeEndian.Uint32(a[24:])
	}
	return netip.AddrPort{}, 0
}

// encode writes the peer and gives the length.
func (a *sockaddr) encode(d Dest) uint32 {
	addr := d.Peer.Addr()
	binary.BigEndian.PutUint16(a[2:], d.Peer.Port())
	if addr.Is4() {
		binary.NativeEndian.PutUint16(a[:], unix.AF_INET)
		*(*[4]byte)(a[4:8]) = addr.As4()
		clear(a[8:unix.SizeofSockaddrInet4])
		return unix.SizeofSockaddrInet4
	}
	binary.NativeEndian.PutUint16(a[:], unix.AF_INET6)
	clear(a[4:8]) // flow label
	*(*[16]byte)(a[8:24]) = addr.As16()
	scope := uint32(0)
	if addr.IsLinkLocalUnicast() {
		scope = d.IfIndex
	}
	binary.NativeEndian.PutUint32(a[24:], scope)
	return unix.SizeofSockaddrInet6
}

// control is the one control message that is asked for: IP_PKTINFO or IPV6_PKTINFO (RFC 3542 §6.2).
type control struct {
	hdr  unix.Cmsghdr
	data [24]byte
}

const controlSize = int(unsafe.Sizeof(control{}))

func (c *control) base() *byte { return (*byte)(unsafe.Pointer(c)) }

// decode gives the address that was asked and the interface.
func (c *control) decode() (netip.Addr, uint32) {
	switch {
	case c.hdr.Level == unix.IPPROTO_IP && c.hdr.Type == unix.IP_PKTINFO:
		// ipi_spec_dst, not ipi_addr: the same, except that for a broadcast it is the interface's own address.
		return netip.AddrFrom4([4]byte(c.data[4:8])), binary.NativeEndian.Uint32(c.data[:])
	case c.hdr.Level == unix.IPPROTO_IPV6 && c.hdr.Type == unix.IPV6_PKTINFO:
		return netip.AddrFrom16([16]byte(c.data[:16])), binary.NativeEndian.Uint32(c.data[16:])
	}
	return netip.Addr{}, 0
}

// encode writes the source address and gives the length; 0 leaves the choice to the kernel.
func (c *control) encode(d Dest) int {
	switch {
	case !d.Local.IsValid() || d.Local.IsUnspecified() || d.Local.IsMulticast():
		return 0
	case d.Local.Is4():
		c.hdr.Level, c.hdr.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
		c.hdr.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
		clear(c.data[:unix.SizeofInet4Pktinfo])
		*(*[4]byte)(c.data[4:8]) = d.Local.As4()
		return unix.CmsgSpace(unix.SizeofInet4Pktinfo)
	}
	c.hdr.Level, c.hdr.Type = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO
	c.hdr.SetLen(unix.CmsgLen(unix.SizeofInet6Pktinfo))
	*(*[16]byte)(c.data[:16]) = d.Local.As16()
	ifindex := uint32(0)
	if d.Local.IsLinkLocalUnicast() {
		ifindex = d.IfIndex
	}
	binary.NativeEndian.PutUint32(c.data[16:], ifindex)
	return unix.CmsgSpace(unix.SizeofInet6Pktinfo)
}

// controls are one or two control messages: control, and UDP_SEGMENT (sent) or UDP_GRO (received) with it or instead of it.
type controls struct {
	control
	more [32]byte
}

// decode gives what the first length bytes tell: the address that was asked, the interface, and of how many bytes each
// datagram is of those that came as one message; 0: it is none.
func (c *controls) decode(length int) (local netip.Addr, ifindex uint32, each int) {
	for at := 0; at+unix.CmsgLen(0) <= length && at+controlSize <= int(unsafe.Sizeof(*c)); {
		one := (*control)(unsafe.Add(unsafe.Pointer(c), at))
		if one.hdr.Level == unix.IPPROTO_UDP && one.hdr.Type == unix.UDP_GRO {
			each = int(binary.NativeEndian.Uint32(one.data[:]))
		} else if l, i := one.decode(); l.IsValid() {
			local, ifindex = l, i
		}
		if int(one.hdr.Len) < unix.CmsgLen(0) {
			break
		}
		at += unix.CmsgSpace(int(one.hdr.Len) - unix.CmsgLen(0))
	}
	return local, ifindex, each
}

// segment puts behind size bytes that the message is to be cut into datagrams of that length, and gives the length.
func (c *controls) segment(size, length int) int {
	h := (*unix.Cmsghdr)(unsafe.Add(unsafe.Pointer(c), size))
	h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(segmentSize))
	*(*uint16)(unsafe.Add(unsafe.Pointer(h), unix.CmsgLen(0))) = uint16(length)
	return size + unix.CmsgSpace(segmentSize)
}
