package bgp

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Stop takes everything out of the routing (A14): demote, half of drain_time,
// withdraw, half of drain_time. Where nobody hears us it does not wait. When
// ctx ends, everything is withdrawn at once and its error is returned. The
// speakers live on, with nothing to announce, until Close.
func (c *Controller) Stop(ctx context.Context) error {
	rest := c.beginStop()
	for {
		c.mu.Lock()
		waiting, changed := c.engine.waiting(), c.changed
		c.mu.Unlock()
		if !waiting {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			c.step(func(time.Time) { c.engine.hurry() })
			return ctx.Err()
		}
	}
	select {
	case <-time.After(rest):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// beginStop starts every entry's last drain and returns how long to wait after
// the withdrawals.
func (c *Controller) beginStop() (rest time.Duration) {
	heard := slices.ContainsFunc(c.announcer.Neighbors(), func(n NeighborStatus) bool { return n.State == Established })
	c.step(func(now time.Time) {
		if c.engine.stopping.IsZero() {
			c.engine.stopping = now
		}
		if !heard {
			c.engine.hurry()
			return
		}
		for _, x := range c.engine.entries {
			if x.decision.State != Withdrawn {
				rest = max(rest, x.config.DrainTime/2)
			}
		}
	})
	c.poke()
	return rest
}

// Close withdraws what still stands, ends the sessions and the speakers, and
// notes in the memory that this was a clean end. It waits for everything.
func (c *Controller) Close() error {
	c.step(func(now time.Time) {
		if c.engine.stopping.IsZero() {
			c.engine.stopping = now
		}
		c.engine.hurry()
	})
	c.mu.Lock()
	again := c.closed
	c.closed = true
	c.cancel() // under the lock, with which goDo looks at it
	c.mu.Unlock()
	if again {
		return errors.New("closing bgp: closed already")
	}
	err := c.announcer.Close()
	c.done.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.store(time.Now(), false)
	return errors.Join(err, c.save.flush())
}
