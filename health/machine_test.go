package health

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// birth is when all lives of the tables begin.
var birth = time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)

func testLimits() limits {
	return limits{
		fall: 2, rise: 2, suspectAfter: 2, interval: time.Second, timeout: 500 * time.Millisecond,
		attempt: 400 * time.Millisecond, slowStart: 10 * time.Second, probed: true,
	}
}

// live gives a machine one piece of evidence, named as the tables write it.
func live(t *testing.T, m *machine, at time.Duration, what string) change {
	t.Helper()
	now := birth.Add(at)
	switch what {
	case "good":
		return m.probe(now, Result{Start: now, End: now, OK: true}, false)
	case "good-other": // while another backend is up
		return m.probe(now, Result{Start: now, End: now, OK: true}, true)
	case "old-good": // it was sent before anything of the last second
		return m.probe(now, Result{Start: now.Add(-time.Second), End: now, OK: true}, false)
	case "bad":
		return m.probe(now, Result{Start: now, End: now, Reason: ReasonProbeFailed, Detail: "no answer in time"}, false)
	case "refused":
		return m.probe(now, Result{Start: now, End: now, Reason: ReasonRefused, Detail: "the port is closed"}, false)
	case "silent":
		return m.silence(now, false)
	case "silent-peer": // while another backend answers requests
		return m.silence(now, true)
	case "icmp":
		return m.unreachable(now, false, ReasonRefused, "the port is closed")
	case "reply":
		return m.reply(now)
	case "drain":
		return m.drain(now, true)
	case "undrain":
		return m.drain(now, false)
	case "tick":
		return m.tick(now)
	case "nothing":
		return change{}
	}
	t.Fatalf("the table says %q", what)
	return change{}
}

// A life is written as "TIME EVIDENCE… STATE[:REASON]" lines; evidence of one
// line comes at the same time.
func replay(t *testing.T, l limits, life string) *machine {
	t.Helper()
	m := newMachine(l, birth)
	for _, line := range strings.Split(strings.TrimSpace(life), "\n") {
		words := strings.Fields(line)
		at, err := time.ParseDuration(words[0])
		if err != nil {
			t.Fatal(err)
		}
		var last change
		for _, what := range words[1 : len(words)-1] {
			before := m.state()
			c := live(t, &m, at, what)
			if c.from != c.to {
				last = c
			}
			if c.from != c.to && (c.from != before || c.to != m.state()) {
				t.Fatalf("%q: %s tells %v to %v, but it went from %v to %v", line, what, c.from, c.to, before, m.state())
			}
			if c.from == c.to && before != m.state() {
				t.Fatalf("%q: %s changed %v to %v and did not tell", line, what, before, m.state())
			}
		}
		state, reason, _ := strings.Cut(words[len(words)-1], ":")
		if m.state().String() != state {
			t.Fatalf("%q: the state is %v (%s)", line, m.state(), m.detail)
		}
		if reason != "" && string(last.reason) != reason {
			t.Fatalf("%q: the reason is %q", line, last.reason)
		}
	}
	return &m
}

func TestA01StartingComesUpAtItsFirstGoodProbeWithoutSlowStart(t *testing.T) {
	m := replay(t, testLimits(), `
		0s     nothing           starting
		0s     silent silent     starting
		0s     icmp              starting
		0.1s   good              up:probe-passed`)
	if got := m.share(birth.Add(101 * time.Millisecond)); got != 1 {
		t.Errorf("its share is %v: a first start is not a recovery", got)
	}
	if Starting.Healthy() {
		t.Error("starting counts as healthy")
	}
	replay(t, testLimits(), `
		0s     bad               starting
		1s     bad               down:probe-failed
		2s     good              down
		3s     good              up:probe-passed`)
}

// Any life at all: a change is told if and only if the state changed, with a
// reason of the list, and only along the machine's edges.
func TestA01EveryChangeHasItsReasonAndIsToldOnce(t *testing.T) {
	edges := map[[2]State]bool{
		{Starting, Up}: true, {Starting, Down}: true, {Up, Suspect}: true, {Up, Down}: true,
		{Suspect, Up}: true, {Suspect, Down}: true, {Down, Up}: true,
	}
	evidence := []string{"good", "good", "good-other", "good-other", "bad", "bad", "refused", "old-good", "silent", "silent", "silent-peer", "icmp", "reply", "drain", "undrain", "tick"}
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		l := testLimits()
		l.fall, l.rise, l.suspectAfter = 1+rng.IntN(12), 1+rng.IntN(5), 1+rng.IntN(4)
		l.probed = seed%5 != 0
		m := newMachine(l, birth)
		at := time.Duration(0)
		for range 400 {
			at += time.Duration(rng.IntN(900)) * time.Millisecond
			what := evidence[rng.IntN(len(evidence))]
			before := m.state()
			c := live(t, &m, at, what)
			after := m.state()
			switch {
			case before == after:
				if c.from != c.to {
					t.Fatalf("seed %d: %s told %v to %v, but nothing changed", seed, what, c.from, c.to)
				}
				continue
			case c.from != before || c.to != after:
				t.Fatalf("seed %d: %s changed %v to %v and told %v to %v", seed, what, before, after, c.from, c.to)
			case c.reason == ReasonNone || !slices.Contains(Reasons(), c.reason):
				t.Fatalf("seed %d: %v to %v has the reason %q", seed, before, after, c.reason)
			case m.since != birth.Add(at):
				t.Fatalf("seed %d: since is not the time of the change", seed)
			}
			if before != Drained && after != Drained && !edges[[2]State{before, after}] {
				t.Fatalf("seed %d: %s led from %v to %v", seed, what, before, after)
			}
		}
	}
}

func TestA03FallBadProbesAreDownAndRiseGoodOnesUpWithSlowStart(t *testing.T) {
	m := replay(t, testLimits(), `
		0s     good              up
		1s     bad               up
		2s     good              up
		3s     bad               up
		4s     refused           down:refused
		5s     good              down
		6s     bad               down
		7s     good              down
		8s     good              up:probe-passed`)
	for _, c := range []struct {
		after time.Duration
		want  float64
	}{{0, leastShare}, {time.Second, 0.1}, {5 * time.Second, 0.5}, {9999 * time.Millisecond, 0.9999}, {10 * time.Second, 1}, {time.Hour, 1}} {
		if got := m.share(birth.Add(8*time.Second + c.after)); fmt.Sprintf("%.4f", got) != fmt.Sprintf("%.4f", c.want) {
			t.Errorf("%v after it came up its share is %v, not %v", c.after, got, c.want)
		}
	}
	l := testLimits()
	l.fall, l.rise, l.slowStart = 3, 1, 0
	m = replay(t, l, `
		0s     good              up
		1s     bad bad           up
		3s     bad               down:probe-failed
		4s     good              up`)
	if got := m.share(birth.Add(4 * time.Second)); got != 1 {
		t.Errorf("slow_start: 0s gives a share of %v", got)
	}
}

// A backend that answers probes but not requests is found: good probes end a
// suspicion only so many times.
func TestA03ABackendThatAnswersProbesButNotQueriesIsFound(t *testing.T) {
	t.Run("while another backend answers", func(t *testing.T) {
		m := replay(t, testLimits(), `
			0s      good                       up
			1s      silent-peer silent-peer    suspect:timeouts
			1.001s  good                       up
			1.5s    silent-peer silent-peer    suspect:timeouts
			1.501s  good                       up
			2.0s    silent-peer silent-peer                         down:timeouts
			3s      good-other                                      down
			4s      good-other good-other good-other good-other     down`)
		if !m.trial.IsZero() {
			t.Error("on trial before all of its good probes")
		}
		live(t, m, 7*time.Second, "good-other")
		if m.state() != Down || m.trial.IsZero() || m.reason != ReasonTrial {
			t.Fatalf("after all of its good probes it is %v (%s), on trial since %v: probes alone must not bring it up", m.state(), m.reason, m.trial)
		}
		live(t, m, 8*time.Second, "silent-peer")
		if m.trial.IsZero() {
			t.Error("one silent request ended the trial, not suspect_after")
		}
		live(t, m, 8*time.Second, "silent-peer")
		if m.state() != Down || !m.trial.IsZero() || m.need <= 6 || m.good != 0 || m.reason != ReasonTimeouts {
			t.Errorf("after a trial in vain it is %v (%s), on trial since %v, and the next takes %d good probes, not more than the last", m.state(), m.reason, m.trial, m.need)
		}
	})
	t.Run("a reply is proof of the contrary", func(t *testing.T) {
		replay(t, testLimits(), `
			0s      good                       up
			1s      silent-peer silent-peer    suspect
			1.1s    good                       up
			1.6s    silent-peer silent-peer    suspect
			1.7s    good                       up
			1.8s    reply                      up
			2.3s    silent-peer silent-peer    suspect
			2.4s    good                       up
			2.9s    silent-peer silent-peer    suspect
			3.0s    good                       up
			3.5s    silent-peer silent-peer    down:timeouts`)
	})
	t.Run("alone it takes more", func(t *testing.T) {
		m := replay(t, testLimits(), `0s good up`)
		at := time.Second
		for i := range refutedAlone {
			live(t, m, at, "silent")
			live(t, m, at, "silent")
			if m.state() != Suspect {
				t.Fatalf("suspicion %d: the state is %v", i, m.state())
			}
			live(t, m, at, "good")
			at += 500 * time.Millisecond
		}
		live(t, m, at, "silent")
		live(t, m, at, "silent")
		if m.state() != Down {
			t.Fatalf("after %d refuted suspicions without one reply the state is %v", refutedAlone, m.state())
		}
	})
}

func TestA04SilenceSinceTheLastReplyMakesSuspect(t *testing.T) {
	replay(t, testLimits(), `
		0s      good              up
		1s      silent            up
		1.1s    reply             up
		1.6s    silent            up
		1.7s    silent            suspect:timeouts
		1.71s   silent silent     suspect
		1.72s   good              up:probe-passed
		1.73s   silent silent     up
		2.11s   silent silent     up
		2.12s   silent            up
		2.13s   silent            suspect:timeouts`)
	l := testLimits()
	l.suspectAfter = 5
	replay(t, l, `
		0s      good                         up
		1s      silent silent silent silent  up
		1s      silent                       suspect:timeouts`)
}

// What waited while the backend answered something else is the question's fault.
func TestA04ADeadZoneDoesNotMakeAResolverSuspect(t *testing.T) {
	m := replay(t, testLimits(), `0s good up`)
	at := time.Second
	for range 1000 {
		live(t, m, at, "reply")
		for range 20 { // dead names, asked at any time before
			live(t, m, at+100*time.Millisecond, "silent")
			if m.state() != Up {
				t.Fatalf("%v: the state is %v", at, m.state())
			}
		}
		at += 200 * time.Millisecond
	}
	// From its last reply on, attempt_timeout of silence is enough.
	live(t, m, at-200*time.Millisecond+l400, "silent")
	live(t, m, at-200*time.Millisecond+l400, "silent")
	if m.state() != Suspect {
		t.Errorf("the state is %v after a real silence", m.state())
	}
}

const l400 = 400 * time.Millisecond

func TestA04TheKernelsWordMakesSuspectAtOnce(t *testing.T) {
	replay(t, testLimits(), `
		0s      good              up
		1s      icmp              suspect:refused
		1.2s    refused           suspect
		1.4s    refused           down:refused`)
	// A probe that was answered a moment ago weighs more, but not for long.
	replay(t, testLimits(), `
		0s      good              up
		1s      icmp              suspect
		1.01s   good              up
		1.2s    icmp icmp icmp    up
		1.52s   icmp              suspect:refused`)
}

func TestA04OnlyAProbeThatWasSentAfterwardsEndsASuspicion(t *testing.T) {
	replay(t, testLimits(), `
		0s      good              up
		1s      silent silent     suspect
		1s      old-good          suspect
		1s      good              up`)
}

func TestA04BadProbesEndASuspicionToo(t *testing.T) {
	replay(t, testLimits(), `
		0s      good              up
		0.9s    bad               up
		1s      silent silent     suspect
		1.4s    bad               down:probe-failed
		2s      reply             down`)
}

func TestA05DrainedHidesTheVerdictAndGivesItBackWithSlowStart(t *testing.T) {
	m := replay(t, testLimits(), `
		0s      good              up
		1s      drain             drained:drained
		1s      drain             drained
		2s      bad bad bad       drained
		3s      good good         drained
		4s      silent silent     drained
		5s      good              drained
		6s      undrain           up:undrained
		6s      undrain           up`)
	if got := m.share(birth.Add(7 * time.Second)); got != 0.1 {
		t.Errorf("a second after the drain its share is %v", got)
	}
	replay(t, testLimits(), `
		0s      drain             drained
		1s      bad bad           drained
		2s      undrain           down:undrained`)
	replay(t, testLimits(), `
		0s      drain             drained
		2s      undrain           starting:undrained`)
}

func TestA06HalfOfTheLastTwentyBadIsDown(t *testing.T) {
	m := replay(t, testLimits(), `0s good up`)
	at := time.Second
	for i := range 10 { // every other one: never two in a row
		if m.state() != Up {
			t.Fatalf("after %d bad of %d the state is %v", i, 2*i+1, m.state())
		}
		live(t, m, at, "bad")
		if i < 9 {
			live(t, m, at, "good")
		}
		at += 2 * time.Second
	}
	if m.state() != Down || m.reason != ReasonProbeShare {
		t.Fatalf("after 10 bad of 20 the state is %v (%s)", m.state(), m.reason)
	}
	// 19 probes later only the last bad one is left; at most 4 may be.
	good := 0
	for m.state() == Down {
		live(t, m, at, "good")
		good++
		at += time.Second
	}
	if good != 12 || m.window.bad() != windowUp {
		t.Errorf("it was up after %d good probes with %d bad of the last 20, not after 12 with 4", good, m.window.bad())
	}
}

func TestA06AfterAPlainRunTheWindowIsEmptied(t *testing.T) {
	m := replay(t, testLimits(), `0s good up`)
	for i := range 15 {
		live(t, m, time.Duration(i+1)*time.Second, "bad")
	}
	if m.state() != Down || m.window.bad() != 15 {
		t.Fatalf("%v with %d bad", m.state(), m.window.bad())
	}
	live(t, m, 20*time.Second, "good")
	live(t, m, 21*time.Second, "good")
	if m.state() != Up || m.window.bad() != 0 {
		t.Errorf("after rise good probes it is %v with %d bad in the window", m.state(), m.window.bad())
	}
}

// The machine against the words of A03 and A06, written down once more in the
// plainest way, over random probes.
func TestA06TheMachineAgreesWithItsDefinition(t *testing.T) {
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 2))
		l := testLimits()
		l.fall, l.rise = 1+rng.IntN(14), 1+rng.IntN(6)
		m := newMachine(l, birth)
		badness := rng.Float64()
		var last []bool // bad or not, the newest at the end
		state, plain := Starting, false
		for i := range 300 {
			if rng.IntN(40) == 0 {
				badness = rng.Float64()
			}
			bad := rng.Float64() < badness
			live(t, &m, time.Duration(i)*time.Second, map[bool]string{true: "bad", false: "good"}[bad])
			last = append(last, bad)
			window := last[max(0, len(last)-20):]
			count := 0
			for _, b := range window {
				if b {
					count++
				}
			}
			badRun, goodRun := run(last, true), run(last, false)
			switch {
			case state == Starting && !bad:
				state = Up
			case state != Down && (badRun >= l.fall || count >= 10):
				state, plain = Down, badRun >= l.fall && (count < 10 || count <= badRun)
			case state == Down && goodRun >= l.rise && (plain || count <= 4):
				state = Up
				if plain {
					last = nil
				}
			}
			if m.state() != state {
				t.Fatalf("seed %d, probe %d: the machine says %v, the definition %v", seed, i, m.state(), state)
			}
		}
	}
}

func run(last []bool, bad bool) int {
	n := 0
	for i := len(last) - 1; i >= 0 && last[i] == bad; i-- {
		n++
	}
	return n
}

// fallen is a life that ends down because requests were not answered, while probes
// were and another backend answered both.
const fallen = `
	0s      good                           up
	1s      silent-peer silent-peer        suspect:timeouts
	1.001s  good-other                     up
	1.5s    silent-peer silent-peer        suspect:timeouts
	1.501s  good-other                     up
	2.0s    silent-peer silent-peer        down:timeouts
	3s      good-other good-other good-other good-other good-other good-other  down`

func TestA04WhatRequestsRefutedIsUpAgainByARequest(t *testing.T) {
	t.Run("after a suspicion", func(t *testing.T) {
		m := replay(t, testLimits(), `
			0s      good              up
			1s      silent silent     suspect:timeouts
			1.1s    good              up:probe-passed`)
		if m.trial != birth.Add(1100*time.Millisecond) || m.reason != ReasonTrial {
			t.Errorf("it is not on trial (%s): %v", m.reason, m.trial)
		}
		live(t, m, 2*time.Second, "reply")
		if !m.trial.IsZero() || m.reason != ReasonNone || m.share(birth.Add(2*time.Second)) != 1 {
			t.Errorf("after a reply it is on trial since %v (%s) with a share of %v", m.trial, m.reason, m.share(birth.Add(2*time.Second)))
		}
	})
	t.Run("after a fall", func(t *testing.T) {
		m := replay(t, testLimits(), fallen+`
			20s     reply             up:replied`)
		if got := m.share(birth.Add(21 * time.Second)); got != 0.1 || !m.trial.IsZero() {
			t.Errorf("a second after the reply its share is %v, on trial since %v", got, m.trial)
		}
		// One that falls again before it has its whole share falls at once.
		live(t, m, 25*time.Second, "silent-peer")
		live(t, m, 25*time.Second, "silent-peer")
		if m.state() != Down || m.need != 8 {
			t.Errorf("it is %v, and the next trial takes %d good probes", m.state(), m.need)
		}
		replay(t, testLimits(), fallen+`
			20s     reply                      up
			31s     reply                      up
			40s     silent-peer silent-peer    suspect`)
	})
	t.Run("before its trial, too", func(t *testing.T) {
		replay(t, testLimits(), fallen[:strings.LastIndex(fallen, "3s")]+`2.5s reply up:replied`)
	})
	t.Run("by probes when no other is up", func(t *testing.T) {
		m := replay(t, testLimits(), fallen+`
			20s     good              up:probe-passed`)
		if m.trial.IsZero() || m.share(birth.Add(20*time.Second)) != 1 {
			t.Errorf("it is not on trial, or has a share of %v only", m.share(birth.Add(20*time.Second)))
		}
		live(t, m, 21*time.Second, "reply")
		if got := m.share(birth.Add(22 * time.Second)); got != 0.1 {
			t.Errorf("a second after its first reply its share is %v", got)
		}
	})
	t.Run("not while its probes are bad", func(t *testing.T) {
		m := replay(t, testLimits(), fallen+`
			20s     bad bad           down
			21s     reply             down
			22s     good-other        down
			23s     good-other        up:probe-passed`)
		if !m.trial.IsZero() {
			t.Error("a backend that was dead is on trial: what requests said is long past")
		}
	})
}

// acct_probe: none.
func TestR34AnUnprobedBackendIsJudgedByRealTraffic(t *testing.T) {
	l := testLimits()
	l.probed = false
	m := replay(t, l, `
		0s      nothing           up
		1s      silent            up
		1.1s    silent            suspect:timeouts
		1.2s    reply             up:replied
		2s      silent silent     suspect
		2.9s    tick              suspect
		3s      tick              down:timeouts
		4s      silent silent     down
		12.9s   tick              down
		13s     tick              up:trial
		13.5s   silent silent     suspect
		14.5s   tick              down
		34.4s   tick              down
		34.5s   tick              up:trial
		34.6s   reply             up`)
	if m.reason != ReasonNone || !m.trial.IsZero() || m.nextTrial != firstTrial {
		t.Errorf("after a trial that went well: reason %q, next trial after %v", m.reason, m.nextTrial)
	}
	if got := m.share(birth.Add(35600 * time.Millisecond)); got != 0.1 {
		t.Errorf("a second after the trial its share is %v", got)
	}
	replay(t, l, `
		1s      icmp              suspect:refused
		2s      tick              down:refused
		3s      reply             up:replied`)
}
