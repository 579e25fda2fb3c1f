package app

import (
	"fmt"
	"sync/atomic"

	"github.com/miekg/dns"
	"go.uber.org/zap"

	"sereno/cmd/sereno/internal/admin"
	"sereno/config"
	"sereno/health"
	"sereno/proxy/dnsfront"
	"sereno/proxy/pool"
)

// dnsService is a DNS front.
type dnsService struct {
	*dnsfront.Service
	config atomic.Pointer[dnsfront.Config]
}

// dnsOptions are what the section called name asks for.
func (n *Node) dnsOptions(name string, c *config.Config, pools poolSet) (dnsfront.Options, error) {
	for i := range c.DNS {
		section := &c.DNS[i]
		if section.Name != name {
			continue
		}
		o := dnsfront.Options{
			Config: *section, Pools: map[string]*pool.Pool{}, Node: n.first.Node.Name,
			StateDir: n.state.path, Workers: n.o.Cores, Logger: n.log, ProbeKey: &n.proofs.DNS,
			MaxInFlight: n.share(1, len(c.DNS), dnsfront.DefaultMaxInFlight<<10) >> 10, MaxQueued: n.share(1, len(c.DNS), dnsfront.DefaultMaxQueued),
			MaxUnsent: n.unsent(len(c.DNS)),
		}
		if most := int(n.share(3, len(c.DNS), 1_000_000*connectionMemory) / connectionMemory); section.TCP.MaxConnections > most {
			n.log.Warn("tcp.max_connections does not fit into the memory limit: fewer are taken", zap.String("service", name),
				zap.Int("max_connections", section.TCP.MaxConnections), zap.Int("taken", most))
			o.Config.TCP.MaxConnections = most
		}
		names := []string{section.Pool}
		for _, r := range section.Routes {
			names = append(names, r.Pool)
		}
		for _, name := range names {
			p := pools[poolRole{name, "dns"}]
			if p == nil {
				return o, fmt.Errorf("dns service %s: there is no pool %s", section.Name, name)
			}
			o.Pools[name] = p
		}
		return o, nil
	}
	return dnsfront.Options{}, fmt.Errorf("there is no dns service %s", name)
}

func (n *Node) newDNS(name string, c *config.Config, pools poolSet) (front, error) {
	o, err := n.dnsOptions(name, c, pools)
	if err != nil {
		return nil, err
	}
	s, err := dnsfront.New(o)
	if err != nil {
		return nil, err
	}
	f := &dnsService{Service: s}
	f.config.Store(&o.Config)
	return f, nil
}

func (s *dnsService) name() string { return s.config.Load().Name }
func (s *dnsService) kind() string { return "dns" }

func (s *dnsService) retired() []socket  { return nil }
func (s *dnsService) closesAtOnce() bool { return true }

func (s *dnsService) update(n *Node, name string, c *config.Config, pools poolSet) error {
	o, err := n.dnsOptions(name, c, pools)
	if err != nil {
		return err
	}
	if err := s.Update(o); err != nil {
		return err
	}
	s.config.Store(&o.Config)
	return nil
}

func (s *dnsService) judged() health.Service {
	c := s.config.Load()
	out := health.Service{Name: c.Name, Kind: "dns", Pool: c.Pool, Activity: s.Packets}
	for _, r := range c.Routes {
		out.Routes = append(out.Routes, r.Pool)
	}
	for _, l := range s.Listeners() {
		if l.Transport == dnsfront.UDP || l.Transport == dnsfront.TCP {
			out.Listeners = append(out.Listeners, health.Listener{Network: l.Transport.String(), Addr: l.Address})
		}
	}
	return out
}

func (*dnsService) alarms(func(string) bool) []alarm { return nil }

func (s *dnsService) status() admin.Service {
	st, c := s.Stats(), s.config.Load()
	out := admin.Service{
		Name: c.Name, Kind: "dns", Pool: c.Pool,
		Requests: st.TotalQueries(), Answers: st.TotalAnswers(), Drops: st.TotalDrops(), InFlight: st.TotalInFlight(),
		Cache: &admin.Cache{Entries: int64(st.Cache.Entries), Bytes: int64(st.Cache.Bytes), Hits: st.Hits, Misses: st.Misses},
	}
	for _, l := range s.Listeners() {
		out.Listen = listening(out.Listen, l.Address.String())
	}
	return out
}

func (s *dnsService) measure(snap *admin.Snapshot, within config.GoodWithinConfig) {
	st, listeners, name := s.Stats(), s.Listeners(), s.config.Load().Name
	m := admin.DNSMetrics{
		Service: name, Queries: map[string]uint64{}, Answers: map[admin.DNSAnswer]uint64{}, Drops: map[string]uint64{},
		InFlight: st.TotalInFlight(), CacheEntries: int64(st.Cache.Entries), CacheBytes: int64(st.Cache.Bytes),
		CacheHits: st.Hits, CacheMisses: st.Misses, Upstream: upstreamEvents(&st.Upstream), Panics: st.Panics, Latency: map[string]*admin.Histogram{},
		CertificateExpires: map[string]int64{}, Refused: map[string]uint64{}, Tables: st.Tables,
	}
	for r, n := range st.Refused {
		m.Refused[dnsfront.Refusal(r).String()] = n
	}
	well := dnsAnsweredWell(&st, within)
	m.Good, m.Valid = well.good, well.valid
	for _, l := range listeners {
		for src := range dnsfront.NumSources {
			for _, rcode := range commonRcodes {
				m.Answers[admin.DNSAnswer{Transport: l.Transport.String(), Source: src.String(), Rcode: rcodeName(rcode)}] = 0
			}
		}
	}
	for t := range dnsfront.NumTransports {
		if at := st.CertificateExpires[t]; !at.IsZero() {
			m.CertificateExpires[t.String()] = at.Unix()
		}
		m.Queries[t.String()] = st.Queries[t]
		for src := range dnsfront.NumSources {
			for rcode, v := range st.Answers[t][src] {
				if v > 0 {
					m.Answers[admin.DNSAnswer{Transport: t.String(), Source: src.String(), Rcode: rcodeName(rcode)}] += v
				}
			}
		}
		for d := range dnsfront.NumDrops {
			m.Drops[d.String()] += st.Drops[t][d]
		}
	}
	for src := range dnsfront.NumSources {
		h := &st.Latency[src]
		m.Latency[src.String()] = &admin.Histogram{Bounds: dnsfront.LatencyBounds(), Counts: h.Counts[:], SumSeconds: h.Sum.Seconds()}
	}
	snap.DNS = append(snap.DNS, m)
	for _, l := range listeners {
		snap.Listeners = append(snap.Listeners, admin.ListenerMetrics{
			Listener: fmt.Sprintf("%s %s %s", name, l.Transport, l.Address), KernelDrops: l.KernelDrops, Drops: udpDrops(l.Drops),
		})
	}
}

// commonRcodes have their series from the start, so that rate() sees the first
// such answer; the others appear when they are counted.
var commonRcodes = []int{dns.RcodeSuccess, dns.RcodeServerFailure, dns.RcodeNameError, dns.RcodeRefused}

// upstreamEvents names the counters of what happens between us and the backends.
func upstreamEvents(u *dnsfront.Upstream) map[string]uint64 {
	return map[string]uint64{
		"asked": u.Asked, "reply": u.Replies, "late": u.Late, "wrong": u.Wrong, "wrong-to-tcp": u.WrongToTCP,
		"retry": u.Retries, "moved": u.Moved, "no-budget": u.NoBudget, "silent": u.Silent, "refused": u.Refused,
		"failure-rcode": u.FailureRcode, "truncated": u.Truncated, "coalesced": u.Coalesced,
		"no-backend": u.NoBackend, "overload": u.Overload,
	}
}

// rcodeName is an rcode as the metrics write it; those that have no place of
// their own in the counters are "other".
func rcodeName(rcode int) string {
	if name, ok := dns.RcodeToString[rcode]; ok && rcode < dnsfront.NumRcodes-1 {
		return name
	}
	return "other"
}
