package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"

	"sereno/cmd/sereno/internal/admin"
	"sereno/config"
	"sereno/health"
)

// front is a DNS or RADIUS service as the rest of the node sees it.
type front interface {
	name() string
	kind() string // "dns" or "radius"
	Start() error
	// update makes the front what the section of c called name says, or changes
	// nothing. Another name than before renames it.
	update(n *Node, name string, c *config.Config, pools poolSet) error
	// retired are addresses that an update took away and that are still open.
	retired() []socket
	// closesAtOnce tells whether an address that an update takes away is free when
	// the update has returned.
	closesAtOnce() bool
	// Close answers what is in flight until ctx ends, then closes.
	Close(ctx context.Context) error
	// Packets is how many datagrams its workers have read so far.
	Packets() uint64
	// Turns is how many turns each of its workers' loops has finished so far.
	Turns() []uint64
	// judged is the front as health judges it.
	judged() health.Service
	// status fills in the front's part of the status API.
	status() admin.Service
	// answeredWell counts the requests for the books of availability.
	answeredWell(within config.GoodWithinConfig) requests
	// alarms are what is wrong in the front, beside what judged says; stands tells
	// whether one stood until now. Their subject is the front.
	alarms(stands func(name string) bool) []alarm
	// measure adds the front's figures, taken at one moment.
	measure(*admin.Snapshot, config.GoodWithinConfig)
}

// description names one front of a configuration.
type description struct{ kind, name string }

// frontsOf lists the fronts that c describes, DNS first, in its order.
func frontsOf(c *config.Config) []description {
	var out []description
	for i := range c.DNS {
		out = append(out, description{"dns", c.DNS[i].Name})
	}
	for i := range c.RADIUS {
		out = append(out, description{"radius", c.RADIUS[i].Name})
	}
	return out
}

// open builds a front and opens its sockets.
func (n *Node) open(d description, c *config.Config, pools poolSet) (front, error) {
	build := n.newDNS
	if d.kind == "radius" {
		build = n.newRADIUS
	}
	f, err := build(d.name, c, pools)
	if err != nil {
		return nil, err
	}
	return f, listeningHint(f.Start())
}

// listeningHint says of an error what most often helps.
func listeningHint(err error) error {
	var op *net.OpError
	switch {
	case !errors.As(err, &op) || !errors.Is(op, fs.ErrPermission):
		return err
	case op.Net == "unix":
		return fmt.Errorf("%w (make its directory writable for this user, or name another place with admin.socket)", err)
	}
	return fmt.Errorf("%w (ports below 1024 need CAP_NET_BIND_SERVICE: the systemd unit gives it, or `setcap cap_net_bind_service=+ep` on the binary)", err)
}

// listening adds one listening address to a list, once.
func listening(list []string, addr string) []string {
	for _, have := range list {
		if have == addr {
			return list
		}
	}
	return append(list, addr)
}
