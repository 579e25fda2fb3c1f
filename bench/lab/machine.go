package lab

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"
)

// machine measures how long a thread that wants to run has to wait for the machine to let it. That a node says that it
// stood still could be the node's own fault; that this process did is not.
type machine struct{ waited, longest atomic.Int64 }

// measure goes on until ctx ends.
func measure(ctx context.Context) *machine {
	m := &machine{}
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		const nap = 5 * time.Millisecond
		for ctx.Err() == nil {
			start := time.Now()
			time.Sleep(nap)
			if late := time.Since(start) - nap; late > nap {
				m.waited.Add(int64(late))
				m.longest.Store(max(m.longest.Load(), int64(late)))
			}
		}
	}()
	return m
}

func (m *machine) wait() time.Duration { return time.Duration(m.waited.Load()) }

// stall gives the longest wait since it was asked last.
func (m *machine) stall() time.Duration { return time.Duration(m.longest.Swap(0)) }
