package speaker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/server"

	"sereno/bgp"
)

// errStuck is a GoBGP call that missed its deadline. Its calls ignore their
// context and may block for ever, so there is no way on but to end the process.
var errStuck = errors.New("gobgp does not answer")

// idleAfterReset is how long GoBGP waits after a session fell (A18); its own
// default of 30 s is a long outage.
const idleAfterReset = 5

// gobgp is one BGP server with one neighbor. Its methods are called from one
// goroutine; each returns within timeout.
type gobgp struct {
	session bgp.Session
	log     *logger
	server  *server.BgpServer
	timeout time.Duration
	allowed map[netip.Prefix]bool // in the export policy

	mu     sync.Mutex
	states []api.PeerState_SessionState // changes not yet taken
	notify chan struct{}
}

// startBGP starts the server and its session. On an error the process should
// end: GoBGP's goroutines cannot be ended.
func startBGP(s bgp.Session, out io.Writer) (*gobgp, error) {
	g := &gobgp{session: s, log: &logger{out: out}, timeout: callTimeout(s.Lease),
		allowed: map[netip.Prefix]bool{}, notify: make(chan struct{}, 1)}
	g.server = server.NewBgpServer(server.LoggerOption(g.log))
	go g.server.Serve()
	if err := g.call("starting", func(ctx context.Context) error {
		return g.server.StartBgp(ctx, &api.StartBgpRequest{Global: global(s)})
	}); err != nil {
		return nil, err
	}
	if err := g.setPolicies(); err != nil {
		return nil, err
	}
	if err := g.call("watching", func(ctx context.Context) error {
		// The watch must outlive this call, whose ctx ends with it.
		return g.server.WatchEvent(context.WithoutCancel(ctx), &api.WatchEventRequest{Peer: &api.WatchEventRequest_Peer{}}, g.event)
	}); err != nil {
		return nil, err
	}
	return g, g.call("adding the neighbor", func(ctx context.Context) error {
		return g.server.AddPeer(ctx, &api.AddPeerRequest{Peer: peer(s)})
	})
}

// callTimeout is how long a call may take: nearly as long as the node waits for
// a speaker that is silent. A server that is busy, with a whole table or on a
// machine that is overloaded, is not a stuck one, and ending it costs a session.
func callTimeout(lease time.Duration) time.Duration {
	return min(max(lease*9/10, 500*time.Millisecond), 5*time.Second)
}

// call runs f with a deadline of our own.
func (g *gobgp) call(what string, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), g.timeout)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", what, errStuck)
	}
}

// event runs on GoBGP's goroutine: it must not block.
func (g *gobgp) event(r *api.WatchEventResponse) {
	p := r.GetPeer()
	if p == nil || p.Type != api.WatchEventResponse_PeerEvent_STATE {
		return
	}
	g.mu.Lock()
	if len(g.states) < 64 {
		g.states = append(g.states, p.Peer.State.SessionState)
	}
	g.mu.Unlock()
	select {
	case g.notify <- struct{}{}:
	default:
	}
}

func (g *gobgp) takeStates() []api.PeerState_SessionState {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.states
	g.states = nil
	return s
}

// global is the server's own part. Without `listen` there is no listener at all.
func global(s bgp.Session) *api.Global {
	g := &api.Global{Asn: s.LocalASN, RouterId: s.RouterID, ListenPort: -1}
	if s.Listen == "" {
		return g
	}
	host, port := splitListen(s.Listen)
	switch {
	case s.Source != "":
		host = s.Source
	case host == "" && s.Address.Is4():
		host = "0.0.0.0"
	case host == "":
		host = "::"
	}
	g.ListenPort, g.ListenAddresses = int32(port), []string{host}
	return g
}

// splitListen reads what bgp.Config.Validate has accepted.
func splitListen(s string) (host string, port uint16) {
	if s[0] == ':' {
		ap, _ := netip.ParseAddrPort("0.0.0.0" + s)
		return "", ap.Port()
	}
	ap, _ := netip.ParseAddrPort(s)
	return ap.Addr().String(), ap.Port()
}

// peer is the session's configuration in GoBGP's words: one family, no
// graceful restart unless asked for.
func peer(s bgp.Session) *api.Peer {
	hold := uint64(s.HoldTime / time.Second)
	p := &api.Peer{
		Conf: &api.PeerConf{NeighborAddress: s.Address.String(), PeerAsn: s.ASN, AuthPassword: s.Password},
		Timers: &api.Timers{Config: &api.TimersConfig{
			HoldTime: hold, KeepaliveInterval: max(1, hold/3),
			// GoBGP waits between once and twice this time: half of it makes
			// connect_retry the longest wait.
			ConnectRetry:           max(1, uint64(s.ConnectRetry/time.Second)/2),
			IdleHoldTimeAfterReset: idleAfterReset,
		}},
		Transport: &api.Transport{RemotePort: uint32(s.Port), LocalAddress: s.Source},
		AfiSafis:  []*api.AfiSafi{{Config: &api.AfiSafiConfig{Family: family(s.Family), Enabled: true}}},
	}
	if s.MultihopTTL > 0 {
		p.EbgpMultihop = &api.EbgpMultihop{Enabled: true, MultihopTtl: uint32(s.MultihopTTL)}
	}
	if s.TTLSecurity > 0 {
		p.TtlSecurity = &api.TtlSecurity{Enabled: true, TtlMin: uint32(s.TTLSecurity)}
	}
	if s.GracefulRestart {
		p.GracefulRestart = &api.GracefulRestart{Enabled: true, RestartTime: 120, NotificationEnabled: true}
		p.AfiSafis[0].MpGracefulRestart = &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: true}}
	}
	return p
}

// The names of the policies' parts.
const (
	everyNeighbor = "every-neighbor"
	ownPrefixes   = "own-prefixes"
)

// setPolicies makes sure that nothing of the neighbor's is used, and that
// nothing but our own prefixes is sent, whatever else may come into the table.
// A default of REJECT for imports would refuse our own routes too.
func (g *gobgp) setPolicies() error {
	r := &api.SetPoliciesRequest{
		DefinedSets: []*api.DefinedSet{
			{DefinedType: api.DefinedType_NEIGHBOR, Name: everyNeighbor, List: []string{"0.0.0.0/0", "::/0"}},
			{DefinedType: api.DefinedType_PREFIX, Name: ownPrefixes},
		},
		Policies: []*api.Policy{
			{Name: "import-nothing", Statements: []*api.Statement{{Name: "reject-neighbors",
				Conditions: &api.Conditions{NeighborSet: &api.MatchSet{Type: api.MatchSet_ANY, Name: everyNeighbor}},
				Actions:    &api.Actions{RouteAction: api.RouteAction_REJECT}}}},
			{Name: "export-own", Statements: []*api.Statement{{Name: "accept-own",
				Conditions: &api.Conditions{PrefixSet: &api.MatchSet{Type: api.MatchSet_ANY, Name: ownPrefixes}},
				Actions:    &api.Actions{RouteAction: api.RouteAction_ACCEPT}}}},
		},
	}
	if err := g.call("setting policies", func(ctx context.Context) error { return g.server.SetPolicies(ctx, r) }); err != nil {
		return err
	}
	// SetPolicies has a field for these and does not look at it.
	for _, a := range []*api.PolicyAssignment{
		{Name: "global", Direction: api.PolicyDirection_IMPORT, DefaultAction: api.RouteAction_ACCEPT, Policies: []*api.Policy{{Name: "import-nothing"}}},
		{Name: "global", Direction: api.PolicyDirection_EXPORT, DefaultAction: api.RouteAction_REJECT, Policies: []*api.Policy{{Name: "export-own"}}},
	} {
		if err := g.call("assigning policies", func(ctx context.Context) error {
			return g.server.SetPolicyAssignment(ctx, &api.SetPolicyAssignmentRequest{Assignment: a})
		}); err != nil {
			return err
		}
	}
	return nil
}

func ownSet(p netip.Prefix) *api.DefinedSet {
	n := uint32(p.Bits())
	return &api.DefinedSet{DefinedType: api.DefinedType_PREFIX, Name: ownPrefixes,
		Prefixes: []*api.Prefix{{IpPrefix: p.String(), MaskLengthMin: n, MaskLengthMax: n}}}
}

// announce adds a route or replaces its attributes, without a gap.
func (g *gobgp) announce(r bgp.Route) error {
	path, err := newPath(&g.session, r)
	if err != nil {
		return err
	}
	if !g.allowed[r.Prefix] {
		// Appended, not replaced: a policy keeps pointing at the set it was made with.
		if err := g.call("allowing "+r.Prefix.String(), func(ctx context.Context) error {
			return g.server.AddDefinedSet(ctx, &api.AddDefinedSetRequest{DefinedSet: ownSet(r.Prefix)})
		}); err != nil {
			return err
		}
		g.allowed[r.Prefix] = true
	}
	return g.call("announcing "+r.Prefix.String(), func(ctx context.Context) error {
		_, err := g.server.AddPath(ctx, &api.AddPathRequest{TableType: api.TableType_GLOBAL, Path: path})
		return err
	})
}

// withdraw takes a prefix away; one that is not there is no error.
func (g *gobgp) withdraw(p netip.Prefix) error {
	path, err := newPath(&g.session, bgp.Route{Prefix: p})
	if err != nil {
		return err
	}
	if err := g.call("withdrawing "+p.String(), func(ctx context.Context) error {
		return g.server.DeletePath(ctx, &api.DeletePathRequest{TableType: api.TableType_GLOBAL, Family: path.Family, Path: path})
	}); err != nil {
		return err
	}
	if !g.allowed[p] {
		return nil
	}
	delete(g.allowed, p)
	return g.call("disallowing "+p.String(), func(ctx context.Context) error {
		return g.server.DeleteDefinedSet(ctx, &api.DeleteDefinedSetRequest{DefinedSet: ownSet(p)})
	})
}

// table lists a table's paths: GLOBAL, ADJ_OUT or ADJ_IN.
func (g *gobgp) table(t api.TableType, each func(r bgp.Route, asns []uint32)) error {
	type item struct {
		prefix string
		path   *api.Path
	}
	r := &api.ListPathRequest{TableType: t, Family: family(g.session.Family)}
	if t != api.TableType_GLOBAL {
		r.Name = g.session.Address.String()
	}
	// The call may be left behind when it misses its deadline: it gets a list
	// of its own.
	found := make(chan []item, 1)
	if err := g.call("listing routes", func(ctx context.Context) error {
		var list []item
		err := g.server.ListPath(ctx, r, func(d *api.Destination) {
			for _, p := range d.Paths {
				list = append(list, item{d.Prefix, p})
			}
		})
		found <- list
		return err
	}); err != nil {
		return err
	}
	for _, it := range <-found {
		route, asns, err := readPath(it.prefix, it.path)
		if err != nil {
			return err
		}
		each(route, asns)
	}
	return nil
}

// peerInfo is what GoBGP says of the session.
type peerInfo struct {
	state    api.PeerState_SessionState
	received int
	hold     uint64 // negotiated, in seconds
}

func (g *gobgp) peer() (peerInfo, error) {
	found := make(chan peerInfo, 1)
	err := g.call("asking for the neighbor", func(ctx context.Context) error {
		var info peerInfo
		err := g.server.ListPeer(ctx, &api.ListPeerRequest{Address: g.session.Address.String()}, func(p *api.Peer) {
			info.state, info.hold = p.State.GetSessionState(), p.Timers.GetState().GetNegotiatedHoldTime()
			for _, a := range p.AfiSafis {
				info.received += int(a.GetState().GetReceived())
			}
		})
		found <- info
		return err
	})
	if err != nil {
		return peerInfo{}, err
	}
	return <-found, nil
}

// resend sends adj-out again (RFC 2918 in the outward direction), without a gap.
func (g *gobgp) resend() error {
	return g.call("sending routes again", func(ctx context.Context) error {
		return g.server.ResetPeer(ctx, &api.ResetPeerRequest{Address: g.session.Address.String(), Soft: true, Direction: api.ResetPeerRequest_OUT})
	})
}

// stop ends the session with a CEASE, which clears our routes at the neighbor.
// It waits no longer than limit: the end of the process clears them too.
func (g *gobgp) stop(limit time.Duration) {
	done := make(chan struct{})
	go func() {
		_ = g.server.StopBgp(context.Background(), &api.StopBgpRequest{}) // nothing is left to do about it
		close(done)
	}()
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
}
