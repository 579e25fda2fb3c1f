package spool

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestR40WhatIsAcknowledgedSurvivesACrash(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for i := range 50 {
		if err := s.Append(record(uint64(i%5), i)); err != nil {
			t.Fatal(err)
		}
		if i%10 != 0 {
			continue
		}
		again := open(t, copyDir(t, dir)) // nothing was closed: what is on disk now is all there is
		if n := again.Stats().Records; n != int64(i+1) {
			t.Fatalf("%d of %d records are there after a crash", n, i+1)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestR41OrderForEachSessionAndSideBySide(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	var all []Record
	for i := range 3000 {
		all = append(all, record(uint64(i%30), i))
	}
	mustAppend(t, s, all[:1500]...)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	mustAppend(t, s, all[1500:]...)

	var under []*Delivery
	for {
		d, ok := s.Next(1)
		if !ok {
			break
		}
		under = append(under, d)
	}
	if len(under) != 30 {
		t.Fatalf("%d records are under way, want one for each of 30 sessions", len(under))
	}
	for _, d := range under {
		s.Done(d)
	}
	got := drain(t, s)
	for session := range uint64(30) {
		list := got[session]
		if len(list) != 99 || !slices.IsSorted(list) {
			t.Fatalf("session %d: %d records, in order: %v", session, len(list), slices.IsSorted(list))
		}
	}
	if st := s.Stats(); st.Records != 0 || st.Bytes != 0 || st.Delivered != 3000 || s.Has(3) {
		t.Fatalf("%+v", st)
	}
}

// TestR41WhatCameEarlierGoesFirst: before what came later and was stored earlier, but for what is on its way.
func TestR41WhatCameEarlierGoesFirst(t *testing.T) {
	s := open(t, t.TempDir(), func(o *Options) { o.Coalesce = true })
	came := func(c Class, at ...int) {
		t.Helper()
		for _, n := range at {
			r := record(1, n)
			r.Class, r.Came = c, s.base.Add(-time.Hour+time.Duration(n/10)*time.Second)
			mustAppend(t, s, r)
		}
	}
	came(Stop, 30, 10, 20, 31, 50, 40)
	first, _ := s.Next(1)
	s.Again(first, 0, true)
	came(Stop, 0)
	first, _ = s.Next(1)
	if number(first.Data) != 0 || first.Tries != 0 || first.Sent {
		t.Errorf("%+v", first)
	}
	first.Sent = true
	came(Stop, -10) // the first is on its way
	s.Again(first, 0, true)
	if d, _ := s.Next(1); number(d.Data) != -10 || d.Tries != 0 || d.Sent {
		t.Errorf("%+v", d)
	} else {
		s.Done(d)
	}
	if first, _ = s.Next(1); number(first.Data) != 0 || !first.Sent {
		t.Errorf("%+v", first)
	}
	s.SetAside(first)
	if err := s.Retry(first.Ref()); err != nil { // at the end, and it stays there
		t.Fatal(err)
	}
	came(Interim, 70, 60, 80) // 60 is no newer one
	if got := drain(t, s)[1]; !slices.Equal(got, []int{10, 20, 30, 31, 40, 50, 0, 60, 80}) {
		t.Error(got)
	}
	if st := s.Stats(); st.Records != 0 || st.Coalesced != 1 || s.Has(1) || len(s.Queues()) != 0 {
		t.Errorf("%+v", st)
	}
}

func TestR41AcknowledgedOnesAreRemovedForGood(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for i := range 100 {
		mustAppend(t, s, record(uint64(i), i))
	}
	for range 60 {
		d, _ := s.Next(1)
		s.Done(d)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	got := drain(t, s)
	if len(got) != 40 || got[59] != nil || got[60] == nil {
		t.Fatalf("%d records are left", len(got))
	}
}

func TestR41ARecordThatIsTriedAgainHoldsUpItsSessionOnly(t *testing.T) {
	var at atomic.Int64
	s := open(t, t.TempDir(), func(o *Options) { o.Now = func() time.Time { return time.Unix(1000, at.Load()) } })
	mustAppend(t, s, record(1, 1), record(1, 2), record(2, 3))
	for i := range 10 {
		d, ok := s.Next(1)
		if !ok || number(d.Data) != 1 || d.Tries != i {
			t.Fatalf("try %d: %+v", i, d)
		}
		s.Again(d, time.Minute, true)
		if i == 0 {
			if d, ok := s.Next(1); !ok || number(d.Data) != 3 {
				t.Fatalf("the other session waits: %+v", d)
			}
		}
		if d, ok := s.Next(1); ok {
			t.Fatalf("session 1 comes before its time: %+v", d)
		}
		at.Add(int64(time.Minute))
	}
	d, _ := s.Next(1)
	if d.Tries != 10 || d.Trying != 10*time.Minute || d.Waited != 10*time.Minute {
		t.Fatalf("%+v", d)
	}
	s.SetAside(d)
	d, ok := s.Next(1)
	if !ok || number(d.Data) != 2 || d.Tries != 0 {
		t.Fatalf("the session does not go on: %+v", d)
	}
	if st := s.Stats(); st.Aside != 1 || st.SetAside != 1 || st.Records != 2 {
		t.Fatalf("%+v", st)
	}
}

func TestR45SetAsideListedRetriedDropped(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	mustAppend(t, s, record(1, 1), record(2, 2), record(3, 3))
	for range 2 {
		d, _ := s.Next(1)
		s.SetAside(d)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	aside := walked(t, s, 0, true)
	if len(aside) != 2 || aside[0].Session != 1 || !aside[0].Aside || len(walked(t, s, 0, false)) != 3 || s.Has(1) {
		t.Fatalf("%+v", aside)
	}
	if _, data, err := s.Get(aside[1].ID); err != nil || number(data) != 2 {
		t.Fatalf("%v %v", data, err)
	}
	if err := s.Drop(aside[0].Ref()); err != nil {
		t.Fatal(err)
	}
	if err := s.Retry(aside[1].Ref()); err != nil {
		t.Fatal(err)
	}
	if err := s.Retry(aside[0].Ref()); !errors.Is(err, ErrNotAside) {
		t.Fatalf("%v", err)
	}
	if err := s.Drop(aside[0].Ref()); !errors.Is(err, ErrNoRecord) {
		t.Fatalf("%v", err)
	}
	if _, _, err := s.Get(99); !errors.Is(err, ErrNoRecord) {
		t.Fatalf("%v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if got := fmt.Sprint(drain(t, s)); got != "map[2:[2] 3:[3]]" {
		t.Fatal(got)
	}
}

func TestR43AdmissionShrinksByClass(t *testing.T) {
	s := open(t, t.TempDir(), func(o *Options) { o.MaxBytes = minBytes })
	share := func() float64 {
		s.mu.Lock()
		defer s.mu.Unlock()
		return float64(s.used()) / float64(minBytes)
	}
	next := 0
	fill := func(c Class, want error, least, most float64) {
		t.Helper()
		for {
			r := record(uint64(next), next)
			r.Class = c
			err := s.Append(r)
			if err == nil {
				next++
				continue
			}
			if !errors.Is(err, want) || share() < least || share() > most {
				t.Fatalf("%v: %v at %.3f", c, err, share())
			}
			return
		}
	}
	fill(Interim, ErrClass, 0.89, 0.90)
	fill(Start, ErrClass, 0.94, 0.95)
	if !s.Accepts() {
		t.Fatal("it refuses while Stops are taken")
	}
	fill(Stop, ErrFull, 0.99, 1)
	if st := s.Stats(); s.Accepts() || st.Records != int64(next) || st.Refused != [numClasses]uint64{1, 1, 1} || st.Disk > minBytes {
		t.Fatalf("%+v", st)
	}
	n := 0
	for _, list := range drain(t, s) {
		n += len(list)
	}
	if n != next {
		t.Fatalf("%d of %d records came out", n, next)
	}
	until(t, "room", s.Accepts)
	until(t, "room for all classes", func() bool { return share() < 0.5 }) // what is delivered leaves the disk a little later
	fill(Interim, ErrClass, 0.85, 0.90)
}

func TestR43CoalesceReplacesAnOlderUndeliveredInterim(t *testing.T) {
	for _, on := range []bool{false, true} {
		dir := t.TempDir()
		s := open(t, dir, func(o *Options) { o.Coalesce = on })
		interim := func(session uint64, n int) Record {
			r := record(session, n)
			r.Class = Interim
			return r
		}
		start := record(1, 1)
		start.Class = Start
		mustAppend(t, s, start, interim(1, 2))
		mustAppend(t, s, interim(1, 3), interim(2, 4), interim(1, 5))
		mustAppend(t, s, record(1, 6), interim(1, 7))
		st := s.Stats()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		got := drain(t, open(t, dir))
		want, merged := []int{1, 2, 3, 5, 6, 7}, uint64(0)
		if on {
			want, merged = []int{1, 5, 6, 7}, 2
		}
		if !slices.Equal(got[1], want) || len(got[2]) != 1 || st.Coalesced != merged || st.Records != int64(len(want)+1) {
			t.Fatalf("coalesce %v: %v, %+v", on, got, st)
		}
	}
}

// TestR43WhatIsOnItsWayIsNotReplaced: a backend may have it already, and what came after it is another record.
func TestR43WhatIsOnItsWayIsNotReplaced(t *testing.T) {
	s := open(t, t.TempDir(), func(o *Options) { o.Coalesce = true })
	interim := func(n int) Record {
		r := record(1, n)
		r.Class = Interim
		return r
	}
	mustAppend(t, s, interim(1))
	v, ok := s.Next(1)
	if !ok || number(v.Data) != 1 {
		t.Fatal(v, ok)
	}
	mustAppend(t, s, interim(2))
	if st := s.Stats(); st.Coalesced != 0 || st.Records != 2 {
		t.Fatalf("%+v", st)
	}
	s.Done(v)
	if v, ok = s.Next(1); !ok || number(v.Data) != 2 {
		t.Fatal(v, ok)
	}
}

// TestR43OldRecordsDoNotKeepTheDisk: one session is never delivered; what others
// leave behind it is reclaimed, and it survives.
func TestR43OldRecordsDoNotKeepTheDisk(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, func(o *Options) { o.MaxBytes = minBytes })
	mustAppend(t, s, record(1, 1), record(2, 2))
	stuck, _ := s.Next(1)
	aside, _ := s.Next(1)
	s.SetAside(aside)
	for i := 10; i < 20_000; i += 100 {
		var list []Record
		for n := range 100 {
			list = append(list, record(uint64(i+n), i+n))
		}
		mustAppend(t, s, list...)
		if got := drain(t, s); len(got) != 100 {
			t.Fatalf("%d came out", len(got))
		}
		if d := s.Stats().Disk; d > minBytes {
			t.Fatalf("%d bytes on disk", d)
		}
	}
	until(t, "the disk's release", func() bool { return s.Stats().Disk < minBytes/2 })
	if n := len(files(t, dir, segmentPrefix)); n > 40 {
		t.Fatalf("%d segments", n)
	}
	s.Again(stuck, 0, false)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, func(o *Options) { o.MaxBytes = minBytes })
	if st := s.Stats(); st.Records != 1 || st.Aside != 1 || st.Damaged != 0 {
		t.Fatalf("%+v", st)
	}
	if d, ok := s.Next(1); !ok || !bytes.Equal(d.Data, record(1, 1).Data) {
		t.Fatalf("%+v", d)
	}
}

func TestCancelTakesBackWhatABackendHas(t *testing.T) {
	s := open(t, t.TempDir())
	refs := make(chan Ref, 2)
	for i := range 2 {
		if err := s.Submit(record(1, i), func(r Ref, _ error) { refs <- r }); err != nil {
			t.Fatal(err)
		}
	}
	first, second := <-refs, <-refs
	d, _ := s.Next(1)
	if !s.Cancel(second) || s.Cancel(second) || !s.Cancel(first) {
		t.Fatal("a queued record and one under way can be cancelled, once")
	}
	s.Again(d, 0, true)
	if st := s.Stats(); st.Records != 0 || st.Cancelled != 2 || s.Has(1) {
		t.Fatalf("%+v", st)
	}
}

func TestR42WaitedFollowsNoClockThatJumps(t *testing.T) {
	dir := t.TempDir()
	var at atomic.Int64
	at.Store(int64(time.Hour))
	clock := func(o *Options) { o.Now = func() time.Time { return time.Unix(1_000_000, at.Load()) } }
	s := open(t, dir, clock)
	mustAppend(t, s, record(1, 1))
	at.Add(int64(7 * time.Second))
	if d, _ := s.Next(1); d.Waited != 7*time.Second {
		t.Fatal(d.Waited)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	at.Add(int64(53 * time.Second))
	s = open(t, dir, clock)
	if o := s.Stats().Oldest; o != time.Minute {
		t.Fatal(o)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	at.Store(0) // the clock was set back by more than an hour
	s = open(t, dir, clock)
	at.Add(int64(2 * time.Second))
	if d, ok := s.Next(1); !ok || d.Waited != 2*time.Second {
		t.Fatalf("%+v", d)
	}
}

// TestR42AClockThatIsSetForwardOverARestart: the wall clock is all that both processes have. The record is there, its
// wait is what that clock says, and of what comes later it is right.
func TestR42AClockThatIsSetForwardOverARestart(t *testing.T) {
	for _, jump := range []time.Duration{36 * time.Hour, 90 * 365 * 24 * time.Hour} {
		dir := t.TempDir()
		var passed atomic.Int64 // ns; the spool's own goroutine asks too
		clock := func(o *Options) { o.Now = func() time.Time { return time.Unix(1_000_000_000, passed.Load()) } }
		s := open(t, dir, clock)
		mustAppend(t, s, record(1, 1), record(1, 2))
		d, _ := s.Next(1)
		s.Again(d, time.Minute, true)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		passed.Add(int64(jump))
		s = open(t, dir, clock)
		mustAppend(t, s, record(2, 3))
		passed.Add(int64(2 * time.Second))
		if st := s.Stats(); st.Records != 3 || st.Oldest != jump+2*time.Second {
			t.Errorf("%v forward: %+v", jump, st)
		}
		for _, want := range []time.Duration{jump + 2*time.Second, 2 * time.Second} {
			d, ok := s.Next(1)
			if !ok || d.Waited != want || d.Tries != 0 {
				t.Fatalf("%v forward: %+v instead of %v", jump, d, want)
			}
		}
	}
}

// TestR42AClockThatIsSetChangesNothing: times are taken from a clock with a monotonic reading (package time), which
// nobody sets.
func TestR42AClockThatIsSetChangesNothing(t *testing.T) {
	s := open(t, t.TempDir())
	if !strings.Contains(s.base.String(), " m=") || !strings.Contains(s.now().String(), " m=") {
		t.Errorf("%v and %v are of the wall clock alone", s.base, s.now())
	}
}

// TestR42WaitedCountsFromTheArrival: the time before a record was stored is part of it, also
// after a restart.
func TestR42WaitedCountsFromTheArrival(t *testing.T) {
	dir := t.TempDir()
	now := time.Unix(5000, 0)
	clock := func(o *Options) { o.Now = func() time.Time { return now } }
	s := open(t, dir, clock)
	r := record(1, 1)
	r.Came = now.Add(-2500 * time.Millisecond)
	mustAppend(t, s, r)
	if d, ok := s.Next(1); !ok || d.Waited != 2500*time.Millisecond {
		t.Fatalf("%+v", d)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Second)
	if d, ok := open(t, dir, clock).Next(1); !ok || d.Waited != 3500*time.Millisecond {
		t.Fatalf("%+v", d)
	}
}

func TestMemoryHoldsNothingOfWhatIsOver(t *testing.T) {
	s := open(t, t.TempDir())
	for i := range 2000 {
		mustAppend(t, s, record(uint64(i), i))
	}
	drain(t, s)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.index.sessions) != 0 || len(s.index.queues) != 0 || s.index.list.first != nil {
		t.Fatalf("%d sessions, %d queues", len(s.index.sessions), len(s.index.queues))
	}
}
