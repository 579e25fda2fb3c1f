package bgp

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// life replays what happens to one entry and notes what is decided.
type life struct {
	t *testing.T
	e *engine
}

func newLife(t *testing.T, a AnycastConfig) *life {
	m, err := loadMemory("", epoch)
	if err != nil {
		t.Fatal(err)
	}
	return &life{t, newEngine(testSettings(a), m, epoch)}
}

// step is one moment of a life: what happens, and what is decided then.
type step struct {
	at   time.Duration
	what any // []Service; "drain", "undrain", "pause", "prove", "stop", "see"; nil: time passes
	want string
}

func (l *life) replay(steps []step) {
	l.t.Helper()
	for i, s := range steps {
		now := at(s.at)
		switch w := s.what.(type) {
		case []Service:
			l.e.setServices(w)
		case string:
			l.do(w, now)
		}
		l.e.step(now)
		x := l.e.entries["dns-vip"]
		got := string(x.decision.State)
		if x.decision.Reason != "" {
			got += " " + string(x.decision.Reason)
		}
		if got != s.want {
			l.t.Fatalf("step %d, at %v after %v: %s, want %s", i, s.at, s.what, got, s.want)
		}
	}
}

func (l *life) do(what string, now time.Time) {
	switch what {
	case "drain", "undrain":
		l.e.drain("dns-vip", what == "drain", now)
	case "pause":
		l.e.pause()
	case "prove":
		l.e.prove("resolver")
	case "stop":
		l.e.stopping = now
	case "see":
		l.e.see(l.e.entries["dns-vip"].config.Prefixes, now)
	default:
		l.t.Fatalf("unknown step %q", what)
	}
}

var (
	svcUp, svcDown, svcStarting = service("up", ""), service("down", "no-healthy-backend"), service("starting", "")
	svcDrained                  = service("drained", "drained")
)

const (
	s = time.Second
	m = time.Minute
)

func TestA12FirstStartAnnouncesAtOnce(t *testing.T) {
	newLife(t, anycast(nil)).replay([]step{
		{0, nil, "withdrawn starting"},
		{1 * s, svcStarting, "withdrawn starting"},
		{2 * s, svcUp, "announced"},
		{3 * s, svcUp, "announced"},
	})
}

func TestA12FlapsDoubleTheDelay(t *testing.T) {
	l := newLife(t, anycast(nil))
	l.replay([]step{{0, svcUp, "announced"}})
	now := time.Duration(0)
	for i, delay := range []time.Duration{10 * s, 20 * s, 40 * s, 80 * s, 160 * s, 5 * m, 5 * m} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			l.t = t
			l.replay([]step{
				{now + 1*s, svcDown, "withdrawn service-down"},
				{now + 2*s, svcUp, "withdrawn hold-down"},
				{now + 2*s + delay - 1, nil, "withdrawn hold-down"},
				{now + 2*s + delay, nil, "announced"},
			})
			now += 2*s + delay
		})
	}
	l.t = t
	now += time.Hour // all is forgiven, but a loss still costs announce_after
	l.replay([]step{
		{now + 1*s, svcDown, "withdrawn service-down"},
		{now + 2*s, svcUp, "withdrawn hold-down"},
		{now + 12*s, nil, "announced"},
	})
}

func TestA12HealthMustBeUnbroken(t *testing.T) {
	newLife(t, anycast(nil)).replay([]step{
		{0, svcUp, "announced"},
		{1 * s, svcDown, "withdrawn service-down"},
		{2 * s, svcUp, "withdrawn hold-down"},
		{11 * s, svcDown, "withdrawn service-down"}, // not announced: no further flap
		{12 * s, svcUp, "withdrawn hold-down"},
		{21*s + 999*time.Millisecond, nil, "withdrawn hold-down"},
		{22 * s, nil, "announced"},
	})
}

func TestA12LongOutageStillWaits(t *testing.T) {
	newLife(t, anycast(nil)).replay([]step{
		{0, svcUp, "announced"},
		{1 * s, svcDown, "withdrawn service-down"},
		{3 * time.Hour, svcUp, "withdrawn hold-down"},
		{3*time.Hour + 10*s, nil, "announced"},
	})
}

func TestA13DemoteAndBack(t *testing.T) {
	newLife(t, anycast(func(a *AnycastConfig) { a.WhenDown = "demote" })).replay([]step{
		{0, svcDown, "withdrawn service-down"}, // never before it was healthy
		{1 * s, svcUp, "announced"},
		{2 * s, svcDown, "demoted service-down"},
		{3 * s, svcUp, "demoted hold-down"},
		{13 * s, nil, "announced"},
		{14 * s, svcDown, "demoted service-down"}, // each loss of the good route is a flap
		{15 * s, svcUp, "demoted hold-down"},
		{34 * s, nil, "demoted hold-down"},
		{35 * s, nil, "announced"},
	})
}

func TestA14DrainDemotesThenWithdraws(t *testing.T) {
	newLife(t, anycast(nil)).replay([]step{
		{0, svcUp, "announced"},
		{20 * s, "drain", "demoted drained"},
		{21 * s, "drain", "demoted drained"}, // again does not begin anew
		{22*s + 499*time.Millisecond, nil, "demoted drained"},
		{22*s + 500*time.Millisecond, nil, "withdrawn drained"},
		{40 * s, svcDown, "withdrawn drained"},
		{41 * s, svcUp, "withdrawn drained"},
		{60 * s, "undrain", "announced"}, // healthy for long enough; a drain is no flap
		{61 * s, svcDown, "withdrawn service-down"},
		{62 * s, svcUp, "withdrawn hold-down"},
		{72 * s, nil, "announced"},
	})
}

func TestA14DrainOfAService(t *testing.T) {
	newLife(t, anycast(nil)).replay([]step{
		{0, svcUp, "announced"},
		{1 * s, svcDrained, "demoted service-drained"},
		{4 * s, nil, "withdrawn service-drained"},
		{20 * s, svcUp, "announced"},
	})
}

func TestA14DrainOfADownServiceIsNoFlap(t *testing.T) {
	l := newLife(t, anycast(nil))
	l.replay([]step{
		{0, svcUp, "announced"},
		{1 * s, "drain", "demoted drained"},
		{2 * s, svcDown, "demoted drained"},
		{4 * s, nil, "withdrawn drained"},
	})
	if n := l.e.memory.flaps("dns-vip", at(4*s)); n != 0 {
		t.Errorf("%d flaps", n)
	}
}

func TestA14StopDemotesThenWithdraws(t *testing.T) {
	newLife(t, anycast(nil)).replay([]step{
		{0, svcUp, "announced"},
		{1 * s, "stop", "demoted stopping"},
		{4 * s, nil, "withdrawn stopping"},
	})
}

func TestA16PauseNeedsProofAndIsNoFlap(t *testing.T) {
	l := newLife(t, anycast(nil))
	l.replay([]step{
		{0, svcUp, "announced"},
		{1 * m, "pause", "withdrawn paused"},
		{1*m + 1*s, nil, "withdrawn paused"},
		{1*m + 2*s, "prove", "announced"},
	})
	if n := l.e.memory.flaps("dns-vip", at(2*m)); n != 0 {
		t.Errorf("%d flaps", n)
	}
}

// TestA16EachServiceProvesItself: the proof of one service is not that of another.
func TestA16EachServiceProvesItself(t *testing.T) {
	l := newLife(t, anycast(func(a *AnycastConfig) { a.Requires = append(a.Requires, "other") }))
	l.replay([]step{
		{0, append(slices.Clone(svcUp), Service{Name: "other", State: "up"}), "announced"},
		{1 * m, "pause", "withdrawn paused"},
		{1*m + 1*s, "prove", "withdrawn paused"},
	})
	l.e.prove("other")
	l.replay([]step{{1*m + 2*s, nil, "announced"}})
}

func TestA16PauseDuringHoldDownDoesNotShortenIt(t *testing.T) {
	newLife(t, anycast(nil)).replay([]step{
		{0, svcUp, "announced"},
		{1 * s, svcDown, "withdrawn service-down"},
		{2 * s, svcUp, "withdrawn hold-down"},
		{6 * s, "pause", "withdrawn paused"},
		{7 * s, "prove", "withdrawn hold-down"},
		{12 * s, nil, "announced"},
	})
}

func TestA16DownAfterAPauseIsAFlap(t *testing.T) {
	newLife(t, anycast(nil)).replay([]step{
		{0, svcUp, "announced"},
		{1 * m, "pause", "withdrawn paused"},
		{1*m + 1*s, svcDown, "withdrawn service-down"},
		{1*m + 2*s, svcUp, "withdrawn hold-down"},
		{1*m + 12*s, nil, "announced"},
	})
}

func TestA21HandOver(t *testing.T) {
	newLife(t, anycast(func(a *AnycastConfig) { a.WhenDown = "hand-over" })).replay([]step{
		{0, svcUp, "announced"},
		{1 * s, svcDown, "demoted no-other-site"},
		{2 * s, "see", "withdrawn handed-over"},
		{4 * s, "see", "withdrawn handed-over"},
		{6*s + 999*time.Millisecond, nil, "withdrawn handed-over"},
		{7 * s, nil, "demoted no-other-site"}, // the other site is gone for the lease of 3 s
		{8 * s, "see", "withdrawn handed-over"},
		{9 * s, svcUp, "withdrawn hold-down"},
		{19 * s, nil, "announced"},
	})
}

// TestA21EveryPrefixMustBeSeen: a site that announces the IPv4 address alone would leave those of IPv6 with nobody.
func TestA21EveryPrefixMustBeSeen(t *testing.T) {
	for i := range anycast(nil).Prefixes {
		l := newLife(t, anycast(func(a *AnycastConfig) { a.WhenDown = "hand-over" }))
		l.replay([]step{{0, svcUp, "announced"}, {1 * s, svcDown, "demoted no-other-site"}})
		l.e.see(l.e.entries["dns-vip"].config.Prefixes[i:i+1], at(2*s))
		l.replay([]step{
			{2 * s, nil, "demoted no-other-site"},
			{3 * s, "see", "withdrawn handed-over"},
		})
		l.e.see(l.e.entries["dns-vip"].config.Prefixes[i:i+1], at(5*s))
		l.replay([]step{{6 * s, nil, "demoted no-other-site"}})
	}
}

// TestA21SitesThatFallIllTogetherStay: what was seen of another site before everybody could know that we are demoted says
// nothing: it may have fallen ill for the same reason, and hand over to us.
func TestA21SitesThatFallIllTogetherStay(t *testing.T) {
	newLife(t, anycast(func(a *AnycastConfig) { a.WhenDown = "hand-over" })).replay([]step{
		{0, svcUp, "announced"},
		{900 * time.Millisecond, "see", "announced"},
		{1 * s, svcDown, "demoted no-other-site"},
		{1*s + 100*time.Millisecond, "see", "demoted no-other-site"}, // on its way before the other one's mark
		{3 * s, nil, "demoted no-other-site"},
		{1 * m, nil, "demoted no-other-site"},
		{1*m + 1*s, "see", "withdrawn handed-over"}, // one that is well
	})
}

// TestA21TheOtherSiteMayGoAtAnyTime: a site that has handed over comes back whenever no other one is seen, whatever it
// waits for itself.
func TestA21TheOtherSiteMayGoAtAnyTime(t *testing.T) {
	handedOver := []step{{0, svcUp, "announced"}, {1 * s, svcDown, "demoted no-other-site"}, {2 * s, "see", "withdrawn handed-over"}}
	for name, then := range map[string][]step{
		"in its hold-down": {
			{3 * s, svcUp, "withdrawn hold-down"},
			{4 * s, "see", "withdrawn hold-down"},
			{7 * s, nil, "demoted hold-down"},
			{12 * s, "see", "demoted hold-down"},
			{13 * s, nil, "announced"},
		},
		"when it is sick again": {
			{3 * s, svcUp, "withdrawn hold-down"},
			{4 * s, svcDown, "withdrawn handed-over"},
			{7 * s, nil, "demoted no-other-site"},
		},
		"after a drain": {
			{3 * s, "drain", "withdrawn drained"},
			{9 * s, nil, "withdrawn drained"},
			{10 * s, "undrain", "demoted no-other-site"},
			{11 * s, "see", "withdrawn handed-over"},
		},
		"while it stops": {
			{3 * s, "stop", "withdrawn stopping"},
			{9 * s, nil, "withdrawn stopping"},
		},
		"after a pause": {
			{3 * s, svcUp, "withdrawn hold-down"},
			{4 * s, "pause", "withdrawn paused"},
			{7 * s, "prove", "demoted hold-down"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			newLife(t, anycast(func(a *AnycastConfig) { a.WhenDown = "hand-over" })).replay(append(slices.Clone(handedOver), then...))
		})
	}
}

// TestA16AReloadAfterAPauseWaitsForNobodyElse: what is required no more proves nothing.
func TestA16AReloadAfterAPauseWaitsForNobodyElse(t *testing.T) {
	both := anycast(func(a *AnycastConfig) { a.Requires = append(slices.Clone(a.Requires), "other") })
	l := newLife(t, both)
	other := Service{Name: "other", State: "up"}
	l.replay([]step{
		{0, append(slices.Clone(svcUp), other), "announced"},
		{1 * m, "pause", "withdrawn paused"},
	})
	l.e.configure(testSettings(anycast(nil)), at(1*m))
	l.replay([]step{
		{1*m + 1*s, nil, "withdrawn paused"},
		{1*m + 2*s, "prove", "announced"},
	})
}

func TestA12AClockThatIsSetBackProlongsNothing(t *testing.T) {
	l := newLife(t, anycast(nil))
	l.e.memory.flap("dns-vip", at(24*time.Hour)) // read from the disk, before the clock was set back by a day
	l.e.memory.forget(at(0))
	if n := l.e.memory.flaps("dns-vip", at(59*m)); n != 1 {
		t.Errorf("%d flaps after 59 minutes", n)
	}
	if n := l.e.memory.flaps("dns-vip", at(time.Hour)); n != 0 {
		t.Errorf("%d flaps after an hour", n)
	}
}

func TestA12MemorySurvivesRestart(t *testing.T) {
	a := anycast(nil)
	run := func(dir string, start time.Duration) *life {
		mem, err := loadMemory(dir, at(start))
		if err != nil {
			t.Fatal(err)
		}
		return &life{t, newEngine(testSettings(a), mem, at(start))}
	}
	store := func(l *life, dir string, now time.Duration, running bool) {
		b, err := l.e.memory.encode(at(now), running)
		if err == nil {
			err = saveMemory(dir, b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Run("clean stop while announced", func(t *testing.T) {
		dir := t.TempDir()
		l := run(dir, 0)
		l.replay([]step{{0, svcUp, "announced"}})
		store(l, dir, 1*m, false)
		run(dir, 2*m).replay([]step{{2 * m, svcUp, "announced"}})
	})
	t.Run("clean stop after two flaps", func(t *testing.T) {
		dir := t.TempDir()
		l := run(dir, 0)
		l.replay([]step{{0, svcUp, "announced"}, {1 * s, svcDown, "withdrawn service-down"}, {2 * s, svcUp, "withdrawn hold-down"},
			{12 * s, nil, "announced"}, {13 * s, svcDown, "withdrawn service-down"}})
		store(l, dir, 14*s, false)
		run(dir, 20*s).replay([]step{{20 * s, svcUp, "withdrawn hold-down"}, {39 * s, nil, "withdrawn hold-down"}, {40 * s, nil, "announced"}})
	})
	t.Run("flaps of an hour ago", func(t *testing.T) {
		dir := t.TempDir()
		l := run(dir, 0)
		l.replay([]step{{0, svcUp, "announced"}, {1 * s, svcDown, "withdrawn service-down"}})
		store(l, dir, 2*s, false)
		run(dir, time.Hour+2*s).replay([]step{{time.Hour + 2*s, svcUp, "announced"}})
	})
	t.Run("crash while announced", func(t *testing.T) {
		dir := t.TempDir()
		l := run(dir, 0)
		l.replay([]step{{0, svcUp, "announced"}})
		store(l, dir, 1*m, true)
		run(dir, 2*m).replay([]step{{2 * m, svcUp, "withdrawn hold-down"}, {2*m + 10*s, nil, "announced"}})
	})
	t.Run("crash two hours ago", func(t *testing.T) {
		dir := t.TempDir()
		l := run(dir, 0)
		l.replay([]step{{0, svcUp, "announced"}})
		store(l, dir, 1*m, true)
		run(dir, 2*time.Hour).replay([]step{{2 * time.Hour, svcUp, "announced"}})
	})
	t.Run("file that is not ours", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, memoryFile), []byte("{half"), 0o600); err != nil {
			t.Fatal(err)
		}
		mem, err := loadMemory(dir, epoch)
		if err == nil {
			t.Error("no error")
		}
		l := &life{t, newEngine(testSettings(a), mem, epoch)}
		l.replay([]step{{0, svcUp, "withdrawn hold-down"}, {10 * s, nil, "announced"}})
	})
	t.Run("file of a later version", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, memoryFile), []byte(`{"version": 2, "running": false, "entries": {}}`), 0o600); err != nil {
			t.Fatal(err)
		}
		mem, err := loadMemory(dir, epoch)
		if err == nil || !strings.Contains(err.Error(), memoryFile) || !strings.Contains(err.Error(), "version 2") {
			t.Error(err)
		}
		l := &life{t, newEngine(testSettings(a), mem, epoch)}
		l.replay([]step{{0, svcUp, "withdrawn hold-down"}, {10 * s, nil, "announced"}})
	})
	t.Run("clock set back", func(t *testing.T) {
		dir := t.TempDir()
		l := run(dir, 5*time.Hour)
		l.replay([]step{{5 * time.Hour, svcUp, "announced"}, {5*time.Hour + s, svcDown, "withdrawn service-down"}})
		store(l, dir, 5*time.Hour+2*s, false)
		run(dir, 0).replay([]step{{0, svcUp, "withdrawn hold-down"}, {10 * s, nil, "announced"}})
	})
}

func TestSaveMemoryLeavesNoDebris(t *testing.T) {
	dir := t.TempDir()
	for range 3 {
		if err := saveMemory(dir, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 || files[0].Name() != memoryFile {
		t.Errorf("files %v, %v", files, err)
	}
	if err := saveMemory(filepath.Join(dir, memoryFile), []byte("{}")); err == nil {
		t.Error("saving below a file succeeded")
	}
}

func TestA20ReloadKeepsTheLifeOfEntries(t *testing.T) {
	l := newLife(t, anycast(nil))
	l.replay([]step{{0, svcUp, "announced"}, {1 * s, svcDown, "withdrawn service-down"}})
	changed := anycast(func(a *AnycastConfig) { a.MED = 50; a.AnnounceAfter = 4 * s })
	l.e.configure(testSettings(changed), at(2*s))
	l.replay([]step{{3 * s, svcUp, "withdrawn hold-down"}, {6 * s, nil, "withdrawn hold-down"}, {7 * s, nil, "announced"}})
	if got := l.e.desired(); got[0].MED != 50 {
		t.Errorf("routes %+v", got)
	}
	gone := testSettings(changed)
	gone.Anycast = nil
	l.e.configure(gone, at(8*s))
	l.e.step(at(8 * s))
	if got := l.e.desired(); got == nil || len(got) != 0 {
		t.Errorf("routes %#v, want an empty set that is not nil", got)
	}
}
