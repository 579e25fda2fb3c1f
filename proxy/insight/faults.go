package insight

import (
	"encoding/hex"
	"fmt"
	"path"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"

	"go.uber.org/zap"
)

// maxStack is how much of a stack is logged, in bytes.
const maxStack = 4096

// Faults counts panics that were caught while a packet was handled, and logs them: each place in the code once, and
// then one line a minute with their number. Safe for concurrent use.
type Faults struct {
	repeats *Repeats
	total   atomic.Uint64
}

// NewFaults logs through r.
func NewFaults(r *Repeats) *Faults { return &Faults{repeats: r} }

// Total is how many there were.
func (f *Faults) Total() uint64 { return f.total.Load() }

// Caught is told what recover gave, in the deferred function itself, and the packet at hand, nil if there was none. The
// packet's owner has masked what is secret in it.
func (f *Faults) Caught(fault any, packet []byte) {
	f.total.Add(1)
	f.repeats.Line(zap.ErrorLevel, "a fault of ours cost a packet", zap.String("at", faultPlace())).Say(func() []zap.Field {
		stack := debug.Stack()
		return []zap.Field{
			zap.String("fault", fmt.Sprint(fault)), zap.String("packet", hex.EncodeToString(packet)),
			zap.ByteString("stack", stack[:min(len(stack), maxStack)]),
		}
	})
}

// faultPlace is where the code panicked: the first frame below the runtime's.
func faultPlace() string {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	panicked := false
	for {
		frame, more := frames.Next()
		inRuntime := strings.HasPrefix(frame.Function, "runtime.")
		if panicked && !inRuntime {
			return path.Join(path.Base(path.Dir(frame.File)), path.Base(frame.File)) + ":" + strconv.Itoa(frame.Line)
		}
		panicked = panicked || frame.Function == "runtime.gopanic"
		if !more {
			return "unknown"
		}
	}
}
