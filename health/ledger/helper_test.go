package ledger

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	day  = 24 * time.Hour
	beat = 5 * time.Second
)

var (
	start    = time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	resolver = Object{Kind: Service, Name: "resolver"}
	fulmine  = Object{Kind: Backend, Name: "fulmine", Pool: "resolvers", Role: "dns"}
)

// life is the lives of a node on one disk, with clocks that the test turns.
type life struct {
	*testing.T
	*Ledger
	path  string
	keep  time.Duration
	now   Moment
	state map[Object]Observation
	warns []string
}

func newLife(t *testing.T) *life {
	t.Helper()
	v := &life{T: t, path: filepath.Join(t.TempDir(), "ledger.db"), keep: 400 * day, now: Moment{Wall: start}, state: map[Object]Observation{}}
	v.open()
	t.Cleanup(func() {
		if err := v.Ledger.Close(v.now); err != nil {
			t.Error(err)
		}
	})
	return v
}

func (v *life) open() {
	v.Helper()
	l, err := Open(v.path, Options{Now: v.now, Keep: v.keep, Every: beat, Warn: func(m string) { v.warns = append(v.warns, m) }})
	if err != nil {
		v.Fatal(err)
	}
	v.Ledger = l
}

// set is a change that is told at once.
func (v *life) set(o Object, s State, cause string) {
	v.Helper()
	v.state[o] = Observation{Object: o, State: s, Cause: cause}
	if err := v.Observe(v.now, o, s, cause); err != nil {
		v.Fatal(err)
	}
}

// pass lets time pass, by both clocks, with a heartbeat at its end and, when beats is
// true, every 5 s.
func (v *life) pass(d time.Duration) {
	v.Helper()
	for d > 0 {
		step := min(d, beat)
		d -= step
		v.now.Wall, v.now.Elapsed = v.now.Wall.Add(step), v.now.Elapsed+step
		v.beat()
	}
}

// leap is pass with a heartbeat at every hour only, by a node that takes its time.
func (v *life) leap(d time.Duration) {
	v.Helper()
	old := v.silence
	v.silence = 2 * time.Hour
	for d > 0 {
		step := min(d, time.Hour)
		d -= step
		v.now.Wall, v.now.Elapsed = v.now.Wall.Add(step), v.now.Elapsed+step
		v.beat()
	}
	v.silence = old
}

func (v *life) beat() {
	v.Helper()
	all := make([]Observation, 0, len(v.state))
	for o, s := range v.state {
		all = append(all, s)
		s.Good, s.Valid = 0, 0
		v.state[o] = s
	}
	if err := v.Beat(v.now, all); err != nil {
		v.Fatal(err)
	}
}

// die ends this life without a word, and begins another after d.
func (v *life) die(d time.Duration) {
	v.Helper()
	if err := v.db.Close(); err != nil { // every commit is synced: the file is as kill -9 leaves it
		v.Fatal(err)
	}
	v.now = Moment{Wall: v.now.Wall.Add(d)}
	v.open()
}

func (v *life) figures(o Object, length time.Duration) Figures {
	v.Helper()
	reports, err := v.Reports(v.now, []time.Duration{length}, func(x Object) bool { return x == o })
	if err != nil || len(reports) != 1 {
		v.Fatalf("%d reports, %v", len(reports), err)
	}
	f := reports[0].Figures[0]
	if sum := f.Up + f.Degraded + f.Drained + f.Down + f.Unknown; sum != length || f.Unknown < 0 {
		v.Errorf("the times add up to %v of %v: %+v", sum, length, f)
	}
	return f
}

func (v *life) wantWarning(words string) {
	v.Helper()
	if len(v.warns) != 1 || !strings.Contains(v.warns[0], words) {
		v.Errorf("warned %q, want one about %q", v.warns, words)
	}
}

func (f Figures) times() [5]time.Duration {
	return [5]time.Duration{f.Up, f.Degraded, f.Drained, f.Down, f.Unknown}
}
