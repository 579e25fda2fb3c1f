package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"sereno/bench/internal/nas"
	"sereno/bench/load"
)

// SoakOptions say what a soak is like.
type SoakOptions struct {
	Sereno     string        // path of the node's binary
	For        time.Duration // how long things break; building, the last healing and the books come on top
	Seed       uint64        // what breaks, in which order and for how long follows from it
	RateDNS    float64       // queries a second, over all transports
	RateRADIUS float64       // requests a second: four of ten are logins, the others accounting
	Evidence   string        // the directory that the evidence goes to
	Out        io.Writer     // where the progress goes
}

// soak is a laboratory in which something breaks all the time.
type soak struct {
	*laboratory
	options SoakOptions
	rng     *rand.Rand
	deck    deck // of what happens
	mild    deck // of what happens meanwhile
	machine *machine
	start   time.Time
	log     *evidence
	samples *sampler
	askers  []asker
	nas     *nas.NAS
	final   []load.Books // of the askers

	best    int // the site that the routers like best
	changed [maxSites + 1]changes
	clocks  [maxSites + 1]*wallClock
	overlay *event // what happens in the middle of the next hold
	also    string // what did

	told    time.Duration // when the progress was told
	events  int
	excused int

	interrupted bool
	broken      []string                                     // what did not hold, in words
	tally       struct{ acked, written, copies, resent int } // of accounting records
}

// calm is how long nothing happens after each event: a client that lost something has asked again by then.
const calm = loginAgain + time.Second

// warmUp is how long there is load before anything breaks.
const warmUp = 5 * time.Second

// Soak builds the laboratory with two sites, asks it all the time over every transport, breaks something at random again
// and again, and says in one line, the last that it writes, whether all held that Held tells. It is for a process that
// Enter has started.
func Soak(ctx context.Context, o SoakOptions) (held bool, err error) {
	log, err := newEvidence(o.Evidence, o.Out)
	if err != nil {
		return false, err
	}
	s := &soak{options: o, rng: rand.New(rand.NewPCG(o.Seed, 0)), log: log, start: time.Now(), best: 1}
	s.deck, s.mild = deck{events: events, rng: s.rng}, deck{events: mildEvents, rng: s.rng}
	defer func() { err = errors.Join(err, log.close()) }()
	err = s.run(ctx)
	if s.interrupted = ctx.Err() != nil; err != nil && !s.interrupted {
		s.broke("%v", err)
	}
	return s.verdict(), log.take()
}

func (s *soak) run(ctx context.Context) (err error) {
	usual := changes{
		dns: fmt.Sprintf(", cache: {entries: 20000}, tls: {listen: [\"192.0.2.53:853\"], %[1]s}, https: {listen: [\"192.0.2.53:443\"], %[1]s}",
			fmt.Sprintf("certificate: %s, key: %s", certificateFile, keyFile)),
		entry: ", max_announce_delay: 4s",
	}
	for site := range s.changed {
		s.changed[site] = usual
	}
	x := setup{whenDown: "hand-over", ownLoad: true, glance: 50 * time.Millisecond, stateSize: "64m", prepare: writeCertificate, changes: usual}
	s.laboratory, err = build(ctx, Options{Sereno: s.options.Sereno, Short: true}, x)
	defer s.stop()
	if err != nil {
		return err
	}
	s.machine = measure(s.ctx)
	if _, err := s.heal(); err != nil {
		return err
	}
	asking, stop := context.WithCancel(s.ctx)
	defer stop()
	if err := s.startClients(asking); err != nil {
		return err
	}
	s.samples = sample(s.ctx, s)
	s.say("two sites serve; %.0f DNS queries and %.0f RADIUS requests a second; seed %d", s.options.RateDNS, s.options.RateRADIUS, s.options.Seed)
	if err := s.pause(warmUp); err != nil {
		return err
	}
	s.start = time.Now()
	for time.Since(s.start) < s.options.For {
		if err := s.happen(); s.ctx.Err() != nil {
			return err
		} else if err != nil { // the books are compared all the same
			s.broke("%v", err)
			break
		}
	}
	s.say("the last event is over; the clients stop")
	s.stopClients(stop)
	return s.settleBooks()
}

// settleBooks waits until nothing is on its way, and compares the books.
func (s *soak) settleBooks() error {
	if _, err := s.heal(); err != nil {
		s.broke("%v", err)
	}
	for site := 1; site <= s.sites; site++ {
		if err := s.eventually(fmt.Sprintf("node %d has nothing in flight", site), 15*time.Second, func() bool {
			m, err := s.nodes[site].metrics()
			return err == nil && m.Sum("sereno_dns_in_flight")+m.Sum("sereno_radius_in_flight") == 0
		}); err != nil {
			return err
		}
	}
	s.samples.end()
	for site := 1; site <= s.sites; site++ {
		if err := s.log.metrics(s.nodes[site]); err != nil {
			return err
		}
	}
	for i, a := range s.askers {
		if b := &s.final[i]; !b.Clean() || b.Answered == 0 {
			s.broke("%s: %s %s", a.name, b, strings.Join(b.Faulty, "; "))
		}
	}
	return s.accounts()
}

// happen lets one thing happen, and holds what the clients saw to what it allows.
func (s *soak) happen() error {
	e := s.deck.draw()
	site := 1 + s.rng.IntN(s.sites)
	s.overlay, s.also = nil, ""
	if s.rng.IntN(3) == 0 {
		mild := s.mild.draw()
		s.overlay = &mild
	}
	s.events++
	before := s.marks()
	s.machine.stall()
	s.say("%d: %s ...", s.events, e.name)
	what, err := e.play(s, site)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", e.name, what, err)
	}
	healed, err := s.heal()
	if err := errors.Join(err, s.pause(calm)); err != nil {
		return fmt.Errorf("%s: %s: %w", e.name, what, err)
	}
	seen := s.judge(e, before, s.machine.stall())
	if s.also != "" {
		what += "; meanwhile " + s.also
	}
	s.say("%d: %s: %s; all well again after %s; %s", s.events, e.name, what, short(healed), seen)
	s.progress()
	return nil
}

// excuse is how long the machine must have let the laboratory itself stand still, at a stretch, for clients that asked
// again to be its doing: a node that was not let run for as long says that it stood still.
const excuse = 250 * time.Millisecond

// judge holds what happened to the clients since before to what the event allows, and tells it.
func (s *soak) judge(e event, before []load.Books, stall time.Duration) string {
	var seen []string
	for i, b := range s.marks() {
		a := s.askers[i]
		d := b.Since(&before[i])
		failed := d.Fates[load.Failed]
		if d.Resent+failed+d.Wrong+d.Lost > 0 {
			seen = append(seen, fmt.Sprintf("%s: of %d, %d asked again, %d SERVFAIL, %d wrong, %d lost", a.name, d.Sent, d.Resent, failed, d.Wrong, d.Lost))
		}
		may := e.radius
		if a.dns {
			may = e.dns
		}
		if !may.bears(a.stream, d.Resent, failed) {
			what := fmt.Sprintf("%s: %s: %d asked again, %d SERVFAIL, and %s was allowed", e.name, a.name, d.Resent, failed, may)
			if stall >= excuse {
				s.say("   excused, for the machine let the laboratory itself stand still for %s: %s", short(stall), what)
				s.excused++
				continue
			}
			s.broke("%s", what)
		}
	}
	if len(seen) == 0 {
		return "no client noticed"
	}
	return strings.Join(seen, "; ")
}

// heal waits until both nodes are up with all that they have, routed, and have nothing left on disk to deliver.
func (s *soak) heal() (time.Duration, error) {
	since := time.Now()
	why := ""
	err := s.eventually("all is well again", 90*time.Second, func() bool {
		if why = s.ill(); why != "" {
			_ = s.pause(45 * time.Millisecond) // asked 20 times a second
		}
		return why == ""
	})
	if err != nil {
		err = fmt.Errorf("%w: %s", err, why)
	}
	return time.Since(since), err
}

// ill says what is not well, "" when all is.
func (s *soak) ill() string {
	for site := 1; site <= s.sites; site++ {
		n := s.nodes[site]
		st, err := n.status()
		if err != nil {
			return err.Error()
		}
		if st.State != "up" {
			return fmt.Sprintf("node %d is %s", site, st.State)
		}
		for _, p := range st.Pools {
			for _, b := range p.Backends {
				if b.State != "up" {
					return fmt.Sprintf("node %d: %s (%s) is %s", site, b.Name, b.Role, b.State)
				}
			}
		}
		for _, a := range st.Anycast {
			if a.State != "announced" {
				return fmt.Sprintf("node %d: %s is %s", site, a.Name, a.State)
			}
		}
		m, err := n.metrics()
		if err != nil {
			return err.Error()
		}
		if left := m.Sum("sereno_spool_records"); left > 0 {
			return fmt.Sprintf("node %d: %.0f accounting records are on disk", site, left)
		}
		for _, w := range s.watchers {
			for _, prefix := range []string{dnsPrefix, radiusPrefix} {
				if _, ok := w.all(prefix, time.Now(), is(site, announced)); !ok {
					return fmt.Sprintf("%s has no route of node %d for %s", w.label(), site, prefix)
				}
			}
		}
	}
	return ""
}

// hold lets time pass while something is broken, at that site if it is not 0, and lets the overlay happen in its
// middle, at another.
func (s *soak) hold(sick int, d time.Duration) error {
	if s.overlay == nil {
		return s.pause(d)
	}
	e := s.overlay
	s.overlay = nil
	site := 3 - sick
	if sick == 0 {
		site = 1 + s.rng.IntN(s.sites)
	}
	since := time.Now()
	if err := s.pause(d / 2); err != nil {
		return err
	}
	what, err := e.play(s, site)
	err = errors.Join(err, s.pause(d-time.Since(since)))
	s.also = fmt.Sprintf("%s: %s (it took %s in all)", e.name, what, short(time.Since(since)))
	return err
}

// between draws a duration.
func (s *soak) between(least, most time.Duration) time.Duration {
	return (least + time.Duration(s.rng.Int64N(int64(most-least)))).Round(10 * time.Millisecond)
}

func (s *soak) broke(format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	s.broken = append(s.broken, what)
	s.say("   BROKEN: %s", what)
}

func (s *soak) say(format string, args ...any) {
	s.log.say(time.Since(s.start), fmt.Sprintf(format, args...))
}
