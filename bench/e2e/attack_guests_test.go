package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"sereno/bench/e2e/harness"
	"sereno/bench/load"
)

// guest is a well-behaved client.
type guest struct {
	name  string
	work  *running
	quiet time.Duration // p99 without an attack
}

// watched is a node with well-behaved clients, which are looked at while something happens.
type watched struct {
	t      *testing.T
	lab    *harness.Lab
	s      *harness.Sereno
	guests []*guest
	rest   state // before anything happens
	faulty bool  // panics are what is tried
}

// state is what a process takes of its machine.
type state struct{ memory, files, threads, goroutines int }

// Bounds of what an attack may cost, beside the latency of the others.
const (
	mostMemory     = 160 << 20 // octets more than before
	mostThreads    = 120
	mostGoroutines = 2000 + 2*mostConnections // more than before; 64 queries over HTTPS wait on a connection each
	restMemory     = 96 << 20                 // octets more, when all is over
)

// patience is the p99 that nobody notices: what a resolver takes that has to ask others. On a machine that is busy with
// other things the generator itself is late, and so are its clients.
func (g *guest) patience(b *load.Books) time.Duration {
	return 100*time.Millisecond + 5*g.quiet + 4*b.Lag.Quantile(0.99)
}

// welcome starts the well-behaved clients and learns how they fare without an attack.
func (a *attacked) welcome() {
	a.t.Helper()
	a.askDNS()
	to := func(w way) []netip.AddrPort { return []netip.AddrPort{a.at(w)} }
	a.ask("over TCP", load.DNSConfig{Common: paced(50, 2), Targets: to(overTCP), Transport: load.TCP, Names: 100, New: 0.1})
	a.ask("over TLS", load.DNSConfig{Common: paced(50, 2), Targets: to(overTLS), Transport: load.TLS, Names: 100, New: 0.1})
	h := newHTTPSGuest(a)
	a.guests = append(a.guests, &guest{name: "over HTTPS", work: start(a.t, h.run, h.books, func(int) {})})
	a.logIn()
	a.quiet()
}

func paced(rate float64, sockets int) load.Common {
	return load.Common{Rate: rate, Timeout: 4 * time.Second, Sockets: sockets}
}

// ask starts a client of the DNS. Unbound's answers to these names are those that package stub has for them.
func (a *watched) ask(name string, c load.DNSConfig) {
	a.t.Helper()
	c.Labels = harness.LoadLabels
	d, err := load.NewDNS(c)
	if err != nil {
		a.t.Fatal(err)
	}
	a.guests = append(a.guests, &guest{name: name, work: start(a.t, d.Run, d.Books, d.Use)})
}

// askDNS starts clients over UDP: who is answered from the cache mostly, and who never is.
func (a *watched) askDNS() {
	a.t.Helper()
	to := []netip.AddrPort{a.s.DNS}
	a.ask("popular names", load.DNSConfig{Common: paced(500, 16), Targets: to, Names: 300, Zipf: 0.9})
	a.ask("new names", load.DNSConfig{Common: paced(200, 16), Targets: to})
}

// logIn starts a NAS that logs in and accounts.
func (a *watched) logIn() {
	a.t.Helper()
	_, nas := radiusLoad(a.t, a.s, load.RADIUSConfig{Common: paced(100, 0), PAP: 2, CHAP: 1, Acct: 2, NAS: "well-behaved"})
	a.guests = append(a.guests, &guest{name: "RADIUS", work: nas})
}

// quiet learns how the clients fare while nothing happens.
func (a *watched) quiet() {
	t := a.t
	t.Helper()
	a.settle(500 * time.Millisecond) // connections are made, names are cached
	before := a.books()
	a.settle(time.Second)
	for i, g := range a.guests {
		b := g.work.books()
		d := b.Since(&before[i])
		g.quiet = d.Latency.Quantile(0.99)
		t.Logf("quiet: %s: %s", g.name, &d)
	}
	a.rest = a.look()
	t.Logf("quiet: %+v", a.rest)
}

// settle lets the clients go on for so long by their own clock.
func (a *watched) settle(d time.Duration) {
	from := a.books()
	for i, g := range a.guests {
		a.lab.Eventually(30*time.Second, g.name+" goes on", func() bool {
			b := g.work.books()
			return b.Elapsed-from[i].Elapsed >= d
		})
	}
}

func (a *watched) books() (all []load.Books) {
	for _, g := range a.guests {
		all = append(all, g.work.books())
	}
	return all
}

// under plays an attack and demands that nobody notices.
func (a *watched) under(t *testing.T, play func()) {
	t.Helper()
	before := a.books()
	faults := a.s.Metrics().Sum("sereno_panics_total")
	peak := a.watch()
	began := time.Now()
	play()
	a.settle(200 * time.Millisecond)
	took := time.Since(began).Round(10 * time.Millisecond)
	most := peak()
	for i, g := range a.guests {
		at := g.work.books()
		a.lab.Eventually(10*time.Second, g.name+" has its answers", func() bool {
			now := g.work.books()
			return now.Answered+now.Wrong+now.Lost >= at.Sent
		})
		b := g.work.books()
		d := b.Since(&before[i])
		p99, most := d.Latency.Quantile(0.99), g.patience(&d)
		t.Logf("%s: %d sent, %d lost, %d wrong, p99 %s (quiet %s, at most %s)", g.name, d.Sent, d.Lost, d.Wrong, p99, g.quiet, most)
		if d.Lost != 0 || d.Wrong != 0 {
			t.Errorf("%s: %d lost, %d wrong of %d: %v", g.name, d.Lost, d.Wrong, d.Sent, b.Faulty)
		}
		if p99 > most {
			t.Errorf("%s: p99 %s, at most %s", g.name, p99, most)
		}
	}
	t.Logf("%s: at most %d MiB, %d files, %d threads, %d goroutines", took, most.memory>>20, most.files, most.threads, most.goroutines)
	if grown := most.memory - a.rest.memory; grown > mostMemory {
		t.Errorf("%d MiB more memory", grown>>20)
	}
	if most.files > a.rest.files+mostConnections+150 || most.threads > mostThreads || most.goroutines > a.rest.goroutines+mostGoroutines {
		t.Errorf("%d files, %d threads, %d goroutines; before the attacks %+v", most.files, most.threads, most.goroutines, a.rest)
	}
	if n := a.s.Metrics().Sum("sereno_panics_total"); n != faults && !a.faulty {
		t.Errorf("%g panics", n-faults)
	}
	if !a.s.Running() {
		t.Fatal("the node has ended")
	}
}

// look is what the node takes now.
func (a *watched) look() state {
	s := a.seen()
	s.goroutines = int(a.s.Metrics().Sum("go_goroutines"))
	return s
}

// seen is look without what has to be asked of the node. Memory is what is not of files.
func (a *watched) seen() (s state) {
	proc := filepath.Join("/proc", strconv.Itoa(a.s.PID()))
	text, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		return s // it has ended; others notice
	}
	for line := range bytes.Lines(text) {
		fields := bytes.Fields(line)
		if len(fields) < 2 {
			continue
		}
		n, _ := strconv.Atoi(string(fields[1])) // of those that are numbers
		switch string(fields[0]) {
		case "RssAnon:":
			s.memory = n << 10
		case "Threads:":
			s.threads = n
		}
	}
	files, _ := os.ReadDir(filepath.Join(proc, "fd"))
	s.files = len(files)
	return s
}

// watch looks at the node again and again until its end is called, which gives the most of each.
func (a *watched) watch() (end func() state) {
	ctx, cancel := context.WithCancel(context.Background())
	var most state
	var done sync.WaitGroup
	done.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			s := a.seen()
			most = state{max(most.memory, s.memory), max(most.files, s.files), max(most.threads, s.threads), most.goroutines}
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	return func() state {
		most.goroutines = int(a.s.Metrics().Sum("go_goroutines"))
		cancel()
		done.Wait()
		return most
	}
}

// farewell ends the clients: none has lost anything, and the node is at rest again.
func (a *watched) farewell() {
	a.t.Helper()
	// Source ports towards backends are kept for a while.
	a.lab.Eventually(30*time.Second, "what the attackers had is given back", func() bool {
		s := a.look()
		return s.files <= a.rest.files+150 && s.goroutines <= a.rest.goroutines+40
	})
	for _, g := range a.guests {
		g.work.nothingLost(g.name)
	}
	s := a.look()
	a.t.Logf("at the end: %+v, in the beginning %+v", s, a.rest)
	if grown := s.memory - a.rest.memory; grown > restMemory {
		a.t.Errorf("when all is over: %d MiB more memory", grown>>20)
	}
	a.s.WaitIdle()
}

// httpsGuest asks over one connection of HTTP/2, and keeps books as package load does.
type httpsGuest struct {
	a  *attacked
	mu sync.Mutex
	b  load.Books
}

func newHTTPSGuest(a *attacked) *httpsGuest { return &httpsGuest{a: a} }

func (h *httpsGuest) books() load.Books {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.b
}

func (h *httpsGuest) run(ctx context.Context) (load.Books, error) {
	c := newClient(h.a.t)
	defer c.close()
	to := h.a.at(overHTTPS)
	begin := time.Now()
	const every = 25 * time.Millisecond
	for n := 0; ctx.Err() == nil; n++ {
		due := begin.Add(time.Duration(n) * every)
		time.Sleep(time.Until(due))
		h.mu.Lock()
		h.b.Sent++
		h.b.Elapsed = due.Sub(begin)
		h.b.Lag.Add(max(0, time.Since(due)))
		h.mu.Unlock()
		sent := time.Now() // one at a time: a slow answer must not count for those after it too
		q := question{name: wire(fmt.Sprintf("https-%d.%s.load.test.", n%200, harness.LoadLabels)), class: 1, typ: 1, flags: flagRD}
		m, err := c.try(overHTTPS, to, q.message(uint16(n)), 4*time.Second)
		h.mu.Lock()
		switch {
		case err != nil:
			h.b.Lost++
			h.b.Faulty = append(h.b.Faulty, err.Error())
		case len(m) < 12 || m[3]&15 != 0 || m[7] != 1 || !bytes.HasSuffix(m, []byte{192, 0, 2, 53}):
			h.b.Wrong++
			h.b.Faulty = append(h.b.Faulty, fmt.Sprintf("%x", m))
		default:
			h.b.Answered++
			h.b.Latency.Add(time.Since(sent))
		}
		h.mu.Unlock()
	}
	return h.books(), nil
}
