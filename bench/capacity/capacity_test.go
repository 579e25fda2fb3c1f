package capacity

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"sereno/bench/load"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is simulated: a queue whose latency grows with its load, noise, and loss above its capacity.
type server struct {
	capacity  float64
	generator float64 // above it the generator is late
	noise     float64
	r         *rand.Rand
}

func (s *server) window(rate float64, length time.Duration, phase Phase, b Bounds) Window {
	w := Window{Phase: phase, Target: rate, Rate: rate, Sent: uint64(rate * length.Seconds()), Seconds: length.Seconds()}
	busy := rate / s.capacity * (1 + s.noise*s.r.NormFloat64()/math.Sqrt(length.Seconds()))
	w.Latency.P99 = 0.0005 / math.Max(1-busy, 0.001)
	w.Loss = math.Max(1-1/busy, 0)
	if s.r.Float64() < s.noise { // something else on the machine
		w.Latency.P99 *= 100
	}
	if s.generator > 0 && rate > s.generator {
		w.LagP99, w.Latency.P99 = 0.5, 0.6
	}
	w.judge(b)
	return w
}

// TestO10BenchSearchFindsTheKnee compares what a search finds with the capacity of simulated servers.
func TestO10BenchSearchFindsTheKnee(t *testing.T) {
	for name, c := range map[string]struct {
		server
		limit string
	}{
		"quiet":             {server: server{capacity: 43_210}},
		"noisy":             {server: server{capacity: 43_210, noise: 0.02}},
		"below the first":   {server: server{capacity: 333}},
		"above the highest": {server: server{capacity: 9e6}, limit: "maximum"},
		"generator":         {server: server{capacity: 5e5, generator: 60_000}, limit: "generator"},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(50) {
				c.r = rand.New(rand.NewPCG(seed, 1))
				plan := Plan{Shape: Search, Bounds: Bounds{Loss: 0.001, P99: 20 * time.Millisecond}}.withDefaults()
				s := search{plan: plan, measure: func(rate float64, length time.Duration, phase Phase) (Window, error) {
					return c.window(rate, length, phase, plan.Bounds), nil
				}}
				if err := s.find(); err != nil {
					t.Fatal(err)
				}
				knee := min(c.capacity*(1-0.0005/0.02), plan.To)
				if c.generator > 0 {
					knee = c.generator
				}
				if s.knee.Rate < knee*0.87 || s.knee.Rate > knee*1.07 || s.knee.Windows > 60 {
					t.Errorf("seed %d: %+v, the knee is %.0f", seed, s.knee, knee)
				}
				if c.limit != "" && s.knee.Limit != c.limit {
					t.Errorf("seed %d: the limit is %q", seed, s.knee.Limit)
				}
			}
		})
	}
}

func TestO10BenchSearchOfADeadServer(t *testing.T) {
	s := search{plan: Plan{Shape: Search}.withDefaults(), measure: func(rate float64, _ time.Duration, _ Phase) (Window, error) {
		return Window{Target: rate, Loss: 1, Judgement: Broken, Breaks: "loss"}, nil
	}}
	if err := s.find(); err != nil || s.knee.Rate != 0 || s.knee.Windows != votes {
		t.Errorf("%+v, %v", s.knee, err)
	}
}

func TestO10BenchSearchEndsWhenInterrupted(t *testing.T) {
	stop := errors.New("enough")
	s := search{plan: Plan{Shape: Search}.withDefaults(), measure: func(rate float64, _ time.Duration, _ Phase) (Window, error) {
		if rate > 3000 {
			return Window{}, stop
		}
		return Window{Target: rate, Judgement: Held}, nil
	}}
	if err := s.find(); !errors.Is(err, stop) || s.knee.Rate != 2000 || s.knee.Limit != "interrupted" {
		t.Errorf("%+v, %v", s.knee, err)
	}
}

// fake is a generator in virtual time before a server that answers some requests a second at once and never the others.
type fake struct {
	capacity float64
	rate     float64
	at       time.Time
	carry    [2]float64
	books    load.Books
}

func (f *fake) Run(ctx context.Context) (load.Books, error) {
	<-ctx.Done()
	return f.Books(), nil
}

func (f *fake) Books() load.Books {
	f.advance()
	return f.books
}

func (f *fake) SetRate(rate float64) {
	f.advance()
	f.rate = rate
}

func (f *fake) advance() {
	now := time.Now()
	if !f.at.IsZero() {
		took := now.Sub(f.at).Seconds()
		f.carry[0] += f.rate * took
		f.carry[1] += min(f.rate, f.capacity) * took
		sent, answered := math.Floor(f.carry[0]), math.Floor(f.carry[1])
		f.books.Sent += uint64(sent)
		f.books.Answered += uint64(answered)
		f.books.Lost += uint64(sent - answered)
		f.carry[0], f.carry[1] = f.carry[0]-sent, f.carry[1]-answered
		for range int(answered) {
			f.books.Latency.Add(time.Millisecond)
		}
	}
	f.at = now
}

// TestO10BenchShapes runs each shape in virtual time.
func TestO10BenchShapes(t *testing.T) {
	for name, c := range map[string]struct {
		plan    Plan
		seconds float64
		held    bool
		check   func(*Report) bool
	}{
		"fixed": {Plan{Shape: Fixed, Rate: 500, For: 10 * time.Second}, 10, true, func(r *Report) bool {
			return len(r.Windows) == 1 && math.Abs(r.Windows[0].Rate-500) < 1 && len(r.Samples) == 20 && math.Abs(r.Samples[3].Sent-500) < 3
		}},
		"broken": {Plan{Shape: Fixed, Rate: 2000, For: 2 * time.Second}, 2, false, func(r *Report) bool {
			return r.Windows[0].Judgement == Broken && math.Abs(r.Windows[0].Loss-0.5) < 0.01 && strings.Contains(r.Verdict(), "not held")
		}},
		"ramp": {Plan{Shape: Ramp, From: 100, To: 1000, For: 20 * time.Second}, 23, true, func(r *Report) bool {
			return len(r.Windows) == 10 && r.Windows[4].Target == 500 && math.Abs(r.Windows[4].Rate-500) < 1 && r.Windows[9].Judgement == Held
		}},
		"search": {Plan{Shape: Search, From: 100}, 70, true, func(r *Report) bool {
			return r.Knee.Rate > 940 && r.Knee.Rate <= 1001 && r.Knee.Limit == "loss"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				told := 0
				r, err := Run(t.Context(), c.plan, &fake{capacity: 1000}, nil, func(Progress) { told++ })
				if err != nil {
					t.Fatal(err)
				}
				if r.Held != c.held || math.Abs(r.Seconds-c.seconds) > c.seconds/2 || !c.check(r) || told == 0 {
					t.Errorf("%+v\n%s", r, r.Verdict())
				}
				if n := r.Total; n.Sent != n.Answered+n.Lost+n.Wrong {
					t.Errorf("the books do not balance: %+v", n)
				}
				fits(t, r)
			})
		})
	}
}

// fits says whether the table is at most 80 columns wide, and the JSON complete.
func fits(t *testing.T, r *Report) {
	t.Helper()
	var b strings.Builder
	if err := r.Text(&b); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if n := len([]rune(strings.TrimRight(line, "\n"))); n > 80 && !strings.HasPrefix(line, "!") && !strings.HasPrefix(line, "the ") {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	j, err := json.Marshal(r)
	if err != nil || strings.Contains(string(j), `:null,"samples"`) {
		t.Errorf("%s: %v", j, err)
	}
}

// TestO10BenchInterruptedReports stops in the middle: what was measured is there.
func TestO10BenchInterruptedReports(t *testing.T) {
	for _, p := range []Plan{{Shape: Fixed, Rate: 500, For: time.Hour}, {Shape: Search, From: 100}, {Shape: Ramp, From: 1, To: 100, For: time.Hour}} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
			defer cancel()
			r, err := Run(ctx, p, &fake{capacity: 1000}, nil, nil)
			if err != nil || !r.Interrupted || r.Total.Sent == 0 || math.Abs(r.Seconds-7) > 0.1 || len(r.Samples) < 10 {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

func TestPlansThatCannotBe(t *testing.T) {
	for _, p := range []Plan{
		{}, {Shape: "spiral"}, {Shape: Fixed, Rate: -1}, {Shape: Fixed, Bounds: Bounds{Loss: 1}}, {Shape: Fixed, Sample: time.Millisecond},
		{Shape: Ramp, From: 1}, {Shape: Ramp, From: 1, To: 2, Windows: 1}, {Shape: Search, From: 5, To: 4}, {Shape: Search, Precision: 0.9},
		{Shape: Fixed, For: -1},
	} {
		if r, err := Run(t.Context(), p, &fake{}, nil, nil); err == nil || r != nil {
			t.Errorf("%+v can be", p)
		}
	}
}

// report is one with everything in it, and words that a page must not take for markup.
func report() *Report {
	r := newReport(Plan{Shape: Search, Bounds: Bounds{Loss: 0.001, P99: 20 * time.Millisecond}}, time.Unix(1e9, 0))
	const evil = `</title><script>alert("1")</script>&`
	r.Title, r.Target, r.Command = "DNS "+evil, "t"+evil, "sereno bench "+evil
	r.Settings = []Setting{{evil, evil}}
	r.Host.Name = evil
	r.Knee = &Knee{Rate: 2000, Broken: 4000, Limit: "loss", Confirmed: true, Windows: 3}
	for i, j := range []Judgement{Held, Broken, Unfit} {
		r.Windows = append(r.Windows, Window{Phase: Bracket, Target: float64(int(2000) << i), Rate: 2000, Latency: Latency{P50: 1e-4, P99: 2e-3, Max: 1}, Judgement: j, Why: evil})
	}
	for i := range 10 {
		r.Samples = append(r.Samples, Sample{At: float64(i) / 2, Target: 2000, Sent: 1999, Answered: 1900, Lost: 99, Latency: Latency{P50: 1e-4, P90: 2e-4, P99: 1e-3, P999: 0}})
	}
	b := load.Books{Sent: 100, Answered: 90, Lost: 9, Wrong: 1, Resent: 1, Refused: 1, Faulty: []string{evil}}
	b.Fates[load.WrongRcode] = 1
	for i := range 90 {
		b.Latency.Add(time.Duration(i) * time.Millisecond)
	}
	r.total(&b, 5*time.Second, []CPU{{evil, 1, 2}})
	return r
}

// TestO10BenchPageEscapes looks for markup that came from outside, for anything that would be loaded, and for the charts.
func TestO10BenchPageEscapes(t *testing.T) {
	var b strings.Builder
	if err := report().HTML(&b); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, not := range []string{"<script", "alert(\"1\")<", "NaN", "Inf", "src=", "href=", "url(", "@import", "-0/s"} {
		if strings.Contains(page, not) {
			t.Errorf("the page has %s", not)
		}
	}
	if n := strings.Count(page, "<svg "); n != 5 || strings.Count(page, "</svg>") != n {
		t.Errorf("%d charts", n)
	}
	for _, want := range []string{"the knee is at 2000/s", "&lt;script&gt;", "wrong rcode", "bracket", "class=\"mark broken\""} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %s", want)
		}
	}
}

// TestO10BenchEmptyReports can be shown too.
func TestO10BenchEmptyReports(t *testing.T) {
	r := newReport(Plan{Shape: Search}, time.Unix(0, 0))
	r.Knee = &Knee{}
	r.total(&load.Books{}, 0, nil)
	var b strings.Builder
	if err := errors.Join(r.HTML(&b), r.Text(&b)); err != nil || strings.Contains(b.String(), "NaN") || r.Held {
		t.Errorf("%v\n%s", err, b.String())
	}
}

func TestNumbersInWords(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 950: "950", 9994: "9994", 12_340: "12.3k", 99_960: "100k", 123_456: "123k", 1_234_567: "1.23M"} {
		if got := count(v); got != want {
			t.Errorf("%g: %s", v, got)
		}
	}
	for v, want := range map[float64]string{0: "0", 0.001: "0.1", 0.12345: "12.3", 1: "100"} {
		if got := percent(v); got != want {
			t.Errorf("%g: %s", v, got)
		}
	}
}
