package app

import (
	"fmt"
	"sync/atomic"

	"sereno/cmd/sereno/internal/admin"
	"sereno/config"
	"sereno/health"
	"sereno/proxy/radiusfront"
)

// radiusService is a RADIUS front.
type radiusService struct {
	*radiusfront.Service
	config atomic.Pointer[radiusfront.Config]
}

// radiusOptions are what the section called name asks for.
func (n *Node) radiusOptions(name string, c *config.Config, pools poolSet) (radiusfront.Options, error) {
	for i := range c.RADIUS {
		section := &c.RADIUS[i]
		if section.Name != name {
			continue
		}
		o := radiusfront.Options{
			Config: *section, Pools: map[string]radiusfront.RolePools{}, Node: n.first.Node.Name, StateDir: n.state.path,
			Workers: n.o.Cores, Logger: n.log, ProbeSecret: n.proofs.RADIUS,
			MaxInFlight: int(n.share(1, len(c.RADIUS), radiusfront.DefaultMaxInFlight<<11) >> 11), MaxBytes: n.share(1, len(c.RADIUS), radiusfront.DefaultMaxBytes),
			MaxUnsent: n.unsent(len(c.RADIUS)), MaxRemembered: int(n.share(1, len(c.RADIUS), radiusfront.DefaultMaxRemembered<<9) >> 9), // 2 KiB and 512 bytes each, beside their packets
		}
		names := []string{section.Pool}
		for _, r := range section.Routes {
			names = append(names, r.Pool)
		}
		for _, pool := range names {
			p := c.Pool(pool)
			if p == nil {
				return o, fmt.Errorf("radius service %s: there is no pool %s", name, pool)
			}
			backends := make(map[string]radiusfront.BackendConfig, len(p.Backends))
			for j := range p.Backends {
				backends[p.Backends[j].Name] = p.Backends[j].RADIUS
			}
			o.Pools[pool] = radiusfront.RolePools{
				Auth: pools[poolRole{pool, "auth"}], Acct: pools[poolRole{pool, "acct"}], HashKey: p.HashKey, Backends: backends,
			}
		}
		return o, nil
	}
	return radiusfront.Options{}, fmt.Errorf("there is no radius service %s", name)
}

func (n *Node) newRADIUS(name string, c *config.Config, pools poolSet) (front, error) {
	o, err := n.radiusOptions(name, c, pools)
	if err != nil {
		return nil, err
	}
	s, err := radiusfront.New(o)
	if err != nil {
		return nil, err
	}
	f := &radiusService{Service: s}
	f.config.Store(&o.Config)
	return f, nil
}

func (s *radiusService) name() string { return s.config.Load().Name }
func (s *radiusService) kind() string { return "radius" }

func (s *radiusService) closesAtOnce() bool { return false }

func (s *radiusService) retired() (out []socket) {
	for _, addr := range s.Retired() {
		out = append(out, socket{"udp", addr})
	}
	return out
}

func (s *radiusService) update(n *Node, name string, c *config.Config, pools poolSet) error {
	o, err := n.radiusOptions(name, c, pools)
	if err != nil {
		return err
	}
	if err := s.Update(o); err != nil {
		return err
	}
	s.config.Store(&o.Config)
	return nil
}

func (s *radiusService) judged() health.Service {
	c := s.config.Load()
	out := health.Service{
		Name: c.Name, Kind: "radius", Auth: len(c.Auth) > 0, Acct: len(c.Acct) > 0, Pool: c.Pool, Activity: s.Packets,
	}
	if c.Accounting.Spool {
		out.SpoolAccepts = s.SpoolAccepts
	}
	for _, r := range c.Routes {
		out.Routes = append(out.Routes, r.Pool)
	}
	for _, l := range s.Listeners() {
		out.Listeners = append(out.Listeners, health.Listener{Network: "udp", Addr: l.Address})
	}
	return out
}

func (s *radiusService) status() admin.Service {
	st, c := s.Stats(), s.config.Load()
	out := admin.Service{Name: c.Name, Kind: "radius", Pool: c.Pool}
	for k := range radiusfront.NumKinds {
		out.Requests += st.Requests[k]
		out.Answers += st.Sum(k)
		out.Drops += st.Dropped(k)
		out.InFlight += st.InFlight[k]
	}
	if sp := st.Spool; sp != nil {
		out.Spool = spoolStatus(sp)
	}
	if sv := st.Survival; sv != nil {
		out.Survival = &admin.Survival{Known: sv.Known, Answers: st.Answers[radiusfront.KindAuth][radiusfront.AnswerAccept][radiusfront.SourceSurvival]}
	}
	for _, cl := range st.Clients {
		if cl.Unsigned > 0 {
			out.Unsigned = append(out.Unsigned, cl.Name)
		}
	}
	for _, l := range s.Listeners() {
		out.Listen = listening(out.Listen, l.Address.String())
	}
	return out
}

func (s *radiusService) measure(snap *admin.Snapshot, within config.GoodWithinConfig) {
	st, listeners, name := s.Stats(), s.Listeners(), s.config.Load().Name
	m := admin.RADIUSMetrics{
		Service: name, Requests: map[string]uint64{}, Answers: map[admin.RADIUSAnswer]uint64{},
		Drops: map[admin.RADIUSDrop]uint64{}, Latency: map[string]*admin.Histogram{}, Sessions: int64(st.Sessions), Panics: st.Panics,
		Unsigned: map[string]uint64{}, BadAuth: map[string]uint64{}, Upstream: radiusUpstreamEvents(&st), Tables: st.Tables,
	}
	well := radiusAnsweredWell(&st, within)
	m.Good, m.Valid = well.good, well.valid
	if sp := st.Spool; sp != nil {
		m.Spool = spoolMetrics(sp)
	}
	if sv := st.Survival; sv != nil {
		m.Known = &sv.Known
	}
	for _, cl := range st.Clients {
		m.Unsigned[cl.Name], m.BadAuth[cl.Name] = cl.Unsigned, cl.BadAuth
	}
	for _, l := range listeners {
		for _, code := range answersOf[l.Kind] {
			for _, src := range []radiusfront.Source{radiusfront.SourceBackend, radiusfront.SourceDuplicate} {
				m.Answers[admin.RADIUSAnswer{Kind: l.Kind.String(), Code: code.String(), Source: src.String()}] = 0
			}
		}
		if st.Survival != nil && l.Kind == radiusfront.KindAuth {
			m.Answers[admin.RADIUSAnswer{Kind: l.Kind.String(), Code: radiusfront.AnswerAccept.String(), Source: radiusfront.SourceSurvival.String()}] = 0
		}
		if st.Spool != nil && l.Kind == radiusfront.KindAcct {
			m.Answers[admin.RADIUSAnswer{Kind: l.Kind.String(), Code: radiusfront.AnswerAccounting.String(), Source: radiusfront.SourceSpool.String()}] = 0
		}
		for r := range radiusfront.NumReasons {
			m.Drops[admin.RADIUSDrop{Kind: l.Kind.String(), Reason: r.String()}] = 0
		}
	}
	for k := range radiusfront.NumKinds {
		m.Requests[k.String()] = st.Requests[k]
		m.InFlight += st.InFlight[k]
		for code := range radiusfront.NumAnswerCodes {
			for src := range radiusfront.NumSources {
				if v := st.Answers[k][code][src]; v > 0 {
					m.Answers[admin.RADIUSAnswer{Kind: k.String(), Code: code.String(), Source: src.String()}] = v
				}
			}
		}
		for r := range radiusfront.NumReasons {
			if v := st.Drops[k][r]; v > 0 {
				m.Drops[admin.RADIUSDrop{Kind: k.String(), Reason: r.String()}] = v
			}
		}
		h := &st.Latency[k]
		m.Latency[k.String()] = &admin.Histogram{Bounds: radiusfront.LatencyBounds(), Counts: h.Buckets[:], SumSeconds: h.Sum.Seconds()}
	}
	snap.RADIUS = append(snap.RADIUS, m)
	for _, l := range listeners {
		snap.Listeners = append(snap.Listeners, admin.ListenerMetrics{
			Listener: fmt.Sprintf("%s %s %s", name, l.Kind, l.Address), KernelDrops: l.KernelDrops, Drops: udpDrops(l.Drops),
		})
	}
}

// radiusUpstreamEvents names the counters of what happens between us and the
// backends.
func radiusUpstreamEvents(st *radiusfront.Stats) map[string]uint64 {
	out := map[string]uint64{"moved": st.Moved, "repeated": st.Repeated}
	for r := range radiusfront.NumReplyReasons {
		out["reply-"+r.String()] = st.Replies[r]
	}
	return out
}

func spoolStatus(sp *radiusfront.SpoolStats) *admin.Spool {
	return &admin.Spool{
		Records: sp.Records, Bytes: sp.Bytes, Oldest: admin.Seconds(sp.OldestSeconds), SetAside: sp.Aside, Used: admin.Ratio(sp.Used),
		Accepts: sp.Accepts, Error: sp.Error, Stored: sp.Stored, Recovered: sp.Recovered, Delivered: sp.Delivered, PerSecond: admin.Ratio(sp.PerSecond),
		Resent: resentOf(sp), WasAside: sp.SetAside, Damaged: sp.Damaged, Coalesced: sp.Coalesced, TakenBack: sp.Cancelled, Dropped: sp.Dropped,
		Refused: sp.Refused, DiskFailed: sp.Failed,
	}
}

func spoolMetrics(sp *radiusfront.SpoolStats) *admin.SpoolMetrics {
	return &admin.SpoolMetrics{
		Records: sp.Records, Bytes: sp.Bytes, OldestSeconds: sp.OldestSeconds, Aside: sp.Aside, Disk: sp.Disk, Max: sp.Max, Accepts: sp.Accepts,
		PerSecond: sp.PerSecond, Stored: sp.Stored, Recovered: sp.Recovered, Delivered: sp.Delivered, SetAside: sp.SetAside, Damaged: sp.Damaged,
		Coalesced: sp.Coalesced, TakenBack: sp.Cancelled, Dropped: sp.Dropped, DiskFailed: sp.Failed, Resent: resentOf(sp), Refused: sp.Refused,
	}
}

func resentOf(sp *radiusfront.SpoolStats) map[string]uint64 {
	out := map[string]uint64{}
	for r, n := range sp.Resent {
		out[radiusfront.Resend(r).String()] = n
	}
	return out
}

// answersOf are the codes that requests of a kind are answered with. They have
// their series from the start, so that rate() sees the first such answer.
var answersOf = map[radiusfront.Kind][]radiusfront.AnswerCode{
	radiusfront.KindAuth: {radiusfront.AnswerAccept, radiusfront.AnswerReject, radiusfront.AnswerChallenge},
	radiusfront.KindAcct: {radiusfront.AnswerAccounting},
	radiusfront.KindCoA:  {radiusfront.AnswerCoAACK, radiusfront.AnswerCoANAK, radiusfront.AnswerDisconnectACK, radiusfront.AnswerDisconnectNAK},
}
