package capacity

import (
	"os"
	"runtime"
	"time"
)

// CPU is what one process used for each request that was sent, in microseconds.
type CPU struct {
	Process string  `json:"process"` // "generator", or a server's command
	User    float64 `json:"user_us"`
	System  float64 `json:"system_us"`
}

// usage looks at the times of this process and of the servers that are named.
type usage struct {
	pids  []int
	names []string
	first usageTimes
}

type cpuTime struct {
	user, system time.Duration
	ok           bool
}

// usageTimes are the times at one moment.
type usageTimes struct {
	u           *usage
	times       []cpuTime
	idle, total uint64 // of the machine; 0: not known
}

func newUsage(servers []int) *usage {
	u := &usage{pids: []int{0}, names: []string{"generator"}}
	for _, pid := range servers {
		u.pids = append(u.pids, pid)
		u.names = append(u.names, commandOf(pid))
	}
	u.first = u.now()
	return u
}

func (u *usage) now() usageTimes {
	t := usageTimes{u: u}
	for _, pid := range u.pids {
		user, system, ok := cpuTimes(pid)
		t.times = append(t.times, cpuTime{user, system, ok})
	}
	t.idle, t.total = machineTimes()
	return t
}

// since is what each process used since before, for each of that many requests.
func (t usageTimes) since(before usageTimes, requests uint64) []CPU {
	used := []CPU{}
	if requests == 0 {
		return used
	}
	for i, now := range t.times {
		then := before.times[i]
		if !now.ok || !then.ok {
			continue
		}
		per := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 / float64(requests) }
		used = append(used, CPU{t.u.names[i], per(now.user - then.user), per(now.system - then.system)})
	}
	return used
}

// idleSince is the share of the machine's processors that had nothing to do since before; 1 where it is not known.
func (t usageTimes) idleSince(before usageTimes) float64 {
	if t.total <= before.total {
		return 1
	}
	return float64(t.idle-before.idle) / float64(t.total-before.total)
}

func thisHost() Host {
	name, _ := os.Hostname()
	return Host{Name: name, System: systemName(), CPUs: runtime.NumCPU(), Go: runtime.Version()}
}
