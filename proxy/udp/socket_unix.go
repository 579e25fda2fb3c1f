//go:build unix && !linux

package udp

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// plainWildcard: this package does not read on this system which address was asked.
const plainWildcard = false

const plainOOB = 0

func parseControl([]byte) (netip.Addr, uint32) { return netip.Addr{}, 0 }

func makeControl(Dest) []byte { return nil }

func kernelDrops(int) uint64 { return 0 }

func commonOptions(int, bool) error { return nil }

func probeOptions(int, bool) error { return nil }

// listenOptions lets several Groups share an address, though this kernel may give all datagrams to one of them.
func listenOptions(fd int, _, _ bool) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return fmt.Errorf("setting SO_REUSEPORT: %w", err)
	}
	return nil
}

// setBuffers asks for the buffers and notes what the kernel gave. This kernel may refuse a size as a whole: then the
// default stays, and BufferWarning says so.
func (c *Conn) setBuffers(fd int, cfg ListenConfig) error {
	recv, err := setBuffer(fd, unix.SO_RCVBUF, cfg.RecvBuffer)
	if err != nil {
		return fmt.Errorf("reading the receive buffer: %w", err)
	}
	send, err := setBuffer(fd, unix.SO_SNDBUF, cfg.SendBuffer)
	if err != nil {
		return fmt.Errorf("reading the send buffer: %w", err)
	}
	c.noteBuffers(recv, send, cfg)
	return nil
}

func setBuffer(fd, option, want int) (int, error) {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, want); err != nil && !errors.Is(err, unix.ENOBUFS) {
		return 0, err
	}
	return unix.GetsockoptInt(fd, unix.SOL_SOCKET, option)
}
