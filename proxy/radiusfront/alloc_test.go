//go:build !race

package radiusfront

import (
	"runtime"
	"testing"
	"time"

	"sereno/proxy/radwire"
)

// TestNothingAllocatesForAForwardedPacket counts what the whole process
// allocates while requests go through real sockets; the NAS and the backend
// of the test allocate nothing themselves.
func TestNothingAllocatesForAForwardedPacket(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		backend := newEcho(t)
		f := newFront(t, setup{backends: []*server{backend.server}, plain: plain, options: func(o *Options) { o.Now = time.Now }})
		g := newGenerator(t, f.authAddr())
		g.run(2000) // tables, buffers and ports grow to what is needed
		const n = 2000
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		g.run(n)
		runtime.ReadMemStats(&after)
		// The ticker of the janitor and the runtime itself allocate now and then;
		// one allocation for each packet would be n.
		if got := after.Mallocs - before.Mallocs; got > n/20 {
			t.Errorf("%d allocations for %d transactions", got, n)
		}
		if st := f.balanced(); st.Sum(KindAuth) != 4000 {
			t.Errorf("%d answers", st.Sum(KindAuth))
		}
	})
}

// TestNothingAllocatesInTheWorker is exact, on the worker alone: one request
// and its reply, without the sockets' loop.
func TestNothingAllocatesInTheWorker(t *testing.T) {
	backend := newEcho(t)
	f := newFront(t, setup{backends: []*server{backend.server}})
	w := f.s.workers[0]
	req := pap(t, 1, "alice", "a password that takes two blocks", avp(radwire.AttrCallingStationID, "00:11:22:33:44:55"))
	h := newHand(t, f, w)
	for range 2000 { // what is remembered, and the sockets' buffers, grow first
		h.transaction(req)
	}
	got := testing.AllocsPerRun(500, func() { h.transaction(req) })
	if got != 0 {
		t.Errorf("%v allocations for one transaction", got)
	}
}

func TestNothingAllocatesForAKnownSession(t *testing.T) {
	s, nas := newSessions(1000), handPeer.Addr()
	req := acctRequest(1, "session", avp(radwire.AttrUserName, "alice"), avp(radwire.AttrFramedIPAddress, "\x0a\x00\x00\x01"))
	stop := plainRequest(radwire.AccountingRequest, 1, nasSecret, avp(44, "session"), avp(40, "\x00\x00\x00\x02"))
	var ix, stopIx radwire.Index
	if _, err := radwire.Walk(req, &ix); err != nil {
		t.Fatal(err)
	}
	if _, err := radwire.Walk(stop, &stopIx); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(500, func() {
		s.account(nas, "main", nil, req, &ix) // a start
		s.account(nas, "main", nil, req, &ix) // an interim update
		s.account(nas, "main", nil, stop, &stopIx)
	}); n != 0 {
		t.Errorf("%v allocations for one session", n)
	}
}
