package app

import (
	"fmt"
	"time"

	"github.com/miekg/dns"

	"sereno/cmd/sereno/internal/admin"
	"sereno/config"
	"sereno/health/ledger"
	"sereno/proxy/dnsfront"
	"sereno/proxy/pool"
	"sereno/proxy/radiusfront"
)

// answeredWell counts the requests of a DNS service (A31). Valid are those that were
// answered from the cache or by a backend, whatever the rcode, those that the node
// answered by itself with NOERROR or NXDOMAIN, and those that it failed: a SERVFAIL of
// its own, which it gives when no backend answers, and a drop for its own sake. What
// it refused, or what is malformed or was turned away by policy, is the client's. Good
// are the valid ones that were not failed, and answered within good_within.dns, by the
// nearest bound of the latency histogram that is not above it.
func (s *dnsService) answeredWell(within config.GoodWithinConfig) requests {
	st := s.Stats()
	return dnsAnsweredWell(&st, within)
}

func dnsAnsweredWell(st *dnsfront.Stats, within config.GoodWithinConfig) requests {
	var given, failed uint64
	for t := range dnsfront.NumTransports {
		for src := range dnsfront.NumSources {
			for rcode, v := range st.Answers[t][src] {
				switch {
				case src != dnsfront.FromSelf, rcode == dns.RcodeSuccess, rcode == dns.RcodeNameError:
					given += v
				case rcode == dns.RcodeServerFailure:
					failed += v
				}
			}
		}
		for _, d := range []dnsfront.Drop{dnsfront.DropClosing, dnsfront.DropUnanswered, dnsfront.DropNoListener} {
			failed += st.Drops[t][d]
		}
	}
	var late uint64
	for _, src := range []dnsfront.Source{dnsfront.FromCache, dnsfront.FromStale, dnsfront.FromBackend} {
		late += lateOnes(dnsfront.LatencyBounds(), st.Latency[src].Counts[:], within.DNS)
	}
	return requests{good: given - min(late, given), valid: given + failed}
}

// radiusFailures are the drops that are not the client's fault.
var radiusFailures = []radiusfront.Reason{
	radiusfront.ReasonServiceLimit, radiusfront.ReasonNoBackend, radiusfront.ReasonNoIdentifier, radiusfront.ReasonTimeout,
	radiusfront.ReasonStateLost, radiusfront.ReasonNoPool, radiusfront.ReasonSpoolFull, radiusfront.ReasonSpoolFailed, radiusfront.ReasonClosing,
}

// answeredWell counts the requests of a RADIUS service (A31), authentication and
// accounting. Valid are those that a backend, the spool or the survival mode answered,
// an Access-Reject like an Access-Accept, and those that were dropped for want of a
// backend or of room. A duplicate is counted with its first. Good are the valid ones
// that were answered within good_within.radius or .accounting.
func (s *radiusService) answeredWell(within config.GoodWithinConfig) requests {
	st := s.Stats()
	return radiusAnsweredWell(&st, within)
}

func radiusAnsweredWell(st *radiusfront.Stats, within config.GoodWithinConfig) requests {
	var out requests
	for kind, limit := range map[radiusfront.Kind]time.Duration{radiusfront.KindAuth: within.RADIUS, radiusfront.KindAcct: within.Accounting} {
		var given, failed uint64
		for code := range radiusfront.NumAnswerCodes {
			for _, src := range []radiusfront.Source{radiusfront.SourceBackend, radiusfront.SourceSpool, radiusfront.SourceSurvival} {
				given += st.Answers[kind][code][src]
			}
		}
		for _, r := range radiusFailures {
			failed += st.Drops[kind][r]
		}
		late := lateOnes(radiusfront.LatencyBounds(), st.Latency[kind].Buckets[:], limit)
		out.good += given - min(late, given)
		out.valid += given + failed
	}
	return out
}

// backendRequests counts what was sent to a backend and has ended: good is what did
// not fail there (no reply within attempt_timeout, SERVFAIL, a closed port, a wrong reply).
func backendRequests(b *pool.Backend) requests {
	c := b.Counters()
	ended := c.Requests - min(uint64(max(c.InFlight, 0)), c.Requests)
	var failed uint64
	for f, v := range c.Failures {
		if pool.Failure(f) != pool.Full { //nolint:gosec // a small index
			failed += v
		}
	}
	return requests{good: ended - min(failed, ended), valid: ended}
}

// lateOnes are the answers in a histogram above the highest bound that is not over the limit.
func lateOnes(bounds []float64, counts []uint64, limit time.Duration) (late uint64) {
	for i, n := range counts {
		if i >= len(bounds) || bounds[i] > limit.Seconds() {
			late += n
		}
	}
	return late
}

// Availability reads the books on a service and the backends of its pools, or on
// everything.
func (n *Node) Availability(service string, lengths []time.Duration) (admin.Availability, error) {
	s := n.shape.Load()
	want, err := s.booksOf(service)
	if err != nil {
		return admin.Availability{}, err
	}
	at, target := n.books.clock.Now(), s.config.Availability.Target
	return readBooks(n.books, func(books *ledger.Ledger) (admin.Availability, error) {
		reports, err := books.Reports(at, lengths, want)
		if err != nil {
			return admin.Availability{}, err
		}
		now := books.Now(at)
		out := admin.Availability{
			Node: s.config.Node.Name, At: admin.At(now), Behind: admin.SecondsOf(now.Sub(at.Wall)), TargetPercent: admin.Percent(target),
		}
		for i := range reports {
			out.Objects = append(out.Objects, adminBooks(&reports[i], lengths, target))
		}
		return out, nil
	})
}

// booksOf tells which objects belong to a service; all if it is empty.
func (s *shape) booksOf(service string) (func(ledger.Object) bool, error) {
	if service == "" {
		return nil, nil
	}
	f := s.front(service)
	if f == nil {
		return nil, fmt.Errorf("%w: there is no service %s", admin.ErrNotFound, service)
	}
	judged := f.judged()
	pools := map[string]bool{judged.Pool: true}
	for _, p := range judged.Routes {
		pools[p] = true
	}
	return func(o ledger.Object) bool {
		return o == serviceObject(service) || o.Kind == ledger.Backend && pools[o.Pool]
	}, nil
}

// Timeline reads from the books when a service and the backends of its pools, or
// everything, was in which state.
func (n *Node) Timeline(service string, length time.Duration) (admin.Timeline, error) {
	s := n.shape.Load()
	want, err := s.booksOf(service)
	if err != nil {
		return admin.Timeline{}, err
	}
	at := n.books.clock.Now()
	return readBooks(n.books, func(books *ledger.Ledger) (admin.Timeline, error) {
		courses, err := books.Courses(at, length, admin.MaxSpans, want)
		if err != nil {
			return admin.Timeline{}, err
		}
		now := books.Now(at)
		out := admin.Timeline{Node: s.config.Node.Name, From: admin.At(now.Add(-length)), To: admin.At(now)}
		for i := range courses {
			out.Objects = append(out.Objects, adminCourse(&courses[i]))
		}
		return out, nil
	})
}

func adminCourse(c *ledger.Course) admin.Course {
	out := admin.Course{
		Kind: string(c.Object.Kind), Name: c.Object.Name, Pool: c.Object.Pool, Role: c.Object.Role,
		First: admin.At(c.First), Coarse: c.Coarse, OutagesTotal: len(c.Outages),
	}
	for i := range c.Spans {
		span := &c.Spans[i]
		out.Spans = append(out.Spans, admin.Span{From: admin.Instant{Time: span.From}, State: span.State.String(), Cause: span.Cause})
	}
	for i := max(0, len(c.Outages)-admin.MaxOutages); i < len(c.Outages); i++ {
		out.Outages = append(out.Outages, *adminOutage(&c.Outages[i]))
	}
	return out
}

func adminBooks(r *ledger.Report, lengths []time.Duration, target float64) admin.Books {
	out := admin.Books{
		Kind: string(r.Object.Kind), Name: r.Object.Name, Pool: r.Object.Pool, Role: r.Object.Role,
		State: r.State.String(), Cause: r.Cause, Since: admin.At(r.Since), First: admin.At(r.First),
	}
	levels := ledger.Levels()
	for i := range r.Figures {
		f := &r.Figures[i]
		w := admin.Figures{
			Window: admin.WindowText(lengths[i]), From: admin.At(f.Window.From), To: admin.At(f.Window.To),
			Up: admin.SecondsOf(f.Up), Degraded: admin.SecondsOf(f.Degraded), Drained: admin.SecondsOf(f.Drained),
			Down: admin.SecondsOf(f.Down), Unknown: admin.SecondsOf(f.Unknown),
			Outages: f.Outages, Longest: adminOutage(f.Longest), Last: adminOutage(f.Last),
			MTBF: secondsOf(f.MTBF), MTTR: secondsOf(f.MTTR), Nines: f.Nines, Level: f.Level, Good: f.Good, Valid: f.Valid,
		}
		if f.Level > 0 {
			w.LevelOf = levels[f.Level-1].Of
		}
		if f.Availability != nil {
			p := admin.Percent(*f.Availability * 100)
			w.AvailabilityPercent = &p
		}
		if f.Valid > 0 {
			p := admin.Percent(float64(f.Good) / float64(f.Valid) * 100)
			w.GoodPercent = &p
		}
		allowed, left := f.TimeBudget(target)
		w.Budget.Allowed, w.Budget.Left = admin.SecondsOf(allowed), admin.SecondsOf(left)
		requestsAllowed, requestsLeft := f.RequestBudget(target)
		w.Budget.RequestsAllowed, w.Budget.RequestsLeft = admin.Ratio(requestsAllowed), admin.Ratio(requestsLeft)
		out.Windows = append(out.Windows, w)
	}
	return out
}

func adminOutage(o *ledger.Outage) *admin.Outage {
	if o == nil {
		return nil
	}
	return &admin.Outage{From: admin.At(o.From), Until: admin.At(o.Until), Down: admin.SecondsOf(o.Down), Cause: o.Cause}
}

func secondsOf(d *time.Duration) *admin.Seconds {
	if d == nil {
		return nil
	}
	s := admin.SecondsOf(*d)
	return &s
}
