package app

import (
	"testing"
	"testing/fstest"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"sereno/config"
	"sereno/proxy/dnsfront"
)

func TestO30TheControlGroupsLimitIsFound(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	for name, tt := range map[string]struct {
		files fstest.MapFS
		want  int64
	}{
		"a unit": {fstest.MapFS{
			"proc/self/cgroup": file("0::/system.slice/sereno.service\n"), "sys/fs/cgroup/system.slice/memory.max": file("max\n"),
			"sys/fs/cgroup/system.slice/sereno.service/memory.max": file("1073741824\n"),
		}, 1 << 30},
		"a slice that has less": {fstest.MapFS{
			"proc/self/cgroup": file("0::/system.slice/sereno.service\n"), "sys/fs/cgroup/system.slice/memory.max": file("536870912\n"),
			"sys/fs/cgroup/system.slice/sereno.service/memory.max": file("1073741824\n"),
		}, 1 << 29},
		"a container":   {fstest.MapFS{"proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/memory.max": file("268435456\n")}, 1 << 28},
		"no limit":      {fstest.MapFS{"proc/self/cgroup": file("0::/x\n"), "sys/fs/cgroup/x/memory.max": file("max\n")}, 0},
		"another kind":  {fstest.MapFS{"proc/self/cgroup": file("4:memory:/x\n1:cpu:/\n"), "sys/fs/cgroup/memory.max": file("5\n")}, 0},
		"a strange one": {fstest.MapFS{"proc/self/cgroup": file("0::/../../etc\n"), "sys/fs/cgroup/etc/memory.max": file("-1\n")}, 0},
		"none":          {fstest.MapFS{}, 0},
	} {
		if got := groupLimit(tt.files); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}

func TestO30WhatIsLeftForTheHeap(t *testing.T) {
	for _, tt := range []struct {
		allowed, outside, heap int64
		fits                   bool
	}{{1000, 0, 1000, true}, {1000, 300, 700, true}, {1000, 750, 250, true}, {1000, 751, 250, false}, {1000, 5000, 250, false}} {
		if heap, fits := heapLimit(tt.allowed, tt.outside); heap != tt.heap || fits != tt.fits {
			t.Errorf("%d of %d outside: %d, %v", tt.outside, tt.allowed, heap, fits)
		}
	}
}

// TestO30ConnectionsFitIntoTheMemoryLimit: as many as are configured, and not more than three shares of the heap are for.
func TestO30ConnectionsFitIntoTheMemoryLimit(t *testing.T) {
	c := &config.Config{DNS: []dnsfront.Config{{Name: "a"}, {Name: "b"}}}
	for i := range c.DNS {
		c.DNS[i].TCP.MaxConnections = 10_000
	}
	for heap, want := range map[int64]int{0: 10_000, 4 << 30: 10_000, 256 << 20: 1228} {
		core, said := observer.New(zap.WarnLevel)
		n := &Node{log: zap.New(core), first: c, heap: heap, state: &stateDir{}}
		o, _ := n.dnsOptions("a", c, nil) // its pool is not there
		if got := o.Config.TCP.MaxConnections; got != want || (said.Len() > 0) != (want < 10_000) {
			t.Errorf("a heap of %d: %d connections, %v", heap, got, said.All())
		}
	}
	if c.DNS[0].TCP.MaxConnections != 10_000 {
		t.Error("the configuration itself was changed")
	}
}
