//go:build !linux

package capacity

import (
	"runtime"
	"strconv"
	"time"
)

func cpuTimes(int) (user, system time.Duration, ok bool) { return 0, 0, false }

func commandOf(pid int) string { return strconv.Itoa(pid) }

func systemName() string { return runtime.GOOS + " " + runtime.GOARCH }

func machineTimes() (idle, total uint64) { return 0, 0 }
