package radiusfront

import (
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"layeh.com/radius"

	"sereno/proxy/pool"
	"sereno/proxy/radwire"
)

// faulty is a service that panics over users of two realms: before their request has a
// flight, and after it.
func faulty(t *testing.T, su setup) (*front, *observer.ObservedLogs) {
	core, logs := observer.New(zap.DebugLevel)
	su.options = func(o *Options) { o.Logger = zap.New(core) }
	f := newFront(t, su)
	for _, w := range f.s.workers {
		w.mu.Lock()
		late := *w.view.fallback
		late.roles[KindAuth] = new(pool.Pool)
		w.view.realms.add("early.example", realmRoute{realm: "early.example"})
		w.view.realms.add("late.example", realmRoute{realm: "late.example", target: &late})
		w.mu.Unlock()
	}
	return f, logs
}

func TestO33APanicCostsOneRequestOfItsBatch(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		f, logs := faulty(t, setup{backends: []*server{newServer(t, accept)}, plain: plain})
		n := newNAS(t, f.authAddr())
		f.s.workers[0].mu.Lock() // so that the packets come in one batch
		const each = 10
		for i := range byte(3 * each) {
			user := "alice"
			if i%3 > 0 {
				user = []string{"", "bob@early.example", "carol@late.example"}[i%3]
			}
			n.send(pap(t, i, user, "xyzzy-password"))
		}
		f.s.workers[0].mu.Unlock()
		seen := map[byte]bool{}
		for range each {
			if p := n.receive(); p[0] != byte(radwire.AccessAccept) || p[1]%3 != 0 {
				t.Errorf("%x", p)
			} else {
				seen[p[1]] = true
			}
		}
		st := f.untilDropped(KindAuth, ReasonPanic, 2*each)
		if len(seen) != each || st.Panics != 2*each || st.Drops[KindAuth][ReasonPanic] != 2*each || st.InFlight[KindAuth] != 0 {
			t.Errorf("%d answers, %d panics, %s, %d in flight", len(seen), st.Panics, dropsOf(&st), st.InFlight[KindAuth])
		}
		faults := logs.FilterMessage("a fault of ours cost a packet").All()
		if len(faults) != 2 {
			t.Fatalf("%d lines: %v", len(faults), faults)
		}
		said := faults[0].ContextMap()["packet"].(string)
		if raw, err := hex.DecodeString(said); err != nil || !strings.Contains(string(raw), "bob@early.example") || !strings.Contains(string(raw), strings.Repeat("*", 16)) {
			t.Errorf("%v %q", err, raw)
		}
		if in := f.s.inFlight.Load(); in != 0 {
			t.Errorf("%d in flight", in)
		}
	})
}

func TestO33APanicInAReplyOrATimerEndsThatRequest(t *testing.T) {
	for name, poison := range map[string]func(e *entry){
		"reply": func(e *entry) { e.conn = nil },
		"timer": func(e *entry) { e.flight.target = nil }, // not even dropping works then
	} {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			b := newServer(t, func(r received) []byte {
				<-release
				return accept(r)
			})
			if name == "timer" {
				b.setAnswer(silent)
			}
			f, _ := faulty(t, setup{backends: []*server{b}})
			n := newNAS(t, f.authAddr())
			n.send(pap(t, 1, "alice", "x"))
			n.send(pap(t, 2, "bob", "x"))
			f.until("two in flight", func(st *Stats) bool { return st.InFlight[KindAuth] == 2 })
			w := f.s.workers[0]
			w.mu.Lock()
			for _, e := range w.table.buckets {
				for ; e != nil; e = e.chain {
					if e.id == 1 {
						poison(e)
					}
				}
			}
			w.mu.Unlock()
			close(release)
			if name == "timer" {
				f.clock.advance(6 * time.Second)
				st := f.untilDropped(KindAuth, ReasonPanic, 1)
				f.until("the other's timeout", func(st *Stats) bool { return st.Drops[KindAuth][ReasonTimeout] == 1 })
				if st.Panics == 0 {
					t.Error("no panic")
				}
			} else {
				if p, err := radius.Parse(n.receive(), []byte(nasSecret)); err != nil || p.Identifier != 2 {
					t.Error(err, p)
				}
				f.untilDropped(KindAuth, ReasonPanic, 1)
			}
			if st := f.balanced(); st.InFlight[KindAuth] != 0 || st.Drops[KindAuth][ReasonPanic] != 1 || f.s.inFlight.Load() != 0 {
				t.Errorf("%d in flight, %s", st.InFlight[KindAuth], dropsOf(&st))
			}
			b.setAnswer(accept)
			n.send(pap(t, 1, "alice", "x")) // the same identifier works again
			if p := n.receive(); p[0] != byte(radwire.AccessAccept) {
				t.Errorf("%x", p)
			}
		})
	}
}

func TestO23AFloodOfBadPacketsIsAFewLines(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	f := newFront(t, setup{backends: []*server{newServer(t, accept)}, workers: 2, options: func(o *Options) { o.Logger = zap.New(core) }})
	known, unknown := newNAS(t, f.authAddr()), newNASFrom(t, "127.0.0.9", f.authAddr())
	const each = 300
	for i := range each {
		known.send([]byte("not RADIUS at all"))
		known.send(signed(radwire.AccessRequest, byte(i), "a wrong secret"))
		unknown.send(signed(radwire.AccessRequest, byte(i), nasSecret))
		if i%50 == 0 {
			f.until("the flood", func(st *Stats) bool { return st.Dropped(KindAuth) >= uint64(3*i) })
		}
	}
	f.until("the flood", func(st *Stats) bool { return st.Dropped(KindAuth) == 3*each })
	if got := logs.All(); len(got) != 2 {
		t.Errorf("%d lines: %v", len(got), got)
	}
	f.s.repeats.Close()
	got := logs.All()
	if len(got) != 4 || !strings.HasSuffix(got[2].Message, ": 299 times more") || !strings.HasSuffix(got[3].Message, ": 299 times more") {
		t.Errorf("%d lines: %v", len(got), got)
	}
}
