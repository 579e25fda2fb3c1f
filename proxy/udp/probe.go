package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// Probe tells whether addr is free: it binds it once without SO_REUSEPORT and closes it. The shared listeners alone
// would not notice a second instance: the kernel would share the traffic out between both. The error wraps EADDRINUSE
// if it is taken, be it by this process. A wildcard address is taken also when one of its addresses is, and the other
// way round.
func Probe(addr netip.AddrPort) error {
	addr = unmap(addr)
	is6 := addr.Addr().Is6()
	lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
		return onFD(rc, func(fd int) error { return probeOptions(fd, is6) })
	}}
	pc, err := lc.ListenPacket(context.Background(), network(is6), addr.String())
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("UDP %s is in use by another instance or another server: %w", addr, err)
	case err != nil:
		return fmt.Errorf("probing UDP %s: %w", addr, err)
	}
	return pc.Close()
}
