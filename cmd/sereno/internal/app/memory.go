package app

import (
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"sereno/config"
	"sereno/proxy/dnsfront"
	"sereno/proxy/radiusfront"
	"sereno/proxy/udp"
)

// speakerMemory is what one BGP speaker usually takes, in bytes: the control group's limit is theirs too.
const speakerMemory = 32 << 20

// connectionMemory is what one DNS client's connection takes that asks for nothing, in bytes: 9 KiB over TCP, 14 over
// HTTPS, 17 over TLS.
const connectionMemory = 16 << 10

// memory sets where the runtime's collector begins to work hard (runtime/debug.SetMemoryLimit): at GOMEMLIMIT or, without
// it, at nine tenths of what the control group may take, less what the DNS caches and the RADIUS services of c take outside
// the heap, which the runtime does not count, and less the speakers in the group. So a flood meets more collections instead of the kernel's
// killer. Without either limit nothing is set. It is called again before a reload makes other caches.
func (n *Node) memory(c *config.Config) {
	if n.o.Cores == 0 { // the process is not the node's
		return
	}
	if n.allowed == 0 {
		n.allowed = debug.SetMemoryLimit(-1) // GOMEMLIMIT
		if n.allowed == math.MaxInt64 {
			n.allowed = groupLimit(os.DirFS("/")) / 10 * 9
			n.shared = true
		}
	}
	if n.allowed == 0 {
		return
	}
	var outside int64
	for i := range c.DNS {
		outside += dnsfront.CacheMemory(&c.DNS[i].Cache)
	}
	outside += radiusfront.BufferMemory(n.o.Cores) * int64(len(c.RADIUS))
	if n.shared {
		outside += speakerMemory * int64(len(c.BGP.Neighbors))
	}
	heap, fits := heapLimit(n.allowed, outside)
	debug.SetMemoryLimit(heap)
	n.heap = heap
	if !fits {
		n.log.Warn("DNS caches and RADIUS buffers may take more than three quarters of the memory limit: lower cache.entries, or raise the limit",
			zap.Int64("limit_bytes", n.allowed), zap.Int64("outside_bytes", outside))
	}
}

// shares is into how many the heap's limit is divided. All bounds together, full at once, are some twelve of them: the
// collector needs the others, or it works in vain and takes the cores from those who serve.
const shares = 20

// share is what one of a kind of bounds may take of the heap's limit: so many shares, divided by the services of the kind,
// but never more than most. Without a limit it is most.
func (n *Node) share(parts int64, services int, most int64) int64 {
	if n.heap == 0 {
		return most
	}
	return min(most, n.heap*parts/shares/int64(max(1, services)))
}

// unsent is what each worker of a service may take for datagrams that wait to be sent.
func (n *Node) unsent(services int) int {
	workers := int64(max(1, n.o.Cores))
	return int(n.share(1, services, udp.DefaultMaxUnsent*workers) / workers)
}

// heapLimit is what is left of allowed for the runtime: at least a quarter. fits is false where that is not left.
func heapLimit(allowed, outside int64) (heap int64, fits bool) {
	least := allowed / 4
	return max(allowed-outside, least), allowed-outside >= least
}

// groupLimit is the least memory.max of this process's control group and those above it (cgroup v2), in bytes; 0: there is
// none. In a container the root is the container's own group.
func groupLimit(root fs.FS) int64 {
	text, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0
	}
	var least int64
	for line := range strings.Lines(string(text)) {
		group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue
		}
		for dir := path.Join("sys/fs/cgroup", path.Clean("/"+group)); dir != "sys/fs"; dir = path.Dir(dir) {
			text, err := fs.ReadFile(root, dir+"/memory.max")
			if err != nil {
				continue // the root has none
			}
			most, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
			if err == nil && most > 0 && (least == 0 || most < least) { // "max" is no number
				least = most
			}
		}
	}
	return least
}
