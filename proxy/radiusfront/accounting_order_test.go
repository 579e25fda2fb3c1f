package radiusfront

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"sereno/proxy/radwire"
)

// order is what the backend got of a session after so many requests: the last byte of an attribute of each record, of copies
// that follow one another once.
func (s *server) order(after int, session string, typ byte) (out []byte) {
	s.t.Helper()
	for _, r := range s.wait(after)[after:] {
		if string(attr(s.t, r.raw, radwire.AttrAcctSessionID)) == session {
			out = append(out, attr(s.t, r.raw, typ)[3])
		}
	}
	return slices.Compact(out)
}

// delivered lets the backend b0 answer, and gives the order in which it then gets the session's records, until the spool is empty.
func (f *front) delivered(backend *server, session string, typ byte) []byte {
	f.t.Helper()
	sent := backend.count()
	backend.setAnswer(accept)
	f.setUp("b0", "acct")
	f.untilSpoolPassing("delivery", func(s *SpoolStats) bool { return s.Records == 0 })
	return backend.order(sent, session, typ)
}

func (f *front) untilStored(n int64) {
	f.t.Helper()
	f.untilSpool(fmt.Sprint(n, " on disk"), func(s *SpoolStats) bool { return s.Records == n })
}

// TestR41WhatIsUnderWayIsNotOvertaken: a record that was sent to a server which then falls goes to the spool before the next
// one of its session, which is not sent to any. Also where many logins are to leave at the same moment.
func TestR41WhatIsUnderWayIsNotOvertaken(t *testing.T) {
	for _, logins := range []int{0, 1000} {
		var auth []*server
		for range 8 {
			auth = append(auth, newServer(t, silent))
		}
		backend := newServer(t, silent)
		f := newFront(t, withSpool(t.TempDir(), setup{authOnly: auth, acctOnly: []*server{backend}, pool: roundRobin}))
		nas, bras := newNAS(t, f.acctAddr()), newNAS(t, f.authAddr())
		for i := range logins {
			if i%200 == 0 {
				bras = newNAS(t, f.authAddr())
			}
			bras.send(pap(t, byte(i), fmt.Sprint("user-", i), "x"))
			if i%50 == 49 {
				f.until("some logins", func(st *Stats) bool { return st.InFlight[KindAuth] == int64(i+1) })
			}
		}
		nas.send(acctOf(1, "a", acctStart))
		backend.wait(1)
		w := f.s.workers[0]
		w.mu.Lock()
		for i := range len(auth) - 1 {
			f.setDown(fmt.Sprint("b", i), "auth")
		}
		f.setDown("b0", "acct")
		nas.send(acctOf(2, "a", acctStop))
		w.mu.Unlock()
		f.until("both on disk", func(st *Stats) bool {
			return st.Answers[KindAcct][AnswerAccounting][SourceSpool] == 2 && st.Spool.Records == 2 && st.InFlight[KindAcct] == 0
		})
		if order := f.delivered(backend, "a", radwire.AttrAcctStatusType); !bytes.Equal(order, []byte{acctStart, acctStop}) {
			t.Errorf("%d logins: %v", logins, order)
		}
	}
}

// TestR41WhatIsUnderWayIsStoredInItsOrder: many records of one session, by several source ports.
func TestR41WhatIsUnderWayIsStoredInItsOrder(t *testing.T) {
	const records, number = 40, 42
	backend := newServer(t, silent)
	f := newFront(t, withSpool(t.TempDir(), setup{backends: []*server{backend}}))
	nas := newNAS(t, f.acctAddr())
	var want []byte
	for n := range byte(records) {
		nas.send(acctOf(n, "a", acctInterim, avp(number, string([]byte{0, 0, 0, n}))))
		backend.wait(int(n) + 1)
		f.clock.advance(time.Millisecond)
		want = append(want, n)
	}
	f.setDown("b0", "acct")
	f.untilStored(records)
	if order := f.delivered(backend, "a", number); !bytes.Equal(order, want) {
		t.Error(order)
	}
}

// TestR41WhatCameTogetherIsStoredInItsOrder: a NAS that sends at once what it has kept, to a server that is silent.
func TestR41WhatCameTogetherIsStoredInItsOrder(t *testing.T) {
	backend := newServer(t, silent)
	f := newFront(t, withSpool(t.TempDir(), setup{backends: []*server{backend}}))
	nas, all := newNAS(t, f.acctAddr()), []byte{acctStart, acctInterim, acctStop}
	for id, status := range all {
		nas.send(acctOf(byte(id), "a", status))
	}
	backend.wait(len(all))
	f.clock.advance(1600 * time.Millisecond)
	f.untilStored(int64(len(all)))
	if order := f.delivered(backend, "a", radwire.AttrAcctStatusType); !bytes.Equal(order, all) {
		t.Error(order)
	}
}

// TestR41WhatJoinsItsSessionDoesNotOvertake: the Stop joins the Start in the spool while the Interim-Update between them still
// waits for a server.
func TestR41WhatJoinsItsSessionDoesNotOvertake(t *testing.T) {
	backend := newServer(t, silent)
	f := newFront(t, withSpool(t.TempDir(), setup{backends: []*server{backend}}))
	nas, start := newNAS(t, f.acctAddr()), acctOf(1, "a", acctStart)
	nas.send(start)
	backend.wait(1)
	f.clock.advance(time.Second)
	nas.send(acctOf(2, "a", acctInterim))
	backend.wait(2)
	f.clock.advance(600 * time.Millisecond)
	nas.verified(start, nas.receive(), nasSecret)
	nas.exchange(acctOf(3, "a", acctStop))
	f.clock.advance(time.Second)
	f.untilStored(3)
	if order := f.delivered(backend, "a", radwire.AttrAcctStatusType); !bytes.Equal(order, []byte{acctStart, acctInterim, acctStop}) {
		t.Error(order)
	}
}

// nasOfEach is a NAS whose accounting each worker gets; backends must answer it.
func (f *front) nasOfEach() (out []*nas) {
	f.t.Helper()
	requests := func(w *worker) uint64 {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.book.requests[KindAcct]
	}
	for _, w := range f.s.workers {
		for len(out) < len(f.s.workers) {
			n, before := newNAS(f.t, f.acctAddr()), requests(w)
			n.exchange(acctOf(0, "whose", acctStart))
			if requests(w) > before {
				out = append(out, n)
				break
			}
		}
	}
	return out
}

// TestR41OneWorkerDoesNotOvertakeAnother: a NAS with several source ports, and a worker that hears of the fall later.
func TestR41OneWorkerDoesNotOvertakeAnother(t *testing.T) {
	backend := newServer(t, accept)
	f := newFront(t, withSpool(t.TempDir(), setup{backends: []*server{backend}, workers: 2}))
	ports := f.nasOfEach()
	backend.setAnswer(silent)
	sent := backend.count()
	ports[0].send(acctOf(1, "a", acctStart))
	backend.wait(sent + 1)
	f.clock.advance(time.Millisecond)
	busy := f.s.workers[0]
	busy.mu.Lock()
	f.setDown("b0", "acct")
	ports[1].exchange(acctOf(1, "canary", acctStart))
	backend.wait(sent + 2) // it is on its way to nobody, and the others wait
	ports[1].exchange(acctOf(2, "a", acctStop))
	busy.mu.Unlock()
	f.untilStored(3)
	if order := f.delivered(backend, "a", radwire.AttrAcctStatusType); !bytes.Equal(order, []byte{acctStart, acctStop}) {
		t.Error(order)
	}
}
