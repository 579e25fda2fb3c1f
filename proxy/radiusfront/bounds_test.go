package radiusfront

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"testing"

	"sereno/proxy/radwire"
)

// TestO30WhatIsKnownOfNASesIsBounded: addresses whose sessions are over or forgotten leave
// nothing, and an Accounting-On still ends the sessions before it.
func TestO30WhatIsKnownOfNASesIsBounded(t *testing.T) {
	s := newSessions(100)
	tell := func(n uint32, id string, status byte) netip.Addr {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 10<<24|n)
		var ix radwire.Index
		p, err := radwire.Walk(acctOf(1, id, status), &ix)
		if err != nil {
			t.Fatal(err)
		}
		s.account(netip.AddrFrom4(a), "main", nil, p, &ix)
		return netip.AddrFrom4(a)
	}
	for n := range uint32(1000) {
		tell(n, "session", acctStart)
		if len(s.open) > 100 {
			t.Fatalf("%d NASes of 100 sessions", len(s.open))
		}
	}
	if s.count() != 100 {
		t.Fatalf("%d sessions", s.count())
	}
	nas := tell(999, "another", acctStart)
	tell(999, "", acctOn)
	tell(999, "new", acctStart)
	if st := s.open[nas]; st.open != 1 || st.epoch != 1 {
		t.Fatalf("after a restart: %+v", s.open[nas])
	}
	for n := range uint32(1000) {
		for _, id := range []string{"session", "another", "new"} {
			tell(n, id, acctStop)
		}
	}
	if known, _ := s.sizes(); len(s.open) != 0 || s.count() != 0 || known != 0 {
		t.Errorf("%d NASes, %d sessions, %d known are left", len(s.open), s.count(), known)
	}
}

// TestO30EveryTableShowsItsBound: what NASes and backends can fill is shown with its bound.
func TestO30EveryTableShowsItsBound(t *testing.T) {
	k := newKnown(t, nil, nil)
	k.login("alice", "right")
	want := map[string]int64{"in-flight": 0, "remembered": 1, "held-bytes": -1, "sessions": 0, "nas-names": -1, "sources": 1, "known-users": 1, "known-user-bytes": -1, "identifiers": 0}
	for _, table := range k.s.Stats().Tables {
		if n, ok := want[table.Name]; !ok || n >= 0 && table.Entries != n || table.Limit < 1 || table.Entries > table.Limit {
			t.Errorf("%+v, want %d", table, n)
		}
		delete(want, table.Name)
	}
	if len(want) > 0 {
		t.Errorf("not shown: %v", want)
	}
}

// TestO30BytesInFlightAreBounded: requests are dropped, and answers not remembered, where their
// packets would take more than they may; what a storm took is given back.
func TestO30BytesInFlightAreBounded(t *testing.T) {
	backend := newServer(t, silent)
	f := newFront(t, setup{backends: []*server{backend}, options: func(o *Options) { o.MaxBytes = 2 * radwire.MaxLen }})
	nas := newNAS(t, f.authAddr())
	for id := range 10 {
		nas.send(pap(t, byte(id), "alice", "x"))
	}
	st := f.untilDropped(KindAuth, ReasonServiceLimit, 9)
	if st.InFlight[KindAuth] != 1 {
		t.Errorf("%d in flight", st.InFlight[KindAuth])
	}
	r := backend.wait(1)[0]
	backend.send(accept(r), r.from)
	nas.receive()
	if st := f.balanced(); st.InFlight[KindAuth] != 0 || f.s.held.Load() > f.opts.MaxBytes {
		t.Errorf("%d in flight, %d bytes held", st.InFlight[KindAuth], f.s.held.Load())
	}

	var held atomic.Int64
	b := buffers{held: &held}
	var storm [][]byte
	for range 3 * maxFree / radwire.MaxLen {
		storm = append(storm, b.keep(make([]byte, radwire.MaxLen)))
	}
	if held.Load() != 3*maxFree {
		t.Errorf("%d bytes are held", held.Load())
	}
	for _, x := range storm {
		b.release(x)
	}
	if n := len(b.free[len(b.free)-1]) * radwire.MaxLen; n != maxFree || held.Load() != 0 {
		t.Errorf("%d bytes are kept, %d held", n, held.Load())
	}
}
