package radiusfront

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"sereno/proxy/radiusfront/spool"
	"sereno/proxy/radwire"
)

// spooled puts n records of as many sessions into the spool, as if every backend had been silent.
func (f *front) spooled(n int) { f.spooledFor("main", n) }

func (f *front) spooledFor(pool string, n int) {
	f.t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		wg.Add(1)
		packet := acctOf(byte(i), fmt.Sprint("spooled-", i), acctStart)
		data := appendParcel(nil, &parcel{nas: netip.MustParseAddr("127.0.0.1"), pool: pool, packet: packet})
		err := f.s.Spool().Submit(spool.Record{Session: uint64(queueOf(pool))<<32 | uint64(i), Queue: queueOf(pool), Class: spool.Start, Data: data}, func(_ spool.Ref, err error) {
			if err != nil {
				f.t.Error(err)
			}
			wg.Done()
		})
		if err != nil {
			f.t.Fatal(err)
		}
	}
	wg.Wait()
}

// settles waits until the backend has got exactly n requests, and no more for some turns of the deliverer.
func (s *server) settles(n int) []received {
	s.t.Helper()
	s.wait(n)
	time.Sleep(5 * deliverTick) // time in which too many would come
	got := s.wait(n)
	if len(got) != n {
		s.t.Fatalf("%d are on their way, not %d", len(got), n)
	}
	return got
}

// TestR41TheWindowOpensWithAnswers: a backend that is just back gets few at once; each answer lets one more go, up to
// deliverWindow. No time passes for the deliverer.
func TestR41TheWindowOpensWithAnswers(t *testing.T) {
	backend := newServer(t, silent)
	f := newFront(t, withSpool(t.TempDir(), setup{backends: []*server{backend}}))
	f.spooled(700)
	sent := 0
	for _, window := range []int{8, 16, 32, 64, 128, 128} {
		got := backend.settles(sent + window)
		for _, r := range got[sent:] {
			backend.send(accept(r), r.from)
		}
		sent += window
	}
	backend.settles(sent + deliverWindow)
	f.untilSpool("what was answered is over", func(s *SpoolStats) bool { return s.Delivered == uint64(sent) && s.Records == 700-int64(sent) })
}

// TestR41ADeafPoolHoldsUpNoOther: what is on its way to servers that are silent takes no other pool's place.
func TestR41ADeafPoolHoldsUpNoOther(t *testing.T) {
	deaf, good := newServer(t, silent), newServer(t, accept)
	f := newFront(t, withSpool(t.TempDir(), setup{backends: []*server{deaf}, options: partner(t, good, Route{Realm: "partner.example", Pool: "partner"})}))
	f.spooledFor("main", 300)
	deaf.settles(firstWindow)
	f.spooledFor("partner", 300)
	f.untilSpool("delivery of the other's", func(s *SpoolStats) bool { return s.Delivered == 300 && s.Records == 300 })
	deaf.settles(firstWindow)
}

// TestR41SilenceHalvesTheWindow.
func TestR41SilenceHalvesTheWindow(t *testing.T) {
	backend := newServer(t, silent)
	f := newFront(t, withSpool(t.TempDir(), setup{backends: []*server{backend}}))
	f.spooled(100)
	first := backend.settles(firstWindow)
	f.clock.advance(time.Duration(resendSpooled))
	backend.settles(2 * firstWindow) // the same once more
	f.setUp("b0", "acct")
	for _, r := range first[:6] { // two are on their way still, and the window is half of what it was, and six more
		backend.send(accept(r), r.from)
	}
	backend.settles(2*firstWindow + firstWindow/2 + 6 - 2)
}

// TestR41DeliveryIsPaced: however quick the backend is, no more than deliverRate a second, and a twentieth of a second's
// at once.
func TestR41DeliveryIsPaced(t *testing.T) {
	now := time.Unix(1000, 0)
	d := &deliverer{filled: now}
	rng, sent := []time.Duration{0, time.Millisecond, 10 * time.Millisecond, 70 * time.Millisecond, 3 * time.Second}, 0
	for i := range 10_000 {
		step := rng[i%len(rng)]
		now = now.Add(step)
		d.refill(now)
		n := 0
		for ; d.tokens >= 1; n++ {
			d.tokens--
		}
		if most := min(step.Seconds()*deliverRate, deliverRate/20) + 1; float64(n) > most {
			t.Fatalf("%d after %v", n, step)
		}
		sent += n
	}
	if sent < 1_000_000 {
		t.Errorf("%d in all: this proves little", sent)
	}

	backend := newServer(t, silent)
	f := newFront(t, withSpool(t.TempDir(), setup{backends: []*server{backend}}))
	f.setDown("b0", "acct")
	const records = 2400
	f.spooled(records)
	backend.wait(1) // the canary; it is on its way for good
	backend.setAnswer(accept)
	began := time.Now()
	f.setUp("b0", "acct")
	backend.wait(records)
	if took, least := time.Since(began), time.Second*(records-1-deliverRate/20)/deliverRate; took < least {
		t.Errorf("%d records in %v, which at %d/s take %v", records, took, deliverRate, least)
	}
}

// TestR41LiveTrafficDoesNotWaitForDelivery: neither for a place on the way nor for an identifier.
func TestR41LiveTrafficDoesNotWaitForDelivery(t *testing.T) {
	backend := newServer(t, func(r received) []byte {
		if bytes.HasPrefix(attr(t, r.raw, 44), []byte("spooled-")) {
			return nil
		}
		return accept(r)
	})
	f := newFront(t, withSpool(t.TempDir(), setup{backends: []*server{backend}}))
	f.spooled(50)
	backend.settles(firstWindow) // all that may be on their way are, and are not answered
	nas := newNAS(t, f.acctAddr())
	for i := range 300 {
		nas.exchange(acctOf(byte(i), fmt.Sprint("live-", i), acctStart))
	}
	st := f.balanced()
	if st.Answers[KindAcct][AnswerAccounting][SourceBackend] != 300 || st.Spool.Records != 50 {
		t.Errorf("%v, %+v", st.Answers[KindAcct], st.Spool)
	}
	if got := backend.settles(300 + firstWindow); slices.ContainsFunc(got[:firstWindow], func(r received) bool { return r.from == got[firstWindow].from }) {
		t.Error("live traffic shares a socket with delivery")
	}
}

// TestR41AReloadThatEndsAccountingWhileARecordIsOnItsWay: it stays in the spool, and nothing panics.
func TestR41AReloadThatEndsAccountingWhileARecordIsOnItsWay(t *testing.T) {
	backend := newServer(t, silent)
	f := newFront(t, withSpool(t.TempDir(), setup{backends: []*server{backend}}))
	f.spooled(1)
	backend.wait(1)
	f.reload(func(o *Options) {
		o.Config.Acct = nil
		rp := o.Pools["main"]
		rp.Acct = nil
		o.Pools = map[string]RolePools{"main": rp}
	})
	f.clock.advance(time.Duration(resendSpooled))
	f.until("its round is over", func(*Stats) bool {
		d := f.s.deliverer
		d.mu.Lock()
		defer d.mu.Unlock()
		return len(d.shipping) == 0
	})
	if st := f.balanced(); st.Panics != 0 || st.Spool.Records != 1 {
		t.Errorf("%d panics, %d records", st.Panics, st.Spool.Records)
	}
}

// passes lets time pass for the deliverer, in steps.
func (f *front) passes(steps int, step time.Duration) {
	for range steps {
		f.clock.advance(step)
		time.Sleep(restTick / 40) // lets the deliverer see the clock
	}
}

// TestR41LiveAcknowledgementsCountAsThoseOfOthers: without them a record that no backend takes would stop its session for good
// wherever nothing else is spooled.
func TestR41LiveAcknowledgementsCountAsThoseOfOthers(t *testing.T) {
	backend := newServer(t, func(r received) []byte {
		if bytes.Contains(r.raw, []byte("poison")) {
			return nil
		}
		return accept(r)
	})
	f := newFront(t, withSpool(t.TempDir(), setup{backends: []*server{backend}}))
	nas := newNAS(t, f.acctAddr())
	nas.send(acctOf(1, "x", acctStart, avp(radwire.AttrUserName, "poison")))
	backend.wait(1)
	f.clock.advance(3 * time.Second)
	nas.receive()
	nas.exchange(acctOf(2, "x", acctStop))
	began, st := f.clock.now(), &SpoolStats{}
	for id := byte(3); st.SetAside == 0; id++ {
		f.setUp("b0", "acct")
		nas.exchange(acctOf(id, fmt.Sprint("live", id), acctStart))
		f.passes(2, 2*time.Second)
		if st = f.s.SpoolStats(); f.clock.now().Sub(began) > 30*time.Minute {
			t.Fatalf("%+v", st)
		}
	}
	if d := f.clock.now().Sub(began); d < asideTime {
		t.Errorf("set aside after %v", d)
	}
	f.untilSpoolPassing("the session going on", func(s *SpoolStats) bool { return s.Records == 0 && s.Delivered == 1 })
}

// TestR41NothingIsSetAsideWhereNothingIsAcknowledged: ten tries over ten minutes say nothing of a record while no other is taken.
func TestR41NothingIsSetAsideWhereNothingIsAcknowledged(t *testing.T) {
	backend := newServer(t, silent)
	f := newFront(t, withSpool(t.TempDir(), setup{backends: []*server{backend}}))
	f.spooled(1)
	pass := func() {
		f.setUp("b0", "acct")
		f.clock.advance(20 * time.Second)
		f.s.deliverer.step()
	}
	tries := 0
	for began := f.clock.now(); tries <= asideTries || f.clock.now().Sub(began) <= asideTime; {
		pass()
		if err := f.s.Spool().Walk(0, false, func(in spool.Info, _ []byte, _ error) bool { tries = in.Tries; return true }); err != nil {
			t.Fatal(err)
		}
		if st := f.s.SpoolStats(); st.SetAside != 0 || f.clock.now().Sub(began) > 3*time.Hour {
			t.Fatalf("after %v and %d tries: %+v", f.clock.now().Sub(began), tries, st)
		}
	}
	backend.setAnswer(accept)
	f.untilSpool("the record", func(s *SpoolStats) bool {
		if s.Records > 0 {
			pass()
		}
		return s.Records == 0
	})
}

// TestR41AnOutageIsNoTry: a record that was tried in vain while every backend was down is not set aside when it is lost once after.
func TestR41AnOutageIsNoTry(t *testing.T) {
	backend := newServer(t, silent)
	f := newFront(t, withSpool(t.TempDir(), setup{backends: []*server{backend}}))
	f.setDown("b0", "acct")
	newNAS(t, f.acctAddr()).exchange(acctOf(1, "x", acctStart, avp(radwire.AttrUserName, "unlucky")))
	for began := f.clock.now(); backend.count() <= asideTries || f.clock.now().Sub(began) <= asideTime; {
		f.passes(1, 61*time.Second)
	}
	before := backend.count()
	f.setUp("b0", "acct")
	backend.setAnswer(func(r received) []byte {
		if bytes.Contains(r.raw, []byte("unlucky")) {
			return nil
		}
		return accept(r)
	})
	f.spooled(1)
	f.untilSpoolPassing("another one is acknowledged", func(s *SpoolStats) bool { return s.Delivered == 1 })
	for backend.count() <= before+1+deliverSends {
		f.setUp("b0", "acct")
		f.passes(1, time.Second)
	}
	if st := f.s.SpoolStats(); st.SetAside != 0 {
		t.Fatalf("%+v", st)
	}
	backend.setAnswer(accept)
	f.setUp("b0", "acct")
	f.untilSpoolPassing("the record", func(s *SpoolStats) bool { return s.Delivered == 2 })
}

// TestR42ALateAnswerEndsTheSending: of the copies that are under way at that moment, too.
func TestR42ALateAnswerEndsTheSending(t *testing.T) {
	backend := newServer(t, silent)
	f := newFront(t, withSpool(t.TempDir(), setup{backends: []*server{backend}}))
	f.spooled(1)
	for backend.count() <= deliverSends { // the last of these is a new packet
		f.setUp("b0", "acct")
		f.passes(1, 100*time.Millisecond)
	}
	got := backend.wait(deliverSends + 1)
	backend.send(accept(got[0]), got[0].from)
	f.setUp("b0", "acct")
	st := f.untilSpoolPassing("the record is taken back", func(s *SpoolStats) bool { return s.Records == 0 })
	if n := backend.count(); n != deliverSends+1 || st.Cancelled != 1 {
		t.Errorf("%d copies, %+v", n, st)
	}
}

// TestR41WhatIsLeftIsDeliveredAlsoWithoutASpool: a node that is started with the spool off still owes what was acknowledged.
func TestR41WhatIsLeftIsDeliveredAlsoWithoutASpool(t *testing.T) {
	dir := t.TempDir()
	backend := newServer(t, silent)
	f := newFront(t, withSpool(dir, setup{backends: []*server{backend}}))
	f.spooled(3)
	if err := f.s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	backend.setAnswer(accept)
	off := setup{backends: []*server{backend}, config: func(c *Config) { c.Accounting.Spool = false }}
	f = newFront(t, withSpool(dir, off))
	f.untilSpool("all is delivered", func(s *SpoolStats) bool { return s.Delivered == 3 && s.Records == 0 })
	if f.s.SpoolAccepts() {
		t.Error("it stores")
	}
	if f = newFront(t, withSpool(t.TempDir(), off)); f.s.Spool() != nil {
		t.Error("a spool was made")
	}
}
