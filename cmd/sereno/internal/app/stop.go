package app

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// lastAnswers is how long a stop waits for what is still in flight after the
// routes are gone: longer than any pool's timeout needs to be.
const lastAnswers = 10 * time.Second

// stop takes the node out of the routing and then down (A14): demote, wait,
// withdraw, wait, answer what is in flight, close. When ctx ends, everything is
// withdrawn and closed at once.
func (n *Node) stop(ctx context.Context) {
	n.change.Lock() // a change that has begun is ended; none begins after it
	n.stopping.Store(true)
	n.change.Unlock()
	if err := n.routes.Stop(ctx); err != nil {
		n.log.Warn("the routes were withdrawn without waiting", zap.Error(err))
	}
	n.closeAll(ctx)
}

// closeAll closes what is open, in order; also a node that did not start whole.
func (n *Node) closeAll(ctx context.Context) {
	close(n.done)
	ctx, cancel := context.WithTimeout(ctx, lastAnswers)
	defer cancel()
	defer context.AfterFunc(ctx, n.kill)()
	defer n.kill()
	if n.books != nil {
		n.books.close() // the node ends: from here on nobody knows
	}
	if n.services != nil {
		n.services.Close() // a service that is being closed is not a sick one
	}
	if s := n.shape.Load(); s != nil {
		n.closeFronts(ctx, s)
	}
	n.leaving.Wait()
	if n.routes != nil {
		if err := n.routes.Close(); err != nil {
			n.log.Warn("closing the BGP sessions", zap.Error(err))
		}
	}
	if n.monitor != nil {
		n.monitor.Close()
	}
	if n.door != nil {
		if err := n.door.Close(ctx); err != nil {
			n.log.Warn("closing the API", zap.Error(err))
		}
	}
	n.ticking.Wait()
	if n.drains != nil {
		_ = n.drains.save() // the last chance of what the disk did not take; that was said
	}
	n.unassign()
	if n.state != nil {
		if err := n.state.Close(); err != nil {
			n.log.Warn("unlocking node.state_dir", zap.Error(err))
		}
	}
}

// closeFronts lets all services answer what they have in flight, side by side.
func (n *Node) closeFronts(ctx context.Context, s *shape) {
	ended := make(chan struct{})
	for _, f := range s.fronts {
		go func() {
			if err := f.Close(ctx); err != nil {
				n.log.Warn("closing a service", zap.String("service", f.name()), zap.Error(err))
			}
			ended <- struct{}{}
		}()
	}
	for range s.fronts {
		<-ended
	}
}
