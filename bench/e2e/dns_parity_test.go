package e2e

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sereno/bench/e2e/harness"
)

func sortNames(names []string) { slices.Sort(names) }

// node starts sereno with a configuration of the test's own. The HTTP server and the state are the lab's.
func node(t *testing.T, lab *harness.Lab, name, text string) *harness.Sereno {
	t.Helper()
	s := prepareNode(t, lab, name, text)
	s.Start()
	s.WaitReady()
	return s
}

// prepareNode is node without the start.
func prepareNode(t *testing.T, lab *harness.Lab, name, text string) *harness.Sereno {
	t.Helper()
	s := lab.Prepare(harness.Config{})
	head := fmt.Sprintf("node: {name: %s, state_dir: %s/state}\nadmin: {socket: %s/admin.sock, listen: %q}\n", name, lab.Dir(), lab.Dir(), s.HTTP)
	if err := os.WriteFile(s.ConfigFile, []byte(head+text), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// behind is a backend and the service before it.
type behind struct {
	name    string
	backend netip.AddrPort
	service map[way]netip.AddrPort
}

// parityQuestions is how many questions each backend is asked.
const parityQuestions = 1500

// TestE2EDNSAnswersAreTheBackends sends a few thousand questions of all kinds to Unbound and to BIND, as a server and as
// a resolver, directly and through sereno, over each transport, when nobody has asked before and again, and compares
// everything.
func TestE2EDNSAnswersAreTheBackends(t *testing.T) {
	lab := harness.New(t)
	anchors := zones(t, lab)
	server := namedWithZones(t, lab)
	all := []*behind{
		{name: "unbound", backend: unboundWithZones(t, lab, anchors)},
		{name: "named", backend: server},
		{name: "forwarder", backend: namedBefore(t, lab, server, anchors)},
	}
	certificate := newCertificate(t, lab, "front", 1)
	var pools, services strings.Builder
	for i, b := range all {
		b.service = map[way]netip.AddrPort{}
		for w := range everyWay {
			b.service[way(w)] = netip.AddrPortFrom(lab.Addr(byte(70+i)), portOf(way(w)))
		}
		fmt.Fprintf(&pools, "  - {name: %s, protocol: dns, timeout: 5s, attempt_timeout: 4s, backends: [{name: only, address: %q}]}\n", b.name, b.backend)
		fmt.Fprintf(&services, "  - {name: %s, pool: %s, listen: [%q], %s}\n", b.name, b.name, b.service[overUDP], certificate.yaml(b.service[overTLS], b.service[overHTTPS]))
	}
	s := node(t, lab, nodeName, "pools:\n"+pools.String()+"dns:\n"+services.String())
	used := map[string]int{}
	for i, b := range all {
		t.Run(b.name, func(t *testing.T) {
			g := newGenerator(uint64(1+i), b.name != "unbound") // which tries for long to reach them
			questions := make([]*question, parityQuestions)
			for i := range questions {
				questions[i] = g.next()
			}
			for rule, n := range compareAll(t, b, questions) {
				used[rule] += n
			}
		})
	}
	for _, rule := range []string{
		ruleOPT, ruleTruncation, ruleSize, ruleAA, ruleMaxTTL, ruleNegative, ruleNSID, ruleKeepalive, rulePadding,
	} {
		if used[rule] == 0 && !t.Failed() {
			t.Errorf("no answer differed by %s", rule)
		}
	}
	for what, least := range map[string]int{"rcode 0": 1000, "rcode 2": 50, "rcode 3": 500, "AD": 100, "AA": 500, "TC over UDP": 50, "extended errors": 10, "RRSIG": 300} {
		if used[what] < least {
			t.Errorf("only %d of the backends' answers with %s", used[what], what)
		}
	}
	countsDown(t, all[0])
	for _, rule := range slices.Sorted(maps.Keys(used)) {
		t.Logf("%6d times %s", used[rule], rule)
	}
	s.WaitIdle()
}

// compareAll asks the questions, some at the same time, and gives which rules explained how many differences.
func compareAll(t *testing.T, b *behind, questions []*question) map[string]int {
	t.Helper()
	used := map[string]int{}
	var mu sync.Mutex
	differ := 0
	work := make(chan *question)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			c := newClient(t)
			defer c.close()
			mine := map[string]int{}
			for q := range work {
				wrong := compareOne(c, b, q, mine)
				mu.Lock()
				if len(wrong) > 0 {
					if differ++; differ <= 10 {
						t.Errorf("%s through %s:\n%s", q, b.name, strings.Join(wrong, "\n"))
					}
				}
				mu.Unlock()
			}
			mu.Lock()
			defer mu.Unlock()
			for rule, n := range mine {
				used[rule] += n
			}
		})
	}
	for _, q := range questions {
		work <- q
	}
	close(work)
	group.Wait()
	if differ > 0 {
		t.Errorf("%d of %d questions are answered differently through sereno", differ, len(questions))
	}
	return used
}

// given is an answer through sereno.
type given struct {
	what string
	way  way
	hit  bool
	*answer
}

// compareOne asks one question directly and through sereno, first as q.first says, then over every transport.
func compareOne(c *client, b *behind, q *question, used map[string]int) (wrong []string) {
	id := uint16(len(q.name)) * 257
	get := func(w way, to netip.AddrPort) *answer {
		id++
		m := c.ask(w, to, q.message(id))
		if m == nil {
			return nil
		}
		a, err := parse(m)
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("over %s from %s: %v", w, to, err))
		}
		return a
	}
	through := func(w way) *answer { return get(w, b.service[w]) }
	get(overTCP, b.backend) // a resolver's first answer may be another than its second
	direct, full := get(overUDP, b.backend), get(overTCP, b.backend)
	if direct == nil || full == nil {
		return append(wrong, "the backend does not answer")
	}
	note(direct, full, used)
	stored := full.stored(q)
	all := []given{{"first", q.first, false, through(q.first)}, {"second", overTCP, stored, through(overTCP)}}
	for _, w := range []way{overUDP, overTLS, overHTTPS} {
		all = append(all, given{"later", w, stored, through(w)})
	}
	if len(wrong) > 0 {
		return wrong
	}
	for _, g := range all {
		if g.answer == nil {
			return []string{"no answer through sereno"}
		}
	}
	judge := func(g given, direct, full *answer) []string {
		j := &judge{q: q, direct: direct, full: full, hit: g.hit, used: used}
		if g.way == overUDP && stored {
			j.compare(g.way, g.answer, all[1].answer)
		} else {
			j.compare(g.way, g.answer, nil)
		}
		return j.wrong
	}
	var then, after *answer // the backend's own answers, asked again: other questions may have taught it meanwhile
	for _, g := range all {
		differs := judge(g, direct, full)
		if len(differs) > 0 && then == nil {
			then, after = get(overUDP, b.backend), get(overTCP, b.backend)
		}
		if len(differs) > 0 && then != nil && after != nil && len(judge(g, then, after)) > 0 {
			wrong = append(wrong, fmt.Sprintf("%s over %s: %s", g.what, g.way, strings.Join(differs, "\n")))
		}
	}
	return wrong
}

// note counts what kinds of answers the backends gave, so that a test that compares nothing but errors would be seen.
func note(direct, full *answer, used map[string]int) {
	used[fmt.Sprintf("rcode %d", full.rcode)]++
	for what, is := range map[string]bool{
		"AD": full.flags&flagAD != 0, "AA": full.flags&flagAA != 0, "TC over UDP": direct.flags&flagTC != 0, "extended errors": len(full.errorsOf()) > 0,
		"RRSIG": slices.ContainsFunc(slices.Concat(full.sections[0], full.sections[1]), func(r record) bool { return r.typ == 46 }),
	} {
		if is {
			used[what]++
		}
	}
}

// countsDown waits until the TTL of an answer from the cache has gone down over every transport (D31).
func countsDown(t *testing.T, b *behind) {
	t.Helper()
	c := newClient(t)
	defer c.close()
	q := question{name: wire("www." + zonePlain), class: 1, typ: 1, flags: flagRD}
	ttl := func(w way) (uint32, time.Time) {
		a, err := parse(c.ask(w, b.service[w], q.message(1)))
		if err != nil || len(a.sections[0]) == 0 {
			t.Fatalf("no answer over %s: %v", w, err)
		}
		return a.sections[0][0].ttl, a.at
	}
	before, from := ttl(overUDP)
	time.Sleep(2200 * time.Millisecond)
	for w := range everyWay {
		now, at := ttl(w)
		passed := uint32(at.Sub(from) / time.Second)
		if gone := before - now; gone < passed || gone > passed+1 {
			t.Errorf("over %s the TTL fell by %d s in %s", w, gone, at.Sub(from))
		}
	}
}
