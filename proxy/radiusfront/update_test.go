package radiusfront

import (
	"bytes"
	"maps"
	"net/netip"
	"sync"
	"testing"
	"time"

	"layeh.com/radius"

	"sereno/proxy/insight"
	"sereno/proxy/pool"
	"sereno/proxy/radwire"
)

func TestUpdateLosesNoTransaction(t *testing.T) {
	legs(t, func(t *testing.T, plain bool) {
		backend := newServer(t, silent)
		f := newFront(t, setup{backends: []*server{backend}, plain: plain, workers: 2, config: func(c *Config) { c.Auth = append(c.Auth, "127.0.0.2:0") }})
		addrs := f.s.Listeners()
		leaving := newNAS(t, addrs[1].Address)
		staying := newNAS(t, addrs[0].Address)
		req := pap(t, 1, "alice", "x")
		leaving.send(req)
		staying.send(req)
		got := backend.wait(2)
		o := f.opts
		o.Config.Auth = []string{addrs[0].Address.String(), "127.0.0.3:0"}
		o.Config.Acct = []string{f.acctAddr().String()}
		o.Config.Clients = []ClientConfig{testClient("renamed", "127.0.0.1"), testClient("new", "127.0.0.9")}
		o.Config.Clients[0].Secret = []string{"rotated", nasSecret}
		if err := f.s.Update(o); err != nil {
			t.Fatal(err)
		}
		for _, r := range got {
			backend.send(accept(r), r.from)
		}
		leaving.verified(req, leaving.receive(), nasSecret)
		staying.verified(req, staying.receive(), nasSecret)

		backend.setAnswer(accept)
		if ls := f.s.Listeners(); len(ls) != 3 || ls[0].Address != addrs[0].Address || ls[1].Address.Addr() != netip.MustParseAddr("127.0.0.3") {
			t.Errorf("listeners: %+v", ls)
		}
		leaving.send(pap(t, 2, "alice", "x"))
		f.untilDropped(KindAuth, ReasonClosing, 1)
		leaving.send(req) // a duplicate of what was answered is still answered
		leaving.verified(req, leaving.receive(), nasSecret)
		fresh := newNASFrom(t, "127.0.0.9", f.s.Listeners()[1].Address)
		fresh.exchange(pap(t, 3, "bob", "x"))
		rotated := signed(radwire.AccessRequest, 4, "rotated", avp(1, "carol"))
		staying.send(rotated)
		staying.verified(rotated, staying.receive(), "rotated")
		if st := f.balanced(); len(st.Clients) != 2 || st.Clients[0].Name != "renamed" || st.Clients[0].Requests != 5 {
			t.Errorf("clients: %+v", st.Clients)
		}
		f.clock.advance(6 * time.Second)
		f.until("closed", func(*Stats) bool { f.s.mu.Lock(); defer f.s.mu.Unlock(); return len(f.s.retired) == 0 })
	})
}

func TestUpdateBringsAListenerBack(t *testing.T) {
	f := newFront(t, setup{backends: []*server{newServer(t, accept)}, config: func(c *Config) { c.Auth = append(c.Auth, "127.0.0.2:0") }})
	ls := f.s.Listeners()
	o := f.opts
	o.Config.Acct = []string{f.acctAddr().String()}
	for _, auth := range [][]string{{ls[0].Address.String()}, {ls[0].Address.String(), ls[1].Address.String()}} {
		o.Config.Auth = auth
		if err := f.s.Update(o); err != nil {
			t.Fatal(err)
		}
	}
	newNAS(t, ls[1].Address).exchange(pap(t, 1, "alice", "x"))
}

func TestUpdateWithAPortInUseChangesNothing(t *testing.T) {
	f := newFront(t, setup{backends: []*server{newServer(t, accept)}})
	other := newFront(t, setup{backends: []*server{newServer(t, accept)}})
	o := f.opts
	o.Config.Auth, o.Config.Acct = []string{other.authAddr().String()}, []string{"127.0.0.5:0"}
	o.Config.Clients = nil
	if err := f.s.Update(o); err == nil {
		t.Fatal("accepted")
	}
	newNAS(t, f.authAddr()).exchange(pap(t, 1, "alice", "x"))
	if n := len(f.s.Listeners()); n != 2 {
		t.Errorf("%d listeners", n)
	}
}

func TestUpdateChangesABackendsSecretAndItsPools(t *testing.T) {
	old := newServer(t, accept)
	now := newServerWith(t, "another", func(r received) []byte { return r.respond(radius.CodeAccessAccept, "another") })
	f := newFront(t, setup{backends: []*server{old}})
	nas := newNAS(t, f.authAddr())
	nas.exchange(pap(t, 1, "alice", "x"))
	var bc pool.BackendConfig
	bc.SetDefaults()
	bc.Name, bc.Address = "b1", "127.0.0.1"
	if err := f.auth.Update(f.auth.Config(), []pool.Member{{Config: bc, Addr: now.addr()}}); err != nil {
		t.Fatal(err)
	}
	nas.send(pap(t, 2, "alice", "x")) // the pool knows it, the service not yet: not sent with a wrong secret
	f.untilDropped(KindAuth, ReasonNoIdentifier, 1)
	var rc BackendConfig
	rc.SetDefaults()
	rc.Secret = "another"
	f.reload(func(o *Options) {
		rp := o.Pools["main"]
		rp.Backends = map[string]BackendConfig{"b1": rc}
		o.Pools = map[string]RolePools{"main": rp}
	})
	nas.exchange(pap(t, 3, "alice", "x"))
	f.clock.advance(40 * time.Second)
	f.until("the old sockets closed", func(st *Stats) bool { return len(st.Upstreams) == 1 && st.Upstreams[0].Backend == "b1" })
}

// TestUpdateChangesASecretAlsoForWhatIsUnderWay: a request from before moves to a backend that nothing was sent to yet, and
// all after it have the new secret too.
func TestUpdateChangesASecretAlsoForWhatIsUnderWay(t *testing.T) {
	mute := newServer(t, silent)
	other := newServerWith(t, "new", func(r received) []byte { return r.respond(radius.CodeAccessAccept, "new") })
	f := newFront(t, setup{backends: []*server{mute, other}, pool: ordered, radius: func(c *BackendConfig) { c.Secret = backendSecret }})
	nas, req := newNAS(t, f.authAddr()), pap(t, 1, "alice", "x")
	nas.send(req)
	mute.wait(1)
	f.reload(func(o *Options) {
		rp := o.Pools["main"]
		rp.Backends = maps.Clone(rp.Backends)
		changed := rp.Backends["b1"]
		changed.Secret = "new"
		rp.Backends["b1"] = changed
		o.Pools = map[string]RolePools{"main": rp}
	})
	f.setDown("b0", "auth")
	nas.verified(req, nas.receive(), nasSecret)
	nas.exchange(pap(t, 2, "bob", "x"))
}

// TestUpdateHoldsUpNoRequest: time passes for requests while a reload takes its time, as it does that opens a large spool.
func TestUpdateHoldsUpNoRequest(t *testing.T) {
	backend := newServer(t, silent)
	f := newFront(t, withSpool(t.TempDir(), setup{backends: []*server{backend}}))
	nas, req := newNAS(t, f.acctAddr()), acctOf(1, "a", acctStart)
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	nas.send(req)
	backend.wait(1)
	f.clock.advance(time.Duration(acctPatience))
	nas.verified(req, nas.receive(), nasSecret)
}

// TestUpdateWaitsForNoDisk: the deliverer's lock is held while it reads a record, from a disk that may hang.
func TestUpdateWaitsForNoDisk(t *testing.T) {
	f := newFront(t, withSpool(t.TempDir(), setup{backends: []*server{newServer(t, silent)}}))
	d := f.s.deliverer
	d.mu.Lock()
	ended := make(chan error, 1)
	go func() { ended <- f.s.Update(f.opts) }()
	select {
	case err := <-ended:
		d.mu.Unlock()
		if err != nil {
			t.Error(err)
		}
	case <-time.After(testTimeout):
		d.mu.Unlock()
		t.Errorf("it waits, and then: %v", <-ended)
	}
}

// TestUpdateUnderTraffic reloads, moves health and reads the books while
// requests pass; every one is answered.
func TestUpdateUnderTraffic(t *testing.T) {
	a, b := newServer(t, accept), newServer(t, accept)
	f := newFront(t, setup{backends: []*server{a, b}, workers: 2, options: func(o *Options) { o.Now = time.Now }})
	o := f.opts
	o.Config.Auth, o.Config.Acct = []string{f.authAddr().String()}, []string{f.acctAddr().String()}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := f.s.Update(o); err != nil {
				t.Error(err)
				return
			}
			f.setDown("b0", "auth")
			f.balanced()
			f.setUp("b0", "auth")
		}
	})
	var clients sync.WaitGroup
	for range 3 {
		auth, acct := newNAS(t, f.authAddr()), newNAS(t, f.acctAddr())
		clients.Go(func() {
			for i := range 200 {
				auth.exchange(pap(t, byte(i), "alice", "x"))
				acct.exchange(acctRequest(byte(i), "s"))
			}
		})
	}
	clients.Wait()
	close(stop)
	wg.Wait()
	if st := f.balanced(); st.Answers[KindAuth][AnswerAccept][SourceBackend] != 600 || st.Answers[KindAcct][AnswerAccounting][SourceBackend] != 600 {
		t.Errorf("answers: %d, %d; drops %s", st.Sum(KindAuth), st.Sum(KindAcct), dropsOf(&st))
	}
}

func TestUpdateChangesTheAddressToSendFrom(t *testing.T) {
	backend := newServer(t, accept)
	f := newFront(t, setup{backends: []*server{backend}})
	nas := newNAS(t, f.authAddr())
	nas.exchange(pap(t, 1, "alice", "x"))
	var bc pool.BackendConfig
	bc.SetDefaults()
	bc.Name, bc.Address, bc.Source = "b0", "127.0.0.1", "127.0.0.77"
	if err := f.auth.Update(f.auth.Config(), []pool.Member{{Config: bc, Addr: backend.addr(), Health: f.h["b0/auth"]}}); err != nil {
		t.Fatal(err)
	}
	f.reload(nil)
	nas.exchange(pap(t, 2, "alice", "x"))
	if got := backend.wait(2); got[0].from.Addr() == got[1].from.Addr() || got[1].from.Addr() != netip.MustParseAddr("127.0.0.77") {
		t.Errorf("sent from %s, then from %s", got[0].from, got[1].from)
	}
}

// TestR24AReloadLeavesTheProxyStateOfWhatIsUnderWay: its copies stay the same bytes (R21), and ours is taken off the reply.
func TestR24AReloadLeavesTheProxyStateOfWhatIsUnderWay(t *testing.T) {
	backend := newServer(t, silent)
	f := newFront(t, setup{backends: []*server{backend}})
	nas, req := newNAS(t, f.authAddr()), pap(t, 1, "alice", "x")
	nas.send(req)
	backend.wait(1)
	f.reload(func(o *Options) { o.Config.ProxyState = false })
	f.clock.advance(1100 * time.Millisecond)
	nas.send(req)
	got := backend.wait(2)
	if !bytes.Equal(got[0].raw, got[1].raw) {
		t.Error("the second copy is another packet")
	}
	backend.send(accept(got[0]), got[0].from)
	if p := nas.verified(req, nas.receive(), nasSecret); p.Get(radwire.AttrProxyState) != nil {
		t.Errorf("the NAS got a Proxy-State of ours: %x", p.Get(radwire.AttrProxyState))
	}
}

// TestUpdateKeepsAListenerForTheTimeoutThatItsRequestsHave: also when the reload makes the pool's shorter.
func TestUpdateKeepsAListenerForTheTimeoutThatItsRequestsHave(t *testing.T) {
	backend := newServer(t, silent)
	f := newFront(t, setup{backends: []*server{backend}, pool: func(c *pool.Config) { c.Timeout = 20 * time.Second }})
	nas, req := newNAS(t, f.authAddr()), pap(t, 1, "alice", "x")
	nas.send(req)
	got := backend.wait(1)
	for role, p := range map[string]*pool.Pool{"auth": f.auth, "acct": f.acct} {
		pc := p.Config()
		pc.Timeout = 2 * time.Second
		var bc pool.BackendConfig
		bc.SetDefaults()
		bc.Name, bc.Address = "b0", "127.0.0.1"
		if err := p.Update(pc, []pool.Member{{Config: bc, Addr: backend.addr(), Health: f.h["b0/"+role]}}); err != nil {
			t.Fatal(err)
		}
	}
	f.reload(func(o *Options) { o.Config.Auth = []string{"127.0.0.3:0"} })
	f.clock.advance(10 * time.Second)
	f.s.mu.Lock()
	f.s.closeRetired(f.clock.now())
	f.s.mu.Unlock()
	backend.send(accept(got[0]), got[0].from)
	nas.verified(req, nas.receive(), nasSecret)
}

// TestR37AReloadMovesEveryBound: a service that is added takes its share from those that are there.
func TestR37AReloadMovesEveryBound(t *testing.T) {
	f := newFront(t, setup{backends: []*server{newServer(t, accept)}})
	f.reload(func(o *Options) { o.MaxInFlight, o.MaxRemembered, o.MaxBytes = 1000, 2, 3<<20 })
	nas := newNAS(t, f.authAddr())
	for id := range byte(5) {
		nas.exchange(pap(t, id, "alice", "x"))
	}
	want := map[string]int64{insight.TableInFlight: 1000, insight.TableRemembered: 2, insight.TableHeld: 3 << 20}
	st := f.balanced()
	for _, table := range st.Tables {
		if n := want[table.Name]; n != 0 && table.Limit != n {
			t.Errorf("%+v, want %d", table, n)
		}
	}
	if st.Remembered != 2 {
		t.Errorf("%d are remembered", st.Remembered)
	}
}
