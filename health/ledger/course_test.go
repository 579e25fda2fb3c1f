package ledger

import (
	"slices"
	"testing"
	"time"
)

func (v *life) course(o Object, length time.Duration, most int) Course {
	v.Helper()
	courses, err := v.Courses(v.now, length, most, func(x Object) bool { return x == o })
	if err != nil || len(courses) != 1 {
		v.Fatalf("%d courses, %v", len(courses), err)
	}
	c := courses[0]
	at := v.now.Wall.Add(-length)
	for i, s := range c.Spans {
		if !s.From.Equal(at) || !s.To.After(s.From) || i > 0 && c.Spans[i-1].State == s.State {
			v.Fatalf("span %d of %+v does not go on where the last one ended", i, c.Spans)
		}
		at = s.To
	}
	if !at.Equal(v.now.Wall) {
		v.Fatalf("%+v ends at %v, not now", c.Spans, at)
	}
	return c
}

func TestO21TheCourseOfABackendFillsItsWindow(t *testing.T) {
	v := newLife(t)
	v.set(fulmine, Up, "")
	v.pass(10 * time.Minute)
	v.set(fulmine, Down, "timeouts")
	v.pass(time.Minute)
	v.die(5 * time.Minute)
	v.set(fulmine, Up, "")
	v.pass(time.Minute)
	c := v.course(fulmine, time.Hour, 100)
	var states []State
	for _, s := range c.Spans {
		states = append(states, s.State)
	}
	if want := []State{Unknown, Up, Down, Unknown, Up}; !slices.Equal(states, want) {
		t.Fatalf("%v, want %v", states, want)
	}
	if s := c.Spans[2]; s.Cause != "timeouts" || s.To.Sub(s.From) != time.Minute || c.Coarse || !c.First.Equal(start) {
		t.Errorf("%+v of %+v", s, c)
	}
	if len(c.Outages) != 1 || c.Outages[0].Down != time.Minute || c.Outages[0].Until.IsZero() {
		t.Errorf("outages %+v", c.Outages)
	}
	// A window that begins within a span shows its end only.
	if c := v.course(fulmine, 30*time.Second, 100); len(c.Spans) != 1 || c.Spans[0].State != Up || c.Outages != nil {
		t.Errorf("%+v", c)
	}
	if c := v.course(fulmine, 0, 100); c.Spans != nil {
		t.Errorf("of no time at all: %+v", c)
	}
}

func TestO21ACourseOfManyChangesIsBoundedAndShowsTheWorst(t *testing.T) {
	v := newLife(t)
	for range 100 {
		v.set(fulmine, Up, "")
		v.pass(50 * time.Second)
		v.set(fulmine, Down, "refused")
		v.pass(5 * time.Second)
	}
	v.set(fulmine, Up, "")
	v.pass(5 * time.Hour)
	length := 100*55*time.Second + 5*time.Hour
	if c := v.course(fulmine, length, 300); c.Coarse || len(c.Spans) != 201 {
		t.Errorf("%d spans, coarse: %v", len(c.Spans), c.Coarse)
	}
	c := v.course(fulmine, length, 50)
	if !c.Coarse || len(c.Spans) != 2 || len(c.Outages) != 100 {
		t.Fatalf("%d spans, %d outages: %+v", len(c.Spans), len(c.Outages), c.Spans)
	}
	if c.Spans[0].State != Down || c.Spans[0].Cause != "refused" || c.Spans[1].State != Up {
		t.Errorf("%+v", c.Spans)
	}
	if _, err := v.Courses(v.now, length, 1, nil); err != nil {
		t.Error(err)
	}
}

func TestO21ClosedBooksHaveNoCourses(t *testing.T) {
	v := newLife(t)
	v.set(fulmine, Up, "")
	if err := v.Close(v.now); err != nil {
		t.Fatal(err)
	}
	if c, err := v.Courses(v.now, time.Hour, 10, nil); err == nil {
		t.Errorf("%+v", c)
	}
}
