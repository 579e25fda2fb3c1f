package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"sereno/bench/load"
	"sereno/bench/stub"
	"sereno/cmd/sereno/internal/admin"
)

// world is what the story is told about: the stage, or a test's.
type world interface {
	listening() bool
	status(site int) (*admin.Status, error)
	page(site int) string
	startClients() error
	traffic() (dns, radius load.Books)
	stopClients() (dns, radius load.Books, missing uint64)
	set(backend string, f stub.Fault) error
	route(prefix string) change
	changed() <-chan struct{}
	trouble() <-chan error
	now() time.Time
	wait(ctx context.Context, d time.Duration) error
}

// patience is how long the story waits for what must come.
const patience = 20 * time.Second

// poll is how often it asks a node.
const poll = 20 * time.Millisecond

// story tells what happens in a world.
type story struct {
	*narrator
	w           world
	dns, radius load.Books // as of the last report
	broke       time.Time  // when the last backend was broken or healed
}

// begin waits until everything stands and the clients are served.
func (s *story) begin(ctx context.Context) error {
	s.plain("sereno demo: one binary, everything on loopback, nothing needed. Simulated: the")
	s.plain("resolvers, the RADIUS servers and the clients. Real: the two sereno nodes and")
	s.plain("the BGP sessions to the router, each in a process of its own.")
	s.title("start")
	s.say("site 1: resolvers dns-1 and dns-2, RADIUS servers radius-1 and radius-2")
	s.say("site 2, to fall back on: resolver dns-3, RADIUS server radius-3")
	if err := s.until(ctx, "the router listens", s.w.listening); err != nil {
		return err
	}
	s.say("router: waits for %s (DNS) and %s (RADIUS)", dnsPrefix, radiusPrefix)
	for site := range sites {
		what := fmt.Sprintf("site %d announces both", site+1)
		if err := s.until(ctx, what, func() bool { return s.announced(site) }); err != nil {
			return err
		}
		s.say("%s: services up, BGP session established", what)
	}
	s.say("watch it in a browser: %s", s.w.page(0))
	for _, prefix := range []string{dnsPrefix, radiusPrefix} {
		if _, err := s.routeVia(ctx, prefix, 0); err != nil {
			return err
		}
	}
	s.say("router: best routes to both lead to site 1 (its MED is lower)")
	if err := s.w.startClients(); err != nil {
		return err
	}
	s.say("clients: %s questions/s, 4 of 10 for names never asked before;", count(dnsRate))
	s.more("%d logins and accounting records/s; every answer is checked", radiusRate)
	return s.report(ctx, 3*time.Second, "all is well")
}

// outage lets backends die one by one.
func (s *story) outage(ctx context.Context) error {
	s.title("one resolver dies")
	if err := s.fail("dns-1", stub.Closed, "killed"); err != nil {
		return err
	}
	if err := s.state(ctx, "dns-1", "dns", admin.StateDown); err != nil {
		return err
	}
	if err := s.report(ctx, 3*time.Second, "every one got its answer"); err != nil {
		return err
	}
	s.title("one radius server freezes")
	if err := s.fail("radius-1", stub.Silent, "frozen: it takes packets and never answers"); err != nil {
		return err
	}
	for _, role := range []string{"auth", "acct"} {
		if err := s.state(ctx, "radius-1", role, admin.StateDown); err != nil {
			return err
		}
	}
	if err := s.report(ctx, 3*time.Second, "every one got its answer"); err != nil {
		return err
	}
	s.title("the last resolver of site 1 dies too")
	if err := s.fail("dns-2", stub.Closed, "killed"); err != nil {
		return err
	}
	moved, err := s.routeVia(ctx, dnsPrefix, 1)
	if err != nil {
		return err
	}
	s.sayAt(moved.At, "router: site 1 has withdrawn %s after %s;", dnsPrefix, long(moved.At.Sub(s.broke)))
	s.more("the best route now leads to site 2. RADIUS at site 1 works and stays")
	if err := s.report(ctx, 4*time.Second, "led to site 2, and every one got its answer"); err != nil {
		return err
	}
	s.more("whoever met silence or SERVFAIL meanwhile asked again, as clients do")
	return nil
}

// recovery brings the backends back.
func (s *story) recovery(ctx context.Context) error {
	s.title("one resolver comes back")
	if err := s.w.set("dns-2", stub.Healthy); err != nil {
		return err
	}
	s.broke = s.w.now()
	s.say("dns-2 answers again")
	if err := s.state(ctx, "dns-2", "dns", admin.StateUp); err != nil {
		return err
	}
	s.say("site 1 waits for 2 s of unbroken health before it announces")
	moved, err := s.routeVia(ctx, dnsPrefix, 0)
	if err != nil {
		return err
	}
	s.sayAt(moved.At, "router: %s leads to site 1 again, after %s", dnsPrefix, long(moved.At.Sub(s.broke)))
	for _, name := range []string{"dns-1", "radius-1"} {
		if err := s.w.set(name, stub.Healthy); err != nil {
			return err
		}
	}
	s.say("dns-1 and radius-1 are healed too")
	return s.report(ctx, 3*time.Second, "all is well again")
}

// ErrLost says that the clients' requests were not all answered rightly; the last line of the story tells how many.
var ErrLost = errors.New("requests were lost")

// end stops the clients, gives the totals, and ends with the last line.
func (s *story) end() error {
	s.title("totals")
	dns, radius, missing := s.w.stopClients()
	s.say("%s: %s answered rightly, %s asked again", plural(dns.Sent, "question"), count(dns.Answered), count(dns.Resent))
	s.say("%s and records: %s answered rightly, %s sent again", plural(radius.Sent, "login"), count(radius.Answered), count(radius.Resent))
	if missing == 0 {
		s.say("every accounting record that was acknowledged is in a server's books")
	} else {
		s.say("%s acknowledged, and in no server's books", plural(missing, "accounting record"))
	}
	for _, why := range append(dns.Faulty, radius.Faulty...) {
		if !dns.Clean() || !radius.Clean() {
			s.more("%s", why)
		}
	}
	unaccounted, err := s.unaccounted()
	if err != nil {
		return s.broken(err)
	}
	if len(unaccounted) > 0 {
		return s.broken(errors.New(strings.Join(unaccounted, "\n")))
	}
	lost := dns.Lost + dns.Wrong + radius.Lost + radius.Wrong + missing
	s.plain("")
	if lost == 0 && dns.Sent > 0 && radius.Sent > 0 {
		s.plain("demo: nothing lost")
		return s.failure()
	}
	s.plain("demo: LOST %s: DNS %d unanswered, %d wrong; RADIUS %d unanswered, %d wrong, %d missing", count(lost), dns.Lost, dns.Wrong, radius.Lost, radius.Wrong, missing)
	return ErrLost
}

// unaccounted tells what a node has received and neither answered nor dropped, and is not in flight either: nothing, in
// a sound one.
func (s *story) unaccounted() (wrong []string, err error) {
	for site := range sites {
		st, err := s.w.status(site)
		if err != nil {
			return nil, fmt.Errorf("the counters of site %d: %w", site+1, err)
		}
		for _, v := range st.Services {
			if known := v.Answers + v.Drops + uint64(max(0, v.InFlight)); v.Requests != known {
				wrong = append(wrong, fmt.Sprintf("site %d: %s has received %d requests, and accounts for %d", site+1, v.Name, v.Requests, known))
			}
		}
	}
	return wrong, nil
}

// fail breaks a backend of site 1.
func (s *story) fail(backend string, f stub.Fault, how string) error {
	if err := s.w.set(backend, f); err != nil {
		return err
	}
	s.broke = s.w.now()
	s.say("%s is %s", backend, how)
	return nil
}

// state waits until site 1 has seen a backend's state, and says so.
func (s *story) state(ctx context.Context, backend, role, state string) error {
	reason := ""
	err := s.until(ctx, fmt.Sprintf("site 1 sees %s %s", backend, state), func() bool {
		st, err := s.w.status(0)
		if err != nil {
			return false
		}
		for _, p := range st.Pools {
			for _, b := range p.Backends {
				if b.Name == backend && b.Role == role && b.State == state {
					reason = b.Reason
					return true
				}
			}
		}
		return false
	})
	if err != nil {
		return err
	}
	text := fmt.Sprintf("site 1: %s is %s", backend, state)
	if role != "dns" {
		text += " for " + role
	}
	if reason != "" {
		text += " (" + reason + ")"
	}
	s.say("%s, seen after %s", text, long(s.w.now().Sub(s.broke)))
	return nil
}

// announced says whether a site announces everything it should.
func (s *story) announced(site int) bool {
	st, err := s.w.status(site)
	if err != nil || len(st.Anycast) == 0 || len(st.BGP.Neighbors) == 0 {
		return false
	}
	for _, a := range st.Anycast {
		if a.State != admin.StateAnnounced {
			return false
		}
	}
	for _, n := range st.BGP.Neighbors {
		if n.State != admin.StateEstablished {
			return false
		}
	}
	return true
}

// routeVia waits until the router's best route to a prefix leads to the site.
func (s *story) routeVia(ctx context.Context, prefix string, site int) (change, error) {
	deadline := s.w.now().Add(patience)
	for {
		next := s.w.changed()
		if c := s.w.route(prefix); c.Site == site {
			return c, nil
		}
		left := deadline.Sub(s.w.now())
		if left <= 0 {
			return change{}, fmt.Errorf("the router's route to %s does not lead to site %d after %s", prefix, site+1, patience)
		}
		limit, cancel := context.WithTimeout(ctx, left)
		select {
		case <-next:
		case err := <-s.w.trouble():
			cancel()
			return change{}, err
		case <-limit.Done():
		}
		cancel()
		if ctx.Err() != nil {
			return change{}, ctx.Err()
		}
	}
}

// until waits for something.
func (s *story) until(ctx context.Context, what string, ok func() bool) error {
	deadline := s.w.now().Add(patience)
	for !ok() {
		if s.w.now().After(deadline) {
			return fmt.Errorf("%s: not within %s", what, patience)
		}
		if err := s.pause(ctx, poll); err != nil {
			return err
		}
	}
	return nil
}

// pause lets the world go on.
func (s *story) pause(ctx context.Context, d time.Duration) error {
	select {
	case err := <-s.w.trouble():
		return err
	default:
		return s.w.wait(ctx, d)
	}
}

// report lets the clients work and says how it went for them since the last report.
func (s *story) report(ctx context.Context, d time.Duration, verdict string) error {
	if err := s.pause(ctx, d); err != nil {
		return err
	}
	dns, radius := s.w.traffic()
	if questions, logins := dns.Since(&s.dns), radius.Since(&s.radius); questions.Lost+questions.Wrong+logins.Lost+logins.Wrong > 0 {
		verdict = "NOT every one got its answer"
	}
	s.say("clients: %s", verdict)
	s.news(dns, radius)
	return nil
}

// news tells what the clients saw since the last time.
func (s *story) news(dns, radius load.Books) {
	s.more("  questions  %s", phase(dns.Since(&s.dns)))
	s.more("  logins     %s", phase(radius.Since(&s.radius)))
	s.dns, s.radius = dns, radius
}

// phase is what the clients saw, in one line.
func phase(b load.Books) string {
	return fmt.Sprintf("%6s answered, %s asked again, %s lost; slowest %s", count(b.Answered), count(b.Resent), count(b.Lost+b.Wrong), long(b.Latency.Max()))
}
