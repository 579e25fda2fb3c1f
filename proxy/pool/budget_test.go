package pool

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Whatever comes when: over any 10 s, retries stay below max(100, share × requests).
func TestD23RetriesStayInsideTheirBudget(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 6))
			cfg := testConfig("random")
			cfg.RetryBudget = []float64{0, 0.05, 0.2, 1}[seed%4]
			p, err := New(cfg, "dns", nil)
			if err != nil {
				t.Fatal(err)
			}
			var requests, retries []time.Time
			refused := 0
			burst := 0
			for range 20_000 {
				if rng.IntN(2000) == 0 {
					time.Sleep(time.Duration(rng.IntN(40)) * time.Second)
				}
				if rng.IntN(500) == 0 {
					burst = rng.IntN(20)
				}
				time.Sleep(time.Duration(rng.IntN(1+burst)) * time.Millisecond)
				p.Request()
				requests = append(requests, time.Now())
				for range rng.IntN(3) {
					if !p.TryRetry() {
						refused++
						continue
					}
					retries = append(retries, time.Now())
				}
			}
			if refused == 0 || len(retries) == 0 {
				t.Fatalf("%d retries, %d refused: the test shows nothing", len(retries), refused)
			}
			for i, at := range retries {
				inWindow := i + 1 - since(retries, at)
				asked := since(requests, at.Add(time.Nanosecond+budgetSeconds*time.Second)) - since(requests, at)
				if limit := max(freeRetries, cfg.RetryBudget*float64(asked)); float64(inWindow) >= limit {
					t.Fatalf("seed %d: %d retries within 10 s of %d requests; the limit is %v", seed, inWindow, asked, limit)
				}
			}
		})
	}
}

// since is the index of the first time that is within 10 s before at.
func since(times []time.Time, at time.Time) int {
	lo, hi := 0, len(times)
	for lo < hi {
		mid := (lo + hi) / 2
		if at.Sub(times[mid]) < budgetSeconds*time.Second {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

func TestD23TheBudgetGrowsWithTheRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig("random")
		p, err := New(cfg, "dns", nil)
		if err != nil {
			t.Fatal(err)
		}
		all := func() (n int) {
			for p.TryRetry() {
				n++
			}
			return n
		}
		if n := all(); n != freeRetries-1 {
			t.Errorf("an idle pool has %d retries", n)
		}
		time.Sleep(11 * time.Second)
		var asking sync.WaitGroup
		for range 8 {
			asking.Go(func() {
				for range 2500 {
					p.Request()
				}
			})
		}
		asking.Wait()
		if n := all(); n != 20_000/5-1 {
			t.Errorf("of 20000 requests %d may be retried", n)
		}
		time.Sleep(9 * time.Second)
		if n := all(); n != 0 {
			t.Errorf("9 s later %d more", n)
		}
		time.Sleep(2 * time.Second)
		if n := all(); n != freeRetries-1 {
			t.Errorf("when all has passed there are %d", n)
		}
		cfg.RetryBudget = 0.5
		if err := p.Update(cfg, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		for range 1000 {
			p.Request()
		}
		if n := all(); n != 499 {
			t.Errorf("after a reload to 0.5, of 1000 requests %d may be retried", n)
		}
	})
}

func TestD26NoSlotIsLostUnderConcurrency(t *testing.T) {
	for _, balance := range allPolicies {
		g := newGroup(t, balance, spec{name: "a", max: 7}, spec{name: "b", max: 7}, spec{name: "c", max: 7, backup: true})
		var most atomic.Int64
		var working sync.WaitGroup
		stop := make(chan struct{})
		working.Go(func() { // states and members change all the while
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				switch i % 4 {
				case 0:
					now := g.now()
					g.health("a").Probed(failed(now))
					g.health("a").Probed(failed(now))
				case 1:
					g.good("a")
					g.good("a")
				case 2:
					if err := g.Update(g.config, g.members[:2]); err != nil {
						t.Error(err)
					}
				case 3:
					if err := g.Update(g.config, g.members); err != nil {
						t.Error(err)
					}
				}
			}
		})
		for range 4 {
			working.Go(func() {
				for i := range uint64(20_000) {
					var tried Tried
					a := g.Pick(mix(i), &tried)
					b := g.Pick(mix(i), &tried)
					for _, x := range []*Backend{a, b} {
						if x == nil {
							continue
						}
						// Others may be trying for a slot at this moment, one each.
						if n := x.InFlight(); n > most.Load() {
							most.Store(n)
						}
						x.Fail(Timeout)
						x.Observe(time.Millisecond)
						x.Done()
					}
				}
			})
		}
		time.AfterFunc(50*time.Millisecond, func() { close(stop) })
		working.Wait()
		for _, b := range g.Backends() {
			if b.InFlight() != 0 {
				t.Errorf("%s: %s keeps %d in flight", balance, b.Name(), b.InFlight())
			}
			c := b.Counters()
			if c.Failures[Timeout] != c.Requests {
				t.Errorf("%s: %s has %d requests and %d timeouts", balance, b.Name(), c.Requests, c.Failures[Timeout])
			}
		}
		if most.Load() > 7+4 {
			t.Errorf("%s: %d were in flight at once", balance, most.Load())
		}
	}
}

// Answers that another backend gives too must not use up what a lost packet or a dead backend needs.
func TestD24AnswersLeaveAPartOfTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := New(testConfig("random"), "dns", nil)
		if err != nil {
			t.Fatal(err)
		}
		all := func(try func() bool) (n int) {
			for try() {
				n++
			}
			return n
		}
		if answers, rest := all(p.TryRetryOfAnswer), all(p.TryRetry); answers != freeRetries*3/4-1 || answers+rest != freeRetries-1 {
			t.Errorf("after answers %d retries, after silence %d more", answers, rest)
		}
		if p.TryRetryOfAnswer() {
			t.Error("one more than there are")
		}
	})
}
