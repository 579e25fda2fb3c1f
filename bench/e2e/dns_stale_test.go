package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sereno/bench/e2e/harness"
	"sereno/bench/stub"
)

// askMany asks for names at the same time, each on a socket of its own, and gives the answers and the longest wait.
func askMany(t *testing.T, to netip.AddrPort, names []string) (answers []*answer, longest time.Duration) {
	t.Helper()
	answers = make([]*answer, len(names))
	var mu sync.Mutex
	var group sync.WaitGroup
	room := make(chan struct{}, 100)
	for i, name := range names {
		room <- struct{}{}
		group.Go(func() {
			defer func() { <-room }()
			c := newClient(t)
			defer c.close()
			q := question{name: wire(name), class: 1, typ: 1, flags: flagRD, edns: true, size: 1232}
			asked := time.Now()
			m := c.ask(overUDP, to, q.message(uint16(i)))
			took := time.Since(asked)
			if m == nil {
				return
			}
			a, err := parse(m)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			answers[i], longest = a, max(longest, took)
		})
	}
	group.Wait()
	for i, a := range answers {
		if a == nil {
			t.Fatalf("%s got no answer", names[i])
		}
	}
	return answers, longest
}

// manyNames are n names that begin alike.
func manyNames(n int, begin, rest string) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("%s%d.%s.load.test.", begin, i, rest))
	}
	return out
}

// wantAll judges answers that must be alike: rcode, TTL within bounds, and the code of the extended error (0: none).
func wantAll(t *testing.T, when string, names []string, answers []*answer, rcode int, least, most uint32, ede int) {
	t.Helper()
	for i, a := range answers {
		code := 0
		if e := a.errorsOf(); len(e) > 0 {
			_, _ = fmt.Sscan(e[0], &code) // 0 if it is no number
		}
		ttl := uint32(0)
		for _, s := range a.sections {
			if len(s) > 0 {
				ttl = s[0].ttl
			}
		}
		if a.rcode != rcode || ttl < least || ttl > most || code != ede {
			t.Errorf("%s: %s: rcode %d, TTL %d, extended errors %q; not rcode %d, TTL %d to %d, extended error %d",
				when, names[i], a.rcode, ttl, a.errorsOf(), rcode, least, most, ede)
			return
		}
	}
}

// TestE2EDNSStaleWhileAllAreDown takes every backend away in several ways: what was known is answered stale, soon and
// with its extended error, what was not gets SERVFAIL by its deadline, and everything is fresh when they are back.
func TestE2EDNSStaleWhileAllAreDown(t *testing.T) {
	lab := harness.New(t)
	backend, addrs := resolvers(t, lab, 2)
	dns := netip.AddrPortFrom(lab.Addr(53), harness.DNSPort)
	s := node(t, lab, "lab", backendsYAML(dns, "cache: {stale: {for: 1h, after: 600ms, ttl: 17s}}", addrs...))
	both := func(m stub.Mode) {
		for _, b := range backend {
			set(t, b, m)
		}
	}
	sets := map[string][]string{}
	for _, name := range []string{"silent", "failing", "down", "later"} {
		sets[name] = manyNames(100, name, "ttl-1")
		answers, _ := askMany(t, s.DNS, sets[name])
		wantAll(t, "before", sets[name], answers, 0, 1, 1, 0)
	}
	none := manyNames(100, "none", "nx.ttl-1")
	answers, _ := askMany(t, s.DNS, none)
	wantAll(t, "before", none, answers, 3, 1, 1, 0)
	time.Sleep(1200 * time.Millisecond) // they expire

	both(stub.Mode{Fault: stub.ProbesOnly})
	answers, longest := askMany(t, s.DNS, sets["silent"])
	t.Logf("silent backends that pass their probes: stale after %s at most", longest.Round(time.Millisecond))
	wantAll(t, "silent", sets["silent"], answers, 0, 17, 17, 3)
	if longest > 1100*time.Millisecond {
		t.Errorf("stale came after %s, though stale.after is 600ms", longest)
	}
	answers, longest = askMany(t, s.DNS, sets["silent"])
	wantAll(t, "silent, again", sets["silent"], answers, 0, 17, 17, 3)
	t.Logf("asked again: stale after %s at most", longest.Round(time.Millisecond))
	both(stub.Mode{Fault: stub.Servfail})
	time.Sleep(1100 * time.Millisecond) // a good probe, and slow start's first moment
	answers, _ = askMany(t, s.DNS, sets["failing"])
	wantAll(t, "SERVFAIL", sets["failing"], answers, 0, 17, 17, 3)

	both(stub.Mode{Fault: stub.Closed})
	s.WaitBackend("backend-1", "dns", "down")
	s.WaitBackend("backend-2", "dns", "down")
	answers, longest = askMany(t, s.DNS, sets["down"])
	wantAll(t, "down", sets["down"], answers, 0, 17, 17, 3)
	t.Logf("all are down: stale after %s at most", longest.Round(time.Millisecond))
	if longest > 300*time.Millisecond {
		t.Errorf("stale came after %s, though every backend is known to be down", longest)
	}
	answers, _ = askMany(t, s.DNS, none)
	wantAll(t, "down, NXDOMAIN", none, answers, 3, 17, 17, 19)
	unknown := manyNames(50, "unknown", "ttl-1")
	answers, longest = askMany(t, s.DNS, unknown)
	if longest > 2500*time.Millisecond {
		t.Errorf("SERVFAIL came after %s", longest)
	}
	for i, a := range answers {
		if e := a.errorsOf(); a.rcode != 2 || len(e) != 1 || !strings.HasPrefix(e[0], "22 ") && !strings.HasPrefix(e[0], "23 ") {
			t.Errorf("%s: rcode %d, extended errors %q", unknown[i], a.rcode, e)
		}
	}
	if n := s.Metrics().Sum("sereno_dns_answers_total", "source", "stale"); n < 500 {
		t.Errorf("%g stale answers are counted", n)
	}

	both(stub.Mode{})
	s.WaitBackend("backend-1", "dns", "up")
	s.WaitBackend("backend-2", "dns", "up")
	answers, _ = askMany(t, s.DNS, sets["later"])
	wantAll(t, "back", sets["later"], answers, 0, 1, 1, 0)
	answers, _ = askMany(t, s.DNS, unknown)
	wantAll(t, "back, unknown before", unknown, answers, 0, 1, 1, 0)
	s.WaitIdle()
}

// TestE2EDNSSnapshotOverARestart stops the node and starts it while no backend is there: what it knew it still knows,
// with TTLs that went on counting. A torn file, and one that is something else, are ignored with a warning.
func TestE2EDNSSnapshotOverARestart(t *testing.T) {
	lab := harness.New(t)
	backend, addrs := resolvers(t, lab, 1)
	dns := netip.AddrPortFrom(lab.Addr(53), harness.DNSPort)
	s := node(t, lab, "lab", backendsYAML(dns, "cache: {stale: {for: 0s}}", addrs...))
	names := manyNames(300, "kept", "ttl-300")
	short := manyNames(50, "short", "ttl-2")
	for _, set := range [][]string{names, short} {
		_, _ = askMany(t, s.DNS, set)
	}
	from := time.Now()
	stop := func() {
		t.Helper()
		s.Signal(syscall.SIGTERM)
		if code := s.Wait(20 * time.Second); code != 0 {
			t.Fatalf("a stop ended with %d", code)
		}
	}
	begin := func() {
		t.Helper()
		s.Start()
		lab.Eventually(20*time.Second, "it answers again", func() bool {
			c := newClient(t)
			defer c.close()
			_, err := c.try(overUDP, s.DNS, (&question{name: wire("id.server."), class: 3, typ: 16}).message(1), 100*time.Millisecond)
			return err == nil
		})
	}
	stop()
	set(t, backend[0], stub.Mode{Fault: stub.Closed})
	time.Sleep(time.Until(from.Add(2200 * time.Millisecond))) // the TTLs go on
	begin()
	answers, longest := askMany(t, s.DNS, names)
	passed := uint32(time.Since(from) / time.Second)
	wantAll(t, "after a restart", names, answers, 0, 300-passed-1, 300-2, 0)
	t.Logf("after a restart, without a backend: answers after %s at most", longest.Round(time.Millisecond))
	if answers, _ = askMany(t, s.DNS, short); answers[0].rcode != 2 {
		t.Errorf("what expired meanwhile is answered with rcode %d", answers[0].rcode)
	}
	if n := s.Metrics().Sum("sereno_dns_answers_total", "source", "cache"); n != 300 {
		t.Errorf("%g answers came from the cache", n)
	}
	set(t, backend[0], stub.Mode{})
	for what, spoil := range map[string]func([]byte) []byte{
		"torn":    func(b []byte) []byte { return b[:len(b)/2] },
		"changed": func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"foreign": func([]byte) []byte { return []byte("#!/bin/sh\necho this is something else\n") },
	} {
		stop()
		files, err := filepath.Glob(filepath.Join(lab.Dir(), "state", "*cache*"))
		if err != nil || len(files) != 1 {
			t.Fatalf("%d snapshots in the state directory: %v", len(files), err)
		}
		content, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(files[0], spoil(content), 0o600); err != nil {
			t.Fatal(err)
		}
		logged := len(s.Log())
		begin()
		s.WaitReady()
		if log := s.Log()[logged:]; !strings.Contains(log, "WARN") || !strings.Contains(log, "snapshot") {
			t.Errorf("no warning of a %s snapshot:\n%s", what, log)
		}
		answers, _ = askMany(t, s.DNS, names[:20])
		wantAll(t, "after a "+what+" file", names[:20], answers, 0, 300, 300, 0)
	}
	s.WaitIdle()
}
