package radiusfront

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"layeh.com/radius"

	"sereno/health"
	"sereno/proxy/pool"
	"sereno/proxy/radwire"
)

func ordered(c *pool.Config)    { c.Balance = "ordered" }
func roundRobin(c *pool.Config) { c.Balance = "round-robin" }

func TestR30SilenceMovesAndIsNeverAReject(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		a, b := newServer(t, silent), newServer(t, silent)
		f := newFront(t, setup{backends: []*server{a, b}, pool: ordered, plain: plain})
		nas := newNAS(t, f.authAddr())
		req := pap(t, 1, "alice", "x")
		nas.send(req)
		a.wait(1)
		f.clock.advance(1400 * time.Millisecond)
		nas.nothing()
		if b.count() != 0 {
			t.Error("moved before attempt_timeout")
		}
		f.clock.advance(200 * time.Millisecond)
		b.wait(1)
		f.clock.advance(3300 * time.Millisecond)
		nas.nothing()
		f.clock.advance(200 * time.Millisecond) // 5.1 s: timeout
		st := f.untilDropped(KindAuth, ReasonTimeout, 1)
		nas.nothing()
		if st.Sum(KindAuth) != 0 || st.Moved != 1 {
			t.Errorf("%d answers, %d moves", st.Sum(KindAuth), st.Moved)
		}
		if n := a.count(); n != 1 {
			t.Errorf("%d packets to the backend that was left", n)
		}
		// R21: with nobody left to ask, the same bytes go to the last one again.
		if got := b.wait(2); len(got) != 2 || !bytes.Equal(got[0].raw, got[1].raw) || st.Repeated != 1 {
			t.Errorf("%d packets to the last backend, %d repeated", len(got), st.Repeated)
		}
		if c := f.auth.Backend("b0").Counters(); c.Failures[pool.Timeout] != 1 || c.InFlight != 0 {
			t.Errorf("counters %+v", c)
		}
	})
}

func TestR30LateRejectOfALeftBackendWins(t *testing.T) {
	a, b := newServer(t, silent), newServer(t, silent)
	f := newFront(t, setup{backends: []*server{a, b}, pool: ordered})
	nas := newNAS(t, f.authAddr())
	req := pap(t, 1, "alice", "x")
	nas.send(req)
	first := a.wait(1)[0]
	f.clock.advance(1600 * time.Millisecond)
	second := b.wait(1)[0]
	a.send(first.respond(radius.CodeAccessReject, backendSecret), first.from)
	if got := nas.verified(req, nas.receive(), nasSecret); got.Code != radius.CodeAccessReject {
		t.Errorf("got %v", got.Code)
	}
	// R31: the other one's Accept comes too late.
	b.send(accept(second), second.from)
	st := f.untilReply(ReplyLate, 1)
	nas.nothing()
	if st.Sum(KindAuth) != 1 {
		t.Errorf("%d answers", st.Sum(KindAuth))
	}
}

func TestR31RejectIsFinal(t *testing.T) {
	a, b := newServer(t, func(r received) []byte { return r.respond(radius.CodeAccessReject, backendSecret) }), newServer(t, accept)
	f := newFront(t, setup{backends: []*server{a, b}, pool: ordered})
	nas := newNAS(t, f.authAddr())
	if got := nas.exchange(pap(t, 1, "alice", "x")); got.Code != radius.CodeAccessReject {
		t.Errorf("got %v", got.Code)
	}
	f.clock.advance(3 * time.Second)
	nas.nothing()
	if b.count() != 0 {
		t.Error("a rejected request was tried elsewhere")
	}
}

func TestR30RefusedPortMovesAtOnce(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		dead, good := newServer(t, silent), newServer(t, accept)
		f := newFront(t, setup{backends: []*server{dead, good}, pool: ordered, plain: plain})
		_ = dead.conn.Close()
		for _, to := range []struct {
			nas *nas
			req []byte
		}{{newNAS(t, f.authAddr()), pap(t, 1, "alice", "x")}, {newNAS(t, f.acctAddr()), acctRequest(1, "s")}} {
			to.nas.send(to.req)
			to.nas.verified(to.req, to.nas.receive(), nasSecret) // and the clock stands still
		}
		f.until("suspect", func(*Stats) bool {
			return f.h["b0/auth"].State() == health.Suspect && f.h["b0/acct"].State() == health.Suspect
		})
	})
}

func TestR30MovesWhenTheBackendFallsWhileWaiting(t *testing.T) {
	a, b := newServer(t, silent), newServer(t, accept)
	f := newFront(t, setup{backends: []*server{a, b}, pool: func(c *pool.Config) { c.Balance = "ordered"; c.RetryBudget = 0 }})
	nas := newNAS(t, f.authAddr())
	const n = 150 // more than the budget's free retries: such moves are not charged
	reqs := map[byte][]byte{}
	for id := range n {
		reqs[byte(id)] = pap(t, byte(id), "alice", "x")
		nas.send(reqs[byte(id)])
	}
	a.wait(n)
	f.setDown("b0", "auth")
	for range n {
		answer := nas.receive()
		nas.verified(reqs[answer[1]], answer, nasSecret)
	}
	if st := f.balanced(); st.Moved != n {
		t.Errorf("%d moved", st.Moved)
	}
}

func TestR30MovesAsSoonAsTheBudgetAllows(t *testing.T) {
	const n, free = 150, 99 // what the budget gives in any case
	var configs []pool.BackendConfig
	a := newServer(t, func(r received) []byte {
		if r.n == n { // bob's
			return accept(r)
		}
		return nil
	})
	b := newServer(t, accept)
	f := newFront(t, setup{
		backends: []*server{a, b}, pool: func(c *pool.Config) { c.Balance = "ordered"; c.RetryBudget = 0 },
		backend: func(c *pool.BackendConfig) { configs = append(configs, *c) },
	})
	nas := newNAS(t, f.authAddr())
	for id := range n {
		nas.send(pap(t, byte(id), "alice", "x"))
	}
	a.wait(n)
	f.clock.advance(time.Second)
	nas.exchange(pap(t, n, "bob", "x")) // a reply: the backend is not suspected, so that moves are charged
	f.clock.advance(600 * time.Millisecond)
	b.wait(free)
	f.until("the rest repeated", func(st *Stats) bool { return st.Moved == free && st.Repeated == n-free })
	if f.h["b0/auth"].State() != health.Up {
		t.Fatal("the silent backend is suspected, and moves are free")
	}
	c := f.auth.Config()
	c.RetryBudget = 2
	if err := f.auth.Update(c, []pool.Member{{Config: configs[0], Addr: a.addr(), Health: f.h["b0/auth"]}, {Config: configs[1], Addr: b.addr(), Health: f.h["b1/auth"]}}); err != nil {
		t.Fatal(err)
	}
	f.clock.advance(120 * time.Millisecond) // far less than another attempt_timeout
	f.until("all moved", func(st *Stats) bool { return st.Moved == n })
}

func TestR30StaysWhenNobodyElseIsUp(t *testing.T) {
	a, b := newServer(t, silent), newServer(t, silent)
	f := newFront(t, setup{backends: []*server{a, b}, pool: ordered})
	f.setDown("b1", "auth")
	nas := newNAS(t, f.authAddr())
	req := pap(t, 1, "alice", "x")
	nas.send(req)
	r := a.wait(1)[0]
	f.setDown("b0", "auth")
	nas.quiet(f)
	if b.count() != 0 {
		t.Error("moved from a fallen backend to a fallen one without waiting")
	}
	a.send(accept(r), r.from) // a wrong verdict costs nothing
	nas.verified(req, nas.receive(), nasSecret)
	if got := nas.exchange(statusRequestAfter(f, "b0")); got.Code != radius.CodeAccessAccept {
		t.Errorf("status: %v", got.Code)
	}
}

// statusRequestAfter brings a backend up again first.
func statusRequestAfter(f *front, backend string) []byte {
	f.setUp(backend, "auth")
	return statusRequest(9, nasSecret)
}

func TestR30NoBackendAtAllIsSilence(t *testing.T) {
	f := newFront(t, setup{authOnly: []*server{newServer(t, accept)}, acctOnly: nil})
	newNAS(t, f.acctAddr()).send(acctRequest(1, "s"))
	f.untilDropped(KindAcct, ReasonNoBackend, 1)
}

func TestR30EveryoneMovesFromASilentBackend(t *testing.T) {
	a, b := newServer(t, silent), newServer(t, accept)
	f := newFront(t, setup{backends: []*server{a, b}, pool: func(c *pool.Config) { c.Balance = "ordered"; c.RetryBudget = 0 }})
	nas := newNAS(t, f.authAddr())
	for id := range 150 {
		nas.send(pap(t, byte(id), "alice", "x"))
	}
	a.wait(150)
	f.clock.advance(1600 * time.Millisecond)
	// Health sees a backend that is silent to all, and then moves are free: so
	// everybody is answered, whatever the budget.
	f.until("answers", func(st *Stats) bool { return st.Answers[KindAuth][AnswerAccept][SourceBackend] == 150 })
}

// TestA04ADeafServerKeepsNobodyWaiting: it answers probes, and so is suspected for a
// moment only. Whoever waits for it moves all the same, outside the budget, and then it
// gets no more requests at a time than show whether it answers them.
func TestA04ADeafServerKeepsNobodyWaiting(t *testing.T) {
	deaf, good := newServer(t, silent), newServer(t, accept)
	f := newFront(t, setup{backends: []*server{deaf, good}, pool: func(c *pool.Config) { c.Balance = "ordered"; c.RetryBudget = 0 }})
	h := f.h["b0/auth"]
	h.Watch(func(bool) {
		if now := f.clock.now(); h.State() == health.Suspect {
			h.Probed(health.Result{Start: now, End: now, OK: true})
		}
	})
	nas := newNAS(t, f.authAddr())
	answered := func(n uint64) {
		t.Helper()
		f.until("answers", func(st *Stats) bool { return st.Answers[KindAuth][AnswerAccept][SourceBackend] == n })
	}
	for id := range 150 {
		if id == 10 {
			f.clock.advance(time.Second)
		}
		nas.send(pap(t, byte(id), "alice", "x"))
		deaf.wait(id + 1)
	}
	f.clock.advance(600 * time.Millisecond) // 1.6 s for ten of them, 0.6 s for the others
	answered(150)
	if h.State() != health.Up || h.Trial() != 2 {
		t.Fatalf("the deaf server is %v, on trial with %d at a time", h.State(), h.Trial())
	}
	for id := range 20 {
		nas.send(pap(t, byte(200+id), "bob", "x"))
	}
	answered(168)
	if n := deaf.count(); n != 152 {
		t.Errorf("the server on trial got %d requests, not 2", n-150)
	}
	f.clock.advance(1600 * time.Millisecond)
	answered(170)
	deaf.setAnswer(accept)
	for id := range 10 { // the first of them ends the trial
		nas.send(pap(t, byte(id), "carol", "x"))
		answered(171 + uint64(id)) //nolint:gosec // not negative
	}
	if n := deaf.count(); h.Trial() != 0 || n < 160 {
		t.Errorf("it answers again, is on trial with %d at a time, and got %d requests", h.Trial(), n)
	}
}

// TestR30WhoMayNotHaveGotItIsAskedAgain: the first backend did not get the packet, the second is deaf. Once that shows,
// the first one gets the same bytes again, and not the deaf one until the end.
func TestR30WhoMayNotHaveGotItIsAskedAgain(t *testing.T) {
	good, deaf := newServer(t, silent), newServer(t, silent)
	f := newFront(t, setup{backends: []*server{good, deaf}, pool: func(c *pool.Config) { c.Balance = "ordered" }})
	nas := newNAS(t, f.authAddr())
	nas.send(pap(t, 1, "alice", "x"))
	good.wait(1)
	f.clock.advance(1600 * time.Millisecond)
	deaf.wait(1)
	good.setAnswer(accept)
	for range 2 {
		f.h["b1/auth"].Probed(health.Result{Start: f.clock.now(), End: f.clock.now(), Reason: health.ReasonRefused})
	}
	f.until("an answer", func(st *Stats) bool { return st.Answers[KindAuth][AnswerAccept][SourceBackend] == 1 })
	if a, b := good.count(), deaf.count(); a != 2 || b != 1 {
		t.Errorf("the good server got %d copies, the deaf one %d", a, b)
	}
}

func TestR33SameSubscriberSameBackendOnEveryNode(t *testing.T) {
	servers := []*server{newServer(t, accept), newServer(t, accept), newServer(t, accept)}
	one, two := newFront(t, setup{backends: servers}), newFront(t, setup{backends: servers})
	where := map[string]string{}
	for round, f := range []*front{one, two, one} {
		nas := newNAS(t, f.authAddr())
		for u := range 40 {
			mac := fmt.Sprintf("00:11:22:33:44:%02x", u)
			before := []int{servers[0].count(), servers[1].count(), servers[2].count()}
			nas.exchange(pap(t, byte(u+40*round), fmt.Sprintf("user-%d-%d", round, u), "x", avp(radwire.AttrCallingStationID, mac)))
			got := ""
			for i, s := range servers {
				if s.count() > before[i] {
					got = fmt.Sprint(i)
				}
			}
			if where[mac] == "" {
				where[mac] = got
			}
			if where[mac] != got {
				t.Errorf("%s went to %s, then to %s", mac, where[mac], got)
			}
		}
	}
	for i, s := range servers {
		if s.count() < 10 {
			t.Errorf("backend %d got %d of 120", i, s.count())
		}
	}
	// A backend that leaves moves only its own share.
	one.setDown("b1", "auth")
	nas := newNAS(t, one.authAddr())
	for u := range 40 {
		mac := fmt.Sprintf("00:11:22:33:44:%02x", u)
		before := servers[0].count()
		nas.exchange(pap(t, byte(u), "user", "x", avp(radwire.AttrCallingStationID, mac)))
		if went := servers[0].count() > before; where[mac] != "1" && went != (where[mac] == "0") {
			t.Errorf("%s moved though its backend stayed", mac)
		}
	}
}

func TestR33KeysInTheirOrder(t *testing.T) {
	f := newFront(t, setup{backends: []*server{newServer(t, accept)}})
	w := f.s.workers[0]
	nas := testDest("127.0.0.1:4000")
	key := func(attrs ...*radius.AVP) uint64 {
		w.mu.Lock()
		defer w.mu.Unlock()
		p, err := radwire.Walk(plainRequest(radwire.AccessRequest, 1, nasSecret, attrs...), &w.ix)
		if err != nil {
			t.Fatal(err)
		}
		return w.hashKey(w.view.fallback, p, &nas)
	}
	mac, user := avp(radwire.AttrCallingStationID, "m"), avp(radwire.AttrUserName, "u")
	if key(mac, user) != key(user, mac) || key(mac) != key(mac, user) || key(mac) == key(user) || key(user) != hashBytes([]byte("u")) {
		t.Error("not by the first key that is there")
	}
	if key() == key(user) || key() != key(avp(radwire.AttrNASIPAddress, "\x0a\x00\x00\x01")) || key(avp(radwire.AttrCallingStationID, "")) != key() {
		t.Error("a packet without a key is not hashed by its NAS's address")
	}
	one := key()
	if nas = testDest("127.0.0.1:5000"); key() != one {
		t.Error("a packet without a key is hashed by more than its NAS's address")
	}
	if nas = testDest("127.0.0.2:4000"); key() == one {
		t.Error("packets without a key of two NASes have one hash")
	}
	if hashBytes([]byte("00:11:22:33:44:55")) != 0x96ee75c843778592 {
		t.Errorf("the hash of nodes before is another: %#x", hashBytes([]byte("00:11:22:33:44:55")))
	}
}

func TestR34RolesAreApart(t *testing.T) {
	a, b := newServer(t, accept), newServer(t, accept)
	f := newFront(t, setup{backends: []*server{a, b}, pool: ordered})
	f.setDown("b0", "auth")
	auth, acct := newNAS(t, f.authAddr()), newNAS(t, f.acctAddr())
	auth.exchange(pap(t, 1, "alice", "x"))
	if a.count() != 0 || b.count() != 1 {
		t.Errorf("authentication went to a backend that is down in it: %d, %d", a.count(), b.count())
	}
	acct.exchange(acctRequest(1, "s"))
	if a.count() != 1 {
		t.Error("accounting left a backend that is up in it")
	}
	a.setAnswer(silent)
	for i := range 3 { // three requests that wait: suspect in accounting alone
		acct.send(acctRequest(byte(2+i), "s"))
	}
	a.wait(4)
	f.clock.advance(1600 * time.Millisecond)
	f.until("suspect", func(*Stats) bool { return f.h["b0/acct"].State() == health.Suspect })
	if f.h["b0/auth"].State() != health.Down || f.h["b1/auth"].State() != health.Up {
		t.Error("a verdict of accounting changed one of authentication")
	}
}

func TestR37BoundsDropTheNewest(t *testing.T) {
	backend := newServer(t, silent)
	f := newFront(t, setup{backends: []*server{backend}, config: func(c *Config) { c.Clients[0].MaxInFlight = 20 }})
	auth, acct := newNAS(t, f.authAddr()), newNAS(t, f.acctAddr())
	for id := range 30 {
		auth.send(pap(t, byte(id), "alice", "x"))
	}
	st := f.untilDropped(KindAuth, ReasonClientLimit, 12)
	if st.InFlight[KindAuth] != 18 || st.Clients[0].InFlight != 18 {
		t.Errorf("%d in flight", st.InFlight[KindAuth])
	}
	// The last tenth is for conversations that have begun, and for accounting.
	auth.send(pap(t, 100, "alice", "x", avp(radwire.AttrState, "s")))
	f.until("state", func(st *Stats) bool { return st.InFlight[KindAuth] == 19 })
	acct.send(acctRequest(1, "s"))
	f.until("accounting", func(st *Stats) bool { return st.InFlight[KindAcct] == 1 })
	acct.send(acctRequest(2, "s"))
	f.untilDropped(KindAcct, ReasonClientLimit, 1)
	// What was first is still served.
	r := backend.wait(20)[0]
	backend.send(accept(r), r.from)
	auth.receive()
	f.until("room", func(st *Stats) bool { return st.Clients[0].InFlight == 19 })
}

func TestR37ServiceBound(t *testing.T) {
	backend := newServer(t, silent)
	f := newFront(t, setup{backends: []*server{backend}, workers: 2, options: func(o *Options) { o.MaxInFlight, o.MaxRemembered = 10, 3 }})
	nas := newNAS(t, f.authAddr())
	for id := range 12 {
		nas.send(pap(t, byte(id), "alice", "x"))
	}
	f.untilDropped(KindAuth, ReasonServiceLimit, 3)
	for _, r := range backend.wait(9) {
		backend.send(accept(r), r.from)
		nas.receive()
	}
	if st := f.balanced(); st.Remembered != 3 || st.InFlight[KindAuth] != 0 {
		t.Errorf("%d remembered, %d in flight", st.Remembered, st.InFlight[KindAuth])
	}
}

// TestR30AnImpatientNASDoesNotHideASilentBackend: its retransmissions move
// every request on before attempt_timeout has passed.
func TestR30AnImpatientNASDoesNotHideASilentBackend(t *testing.T) {
	for _, late := range []bool{false, true} {
		slow, good := newServer(t, silent), newServer(t, accept)
		f := newFront(t, setup{backends: []*server{slow, good}, pool: ordered})
		nas := newNAS(t, f.authAddr())
		f.clock.advance(10 * time.Second) // long after the last reply of anybody
		for id := range 3 {
			req := pap(t, byte(id), "alice", "x")
			nas.send(req)
			slow.wait(id + 1)
			f.clock.advance(600 * time.Millisecond)
			nas.send(req)
			nas.verified(req, nas.receive(), nasSecret)
		}
		if late { // it was slow, not silent
			for i, r := range slow.wait(3) {
				slow.send(accept(r), r.from)
				f.untilReply(ReplyLate, uint64(i+1))
			}
		} else if f.h["b0/auth"].State() != health.Up {
			t.Error("judged before attempt_timeout")
		}
		f.clock.advance(1500 * time.Millisecond)
		if late {
			nas.nothing()
			f.until("ticks", func(*Stats) bool { return f.s.Packets() > 0 })
			if s := f.h["b0/auth"].State(); s != health.Up {
				t.Errorf("a slow backend is %v", s)
			}
			continue
		}
		f.until("suspect", func(*Stats) bool { return f.h["b0/auth"].State() == health.Suspect })
	}
}
