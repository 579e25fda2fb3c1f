package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// walked gives the records behind after.
func walked(t testing.TB, s interface {
	Walk(uint64, bool, func(Info, []byte, error) bool) error
}, after uint64, aside bool) []Info {
	t.Helper()
	var out []Info
	if err := s.Walk(after, aside, func(in Info, data []byte, err error) bool {
		if err != nil || len(data) != in.Size {
			t.Errorf("record %d: %d bytes of %d, %v", in.ID, len(data), in.Size, err)
		}
		out = append(out, in)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestR45WalkSeesWhatStays: records are delivered, set aside, put back and stored
// while somebody looks; he sees each that stays exactly once, in order.
func TestR45WalkSeesWhatStays(t *testing.T) {
	s := open(t, t.TempDir())
	const all = 5000
	for n := 1; n <= all; n += 500 {
		var batch []Record
		for i := range 500 {
			batch = append(batch, record(uint64(n+i), n+i))
		}
		mustAppend(t, s, batch...)
	}
	var seen []uint64
	var late Info
	var once sync.Once
	if err := s.Walk(0, false, func(in Info, data []byte, err error) bool {
		if err != nil || number(data) != int(in.ID) {
			t.Fatalf("%+v %v", in, err)
		}
		seen = append(seen, in.ID)
		if in.ID == 100 {
			once.Do(func() {
				for i := range 2000 { // sessions 1 to 2000: seen and not seen yet
					d, ok := s.Next(1)
					switch {
					case !ok:
						t.Fatal("nothing to deliver")
					case i%2 == 0:
						s.Done(d)
					default:
						s.SetAside(d)
					}
				}
				mustAppend(t, s, record(1, all+1)) // behind the end of the walk
			})
		}
		if in.ID == 1000 {
			late = in
			if err := s.Retry(in.Ref()); err != nil { // back into the other list, at its old number
				t.Fatal(err)
			}
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	has := completeWalk(t, seen, all)
	if has[all+1] {
		t.Error("a record that came later was seen")
	}
	if !late.Aside {
		t.Errorf("%+v", late)
	}
	if rest := walked(t, s, 2000, false); len(rest) != all-2000+1 || rest[0].ID != 2001 {
		t.Errorf("behind 2000 there are %d", len(rest))
	}
	if len(s.index.list.cursors) != 0 {
		t.Error("a cursor is left")
	}
}

// completeWalk demands that what stayed was seen once, in order: all but the odd ones
// up to 2000, which were delivered.
func completeWalk(t *testing.T, seen []uint64, all uint64) map[uint64]bool {
	t.Helper()
	if !slices.IsSorted(seen) || len(slices.Compact(slices.Clone(seen))) != len(seen) {
		t.Fatal("not in order, or one twice")
	}
	has := map[uint64]bool{}
	for _, id := range seen {
		has[id] = true
	}
	for id := uint64(1); id <= all; id++ {
		gone := id <= 2000 && id%2 == 1
		if !gone && !has[id] {
			t.Fatalf("record %d was not seen", id)
		}
		if gone && has[id] && id > 100+walkReads {
			t.Fatalf("record %d was delivered before its turn came, and seen", id)
		}
	}
	return has
}

// TestR45AWalkThatPanicsHoldsNothing: who looks is an HTTP handler.
func TestR45AWalkThatPanicsHoldsNothing(t *testing.T) {
	s := open(t, t.TempDir())
	mustAppend(t, s, record(1, 1))
	func() {
		defer func() { _ = recover() }()
		_ = s.Walk(0, false, func(Info, []byte, error) bool { panic("of the reader") })
	}()
	mustAppend(t, s, record(1, 2))
	if len(walked(t, s, 0, false)) != 2 || s.segments[0].readers != 0 {
		t.Error("it holds something")
	}
}

func TestR45StatesAndTries(t *testing.T) {
	s := open(t, t.TempDir())
	mustAppend(t, s, record(1, 1), record(1, 2), record(2, 3))
	d, _ := s.Next(1)
	s.Again(d, time.Hour, true)
	d, _ = s.Next(1) // of session 2
	got := walked(t, s, 0, false)
	if got[0].Tries != 1 || got[1].Tries != 0 || got[0].Delivering || !got[2].Delivering || got[2].Aside {
		t.Errorf("%+v", got)
	}
	if err := s.Drop(got[2].Ref()); !errors.Is(err, ErrDelivering) {
		t.Error(err)
	}
	s.SetAside(d)
	in, data, err := s.Get(got[2].ID)
	if err != nil || number(data) != 3 || !in.Aside || in.Delivering || in.Tries != 1 {
		t.Errorf("%+v %v", in, err)
	}
	if in.Stored.After(time.Now()) || time.Since(in.Stored) > time.Minute {
		t.Error(in.Stored)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Walk(0, false, nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// TestR45SetAsideKeepsItsPlace: so nothing is looked for when a record is put back among millions, and who looks sees
// each in its order.
func TestR45SetAsideKeepsItsPlace(t *testing.T) {
	var l list
	entries := make([]*entry, 1000)
	for i := range entries {
		entries[i] = &entry{id: uint64(i + 1), size: 1, state: stateQueued}
		l.add(entries[i])
	}
	check := func(what string, oldest *entry, live int64) {
		t.Helper()
		i := 0
		for e := l.first; e != nil; e = e.next {
			if e != entries[i] || e.prev != nil && e.prev != entries[i-1] {
				t.Fatalf("%s: at %d stands %d", what, i, e.id)
			}
			i++
		}
		if i != 1000 || l.last != entries[999] || l.oldest != oldest || l.live != (tally{live, live}) || l.aside != (tally{1000 - live, 1000 - live}) {
			t.Fatalf("%s: %d, %+v", what, i, l)
		}
	}
	for i := range 600 {
		l.setAside(entries[i])
	}
	check("600 are set aside", entries[600], 400)
	l.setAside(entries[999])
	l.putBack(entries[5])
	check("an old one is put back", entries[5], 400)
	l.putBack(entries[999])
	check("the last is put back", entries[5], 401)
	l.setAside(entries[5])
	check("the old one again", entries[600], 400)
	for _, e := range entries[600:] {
		l.setAside(e)
	}
	check("all", nil, 0)
	l.remove(entries[999])
	if l.oldest != nil || l.last != entries[998] || l.aside.n != 999 {
		t.Fatalf("one is dropped: %+v", l)
	}
}

// TestR45ADirectoryIsReadWithoutATrace: after a crash, from the files alone.
func TestR45ADirectoryIsReadWithoutATrace(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	mustAppend(t, s, record(1, 1), record(1, 2), record(2, 3), record(3, 4))
	if _, err := Read(dir); !errors.Is(err, ErrRunning) {
		t.Fatal(err)
	}
	d, _ := s.Next(1)
	s.Done(d)
	d, _ = s.Next(1)
	s.SetAside(d)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	segment := files(t, dir, segmentPrefix)[0]
	f, err := os.OpenFile(segment, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("SpR1 torn"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	before := treeOf(t, dir)
	r, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := walked(t, r, 0, false)
	if len(got) != 3 || got[0].ID != 2 || got[1].ID != 3 || !got[1].Aside || r.Node != "garibaldi-1" {
		t.Errorf("%+v of %q", got, r.Node)
	}
	if len(r.Damage) != 1 || !r.Damage[0].Tail || r.Damage[0].To-r.Damage[0].From != 9 || r.Damage[0].File != segment {
		t.Errorf("%+v", r.Damage)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if after := treeOf(t, dir); after != before {
		t.Errorf("it was\n%s\nand is\n%s", before, after)
	}
	if got := fmt.Sprint(drain(t, open(t, dir))); got != "map[1:[2] 3:[4]]" {
		t.Errorf("after it the node has %s", got)
	}
}

// TestR45WhoReadsKeepsNoNodeFromItsSpool: its lock is for a moment, and a node waits that long.
func TestR45WhoReadsKeepsNoNodeFromItsSpool(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	mustAppend(t, s, record(1, 1))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	lock, err := os.Open(filepath.Join(dir, "node"))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	given := time.AfterFunc(20*time.Millisecond, func() { _ = lock.Close() })
	defer given.Stop()
	s = open(t, dir) // it waits
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s = open(t, dir) // while the reader has the files open
	if got := walked(t, r, 0, false); len(got) != 1 {
		t.Errorf("the reader has %+v", got)
	}
	if got := drain(t, s); len(got) != 1 {
		t.Errorf("the node has %v", got)
	}
}

// TestR45WhatANodeChangesMeanwhileIsTold: what was read then is of no moment that ever was.
func TestR45WhatANodeChangesMeanwhileIsTold(t *testing.T) {
	for what, change := range map[string]func(t *testing.T, dir string){
		"a node that runs": func(t *testing.T, dir string) { open(t, dir) },
		"one that ran": func(t *testing.T, dir string) {
			s := open(t, dir)
			mustAppend(t, s, record(2, 2))
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		},
		"one that delivered all": func(t *testing.T, dir string) {
			for _, f := range files(t, dir, segmentPrefix) {
				if err := os.Remove(f); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		dir := t.TempDir()
		s := open(t, dir)
		mustAppend(t, s, record(1, 1))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		change(t, dir)
		if err := r.s.unchanged(); !errors.Is(err, ErrChanged) && !errors.Is(err, ErrRunning) {
			t.Errorf("%s: %v", what, err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestR45AClosedSpoolIsNotDamaged: who looks while it is closed is told so.
func TestR45AClosedSpoolIsNotDamaged(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	mustAppend(t, s, record(1, 1), record(2, 2), record(3, 3))
	seen := 0
	err := s.Walk(0, false, func(_ Info, _ []byte, err error) bool {
		seen++
		if err != nil {
			t.Errorf("record %d: %v", seen, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		return true
	})
	if !errors.Is(err, ErrClosed) || seen != 1 {
		t.Errorf("%d were seen, %v", seen, err)
	}
	if st := s.Stats(); st.Damaged != 0 || len(files(t, dir, damagedPrefix)) != 0 {
		t.Errorf("%+v", st)
	}
}

func TestR45ADirectoryWithoutASpoolIsTold(t *testing.T) {
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "absent")} {
		if _, err := Read(dir); err == nil || !strings.Contains(err.Error(), "reading the spool "+dir) {
			t.Errorf("%v", err)
		}
	}
}

// treeOf is every file of a directory with its bytes.
func treeOf(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	for _, f := range files(t, dir, "") {
		content, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %x\n", f, content)
	}
	return b.String()
}

// TestR45ANumberIsNeverUsedAgain: what an operator drops by its number is what was listed, also if the node was started anew
// meanwhile and nothing is left of before.
func TestR45ANumberIsNeverUsedAgain(t *testing.T) {
	dir, last := t.TempDir(), uint64(0)
	for range 3 {
		s := open(t, dir, func(o *Options) { o.MaxBytes = minBytes })
		for i := range 100 {
			mustAppend(t, s, record(1, i))
			d, ok := s.Next(1)
			if !ok || d.ID <= last {
				t.Fatalf("%d after %d", d.ID, last)
			}
			last = d.ID
			s.Done(d)
		}
		until(t, "its segments are gone", func() bool { return s.Stats().Disk < segmentSize(minBytes)/4 })
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
