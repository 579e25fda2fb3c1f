package app

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"go.uber.org/zap"

	"sereno/bgp"
	"sereno/config"
)

// assign puts the anycast addresses on their interfaces (A23), before anything
// listens on them, and takes away what a run that was killed has left there, unless
// that cannot be read: an address that stays is less than a node that does not start.
func (n *Node) assign(c *config.Config) (err error) {
	if n.addresses, err = bgp.NewAddresses(n.state.path, n.log); err != nil {
		n.log.Error("which addresses an earlier run has put on interfaces cannot be read: they stay there", zap.Error(err))
	}
	return assigning(n.addresses.Apply(c.Anycast))
}

// assigning says of an error where it comes from, and what may help.
func assigning(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("anycast[].assign: %w (it needs CAP_NET_ADMIN)", err)
	}
	return fmt.Errorf("anycast[].assign: %w", err)
}

// assignMore adds the addresses of next to those of running; none leaves yet.
func (n *Node) assignMore(running, next *config.Config) error {
	return assigning(n.addresses.Apply(slices.Concat(next.Anycast, running.Anycast)))
}

// assignLess takes away the addresses that running had and the configuration
// has no more, once routers have had the time to follow the withdrawal.
func (n *Node) assignLess(running *config.Config) {
	assigned, wait := false, time.Duration(0)
	for i := range running.Anycast {
		if running.Anycast[i].Assign != "" {
			assigned, wait = true, max(wait, running.Anycast[i].DrainTime/2)
		}
	}
	if !assigned {
		return
	}
	n.leaving.Go(func() {
		select {
		case <-time.After(wait):
		case <-n.done:
			return // the stop takes all of them away
		}
		// A reload that is under way has put addresses there that are not in the shape yet.
		n.change.Lock()
		defer n.change.Unlock()
		if err := n.addresses.Apply(n.shape.Load().config.Anycast); err != nil {
			n.log.Error("taking addresses from their interface", zap.Error(err))
		}
	})
}

// unassign takes away every address that assign put somewhere: the last step
// of a stop.
func (n *Node) unassign() {
	if n.addresses == nil {
		return
	}
	if err := n.addresses.Release(); err != nil {
		n.log.Error("taking addresses from their interface", zap.Error(err))
	}
}
