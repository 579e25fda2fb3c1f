package bgp

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// notePause tells by the clock that this process stood still (A16). Longer
// than the lease: the speakers have withdrawn, so the node proves itself anew.
func (c *Controller) notePause(now time.Time) {
	up := c.o.Uptime()
	gap := up - c.lastStep
	first := !c.stepped
	c.lastStep, c.stepped = up, true
	if first || gap <= c.engine.lease/3 {
		if up-c.stored >= saveEvery {
			c.store(now, true)
		}
		return
	}
	// The gap may be one beat longer than the pause; the speakers allow for it too.
	long := gap > c.engine.lease+Beat(c.engine.lease)
	if long { // shorter ones change no route, and are for health to tell
		c.log.Warn("this process stood still for longer than the lease: the routes wait for proof of health", zap.Duration("length", gap))
	}
	if c.o.OnPause != nil {
		c.goDo(func() { c.o.OnPause(gap) })
	}
	if long && c.o.Requalify != nil {
		c.engine.pause()
		c.startRequalify()
	}
}

// startRequalify asks for one proof of each required service.
func (c *Controller) startRequalify() {
	if c.requalify != nil {
		c.requalify()
	}
	ctx, cancel := context.WithCancel(c.ctx)
	c.requalify = cancel
	asked := map[string]bool{}
	for _, a := range c.engine.settings.Anycast {
		for _, name := range a.Requires {
			if asked[name] {
				continue
			}
			asked[name] = true
			c.goDo(func() {
				for ctx.Err() == nil {
					err := c.o.Requalify(ctx, name)
					if err == nil && ctx.Err() == nil {
						c.step(func(time.Time) { c.engine.prove(name) })
						return
					}
					select {
					case <-ctx.Done():
					case <-time.After(time.Second):
						c.log.Warn("proof of health after a pause", zap.String("service", name), zap.Error(err))
					}
				}
			})
		}
	}
}

// goDo runs f on a goroutine that Close waits for. It is called with the lock held.
func (c *Controller) goDo(f func()) {
	if c.ctx.Err() != nil {
		return
	}
	c.done.Add(1)
	go func() { defer c.done.Done(); f() }()
}
