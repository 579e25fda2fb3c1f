package udp

import (
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// maxSegment is the longest datagram that shares a message: with its headers it passes every link, so that it needs no
	// fragments, which a message that is cut up cannot have.
	maxSegment = 1200
	// maxSegments is how many datagrams make one message at most (the kernel's UDP_MAX_SEGMENTS was 64 at first), and
	// 50 of the longest stay below 64 KiB.
	maxSegments = 50
	segmentSize = 2 // bytes of UDP_SEGMENT's value
	joinedSize  = 4 // of UDP_GRO's
)

// segments tells whether the kernel cuts up messages (Linux 4.18).
func segments(fd int) bool {
	_, err := unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT)
	return err == nil
}

// takesJoined has the kernel hand over as one message what arrived as one, or was put together on its way (Linux 5.0). It
// tells whether it will.
func takesJoined(fd int) bool {
	return unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1) == nil
}

// joins tells whether next may be sent in one message with first..last, which are n datagrams: all are as long as the
// first, but the last of them may be shorter.
func (first *slot) joins(last, next *slot, n int) bool {
	return last.n == first.n && next.n <= first.n && next.n > 0 && first.n <= maxSegment && n < maxSegments && next.dest == first.dest
}

// uncut tells whether an error may be about the cutting: the way out has no checksum offload or IPsec on it, or a small
// MTU.
func uncut(errno syscall.Errno) bool {
	switch errno {
	case unix.EIO, unix.EINVAL, unix.EMSGSIZE, unix.EOPNOTSUPP, unix.ENOPROTOOPT:
		return true
	}
	return false
}
