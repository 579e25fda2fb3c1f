package udp

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// BenchmarkEcho answers each datagram with a copy of it: batched, plain, and a bare loop around recvmmsg and sendmmsg
// on a thread of its own. One op is one datagram there and back; cpu-ns/op is the processor time of both sides.
func BenchmarkEcho(b *testing.B) {
	for _, window := range []int{1, 32, 256} {
		b.Run(fmt.Sprintf("window=%d/batched", window), func(b *testing.B) { benchGroup(b, false, "127.0.0.1:0", window) })
		b.Run(fmt.Sprintf("window=%d/wildcard", window), func(b *testing.B) { benchGroup(b, false, "0.0.0.0:0", window) })
		b.Run(fmt.Sprintf("window=%d/plain", window), func(b *testing.B) { benchGroup(b, true, "127.0.0.1:0", window) })
		b.Run(fmt.Sprintf("window=%d/bare", window), func(b *testing.B) { benchBare(b, window) })
	}
}

// BenchmarkForward passes each datagram on to a backend and the answer back, over one upstream socket or many.
func BenchmarkForward(b *testing.B) {
	for _, upstreams := range []int{1, 16, 1000} {
		b.Run(fmt.Sprintf("upstreams=%d", upstreams), func(b *testing.B) {
			backend, front := newGroup(b, GroupConfig{}), newGroup(b, GroupConfig{})
			at := listen(b, backend, "127.0.0.1:0").LocalAddr()
			c := listen(b, front, "127.0.0.1:0")
			conns := make([]*Conn, upstreams)
			for i := range conns {
				conns[i] = dial(b, front, at)
			}
			run(b, backend, echo{})
			next, asker := 0, Dest{}
			run(b, front, &funcs{receive: func(from *Conn, batch []Packet) {
				for i := range batch {
					to := c
					if from == c {
						asker = batch[i].Dest
						next = (next + 1) % upstreams
						to = conns[next]
					}
					to.Commit(copy(to.Next(), batch[i].Data), asker)
				}
			}})
			ping(b, c.LocalAddr().Port(), 256)
		})
	}
}

func benchGroup(b *testing.B, plain bool, addr string, window int) {
	g, err := NewGroup(GroupConfig{Plain: plain})
	if err != nil {
		b.Fatal(err)
	}
	c, err := g.Listen(netip.MustParseAddrPort(addr), ListenConfig{})
	if err != nil {
		b.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- g.Run(echo{}) }()
	ping(b, c.LocalAddr().Port(), window)
	_ = g.Close()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}

// benchBare is the loop of bench/cmd/udpecho.
func benchBare(b *testing.B, window int) {
	fd, port := bareSocket(b)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread()
		m := newMmsg(DefaultBatch, DefaultMaxPacket)
		in := m.single.hdrs[wantPeer]
		for {
			n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&in[0])), uintptr(len(in)), unix.MSG_WAITFORONE, 0, 0)
			if errno == unix.EINTR {
				continue
			}
			if errno != 0 || in[0].len == 0 {
				return
			}
			for i := range int(n) {
				m.single.iovs[i].SetLen(int(in[i].len))
			}
			unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&in[0])), n, 0, 0, 0)
			for i := range int(n) {
				m.single.iovs[i].SetLen(DefaultMaxPacket)
				in[i].hdr.Namelen = uint32(len(m.single.names[i]))
			}
		}
	}()
	ping(b, port, window)
	self, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	_ = unix.Sendto(self, nil, 0, &unix.SockaddrInet4{Port: int(port), Addr: [4]byte{127, 0, 0, 1}}) // an empty one ends it
	<-ended
	unix.Close(self)
	unix.Close(fd)
}

func bareSocket(b *testing.B) (int, uint16) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	for _, option := range []int{unix.SO_RCVBUF, unix.SO_SNDBUF} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, DefaultBuffer); err != nil {
			b.Fatal(err)
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		b.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		b.Fatal(err)
	}
	return fd, uint16(sa.(*unix.SockaddrInet4).Port)
}

// ping has at most window datagrams of 64 bytes under way until b.N came back.
func ping(b *testing.B, port uint16, window int) {
	fd, _ := bareSocket(b)
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(port), Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		b.Fatal(err)
	}
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 2})
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	m := newMmsg(DefaultBatch, DefaultMaxPacket)
	out, in := m.sendHdrs, m.single.hdrs[wantData]
	for i := range out {
		m.sendIovs[i].Base = &m.single.bufs[i][0]
		m.sendIovs[i].SetLen(64)
		out[i].hdr.Namelen = 0
		out[i].hdr.SetControllen(0)
	}
	b.ReportAllocs()
	b.ResetTimer()
	var before, after unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &before)
	start := time.Now()
	sent, back := 0, 0
	for back < b.N {
		for n := min(b.N-sent, window-(sent-back), len(out)); n > 0; n = min(b.N-sent, window-(sent-back), len(out)) {
			k, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&out[0])), uintptr(n), 0, 0, 0)
			if errno != 0 {
				b.Fatal(errno)
			}
			sent += int(k)
		}
		k, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&in[0])), uintptr(len(in)), unix.MSG_WAITFORONE, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			b.Fatalf("%d of %d datagrams did not come back: %v", sent-back, sent, errno)
		}
		back += int(k)
	}
	elapsed := time.Since(start)
	unix.Getrusage(unix.RUSAGE_SELF, &after)
	cpu := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	b.ReportMetric(float64(cpu)/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(b.N)/elapsed.Seconds(), "packets/s")
}
