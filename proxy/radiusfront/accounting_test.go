package radiusfront

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"layeh.com/radius"

	"sereno/proxy/radiusfront/spool"
	"sereno/proxy/radwire"
)

// withSpool gives a front a directory for its spool.
func withSpool(dir string, su setup) setup {
	before := su.options
	su.options = func(o *Options) {
		o.StateDir = dir
		if before != nil {
			before(o)
		}
	}
	return su
}

func acctOf(id byte, session string, status byte, attrs ...*radius.AVP) []byte {
	return plainRequest(radwire.AccountingRequest, id, nasSecret,
		append([]*radius.AVP{avp(radwire.AttrAcctSessionID, session), avp(radwire.AttrAcctStatusType, string([]byte{0, 0, 0, status}))}, attrs...)...)
}

// attr is the first value of an attribute of a raw packet.
func attr(t testing.TB, raw []byte, typ byte) []byte {
	t.Helper()
	var ix radwire.Index
	p, err := radwire.Walk(raw, &ix)
	if err != nil {
		t.Fatal(err)
	}
	return ix.FirstValue(p, typ)
}

func delayOf(t testing.TB, raw []byte) int {
	t.Helper()
	v := attr(t, raw, radwire.AttrAcctDelayTime)
	if len(v) != 4 {
		return -1
	}
	return int(binary.BigEndian.Uint32(v))
}

// stop closes a front in order, as an operator does.
func (f *front) stop() {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	if err := f.s.Close(ctx); err != nil {
		f.t.Fatal(err)
	}
}

func (f *front) untilSpool(what string, ok func(*SpoolStats) bool) *SpoolStats {
	f.t.Helper()
	return f.until(what, func(st *Stats) bool { return st.Spool != nil && ok(st.Spool) }).Spool
}

// untilSpoolPassing is untilSpool while time passes.
func (f *front) untilSpoolPassing(what string, ok func(*SpoolStats) bool) *SpoolStats {
	f.t.Helper()
	return f.untilSpool(what, func(s *SpoolStats) bool {
		if ok(s) {
			return true
		}
		f.clock.advance(20 * time.Millisecond)
		return false
	})
}

func TestR40StoredWhileEveryBackendIsDownAndDeliveredAfter(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		dir := t.TempDir()
		backend := newServer(t, silent)
		f := newFront(t, withSpool(dir, setup{backends: []*server{backend}, plain: plain}))
		f.setDown("b0", "acct")
		nas := newNAS(t, f.acctAddr())
		answer := nas.exchange(acctOf(1, "a", acctStart, avp(radwire.AttrProxyState, "of the nas")))
		if answer.Code != radius.CodeAccountingResponse || string(answer.Get(radwire.AttrProxyState)) != "of the nas" {
			t.Fatalf("%v", answer)
		}
		st := f.balanced()
		if st.Answers[KindAcct][AnswerAccounting][SourceSpool] != 1 || st.Spool.Records != 1 || !f.s.SpoolAccepts() {
			t.Fatalf("%+v", st.Spool)
		}
		f.stop()

		backend.setAnswer(accept)
		before := backend.count()
		again := newFront(t, withSpool(dir, setup{backends: []*server{backend}, plain: plain}))
		got := backend.wait(before + 1)[before]
		if string(attr(t, got.raw, radwire.AttrAcctSessionID)) != "a" || string(attr(t, got.raw, radwire.AttrProxyState)) != "of the nas" {
			t.Fatalf("%x", got.raw)
		}
		again.untilSpool("an empty spool", func(s *SpoolStats) bool { return s.Records == 0 && s.Delivered == 1 && s.OldestSeconds == 0 })
	})
}

func TestR40SilentBackendsRecordIsSpooledWithinTheNASsPatience(t *testing.T) {
	backend := newServer(t, silent)
	f := newFront(t, withSpool(t.TempDir(), setup{backends: []*server{backend}}))
	nas := newNAS(t, f.acctAddr())
	req := acctOf(1, "a", acctStart)
	nas.send(req)
	backend.wait(1)
	f.clock.advance(1400 * time.Millisecond)
	f.until("nothing yet", func(st *Stats) bool { return st.InFlight[KindAcct] == 1 })
	f.clock.advance(200 * time.Millisecond) // its attempt_timeout is over, and there is no other backend
	nas.verified(req, nas.receive(), nasSecret)
	if st := f.balanced(); st.Answers[KindAcct][AnswerAccounting][SourceSpool] != 1 {
		t.Fatalf("%+v", st.Answers[KindAcct])
	}
	nas.send(req) // a retransmission gets the first answer again
	nas.verified(req, nas.receive(), nasSecret)
	if st := f.balanced(); st.Answers[KindAcct][AnswerAccounting][SourceDuplicate] != 1 || st.Spool.Stored != 1 {
		t.Fatalf("%+v", st.Spool)
	}
}

func TestR40TwoSilentBackendsAreLeftBeforeTheNASRepeats(t *testing.T) {
	one, two := newServer(t, silent), newServer(t, silent)
	f := newFront(t, withSpool(t.TempDir(), setup{backends: []*server{one, two}}))
	nas := newNAS(t, f.acctAddr())
	req := acctOf(1, "a", acctStart)
	nas.send(req)
	f.until("the first attempt", func(*Stats) bool { return one.count()+two.count() == 1 })
	f.clock.advance(1520 * time.Millisecond)
	f.until("the second attempt", func(*Stats) bool { return one.count()+two.count() == 2 })
	f.clock.advance(time.Second)
	nas.verified(req, nas.receive(), nasSecret)
	if st := f.balanced(); st.Answers[KindAcct][AnswerAccounting][SourceSpool] != 1 {
		t.Fatalf("%+v", st.Answers[KindAcct])
	}
}

func TestR42AValidAnswerThatComesLateTakesTheRecordBack(t *testing.T) {
	backend := newServer(t, silent)
	f := newFront(t, withSpool(t.TempDir(), setup{backends: []*server{backend}}))
	nas := newNAS(t, f.acctAddr())
	req := acctOf(1, "a", acctStart)
	nas.send(req)
	first := backend.wait(1)[0]
	f.setDown("b0", "acct") // else it would be delivered at once
	f.clock.advance(2500 * time.Millisecond)
	nas.verified(req, nas.receive(), nasSecret)
	backend.send(first.respond(radius.CodeAccountingResponse, backendSecret), first.from)
	f.untilReply(ReplyLate, 1)
	f.untilSpoolPassing("the record's end", func(s *SpoolStats) bool { return s.Records == 0 && s.Cancelled == 1 && s.Delivered == 0 })
}

func TestR40AfterSpoolAnswersFromTheDisk(t *testing.T) {
	backend := newServer(t, accept)
	f := newFront(t, withSpool(t.TempDir(), setup{backends: []*server{backend}, config: func(c *Config) { c.Accounting.Ack = "after-spool" }}))
	nas := newNAS(t, f.acctAddr())
	for i := range 20 {
		nas.exchange(acctOf(byte(i), fmt.Sprint(i), acctStart))
	}
	st := f.untilSpool("delivery", func(s *SpoolStats) bool { return s.Delivered == 20 })
	if all := f.balanced(); all.Answers[KindAcct][AnswerAccounting][SourceSpool] != 20 || st.Records != 0 {
		t.Fatalf("%+v", st)
	}
}

func TestR40WithoutItsDirectoryNothingIsAcknowledged(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "spool"), nil, 0o400); err != nil {
		t.Fatal(err)
	}
	backend := newServer(t, silent)
	f := newFront(t, withSpool(dir, setup{backends: []*server{backend}}))
	f.setDown("b0", "acct")
	nas := newNAS(t, f.acctAddr())
	nas.send(acctOf(1, "a", acctStop))
	backend.wait(1)
	f.clock.advance(6 * time.Second)
	st := f.untilDropped(KindAcct, ReasonTimeout, 1)
	nas.quiet(f)
	if f.s.SpoolAccepts() || st.Spool == nil || st.Spool.Error == "" {
		t.Fatalf("%+v", st.Spool)
	}
}

// TestR40ASpoolThatCouldNotBeOpenedIsTriedAgain: a service of its name that a reload took away still had it.
func TestR40ASpoolThatCouldNotBeOpenedIsTriedAgain(t *testing.T) {
	dir, backend := t.TempDir(), newServer(t, silent)
	parting, err := spool.Open(spool.Options{Dir: spoolDir(dir, "pppoe"), Node: "test"})
	if err != nil {
		t.Fatal(err)
	}
	f := newFront(t, withSpool(dir, setup{backends: []*server{backend}}))
	f.setDown("b0", "acct")
	if st := f.s.SpoolStats(); !st.Unopened {
		t.Fatalf("%+v", st)
	}
	if err := parting.Close(); err != nil {
		t.Fatal(err)
	}
	f.clock.advance(reopenTime)
	f.untilSpool("an open spool", func(s *SpoolStats) bool { return !s.Unopened && s.Accepts })
	newNAS(t, f.acctAddr()).exchange(acctOf(1, "a", acctStart))
	f.untilStored(1)
	if order := f.delivered(backend, "a", radwire.AttrAcctStatusType); !bytes.Equal(order, []byte{acctStart}) {
		t.Errorf("%v", order)
	}
}

// TestR40WhatItsNASGivesUpIsSpooled: a NAS with one source port and little patience uses an identifier again while a server is
// silent. It is told nothing of the record that had it, which is not lost all the same; a repetition with another delay is
// the same record.
func TestR40WhatItsNASGivesUpIsSpooled(t *testing.T) {
	backend := newServer(t, silent)
	f := newFront(t, withSpool(t.TempDir(), setup{backends: []*server{backend}}))
	nas, last := newNAS(t, f.acctAddr()), acctOf(1, "b", acctStop, avp(radwire.AttrAcctDelayTime, "\x00\x00\x00\x01"))
	nas.send(acctOf(1, "a", acctStop))
	nas.send(acctOf(1, "b", acctStop))
	nas.send(last)
	backend.wait(3)
	f.untilDropped(KindAcct, ReasonReplaced, 2)
	f.untilStored(1)
	f.clock.advance(1600 * time.Millisecond)
	f.untilStored(2)
	nas.verified(last, nas.receive(), nasSecret)
	if order := f.delivered(backend, "a", radwire.AttrAcctStatusType); !bytes.Equal(order, []byte{acctStop}) {
		t.Errorf("%v", order)
	}
}

func TestR41ALiveRecordJoinsItsSession(t *testing.T) {
	backend := newServer(t, silent)
	f := newFront(t, withSpool(t.TempDir(), setup{backends: []*server{backend}}))
	f.setDown("b0", "acct")
	nas := newNAS(t, f.acctAddr())
	nas.exchange(acctOf(1, "a", acctStart))
	backend.wait(1) // the canary; it is not answered
	f.setUp("b0", "acct")
	nas.exchange(acctOf(2, "a", acctStop)) // answered by the spool: it must not overtake
	nas.send(acctOf(3, "b", acctStart))    // another session goes its way
	backend.wait(2)
	if st := f.balanced(); st.Answers[KindAcct][AnswerAccounting][SourceSpool] != 2 || st.Spool.Records != 2 || st.InFlight[KindAcct] != 1 {
		t.Fatalf("%+v", st.Spool)
	}
	if order := f.delivered(backend, "a", radwire.AttrAcctStatusType); !bytes.Equal(order, []byte{acctStart, acctStop}) {
		t.Fatalf("%v", order)
	}
}

// TestR41WhatTheSpoolRefusesDoesNotOvertake: a record whose session waits there, and for which there is no room.
func TestR41WhatTheSpoolRefusesDoesNotOvertake(t *testing.T) {
	backend := newServer(t, silent)
	f := newFront(t, withSpool(t.TempDir(), setup{backends: []*server{backend}, config: func(c *Config) { c.Accounting.SpoolMax = 1 << 20 }}))
	f.setDown("b0", "acct")
	nas := newNAS(t, f.acctAddr())
	nas.exchange(acctOf(1, "a", acctStart))
	backend.wait(1) // the canary; it is not answered
	for f.s.Spool().Append(spool.Record{Session: 1, Queue: queueOf("another pool"), Class: spool.Stop, Data: make([]byte, 1<<15)}) == nil {
	}
	f.setUp("b0", "acct")
	nas.send(acctOf(2, "a", acctInterim))
	if st := f.untilDropped(KindAcct, ReasonSpoolFull, 1); st.InFlight[KindAcct] != 0 {
		t.Errorf("%d in flight", st.InFlight[KindAcct])
	}
}

// TestR41OrderAndCompletenessOverARestart: 1,500 records of 300 sessions while all
// is down, a stop in the middle, and a backend that answers every other copy.
func TestR41OrderAndCompletenessOverARestart(t *testing.T) {
	dir := t.TempDir()
	backend := newServer(t, silent)
	const sessions, each = 300, 5
	for half := range 2 {
		f := newFront(t, withSpool(dir, setup{backends: []*server{backend}, workers: 2}))
		f.setDown("b0", "acct")
		var wg sync.WaitGroup
		for from := range 4 {
			wg.Add(1)
			nas := newNAS(t, f.acctAddr())
			go func() {
				defer wg.Done()
				for n := 0; n < each; n++ {
					for s := from; s < sessions; s += 4 {
						if n%2 != half {
							continue
						}
						nas.exchange(acctOf(byte(s), fmt.Sprint(s), acctInterim, avp(42, string([]byte{0, 0, 0, byte(n)}))))
					}
				}
			}()
		}
		wg.Wait()
		f.stop()
	}
	before := backend.count()
	backend.setAnswer(accept)
	f := newFront(t, withSpool(dir, setup{backends: []*server{backend}}))
	st := f.untilSpool("delivery", func(s *SpoolStats) bool { return s.Delivered == sessions*each })
	got := map[string][]byte{}
	for _, r := range backend.wait(before + sessions*each)[before:] {
		s := string(attr(t, r.raw, radwire.AttrAcctSessionID))
		got[s] = append(got[s], attr(t, r.raw, 42)[3])
	}
	for s := range sessions {
		if !bytes.Equal(got[fmt.Sprint(s)], []byte{0, 2, 4, 1, 3}) {
			t.Fatalf("session %d: %v", s, got[fmt.Sprint(s)])
		}
	}
	if st.ResentInAll() != 0 {
		t.Errorf("%d were sent again", st.Resent)
	}
}

func TestR42DelayIsWhatItWasPlusTheWait(t *testing.T) {
	backend := newServer(t, silent)
	f := newFront(t, withSpool(t.TempDir(), setup{backends: []*server{backend}}))
	f.setDown("b0", "acct")
	nas := newNAS(t, f.acctAddr())
	nas.exchange(acctOf(1, "canary", acctStart))
	backend.wait(1) // it is on its way to nobody, and the others wait
	plain := acctOf(2, "absent", acctStop, avp(radwire.AttrUserName, "ana"), avp(26, "\x00\x00\x00\x09\x01\x05abc"), avp(radwire.AttrEventTimestamp, "\x60\x00\x00\x00"))
	nas.exchange(plain)
	nas.exchange(acctOf(3, "present", acctStop, avp(radwire.AttrAcctDelayTime, "\x00\x00\x00\x07"), avp(radwire.AttrUserName, "rui")))
	f.clock.advance(61500 * time.Millisecond)
	backend.setAnswer(accept)
	f.setUp("b0", "acct")
	f.untilSpool("delivery of both", func(s *SpoolStats) bool { return s.Delivered >= 2 })
	for _, r := range backend.wait(3)[1:] {
		switch string(attr(t, r.raw, radwire.AttrAcctSessionID)) {
		case "absent":
			if delayOf(t, r.raw) != 61 || !bytes.Equal(r.raw[radwire.HeaderLen:len(r.raw)-6], plain[radwire.HeaderLen:]) || bytes.Equal(r.raw[4:20], plain[4:20]) {
				t.Errorf("delay %d: %x, came as %x", delayOf(t, r.raw), r.raw, plain)
			}
		case "present":
			if delayOf(t, r.raw) != 68 {
				t.Errorf("delay %d", delayOf(t, r.raw))
			}
		}
	}
}

func TestR42FirstThreeSendsAreByteIdentical(t *testing.T) {
	backend := newServer(t, silent)
	f := newFront(t, withSpool(t.TempDir(), setup{backends: []*server{backend}, config: func(c *Config) { c.Accounting.Ack = "after-spool" }}))
	nas := newNAS(t, f.acctAddr())
	nas.exchange(acctOf(1, "a", acctStart))
	for n := 1; n <= 3; n++ {
		backend.wait(n)
		f.setUp("b0", "acct") // silence alone must not end this
		f.clock.advance(1900 * time.Millisecond)
		if c := backend.count(); c != n {
			t.Fatalf("copy %d was sent before 2 s", c)
		}
		f.clock.advance(100 * time.Millisecond)
	}
	f.clock.advance(time.Second)
	for len(backend.wait(3)) < 4 {
		f.clock.advance(100 * time.Millisecond)
		time.Sleep(10 * time.Millisecond) // lets the deliverer see the clock
	}
	got := backend.wait(4)
	if !bytes.Equal(got[0].raw, got[1].raw) || !bytes.Equal(got[0].raw, got[2].raw) || got[0].from != got[2].from {
		t.Error("the first three differ")
	}
	if got[3].raw[1] == got[0].raw[1] && got[3].from == got[0].from || delayOf(t, got[0].raw) != 0 || delayOf(t, got[3].raw) < 6 {
		t.Errorf("the fourth: identifier %d as %d, delay %d", got[3].raw[1], got[0].raw[1], delayOf(t, got[3].raw))
	}
	if st := f.balanced(); st.Spool.Resent != [NumResends]uint64{ResendSilent: 2, ResendAnew: 1} {
		t.Errorf("%d resent", st.Spool.Resent)
	}
}

func TestR41WhatNoBackendAcknowledgesIsSetAside(t *testing.T) {
	backend := newServer(t, func(r received) []byte {
		if bytes.Contains(r.raw, []byte("poison")) {
			return nil
		}
		return accept(r)
	})
	f := newFront(t, withSpool(t.TempDir(), setup{backends: []*server{backend}, config: func(c *Config) { c.Accounting.Ack = "after-spool" }}))
	nas := newNAS(t, f.acctAddr())
	nas.exchange(acctOf(1, "x", acctStart, avp(radwire.AttrUserName, "poison")))
	nas.exchange(acctOf(2, "x", acctStop, avp(radwire.AttrUserName, "after it")))
	began := f.clock.now()
	for id := byte(3); ; id++ {
		f.setUp("b0", "acct")
		nas.exchange(acctOf(id, fmt.Sprint("live", id), acctStart))
		f.clock.advance(2 * time.Second)
		time.Sleep(12 * time.Millisecond) // lets the deliverer see the clock
		st := f.s.Stats().Spool
		if st.Aside == 1 {
			break
		}
		if f.clock.now().Sub(began) > 30*time.Minute {
			t.Fatalf("%+v", st)
		}
	}
	if d := f.clock.now().Sub(began); d < 10*time.Minute {
		t.Errorf("set aside after %v", d)
	}
	st := f.untilSpool("the session going on", func(s *SpoolStats) bool { return s.Records == 0 && s.SetAside == 1 })
	var list []spool.Info
	if err := f.s.Spool().Walk(0, true, func(in spool.Info, _ []byte, _ error) bool { list = append(list, in); return true }); err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || st.Aside != 1 || list[0].Tries < 10 {
		t.Fatalf("%+v", list)
	}
	_, data, err := f.s.Spool().Get(list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := ReadSpooled(data)
	if err != nil || rec.NAS.String() != "127.0.0.1" || rec.Session != "x" || rec.User != "poison" || rec.Type != "Start" || rec.Pool != "main" || string(attr(t, rec.Packet, radwire.AttrUserName)) != "poison" {
		t.Fatalf("%+v %v", rec, err)
	}
	backend.setAnswer(accept)
	if err := f.s.Spool().Retry(list[0].Ref()); err != nil {
		t.Fatal(err)
	}
	f.untilSpoolPassing("the retry", func(s *SpoolStats) bool { return s.Records == 0 && s.Aside == 0 })
}

func TestR43AFullSpoolAcknowledgesByClassAndSaysSo(t *testing.T) {
	backend := newServer(t, silent)
	f := newFront(t, withSpool(t.TempDir(), setup{backends: []*server{backend}, config: func(c *Config) { c.Accounting.SpoolMax = 1 << 20 }}))
	f.setDown("b0", "acct")
	nas := newNAS(t, f.acctAddr())
	filler := avp(radwire.AttrUserName, string(bytes.Repeat([]byte("u"), 250)))
	stored := map[byte]int{}
	for i, status := range []byte{acctInterim, acctStart, acctStop} {
		refused := f.s.Stats().Spool.refusedInAll()
		for n := 0; f.s.Stats().Spool.refusedInAll() == refused; n++ {
			req := acctOf(byte(n), fmt.Sprint(status, "-", n), status, slices.Repeat([]*radius.AVP{filler}, 12)...)
			was := f.balanced()
			nas.send(req)
			st := f.until("a decision", func(st *Stats) bool {
				return st.Sum(KindAcct) > was.Sum(KindAcct) || st.Spool.refusedInAll() > refused
			})
			if st.Spool.refusedInAll() == refused {
				nas.verified(req, nas.receive(), nasSecret)
				stored[status]++
			}
		}
		f.clock.advance(10 * time.Second)
		f.until("silence for what was refused", func(st *Stats) bool { return st.Drops[KindAcct][ReasonSpoolFull] == uint64(i)+1 })
	}
	size := float64(f.s.Stats().Spool.Bytes) / float64(stored[acctInterim]+stored[acctStart]+stored[acctStop])
	share := func(n int) float64 { return float64(n) * size / (1 << 20) }
	if a, b := share(stored[acctInterim]), share(stored[acctInterim]+stored[acctStart]); a < 0.88 || a > 0.90 || b < 0.93 || b > 0.95 {
		t.Errorf("interims up to %.3f, starts up to %.3f", a, b)
	}
	if f.s.SpoolAccepts() {
		t.Error("a full spool still says that it accepts")
	}
}

func TestR43CoalesceIsCounted(t *testing.T) {
	backend := newServer(t, silent)
	f := newFront(t, withSpool(t.TempDir(), setup{backends: []*server{backend}, config: func(c *Config) { c.Accounting.CoalesceInterim = true }}))
	f.setDown("b0", "acct")
	nas := newNAS(t, f.acctAddr())
	nas.exchange(acctOf(0, "canary", acctStart))
	backend.wait(1)
	for id := byte(1); id <= 5; id++ {
		nas.exchange(acctOf(id, "a", acctInterim, avp(42, string([]byte{0, 0, 0, id}))))
	}
	backend.setAnswer(accept)
	f.setUp("b0", "acct")
	st := f.untilSpoolPassing("delivery", func(s *SpoolStats) bool { return s.Records == 0 })
	if st.Coalesced != 4 || st.Delivered != 2 {
		t.Fatalf("%+v", st)
	}
	for _, r := range backend.wait(2)[1:] {
		if string(attr(t, r.raw, radwire.AttrAcctSessionID)) == "a" && attr(t, r.raw, 42)[3] != 5 {
			t.Fatal("not the newest was delivered")
		}
	}
}

func TestR44ADamagedFileCostsTheRecordThatWasHit(t *testing.T) {
	dir := t.TempDir()
	backend := newServer(t, silent)
	f := newFront(t, withSpool(dir, setup{backends: []*server{backend}}))
	f.setDown("b0", "acct")
	nas := newNAS(t, f.acctAddr())
	for id := range byte(10) {
		nas.exchange(acctOf(id, fmt.Sprint("session-", id), acctStop))
	}
	f.stop()
	segments, err := filepath.Glob(filepath.Join(dir, "spool", "pppoe", "seg-*"))
	if err != nil || len(segments) != 1 {
		t.Fatal(segments, err)
	}
	b, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	b[bytes.Index(b, []byte("session-4"))] ^= 4
	if err := os.WriteFile(segments[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	before := backend.count()
	backend.setAnswer(accept)
	f = newFront(t, withSpool(dir, setup{backends: []*server{backend}}))
	st := f.untilSpool("delivery", func(s *SpoolStats) bool { return s.Records == 0 && s.Delivered == 9 })
	if st.Damaged != 1 {
		t.Fatalf("%+v", st)
	}
	for _, r := range backend.wait(before + 9)[before:] {
		if bytes.Contains(r.raw, []byte("session-4")) {
			t.Fatal("a damaged record was delivered")
		}
	}
}

func TestR45DepthAgeAndDeliveries(t *testing.T) {
	backend := newServer(t, silent)
	f := newFront(t, withSpool(t.TempDir(), setup{backends: []*server{backend}}))
	if st := f.balanced().Spool; st == nil || st.Records != 0 || !st.Accepts {
		t.Fatalf("%+v", st)
	}
	f.setDown("b0", "acct")
	nas := newNAS(t, f.acctAddr())
	nas.exchange(acctOf(1, "a", acctStart))
	f.clock.advance(90 * time.Second)
	if st := f.balanced().Spool; st.Records != 1 || st.Bytes < 60 || st.OldestSeconds != 90 || st.Stored != 1 {
		t.Fatalf("%+v", st)
	}
}

func TestUpdateTurnsTheSpoolOffAndOn(t *testing.T) {
	backend := newServer(t, silent)
	f := newFront(t, withSpool(t.TempDir(), setup{backends: []*server{backend}}))
	f.setDown("b0", "acct")
	nas := newNAS(t, f.acctAddr())
	nas.exchange(acctOf(1, "a", acctStart))
	f.reload(func(o *Options) { o.Config.Accounting.Spool = false })
	nas.send(acctOf(2, "b", acctStart))    // not stored any more
	nas.exchange(acctOf(3, "a", acctStop)) // of a session that has records there: it joins
	if f.s.SpoolAccepts() {
		t.Error("it accepts while it is off")
	}
	if st := f.balanced(); st.Spool.Stored != 2 || st.InFlight[KindAcct] != 1 {
		t.Errorf("%+v", st.Spool)
	}
	f.reload(nil)
	nas.exchange(acctOf(4, "c", acctStart))
	if !f.s.SpoolAccepts() {
		t.Error("it does not accept again")
	}
}

func (s *SpoolStats) refusedInAll() (n uint64) {
	for _, v := range s.Refused {
		n += v
	}
	return n
}
