package bgp

import (
	"time"

	"golang.org/x/sys/unix"
)

// uptime is CLOCK_BOOTTIME: the same clock in this process and in its children,
// which no clock setting moves and which goes on while the host is suspended.
func uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("reading CLOCK_BOOTTIME: " + err.Error()) // every Linux since 2.6.39 has it
	}
	return time.Duration(ts.Nano())
}

// Uptime is time since the host's boot, suspended time included: the clock of
// the lease's stamps.
func Uptime() time.Duration { return uptime() }
