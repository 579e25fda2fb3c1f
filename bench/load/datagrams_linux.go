package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	batch        = 64       // messages for each system call
	maxSegments  = 64       // datagrams that one message may be cut into (UDP_MAX_SEGMENTS of older kernels)
	maxTrain     = 60_000   // octets of such a message
	receiveSize  = 64 << 10 // what a message with UDP_GRO may hold
	socketBuffer = 4 << 20  // octets, each way, as far as the system lets
	sendPatience = 10       // ms to wait for room in a full send buffer
)

type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// control is room for the control messages of one message: a time stamp and a segment size.
type control [64]byte

// datagrams is the link over UDP on Linux: batches both ways (sendmmsg, recvmmsg), runs of equally long datagrams as
// one message that the kernel cuts up (UDP_SEGMENT), and back (UDP_GRO). No socket is watched: the generator looks when
// it is its turn anyway, and takes the time of arrival from the kernel (SO_TIMESTAMPNS).
type datagrams struct {
	to    receiver
	begin time.Time
	keep  time.Duration // how long after its last request a socket is looked at
	cut   bool          // UDP_SEGMENT works
	conns []datagramConn

	slab  []byte
	queue []queued
	dirty []int

	sendHdrs []mmsghdr
	sendIovs []unix.Iovec
	sendCtls []control
	sorted   []queued

	polls    []unix.PollFd
	polled   []int
	recvHdrs []mmsghdr
	recvIovs []unix.Iovec
	recvCtls []control
	recvData []byte
	arrived  []arrival
}

// queued is a message in the slab.
type queued struct{ off, len, next int32 }

type datagramConn struct {
	fd         int
	head, tail int32 // of its queue, index + 1
	unanswered int
	last       time.Duration // when it was last sent to
}

// newDatagrams opens the sockets. keep is how long an answer may take.
func newDatagrams(to receiver, begin time.Time, keep time.Duration, ends []endpoint, offload bool) (link, error) {
	d := &datagrams{
		to: to, begin: begin, keep: keep, cut: offload,
		slab: make([]byte, 0, 1<<20), sendHdrs: make([]mmsghdr, batch), sendIovs: make([]unix.Iovec, batch), sendCtls: make([]control, batch),
		recvHdrs: make([]mmsghdr, batch), recvIovs: make([]unix.Iovec, batch), recvCtls: make([]control, batch), recvData: make([]byte, batch*receiveSize),
	}
	for i := range batch {
		d.sendHdrs[i].hdr.Iov = &d.sendIovs[i]
		d.recvIovs[i].Base = &d.recvData[i*receiveSize]
		d.recvIovs[i].SetLen(receiveSize)
		h := &d.recvHdrs[i].hdr
		h.Iov = &d.recvIovs[i]
		h.SetIovlen(1)
		h.Control = &d.recvCtls[i][0]
	}
	for _, e := range ends {
		fd, err := d.open(e, offload)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("opening socket from %s to %s: %w", e.source, e.remote, err), d.close())
		}
		d.conns = append(d.conns, datagramConn{fd: fd})
	}
	return d, nil
}

func (d *datagrams) open(e endpoint, offload bool) (int, error) {
	family := unix.AF_INET6
	if e.remote.Addr().Unmap().Is4() {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, socketBuffer), unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, socketBuffer),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
	)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer)
	if offload {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1)
	}
	if err == nil && e.source.IsValid() {
		err = unix.Bind(fd, sockaddr(e.source, 0))
	}
	if err == nil {
		err = unix.Connect(fd, sockaddr(e.remote.Addr(), e.remote.Port()))
	}
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func (d *datagrams) close() error {
	var err error
	for i := range d.conns {
		err = errors.Join(err, unix.Close(d.conns[i].fd))
	}
	return err
}

func (d *datagrams) next(int) []byte {
	if cap(d.slab)-len(d.slab) < maxMessage {
		d.slab = slices.Grow(d.slab, cap(d.slab))
	}
	return d.slab[len(d.slab) : len(d.slab)+maxMessage]
}

func (d *datagrams) commit(conn, n int) {
	c := &d.conns[conn]
	d.queue = append(d.queue, queued{off: int32(len(d.slab)), len: int32(n)})
	at := int32(len(d.queue))
	d.slab = d.slab[:len(d.slab)+n]
	if c.head == 0 {
		c.head = at
		d.dirty = append(d.dirty, conn)
	} else {
		d.queue[c.tail-1].next = at
	}
	c.tail = at
	c.unanswered++
}

func (d *datagrams) flush(now time.Duration) {
	for _, conn := range d.dirty {
		c := &d.conns[conn]
		c.last = now
		for c.head != 0 {
			d.sorted = d.sorted[:0]
			for c.head != 0 && len(d.sorted) < batch {
				q := d.queue[c.head-1]
				c.head = q.next
				d.sorted = append(d.sorted, q)
			}
			d.send(c.fd)
		}
	}
	d.dirty, d.queue, d.slab = d.dirty[:0], d.queue[:0], d.slab[:0]
}

// send sends d.sorted on one socket.
func (d *datagrams) send(fd int) {
	if d.cut {
		// The longest first, stable: a train is of one length, and its requests stay in their order.
		slices.SortStableFunc(d.sorted, func(a, b queued) int { return int(b.len - a.len) })
	}
	first, retried := 0, false
	for first < len(d.sorted) {
		n := d.fill(d.sorted[first:])
		sent, errno := d.call(unix.SYS_SENDMMSG, fd, d.sendHdrs[:n], 0)
		for i := range sent {
			first += d.datagramsIn(i)
		}
		switch {
		case errno == 0:
			retried = false
		case errno == unix.EAGAIN && !retried:
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, sendPatience)
			retried = true
		case d.cut && (errno == unix.EIO || errno == unix.EINVAL):
			d.cut = false // this system or the interface cannot
		case !retried: // most likely the error of an earlier datagram, which this call only took delivery of
			d.to.refused()
			retried = true
		default:
			d.to.refused()
			first += d.datagramsIn(0)
			retried = false
		}
	}
}

// fill makes messages of the head of run and returns how many: one for each stretch of equally long datagrams that lie
// side by side in the slab.
func (d *datagrams) fill(run []queued) int {
	n := 0
	for i := 0; i < len(run) && n < batch; n++ {
		size, end := run[i].len, i+1
		limit := min(i+maxSegments, len(run), i+int(maxTrain/max(size, 1)))
		for d.cut && end < limit && run[end].len == size && run[end].off == run[end-1].off+size {
			end++
		}
		d.sendIovs[n].Base = &d.slab[run[i].off]
		d.sendIovs[n].SetLen(int(size) * (end - i))
		h := &d.sendHdrs[n].hdr
		h.SetIovlen(1)
		h.Control = nil
		h.SetControllen(0)
		if end > i+1 {
			c := &d.sendCtls[n]
			head := (*unix.Cmsghdr)(unsafe.Pointer(c))
			head.Level, head.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
			head.SetLen(unix.CmsgLen(2))
			binary.NativeEndian.PutUint16(c[unix.CmsgLen(0):], uint16(size))
			h.Control = &c[0]
			h.SetControllen(unix.CmsgSpace(2))
		}
		i = end
	}
	return n
}

// datagramsIn is how many datagrams message i is.
func (d *datagrams) datagramsIn(i int) int {
	if d.sendHdrs[i].hdr.Controllen == 0 {
		return 1
	}
	size := binary.NativeEndian.Uint16(d.sendCtls[i][unix.CmsgLen(0):])
	return int(d.sendIovs[i].Len) / int(size)
}

func (d *datagrams) wait(w time.Duration, arrivals bool) {
	if w <= 0 && !arrivals {
		return
	}
	ts := unix.NsecToTimespec(max(w, 0).Nanoseconds())
	if !arrivals {
		_ = unix.Nanosleep(&ts, nil)
		return
	}
	d.interesting(time.Since(d.begin))
	_, _ = unix.Ppoll(d.polls, &ts, nil)
}

// interesting lists the sockets on which an answer may come.
func (d *datagrams) interesting(now time.Duration) {
	d.polls, d.polled = d.polls[:0], d.polled[:0]
	for i := range d.conns {
		c := &d.conns[i]
		if c.unanswered <= 0 {
			continue
		}
		if now > c.last+d.keep {
			c.unanswered = 0
			continue
		}
		d.polls = append(d.polls, unix.PollFd{Fd: int32(c.fd), Events: unix.POLLIN})
		d.polled = append(d.polled, i)
	}
}

func (d *datagrams) collect() {
	d.interesting(time.Since(d.begin))
	if len(d.polls) == 0 {
		return
	}
	if n, err := unix.Ppoll(d.polls, &unix.Timespec{}, nil); n <= 0 && err == nil {
		return
	}
	for i, p := range d.polls {
		if p.Revents != 0 {
			d.read(d.polled[i])
		}
	}
}

// read takes everything from one socket.
func (d *datagrams) read(conn int) {
	c := &d.conns[conn]
	for {
		for i := range d.recvHdrs {
			d.recvHdrs[i].hdr.SetControllen(len(control{}))
		}
		n, errno := d.call(unix.SYS_RECVMMSG, c.fd, d.recvHdrs, unix.MSG_DONTWAIT)
		if errno == unix.EAGAIN {
			return
		}
		if errno != 0 {
			d.to.refused()
			return
		}
		clock := time.Now()
		d.arrived = d.arrived[:0]
		for i := range n {
			d.unpack(i, clock)
		}
		c.unanswered = max(c.unanswered-len(d.arrived), 0)
		d.to.receive(conn, d.arrived)
		if n < len(d.recvHdrs) {
			return
		}
	}
}

// unpack cuts message i into its datagrams, with the time at which the kernel got them.
func (d *datagrams) unpack(i int, clock time.Time) {
	at, segment := clock.Sub(d.begin), 0
	h := &d.recvHdrs[i].hdr
	for b := d.recvCtls[i][:h.Controllen]; len(b) >= unix.SizeofCmsghdr; {
		head := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
		length := int(head.Len)
		if length < unix.SizeofCmsghdr || length > len(b) {
			break
		}
		value := b[unix.CmsgLen(0):length]
		switch {
		case head.Level == unix.SOL_SOCKET && head.Type == unix.SO_TIMESTAMPNS && len(value) >= 16:
			sec, nsec := binary.NativeEndian.Uint64(value), binary.NativeEndian.Uint64(value[8:])
			// The stamp is of the clock on the wall, which may have been set since: no answer waits for a second.
			if age := time.Duration(clock.UnixNano() - int64(sec)*1e9 - int64(nsec)); age > 0 && age < time.Second {
				at -= age
			}
		case head.Level == unix.IPPROTO_UDP && head.Type == unix.UDP_GRO && len(value) >= 4:
			segment = int(binary.NativeEndian.Uint32(value))
		}
		b = b[min(unix.CmsgSpace(length-unix.CmsgLen(0)), len(b)):]
	}
	data := d.recvData[i*receiveSize:][:d.recvHdrs[i].len]
	if segment <= 0 {
		segment = len(data)
	}
	for len(data) > segment {
		d.arrived = append(d.arrived, arrival{data[:segment], at})
		data = data[segment:]
	}
	d.arrived = append(d.arrived, arrival{data, at})
}

func (*datagrams) call(trap uintptr, fd int, hdrs []mmsghdr, flags uintptr) (int, unix.Errno) {
	for {
		n, _, errno := unix.Syscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(&hdrs[0])), uintptr(len(hdrs)), flags, 0, 0)
		switch errno {
		case 0:
			return int(n), 0
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}
