package e2e

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"sereno/bench/e2e/harness"
	"sereno/bench/internal/scrape"
	"sereno/bench/load"
	"sereno/config"
	"sereno/config/spoil"
)

// TestE2EO04ReloadsUnderTraffic reloads a node two hundred times, by each of the three ways, under 5,000 DNS queries and
// 1,000 logins a second. A tenth of the configurations are broken and are refused whole; the others change one
// thing each. Nothing is lost: no query, no login, no record, no TCP connection, no BGP session, no route, no cache
// entry, no verdict on a backend, no counter.
func TestE2EO04ReloadsUnderTraffic(t *testing.T) {
	reloads, pace := 200, 110*time.Millisecond
	if whole {
		reloads, pace = 600, 250*time.Millisecond
	}
	lab := harness.New(t)
	r := newReloadSite(t, lab)
	w := r.router.Watch()
	w.Until(harness.DNSPrefix, true, 20*time.Second)
	w.Until(harness.RADIUSPrefix, true, 20*time.Second)
	lab.Eventually(10*time.Second, "the backends are known", func() bool { return len(r.verdicts(t)) == 6 })
	bgpBefore, verdicts := bgpSession(w), r.verdicts(t)
	const canary = "canary.ttl-3600.load.test."
	if got := answerOf(t, r.s.DNS, canary); len(got.Answer) != 1 {
		t.Fatal(got)
	}
	stream := longConnection(t, r.s.DNS)
	queries := reloadDNSLoad(t, r.s)
	const rate = 1334 // three of four are logins
	nas, logins := radiusLoad(t, r.s, load.RADIUSConfig{Common: load.Common{Rate: rate, Timeout: 6 * time.Second}, PAP: 2, CHAP: 1, Acct: 1})

	tally := map[string]int{}
	order := rand.Perm(fields)
	before := r.s.Metrics()
	began, asked, loggedIn := time.Now(), queries.books(), logins.books()
	for n := range reloads {
		next := time.Now().Add(pace)
		if n%10 == 9 {
			r.broken(t, n, tally)
		} else {
			what := order[n%fields]
			r.v[what]++
			r.good(t, n, what, tally)
		}
		if n%20 == 0 {
			before = r.monotonic(t, before)
			answerOf(t, r.s.DNS, canary) // so that a flood of new names has no claim to its place
			if w.Route(harness.DNSPrefix) == "" || w.Route(harness.RADIUSPrefix) == "" {
				t.Fatalf("reload %d: a route has gone", n)
			}
		}
		time.Sleep(time.Until(next))
	}
	elapsed := time.Since(began)
	t.Logf("%d reloads in %s: %v", reloads, elapsed.Round(time.Millisecond), tally)
	queries.kept(queriesPerSecond, &asked, elapsed)
	logins.kept(rate, &loggedIn, elapsed)

	if got := bgpSession(w); !got.same(bgpBefore) {
		t.Errorf("the BGP session is another one:\n%v\nit was\n%v", got, bgpBefore)
	}
	if route := w.Route(harness.DNSPrefix); !strings.Contains(route, fmt.Sprintf("BGP.med: %d", r.v[anycastMED])) || !strings.Contains(route, fmt.Sprintf("(64512,%d)", r.v[anycastCommunity])) {
		t.Errorf("the route does not bear the last med %d and community %d:\n%s", r.v[anycastMED], r.v[anycastCommunity], route)
	}
	for backend, since := range verdicts {
		if now := r.verdicts(t)[backend]; now != since && !strings.Contains(backend, "third") {
			t.Errorf("the verdict on %s was of %s and is of %s", backend, since, now)
		}
	}
	if got := answerOf(t, r.s.DNS, canary); len(got.Answer) != 1 || got.Answer[0].Header().Ttl >= 3600 {
		t.Errorf("what was cached before has gone: %v", got)
	}
	stream()
	queries.nothingLost("DNS")
	logins.nothingLost("RADIUS")
	for _, record := range nas.Acknowledged() {
		if r.books.Count(record) == 0 {
			t.Fatalf("the record %v was acknowledged, and no server has it", record)
		}
	}
	r.s.WaitIdle()
}

// kept demands that nine tenths of a rate were sent at least, in the time since before. A generator that the machine
// starved is told of and no failure; one that waited for answers is.
func (r *running) kept(rate float64, before *load.Books, elapsed time.Duration) {
	r.t.Helper()
	b := r.books()
	sent := b.Sent - before.Sent
	r.t.Logf("%.0f of %.0f requests a second were sent", float64(sent)/elapsed.Seconds(), rate)
	switch short := 0.9*rate*elapsed.Seconds() - float64(sent); {
	case short <= 0:
	case b.Behind < elapsed/20 || float64(b.Waiting) > rate:
		r.t.Errorf("that is too few: %d wait for an answer, the generator was up to %s behind", b.Waiting, b.Behind)
	default:
		r.t.Logf("that is too few: this machine starved the generator, which was up to %s behind; what follows holds for the lower rate", b.Behind)
	}
}

// queriesPerSecond is the rate of reloadDNSLoad.
const queriesPerSecond = 5000

// reloadDNSLoad asks for names that the cache has, and for some that it cannot have.
func reloadDNSLoad(t *testing.T, s *harness.Sereno) *running {
	t.Helper()
	d, err := load.NewDNS(load.DNSConfig{
		Common:  load.Common{Rate: queriesPerSecond, Timeout: 4 * time.Second},
		Targets: []netip.AddrPort{s.DNS}, Names: 2000, Zipf: 0.9, New: 0.2, Labels: "ttl-600",
	})
	if err != nil {
		t.Fatal(err)
	}
	return start(t, d.Run, d.Books, d.Use)
}

// good reloads what is written, and demands that it counts.
func (r *reloadSite) good(t *testing.T, n, what int, tally map[string]int) {
	t.Helper()
	r.write(r.yaml())
	onlyFile := what == adminToken || what == blockFile // the hash does not tell when it is done
	switch {
	case n%3 == 0 && !onlyFile:
		tally["SIGHUP"]++
		want := r.hash(t)
		r.s.Signal(syscall.SIGHUP)
		r.lab.Eventually(10*time.Second, fmt.Sprintf("reload %d (change of thing %d) is applied", n, what), func() bool {
			return r.config(t).Hash == want
		})
	case n%3 == 1:
		tally["sereno reload"]++
		if out, code := r.command(t, "reload", "-c", r.s.ConfigFile); code != 0 {
			t.Fatalf("reload %d (change of thing %d): %d\n%s", n, what, code, out)
		}
	default:
		tally["API"]++
		if code, body := r.post(t, "/api/v1/reload"); code != http.StatusOK {
			t.Fatalf("reload %d (change of thing %d): %d\n%s", n, what, code, body)
		}
	}
	if c := r.config(t); c.LastError != "" || c.Hash != r.hash(t) {
		t.Fatalf("reload %d (change of thing %d): %+v", n, what, c)
	}
	if what == blockFile || what == blockList {
		rcode := dns.RcodeNameError
		if r.odd(blockList) {
			rcode = dns.RcodeSuccess
		}
		if got := answerOf(t, r.s.DNS, fmt.Sprintf("x%d.blocked-%d.test.", n, r.v[blockFile])); got.Rcode != rcode {
			t.Errorf("reload %d: a name on the block list is answered with %s", n, dns.RcodeToString[got.Rcode])
		}
	}
}

// broken reloads a configuration with a mistake, which is refused and changes nothing. The next good one is written
// over it.
func (r *reloadSite) broken(t *testing.T, n int, tally map[string]int) {
	t.Helper()
	was := r.config(t)
	if n%40 == 39 { // without a mistake in it, but it cannot be
		taken, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(r.lab.Addr(98), harness.DNSPort)))
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
		r.write(strings.Replace(r.yaml(), "    listen: [", fmt.Sprintf("    listen: [%q, ", netip.AddrPortFrom(r.lab.Addr(98), harness.DNSPort)), 1))
		tally["port taken"]++
	} else {
		w := r.wrong(t)
		r.write(w.Text)
		tally["broken"]++
	}
	code, body := r.post(t, "/api/v1/reload")
	if code != http.StatusConflict || !strings.Contains(string(body), `"reason"`) {
		t.Fatalf("reload %d of a broken configuration: %d\n%s", n, code, body)
	}
	now := r.config(t)
	if now.Hash != was.Hash || now.Loaded != was.Loaded || now.LastError == "" {
		t.Errorf("reload %d of a broken configuration: it was %+v and is %+v", n, was, now)
	}
}

// wrong draws a configuration that is refused from all ways to spoil the present one.
func (r *reloadSite) wrong(t *testing.T) spoil.Wrong {
	t.Helper()
	all, _, err := spoil.All([]byte(r.yaml()))
	if err != nil {
		t.Fatal(err)
	}
	for {
		w := all[rand.IntN(len(all))]
		if _, report := config.Parse(r.s.ConfigFile, []byte(w.Text), config.Options{}); report.Err() != nil {
			return w
		}
	}
}

// hash is that of the file as it stands.
func (r *reloadSite) hash(t *testing.T) string {
	t.Helper()
	c, report := config.Load(r.s.ConfigFile, config.Options{})
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	return c.Hash
}

func (r *reloadSite) status(t *testing.T) scrape.Status {
	t.Helper()
	code, body := r.ask(t, http.MethodGet, "/api/v1/status")
	s, err := scrape.ParseStatus(body)
	if err != nil || code != http.StatusOK {
		t.Fatalf("asking for the status: %d, %v", code, err)
	}
	return s
}

func (r *reloadSite) config(t *testing.T) scrape.LoadedConfig {
	t.Helper()
	return r.status(t).Config
}

// verdicts are since when each backend is up.
func (r *reloadSite) verdicts(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, p := range r.status(t).Pools {
		for _, b := range p.Backends {
			if b.State == "up" {
				out[p.Name+"/"+b.Name+"/"+b.Role] = b.Since
			}
		}
	}
	return out
}

// monotonic demands that no counter has fallen since an earlier scrape, and none is gone but those of what comes and goes.
func (r *reloadSite) monotonic(t *testing.T, before harness.Metrics) harness.Metrics {
	t.Helper()
	now := r.s.Metrics()
	value := map[string]float64{}
	for _, s := range now {
		value[s.Name+fmt.Sprint(s.Labels)] = s.Value
	}
	for _, s := range before {
		text := fmt.Sprint(s.Labels)
		if !strings.HasSuffix(s.Name, "_total") || strings.Contains(text, "third") || strings.Contains(text, "second-") || strings.Contains(text, "other") {
			continue
		}
		if v, ok := value[s.Name+text]; ok && v < s.Value || !ok && s.Value > 0 && s.Name != "sereno_kernel_drops_total" {
			t.Errorf("%s%s was %g and is %g", s.Name, text, s.Value, v)
		}
	}
	r.s.CheckBalance()
	return now
}

// post changes the node over its socket.
func (r *reloadSite) post(t *testing.T, path string) (int, []byte) {
	t.Helper()
	return r.ask(t, http.MethodPost, path)
}

func (r *reloadSite) ask(t *testing.T, method, path string) (int, []byte) {
	t.Helper()
	client := http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", r.lab.Dir()+"/admin.sock")
		},
	}}
	request, err := http.NewRequestWithContext(t.Context(), method, "http://node"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(reply.Body)
	if err := errors.Join(err, reply.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return reply.StatusCode, body
}

// command runs a command of the program under test to its end.
func (r *reloadSite) command(t *testing.T, args ...string) (string, int) {
	t.Helper()
	binary, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	return r.lab.Output("", binary, append(args, "--socket", r.lab.Dir()+"/admin.sock")...)
}

// session is what must stay of a BGP session: since when it stands, and how many routes were withdrawn in it.
type session struct {
	since time.Time
	text  string
}

// same allows for BIRD's rounding: it reckons the time of day from a time since its start, anew each time it is asked.
func (s session) same(o session) bool {
	return s.text == o.text && s.since.Sub(o.since).Abs() < 10*time.Millisecond
}

func bgpSession(w *harness.Watch) (s session) {
	var out []string
	for line := range strings.Lines(w.Ask("show protocols all node")) {
		if strings.Contains(line, "Established") || strings.Contains(line, "Import withdraws") {
			fields := strings.Fields(line)
			for i, field := range fields {
				if at, err := time.Parse("15:04:05.000", field); err == nil {
					s.since, fields[i] = at, "at"
				}
			}
			out = append(out, strings.Join(fields, " "))
		}
	}
	s.text = strings.Join(out, "\n")
	return s
}

// answerOf asks for an address once over UDP.
func answerOf(t *testing.T, server netip.AddrPort, name string) *dns.Msg {
	t.Helper()
	c := dns.Client{Timeout: 5 * time.Second}
	m, _, err := c.Exchange(new(dns.Msg).SetQuestion(name, dns.TypeA), server.String())
	if err != nil {
		t.Fatalf("asking for %s: %v", name, err)
	}
	return m
}

// longConnection asks over one TCP connection again and again; what it gives ends that, and demands that the
// connection held.
func longConnection(t *testing.T, server netip.AddrPort) (end func()) {
	t.Helper()
	conn, err := net.Dial("tcp", server.String())
	if err != nil {
		t.Fatal(err)
	}
	stop, result := make(chan struct{}), make(chan error, 1)
	asked := 0
	go func() {
		defer conn.Close()
		for {
			select {
			case <-stop:
				result <- nil
				return
			case <-time.After(20 * time.Millisecond):
			}
			if err := askStream(conn, uint16(asked)); err != nil {
				result <- fmt.Errorf("after %d questions: %w", asked, err)
				return
			}
			asked++
		}
	}()
	return func() {
		t.Helper()
		close(stop)
		if err := <-result; err != nil || asked == 0 {
			t.Errorf("the TCP connection was lost: %v", err)
		}
		t.Logf("%d questions over one TCP connection", asked)
	}
}

func askStream(conn net.Conn, id uint16) error {
	m := new(dns.Msg).SetQuestion(fmt.Sprintf("tcp-%d.load.test.", id%100), dns.TypeA)
	m.Id = id
	q, err := m.Pack()
	if err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(q))), q...)); err != nil {
		return err
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return err
	}
	reply := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, reply); err != nil {
		return err
	}
	if err := m.Unpack(reply); err != nil || m.Id != id || len(m.Answer) != 1 {
		return fmt.Errorf("answered with %v (%w)", m, err)
	}
	return nil
}
