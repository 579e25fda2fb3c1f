package load

import (
	"net"
	"net/netip"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// precise makes the calling goroutine's naps exact until done: it gets a thread of its own, whose timers the kernel does
// not put off (by 50 µs, usually). The thread is given back, because one that ends takes every process with it that was
// started by it and wants so (Pdeathsig).
func precise() (done func()) {
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	return func() {
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) // the default again
		runtime.UnlockOSThread()
	}
}

// sockaddr is the address for a system call. A zone is an interface's number or name.
func sockaddr(a netip.Addr, port uint16) unix.Sockaddr {
	a4 := a.Unmap()
	if a4.Is4() {
		return &unix.SockaddrInet4{Port: int(port), Addr: a4.As4()}
	}
	s := &unix.SockaddrInet6{Port: int(port), Addr: a.As16()}
	if zone := a.Zone(); zone != "" {
		s.ZoneId = zoneID(zone)
	}
	return s
}

func zoneID(zone string) uint32 {
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	if i, err := net.InterfaceByName(zone); err == nil {
		return uint32(i.Index)
	}
	return 0
}
