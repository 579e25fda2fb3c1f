package e2e

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"testing"
)

// forger sends datagrams from addresses that are not its own. It needs CAP_NET_RAW. It may be used by several at once.
type forger struct {
	t  *testing.T
	fd int
}

func newForger(t *testing.T) *forger {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_RAW, syscall.IPPROTO_RAW)
	if err != nil {
		t.Fatalf("opening a raw socket, which takes root: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	return &forger{t, fd}
}

// send sends one datagram.
func (f *forger) send(from, to netip.AddrPort, body []byte) {
	f.t.Helper()
	source, target := from.Addr().As4(), to.Addr().As4()
	p := []byte{0x45, 0, 0, 0, 0, 1, 0, 0, 64, syscall.IPPROTO_UDP, 0, 0} // the kernel fills in length and checksum
	p = append(append(p, source[:]...), target[:]...)
	p = binary.BigEndian.AppendUint16(p, from.Port())
	p = binary.BigEndian.AppendUint16(p, to.Port())
	p = binary.BigEndian.AppendUint16(p, uint16(8+len(body)))
	p = append(p, 0, 0) // no checksum
	if err := syscall.Sendto(f.fd, append(p, body...), 0, &syscall.SockaddrInet4{Addr: target}); err != nil {
		f.t.Errorf("sending from %s to %s: %v", from, to, err)
	}
}
