package ledger

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestA30NoOutage(t *testing.T) {
	v := newLife(t)
	v.set(resolver, Up, "")
	v.pass(10 * time.Minute)
	f := v.figures(resolver, 10*time.Minute)
	if f.Up != 10*time.Minute || f.Outages != 0 || f.MTBF != nil || f.MTTR != nil || f.Longest != nil || f.Last != nil {
		t.Errorf("%+v", f)
	}
	if f.Availability == nil || *f.Availability != 1 || f.Level != 8 || f.Nines != 9 {
		t.Errorf("availability %v, level %d, %d nines", f.Availability, f.Level, f.Nines)
	}
}

func TestA30OutagesMTBFAndMTTR(t *testing.T) {
	v := newLife(t)
	v.set(resolver, Up, "")
	v.pass(20 * time.Minute)
	v.set(resolver, Down, "no-healthy-backend")
	v.pass(time.Minute)
	v.set(resolver, Degraded, "demoted")
	v.pass(30 * time.Minute)
	v.set(resolver, Down, "self-probe-failed")
	v.pass(3 * time.Minute)
	f := v.figures(resolver, time.Hour)
	if want := [5]time.Duration{20 * time.Minute, 30 * time.Minute, 0, 4 * time.Minute, 6 * time.Minute}; f.times() != want {
		t.Errorf("times %v, want %v", f.times(), want)
	}
	if f.Outages != 2 || *f.MTBF != 25*time.Minute || *f.MTTR != 2*time.Minute {
		t.Errorf("%d outages, MTBF %v, MTTR %v", f.Outages, f.MTBF, f.MTTR)
	}
	if a := float64(*f.MTBF) / float64(*f.MTBF+*f.MTTR); math.Abs(a-*f.Availability) > 1e-12 {
		t.Errorf("availability %v, by MTBF and MTTR %v", *f.Availability, a)
	}
	if f.Nines != 1 || f.Level != 1 {
		t.Errorf("%d nines, level %d of %v", f.Nines, f.Level, *f.Availability)
	}
	if f.Last != f.Longest && *f.Last != *f.Longest || f.Last.Cause != "self-probe-failed" || f.Last.Down != 3*time.Minute || !f.Last.Until.IsZero() {
		t.Errorf("last %+v, longest %+v", f.Last, f.Longest)
	}
	v.set(resolver, Up, "")
	v.pass(time.Minute)
	if f := v.figures(resolver, time.Hour); !f.Last.Until.Equal(start.Add(54*time.Minute)) || !f.Last.From.Equal(start.Add(51*time.Minute)) {
		t.Errorf("a repaired outage: %+v", f.Last)
	}
	// Of a window that begins in an outage only the part within counts.
	if f := v.figures(resolver, 2*time.Minute); f.Down != time.Minute || f.Outages != 1 || *f.MTTR != time.Minute || !f.Last.From.Equal(start.Add(51*time.Minute)) {
		t.Errorf("%+v", f)
	}
}

func TestA30AnOutageGoesOnAfterARestart(t *testing.T) {
	v := newLife(t)
	v.set(fulmine, Up, "")
	v.pass(10 * time.Minute)
	v.set(fulmine, Down, "timeouts")
	v.pass(time.Minute)
	v.die(5 * time.Minute)
	v.set(fulmine, Down, "probe-failed")
	v.pass(time.Minute)
	f := v.figures(fulmine, 17*time.Minute)
	if f.Outages != 1 || f.Down != 2*time.Minute || f.Unknown != 5*time.Minute || f.Last.Cause != "timeouts" {
		t.Errorf("%+v, last %+v", f, f.Last)
	}
}

func TestA30TheClassicalTable(t *testing.T) {
	for _, test := range []struct {
		down         time.Duration // of 1,000,000 s
		level, nines int
	}{
		{0, 8, 9}, {time.Second, 8, 6}, {time.Second + 1, 7, 5}, {10 * time.Second, 7, 5}, {100 * time.Second, 6, 4},
		{101 * time.Second, 5, 3}, {1000 * time.Second, 5, 3}, {2000 * time.Second, 4, 2}, {10_000 * time.Second, 3, 2},
		{20_000 * time.Second, 2, 1}, {100_000 * time.Second, 1, 1}, {100_001 * time.Second, 0, 0}, {1_000_000 * time.Second, 0, 0},
	} {
		up := 1_000_000*time.Second - test.down
		if l, n := levelOf(up, test.down), ninesOf(up, test.down); l != test.level || n != test.nines {
			t.Errorf("%v down: level %d, %d nines; want %d and %d", test.down, l, n, test.level, test.nines)
		}
	}
	if l := levelOf(0, math.MaxInt64); l != 0 {
		t.Errorf("never up: level %d", l)
	}
	if l := Levels(); len(l) != 8 || l[6].Percent != "99.999" || l[6].Of != "telephony and banks" {
		t.Errorf("the table is %v", l)
	}
}

func TestA31DrainedAndUnknownCountNeitherWay(t *testing.T) {
	v := newLife(t)
	v.set(resolver, Up, "")
	v.pass(10 * time.Minute)
	v.set(resolver, Drained, "drained")
	v.pass(30 * time.Minute)
	v.set(resolver, Unknown, "starting")
	v.pass(10 * time.Minute)
	v.set(resolver, Down, "closed")
	v.pass(10 * time.Minute)
	f := v.figures(resolver, time.Hour)
	if want := [5]time.Duration{10 * time.Minute, 0, 30 * time.Minute, 10 * time.Minute, 10 * time.Minute}; f.times() != want {
		t.Errorf("times %v, want %v", f.times(), want)
	}
	if *f.Availability != 0.5 {
		t.Errorf("availability %v", *f.Availability)
	}
	if f := v.figures(resolver, 0); f.Availability != nil || f.Level != 0 {
		t.Errorf("of no time at all: %+v", f)
	}
}

func TestA31AnOutageAcrossMidnight(t *testing.T) {
	v := newLife(t)
	v.set(resolver, Up, "")
	v.leap(15*time.Hour + 59*time.Minute)
	v.set(resolver, Down, "no-healthy-backend")
	v.pass(2 * time.Minute)
	v.set(resolver, Up, "")
	v.pass(time.Minute)
	for _, length := range []time.Duration{3 * time.Minute, time.Hour, day} {
		if f := v.figures(resolver, length); f.Down != 2*time.Minute || f.Outages != 1 {
			t.Errorf("in %v: %v down, %d outages", length, f.Down, f.Outages)
		}
	}
	if f := v.figures(resolver, 2*time.Minute); f.Down != time.Minute {
		t.Errorf("from midnight on: %v down", f.Down)
	}
}

func TestA31RequestsAndBudgets(t *testing.T) {
	v := newLife(t)
	for range 120 { // two hours
		v.state[resolver] = Observation{Object: resolver, State: Up, Good: 99, Valid: 100}
		v.beat()
		v.leap(time.Minute)
	}
	v.state[fulmine] = Observation{Object: fulmine, State: Up, Good: 7, Valid: 5} // nonsense is bounded
	v.beat()
	for _, test := range []struct {
		length time.Duration
		valid  uint64
	}{{time.Hour, 6000}, {day, 12000}, {30 * day, 12000}, {365 * day, 12000}} {
		f := v.figures(resolver, test.length)
		if f.Valid != test.valid || f.Good != test.valid*99/100 {
			t.Errorf("in %v: %d of %d, want %d", test.length, f.Good, f.Valid, test.valid)
		}
	}
	if f := v.figures(fulmine, time.Hour); f.Good != 5 || f.Valid != 5 {
		t.Errorf("more good than valid: %d of %d", f.Good, f.Valid)
	}
	f := Figures{Up: 999 * time.Hour, Down: time.Hour, Good: 9990, Valid: 10000}
	if allowed, left := f.TimeBudget(99); allowed != 10*time.Hour || left != 9*time.Hour {
		t.Errorf("time: %v, %v left", allowed, left)
	}
	if allowed, left := f.RequestBudget(99.95); math.Abs(allowed-5) > 1e-6 || math.Abs(left+5) > 1e-6 {
		t.Errorf("requests: %v, %v left", allowed, left)
	}
	v.die(time.Minute)
	if f := v.figures(resolver, 365*day); f.Valid != 12000 {
		t.Errorf("after kill -9: %d requests", f.Valid)
	}
}

// TestA31TimesAddUp lives lives at random, and holds the books against a plain sum.
func TestA31TimesAddUp(t *testing.T) {
	for seed := range uint64(15) {
		r := rand.New(rand.NewPCG(seed, 6))
		v := newLife(t)
		var spent [5]time.Duration
		order := [5]State{Up, Degraded, Drained, Down, Unknown}
		now, outages, broken := Unknown, 0, false
		born := v.now.Wall
		v.set(resolver, Unknown, "starting")
		add := func(s State, d time.Duration) {
			for i := range order {
				if order[i] == s {
					spent[i] += d
				}
			}
		}
		for range 60 {
			switch r.IntN(8) {
			case 0:
				d := time.Duration(r.IntN(600_000)) * time.Millisecond
				v.die(d)
				add(Unknown, d)
				now = Unknown
			case 1:
				d := 2001*time.Millisecond + time.Duration(r.IntN(3600_000))*time.Millisecond
				v.now.Wall = v.now.Wall.Add(d) // the clock is set ahead
				v.beat()
				add(Unknown, d)
			default:
				now = order[r.IntN(5)]
				v.set(resolver, now, "cause")
			}
			if v.state[resolver].State != now {
				v.state[resolver] = Observation{Object: resolver, State: now}
				v.beat()
			}
			d := time.Duration(1+r.IntN(100_000)) * time.Millisecond
			v.pass(d)
			add(now, d)
			if now == Down && !broken {
				outages++
			}
			broken = now == Down || broken && now != Up && now != Degraded
		}
		f := v.figures(resolver, v.now.Wall.Sub(born))
		if f.times() != spent || f.Outages != outages {
			t.Fatalf("seed %d: times %v, want %v; %d outages, want %d", seed, f.times(), spent, f.Outages, outages)
		}
		for range 20 {
			f := v.figures(resolver, time.Duration(r.Int64N(int64(4*time.Hour))))
			if f.Outages > 0 && f.Availability != nil {
				a := float64(*f.MTBF) / float64(*f.MTBF+*f.MTTR)
				if math.Abs(a-*f.Availability) > 1e-6 || f.Longest.Down < *f.MTTR {
					t.Fatalf("seed %d: %v against %v, longest %v, MTTR %v", seed, a, *f.Availability, f.Longest.Down, *f.MTTR)
				}
			}
		}
	}
}
