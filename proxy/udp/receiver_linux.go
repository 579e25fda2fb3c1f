package udp

import (
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// JoinedMemory is how many bytes of address space, outside Go's heap, the buffers for joined datagrams of a Group with
// this batch have. They take memory only as far as they were ever filled.
func JoinedMemory(batch int) int { return slabSize(batch, maxJoined) }

// maxJoined is how long datagrams are together at most that the kernel hands over as one message (UDP_GRO): what an IP
// packet can be.
const maxJoined = 64 << 10

// receiver are messages for recvmmsg, and the datagrams that came in them.
type receiver struct {
	maxPacket int
	bufs      [][]byte // one for each message
	names     []sockaddr
	ctls      []controls
	iovs      []unix.Iovec
	hdrs      [numWants][]mmsghdr
	ctlSizes  [numWants]int
	pkts      []Packet

	// What recv read and packets has not handed over yet.
	conn   *Conn
	n, at  int // messages, and the next of them
	offset int // in it
}

// slabSize is how many bytes newReceiver needs for so many buffers of size bytes.
func slabSize(batch, size int) int { return batch * (size + bufferShift) }

// newReceiver makes one whose buffers have size bytes, all in slab; datagrams that are longer than maxPacket are dropped.
// Buffers that can hold more than one of that length may get several: the kernel is asked how many.
func newReceiver(batch, maxPacket, size int, slab []byte) *receiver {
	r := &receiver{
		maxPacket: maxPacket, bufs: make([][]byte, batch), names: make([]sockaddr, batch), ctls: make([]controls, batch),
		iovs: make([]unix.Iovec, batch), pkts: make([]Packet, batch),
	}
	r.ctlSizes[wantAll] = controlSize
	if size >= maxJoined {
		for want := range r.ctlSizes {
			r.ctlSizes[want] += unix.CmsgSpace(joinedSize)
		}
	}
	stride := size + bufferShift
	for want := range r.hdrs {
		r.hdrs[want] = make([]mmsghdr, batch)
	}
	for i := range batch {
		r.bufs[i] = slab[i*stride : i*stride+size : i*stride+size]
		r.iovs[i].Base = &r.bufs[i][0]
		r.iovs[i].SetLen(size)
		for want := range r.hdrs {
			h := &r.hdrs[want][i].hdr
			h.Iov = &r.iovs[i]
			h.SetIovlen(1)
			if want >= wantPeer {
				h.Name = &r.names[i][0]
			}
			if r.ctlSizes[want] > 0 {
				h.Control = r.ctls[i].base()
			}
			r.ready(want, h)
		}
	}
	return r
}

// ready says how much room a message has: the kernel writes there how much it used.
func (r *receiver) ready(want int, h *unix.Msghdr) {
	if want >= wantPeer {
		h.Namelen = uint32(len(r.names[0]))
	}
	h.SetControllen(r.ctlSizes[want])
}

// want is what c's headers ask for.
func (c *Conn) want() int {
	switch {
	case c.dialed:
		return wantData
	case c.wildcard:
		return wantAll
	}
	return wantPeer
}

// recv reads one batch and returns how many messages it has. The call does not wait, so the runtime is not told of it: that
// would make it look for other work at each of them, and take the processor away from long ones.
func (r *receiver) recv(c *Conn, s *socket) (int, syscall.Errno) {
	r.conn, r.n, r.at, r.offset = c, 0, 0, 0
	hdrs := r.hdrs[c.want()]
	if !s.use() {
		return 0, unix.EBADF
	}
	defer s.done()
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&hdrs[0])), uintptr(len(hdrs)), unix.MSG_DONTWAIT, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		r.n = int(n)
		return r.n, 0
	}
}

// packets are the next datagrams of what recv read, at most one batch, without those that did not fit; none: that was all.
func (r *receiver) packets() []Packet {
	want, k := r.conn.want(), 0
	for r.at < r.n && k < len(r.pkts) {
		h := &r.hdrs[want][r.at]
		length := int(h.len)
		from, each := r.origin(want, &h.hdr)
		if each == 0 {
			each = length
		}
		if h.hdr.Flags&unix.MSG_TRUNC != 0 || each > r.maxPacket {
			r.conn.stats.drops[DropTruncated].Add(uint64((length + each - 1) / max(1, each)))
		} else if k = r.split(k, r.bufs[r.at][:length], each, from); r.offset < length {
			break // the rest of it is for the next batch
		}
		r.ready(want, &h.hdr)
		r.at, r.offset = r.at+1, 0
	}
	return r.pkts[:k]
}

// origin is where message r.at came from, and how long each datagram in it is but the last; 0: it is one datagram.
func (r *receiver) origin(want int, h *unix.Msghdr) (from Dest, each int) {
	var local netip.Addr
	var ifindex uint32
	if h.Controllen > 0 {
		local, ifindex, each = r.ctls[r.at].decode(int(h.Controllen))
	}
	switch want {
	case wantData:
		return Dest{Peer: r.conn.remote, Local: r.conn.local.Addr(), IfIndex: r.conn.scope}, each
	case wantPeer:
		local = r.conn.local.Addr()
		from.Peer, ifindex = r.names[r.at].decode()
	case wantAll:
		from.Peer, _ = r.names[r.at].decode()
	}
	from.Local, from.IfIndex = local, ifindex
	return from, each
}

// split makes packets from the k-th on of what is left of a message, and gives how many packets there are then.
func (r *receiver) split(k int, message []byte, each int, from Dest) int {
	if each == len(message) {
		r.pkts[k] = Packet{Data: message[:each:r.maxPacket], Dest: from}
		r.offset = each
		return k + 1
	}
	for ; r.offset < len(message) && k < len(r.pkts); k++ {
		end := min(r.offset+each, len(message))
		r.pkts[k] = Packet{Data: message[r.offset:end:end], Dest: from}
		r.offset = end
	}
	return k
}
