package dnsfront

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"sereno/proxy/dnswire"
	"sereno/proxy/insight"
	"sereno/proxy/pool"
)

// steps collects what a trace says of its last request, as "step: text".
func steps(tr *insight.Trace) []string {
	var out []string
	for {
		select {
		case s := <-tr.Steps():
			out = append(out, s.Name+": "+s.Text)
		default:
			return out
		}
	}
}

// tells checks that the steps have these words, in this order, one each.
func tells(t *testing.T, tr *insight.Trace, want ...string) {
	t.Helper()
	got := steps(tr)
	if len(got) != len(want) {
		t.Errorf("%d steps, not %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
		return
	}
	for i := range want {
		for _, words := range strings.Split(want[i], "…") {
			if !strings.Contains(got[i], words) {
				t.Errorf("step %d is %q, without %q", i, got[i], words)
			}
		}
	}
}

func (f *front) trace(filter TraceFilter) *insight.Trace {
	f.t.Helper()
	tr := insight.NewTrace()
	stop, err := f.Trace(filter, tr)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(stop)
	return tr
}

func TestO24ATraceTellsEveryStepOfAQuery(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		f := newFront(t, setup{plain: plain, backends: 1})
		tr := f.trace(TraceFilter{Client: netip.MustParsePrefix("127.0.0.0/8"), Name: "Example"})
		other := f.trace(TraceFilter{Client: netip.MustParsePrefix("10.0.0.0/8")})
		f.ask(withOPT(asking("WWW.example.", dns.TypeA), 1232, true))
		tells(t, tr, "received: udp from 127.0.0.1:…WWW.example. A RD EDNS DO", "cache: nothing fresh", "route: pool resolvers", "backend: asks b0 (127.0.0.1:…number 1",
			"reply: NOERROR from b0", "answer: NOERROR, 1 answer records…from backend")
		f.ask(withOPT(asking("www.example.", dns.TypeA), 1232, true))
		tells(t, tr, "received: ", "cache: NOERROR, fresh for", "answer: NOERROR…from cache")
		f.askTCP(asking("nx.example.", dns.TypeAAAA))
		tells(t, tr, "received: tcp…AAAA", "cache: ", "route: ", "backend: ", "reply: NXDOMAIN", "answer: NXDOMAIN…from backend")
		f.ask(asking("example.org.", dns.TypeA))
		f.send(append([]byte{1, 2, 1, 0, 0, 1}, make([]byte, 20)...), 50*time.Millisecond)
		tells(t, tr)
		tells(t, other)
	})
}

func TestO24ATraceTellsWhyAQueryIsTurnedAway(t *testing.T) {
	f := newFront(t, setup{backends: 1, config: func(c *Config) {
		c.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}
	}})
	tr := f.trace(TraceFilter{Client: netip.MustParsePrefix("127.0.0.1/32")})
	f.ask(asking("www.example.", dns.TypeA))
	tells(t, tr, "received: ", "gate: 127.0.0.1 is outside allow", "answer: REFUSED…from self")
	f.lockBooks()
	set := *f.settings.Load()
	set.denyDrop = true
	f.settings.Store(&set)
	f.unlockBooks()
	f.send(packed(t, asking("www.example.", dns.TypeA)), 50*time.Millisecond)
	until(t, "the drop", func() bool { s := f.Stats(); return s.TotalDrops() == 1 })
	tells(t, tr, "received: ", "gate: 127.0.0.1 is outside allow", "drop: not-allowed")
	f.send([]byte("short"), 50*time.Millisecond)
	until(t, "the drop", func() bool { s := f.Stats(); return s.TotalDrops() == 2 })
	tells(t, tr, "received: ", "gate: ", "drop: short") // what was dropped before is not told again
}

func TestO24ATraceTellsSilenceAndTheNextBackend(t *testing.T) {
	f := newFront(t, setup{pool: func(c *pool.Config) {
		c.Balance, c.AttemptTimeout = "ordered", 50*time.Millisecond
	}})
	f.resolvers[0].set(func(*request) [][]byte { return nil })
	tr := f.trace(TraceFilter{})
	f.ask(asking("www.example.", dns.TypeA))
	tells(t, tr, "received: ", "cache: ", "route: ", "backend: asks b0", "silent: b0", "backend: asks b1…number 2", "reply: NOERROR from b1", "answer: ")
}

func TestO24WhoWaitsForAnEqualQuestionIsTracedToo(t *testing.T) {
	release := make(chan struct{})
	f := newFront(t, setup{backends: 1, handle: func(q *request) [][]byte { <-release; return normal(q) }})
	m := packed(t, asking("slow.example.", dns.TypeA))
	f.send(m, time.Millisecond)
	until(t, "the first", func() bool { return waiting(f) == 1 })
	tr := f.trace(TraceFilter{})
	f.send(m, time.Millisecond)
	until(t, "the second", func() bool { return waiting(f) == 2 })
	close(release)
	until(t, "both answers", func() bool { s := f.Stats(); return s.TotalAnswers() == 2 })
	tells(t, tr, "received: ", "cache: ", "wait: ", "reply: ", "answer: ")
}

func TestO24TopNamesWhoAsksMost(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		f := newFront(t, setup{plain: plain})
		top := insight.NewTop(NumTops)
		stop := f.Count(top)
		for i := range 30 {
			f.ask(asking("Often.example.", dns.TypeA))
			if i%3 == 0 {
				f.askTCP(asking("seldom.example.", dns.TypeA))
			}
		}
		stop()
		f.ask(asking("late.example.", dns.TypeA))
		requests, lists := top.Read(10)
		if requests < 40 || len(lists[TopNames]) != 2 || len(lists[TopClients]) != 1 {
			t.Fatalf("%d requests, %v", requests, lists)
		}
		if n := lists[TopNames][0]; dnswire.NameString([]byte(n.Key)) != "often.example." || n.Count < 30 || n.Over != 0 {
			t.Errorf("%+v", n)
		}
		if c := lists[TopClients][0]; c.Key != "\x7f\x00\x00\x01" || c.Count != requests {
			t.Errorf("%+v of %d", c, requests)
		}
		if f.lenses.Load() != nil {
			t.Error("somebody looks still")
		}
	})
}

func TestO24TraceRefusesWhatIsNoName(t *testing.T) {
	f := newFront(t, setup{})
	if _, err := f.Trace(TraceFilter{Name: "a..b"}, insight.NewTrace()); err == nil {
		t.Error("taken")
	}
}
