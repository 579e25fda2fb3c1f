// Command udpecho sends every datagram back to where it came from, on one core, with nothing but recvmmsg and sendmmsg.
// It is the reference of the performance comparisons: what the kernel alone costs for a datagram in and one out, which
// no server on the same machine can beat.
package main

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// packetSize is the longest datagram that comes back whole, in bytes; what is longer comes back cut off.
const packetSize = 4096

type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

func main() {
	listen := flag.String("listen", "127.0.0.1:5353", "`address:port` to echo on; 0.0.0.0 and [::] are not for hosts with several addresses")
	batch := flag.Int("batch", 64, "datagrams for each system call, 1..1024")
	buffer := flag.Int("buffer", 4<<20, "socket buffer in `bytes`, each direction")
	flag.Parse()
	runtime.LockOSThread()
	if err := run(*listen, *batch, *buffer); err != nil {
		fmt.Fprintln(os.Stderr, "udpecho:", err)
		os.Exit(1)
	}
}

func run(listen string, batch, buffer int) error {
	addr, err := netip.ParseAddrPort(listen)
	if err != nil {
		return fmt.Errorf("reading -listen: %w", err)
	}
	if batch < 1 || batch > 1024 {
		return fmt.Errorf("-batch %d is not in 1..1024", batch)
	}
	fd, err := open(addr, buffer)
	if err != nil {
		return err
	}
	return echo(fd, batch)
}

func open(addr netip.AddrPort, buffer int) (int, error) {
	family, sa := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()})
	if addr.Addr().Is4() {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("opening a socket: %w", err)
	}
	for _, option := range []int{unix.SO_RCVBUF, unix.SO_SNDBUF} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, buffer); err != nil {
			return -1, fmt.Errorf("setting the socket's buffers: %w", err)
		}
	}
	if err := unix.Bind(fd, sa); err != nil {
		return -1, fmt.Errorf("binding to %s: %w", addr, err)
	}
	return fd, nil
}

// echo never returns without an error. The kernel writes name and length where sendmmsg reads them.
func echo(fd, batch int) error {
	msgs := make([]mmsghdr, batch)
	iovs := make([]unix.Iovec, batch)
	names := make([][unix.SizeofSockaddrInet6]byte, batch)
	data := make([]byte, batch*packetSize)
	for i := range msgs {
		iovs[i].Base = &data[i*packetSize]
		iovs[i].SetLen(packetSize)
		h := &msgs[i].hdr
		h.Iov, h.Name, h.Namelen = &iovs[i], &names[i][0], uint32(len(names[i]))
		h.SetIovlen(1)
	}
	for {
		n, errno := call(unix.SYS_RECVMMSG, fd, msgs, unix.MSG_WAITFORONE)
		if errno != 0 {
			return fmt.Errorf("receiving: %w", errno)
		}
		for i := range n {
			iovs[i].SetLen(int(msgs[i].len))
		}
		for at := 0; at < n; {
			k, errno := call(unix.SYS_SENDMMSG, fd, msgs[at:n], 0)
			if errno != 0 {
				k = 1 // this one cannot be sent: the others can
			}
			at += k
		}
		for i := range n {
			iovs[i].SetLen(packetSize)
			msgs[i].hdr.Namelen = uint32(len(names[i]))
		}
	}
}

func call(trap uintptr, fd int, msgs []mmsghdr, flags uintptr) (int, unix.Errno) {
	for {
		n, _, errno := unix.Syscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), flags, 0, 0)
		if errno != unix.EINTR {
			return int(n), errno
		}
	}
}
