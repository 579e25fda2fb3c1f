package udp

import (
	"errors"
	"net"
	"net/netip"
)

// Limits and defaults of GroupConfig and ListenConfig.
const (
	// DefaultBatch is how many datagrams one system call moves at most.
	DefaultBatch = 64
	// MaxBatch is the kernel's own limit (UIO_MAXIOV).
	MaxBatch = 1024
	// DefaultMaxPacket is the size in bytes of each receive and send buffer.
	DefaultMaxPacket = 4096
	// DefaultMaxUnsent is that of GroupConfig.MaxUnsent.
	DefaultMaxUnsent = 16 << 20
	// DefaultBuffer is the size in bytes that each socket asks the kernel for, in each direction.
	DefaultBuffer = 4 << 20
)

// ErrClosed is what every method gives that came after Close. It is net.ErrClosed.
var ErrClosed = net.ErrClosed

// ErrWildcard refuses a listener on 0.0.0.0 or [::] where the system does not tell which address was asked:
// the answer could leave from another one.
var ErrWildcard = errors.New("this system does not tell which address a datagram was sent to: listen on each address by itself")

// Dest is where a datagram came from and which of our addresses it was sent to: all it takes to answer it.
// It is comparable and holds no pointer into a buffer, so it may be kept as long as one likes.
type Dest struct {
	// Peer is the address and port of the other side, never an IPv4 address mapped into IPv6, and without a zone:
	// IfIndex stands for that.
	Peer netip.AddrPort
	// Local is the address of ours that was asked and that the answer leaves from (RFC 1122 §4.1.3.5,
	// RFC 2181 §4.1). If invalid, the kernel chooses. A broadcast is answered from the interface's own address.
	Local netip.Addr
	// IfIndex is the interface on which the datagram came in, where the socket tells it (wildcard listeners) or
	// where it belongs to the peer's address (link-local IPv6); else 0. It steers the answer only for link-local
	// addresses: all others are routed, because with anycast the way back is often not the way in.
	IfIndex uint32
}

// Packet is one received datagram.
type Packet struct {
	// Data is the payload, whole: a datagram that did not fit in MaxPacket bytes is dropped and counted as
	// DropTruncated. It belongs to the Group: valid until Receive returns. The handler may write into it, up to its
	// capacity, which is MaxPacket, or its length where other datagrams came in the same message (ListenConfig.Segment).
	Data []byte
	Dest
}

// Handler is the worker: what is done with the datagrams. All its methods are called by one goroutine at a time (on
// the batched path by the very goroutine that called Run), so it needs no lock for what only it touches. A panic ends
// the process: a Handler that wants to outlive its own recovers in Receive itself, and may go on behind the packet; a
// buffer that Next gave it before is given again.
type Handler interface {
	// Receive gets what one system call read from c: 1 to Batch packets; if datagrams were joined to more than that, it is
	// called again with the others. The slice and its Data are valid until it returns. It should answer through Next and
	// Commit, of c or of any other Conn of the same Group.
	Receive(c *Conn, batch []Packet)
	// Flush is called at least once in each turn of the loop, after the ready sockets were read and before what was
	// queued is sent: the place to publish counters and to do what another goroutine called Wake for. It may queue
	// datagrams too.
	Flush()
}

// ErrorHandler is an optional second interface of a Handler.
type ErrorHandler interface {
	// SocketError tells of an error that the kernel holds against a dialed Conn, mostly ECONNREFUSED from an ICMP
	// message: err is a syscall.Errno. It is called like Handler's methods, never from inside Next or Commit, and it may
	// queue datagrams. One call may stand for several errors: the kernel keeps one for each socket.
	SocketError(c *Conn, err error)
}

// GroupConfig is what a Group is made of.
type GroupConfig struct {
	// Batch is how many datagrams one system call moves at most: 1 to MaxBatch, 0 means DefaultBatch.
	Batch int
	// MaxPacket is the size in bytes of each receive and send buffer: 1 to 65535, 0 means DefaultMaxPacket.
	MaxPacket int
	// MaxUnsent bounds the bytes of buffers for datagrams that wait to be sent: 0 means DefaultMaxUnsent. Four batches
	// always have room, and 64 are the most.
	MaxUnsent int
	// Plain takes the path with one system call for each datagram, the only one on systems other than Linux.
	Plain bool
}

// ListenConfig is about one socket.
type ListenConfig struct {
	// RecvBuffer and SendBuffer are the kernel's buffers in bytes; 0 means DefaultBuffer.
	RecvBuffer, SendBuffer int
	// Segment lets datagrams of equal length that are queued for the same peer leave as one message, which the kernel
	// cuts up (UDP_SEGMENT): a quarter of the work. To one peer they keep their order; a listener may send to one peer
	// before another. What arrives is the same. It also lets what the kernel has joined be read as one message (UDP_GRO),
	// for which a Group with such Conns has buffers of 64 KiB, Batch of them, that take memory as far as they are used.
	// Linux only, and where the way out can do it; else it does nothing.
	Segment bool
	// Tag is the Conn's first Tag. A listener receives as soon as it is open: who needs the Tag in Receive gives it here.
	Tag any
}

// Drop says why a datagram was dropped.
type Drop uint8

// The reasons.
const (
	// DropTruncated is a received datagram that is longer than MaxPacket.
	DropTruncated Drop = iota
	// DropQueueFull is a datagram to send that found the socket's send buffer and the queue behind it full.
	DropQueueFull
	// DropSendError is a datagram that the kernel refused to send (no route, firewall, no such source address).
	DropSendError
	// DropClosed is a datagram that was queued on a Conn when it was closed.
	DropClosed

	// NumDrops is the number of reasons.
	NumDrops
)

// String is the reason as a metric's label.
func (d Drop) String() string {
	switch d {
	case DropTruncated:
		return "truncated"
	case DropQueueFull:
		return "queue_full"
	case DropSendError:
		return "send_error"
	case DropClosed:
		return "closed"
	case NumDrops:
	}
	return "unknown"
}

// Stats are the counters of one Conn since it was opened. All that was given to Commit and WriteTo is Sent, or in the
// drops DropQueueFull, DropSendError and DropClosed, or still queued.
type Stats struct {
	Received uint64           // datagrams given to Receive
	Sent     uint64           // datagrams that the kernel took
	Errors   uint64           // socket errors met while reading or sending, mostly from ICMP
	Drops    [NumDrops]uint64 // datagrams dropped, by reason
}
