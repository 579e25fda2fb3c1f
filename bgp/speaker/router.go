package speaker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/apiutil"
	"github.com/osrg/gobgp/v3/pkg/server"

	"sereno/bgp"
)

// RouterConfig is the router of the demonstration.
type RouterConfig struct {
	ASN      uint32
	RouterID string         // an IPv4 address
	Listen   netip.AddrPort // port 0: a free one, told in the event "listening"
	PeerASN  uint32         // of whoever connects
	Accept   []netip.Prefix // sources that may connect; default 127.0.0.0/8
}

// RouterEvent is one line of the router's output.
type RouterEvent struct {
	At               time.Time `json:"at"`
	Event            string    `json:"event"` // listening, session-up, session-down, announced (again when its attributes change), withdrawn
	Address          string    `json:"address,omitempty"`
	Peer             string    `json:"peer,omitempty"`
	Prefix           string    `json:"prefix,omitempty"`
	MED              uint32    `json:"med"`
	ASPath           []uint32  `json:"as_path,omitempty"`
	Communities      []string  `json:"communities,omitempty"`
	LargeCommunities []string  `json:"large_communities,omitempty"`
}

// RunRouter is the body of the hidden command `sereno bgp-router`: a BGP
// router that accepts sessions, announces nothing, and writes a line of JSON
// to out for each session and route that comes or goes. It returns when ctx
// ends, or when stdin (nil: none) ends, so that it cannot outlive its parent.
// The process should end with it: GoBGP leaves a goroutine behind.
func RunRouter(ctx context.Context, c RouterConfig, stdin io.Reader, out io.Writer) error {
	debug.SetMemoryLimit(memoryLimit)
	if err := os.Setenv("GODEBUG", "multipathtcp=0"); err != nil {
		return fmt.Errorf("starting router: %w", err)
	}
	if len(c.Accept) == 0 {
		c.Accept = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}
	r := &router{out: json.NewEncoder(out)}
	s := server.NewBgpServer(server.LoggerOption(&logger{out: io.Discard}))
	go s.Serve()
	at, err := listen(ctx, s, c, freePort)
	if err == nil {
		err = r.start(ctx, s, c)
	}
	if err != nil {
		return fmt.Errorf("starting router: %w", err)
	}
	r.write(RouterEvent{Event: "listening", Address: at.String()})
	ended := make(chan struct{})
	if stdin != nil {
		go func() {
			defer close(ended)
			_, _ = io.Copy(io.Discard, stdin) // any end is the end
		}()
	}
	select {
	case <-ctx.Done():
	case <-ended:
	}
	stopped := make(chan error, 1)
	go func() { stopped <- s.StopBgp(context.Background(), &api.StopBgpRequest{}) }()
	select {
	case err := <-stopped:
		if err != nil {
			return fmt.Errorf("stopping router: %w", err)
		}
	case <-time.After(time.Second):
		return errors.New("stopping router: gobgp does not answer")
	}
	return r.failure()
}

// listen starts BGP where c says, and tells where that is. A port that free finds may be another's a moment later.
func listen(ctx context.Context, s *server.BgpServer, c RouterConfig, free func(netip.Addr) (uint16, error)) (netip.AddrPort, error) {
	for tries := 10; ; tries-- {
		at := c.Listen
		if at.Port() == 0 {
			port, err := free(at.Addr())
			if err != nil {
				return at, err
			}
			at = netip.AddrPortFrom(at.Addr(), port)
		}
		err := s.StartBgp(ctx, &api.StartBgpRequest{Global: &api.Global{Asn: c.ASN, RouterId: c.RouterID,
			ListenPort: int32(at.Port()), ListenAddresses: []string{at.Addr().String()}}})
		if tries == 1 || c.Listen.Port() != 0 || !errors.Is(err, syscall.EADDRINUSE) {
			return at, err
		}
	}
}

// freePort asks the kernel for a port, because GoBGP takes 0 for 179.
func freePort(a netip.Addr) (uint16, error) {
	l, err := net.Listen("tcp", netip.AddrPortFrom(a, 0).String())
	if err != nil {
		return 0, err
	}
	port := netip.MustParseAddrPort(l.Addr().String()).Port()
	return port, l.Close()
}

type router struct {
	mu  sync.Mutex
	out *json.Encoder
	err error
}

func (r *router) start(ctx context.Context, s *server.BgpServer, c RouterConfig) error {
	if err := s.WatchEvent(ctx, &api.WatchEventRequest{Peer: &api.WatchEventRequest_Peer{},
		Table: &api.WatchEventRequest_Table{Filters: []*api.WatchEventRequest_Table_Filter{{Type: api.WatchEventRequest_Table_Filter_BEST}}}},
		r.event); err != nil {
		return err
	}
	const group = "nodes"
	if err := s.AddPeerGroup(ctx, &api.AddPeerGroupRequest{PeerGroup: &api.PeerGroup{
		Conf:   &api.PeerGroupConf{PeerGroupName: group, PeerAsn: c.PeerASN},
		Timers: &api.Timers{Config: &api.TimersConfig{HoldTime: 9, KeepaliveInterval: 3, IdleHoldTimeAfterReset: 1, ConnectRetry: 1}},
		AfiSafis: []*api.AfiSafi{
			{Config: &api.AfiSafiConfig{Family: family(bgp.IPv4), Enabled: true}},
			{Config: &api.AfiSafiConfig{Family: family(bgp.IPv6), Enabled: true}},
		}}}); err != nil {
		return err
	}
	for _, p := range c.Accept {
		if err := s.AddDynamicNeighbor(ctx, &api.AddDynamicNeighborRequest{DynamicNeighbor: &api.DynamicNeighbor{Prefix: p.String(), PeerGroup: group}}); err != nil {
			return err
		}
	}
	return nil
}

func (r *router) event(e *api.WatchEventResponse) {
	if p := e.GetPeer(); p != nil && p.Type == api.WatchEventResponse_PeerEvent_STATE {
		switch p.Peer.State.SessionState {
		case api.PeerState_ESTABLISHED:
			r.write(RouterEvent{Event: "session-up", Peer: p.Peer.State.NeighborAddress})
		case api.PeerState_IDLE:
			r.write(RouterEvent{Event: "session-down", Peer: p.Peer.State.NeighborAddress})
		}
	}
	for _, p := range e.GetTable().GetPaths() {
		nlri, err := apiutil.GetNativeNlri(p)
		if err != nil {
			continue // an end-of-RIB marker
		}
		ev := RouterEvent{Event: "withdrawn", Prefix: nlri.String(), Peer: p.NeighborIp}
		if !p.IsWithdraw {
			ev.Event = "announced"
			route, asns, err := readPath(nlri.String(), p)
			if err != nil {
				continue // not a unicast route
			}
			ev.MED, ev.ASPath = route.MED, asns
			for _, c := range route.Communities {
				ev.Communities = append(ev.Communities, bgp.FormatCommunity(c))
			}
			for _, c := range route.LargeCommunities {
				ev.LargeCommunities = append(ev.LargeCommunities, fmt.Sprintf("%d:%d:%d", c[0], c[1], c[2]))
			}
		}
		r.write(ev)
	}
}

func (r *router) write(e RouterEvent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.At = time.Now().UTC()
	if err := r.out.Encode(e); err != nil && r.err == nil {
		r.err = fmt.Errorf("router's output: %w", err)
	}
}

func (r *router) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}
