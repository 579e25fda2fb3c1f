package load

import (
	"net"
	"net/netip"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// precise makes the calling goroutine's naps exact: it gets a thread of its own, which ends with the goroutine, and
// whose timers the kernel does not put off (by 50 µs, usually).
func precise() {
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
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
