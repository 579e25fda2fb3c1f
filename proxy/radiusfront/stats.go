package radiusfront

import (
	"slices"
	"time"

	"sereno/proxy/insight"
)

// latencyBounds are the upper bounds of the buckets of latency histograms.
// 2 s and 3 s are there for the availability's good_within.
var latencyBounds = [...]time.Duration{
	500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond,
	25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2 * time.Second, 3 * time.Second, 5 * time.Second, 10 * time.Second,
}

// LatencyBounds are the upper bounds in seconds of the buckets of Histogram,
// ascending and inclusive; one more bucket is for all above.
func LatencyBounds() []float64 {
	out := make([]float64, len(latencyBounds))
	for i, d := range latencyBounds {
		out[i] = d.Seconds()
	}
	return out
}

// Histogram counts times from a request's arrival to its answer.
type Histogram struct {
	Buckets [len(latencyBounds) + 1]uint64 // not cumulative
	Sum     time.Duration
}

func (h *Histogram) observe(d int64) {
	i := 0
	for i < len(latencyBounds) && d > int64(latencyBounds[i]) {
		i++
	}
	h.Buckets[i]++
	h.Sum += time.Duration(d)
}

func (h *Histogram) add(o *Histogram) {
	for i, n := range o.Buckets {
		h.Buckets[i] += n
	}
	h.Sum += o.Sum
}

// Count is the number of observations.
func (h *Histogram) Count() uint64 {
	var n uint64
	for _, b := range h.Buckets {
		n += b
	}
	return n
}

// book is one worker's counters, guarded by its mutex.
type book struct {
	requests [NumKinds]uint64
	answers  [NumKinds][NumAnswerCodes][NumSources]uint64
	drops    [NumKinds][NumReasons]uint64
	inFlight [NumKinds]int64
	latency  [NumKinds]Histogram
	replies  [NumReplyReasons]uint64
	moved    uint64
	repeated uint64
}

// Stats is one consistent picture of a service: for each kind, Requests =
// the sum of Answers + the sum of Drops + InFlight, exactly.
type Stats struct {
	Requests [NumKinds]uint64
	Answers  [NumKinds][NumAnswerCodes][NumSources]uint64
	Drops    [NumKinds][NumReasons]uint64
	InFlight [NumKinds]int64
	// Latency is of answers that a backend gave, or survival, from the arrival of the
	// request's first copy.
	Latency [NumKinds]Histogram
	// Replies counts backends' replies that were not used; they are not in the
	// equation.
	Replies [NumReplyReasons]uint64
	// Moved counts second and further attempts.
	Moved uint64
	// Repeated counts copies of the same bytes sent to the same backend again.
	Repeated uint64
	// Remembered is how many answers are kept for duplicates.
	Remembered int64
	// Sessions is how many sessions accounting says are open.
	Sessions int
	// Panics counts faults of ours that were caught.
	Panics uint64
	// Spool is nil without a spool.
	Spool *SpoolStats
	// Survival is nil while it is off.
	Survival  *SurvivalStats
	Clients   []ClientStats
	Tables    []insight.Table
	Upstreams []UpstreamStats
}

// ClientStats are the figures of one client.
type ClientStats struct {
	Name     string
	Address  string
	Requests uint64 // from its addresses, of every kind
	InFlight int64
	// BadAuth counts requests whose authenticator or Message-Authenticator did
	// not verify: a wrong secret, or somebody else.
	BadAuth uint64
	// Unsigned counts Access-Requests without Message-Authenticator: those
	// that `require` would drop (R13).
	Unsigned uint64
}

// UpstreamStats are the figures of one backend in one role, or of one NAS that
// got CoA (Role "coa", Pool ""), over all workers.
type UpstreamStats struct {
	Pool, Backend, Role string
	Ports               int // open source ports
	InUse               int // identifiers with a request
	Resting             int // identifiers that rest
	// Unsigned counts replies to Access-Requests without Message-Authenticator
	// that were used: those that `require` would drop (R13).
	Unsigned uint64
	Replies  [NumReplyReasons]uint64
}

// Sum is the number of all answers of a kind.
func (s *Stats) Sum(k Kind) uint64 {
	var n uint64
	for _, codes := range s.Answers[k] {
		for _, v := range codes {
			n += v
		}
	}
	return n
}

// Dropped is the number of all drops of a kind.
func (s *Stats) Dropped(k Kind) uint64 {
	var n uint64
	for _, v := range s.Drops[k] {
		n += v
	}
	return n
}

// Missing is how many requests of a kind the books do not account for: 0.
func (s *Stats) Missing(k Kind) int64 {
	return int64(s.Requests[k]) - int64(s.Sum(k)) - int64(s.Dropped(k)) - s.InFlight[k]
}

// addTo adds one worker's figures.
func (b *book) addTo(s *Stats) {
	for k := range NumKinds {
		s.Requests[k] += b.requests[k]
		s.InFlight[k] += b.inFlight[k]
		s.Latency[k].add(&b.latency[k])
		for r, n := range b.drops[k] {
			s.Drops[k][r] += n
		}
		for c := range b.answers[k] {
			for src, n := range b.answers[k][c] {
				s.Answers[k][c][src] += n
			}
		}
	}
	for r, n := range b.replies {
		s.Replies[r] += n
	}
	s.Moved += b.moved
	s.Repeated += b.repeated
}

// settle counts what a panic left neither answered nor dropped nor in flight as
// dropped. Between two packets each worker's book balances by itself.
func (b *book) settle() {
	for k := range NumKinds {
		left := int64(b.requests[k]) - b.inFlight[k]
		for c := range b.answers[k] {
			for _, n := range b.answers[k][c] {
				left -= int64(n)
			}
		}
		for _, n := range b.drops[k] {
			left -= int64(n)
		}
		b.drops[k][ReasonPanic] += uint64(max(0, left))
	}
}

// Stats takes the mutex of every worker at once, so that what it gives is of
// one instant.
func (s *Service) Stats() Stats {
	var st Stats
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.workers {
		w.mu.Lock()
	}
	ups := map[[3]string]*UpstreamStats{}
	for _, w := range s.workers {
		w.book.addTo(&st)
		for _, up := range w.upstreams {
			up.addTo(ups)
		}
		for _, up := range w.nases {
			up.addTo(ups)
		}
	}
	for _, w := range s.workers {
		w.mu.Unlock()
	}
	st.Remembered = s.remembered.Load()
	st.Panics = s.faults.Total()
	st.Sessions = s.sessions.count()
	st.Spool = s.spoolStats()
	st.Survival = s.survivors.stats()
	for _, u := range ups {
		st.Upstreams = append(st.Upstreams, *u)
	}
	slices.SortFunc(st.Upstreams, compareUpstreams)
	st.Tables = s.tables(&st)
	for _, c := range s.options.Config.Clients {
		prefix, err := parseClientAddress(c.Address)
		if err != nil || s.clients[prefix] == nil {
			continue
		}
		cs := s.clients[prefix]
		st.Clients = append(st.Clients, ClientStats{
			Name: c.Name, Address: c.Address, Requests: cs.requests.Load(), InFlight: cs.inFlight.Load(),
			BadAuth: cs.badAuth.Load(), Unsigned: cs.unsigned.Load(),
		})
	}
	return st
}

// tables is how full everything is that NASes and backends can fill (O30). mu is held.
func (s *Service) tables(st *Stats) []insight.Table {
	sessions, names := s.sessions.sizes()
	tables := []insight.Table{
		{Name: insight.TableInFlight, Entries: s.inFlight.Load(), Limit: int64(s.options.MaxInFlight)},
		{Name: insight.TableRemembered, Entries: st.Remembered, Limit: s.maxRemembered.Load()},
		{Name: insight.TableHeld, Entries: s.held.Load(), Limit: s.maxBytes.Load()},
		{Name: insight.TableSessions, Entries: int64(sessions), Limit: maxSessions},
		{Name: insight.TableNASNames, Entries: int64(names), Limit: maxNames},
		{Name: insight.TableSources, Entries: s.learnt.known(), Limit: maxSources},
	}
	if sv := st.Survival; sv != nil {
		tables = append(tables, insight.Table{Name: insight.TableKnownUsers, Entries: int64(sv.Known), Limit: maxSurvivors},
			insight.Table{Name: insight.TableUserBytes, Entries: int64(sv.Bytes), Limit: maxSurvivorBytes})
	}
	ids := insight.Table{Name: insight.TableIdentifiers}
	for _, up := range st.Upstreams {
		ids.Entries += int64(up.InUse + up.Resting)
		ids.Limit += int64(len(s.workers) * maxPorts * identifiers)
	}
	return append(tables, ids)
}

func (up *upstream) addTo(m map[[3]string]*UpstreamStats) {
	key := [3]string{up.pool, up.name, up.kind.String()}
	u := m[key]
	if u == nil {
		u = &UpstreamStats{Pool: key[0], Backend: key[1], Role: key[2]}
		m[key] = u
	}
	u.Ports += len(up.ports) + len(up.left)
	u.InUse += up.inUse
	u.Resting += up.rest.n
	u.Unsigned += up.unsigned
	for r, n := range up.replies {
		u.Replies[r] += n
	}
}

func compareUpstreams(a, b UpstreamStats) int {
	for _, p := range [][2]string{{a.Pool, b.Pool}, {a.Backend, b.Backend}, {a.Role, b.Role}} {
		if p[0] < p[1] {
			return -1
		}
		if p[0] > p[1] {
			return 1
		}
	}
	return 0
}
