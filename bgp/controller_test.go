package bgp

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// node is a controller in a bubble of fake time.
type node struct {
	*Controller
	r      *recorder
	skew   atomic.Int64 // time that the node slept through
	events []Event
	pauses chan time.Duration
	proven chan error // what Requalify answers
}

func startNode(t *testing.T, s Settings, change func(*Options)) *node {
	t.Helper()
	n := &node{r: &recorder{t: t, state: Established}, pauses: make(chan time.Duration, 8), proven: make(chan error)}
	start := time.Now()
	o := Options{Settings: s, Announcer: n.r,
		Uptime:  func() time.Duration { return time.Since(start) + time.Duration(n.skew.Load()) },
		OnEvent: func(e Event) { n.events = append(n.events, e) },
		OnPause: func(d time.Duration) { n.pauses <- d },
		Requalify: func(ctx context.Context, _ string) error {
			select {
			case err := <-n.proven:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
	if change != nil {
		change(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	n.Controller = c
	c.Start()
	return n
}

func (n *node) expect(t *testing.T, want string) {
	t.Helper()
	synctest.Wait()
	if got := n.r.last(); got != want {
		t.Fatalf("the routes are %s, want %s", got, want)
	}
}

func (n *node) close(t *testing.T) {
	t.Helper()
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	n.expect(t, "none")
}

func TestA11WithdrawalIsHandedOverInTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := startNode(t, testSettings(anycast(nil), neighbor("core-1", "10.0.0.1")), nil)
		n.SetServices(svcUp)
		if got := n.r.last(); got != "good" {
			t.Fatalf("after up: %s", got)
		}
		n.SetServices(svcDown)
		if got := n.r.last(); got != "none" { // no wait of any kind in between
			t.Fatalf("after down: %s", got)
		}
		if len(n.events) != 3 || n.events[2].From != Announced || n.events[2].To != Withdrawn || n.events[2].Reason != ReasonServiceDown {
			t.Errorf("events %+v", n.events)
		}
		n.close(t)
	})
}

func TestA15DesiredSetIsConfirmedAllTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := startNode(t, testSettings(anycast(nil), neighbor("core-1", "10.0.0.1")), nil)
		n.SetServices(svcUp)
		time.Sleep(time.Minute)
		synctest.Wait()
		for i := 1; i < len(n.r.calls); i++ {
			if gap := n.r.calls[i].Sub(n.r.calls[i-1]); gap > time.Second { // lease/3
				t.Fatalf("no confirmation for %v", gap)
			}
		}
		if len(n.r.sets) != 2 {
			t.Errorf("%d different sets, want none and announced", len(n.r.sets))
		}
		n.close(t)
	})
}

func TestA12HoldDownEndsByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := startNode(t, testSettings(anycast(nil), neighbor("core-1", "10.0.0.1")), nil)
		n.SetServices(svcUp)
		n.SetServices(svcDown)
		time.Sleep(time.Second)
		n.SetServices(svcUp)
		time.Sleep(10*time.Second - time.Millisecond)
		n.expect(t, "none")
		if s := n.Status().Anycast[0]; s.Reason != ReasonHoldDown || s.State != Withdrawn || !strings.Contains(s.WaitsFor, "10s of unbroken health") {
			t.Errorf("status %+v", s)
		}
		time.Sleep(time.Millisecond)
		n.expect(t, "good")
		n.close(t)
	})
}

func TestA14StopDemotesWaitsWithdrawsWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := startNode(t, testSettings(anycast(nil), neighbor("core-1", "10.0.0.1")), nil)
		n.SetServices(svcUp)
		start := time.Now()
		done := make(chan error, 1)
		go func() { done <- n.Stop(context.Background()) }()
		n.expect(t, "demoted")
		time.Sleep(2500*time.Millisecond - 1)
		n.expect(t, "demoted")
		time.Sleep(1 * time.Nanosecond)
		n.expect(t, "none")
		if err := <-done; err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d != 5*time.Second {
			t.Errorf("stop took %v, want the drain_time of 5 s", d)
		}
		n.close(t)
	})
}

func TestA14SecondSignalWithdrawsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := startNode(t, testSettings(anycast(nil), neighbor("core-1", "10.0.0.1")), nil)
		n.SetServices(svcUp)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		start := time.Now()
		go func() { done <- n.Stop(ctx) }()
		n.expect(t, "demoted")
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("stop: %v", err)
		}
		n.expect(t, "none")
		if d := time.Since(start); d != 0 {
			t.Errorf("it took %v", d)
		}
		n.close(t)
	})
}

func TestA14StopDoesNotWaitWhereNobodyHears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := startNode(t, testSettings(anycast(nil), neighbor("core-1", "10.0.0.1")), nil)
		n.r.state = Connecting
		n.SetServices(svcUp)
		start := time.Now()
		if err := n.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("it took %v", d)
		}
		n.close(t)
	})
}

func TestA14DrainEndsEarlyWhenTrafficIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var packets atomic.Uint64
		var rate atomic.Uint64
		rate.Store(100)
		a := anycast(func(a *AnycastConfig) { a.DrainTime = time.Minute })
		n := startNode(t, testSettings(a, neighbor("core-1", "10.0.0.1")), func(o *Options) {
			o.Traffic = func(string) (uint64, bool) { return packets.Load(), true }
		})
		n.SetServices(svcUp)
		for range 100 { // 10 s
			time.Sleep(100 * time.Millisecond)
			packets.Add(rate.Load())
		}
		if err := n.Drain("dns-vip"); err != nil {
			t.Fatal(err)
		}
		for range 50 { // traffic as before: it waits
			time.Sleep(100 * time.Millisecond)
			packets.Add(rate.Load())
		}
		n.expect(t, "demoted")
		time.Sleep(3 * time.Second) // nothing arrives any more
		n.expect(t, "none")
		if err := n.Undrain("dns-vip"); err != nil {
			t.Fatal(err)
		}
		n.expect(t, "good")
		if err := n.Drain("nothing"); !errors.Is(err, ErrUnknown) {
			t.Errorf("drain of what is not there: %v", err)
		}
		n.close(t)
	})
}

func TestA16LongPauseNeedsProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := startNode(t, testSettings(anycast(nil), neighbor("core-1", "10.0.0.1")), nil)
		n.SetServices(svcUp)
		time.Sleep(time.Minute)
		n.expect(t, "good")
		n.skew.Add(int64(3300 * time.Millisecond)) // a little more than the lease and a beat
		time.Sleep(200 * time.Millisecond)
		n.expect(t, "none")
		if d := <-n.pauses; d < 3*time.Second {
			t.Errorf("told of a pause of %v", d)
		}
		if r := n.Status().Anycast[0].Reason; r != ReasonPaused {
			t.Errorf("reason %q", r)
		}
		n.proven <- errors.New("probe failed") // tried again after a second
		n.expect(t, "none")
		n.proven <- nil
		n.expect(t, "good") // without announce_after
		n.SetServices(svcDown)
		n.SetServices(svcUp)
		time.Sleep(10 * time.Second) // the pause was no flap: announce_after is not doubled
		n.expect(t, "good")
		n.close(t)
	})
}

// TestA15StarvedNode: the node gets to run again and again, each time later than the lease. Whatever its speakers hear then
// is from after a proof, and none of it is a flap.
func TestA15StarvedNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := startNode(t, testSettings(anycast(nil), neighbor("core-1", "10.0.0.1")), nil)
		n.SetServices(svcUp)
		time.Sleep(time.Minute)
		n.expect(t, "good")
		for range 5 {
			n.skew.Add(int64(4 * time.Second)) // the lease is 3 s
			time.Sleep(200 * time.Millisecond)
			n.expect(t, "none")
			<-n.pauses
		}
		n.proven <- nil
		n.expect(t, "good")
		n.SetServices(svcDown)
		n.SetServices(svcUp)
		time.Sleep(10 * time.Second) // announce_after, not doubled
		n.expect(t, "good")
		n.close(t)
	})
}

func TestA16ShortPauseChangesNoRoute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := startNode(t, testSettings(anycast(nil), neighbor("core-1", "10.0.0.1")), nil)
		n.SetServices(svcUp)
		time.Sleep(time.Minute)
		n.skew.Add(int64(2700 * time.Millisecond))
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		if d := <-n.pauses; d < 2*time.Second {
			t.Errorf("told of a pause of %v", d)
		}
		if len(n.r.sets) != 2 {
			t.Errorf("routes changed %d times", len(n.r.sets))
		}
		n.close(t)
	})
}

func TestA24WithoutNeighborsTheStatusSaysWhatWouldBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := startNode(t, testSettings(anycast(nil)), nil)
		n.SetServices(svcUp)
		s := n.Status()
		if a := s.Anycast[0]; a.State != Announced || a.Reason != ReasonNoNeighbor || s.BGP.Neighbors == nil || s.Alarms == nil {
			t.Errorf("status %+v", s)
		}
		n.close(t)
	})
}

func TestA12UncleanEndIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		n := startNode(t, testSettings(anycast(nil), neighbor("core-1", "10.0.0.1")), func(o *Options) { o.StateDir = dir })
		n.SetServices(svcUp)
		time.Sleep(time.Second)
		synctest.Wait()
		file := filepath.Join(dir, memoryFile)
		crash, err := os.ReadFile(file) // what a crash now would leave behind
		if err != nil {
			t.Fatal(err)
		}
		n.close(t)
		clean, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for name, tt := range map[string]struct {
			file []byte
			want string
		}{"crash": {crash, "none"}, "clean": {clean, "good"}} {
			if err := os.WriteFile(file, tt.file, 0o600); err != nil {
				t.Fatal(err)
			}
			n := startNode(t, testSettings(anycast(nil), neighbor("core-1", "10.0.0.1")), func(o *Options) { o.StateDir = dir })
			n.SetServices(svcUp)
			if got := n.r.last(); got != tt.want {
				t.Errorf("%s: %s at the start, want %s", name, got, tt.want)
			}
			time.Sleep(10 * time.Second)
			n.expect(t, "good")
			n.close(t)
		}
	})
}

func TestStateThatCannotBeKeptIsAnAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		n := startNode(t, testSettings(anycast(nil), neighbor("core-1", "10.0.0.1")), func(o *Options) { o.StateDir = file })
		n.SetServices(svcUp)
		synctest.Wait()
		if a := n.Status().Alarms; len(a) != 1 || a[0].Name != AlarmStateUnwritable {
			t.Errorf("alarms %+v", a)
		}
		time.Sleep(10 * time.Second) // what cannot be read counts as an unclean end
		n.expect(t, "good")
		if err := n.Close(); err == nil {
			t.Error("close hides that the memory is lost")
		}
	})
}

func TestA20ReloadIsRefusedOrTakenWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testSettings(anycast(nil), neighbor("core-1", "10.0.0.1"))
		n := startNode(t, s, nil)
		n.SetServices(svcUp)
		empty := s
		empty.Anycast = nil
		if err := n.SetConfig(empty, false); err == nil {
			t.Error("no prefix at all was accepted")
		}
		n.expect(t, "good")
		more := testSettings(anycast(func(a *AnycastConfig) { a.MED = 7 }), neighbor("core-1", "10.0.0.1"), neighbor("core-2", "10.0.0.3"))
		if err := n.SetConfig(more, false); err != nil {
			t.Error(err)
		}
		n.expect(t, "good")
		if got := n.Status(); len(got.BGP.Neighbors) != 2 {
			t.Errorf("neighbors %+v", got.BGP.Neighbors)
		}
		if err := n.SetConfig(empty, true); err != nil {
			t.Error(err)
		}
		n.expect(t, "none")
		n.close(t)
	})
}

func TestA20EntryOfAReloadMayBeginDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testSettings(anycast(nil), neighbor("core-1", "10.0.0.1"))
		n := startNode(t, s, nil)
		n.SetServices(svcUp)
		s.Anycast = append([]AnycastConfig{}, s.Anycast...)
		s.Anycast = append(s.Anycast, anycast(func(a *AnycastConfig) {
			a.Name, a.Prefixes = "new-vip", []netip.Prefix{netip.MustParsePrefix("198.51.100.1/32")}
		}))
		if err := n.SetConfig(s, false, "new-vip"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for _, set := range n.r.sets {
			for _, r := range set {
				if r.Prefix.String() == "198.51.100.1/32" {
					t.Errorf("announced although it is drained: %v", r)
				}
			}
		}
		if a := n.Status().Anycast[1]; a.State != Withdrawn || a.Reason != ReasonDrained {
			t.Errorf("status %+v", a)
		}
		n.expect(t, "good")
		n.close(t)
	})
}
