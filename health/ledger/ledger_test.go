package ledger

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestA31UnknownFromTheLastHeartbeatOn(t *testing.T) {
	v := newLife(t)
	v.set(resolver, Up, "")
	v.pass(time.Minute)
	v.now.Wall, v.now.Elapsed = v.now.Wall.Add(3*time.Second), v.now.Elapsed+3*time.Second // dies between two
	v.die(time.Hour)
	v.set(resolver, Up, "")
	v.pass(time.Minute)
	f := v.figures(resolver, time.Hour+2*time.Minute+3*time.Second)
	if want := [5]time.Duration{2 * time.Minute, 0, 0, 0, time.Hour + 3*time.Second}; f.times() != want {
		t.Errorf("times %v, want %v", f.times(), want)
	}
	if len(v.warns) != 0 {
		t.Errorf("warned: %q", v.warns)
	}
}

func TestA31AStandstillIsUnknown(t *testing.T) {
	v := newLife(t)
	v.set(resolver, Degraded, "demoted")
	v.pass(time.Minute)
	v.now.Wall, v.now.Elapsed = v.now.Wall.Add(time.Minute), v.now.Elapsed+time.Minute // SIGSTOP
	if f := v.figures(resolver, 2*time.Minute); f.Unknown != time.Minute {
		t.Errorf("read before the next heartbeat: %v", f.times())
	}
	v.beat()
	v.now.Wall = v.now.Wall.Add(time.Minute) // suspended: only the wall goes on
	v.beat()
	v.pass(time.Minute)
	f := v.figures(resolver, 4*time.Minute)
	if want := [5]time.Duration{0, 2 * time.Minute, 0, 0, 2 * time.Minute}; f.times() != want {
		t.Errorf("times %v, want %v", f.times(), want)
	}
}

func TestA31TheClockIsSetBack(t *testing.T) {
	v := newLife(t)
	v.set(resolver, Up, "")
	v.pass(10 * time.Minute)
	v.now.Wall = v.now.Wall.Add(-30 * time.Minute)
	v.pass(time.Minute)
	v.set(resolver, Down, "no-healthy-backend")
	v.pass(2 * time.Minute)
	v.set(resolver, Up, "")
	v.pass(time.Minute)
	f := v.figures(resolver, 14*time.Minute)
	if f.Up != 12*time.Minute || f.Down != 2*time.Minute || f.Outages != 1 {
		t.Errorf("%+v", f)
	}
	if ahead := v.Now(v.now).Sub(v.now.Wall); ahead != 30*time.Minute {
		t.Errorf("the books are %v ahead", ahead)
	}
	// After a restart the books go on where they ended: no time is counted twice.
	v.die(10 * time.Minute)
	v.set(resolver, Up, "")
	v.pass(time.Minute)
	if f := v.figures(resolver, 15*time.Minute); f.Up != 13*time.Minute || f.Down != 2*time.Minute || f.Unknown != 0 || len(v.warns) != 0 {
		t.Errorf("after the restart: %+v, warned %q", f, v.warns)
	}
	// What is told in another order than it happened turns nothing back.
	late := Moment{Wall: v.now.Wall.Add(-time.Second), Elapsed: v.now.Elapsed - time.Second}
	if err := v.Observe(late, resolver, Down, "closed"); err != nil {
		t.Fatal(err)
	}
	v.pass(time.Second)
	if f := v.figures(resolver, 10*time.Second); f.Unknown != 0 || f.Up+f.Down != 10*time.Second {
		t.Errorf("out of order: %+v", f)
	}
}

func TestA31WhatIsNotConfiguredIsUnknown(t *testing.T) {
	v := newLife(t)
	v.set(resolver, Up, "")
	v.set(fulmine, Up, "")
	v.pass(time.Minute)
	delete(v.state, fulmine)
	v.pass(time.Minute)
	if f := v.figures(fulmine, 2*time.Minute); f.Unknown > time.Minute || f.Unknown < 50*time.Second {
		t.Errorf("%v", f.times())
	}
	reports, err := v.Reports(v.now, []time.Duration{time.Hour}, nil)
	if err != nil || len(reports) != 2 || reports[0].Object != resolver || reports[1].Cause != "not configured" || reports[0].First != start {
		t.Errorf("%+v, %v", reports, err)
	}
}

func TestA31BooksAreBounded(t *testing.T) {
	v := newLife(t)
	v.keep = 10 * day
	v.die(0)
	v.set(fulmine, Up, "")
	v.state[resolver] = Observation{Object: resolver, State: Up, Good: 1, Valid: 1}
	v.beat()
	for i := range 200 {
		v.set(resolver, []State{Up, Down}[i%2], "flaps")
		v.leap(time.Hour)
		v.state[resolver] = Observation{Object: resolver, State: v.state[resolver].State, Good: 1, Valid: 1}
	}
	delete(v.state, fulmine)
	v.leap(3 * day)
	b := v.books[resolver]
	if b.entries > 240 || b.first.Before(v.now.Wall.Add(-10*day-2*time.Hour)) {
		t.Errorf("%d changes since %v", b.entries, b.first)
	}
	if f := v.figures(resolver, 10*day); f.Unknown != 0 || f.Down < 4*day/3 || f.Down > 8*day {
		t.Errorf("the state before the oldest change is lost: %v", f.times())
	}
	v.leap(11 * day)
	if v.books[fulmine] != nil || v.books[resolver] == nil {
		t.Error("what is long gone is kept, or what is there is not")
	}
	if f := v.figures(resolver, 30*day); f.Valid != 0 {
		t.Errorf("%d old requests are kept", f.Valid)
	}
	v.die(time.Minute)
	if len(v.books) != 1 {
		t.Errorf("%d objects after a restart", len(v.books))
	}
}

func TestA31AFileThatCannotBeUsedIsSetAside(t *testing.T) {
	whole := func(t *testing.T) []byte {
		v := newLife(t)
		v.set(resolver, Up, "")
		v.state[resolver] = Observation{Object: resolver, State: Up, Good: 3, Valid: 4}
		v.pass(time.Minute)
		data, err := os.ReadFile(v.path)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for name, test := range map[string]struct {
		words string
		make  func(t *testing.T, path string)
	}{
		"text":  {"it is no ledger", func(t *testing.T, path string) { write(t, path, []byte("these are no books\n")) }},
		"zeros": {"it is no ledger", func(t *testing.T, path string) { write(t, path, make([]byte, 1<<16)) }},
		"a directory": {"it is not a file", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o750); err != nil {
				t.Fatal(err)
			}
		}},
		"torn":          {"", func(t *testing.T, path string) { data := whole(t); write(t, path, data[:len(data)/2+100]) }},
		"another's":     {"belongs to another program", func(t *testing.T, path string) { writeBolt(t, path, "stamps", "", "") }},
		"another's too": {"belongs to another program", func(t *testing.T, path string) { writeBolt(t, path, "meta", "format", "stamps 1") }},
		"a later format": {"a later version", func(t *testing.T, path string) {
			writeBolt(t, path, "meta", "format", "sereno-ledger 2")
		}},
		"from the future": {"from the future", func(t *testing.T, path string) {
			l, err := Open(path, Options{Now: Moment{Wall: start.Add(30 * day)}, Keep: day, Every: beat})
			if err == nil {
				err = l.Close(Moment{Wall: start.Add(30 * day)})
			}
			if err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			v := newLife(t)
			if err := v.db.Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(v.path); err != nil {
				t.Fatal(err)
			}
			test.make(t, v.path)
			before, _ := os.ReadFile(v.path)
			v.open()
			v.wantWarning(test.words)
			kept, err := filepath.Glob(v.path + ".aside-*")
			if err != nil || len(kept) != 1 || !strings.Contains(v.warns[0], kept[0]) {
				t.Fatalf("kept are %v, warned %q", kept, v.warns)
			}
			if after, _ := os.ReadFile(kept[0]); string(after) != string(before) {
				t.Error("what was set aside was changed")
			}
			v.set(resolver, Up, "")
			v.pass(time.Minute)
			v.die(0)
			if f := v.figures(resolver, time.Minute); f.Up != time.Minute || len(v.warns) != 1 {
				t.Errorf("the new books: %v, warned %q", f.times(), v.warns)
			}
		})
	}
}

// TestA31DamageWhileItRuns begins new books when the open file goes bad.
func TestA31DamageWhileItRuns(t *testing.T) {
	v := newLife(t)
	v.set(resolver, Down, "closed")
	v.set(fulmine, Up, "")
	v.pass(time.Minute)
	if err := os.Truncate(v.path, 0); err != nil { // what is mapped is gone: reading it is a fault
		t.Fatal(err)
	}
	if _, err := v.Reports(v.now, []time.Duration{time.Hour}, nil); !errors.Is(err, errDamaged) {
		t.Fatalf("reading a file that is gone: %v", err)
	}
	v.pass(time.Minute)
	v.wantWarning("damaged")
	if f := v.figures(resolver, time.Minute-beat); f.Down != time.Minute-beat || f.Last.Cause != "closed" {
		t.Errorf("the new books: %+v", f)
	}
	v.die(time.Second)
	if len(v.warns) != 1 || len(v.books) != 2 {
		t.Errorf("warned %q, %d objects", v.warns, len(v.books))
	}
}

func TestA31ADiskThatTakesNothing(t *testing.T) {
	v := newLife(t)
	v.set(resolver, Up, "")
	v.pass(time.Minute)
	good := v.db
	if err := good.Close(); err != nil { // a database that is closed takes nothing either
		t.Fatal(err)
	}
	v.now.Wall, v.now.Elapsed = v.now.Wall.Add(beat), v.now.Elapsed+beat
	if err := v.Observe(v.now, resolver, Down, "no-healthy-backend"); err == nil {
		t.Fatal("nothing was said")
	}
	db, err := openFile(v.path, false)
	if err != nil {
		t.Fatal(err)
	}
	v.db = db
	v.state[resolver] = Observation{Object: resolver, State: Down, Good: 1, Valid: 2}
	v.pass(beat)
	if f := v.figures(resolver, time.Minute+2*beat); f.Down != beat || f.Last.Cause != "no-healthy-backend" || f.Valid != 2 {
		t.Errorf("%+v", f)
	}
}

func TestA31AfterClose(t *testing.T) {
	v := newLife(t)
	v.set(resolver, Up, "")
	v.now.Wall, v.now.Elapsed = v.now.Wall.Add(time.Second), v.now.Elapsed+time.Second
	for range 2 {
		if err := v.Ledger.Close(v.now); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.Observe(v.now, resolver, Up, ""); !errors.Is(err, errClosed) {
		t.Error(err)
	}
	if err := v.Beat(v.now, nil); !errors.Is(err, errClosed) {
		t.Error(err)
	}
	if _, err := v.Reports(v.now, nil, nil); !errors.Is(err, errClosed) {
		t.Error(err)
	}
	v.open()
	if f := v.figures(resolver, time.Second); f.Up != time.Second {
		t.Errorf("the last second was lost: %v", f.times())
	}
}

// TestA31SurvivesKill9 kills a process that writes as fast as it can.
func TestA31SurvivesKill9(t *testing.T) {
	path := os.Getenv("LEDGER_TEST_PATH")
	if path != "" {
		l, err := Open(path, Options{Now: Moment{Wall: start}, Keep: day, Every: beat})
		if err != nil {
			t.Fatal(err)
		}
		for i := 1; ; i++ {
			at := Moment{Wall: start.Add(time.Duration(i) * time.Millisecond), Elapsed: time.Duration(i) * time.Millisecond}
			if err := l.Beat(at, []Observation{{Object: resolver, State: State(1 + i%4), Good: 1, Valid: 1}}); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stdout.WriteString("."); err != nil { // it is on disk
				t.Fatal(err)
			}
		}
	}
	path = filepath.Join(t.TempDir(), "ledger.db")
	cmd := exec.Command(os.Args[0], "-test.run=^TestA31SurvivesKill9$")
	cmd.Env = append(os.Environ(), "LEDGER_TEST_PATH="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	told, buf := 0, make([]byte, 1)
	for told < 50 {
		if _, err := out.Read(buf); err != nil {
			t.Fatal(err)
		}
		told++
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for {
		n, err := out.Read(buf)
		if err != nil {
			break
		}
		told += n
	}
	_ = cmd.Wait() // it was killed
	now := Moment{Wall: start.Add(time.Minute)}
	l, err := Open(path, Options{Now: now, Keep: day, Every: beat, Warn: func(m string) { t.Error(m) }})
	if err != nil {
		t.Fatal(err)
	}
	reports, err := l.Reports(now, []time.Duration{time.Hour}, nil)
	if err != nil || len(reports) != 1 {
		t.Fatalf("%v, %v", reports, err)
	}
	f := reports[0].Figures[0]
	if f.Valid < uint64(told) || f.Valid > uint64(told)+1 || reports[0].Cause != "the node was not running" {
		t.Errorf("%d were on disk, %d are: %+v", told, f.Valid, reports[0])
	}
	if known := time.Hour - f.Unknown; known < time.Duration(told-1)*time.Millisecond || known > time.Duration(told)*time.Millisecond {
		t.Errorf("%v is known of %d ms", known, told)
	}
	if err := l.Close(now); err != nil {
		t.Fatal(err)
	}
}
