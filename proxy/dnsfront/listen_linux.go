package dnsfront

import "golang.org/x/sys/unix"

// freeBind allows the address of a socket not to be on the host.
func freeBind(fd uintptr, is6 bool) error {
	if is6 {
		return unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1)
	}
	return unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND, 1)
}
