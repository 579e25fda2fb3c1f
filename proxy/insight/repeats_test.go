package insight

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func observed() (*zap.Logger, *observer.ObservedLogs) {
	core, logs := observer.New(zap.DebugLevel)
	return zap.New(core), logs
}

func texts(logs *observer.ObservedLogs) string {
	var out []string
	for _, e := range logs.TakeAll() {
		out = append(out, e.Message)
	}
	return strings.Join(out, "|")
}

func TestO23TheSameThingAgainAndAgainIsCountedAndSummedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, logs := observed()
		r := NewRepeats(log)
		l := r.Line(zap.WarnLevel, "knocking")
		for range 1205 {
			l.Say(func() []zap.Field { return []zap.Field{zap.String("who", "x")} })
		}
		if got := logs.All(); len(got) != 1 || got[0].Message != "knocking" || got[0].ContextMap()["who"] != "x" || got[0].Level != zap.WarnLevel {
			t.Errorf("at first: %v", got)
		}
		texts(logs)
		time.Sleep(repeatInterval)
		synctest.Wait()
		if got := texts(logs); got != "knocking: 1,204 times in the last 60 s" {
			t.Errorf("after an interval: %q", got)
		}
		l.Say(nil) // the flood goes on
		if got := texts(logs); got != "" {
			t.Errorf("in the second interval: %q", got)
		}
		time.Sleep(repeatInterval)
		synctest.Wait()
		if got := texts(logs); got != "knocking: 1 times in the last 60 s" {
			t.Errorf("after the second: %q", got)
		}
		time.Sleep(2 * repeatInterval)
		synctest.Wait()
		l.Say(nil)
		if got := texts(logs); got != "knocking" {
			t.Errorf("after a silence it begins anew: %q", got)
		}
		l.Say(nil)
		r.Close()
		if got := texts(logs); got != "knocking: 1 times more" {
			t.Errorf("at the end: %q", got)
		}
	})
}

func TestO23KindsOfLinesAreBounded(t *testing.T) {
	log, logs := observed()
	r := NewRepeats(log)
	defer r.Close()
	for i := range 10 * maxLines {
		r.Line(zap.WarnLevel, "no socket", zap.String("backend", fmt.Sprint(i))).Say(nil)
	}
	if n := len(r.lines); n > maxLines+1 {
		t.Errorf("%d kinds of lines", n)
	}
	if n := logs.Len(); n > maxLines+1 {
		t.Errorf("%d lines", n)
	}
	line := r.Line(zap.WarnLevel, "no socket", zap.String("backend", "7"))
	if again := r.Line(zap.WarnLevel, "no socket", zap.String("backend", "7")); again != line {
		t.Error("the same line is made twice")
	}
}

func TestO23ALibrarysLinesAreCountedToo(t *testing.T) {
	log, logs := observed()
	r := NewRepeats(log)
	std := zap.NewStdLog(r.Line(zap.WarnLevel, "http").Logger())
	for i := range 10 {
		std.Printf("no descriptors left, %d", i)
	}
	r.Close()
	if got := logs.All(); len(got) != 2 || got[0].ContextMap()["text"] != "no descriptors left, 0" || got[1].Message != "http: 9 times more" {
		t.Errorf("%v", got)
	}
}

func TestO33FaultsAreCountedAndLoggedByPlace(t *testing.T) {
	log, logs := observed()
	r := NewRepeats(log)
	f := NewFaults(r)
	boom := func(values []int, i int) {
		defer func() {
			if fault := recover(); fault != nil {
				f.Caught(fault, []byte{0xde, 0xad})
			}
		}()
		values[i]++
	}
	for range 1000 {
		boom(nil, 3)
	}
	r.Close()
	if f.Total() != 1000 {
		t.Errorf("%d were counted", f.Total())
	}
	got := logs.All()
	if len(got) != 2 || got[1].Message != "a fault of ours cost a packet: 999 times more" {
		t.Fatalf("%v", got)
	}
	said := got[0].ContextMap()
	if said["packet"] != "dead" || !strings.Contains(said["fault"].(string), "out of range [3]") ||
		!strings.HasPrefix(said["at"].(string), "insight/repeats_test.go:") || !strings.Contains(said["stack"].(string), "goroutine") {
		t.Errorf("%v", said)
	}
}

func TestO23SayingAgainAllocatesNothing(t *testing.T) {
	l := NewRepeats(nil).Line(zap.WarnLevel, "x")
	defer l.repeats.Close()
	peer := "10.0.0.1"
	if n := testing.AllocsPerRun(1000, func() { l.Say(func() []zap.Field { return []zap.Field{zap.String("a", peer)} }) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
