package capacity

import (
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ticks a second of the times in /proc (USER_HZ, which is 100 on every architecture of Linux).
const ticks = 100

// cpuTimes gives the user and system time that a process has used; 0: this one.
func cpuTimes(pid int) (user, system time.Duration, ok bool) {
	if pid == 0 {
		var r unix.Rusage
		if unix.Getrusage(unix.RUSAGE_SELF, &r) != nil {
			return 0, 0, false
		}
		return time.Duration(r.Utime.Nano()), time.Duration(r.Stime.Nano()), true
	}
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0, false
	}
	// The second field is the command in brackets, and may hold anything.
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) < 13 {
		return 0, 0, false
	}
	u, err1 := strconv.ParseInt(f[11], 10, 64)
	s, err2 := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(u) * time.Second / ticks, time.Duration(s) * time.Second / ticks, err1 == nil && err2 == nil
}

// commandOf is the name of a process.
func commandOf(pid int) string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	if err != nil {
		return strconv.Itoa(pid)
	}
	return strings.TrimSpace(string(b))
}

func systemName() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "linux"
	}
	return "Linux " + unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Machine[:])
}

// machineTimes gives what all processors together were idle, and how long they have been running, in ticks.
func machineTimes() (idle, total uint64) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	head, _, _ := strings.Cut(string(b), "\n")
	f := strings.Fields(head)
	// After the eighth column come the guests' times, which are in the first two as well.
	for i := 1; i < len(f) && i <= 8; i++ {
		n, err := strconv.ParseUint(f[i], 10, 64)
		if err != nil {
			return 0, 0
		}
		total += n
		if i == 4 || i == 5 { // idle, and waiting for a disk
			idle += n
		}
	}
	return idle, total
}
